//! leakgate.
fn main() {}
