//! Programs that are run and waited for.

use std::{
    hint::black_box,
    io::Read as _,
    process::{Command, Stdio},
};

use crate::specimen::{Specimen, blocked};

pub(super) fn all() -> Vec<Specimen> {
    // The first is a wait, too: until the child runs its program.
    let wait = &["clone3", "wait4", "waitid"];
    let read = &["clone3", "read", "poll", "ppoll"];
    vec![
        blocked(command_output, read),
        blocked(command_status, wait),
        blocked(child_wait, wait),
        blocked(child_wait_with_output, read),
        blocked(child_stdout, read),
    ]
}

fn sleeper() -> Command {
    let mut command = Command::new("sleep");
    command.arg("0.03").stdin(Stdio::null());
    command
}

#[inline(never)]
fn command_output() {
    black_box(sleeper().output().is_ok());
}

#[inline(never)]
fn command_status() {
    black_box(sleeper().status().is_ok());
}

#[inline(never)]
fn child_wait() {
    let mut child = sleeper().spawn().expect("spawned");
    black_box(child.wait().is_ok());
}

#[inline(never)]
fn child_wait_with_output() {
    let child = sleeper().stdout(Stdio::piped()).spawn().expect("spawned");
    black_box(child.wait_with_output().is_ok());
}

#[inline(never)]
fn child_stdout() {
    let mut child = sleeper().stdout(Stdio::piped()).spawn().expect("spawned");
    let mut output = child.stdout.take().expect("piped");
    black_box(output.read_to_end(&mut Vec::new()).is_ok());
    child.wait().expect("waited");
}
