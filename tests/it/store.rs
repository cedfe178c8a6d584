//! Keys and the ledger, on SQLite and on a real Postgres.

mod billing;
mod keys;
mod ledger;
mod limits;
mod pooler;
mod refusals;
mod secrets;
mod support;
mod usage;
