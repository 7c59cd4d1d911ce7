//! The folders that a run gives to its target, so that every file left in them is the target's.

use std::fs::{self, Permissions};
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use tempfile::TempDir;

/// Variable and folder of each place where a server or a CLI puts files.
const PLACES: [(&str, &str); 4] =
    [("HOME", "home"), ("TMPDIR", "tmp"), ("XDG_RUNTIME_DIR", "run"), ("CCW_RUNTIME_DIR", "servers")];

/// A private folder; it is removed when this is dropped.
#[derive(Debug)]
pub struct Folder {
    root: TempDir,
}

/// What runs in it may be ending still, and puts files there meanwhile: so many tries, so far apart.
const TRIES: u32 = 300;
const PAUSE: Duration = Duration::from_millis(10);

impl Drop for Folder {
    fn drop(&mut self) {
        let gone = || fs::remove_dir_all(self.path()).is_ok() || !self.path().exists();
        for _ in 0..TRIES {
            if gone() {
                return;
            }
            thread::sleep(PAUSE);
        }
    }
}

impl Folder {
    /// Makes the folder, which nobody else can read, and the places in it.
    pub fn new() -> io::Result<Self> {
        let root = tempfile::Builder::new().prefix("leakgate-").tempdir()?;
        for (_, place) in PLACES {
            let path = root.path().join(place);
            fs::create_dir(&path)?;
            fs::set_permissions(&path, Permissions::from_mode(0o700))?;
        }
        Ok(Self { root })
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        self.root.path()
    }

    /// The environment that leads a target into it.
    pub fn env(&self) -> impl Iterator<Item = (&'static str, PathBuf)> + '_ {
        let places = PLACES.into_iter().map(|(variable, place)| (variable, self.root.path().join(place)));
        places.chain([("MOCK_CLAUDE_COUNTER", self.counter())])
    }

    /// Where the mock counts the processes that were started of it. It lies beside the places: it is not the target's.
    #[must_use]
    pub fn counter(&self) -> PathBuf {
        self.root.path().join("processes")
    }
}
