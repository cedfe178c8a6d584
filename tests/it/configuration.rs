//! `thermograph config` and `thermograph serve --check`.

mod files;
mod listeners;
mod secrets;

use std::{collections::BTreeSet, process::Output};

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
        (
            "[diagnostics]\nnamed_per_second = -1\n",
            &[],
            ["named_per_second = -1", "a whole number, 0 or more"],
        ),
        ("[apo]\n", &[], ["apo", "expected one of `api`"]),
        ("", &[("THERMOGRAPH_PORT", "1")], ["THERMOGRAPH_PORT", "THERMOGRAPH_API_…"]),
        ("[models.m]\n", &[], ["models.m", "missing field `dir`"]),
        ("[upstream.a]\n", &[], ["thermograph.toml", "`upstreams`"]),
        ("[upstreams.a]\nmax_connections = 2\n", &[], ["upstreams.a = ", "missing field `url`"]),
        ("[upstreams]\nurl = \"http://a\"\n", &[], ["upstreams.url = ", "expected a table"]),
        ("[upstreams.\"a b\"]\nurl = \"http://a\"\n", &[], ["upstreams.a b", "1 to 64 letters"]),
        ("[models.gpt-4.1]\nupstreams = []\n", &[], ["models.gpt-4 = ", "\"gpt-4.1\""]),
        ("[models.m]\nupstreams = [\"a\"]\n", &[], ["models.m.upstreams", "there are none"]),
        (
            "[models.m]\ndir = \"a\"\nprecision = \"f32\"\nfile = \"b.onnx\"\n",
            &[],
            ["models.m.file = \"b.onnx\"", "no `file` beside `precision`"],
        ),
        (
            "[models.\"\"]\nupstreams = [\"a\"]\n[upstreams.a]\nurl = \"http://a\"\n",
            &[],
            ["models.", "1 to 128 bytes"],
        ),
        (
            "[upstreams.a]\nurl = \"http://a\"\nca_file = \"/dev/null\"\n\
             [diagnostics]\nlisten = \"127.0.0.1:0\"\nconsole = \"off\"\n",
            &[],
            ["upstreams.a.ca_file = \"/dev/null\"", "certificates in PEM"],
        ),
        (
            "[upstreams.a]\nurl = \"http://a\"\nca_file = \"Cargo.toml\"\n\
             [diagnostics]\nlisten = \"127.0.0.1:0\"\nconsole = \"off\"\n",
            &[],
            ["upstreams.a.ca_file = \"Cargo.toml\"", "(there is none in it)"],
        ),
        (
            "[api]\ntls_client_ca = \"a.pem\"\n",
            &[],
            ["api.tls_client_ca = \"a.pem\"", "only together with `tls_cert`"],
        ),
        (
            "[api]\ntls_cert = \"/no/cert\"\ntls_key = \"/no/key\"\n",
            &[],
            ["api.tls_cert = \"/no/cert\"", "certificates in PEM"],
        ),
        ("[store]\nurl = \"mysql://a:hush@b/c\"\n", &[], ["store.url = \"(set)\"", "sqlite:FILE"]),
        ("[store]\nurl = \"sqlite::memory:\"\n", &[], ["store.url = ", "with `:memory:` the"]),
        ("[store]\nspool = \"\"\n", &[], ["store.spool", "the path of a folder"]),
        ("[store]\nrequire_keys = true\n", &[], ["store.require_keys = true", "no `store.url`"]),
        ("[gateway]\nretires = 1\n", &[], ["gateway.retires = 1", "`retries`"]),
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
    let unbounded = [
        "log.filter",
        "diagnostics.token",
        "diagnostics.folder",
        "store.url",
        "store.spool",
        "cache.semantic_model",
    ];
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

/// A table, its keys, and for each a value that is not allowed and what is said of it.
struct Table {
    /// What the file has beside the bad key, with `KEY` where that stands.
    file: &'static str,
    /// Path of the table.
    path: &'static str,
    keys: &'static [(&'static str, &'static str, &'static str)],
}

const NO_TIME: &str = "a time, 0 or more, in quotes and with its unit";

const TABLES: [Table; 8] = [
    Table {
        file: "[upstreams.a]\nurl = \"http://a\"\nKEY\n",
        path: "upstreams.a",
        keys: &[
            ("url", "\"127.0.0.1:9001\"", "http:// or https://, a host"),
            ("url", "\"http://a:65536\"", "a port of 1 to 65535"),
            (
                "url",
                "\"http://a/v1/chat/completions\"",
                "expected the base of its API: http://a/v1",
            ),
            ("url", "\"http://127.0.0.1:8080\"", "(`api.listen` is 127.0.0.1:8080)"),
            ("url", "\"http://localhost:6060/v1\"", "(`diagnostics.listen` is 127.0.0.1:6060)"),
            ("url", "\"ftp://a\"", "http:// or https://, a host"),
            ("append_v1", "\"no\"", "true or false, without quotes"),
            ("key", "\"\"", "visible ASCII characters"),
            ("url", "\"http://a/v1#b\"", "no fragment"),
            ("key", "\"cl\u{e9}\"", "visible ASCII characters"),
            ("key", "7", "expected a string"),
            ("key", "[\"k\"]", "expected a string"),
            ("key", "\"  \"", "visible ASCII characters"),
            ("key_env", "\"NO_SUCH_VARIABLE\"", "`NO_SUCH_VARIABLE` is not set"),
            ("key_env", "\"\"", "the name of a variable"),
            ("key_env", "\"PATH\"\nkey = \"k\"", "only one of `key`, `key_env`, `key_file`"),
            ("key_file", "\"/no/such/file\"", "No such file or directory"),
            ("key_file", "\"/\"", "(not a regular file)"),
            ("key_file", "\"/\"\nkey = \"k\"", "only one of `key`, `key_env`, `key_file`"),
            ("key_file", "7", "a path, in quotes"),
            ("key_header", "\"content-type\"", "a header that holds the key alone"),
            ("key_header", "\"cookie\"\nkey = \"k\"", "a header that holds the key alone"),
            ("key_header", "\"upgrade\"\nkey = \"k\"", "a header that holds the key alone"),
            ("key_header", "\"api-key\"", "only together with `key`, `key_env` or `key_file`"),
            ("headers", "\"authorization: k\"", "expected tables"),
            ("headers", "{ host = \"b\" }", "belongs neither to the connection nor to the body"),
            ("headers", "{ x-a = \"b\", X-A = \"c\" }", "each header once"),
            ("headers", "{ x-tenant = \"\" }", "visible ASCII characters"),
            ("forward_headers", "[\"cookie\"]", "no cookies"),
            ("forward_headers", "[\"*\"]", "without `*`"),
            ("forward_headers", "[\"x tenant\"]", "the name of a header"),
            ("forward_headers", "[\"x-a\", \"X-A\"]", "each header once"),
            ("forward_headers", "\"x-tenant\"", "expected a list"),
            ("forward_authorization", "1", "true or false"),
            ("http2", "\"yes\"", "true or false, without quotes"),
            ("proxy", "\"socks5://a\"", "`http://host:port`"),
            ("ca_file", "1", "a path, in quotes"),
            ("tls_cert", "1", "a path, in quotes"),
            ("tls_cert", "\"a.pem\"", "only together with `tls_key`"),
            ("tls_key", "\"a.key\"", "only together with `tls_cert`"),
            ("max_connections", "0", "1 to 65536"),
            ("max_connections", "65537", "1 to 65536"),
            ("connect_timeout", "\"-1s\"", NO_TIME),
            ("connect_timeout", "\"0s\"", "1ms to 86400s"),
            ("first_byte_timeout", "5", NO_TIME),
            ("between_bytes_timeout", "\"25h\"", "1ms to 86400s"),
            ("request_timeout", "\"0s\"", "1ms to 86400s"),
            ("idle_timeout", "\"soon\"", NO_TIME),
            ("discover", "\"no\"", "true or false, without quotes"),
            ("stream_usage", "1", "true or false"),
            ("health", "3", "expected a table"),
        ],
    },
    Table {
        file: "[upstreams.a]\nurl = \"http://a\"\n[upstreams.a.health]\nKEY\n",
        path: "upstreams.a.health",
        keys: &[
            ("interval", "\"1ms\"", "10ms to 3600s"),
            ("timeout", "\"2h\"", "10ms to 3600s"),
            ("path", "\"models\"", "a path that begins with `/`"),
            ("path", "\"/health#a\"", "without a fragment"),
            ("failures", "0", "1 to 100"),
        ],
    },
    Table {
        file: "[upstreams.a]\nurl = \"http://a\"\n[models.m]\nupstreams = [\"a\"]\nKEY\n",
        path: "models.m",
        keys: &[
            ("upstreams", "[]", "at least one upstream"),
            ("upstreams", "\"a\"", "expected a list"),
            ("upstreams", "[\"a\", \"b\"]", "`b` is no name of `[upstreams.…]`, which are: a"),
            ("upstreams", "[\"a\", \"a\"]", "each upstream once"),
            ("upstreams", "[{ name = \"a\", weight = 0 }]", "a weight of 1 to 1000"),
            ("upstreams", "[{ name = \"a\", weight = 1001 }]", "a weight of 1 to 1000"),
            ("upstreams", "[{ name = \"a\", weigth = 2 }]", "`name`, `weight` and `rename`"),
            ("fallbacks", "[\"b\"]", "which are: a"),
            ("rename", "1", "expected a string"),
            ("rename", "\"gpt-*\"", "a name without `*`"),
            ("rename", "\"\"", "a name of one character or more"),
            ("sticky", "{ header = \"a b\" }", "the name of a header"),
            ("sticky", "{ prefix = 0 }", "1 to 1048576"),
            ("sticky", "{ cookie = \"a\" }", "expected `header` or `prefix`"),
            ("hedge_after", "\"-2s\"", NO_TIME),
            ("hedge_after", "\"0s\"", "1ms to 3600s"),
        ],
    },
    Table {
        file: "[models.m]\ndir = \"here\"\nKEY\n",
        path: "models.m",
        keys: &[
            ("dir", "1", "a path, in quotes"),
            ("file", "1", "expected a string"),
            ("max_tokens", "1", "2 to 8192"),
            ("pooling", "\"max\"", "expected `mean` or `cls`"),
            ("precision", "\"int4\"", "expected `int8` or `f32`"),
            ("precision", "8", "expected a word, in quotes"),
            ("accept_token_ids", "\"yes\"", "expected true or false"),
        ],
    },
    Table {
        file: "[gateway]\nKEY\n",
        path: "gateway",
        keys: &[
            ("max_in_flight", "0", "1 to 1000000"),
            ("max_in_flight_per_key", "1000001", "0 to 1000000"),
            ("max_in_flight_per_key", "1", "0, since there is no `store.url`"),
            ("max_in_flight_per_key", "1025", "at most `max_in_flight`, which is 1024"),
            ("max_waiting", "1000001", "0 to 1000000"),
            ("queue_timeout", "\"2h\"", "0ns to 3600s"),
            ("retries", "11", "0 to 10"),
            ("retry_timeouts", "1", "true or false"),
            ("retry_on", "[200]", "a status from 400 to 599, or \"5xx\""),
            ("elsewhere_on", "[\"4xx\"]", "a status from 400 to 599, or \"5xx\""),
            ("retry_budget", "1.5", "0 to 1"),
            ("retry_reserve", "-1", "a whole number, 0 or more"),
            ("backoff", "\"2h\"", "0ns to 3600s"),
            ("longest_wait", "1", NO_TIME),
            ("stream_keep_alive", "\"1ms\"", "100ms to 3600s"),
            ("breaker_failures", "-0.5", "0 to 1"),
            ("breaker_requests", "0", "1 to 1000000"),
            ("breaker_window", "\"1ms\"", "10ms to 3600s"),
            ("breaker_open", "\"0s\"", "10ms to 3600s"),
        ],
    },
    Table {
        file: "[cache]\nKEY\n",
        path: "cache",
        keys: &[
            ("answers", "\"2TiB\"", "0 B to 1 TiB"),
            ("vectors", "\"2TiB\"", "0 B to 1 TiB"),
            ("ttl", "\"0s\"", "1s to 31536000s"),
            ("largest", "\"1B\"", "1 KiB to 64 MiB"),
            ("scope", "\"all\"", "expected `tenant` or `shared`"),
            ("redis", "\"yes\"", "true or false, without quotes"),
            ("longest_wait", "\"2h\"", "0ns to 3600s"),
            ("semantic_threshold", "0.2", "0 for none, or 0.5 to 1"),
            ("semantic_threshold", "0.9", "0, since no answers are kept"),
            ("semantic_model", "\"m\"\nsemantic_threshold = 0.9", "a local model, which are: "),
        ],
    },
    Table {
        file: "[middleware]\nKEY\n",
        path: "middleware",
        keys: &[
            ("request_ids", "1", "true or false, without quotes"),
            ("watch", "\"yes\"", "true or false, without quotes"),
            ("compression", "[\"lzma\"]", "expected one of `zstd`, `br`, `gzip`"),
            ("compression", "[\"br\", \"br\"]", "each of zstd, br and gzip once"),
            ("codecs", "0", "true or false, without quotes"),
            ("catch_panics", "\"no\"", "true or false, without quotes"),
        ],
    },
    Table {
        file: "[redis]\nKEY\n",
        path: "redis",
        keys: &[
            ("url", "\"localhost\"", "redis://host:port/database"),
            ("url", "7", "expected a string"),
            ("url_file", "\"/no/such/file\"", "No such file or directory"),
            ("namespace", "\"a:b\"", "1 to 64 letters, digits"),
            ("timeout", "\"0s\"", "1ms to 10s"),
        ],
    },
];

/// The file with this key, in place of its like if that is there.
fn with_key(file: &str, key: &str, value: &str) -> String {
    let is_same = |line: &&str| line.split(" = ").next() == Some(key);
    let last = file.split("KEY").next().unwrap_or_default().rfind("\n[").map_or(0, |at| at + 1);
    let (before, table) = file.split_at(last);
    let table: Vec<_> = table.lines().filter(|line| !is_same(line)).collect();
    format!("{before}{}\n", table.join("\n")).replace("KEY", &format!("{key} = {value}"))
}

#[test]
fn every_key_of_the_service_refuses_what_is_not_allowed() {
    for Table { file, path, keys } in TABLES {
        for (key, value, allowed) in keys {
            let file = with_key(file, key, value);
            let refused = run(&["serve", "--check"], &[], &file);
            let error = text(&refused.stderr);
            assert_eq!(refused.status.code(), Some(1), "{file}");
            let said = [&*format!("{path}.{key}"), "thermograph.toml", "is not allowed", allowed];
            assert!(said.iter().all(|said| error.contains(said)), "{said:?}: {error}");
            let value = value.lines().next().unwrap_or_default();
            let is_shown = !["key", "headers"].contains(key) && !value.starts_with('{');
            assert!(!is_shown || error.contains(value), "{value}: {error}");
        }
    }
}

#[test]
fn no_key_of_the_service_is_forgotten() {
    for Table { file, path, keys } in TABLES {
        // Who misspells a key is told all that there are.
        let refused = run(&["serve", "--check"], &[], &with_key(file, "no_such_key", "1"));
        let error = text(&refused.stderr);
        let (_, listed) = error.split_once("expected one of ").expect("the keys");
        let there: BTreeSet<_> =
            listed.trim().split(", ").map(|key| key.trim_matches('`')).collect();
        let tried: BTreeSet<_> = keys.iter().map(|(key, ..)| *key).collect();
        assert_eq!(tried, there, "{path}");
    }
}
