//! Starting a program whose file may be in the middle of an update.

use std::io;
use std::process::{Child, Command};
use std::thread::sleep;
use std::time::Duration;

/// A file that is open for writing can't be executed (`ETXTBSY`). An updater that replaces a program takes milliseconds
/// between its last write and the close; in a program with many threads, a fork that still has the file open takes no
/// longer.
const MAX_TRIES: u32 = 6;
const PAUSE: Duration = Duration::from_millis(20);

/// Starts `command`, and tries again for a moment while its file is being written.
pub fn spawn_when_not_busy(command: &mut Command) -> io::Result<Child> {
    let mut tries = 1;
    loop {
        match command.spawn() {
            Err(error) if error.kind() == io::ErrorKind::ExecutableFileBusy && tries < MAX_TRIES => {
                tries += 1;
                sleep(PAUSE);
            }
            result => return result,
        }
    }
}
