//! Runs the cells one after the other, each in a process of its own.

use std::{
    env, fs, io,
    path::Path,
    process::{Command, ExitCode, Stdio},
};

use crate::{
    arguments::{self, HELP, Run, Task},
    cell::Cell,
    hogs,
    judge::Outcome,
    report, run,
};

pub(crate) fn main() -> ExitCode {
    let task = match arguments::parse(env::args().skip(1)) {
        Ok(task) => task,
        Err(error) => {
            eprintln!("{error}\n\n{HELP}");
            return ExitCode::from(2);
        }
    };
    match task {
        Task::Help => println!("{HELP}"),
        Task::List => {
            for specimen in run::chosen(&Run::default()) {
                println!("{}", specimen.name());
            }
        }
        Task::Nothing => println!("nothing is run: no test of this name is here but `matrix`"),
        Task::Hog(parent) => hogs::be_one(parent),
        Task::Cell(cell, run) => {
            let outcome = run::cell(cell, &run);
            serde_json::to_writer(io::stdout().lock(), &outcome).expect("written");
        }
        Task::Run(run) => return all(&run),
    }
    ExitCode::SUCCESS
}

fn all(run: &Run) -> ExitCode {
    let specimens = run::chosen(run);
    if specimens.is_empty() {
        eprintln!("no specimen has such a name; `--list` lists them");
        return ExitCode::from(2);
    }
    let mut outcomes: Vec<Outcome> = run.with.iter().flat_map(|file| read(file)).collect();
    for (number, cell) in run.cells.iter().enumerate() {
        eprintln!(
            "cell {} of {}: {cell}, {} specimens, {} calls each",
            number + 1,
            run.cells.len(),
            specimens.len(),
            run.calls()
        );
        outcomes.push(in_process(*cell, run));
        if let Some(file) = &run.json {
            // After each, so that what was counted is kept if the run is broken off.
            let text = serde_json::to_string_pretty(&outcomes).expect("serializes");
            fs::write(file, text).expect("written");
        }
    }
    for outcome in &outcomes {
        println!("{}", report::of_cell(outcome));
    }
    println!("{}", report::of_all(&outcomes));
    let missed = report::missed(&outcomes, run.is_fixed);
    if missed.is_empty() {
        println!("all aims are met");
        return ExitCode::SUCCESS;
    }
    for missed in missed {
        println!("missed: {missed}");
    }
    ExitCode::FAILURE
}

fn read(file: &Path) -> Vec<Outcome> {
    let text =
        fs::read_to_string(file).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
    serde_json::from_str(&text).expect("what `--json` has written")
}

/// Runs a cell in a process of its own.
fn in_process(cell: Cell, run: &Run) -> Outcome {
    let mut command = Command::new(env::current_exe().expect("a program"));
    command.args(["--cell", &cell.to_string(), "--calls", &run.calls().to_string()]);
    command.args(run.only.iter().flat_map(|name| ["--only", name]));
    let output = command.stdin(Stdio::null()).stderr(Stdio::inherit()).output();
    let output = output.expect("it starts");
    assert!(output.status.success(), "{cell} ended with {}", output.status);
    serde_json::from_slice(&output.stdout).expect("an outcome")
}
