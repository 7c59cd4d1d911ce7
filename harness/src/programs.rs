//! The programs that leakgate starts, which lie beside it.

use std::env;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};

use thiserror::Error;

/// The file names of the programs.
pub const NAMES: [&str; 3] = ["sut", "sut-heap", "mock-claude"];

/// Where the programs are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Programs {
    /// Our wrapper on the system's allocator.
    pub sut: PathBuf,
    /// Our wrapper under dhat.
    pub sut_heap: PathBuf,
    /// The CLI that plays recordings.
    pub mock: PathBuf,
}

/// Why the programs cannot be used, and what to do.
#[derive(Debug, Error)]
pub enum ProgramsError {
    /// leakgate does not know where it is itself.
    #[error("cannot find leakgate's own program: {0}")]
    Unknown(io::Error),
    /// One is missing.
    #[error("{} is missing; build it with `cargo build{} -p leakgate --bins`, or run `cargo gate`", .0.display(), release_flag())]
    Missing(PathBuf),
    /// Cargo could not be started.
    #[error("cannot start {}: {source}; build the programs with `cargo build{} -p leakgate --bins`", cargo.display(), release_flag())]
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

impl Programs {
    /// The programs in `folder`, whether they exist or not.
    #[must_use]
    pub fn in_folder(folder: &Path) -> Self {
        let [sut, sut_heap, mock] = NAMES.map(|name| folder.join(name));
        Self { sut, sut_heap, mock }
    }

    /// All of them, in the order of [`NAMES`].
    #[must_use]
    pub fn paths(&self) -> [&Path; 3] {
        [&self.sut, &self.sut_heap, &self.mock]
    }

    /// Finds them; under `cargo run`, builds them first, so that a fresh clone works and none is out of date.
    pub fn find() -> Result<Self, ProgramsError> {
        let own = env::current_exe().map_err(ProgramsError::Unknown)?;
        if let Some(cargo) = env::var_os("CARGO").filter(|_| env::var_os("CARGO_MANIFEST_DIR").is_some()) {
            build_programs(Path::new(&cargo))?;
        }
        let found = Self::in_folder(own.parent().unwrap_or(Path::new(".")));
        let missing = found.paths().into_iter().find(|path| !path.is_file()).map(Path::to_owned);
        missing.map_or(Ok(found), |path| Err(ProgramsError::Missing(path)))
    }
}

/// In the profile in which leakgate itself was built.
fn build_programs(cargo: &Path) -> Result<(), ProgramsError> {
    #[expect(clippy::disallowed_methods, reason = "cargo ends its own children, and is waited for right here")]
    let mut command = Command::new(cargo);
    command.args(["build", "--quiet", "-p", "leakgate", "--bins"]).args(release_flag().split_whitespace());
    let status = command.status().map_err(|source| ProgramsError::Cargo { cargo: cargo.to_owned(), source })?;
    if status.success() { Ok(()) } else { Err(ProgramsError::Build(status)) }
}

fn release_flag() -> &'static str {
    if cfg!(debug_assertions) { "" } else { " --release" }
}
