//! One integration binary for the whole workspace. Real processes, real pipes, real signals.
#![cfg(test)]

mod clients;
mod commands;
mod fake_api;
mod features;
mod figures;
mod gate;
mod guard;
mod judge;
mod kubernetes;
mod layering;
mod links;
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
mod shards;
mod support;
mod workflows;
mod wrapper;
