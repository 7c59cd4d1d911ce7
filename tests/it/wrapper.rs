//! The server as a real process, in front of a CLI that is one.

mod faults;
mod life;
mod limits;
mod models;
mod protocol;
mod start;
mod usage;
