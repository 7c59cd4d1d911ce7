//! The trials on disk: a line each, written when it has ended.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use thiserror::Error;

use super::Trial;

/// The file's name in its folder.
pub const FILE_NAME: &str = "trials.jsonl";

/// Why trials cannot be read or kept, and what to do.
#[derive(Debug, Error)]
pub enum TrialLogError {
    /// The file cannot be read or written.
    #[error("cannot keep trials in {path}: {source}; choose another folder with --out")]
    Io {
        /// The file.
        path: PathBuf,
        /// The error of the system.
        source: io::Error,
    },
    /// A line is no trial.
    #[error("{path}, line {line} is no trial: {source}; move the file away, or choose another folder with --out")]
    NotATrial {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
        /// Where it stops making sense.
        source: serde_json::Error,
    },
}

/// Trials that are kept, and room for more.
#[derive(Debug)]
pub struct TrialLog {
    path: PathBuf,
    file: File,
}

impl TrialLog {
    /// Opens the file in `folder`, or makes it, and reads what is there. A last line without a newline was cut off while it was written, and is dropped.
    pub fn open(folder: &Path) -> Result<(Self, Vec<Trial>), TrialLogError> {
        let path = folder.join(FILE_NAME);
        let io = |source| TrialLogError::Io { path: path.clone(), source };
        fs::create_dir_all(folder).map_err(io)?;
        let file = OpenOptions::new().create(true).append(true).open(&path).map_err(io)?;
        let text = fs::read_to_string(&path).map_err(io)?;
        let whole = text.rfind('\n').map_or(0, |end| end + 1);
        if whole < text.len() {
            file.set_len(whole as u64).map_err(io)?;
        }
        let trials = text.get(..whole).unwrap_or_default().lines().enumerate().map(|(at, line)| {
            serde_json::from_str(line).map_err(|source| TrialLogError::NotATrial {
                path: path.clone(),
                line: at + 1,
                source,
            })
        });
        let trials = trials.collect::<Result<Vec<Trial>, _>>()?;
        Ok((Self { path, file }, trials))
    }

    /// Adds one; when this returns it is on the disk.
    pub fn append(&mut self, trial: &Trial) -> Result<(), TrialLogError> {
        let io = |source| TrialLogError::Io { path: self.path.clone(), source };
        let mut line = serde_json::to_vec(trial).map_err(|error| io(error.into()))?;
        line.push(b'\n');
        self.file.write_all(&line).and_then(|()| self.file.sync_data()).map_err(io)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::calibration::table::tests::trial;

    #[test]
    fn what_was_kept_is_there_again_and_half_a_line_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let (mut log, none) = TrialLog::open(folder.path()).unwrap();
        assert_eq!(none, []);
        log.append(&trial("fd-100", 0, true)).unwrap();
        let path = folder.path().join(FILE_NAME);
        fs::write(&path, [fs::read(&path).unwrap().as_slice(), b"{\"case\": \"fd-1"].concat()).unwrap();
        let (mut log, trials) = TrialLog::open(folder.path()).unwrap();
        assert_eq!(trials, [trial("fd-100", 0, true)]);
        log.append(&trial("fd-100", 1, false)).unwrap();
        assert_eq!(TrialLog::open(folder.path()).unwrap().1.len(), 2);
    }

    #[test]
    fn a_line_that_is_no_trial_is_named_by_its_number() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join(FILE_NAME), "{}\n").unwrap();
        let error = TrialLog::open(folder.path()).unwrap_err().to_string();
        assert!(error.contains("line 1") && error.contains("--out"), "{error}");
    }
}
