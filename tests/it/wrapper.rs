//! The server as a real process, in front of a CLI that is one.

mod faults;
mod life;
mod limits;
mod protocol;
mod responses;
mod usage;
