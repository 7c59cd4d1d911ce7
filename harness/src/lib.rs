//! Proves whether a server that restarts its CLI leaks: it drives, measures and judges.
//!
//! Measuring and judging are separate. What measures writes [`sample::Run`] and knows nothing of verdicts;
//! [`verdict::judge`] reads a `Run`, now or a year later, and knows nothing of processes, clocks or files.
//! [`report`] turns a verdict into text and decides nothing. What runs emits [`event`]s; [`progress`] shows them.
//!
//! # Map
//!
//! From top to bottom; a module uses only those below it (`tests/it/layering.rs`).
//!
//! | file | has |
//! | --- | --- |
//! | `harness/src/cli.rs` | the command line; `harness/src/exit.rs` has the exit codes |
//! | `harness/src/run.rs` | controls, then scenarios, then the one repetition of a leak; `harness/src/run/profile.rs` the profile of one |
//! | `harness/src/suite.rs` | large suites: which unit falls to which shard, and shards merged to one run. Pure |
//! | `harness/src/power.rs` | many runs with a leak of each size, and with none: how good the gate is |
//! | `harness/src/control.rs` | which leaks are planted, and what each has to show |
//! | `harness/src/scenario.rs` | the plans; `harness/src/scenario/drive.rs` carries one out: load, rest, checkpoint, stop |
//! | `harness/src/load.rs` | requests and the check of every reply |
//! | `harness/src/target.rs` | the server under test as a process |
//! | `harness/src/probe.rs` | processes, memory, descriptors, files: from outside |
//! | `harness/src/strays.rs` `harness/src/guard.rs` | what a server orphaned, counted and ended; what a killed leakgate would leave |
//! | `harness/src/sut.rs` `harness/src/plant.rs` | inside the server under test: the stats channel, the planted leaks |
//! | `harness/src/siblings.rs` | where the other three programs are, and that they are fresh |
//! | `harness/src/outside.rs` | somebody else's server: its settings, its life, what is watched of it, its checkpoints |
//! | `harness/src/sample.rs` `harness/src/store.rs` | what is measured, and how it is kept |
//! | `harness/src/nightly.rs` | nights: their history, baselines and budgets, and two builds compared by statistics; `harness/src/run/builds.rs` drives the builds |
//! | `harness/src/verdict.rs` | the rules, a file each in `verdict/` |
//! | `harness/src/attribution.rs` | from heap profiles to the lines that keep memory. Pure; `harness/src/scenario/profile.rs` makes the profiles |
//! | `harness/src/diff.rs` | what grew between two runs or two profiles. Pure |
//! | `harness/src/report.rs` | the report in its formats, a file each in `report/`; `harness/src/report/facts.rs` has what all of them say |
//! | `harness/src/replay.rs` | the recorded conversations, held again with the mock and a real CLI |
//! | `harness/src/fake_api.rs` | a stand-in for the Messages API, for a real CLI |
//! | `harness/src/real_cli.rs` | the real CLI: where it is, and its environment |
//! | `harness/src/secrets.rs` | which variables of the environment may open an account |
//! | `harness/src/isolation.rs` | a network namespace with loopback alone, in which a real CLI may run |
//! | `harness/src/record.rs` | stands in the CLI's place, passes every byte on and records the session |
//! | `harness/src/recordings.rs` | what can be done with a recording: check, show, trim |
//! | `harness/src/scrub.rs` | takes secrets, ids, names and paths out of what is recorded |
//! | `harness/src/recording.rs` `harness/src/mock.rs` | the recordings of the real CLI, and the mock that plays them |
//!
//! # Programs
//!
//! `leakgate` starts `sut` and `sut-heap`, the same server on two allocators, and these start `mock-claude`. They are
//! processes of their own so that dhat, the harness and the load never share a heap. `sut wrapper …` is the product's own
//! command, for tests of its flags and signals.

pub mod attribution;
pub mod cli;
pub mod control;
pub mod diff;
pub mod environment;
pub mod event;
pub mod exit;
pub mod fake_api;
pub mod guard;
pub mod isolation;
pub mod load;
pub mod mock;
pub mod nightly;
pub mod outside;
pub mod plant;
pub mod power;
pub mod probe;
pub mod progress;
pub mod real_cli;
pub mod record;
pub mod recording;
pub mod recordings;
pub mod replay;
pub mod report;
pub mod run;
pub mod sample;
pub mod scenario;
pub mod scrub;
pub mod secrets;
pub mod siblings;
pub mod store;
pub mod strays;
pub mod suite;
pub mod sut;
pub mod target;
pub mod verdict;
