//! A process that does nothing: what is left when somebody forgets a child.

use std::time::Duration;

use anyhow::Context;
use clap::Args;

/// How it sleeps.
#[derive(Debug, Clone, Copy, Args)]
pub struct Sleep {
    /// Seconds; never for ever, so that nothing stays even when nobody ends it.
    seconds: u64,

    /// In a session of its own, as tools and daemons do.
    #[arg(long)]
    own_session: bool,
}

impl Sleep {
    /// Sleeps.
    pub fn run(self) -> anyhow::Result<()> {
        if self.own_session {
            rustix::process::setsid().context("starting a session")?;
        }
        std::thread::sleep(Duration::from_secs(self.seconds));
        Ok(())
    }
}
