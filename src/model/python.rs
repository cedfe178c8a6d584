//! Python and pip, whatever they are called here.

use std::{
    fs::File,
    process::{Command, Stdio},
};

use anyhow::Context as _;

/// Runs a command to its end; what it wrote on stderr is in the error.
pub(super) fn run(command: &mut Command) -> anyhow::Result<()> {
    let program = command.get_program().to_string_lossy().into_owned();
    let output =
        command.stdin(Stdio::null()).output().with_context(|| format!("cannot start {program}"))?;
    anyhow::ensure!(
        output.status.success(),
        "{program} failed ({}):\n{}",
        output.status,
        String::from_utf8_lossy(&output.stderr).trim_end()
    );
    Ok(())
}

/// The interpreter.
pub(super) fn interpreter() -> anyhow::Result<Command> {
    first(&[&["python3"], &["python"]])
        .context("Python is needed, but neither `python3` nor `python` runs: install Python 3")
}

/// The installer of packages, quiet and without questions.
pub(super) fn pip(subcommand: &str) -> anyhow::Result<Command> {
    let mut pip = first(&[&["python3", "-m", "pip"], &["pip3"], &["pip"]]).context(
        "pip is needed, but none of `python3 -m pip`, `pip3` and `pip` runs: \
         install pip (on Debian: apt install python3-pip)",
    )?;
    pip.arg(subcommand).args(["--quiet", "--no-input", "--disable-pip-version-check"]);
    // An index out of reach is told within a minute; and nothing is built, which would run code of
    // the package before it is checked.
    pip.args(["--retries", "2", "--timeout", "15", "--only-binary", ":all:"]);
    Ok(pip)
}

/// A command whose output becomes a file.
pub(super) fn into_file(command: &mut Command, file: File) -> anyhow::Result<()> {
    run(command.stdout(file))
}

/// The first of the commands that runs at all.
fn first(candidates: &[&[&str]]) -> Option<Command> {
    candidates.iter().find_map(|candidate| {
        let (program, arguments) = candidate.split_first()?;
        let command = || {
            let mut command = Command::new(program);
            command.args(arguments);
            command
        };
        run(command().arg("--version")).ok().map(|()| command())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_that_runs_is_taken() {
        let found = first(&[&["no-such-program"], &["false"], &["sh", "-c", "true"], &["true"]]);
        assert_eq!(found.expect("sh").get_program(), "sh");
        assert!(first(&[&["no-such-program"]]).is_none());
    }

    #[test]
    fn the_error_tells_what_the_program_said() {
        let error = run(Command::new("sh").args(["-c", "echo too bad >&2; exit 3"]))
            .expect_err("exit 3")
            .to_string();
        assert!(error.contains("sh failed (exit status: 3):\ntoo bad"), "{error}");
    }
}
