//! Large memory goes back to the system as soon as it is freed.
//!
//! glibc maps what is larger than a threshold by itself and unmaps it when it is freed. But with the first such piece that
//! is freed it raises the threshold to that piece's size, up to 32 MB: from then on bodies of many MB lie between small
//! things that live longer, and what they leave is kept (20 bodies of 14 MB at once left 150 MB of 10). A fixed threshold is
//! an environment variable, which glibc reads when a program starts; so the server starts itself once more, in place.

use std::ffi::OsString;
use std::os::unix::process::CommandExt;
use std::process::Command;

/// The variable that fixes the threshold, in bytes.
pub const VARIABLE: &str = "MALLOC_MMAP_THRESHOLD_";

/// glibc's own initial threshold.
pub const THRESHOLD: &str = "131072";

/// Becomes the same program with the threshold fixed, unless somebody has set glibc's allocator up already. Returns if that
/// is so, or if it can't be done; memory is then kept longer, and nothing else is lost. To be called before there are threads.
pub fn fix_threshold(args: impl IntoIterator<Item = OsString>) {
    if std::env::var_os(VARIABLE).is_some() || std::env::var_os("GLIBC_TUNABLES").is_some() {
        return;
    }
    let mut args = args.into_iter();
    if let (Ok(program), Some(name)) = (std::env::current_exe(), args.next()) {
        #[expect(clippy::disallowed_methods, reason = "no child is started: this process becomes the program")]
        let error = Command::new(program).arg0(name).args(args).env(VARIABLE, THRESHOLD).exec();
        tracing::debug!(%error, "the allocator's threshold stays as it is");
    }
}

/// Whether the variable is there because of [`fix_threshold`]: then it is not for the programs that this one starts.
#[must_use]
pub fn is_fixed() -> bool {
    std::env::var_os(VARIABLE).is_some_and(|value| value == THRESHOLD)
}
