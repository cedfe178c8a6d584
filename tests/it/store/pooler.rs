//! Postgres behind a pooler in transaction mode.

use std::thread;

use super::support::{Mock, Postgres, Server, Store, ask, request};
use crate::{
    gateway::support::{Client, Reply, crowd, whole},
    support::{pgbouncer::PgBouncer, wait},
};

/// Gateways that look up a key for each request.
fn gateway(pooler: &PgBouncer, mock: &Mock, more: &str) -> (Store, Server) {
    let store = Store { folder: tempfile::tempdir().expect("a folder"), url: pooler.url() };
    let server = store.gateway(mock, &format!("key_cache_ttl = \"1ms\"\n{more}"));
    (store, server)
}

#[test]
fn without_statement_cache_keys_and_ledger_are_behind_the_pooler() {
    const CLIENTS: u32 = 8;
    const REQUESTS: u32 = 50;
    let (postgres, mock) = (Postgres::start(), Mock::start(&[]));
    // Fewer connections than clients: transactions go to either.
    let pooler = PgBouncer::before(&postgres, 2);
    let gateways = [(); 2].map(|()| gateway(&pooler, &mock, "statement_cache = 0"));
    let direct = Store::postgres(&postgres);
    let (_, key) = direct.create(&[]);
    crowd().block_on(async {
        let clients = (0..CLIENTS).map(|number| {
            let (address, key) = (gateways[number as usize % 2].1.addresses.api, key.clone());
            async move {
                let mut client = Client::new(address);
                for _ in 0..REQUESTS {
                    let reply = Reply::read(client.send(request(&key, &whole())).await).await;
                    assert_eq!(reply.status, 200, "{reply:?}");
                }
            }
        });
        clients.collect::<tokio::task::JoinSet<_>>().join_all().await;
    });
    wait("every request is in the ledger", || direct.rows() == i64::from(CLIENTS * REQUESTS));
    for (_, server) in &gateways {
        assert!(!server.log().contains("prepared statement"), "{}", server.log());
        assert_eq!(server.metric("thermograph_ledger_spooled_total"), 0);
    }
}

#[test]
fn with_statement_cache_the_error_names_the_setting() {
    let (postgres, mock) = (Postgres::start(), Mock::start(&[]));
    let pooler = PgBouncer::before(&postgres, 1);
    let gateways = [(); 2].map(|()| gateway(&pooler, &mock, ""));
    let (_, key) = Store::postgres(&postgres).create(&[]);
    wait("a prepared statement is in the way", || {
        thread::scope(|scope| {
            for (_, server) in &gateways {
                scope.spawn(|| ask(server, &key, &whole()));
            }
        });
        let told = "behind a pooler in transaction mode, `store.statement_cache` has to be 0";
        gateways.iter().any(|(_, server)| server.log().contains(told))
    });
}
