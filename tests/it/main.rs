//! Integration tests: one binary. Real processes, real pipes, real signals.

// `cfg(test)` tells clippy that the helpers are tests too.
#[cfg(test)]
mod judge;
#[cfg(test)]
mod layering;
#[cfg(test)]
mod mock;
#[cfg(test)]
mod report;
#[cfg(test)]
mod runs;
#[cfg(test)]
mod support;
#[cfg(test)]
mod wrapper;
