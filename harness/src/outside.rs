//! Somebody else's server, driven and watched from the outside: nothing in it has to change.
//!
//! `settings` says what to run and how, from a `leakgate.toml` and flags. `server` starts it, knows when it is ready or
//! idle, makes it restart its CLI and stops it. `watch` looks at its processes while the load runs. `driver` has the steps
//! (a batch, a reading, a checkpoint), `learn` finds out what kind of server it is, `killed` ends a second life of it, and
//! `drive` brings them together into a [`crate::sample::TargetRun`], which is judged as any other.
//!
//! What counts as a restart is a CLI process that was not there before. A server that shows none, or one for each
//! request, is judged by its turns.

pub mod assignment;
mod checkpoint;
pub mod drive;
mod driver;
mod http;
mod killed;
mod learn;
mod server;
pub mod settings;
mod watch;
