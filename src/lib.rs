//! An OpenAI-compatible server in front of the Claude Code CLI.

pub mod cli;
pub mod command;
pub mod config;
pub mod http;
pub mod invoker;
pub mod keeper;
pub mod openai;
pub mod pool;
pub mod process_tree;
pub mod runtime;
pub mod server;
pub mod shutdown;
pub mod translate;
pub mod turn;
