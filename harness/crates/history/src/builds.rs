//! Copies of the programs that nights measured, in a folder for each build: a baseline's are run again beside later ones.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use sha2::{Digest, Sha256};
use tempfile::Builder;

/// Builds that are kept although they are no baseline's: a night is accepted a few days later at most.
const MAX_RECENT_BUILDS: usize = 3;
/// A build that was stored or used this recently may be running in a night that is not in the history yet.
const IN_USE: Duration = Duration::from_hours(6);
/// Characters of a build's name: of the hash of its programs, enough to tell builds apart and to see a changed one.
const NAME_LENGTH: usize = 24;
const BUFFER: usize = 1 << 20;

/// The folder with all of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Builds {
    folder: PathBuf,
}

/// Why a build is of no use.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    /// A file could not be read, copied or removed.
    #[error("cannot keep the programs in {}: {source}; free some space there, or choose another --history", folder.display())]
    Io {
        /// Where they are kept.
        folder: PathBuf,
        /// The system's words.
        source: io::Error,
    },
    /// The build was removed.
    #[error("the programs of build {name} are not in {}: accept a night whose programs are still kept", folder.display())]
    Gone {
        /// The build.
        name: String,
        /// Where they were kept.
        folder: PathBuf,
    },
    /// They are not what they were.
    #[error("the programs in {} have changed since they were kept: remove that folder, and accept another night", folder.display())]
    Changed {
        /// The build's folder.
        folder: PathBuf,
    },
}

impl Builds {
    /// The builds beside a history.
    #[must_use]
    pub fn beside(history: &Path) -> Self {
        Self { folder: history.with_file_name("builds") }
    }

    /// The folder of a build, whether there is one or not.
    #[must_use]
    pub fn folder(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// Copies these programs, unless the same ones are kept already. Returns the build's name, which comes from what is
    /// in them.
    pub fn keep(&self, programs: &[&Path]) -> Result<String, BuildError> {
        let failed = |source| BuildError::Io { folder: self.folder.clone(), source };
        let name = hash_programs(programs).map_err(failed)?;
        let names: Vec<String> = programs.iter().map(|path| file_name(path)).collect();
        match self.check(&name, &names.iter().map(String::as_str).collect::<Vec<_>>()) {
            Ok(()) => {
                // `prune` tells by the time of the folder that a night uses this build.
                fs::File::open(self.folder(&name)).and_then(|it| it.set_modified(SystemTime::now())).map_err(failed)?;
                return Ok(name);
            }
            // Whatever stands there under its name is not it.
            Err(BuildError::Changed { folder }) => fs::remove_dir_all(folder).map_err(failed)?,
            Err(_) => {}
        }
        fs::create_dir_all(&self.folder).map_err(failed)?;
        // Complete or not there at all: what is interrupted leaves a folder that nobody takes for a build.
        let fresh = Builder::new().prefix(".new-").tempdir_in(&self.folder).map_err(failed)?;
        for program in programs {
            let to = fresh.path().join(program.file_name().unwrap_or_default());
            fs::copy(program, to).map_err(failed)?;
        }
        match fs::rename(fresh.path(), self.folder(&name)) {
            // Another night has just kept the same.
            Err(_) if self.folder(&name).is_dir() => {}
            done => done.map_err(failed)?,
        }
        Ok(name)
    }

    /// Makes sure that a build is there and what it was.
    pub fn check(&self, name: &str, programs: &[&str]) -> Result<(), BuildError> {
        let folder = self.folder(name);
        let paths: Vec<PathBuf> = programs.iter().map(|program| folder.join(program)).collect();
        let paths: Vec<&Path> = paths.iter().map(PathBuf::as_path).collect();
        match hash_programs(&paths) {
            Ok(found) if found == name => Ok(()),
            Err(error) if error.kind() == io::ErrorKind::NotFound && !folder.exists() => {
                Err(BuildError::Gone { name: name.to_owned(), folder: self.folder.clone() })
            }
            _ => Err(BuildError::Changed { folder }),
        }
    }

    /// Removes builds but for the `needed` ones, the latest, given with the newest first, and what may be in use `now`.
    pub fn prune(&self, needed: &[String], newest_first: &[String], now: SystemTime) -> Result<(), BuildError> {
        let failed = |source| BuildError::Io { folder: self.folder.clone(), source };
        let mut latest: Vec<&String> = Vec::new();
        for name in newest_first {
            if latest.len() < MAX_RECENT_BUILDS && !latest.contains(&name) {
                latest.push(name);
            }
        }
        for entry in fs::read_dir(&self.folder).map_err(failed)? {
            let entry = entry.map_err(failed)?;
            let name = entry.file_name().to_string_lossy().into_owned();
            // Folders that begin with a dot are another night's that is being kept just now.
            let is_build = name.len() == NAME_LENGTH && name.bytes().all(|byte| byte.is_ascii_hexdigit());
            let kept = entry.metadata().and_then(|about| about.modified()).map_err(failed)?;
            let in_use = now.duration_since(kept).is_ok_and(|age| age < IN_USE) || kept > now;
            if is_build && !in_use && !needed.contains(&name) && !latest.contains(&&name) {
                fs::remove_dir_all(entry.path()).map_err(failed)?;
            }
        }
        Ok(())
    }
}

fn file_name(program: &Path) -> String {
    program.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

/// Of names and contents, in this order.
fn hash_programs(programs: &[&Path]) -> io::Result<String> {
    let mut all = Sha256::new();
    for program in programs {
        let mut file = fs::File::open(program)?;
        all.update(program.file_name().unwrap_or_default().as_encoded_bytes());
        // The length separates neighbouring files: bytes that move from one to the next change the hash.
        all.update(file.metadata()?.len().to_le_bytes());
        feed_file(&mut file, &mut all)?;
    }
    let first =
        all.finalize().iter().take(NAME_LENGTH / 2).fold(0_u128, |number, &byte| number << 8 | u128::from(byte));
    Ok(format!("{first:0NAME_LENGTH$x}"))
}

fn feed_file(from: &mut impl io::Read, hash: &mut Sha256) -> io::Result<()> {
    let mut buffer = vec![0; BUFFER];
    loop {
        let read = from.read(&mut buffer)?;
        if read == 0 {
            return Ok(());
        }
        hash.update(buffer.get(..read).unwrap_or_default());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PROGRAMS: [&str; 2] = ["one", "two"];

    fn programs(folder: &Path, text: &str) -> Vec<PathBuf> {
        fs::create_dir_all(folder).unwrap();
        let write = |name: &&str| {
            fs::write(folder.join(name), format!("{name} {text}")).unwrap();
            folder.join(name)
        };
        PROGRAMS.iter().map(write).collect()
    }

    fn keep(builds: &Builds, from: &Path, text: &str) -> String {
        let paths = programs(from, text);
        builds.keep(&paths.iter().map(PathBuf::as_path).collect::<Vec<_>>()).unwrap()
    }

    fn kept(builds: &Builds) -> Vec<String> {
        let mut names: Vec<String> = fs::read_dir(&builds.folder)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    #[test]
    fn the_same_programs_are_kept_once_and_others_beside_them() {
        let folder = tempfile::tempdir().unwrap();
        let builds = Builds::beside(&folder.path().join("history.sqlite"));
        let (a, again, b) = (
            keep(&builds, &folder.path().join("a"), "x"),
            keep(&builds, &folder.path().join("b"), "x"),
            keep(&builds, &folder.path().join("c"), "y"),
        );
        assert_eq!(a, again);
        assert_eq!(kept(&builds).len(), 2);
        builds.check(&a, &PROGRAMS).unwrap();
        builds.check(&b, &PROGRAMS).unwrap();
    }

    #[test]
    fn a_build_that_changed_is_refused_and_kept_anew() {
        let folder = tempfile::tempdir().unwrap();
        let builds = Builds::beside(&folder.path().join("history.sqlite"));
        let name = keep(&builds, &folder.path().join("a"), "x");
        fs::write(builds.folder(&name).join("two"), "something else").unwrap();
        assert!(matches!(builds.check(&name, &PROGRAMS), Err(BuildError::Changed { .. })));
        fs::remove_file(builds.folder(&name).join("two")).unwrap();
        assert!(matches!(builds.check(&name, &PROGRAMS), Err(BuildError::Changed { .. })));
        assert_eq!(keep(&builds, &folder.path().join("a"), "x"), name);
        builds.check(&name, &PROGRAMS).unwrap();
        fs::remove_dir_all(builds.folder(&name)).unwrap();
        assert!(matches!(builds.check(&name, &PROGRAMS), Err(BuildError::Gone { .. })));
    }

    #[test]
    fn old_builds_go_but_for_those_of_baselines() {
        let folder = tempfile::tempdir().unwrap();
        let builds = Builds::beside(&folder.path().join("history.sqlite"));
        let names: Vec<String> = (0..6).map(|at| keep(&builds, &folder.path().join("a"), &at.to_string())).collect();
        let newest_first: Vec<String> = names.iter().rev().flat_map(|name| [name.clone(), name.clone()]).collect();
        builds.prune(&[names[0].clone()], &newest_first, SystemTime::now()).unwrap();
        assert_eq!(kept(&builds).len(), 6, "another night may be running them");
        builds.prune(&[names[0].clone()], &newest_first, SystemTime::now() + IN_USE).unwrap();
        let mut expected = vec![names[0].clone(), names[3].clone(), names[4].clone(), names[5].clone()];
        expected.sort();
        assert_eq!(kept(&builds), expected);
    }
}
