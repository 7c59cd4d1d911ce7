//! The integration tests: real processes, real pipes.

// `cfg(test)` always holds here; it tells clippy that helpers without `#[test]` are test code too.
#[cfg(test)]
mod mock;
