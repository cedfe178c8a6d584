//! Addresses that the server listens on.

use std::net::TcpListener;

use super::{run, text};

/// Flags and keys of the addresses.
const LISTENERS: [(&str, &str); 3] = [
    ("--listen", "api.listen"),
    ("--diagnostics-listen", "diagnostics.listen"),
    ("--console-listen", "diagnostics.console_listen"),
];

#[test]
fn address_in_use_is_named_with_its_key_and_one_cause() {
    let taken = TcpListener::bind("127.0.0.1:0").expect("bound");
    let address = taken.local_addr().expect("an address");
    for (flag, key) in LISTENERS {
        let given = LISTENERS.map(|(other, _)| {
            if other == flag {
                format!("{other}={address}")
            } else {
                format!("{other}=127.0.0.1:0")
            }
        });
        let args: Vec<_> =
            std::iter::once("serve").chain(given.iter().map(String::as_str)).collect();
        let refused = run(&args, &[], "");
        let error = text(&refused.stderr);
        let said = format!("{key}: cannot listen on `{address}`: Address already in use");
        assert_eq!(refused.status.code(), Some(1), "{error}");
        assert!(error.contains(&said), "{said}: {error}");
        assert_eq!(error.matches("already in use").count(), 1, "{error}");
    }
}

#[test]
fn two_listeners_at_one_address_are_refused() {
    for (file, key, other) in [
        ("[api]\nlisten = \"127.0.0.1:6060\"\n", "diagnostics.listen", "`api.listen`"),
        ("[api]\nlisten = \"0.0.0.0:6060\"\n", "diagnostics.listen", "`api.listen`"),
        (
            "[diagnostics]\nlisten = \"127.0.0.1:6669\"\n",
            "diagnostics.console_listen",
            "`diagnostics.listen`",
        ),
    ] {
        for args in [&["serve", "--check"][..], &["serve"]] {
            let refused = run(args, &[], file);
            let error = text(&refused.stderr);
            assert_eq!(refused.status.code(), Some(1), "{file}");
            let said = [&*format!("{key} = \"127.0.0.1:"), "an address other than", other];
            assert!(said.iter().all(|said| error.contains(said)), "{said:?}: {error}");
        }
    }
    for file in [
        "[api]\nlisten = \"127.0.0.1:0\"\n[diagnostics]\nlisten = \"127.0.0.1:0\"\n",
        "[diagnostics]\nlisten = \"127.0.0.1:6669\"\nconsole = \"off\"\n",
        "[api]\nlisten = \"unix:/tmp/a\"\n[upstreams.a]\nurl = \"http://127.0.0.1:8080\"\n",
    ] {
        let checked = run(&["serve", "--check"], &[], file);
        assert!(checked.status.success(), "{file}: {}", text(&checked.stderr));
    }
}
