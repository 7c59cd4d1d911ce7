//! The programs that leakgate starts, which lie beside it.

use std::env;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};

use thiserror::Error;

/// Where the programs are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Siblings {
    /// Our wrapper on the system's allocator.
    pub sut: PathBuf,
    /// Our wrapper under dhat.
    pub sut_heap: PathBuf,
    /// The CLI that plays recordings.
    pub mock: PathBuf,
}

/// Why they cannot be used.
#[derive(Debug, Error)]
pub enum SiblingError {
    /// leakgate does not know where it is itself.
    #[error("cannot find leakgate's own program: {0}")]
    Unknown(io::Error),
    /// One is missing.
    #[error("{} is missing; build it with `cargo build{} -p leakgate --bins`, or run `cargo gate`", .0.display(), release())]
    Missing(PathBuf),
    /// Cargo could not be started.
    #[error("cannot start {}: {source}; build the programs with `cargo build{} -p leakgate --bins`", cargo.display(), release())]
    Cargo {
        /// The program that was named by the variable CARGO.
        cargo: PathBuf,
        /// The system's words.
        source: io::Error,
    },
    /// They do not compile.
    #[error("cargo could not build the programs under test ({0}); its messages are above")]
    Build(ExitStatus),
}

impl Siblings {
    /// Finds them; under `cargo run`, builds them first, so that a fresh clone works and none is out of date.
    pub fn find() -> Result<Self, SiblingError> {
        let own = env::current_exe().map_err(SiblingError::Unknown)?;
        if let Some(cargo) = env::var_os("CARGO").filter(|_| env::var_os("CARGO_MANIFEST_DIR").is_some()) {
            build(Path::new(&cargo))?;
        }
        let beside = |name: &str| {
            let path = own.with_file_name(name);
            if path.is_file() { Ok(path) } else { Err(SiblingError::Missing(path)) }
        };
        Ok(Self { sut: beside("sut")?, sut_heap: beside("sut-heap")?, mock: beside("mock-claude")? })
    }
}

/// In the profile in which leakgate itself was built.
fn build(cargo: &Path) -> Result<(), SiblingError> {
    #[expect(clippy::disallowed_methods, reason = "cargo ends its own children, and is waited for right here")]
    let mut command = Command::new(cargo);
    command.args(["build", "--quiet", "-p", "leakgate", "--bins"]).args(release().split_whitespace());
    let status = command.status().map_err(|source| SiblingError::Cargo { cargo: cargo.to_owned(), source })?;
    if status.success() { Ok(()) } else { Err(SiblingError::Build(status)) }
}

fn release() -> &'static str {
    if cfg!(debug_assertions) { "" } else { " --release" }
}
