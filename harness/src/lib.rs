//! leakgate
