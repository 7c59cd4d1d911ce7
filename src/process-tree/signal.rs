//! Signals that reach the process that was looked at, and no other.

use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

/// Sends `signal` to the process `pid` if `is_same` says that it is still the one that is meant. Returns whether it was.
///
/// Between a look into `/proc` and `kill(2)` the process can end and its pid can go to another one. A pidfd that was
/// opened before the check holds on to the process, so the signal reaches the one that was checked or none.
pub fn signal_if(pid: i32, signal: Signal, is_same: impl FnOnce() -> bool) -> bool {
    let Some(pid) = Pid::from_raw(pid) else { return false };
    let Ok(pidfd) = pidfd_open(pid, PidfdFlags::empty()) else { return false };
    let is_same = is_same();
    if is_same {
        // ESRCH: it has become a zombie in this instant.
        let _ = pidfd_send_signal(&pidfd, signal);
    }
    is_same
}
