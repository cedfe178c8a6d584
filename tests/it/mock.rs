//! `thermograph mock`.

mod answers;
mod behaviour;
mod door;
