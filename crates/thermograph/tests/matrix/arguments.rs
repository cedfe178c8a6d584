//! The command line: our own flags, and those that the test harness would have.

use std::{path::PathBuf, str::FromStr};

use crate::cell::Cell;

pub(crate) const HELP: &str = "\
Calls ill and healthy handlers in several settings, and says how well their stalls are judged.

Without arguments: three cells, in three minutes.

      --all             every cell of this build: hooks on and off, workers 1, 2, 4, idle and with two hogs
      --cells FILTER    of all cells those that match, such as hooks=on,workers=1,workers=2,load=idle
      --calls N         calls of each specimen [default: 10, without arguments 4]
      --only NAME       specimens whose name contains this; may be repeated
      --json FILE       write what was counted to a file
      --with FILE       take the cells of such a file into the tables, such as those of another build
      --list            list the specimens
      --help            print this";

/// What is to be done.
#[derive(Debug)]
pub(crate) enum Task {
    Help,
    List,
    /// A filter of the test harness matches nothing here.
    Nothing,
    Run(Run),
    /// One cell, in this process.
    Cell(Cell, Run),
    /// Takes the time of a processor as long as this process lives.
    Hog(u32),
}

/// What is to be run.
#[derive(Clone, Debug)]
pub(crate) struct Run {
    pub(crate) cells: Vec<Cell>,
    calls: Option<u64>,
    pub(crate) only: Vec<String>,
    pub(crate) json: Option<PathBuf>,
    pub(crate) with: Vec<PathBuf>,
    /// True if it is the fixed part that always runs.
    pub(crate) is_fixed: bool,
}

impl Default for Run {
    fn default() -> Self {
        let (json, with) = (None, Vec::new());
        Self { cells: Cell::few(), calls: None, only: Vec::new(), json, with, is_fixed: true }
    }
}

impl Run {
    /// Calls of each specimen.
    pub(crate) fn calls(&self) -> u64 {
        self.calls.unwrap_or(if self.is_fixed { 4 } else { 10 })
    }
}

/// Flags of the test harness that have a value.
const FOREIGN: [&str; 7] =
    ["--test-threads", "--skip", "--format", "--color", "--logfile", "--shuffle-seed", "-Z"];

pub(crate) fn parse(arguments: impl Iterator<Item = String>) -> Result<Task, String> {
    let mut arguments = arguments.peekable();
    let mut run = Run::default();
    let (mut cell, mut filters) = (None, Vec::new());
    while let Some(argument) = arguments.next() {
        let (flag, value) = match argument.split_once('=') {
            Some((flag, value)) if flag.starts_with("--") => {
                (flag.to_owned(), Some(value.to_owned()))
            }
            _ => (argument, None),
        };
        let mut value =
            || value.clone().or_else(|| arguments.next()).ok_or(format!("{flag} needs a value"));
        match flag.as_str() {
            "--help" | "-h" => return Ok(Task::Help),
            "--list" => return Ok(Task::List),
            "--ignored" => return Ok(Task::Nothing),
            "--hog" => return Ok(Task::Hog(number(&value()?)?)),
            "--cell" => cell = Some(value()?.parse()?),
            "--all" => (run.cells, run.is_fixed) = (Cell::all(), false),
            "--cells" => (run.cells, run.is_fixed) = (select(&value()?)?, false),
            "--calls" => run.calls = Some(number(&value()?)?),
            "--only" => run.only.push(value()?),
            "--json" => run.json = Some(value()?.into()),
            "--with" => run.with.push(value()?.into()),
            foreign if FOREIGN.contains(&foreign) => drop(value()?),
            // Another flag of the test harness.
            flag if flag.starts_with('-') => {}
            filter => filters.push(filter.to_owned()),
        }
    }
    Ok(match cell {
        Some(cell) => Task::Cell(cell, run),
        None if filters.is_empty() || filters.iter().any(|filter| "matrix".contains(&**filter)) => {
            Task::Run(run)
        }
        None => Task::Nothing,
    })
}

fn number<N: FromStr>(text: &str) -> Result<N, String> {
    text.parse().map_err(|_| format!("{text} is no number"))
}

fn select(filter: &str) -> Result<Vec<Cell>, String> {
    let pair = |pair: &str| {
        let pair = pair.split_once('=').ok_or_else(|| format!("{pair} is not KEY=VALUE"))?;
        Ok((pair.0.to_owned(), pair.1.to_owned()))
    };
    let pairs = filter.split(',').map(pair).collect::<Result<Vec<_>, String>>()?;
    let mut cells = Cell::all();
    cells.retain(|cell| cell.is_in(&pairs));
    if cells.is_empty() { Err(format!("no cell matches {filter}")) } else { Ok(cells) }
}
