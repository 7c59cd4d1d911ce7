//! `run.json` and `verdict.json` on disk: written whole or not at all, read with an answer to "and now?".

use std::fs::{self, Permissions};
use std::io::{self, BufWriter, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use tempfile::Builder;

use crate::sample::{FORMAT, Run};

/// Why a file could not be written or read, and what to do next.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The file cannot be opened or read.
    #[error(
        "cannot read {path}: {source}. Check the path; `leakgate run` names the run.json that it wrote in its last lines"
    )]
    Read {
        /// The file.
        path: PathBuf,
        /// The system error.
        source: io::Error,
    },
    /// The file is not a run.
    #[error("{path} is not a run.json of leakgate: {source}. Was it cut short, or is it another file?")]
    NotARun {
        /// The file.
        path: PathBuf,
        /// Where it stops making sense.
        source: serde_json::Error,
    },
    /// The file is of another format.
    #[error(
        "{path} has format {found}, and this build reads format {FORMAT}. Judge it with the leakgate of its own time \
         (environment.leakgate and environment.commit in the file), or measure again"
    )]
    OtherFormat {
        /// The file.
        path: PathBuf,
        /// The format that it says it has.
        found: u64,
    },
    /// The value cannot be written as JSON.
    #[error("cannot write {path} as JSON: {source}. This is a defect of leakgate: please report it")]
    Encode {
        /// The file.
        path: PathBuf,
        /// The value that could not be encoded.
        source: serde_json::Error,
    },
    /// The file cannot be written; what was there before is untouched.
    #[error("cannot write {path}: {source}. {}", write_advice(source))]
    Write {
        /// The file.
        path: PathBuf,
        /// The system error.
        source: io::Error,
    },
}

/// Reads a run. The format is looked at first, so that a file of another time is told apart from a broken one.
pub fn load(path: &Path) -> Result<Run, StoreError> {
    let text = fs::read(path).map_err(|source| StoreError::Read { path: path.into(), source })?;
    let not_a_run = |source| StoreError::NotARun { path: path.into(), source };
    let head: Head = serde_json::from_slice(&text).map_err(not_a_run)?;
    if head.format != u64::from(FORMAT) {
        return Err(StoreError::OtherFormat { path: path.into(), found: head.format });
    }
    serde_json::from_slice(&text).map_err(not_a_run)
}

/// Writes a run, so that a reader sees the old file or the new one and never half of one.
pub fn save(path: &Path, run: &Run) -> Result<(), StoreError> {
    save_json(path, run)
}

/// Writes any value as indented JSON in the same way as [`save`]: a file beside it, synced, then a rename.
pub fn save_json(path: &Path, value: &impl Serialize) -> Result<(), StoreError> {
    // Encoded before the disk is touched: what goes wrong after this line is the disk's doing.
    let mut text =
        serde_json::to_vec_pretty(value).map_err(|source| StoreError::Encode { path: path.into(), source })?;
    text.push(b'\n');
    save_bytes(path, &text)
}

/// Writes bytes as they are, in the same way.
pub fn save_bytes(path: &Path, bytes: &[u8]) -> Result<(), StoreError> {
    write_whole(path, bytes).map_err(|source| StoreError::Write { path: path.into(), source })
}

/// Writes a text in the same way as [`save`].
pub fn save_text(path: &Path, text: &str) -> Result<(), StoreError> {
    write_whole(path, text.as_bytes()).map_err(|source| StoreError::Write { path: path.into(), source })
}

#[derive(Deserialize)]
struct Head {
    format: u64,
}

fn write_whole(path: &Path, text: &[u8]) -> io::Result<()> {
    let folder = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    fs::create_dir_all(folder)?;
    // In the same folder, because a rename across file systems is a copy. Dropped on an error, which removes it.
    // Readable like any report, where the umask allows it: a temporary file is private otherwise.
    let file = Builder::new().permissions(Permissions::from_mode(0o666)).tempfile_in(folder)?;
    let mut writer = BufWriter::new(file);
    writer.write_all(text)?;
    let file = writer.into_inner().map_err(io::IntoInnerError::into_error)?;
    // Before the rename: a crash between the two could otherwise leave the new name with an empty file.
    file.as_file().sync_all()?;
    file.persist(path)?;
    Ok(())
}

fn write_advice(source: &io::Error) -> &'static str {
    match source.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            "The disk is full: free some space, or choose another folder, and run again"
        }
        io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
            "Choose a folder that this user may write to"
        }
        _ => "Nothing was changed there; choose another folder, or fix this one, and run again",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sample::Environment;

    fn run() -> Run {
        Run {
            format: FORMAT,
            seed: 3,
            environment: Environment::default(),
            controls: vec![],
            targets: vec![],
            suite: None,
        }
    }

    #[test]
    fn what_is_saved_is_loaded_again_and_nothing_is_left_beside_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("new/run.json");
        save(&path, &run()).unwrap();
        save(&path, &Run { seed: 4, ..run() }).unwrap();
        assert_eq!(load(&path).unwrap(), Run { seed: 4, ..run() });
        assert_eq!(fs::read_dir(path.parent().unwrap()).unwrap().count(), 1);
    }

    #[test]
    fn a_run_of_another_format_is_told_apart_from_a_broken_one() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("run.json");
        fs::write(&path, r#"{"format": 99, "unknown": true}"#).unwrap();
        let error = load(&path).unwrap_err();
        assert!(matches!(error, StoreError::OtherFormat { found: 99, .. }), "{error}");
        fs::write(&path, r#"{"format": 1, "seed""#).unwrap();
        assert!(matches!(load(&path).unwrap_err(), StoreError::NotARun { .. }));
    }

    #[test]
    fn a_file_that_cannot_be_written_is_named_with_what_to_do_and_the_old_one_stays() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("run.json");
        save(&path, &run()).unwrap();
        let below = path.join("run.json");
        let error = save(&below, &run()).unwrap_err().to_string();
        assert!(error.contains(&below.display().to_string()) && error.contains("choose another folder"), "{error}");
        assert_eq!(load(&path).unwrap(), run());
    }

    #[test]
    fn a_full_disk_is_called_by_its_name() {
        let full = io::Error::from(io::ErrorKind::StorageFull);
        let error = StoreError::Write { path: "run.json".into(), source: full }.to_string();
        assert!(error.contains("run.json") && error.contains("free some space"), "{error}");
    }
}
