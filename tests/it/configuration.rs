//! `thermograph config` and `thermograph serve --check`.

use std::process::Output;

use crate::support::thermograph;

fn run(args: &[&str], variables: &[(&str, &str)], file: &str) -> Output {
    let dir = tempfile::tempdir().expect("a folder");
    let path = dir.path().join("thermograph.toml");
    std::fs::write(&path, file).expect("written");
    let mut command = thermograph();
    command.args(args).arg("--config").arg(path).envs(variables.iter().copied());
    command.output().expect("ran")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[test]
fn what_is_printed_can_be_loaded_and_says_where_it_came_from() {
    let variables = [("THERMOGRAPH_LOG_FILTER", "debug")];
    let printed = run(&["config"], &variables, "[api]\nbody_limit = \"1MiB\"\n");
    assert!(printed.status.success(), "{}", text(&printed.stderr));
    let printed = text(&printed.stdout);
    for line in [
        "filter = \"debug\"  # $THERMOGRAPH_LOG_FILTER",
        "nice = 5  # default",
        "folder = \".\"  # default",
        "max_captures = 200  # default",
        "named_per_second = 200  # default",
    ] {
        assert!(printed.contains(line), "{line}: {printed}");
    }
    let limit = printed.lines().find(|line| line.starts_with("body_limit")).expect("a line");
    assert!(limit.contains("1MiB") && limit.ends_with("thermograph.toml"), "{limit}");
    let again = run(&["serve", "--check"], &[], &printed);
    assert!(again.status.success(), "{}", text(&again.stderr));
}

#[test]
fn a_bad_value_stops_the_start_with_field_value_and_what_is_allowed() {
    let cases = [
        ("[engine]\nnice = 40\n", &[][..], ["engine.nice = 40", "0 to 19"]),
        ("[api]\nbody_limit = \"1B\"\n", &[], ["api.body_limit", "1 KiB to 1 GiB"]),
        ("[diagnostics]\nlisten = \"0.0.0.0:6060\"\n", &[], ["diagnostics.listen", "token"]),
        ("[diagnostics]\nmax_captures = 0\n", &[], ["diagnostics.max_captures = 0", "1 to 10000"]),
        ("[diagnostics]\nfolder = \"\"\n", &[], ["diagnostics.folder", "path of a folder"]),
        (
            "[diagnostics]\nnamed_per_second = 1001\n",
            &[],
            ["diagnostics.named_per_second = 1001", "0 to 1000"],
        ),
        ("[diagnostics]\nnamed_per_second = -1\n", &[], ["named_per_second = -1", "expected u32"]),
        ("[apo]\n", &[], ["apo", "expected one of `api`"]),
        ("", &[("THERMOGRAPH_PORT", "1")], ["THERMOGRAPH_PORT", "THERMOGRAPH_API_LISTEN"]),
        ("[models.m]\n", &[], ["models.m", "missing field `dir`"]),
    ];
    for (file, variables, said) in cases {
        for args in [&["serve", "--check"][..], &["serve"]] {
            let refused = run(args, variables, file);
            assert_eq!(refused.status.code(), Some(1), "{file}");
            let error = text(&refused.stderr);
            assert!(said.iter().all(|said| error.contains(said)), "{said:?}: {error}");
        }
    }
}

#[test]
fn every_key_refuses_what_is_out_of_its_bounds() {
    // A number, a time or a size that no key allows, or a word that is none of its words.
    let unbounded = ["log.filter", "diagnostics.token", "diagnostics.folder"];
    let printed = text(&run(&["config"], &[], "").stdout);
    let mut section = String::new();
    let mut tried = 0;
    for line in printed.lines() {
        if let Some(name) = line.strip_prefix('[') {
            name.trim_end_matches(']').clone_into(&mut section);
        }
        let Some((key, value)) = line.split_once(" = ") else { continue };
        let path = format!("{section}.{key}");
        if section == "models" || unbounded.contains(&path.as_str()) {
            continue;
        }
        let bad = if value.starts_with('"') { "\"no such thing\"" } else { "1000000000000" };
        let file = format!("[{section}]\n{key} = {bad}\n");
        let refused = run(&["serve", "--check"], &[], &file);
        let error = text(&refused.stderr);
        assert_eq!(refused.status.code(), Some(1), "{path} = {bad}");
        let named = [&*path, bad, "thermograph.toml", "is not allowed: "];
        assert!(named.iter().all(|named| error.contains(named)), "{error}");
        tried += 1;
    }
    assert!(tried > 15, "{printed}");
}
