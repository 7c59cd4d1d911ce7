//! One integration binary for the whole workspace.

mod load;
mod probe;
