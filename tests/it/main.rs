//! One integration binary for the whole workspace. Real processes, real pipes, real signals.
#![cfg(test)]

mod clients;
mod commands;
mod fake_api;
mod gate;
mod judge;
mod layering;
mod load;
mod mock;
mod nightly;
mod offline;
mod openmetrics;
mod outside;
mod power;
mod probe;
mod profile;
mod record;
mod report;
mod runs;
mod support;
mod wrapper;
