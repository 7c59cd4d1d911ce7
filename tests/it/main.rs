//! The integration tests: real processes, real pipes.

mod mock;
