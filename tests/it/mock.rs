//! `thermograph mock`.

mod answers;
mod behaviour;
mod door;
mod endpoints;
mod formats;
