//! Keys and the ledger, on SQLite and on a real Postgres.

mod billing;
mod fair;
mod keys;
mod ledger;
mod limits;
mod pooler;
mod refusals;
mod secrets;
pub(crate) mod support;
mod usage;
