//! Somebody else's server, driven and watched from the outside: nothing in it has to change.
//!
//! `settings` says what to run and how, from a `leakgate.toml` and flags. `server` starts it, knows when it is ready or
//! idle, makes it restart its CLI and stops it. `proof` makes sure, before any load, that the CLI which it starts is the
//! mock, by what `scout` sees of its processes and `cli_check` makes of it. `watch` looks at its processes while the load
//! runs. `detect` finds out what kind of server it is, `settle` waits until nothing moves, `sigkill` ends a second life of
//! it, and `target` brings them together for the driver.
//!
//! A restart is a CLI process that was not there before. A server that shows none, or one for each
//! request, is judged by its turns.

pub mod assignment;
mod cli_check;
mod detect;
mod http;
mod proof;
mod scout;
mod server;
pub mod settings;
mod settle;
mod sigkill;
mod target;
mod watch;
