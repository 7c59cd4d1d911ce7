//! The HTTP layer over a real socket, with a backend that does what the test tells it.

mod answers;
mod chat;
mod connections;
mod errors;
mod keys;
mod odd;
mod refusals;
mod stopping;
mod support;
mod traced;
