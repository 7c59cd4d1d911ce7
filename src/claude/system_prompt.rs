//! The file with the system prompt of every conversation.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

/// The longest system prompt, in bytes: every conversation begins with it.
const MAX_BYTES: u64 = 1024 * 1024;

/// Why there is no system prompt in a file.
#[derive(Debug, thiserror::Error)]
#[error("cannot take the system prompt from {} (--system-prompt-file): {what}", path.display())]
pub struct SystemPromptError {
    path: PathBuf,
    what: Problem,
}

#[derive(Debug, thiserror::Error)]
enum Problem {
    #[error("{0}")]
    Io(io::Error),
    #[error("it is empty; leave the option out to have the built-in one")]
    Empty,
    #[error("it is longer than {MAX_BYTES} bytes")]
    TooLong,
    #[error("it is not UTF-8 after byte {0}")]
    NotText(usize),
}

/// Reads it.
pub(crate) fn read(path: &Path) -> Result<String, SystemPromptError> {
    read_text(path).map_err(|what| SystemPromptError { path: path.to_path_buf(), what })
}

fn read_text(path: &Path) -> Result<String, Problem> {
    let mut bytes = Vec::new();
    let file = File::open(path).map_err(Problem::Io)?;
    file.take(MAX_BYTES + 1).read_to_end(&mut bytes).map_err(Problem::Io)?;
    if bytes.len() as u64 > MAX_BYTES {
        return Err(Problem::TooLong);
    }
    let text = String::from_utf8(bytes).map_err(|error| Problem::NotText(error.utf8_error().valid_up_to()))?;
    if text.trim().is_empty() { Err(Problem::Empty) } else { Ok(text) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_without_a_prompt_is_refused_by_name_and_with_the_reason() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("prompt.txt");
        let longest = vec![b'x'; usize::try_from(MAX_BYTES).unwrap()];
        let refused = |bytes: &[u8]| {
            std::fs::write(&path, bytes).unwrap();
            read(&path).map_err(|error| error.to_string())
        };
        for (bytes, words) in [
            (&b""[..], "it is empty"),
            (b" \n\t", "it is empty"),
            (b"ab\xff", "not UTF-8 after byte 2"),
            (&[&longest[..], b"x"].concat(), "longer than 1048576 bytes"),
        ] {
            let error = refused(bytes).unwrap_err();
            assert!(error.contains(words) && error.contains("--system-prompt-file"), "{error}");
            assert!(error.contains(path.to_str().unwrap()), "{error}");
        }
        assert_eq!(refused(&longest).unwrap().len(), longest.len());
        assert_eq!(refused("ünï\n".as_bytes()).unwrap(), "ünï\n");
        assert!(read(folder.path()).unwrap_err().to_string().contains("directory"));
        std::fs::remove_file(&path).unwrap();
        assert!(read(&path).unwrap_err().to_string().contains("No such file"));
    }
}
