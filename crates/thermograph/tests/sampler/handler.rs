//! The signal handler's machine code: it calls nothing but what is allowed.

use std::process::Command;

use crate::app::alone;

/// Functions of the C library that may be called inside of a signal handler: each is a thin cover of
/// a system call, or the address of `errno`.
const ALLOWED: [&str; 3] = ["__errno_location", "syscall", "clock_gettime"];

#[test]
fn it_calls_nothing_that_is_not_allowed() {
    let _alone = alone();
    let program = std::env::current_exe().expect("a path");
    let text = Command::new("objdump")
        .args(["--disassemble", "--demangle", "--no-show-raw-insn", "--reloc"])
        .arg(&program)
        .output()
        .expect("objdump runs");
    assert!(text.status.success(), "{}", String::from_utf8_lossy(&text.stderr));
    let text = String::from_utf8_lossy(&text.stdout);
    let body = body(&text);
    assert!(body.len() > 50, "{body:#?}");

    let mut system_calls = 0;
    for line in &body {
        let Some((_, instruction)) = line.split_once('\t') else { continue };
        let mut words = instruction.split_whitespace();
        let (operation, target) = (words.next().unwrap_or(""), words.collect::<Vec<_>>().join(" "));
        let leaves = operation.starts_with("call") || operation.starts_with("bl");
        // A jump inside of the handler is written with its name; one that goes elsewhere is a call.
        let jumps = operation.starts_with('j') && !target.contains("thermograph_on_signal");
        if leaves || jumps {
            let allowed = ALLOWED.iter().any(|name| {
                target.contains(&format!("<{name}@")) || target.contains(&format!("<{name}>"))
            });
            assert!(allowed, "not allowed in the signal handler: {line}\n{}", body.join("\n"));
            system_calls += 1;
        }
    }
    assert!(system_calls >= 3, "the handler is not whole: {body:#?}");
}

/// The lines of the handler's own code.
fn body(text: &str) -> Vec<&str> {
    let is_begin = |line: &&str| line.ends_with(">:") && line.contains("thermograph_on_signal");
    let mut lines = text.lines().skip_while(|line| !is_begin(line));
    assert!(lines.next().is_some(), "the handler is not in the program");
    lines.take_while(|line| !line.is_empty()).collect()
}
