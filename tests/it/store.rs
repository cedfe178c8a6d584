//! Keys and the ledger, on SQLite and on a real Postgres.

mod keys;
mod ledger;
mod refusals;
mod secrets;
mod support;
mod usage;
