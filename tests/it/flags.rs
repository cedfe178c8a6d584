//! Every flag of the program that takes a value, given a bad one.

use std::collections::BTreeSet;

use clap::{Command, CommandFactory as _};
use thermograph_server::Cli;

use crate::support::{Server, thermograph};

/// A command with what it needs besides, a flag, a bad value, and what is said beside these two.
type Case = (&'static str, &'static str, &'static str, &'static str);

const URL: &str = "a URL such as http://127.0.0.1";
const TOKEN_FILE: &str = "a file of UTF-8 text, 1 byte to 64 KiB";
const CA_FILE: &str = "a file with certificates in PEM";
const WINDOW: &str = "0 is not in 1..=300";

/// Where nothing but the value stands, the command is followed by what it cannot do without.
const CASES: &[Case] = &[
    ("config", "--config", "/no/such/file", "cannot read"),
    ("serve", "--listen", "nowhere", "api.listen"),
    ("serve", "--diagnostics-listen", "0.0.0.0:6060", "`token` is set"),
    ("serve", "--console-listen", "0.0.0.0:6669", "a loopback address"),
    ("serve", "--upstream", "ftp://a", "http:// or https://, a host"),
    ("serve", "--addresses-file", "/no/such/folder/file", "cannot write"),
    ("model pull", "--from", "moon", "auto, hub, packages"),
    ("model pull", "--dir", "/proc/no", "cannot create"),
    ("keys create", "--name", "", "1 to 128 bytes"),
    ("keys create", "--scope", "admin", "inference, usage"),
    ("keys create", "--model", "a*b*", "at most one `*`"),
    ("keys create", "--requests-per-minute", "0", "1..="),
    ("keys create", "--tokens-per-minute", "0", "1..="),
    ("keys create", "--monthly-tokens", "many", "invalid digit"),
    ("keys create", "--expires", "0s", "a second or more"),
    ("keys rotate", "--grace", "soon", "a time such as 90d"),
    ("load", "--url", "ftp://x", URL),
    ("load", "--connections", "0", "1..=65535"),
    ("load", "--duration", "0s", "more than nothing"),
    ("load", "--requests", "0", "1.."),
    ("load", "--rate", "0", "0.001 to 1000000"),
    ("load", "--warmup", "soon", "a time such as 10s"),
    ("load", "--timeout", "0s", "more than nothing"),
    ("load", "--mix", "short=x", "short, long or batch"),
    ("load", "--target", "GET nowhere", "it begins with `/`"),
    ("mock", "--listen", "0.0.0.0:9001", "a loopback address"),
    ("mock --listen=127.0.0.1:0", "--addresses-file", "/no/such/folder/file", "cannot write"),
    ("mock", "--models", "a,a", "1 to 1000 different names"),
    ("mock", "--latency", "soon", "lognormal:20ms:200ms"),
    ("mock", "--tokens", "0", "1 to 100000"),
    ("mock", "--interval", "2ms..1ms", "10ms..50ms (uniform)"),
    ("mock", "--error-rate", "1.1", "a number from 0 to 1"),
    ("mock", "--error-status", "200", "400 to 599"),
    ("mock", "--retry-after", "86401", "0 to 86400"),
    ("mock", "--hang-rate", "-1", "a number from 0 to 1"),
    ("mock", "--cut-rate", "half", "a number from 0 to 1"),
    ("mock", "--cut-after", "100001", "0 to 100000"),
    ("mock", "--stall-rate", "nan", "a number from 0 to 1"),
    ("mock", "--stall-after", "-1", "0 to 100000"),
    ("mock", "--piece", "1048577", "0 to 1048576"),
    ("mock", "--piece-interval", "11m", "up to 10m"),
    ("mock", "--max-in-flight", "0", "1 to 1000000"),
    ("capture cpu", "--url", "nowhere", URL),
    ("capture cpu", "--seconds", "0", WINDOW),
    ("capture cpu", "--frequency", "1001", "1..=1000"),
    ("diff FOLDED FOLDED", "--output", "/proc/no/picture", "cannot write"),
    ("capture cpu", "--route", "", "such as /v1/embeddings"),
    ("diagnose", "--url", "nowhere", URL),
    ("diagnose", "--seconds", "301", "0..=300"),
    ("diagnose", "--fail-on", "healthy", "blocking, hot"),
    ("doctor", "--url", "nowhere", URL),
    ("tasks", "--url", "nowhere", URL),
    ("tasks", "--seconds", "11", "1..=10"),
    ("tasks", "--route", "", "such as /v1/embeddings"),
    ("trace", "--url", "nowhere", URL),
    ("trace", "--seconds", "61", "1..=60"),
    ("trace SERVER --seconds=1", "--output", "/proc/no/trace", "cannot write"),
    ("handlers", "--url", "nowhere", URL),
    ("handlers", "--seconds", "0", WINDOW),
    ("flamegraph", "--seconds", "0", WINDOW),
    ("flamegraph", "--frequency", "0", "1..=1000"),
    ("flamegraph", "--connections", "0", "1..=65535"),
    ("flamegraph", "--mix", "short=x", "short, long or batch"),
    ("flamegraph", "--target", "GET nowhere", "it begins with `/`"),
    ("flamegraph", "--name", "../x", "letters, digits"),
    ("flamegraph", "--url", "x://", URL),
    ("flamegraph --url=http://127.0.0.1:1", "--diagnostics-url", "nowhere", URL),
    ("flamegraph TARGET", "--program", "/no/such/program", "cannot start"),
    ("perf", "--seconds", "0", WINDOW),
    ("perf", "--frequency", "0", "1..=1000"),
    ("perf", "--connections", "0", "1..=65535"),
    ("perf", "--mix", "short=x", "short, long or batch"),
    ("perf", "--target", "GET nowhere", "it begins with `/`"),
    ("perf", "--name", "../x", "letters, digits"),
    ("perf", "--url", "x://", URL),
    ("perf --url=http://127.0.0.1:1", "--diagnostics-url", "nowhere", URL),
    ("perf --url=http://127.0.0.1:1", "--pid", "0", "1..="),
    ("perf TARGET", "--program", "/no/such/program", "cannot start"),
    ("capture cpu", "--token-file", "/no/such", TOKEN_FILE),
    ("capture cpu", "--ca-file", "/no/such", CA_FILE),
    ("diagnose", "--token-file", "/no/such", TOKEN_FILE),
    ("diagnose", "--ca-file", "/no/such", CA_FILE),
    ("handlers", "--token-file", "/no/such", TOKEN_FILE),
    ("handlers", "--ca-file", "/no/such", CA_FILE),
    ("flamegraph", "--token-file", "/no/such", TOKEN_FILE),
    ("doctor", "--token-file", "/no/such", TOKEN_FILE),
    ("doctor", "--ca-file", "/no/such", CA_FILE),
    ("tasks", "--token-file", "/no/such", TOKEN_FILE),
    ("tasks", "--ca-file", "/no/such", CA_FILE),
    ("trace", "--token-file", "/no/such", TOKEN_FILE),
    ("trace", "--ca-file", "/no/such", CA_FILE),
    ("perf", "--token-file", "/no/such", TOKEN_FILE),
];

/// Flags for which any text is a value, or whose value must not be shown.
const FREE: &[(&str, &str)] = &[
    ("load", "--model"),
    ("flamegraph", "--model"),
    ("perf", "--model"),
    // A folder that is not there yet has no captures in it.
    ("captures", "--folder"),
    ("diff", "--folder"),
    ("capture", "--token"),
    ("diagnose", "--token"),
    ("handlers", "--token"),
    ("flamegraph", "--token"),
    ("doctor", "--token"),
    ("tasks", "--token"),
    ("trace", "--token"),
    ("perf", "--token"),
];

#[test]
fn a_bad_value_is_named_with_its_flag_and_what_is_allowed() {
    let folded = tempfile::Builder::new().suffix(".folded").tempfile().expect("a file");
    std::fs::write(&folded, "main;hot 1\n").expect("written");
    let folded = folded.path().to_str().expect("text");
    let server = Server::start();
    let url = format!("--url={}", server.diagnostics(""));
    for (command, flag, value, allowed) in CASES {
        let arguments = command.split(' ').map(|word| match word {
            "FOLDED" => folded,
            "TARGET" => "--target=GET /=1",
            "SERVER" => &*url,
            word => word,
        });
        let mut program = thermograph();
        program.args(arguments).arg(format!("{flag}={value}"));
        if *command == "serve" {
            for listen in ["--listen", "--diagnostics-listen", "--console-listen"] {
                if listen != *flag {
                    program.arg(format!("{listen}=127.0.0.1:0"));
                }
            }
        }
        let refused = program.output().expect("ran");
        let said = String::from_utf8_lossy(&refused.stderr);
        assert!(!refused.status.success(), "{command} {flag}={value} was taken");
        assert!(said.contains(value) && said.contains(allowed), "{command} {flag}: {said}");
    }
}

#[test]
fn no_flag_is_forgotten() {
    let tested: BTreeSet<_> =
        CASES.iter().map(|(command, flag, ..)| format!("{} {flag}", name(command))).collect();
    let free: BTreeSet<_> =
        FREE.iter().map(|(command, flag)| format!("{command} {flag}")).collect();
    let mut flags = BTreeSet::new();
    collect(&Cli::command(), "", &mut flags);
    // It stands for itself on every command.
    flags.insert("config --config".to_owned());
    let known: BTreeSet<_> = tested.union(&free).cloned().collect();
    assert_eq!(flags, known);
}

#[test]
fn a_token_that_cannot_be_sent_is_refused_and_not_shown() {
    let mut program = thermograph();
    let refused = program.args(["handlers", "--token", "hush\nhush"]).output().expect("ran");
    let said = String::from_utf8_lossy(&refused.stderr);
    assert!(said.contains("--token") && !said.contains("hush"), "{said}");
    assert_eq!(refused.status.code(), Some(1));
}

/// A command without what else it needs.
fn name(command: &str) -> &str {
    let ends = [" cpu", " FOLDED", " --", " TARGET", " SERVER"]
        .iter()
        .filter_map(|end| command.find(end))
        .min();
    &command[..ends.unwrap_or(command.len())]
}

/// The flags that take a value, of a command and of those under it.
fn collect(command: &Command, path: &str, flags: &mut BTreeSet<String>) {
    for flag in command.get_arguments().filter(|flag| flag.get_action().takes_values()) {
        if let Some(long) = flag.get_long().filter(|_| !flag.is_global_set()) {
            flags.insert(format!("{path} --{long}"));
        }
    }
    for under in command.get_subcommands() {
        collect(under, format!("{path} {}", under.get_name()).trim(), flags);
    }
}
