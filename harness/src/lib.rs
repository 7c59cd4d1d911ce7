//! Proves whether a server that restarts its CLI leaks: this package has the commands, and what they put together.
//!
//! Measuring and judging are separate. The driver writes a [`leakgate_judge::sample::Run`] and knows nothing of verdicts;
//! [`leakgate_judge::verdict::judge`] reads a `Run`, now or a year later, and knows nothing of processes, clocks or files.
//! [`leakgate_report`] turns a verdict into text and decides nothing. The driver emits [`leakgate_drive::event`]s;
//! [`progress`] shows them.
//!
//! # Map
//!
//! From top to bottom; a module uses only those below it (`tests/it/layering.rs` reads this table).
//!
//! | file | has |
//! | --- | --- |
//! | `harness/src/commands.rs` | the command line, a file for each verb |
//! | `harness/src/calibration.rs` | how small a leak the gate finds: many runs with a leak of each size, and with none |
//! | `harness/src/run.rs` | controls, then scenarios, then the one repetition of a leak; `harness/src/run/profile.rs` profiles one; `harness/src/run/builds.rs` drives two builds |
//! | `harness/src/progress.rs` | progress on the terminal |
//! | `harness/src/environment.rs` | the machine and the programs of a run |
//! | `harness/src/programs.rs` | where the other three programs are, and whether they are fresh |
//! | `harness/src/control.rs` | which leaks are planted, and what each has to show |
//! | `harness/src/conformance.rs` | the recorded conversations, held again with the mock and a real CLI |
//!
//! # Packages
//!
//! A package uses only those below it; the compiler enforces that.
//!
//! | package | has | knows nothing of |
//! | --- | --- | --- |
//! | `harness/crates/report` | the report in its formats, a file each | processes |
//! | `harness/crates/history` | nights: history, baselines, budgets, the statistics of two builds | processes |
//! | `harness/crates/drive` | a server's life: start, load, rest, checkpoint, stop; what is sampled from outside | verdicts |
//! | `harness/crates/sut` | inside the server under test: dhat, the stats channel, planted leaks | the driver |
//! | `harness/crates/judge` | what a run measured, and the verdict on it | processes, clocks |
//! | `harness/crates/mock` | `mock-claude`, and a stand-in for the Messages API | servers, verdicts |
//! | `harness/crates/session` | recorded sessions, the recorder, scrubbing, the messages of the stats channel | servers, verdicts |
//!
//! # Programs
//!
//! `leakgate` starts `sut` and `sut-heap`, the same server on two allocators, and these start `mock-claude`. They are
//! processes of their own so that dhat, the harness and the load never share a heap. `sut wrapper …` is the product's own
//! command, for tests of its flags and signals.

pub mod calibration;
pub mod commands;
pub mod conformance;
pub mod control;
pub mod environment;
pub mod programs;
pub mod progress;
pub mod run;
