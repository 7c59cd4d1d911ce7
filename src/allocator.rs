//! glibc's allocator, set up for a process that runs for days.
//!
//! As it comes, it suits programs that are fast for a minute, and three of its habits make a server's memory grow for
//! hundreds of restarts although every byte is freed:
//!
//! - What is larger than a threshold is mapped by itself and unmapped when it is freed. But with the first such piece that
//!   is freed the threshold becomes that piece's size, up to 32 MB: from then on bodies of many MB lie between small things
//!   that live longer, and what they leave is kept (20 bodies of 14 MB at once left 150 MB of 10).
//! - Each thread has an arena of its own, and what one thread frees another can't have.
//! - Each thread keeps pieces that it freed for itself. Which thread is served by which piece is chance, so the free ones
//!   scatter, and the heap grows by another page now and then, more and more seldom (744 kB after 500 restarts, 808 kB after
//!   1,000, 888 kB after 8,000).
//!
//! A server that waits for its CLI allocates too seldom to gain by the last two. glibc reads its settings when a program
//! starts; so the server starts itself once more, in place.

use std::ffi::{OsStr, OsString};
use std::os::unix::process::CommandExt;
use std::process::Command;

/// The variable that glibc reads its settings from.
pub const VARIABLE: &str = "GLIBC_TUNABLES";

/// A fixed threshold (glibc's own initial one, in bytes), one arena, and nothing kept by threads.
pub const SETTINGS: &str = "glibc.malloc.mmap_threshold=131072:glibc.malloc.arena_max=1:glibc.malloc.tcache_count=0";

/// Becomes the same program with [`SETTINGS`], unless somebody has set glibc's allocator up already. Returns if that is so,
/// or if it can't be done; memory is then kept longer, and nothing else is lost. To be called before there are threads.
pub fn set_up(args: impl IntoIterator<Item = OsString>) {
    if std::env::vars_os().any(|(name, _)| is_of_the_allocator(&name)) {
        return;
    }
    let mut args = args.into_iter();
    if let (Ok(program), Some(name)) = (std::env::current_exe(), args.next()) {
        #[expect(clippy::disallowed_methods, reason = "no child is started: this process becomes the program")]
        let error = Command::new(program).arg0(name).args(args).env(VARIABLE, SETTINGS).exec();
        tracing::debug!(%error, "the allocator stays as it is");
    }
}

/// Whether the variable is there because of [`set_up`]: then it is not for the programs that this one starts.
#[must_use]
pub fn is_set_up() -> bool {
    std::env::var_os(VARIABLE).is_some_and(|value| value == SETTINGS)
}

/// Whether glibc's allocator, or one that was put in its place, reads this variable.
fn is_of_the_allocator(name: &OsStr) -> bool {
    name == VARIABLE || name.as_encoded_bytes().starts_with(b"MALLOC_")
}
