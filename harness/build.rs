//! Tells the program which compiler built it, for its reports.

use std::env;
use std::process::Command;

fn main() {
    let rustc = env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    #[expect(clippy::disallowed_methods, reason = "the compiler is waited for right here")]
    let output = Command::new(rustc).arg("--version").output();
    let version = output.ok().filter(|output| output.status.success()).map(|output| output.stdout).unwrap_or_default();
    let version = String::from_utf8_lossy(&version);
    let version = if version.trim().is_empty() { "unknown" } else { version.trim() };
    println!("cargo::rustc-env=LEAKGATE_RUSTC={version}");
    println!("cargo::rerun-if-changed=build.rs");
}
