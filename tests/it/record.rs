//! `leakgate record` between a caller and a CLI, and what can be done with the recordings.

mod ends;
mod failing;
mod process;
mod recordings;
mod scrubbed;
mod transparent;
