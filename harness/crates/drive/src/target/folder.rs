//! The folders that a run gives to its target, so that every file left in them is the target's.

use std::fs::{self, Permissions};
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use crate::watchdog::{MARK, WatchedFolder};

/// Variable and folder of each place where a server or a CLI puts files.
const PLACES: [(&str, &str); 4] =
    [("HOME", "home"), ("TMPDIR", "tmp"), ("XDG_RUNTIME_DIR", "run"), ("CCW_RUNTIME_DIR", "servers")];

/// A private folder; it is removed when this is dropped.
#[derive(Debug)]
pub struct Folder(WatchedFolder);

impl Folder {
    /// Makes the folder, which nobody else can read, and the places in it.
    pub fn new() -> io::Result<Self> {
        let folder = WatchedFolder::new("leakgate-")?;
        for (_, place) in PLACES {
            let path = folder.path().join(place);
            fs::create_dir(&path)?;
            fs::set_permissions(&path, Permissions::from_mode(0o700))?;
        }
        Ok(Self(folder))
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        self.0.path()
    }

    /// The environment that leads a target into it.
    pub fn env(&self) -> impl Iterator<Item = (&'static str, PathBuf)> + '_ {
        let places = PLACES.into_iter().map(|(variable, place)| (variable, self.path().join(place)));
        places.chain([("MOCK_CLAUDE_COUNTER", self.counter()), (MARK, self.path().to_owned())])
    }

    /// Where the mock counts the processes that were started of it. It lies beside the places: it is not the target's.
    #[must_use]
    pub fn counter(&self) -> PathBuf {
        self.path().join("processes")
    }
}
