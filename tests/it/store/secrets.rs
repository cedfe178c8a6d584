//! Secrets are seen nowhere: they are planted, and everything that is shown is looked through.

use serde_json::json;

use super::support::{Mock, Postgres, Store, ask, database, get};
use crate::{
    gateway::support::whole,
    support::{self, Server, postgres::PASSWORD, redis::Redis, thermograph, wait},
};

const SHOWN: [&str; 8] = [
    "/metrics",
    "/debug/stalls",
    "/debug/handlers",
    "/debug/tasks",
    "/debug/diagnosis",
    "/debug/doctor",
    "/debug/spans?seconds=1&format=folded",
    "/debug/fgprof?seconds=1&format=folded",
];

#[test]
fn what_is_planted_is_found_nowhere() {
    let postgres = Postgres::start();
    let (store, mock) = (Store::postgres(&postgres), Mock::start(&[]));
    // What a client sends is asked to be passed on; and everything is logged that can be.
    let toml = store
        .toml(&mock, "require_keys = true")
        .replace("[upstreams.a]\n", "[upstreams.a]\nforward_authorization = true\n");
    // Redis says no to a password, and may say it back.
    let redis = Redis::start();
    let url = redis.url().replace("redis://", "redis://:planted-redis-password@");
    let toml = format!(
        "[log]\nfilter = \"trace\"\n[redis]\nurl = \"{url}\"\n[cache]\nanswers = \"1MiB\"\n{toml}"
    );
    let server = Server::configured("127.0.0.1:0", &toml, &[]);
    let (id, key) = store.create(&["--requests-per-minute=1000"]);
    let wrong = format!("tg-{}", "planted_wrong_key_".repeat(3)[..43].to_owned());
    let mut texts = Vec::new();
    for key in [&*key, &wrong, "planted-foreign-key"] {
        texts.push(ask(&server, key, &whole()).text);
        let mut unknown = whole();
        unknown["model"] = json!("no-such");
        texts.push(ask(&server, key, &unknown).text);
        texts.push(get(&server, key, "/v1/usage?key=all").text);
        texts.push(get(&server, key, &format!("/v1/usage?key={key}")).text);
    }
    assert!(store.keys(&["revoke", &id]).status.success());
    wait("it is good no more", || ask(&server, &key, &whole()).status == 401);
    wait("the rows are written", || store.rows() > 0);
    let failed = server.metric(r#"thermograph_redis_requests_total{outcome="failed"}"#);
    assert!(failed > 0, "Redis was asked");

    texts.extend(SHOWN.map(|path| support::get(&server.diagnostics(path)).text));
    let rows = "SELECT CAST(row_to_json(ledger) AS TEXT) FROM ledger";
    texts.extend(database::texts(&store.url, rows));
    let mut config = thermograph();
    let printed = config.arg("--config").arg(server.config()).arg("config").output().expect("ran");
    texts.push(String::from_utf8(printed.stdout).expect("text"));
    texts.push(server.log());
    assert!(texts.last().is_some_and(|log| log.contains("TRACE")), "everything is logged");

    let planted = [
        &key["tg-".len()..],
        "planted_wrong_key",
        "planted-foreign-key",
        "planted-upstream-key",
        "planted-redis-password",
        PASSWORD,
    ];
    for text in &texts {
        let found = planted.iter().find(|secret| text.contains(**secret));
        let around = |secret: &&str| {
            let at = text.find(*secret).unwrap_or_default();
            text[at.saturating_sub(500)..].chars().take(1000).collect::<String>()
        };
        assert!(found.is_none(), "{:?}", found.map(around));
    }
}

#[test]
fn a_key_of_ours_goes_to_no_upstream() {
    let store = Store::sqlite();
    let upstream = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = upstream.local_addr().expect("an address");
    let toml = format!(
        "{}[upstreams.a]\nurl = \"http://{address}\"\nforward_authorization = true\n\
         discover = false\n[upstreams.a.health]\ninterval = \"1h\"\n\
         [models.mock]\nupstreams = [\"a\"]\n",
        store.section()
    );
    let server = Server::configured("127.0.0.1:0", &toml, &[]);
    let (_, key) = store.create(&[]);
    let heads = || {
        use std::io::{BufRead as _, BufReader, Read as _, Write as _};
        loop {
            let (stream, _) = upstream.accept().expect("a connection");
            let mut reader = BufReader::new(stream);
            let mut head = String::new();
            while !head.ends_with("\r\n\r\n") && reader.read_line(&mut head).expect("a line") > 0 {}
            if head.starts_with("POST") {
                let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
                let length = length.expect("a length").parse().expect("a number");
                reader.read_exact(&mut vec![0; length]).expect("a body");
                let answer = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n\
                              content-length: 14\r\nconnection: close\r\n\r\n{\"choices\":[]}";
                reader.get_mut().write_all(answer.as_bytes()).expect("sent");
                return head;
            }
        }
    };
    let head_with = |key: &str| {
        std::thread::scope(|scope| {
            let asked = scope.spawn(|| ask(&server, key, &whole()));
            let head = heads();
            assert_eq!(asked.join().expect("no panic").status, 200);
            head
        })
    };
    assert!(head_with("sk-a-client-s-own").contains("sk-a-client-s-own"));
    let head = head_with(&key);
    assert!(!head.contains(&key) && !head.contains("authorization"), "{head}");
}
