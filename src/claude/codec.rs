//! Lines of bounded length from a stream of bytes.

use bytes::BytesMut;
use tokio_util::codec::Decoder;

/// Why a stream of lines ended badly.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LineError {
    /// The pipe failed.
    #[error("reading the CLI's output failed: {0}")]
    Io(#[from] std::io::Error),
    /// A line went over the limit. The bytes read so far are dropped.
    #[error("a line of the CLI's output is longer than {limit} bytes (--max-line-bytes)")]
    TooLong {
        /// The limit, in bytes.
        limit: usize,
    },
    /// The stream ended inside a line.
    #[error("the CLI's output ended inside a line, after {length} bytes of it")]
    Cut {
        /// Bytes of the unfinished line.
        length: usize,
    },
}

/// Splits at `\n`. Memory stays below the limit plus one read, whatever comes.
#[derive(Debug)]
pub(crate) struct LineDecoder {
    limit: usize,
    searched: usize,
}

impl LineDecoder {
    /// A decoder that refuses lines of more than `limit` bytes, the newline not counted.
    #[must_use]
    pub(crate) fn new(limit: usize) -> Self {
        Self { limit, searched: 0 }
    }
}

impl Decoder for LineDecoder {
    type Item = BytesMut;
    type Error = LineError;

    fn decode(&mut self, buffer: &mut BytesMut) -> Result<Option<BytesMut>, LineError> {
        let newline = buffer[self.searched..].iter().position(|&b| b == b'\n').map(|at| self.searched + at);
        if newline.unwrap_or(buffer.len()) > self.limit {
            buffer.clear();
            self.searched = 0;
            return Err(LineError::TooLong { limit: self.limit });
        }
        let Some(end) = newline else {
            self.searched = buffer.len();
            return Ok(None);
        };
        self.searched = 0;
        let mut line = buffer.split_to(end + 1);
        line.truncate(end);
        Ok(Some(line))
    }

    fn decode_eof(&mut self, buffer: &mut BytesMut) -> Result<Option<BytesMut>, LineError> {
        match self.decode(buffer)? {
            None if !buffer.is_empty() => {
                let length = buffer.len();
                buffer.clear();
                self.searched = 0;
                Err(LineError::Cut { length })
            }
            line => Ok(line),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Feeds `chunks` one by one, then the end; gives the lines, and the error if there was one.
    fn decode(limit: usize, chunks: &[Vec<u8>]) -> (Vec<Vec<u8>>, Option<LineError>) {
        let (mut decoder, mut buffer, mut lines) = (LineDecoder::new(limit), BytesMut::new(), Vec::new());
        for chunk in chunks {
            buffer.extend_from_slice(chunk);
            loop {
                match decoder.decode(&mut buffer) {
                    Ok(Some(line)) => lines.push(line.to_vec()),
                    Ok(None) => break,
                    Err(error) => return (lines, Some(error)),
                }
            }
            assert!(buffer.len() <= limit, "{} bytes are held back", buffer.len());
        }
        loop {
            match decoder.decode_eof(&mut buffer) {
                Ok(Some(line)) => lines.push(line.to_vec()),
                Ok(None) => return (lines, None),
                Err(error) => return (lines, Some(error)),
            }
        }
    }

    #[test]
    fn a_line_at_the_limit_passes_and_one_byte_more_does_not() {
        let (lines, error) = decode(4, &[b"abcd\nabcde\n".to_vec()]);
        assert_eq!(lines, [b"abcd"]);
        assert!(matches!(error, Some(LineError::TooLong { limit: 4 })));
    }

    #[test]
    fn a_long_line_is_refused_before_its_end_is_seen() {
        let (_, error) = decode(4, &[b"abc".to_vec(), b"def".to_vec()]);
        assert!(matches!(error, Some(LineError::TooLong { .. })));
    }

    #[test]
    fn the_end_inside_a_line_is_an_error_and_not_a_line() {
        let (lines, error) = decode(100, &[b"whole\npart".to_vec()]);
        assert_eq!(lines, [b"whole"]);
        assert!(matches!(error, Some(LineError::Cut { length: 4 })));
    }

    proptest! {
        #[test]
        fn any_cutting_gives_the_same_lines(
            lines in prop::collection::vec(prop::collection::vec(any::<u8>().prop_filter("no newline", |b| *b != b'\n'), 0..200), 0..20),
            cuts in prop::collection::vec(1_usize..50, 1..100),
        ) {
            let mut stream: Vec<u8> = lines.iter().flat_map(|l| l.iter().copied().chain([b'\n'])).collect();
            let mut chunks = Vec::new();
            let mut cut = cuts.iter().cycle();
            while !stream.is_empty() {
                let n = (*cut.next().unwrap()).min(stream.len());
                chunks.push(stream.drain(..n).collect());
            }
            let (decoded, error) = decode(200, &chunks);
            prop_assert!(error.is_none());
            prop_assert_eq!(decoded, lines);
        }

        #[test]
        fn no_bytes_make_it_panic_or_hold_more_than_the_limit(
            chunks in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..300), 0..30),
            limit in 1_usize..400,
        ) {
            let (lines, _) = decode(limit, &chunks);
            prop_assert!(lines.iter().all(|l| l.len() <= limit));
        }
    }
}
