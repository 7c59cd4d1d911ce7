//! The server as a real process, in front of a CLI that is one.

mod binding;
mod check;
mod config;
mod crowds;
mod faults;
mod keys;
mod life;
mod limits;
mod logging;
mod metrics;
mod models;
mod protocol;
mod responses;
mod start;
mod usage;
