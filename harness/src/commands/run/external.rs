//! The options of `leakgate run` for a server that is not ours, and its `leakgate.toml`.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use jiff::Timestamp;

use crate::commands::{Failure, warn};
use leakgate_drive::external::settings::{FILE, Flags, Mock, Settings};

/// The options.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Somebody else's server")]
#[group(id = "outside")]
pub(super) struct Args {
    /// Start this server and gate it, instead of our own. {port} is a free port, {mock} the path of mock-claude, which
    /// also stands first on its PATH as `claude`.
    #[arg(long, value_name = "COMMAND", conflicts_with_all = ["scenarios", "target", "plant", "slots", "recording", "cli"])]
    server: Option<String>,

    /// Where it answers.
    #[arg(long, value_name = "URL", conflicts_with = "scenarios")]
    url: Option<String>,

    /// Gate a server that runs already: this process and all below it.
    #[arg(long, value_name = "PID", conflicts_with_all = ["server", "cgroup", "scenarios"])]
    pid: Option<u32>,

    /// Gate a server that runs already: all processes of this control group, for example a container's.
    #[arg(long = "container-cgroup", value_name = "DIR", conflicts_with_all = ["server", "scenarios"])]
    cgroup: Option<PathBuf>,

    /// All of this and more from a file; without it, leakgate.toml in the current folder, if no scenario is named.
    #[arg(long, value_name = "FILE", conflicts_with = "scenarios")]
    config: Option<PathBuf>,

    /// The path that answers with 2xx once it is ready; without it, any answer is enough.
    #[arg(long, value_name = "PATH")]
    ready: Option<String>,

    /// File name of the CLI's program: processes that run it are counted as CLI processes. May be repeated.
    #[arg(long, value_name = "NAME", value_delimiter = ',')]
    cli_match: Vec<String>,

    /// Which CLI it runs. With mock, its CLI is proved to be the mock before any load, and any other ends the run; with
    /// theirs its PATH is left as it is and its CLI is its own affair, with all that it costs.
    #[arg(long, value_enum, value_name = "CLI", conflicts_with = "scenarios")]
    server_cli: Option<Mock>,

    /// Let this variable of your environment reach the server. Keys, tokens, passwords and whatever else may open an account
    /// are withheld from it (which ones is told), unless they are named here. May be repeated.
    #[arg(long, value_name = "NAME", value_delimiter = ',', conflicts_with_all = ["scenarios", "pid", "cgroup"])]
    keep_env: Vec<String>,

    /// Requests at the same time.
    #[arg(long, value_name = "N")]
    concurrency: Option<u64>,

    /// Have it restart its CLI by this request after each batch, for example \"POST /admin/restart\".
    #[arg(long, value_name = "REQUEST", conflicts_with = "restart_signal")]
    restart_http: Option<String>,

    /// Have it restart its CLI by this signal after each batch, for example HUP.
    #[arg(long, value_name = "SIGNAL")]
    restart_signal: Option<String>,
}

/// The settings, if it is a server of somebody else that is to be gated.
pub(super) fn read_settings(
    args: &Args,
    no_scenario: bool,
    restarts: Option<u64>,
    mock: &Path,
) -> Result<Option<Arc<Settings>>, Failure> {
    let asked = args.server.is_some() || args.url.is_some() || args.pid.is_some() || args.cgroup.is_some();
    let found = Some(PathBuf::from(FILE)).filter(|path| no_scenario && !asked && path.is_file());
    let file = args.config.clone().or(found);
    if !asked && file.is_none() {
        return Ok(None);
    }
    if let Some(path) = file.as_ref().filter(|_| args.config.is_none()) {
        // Whoever can't be told will see it in the report.
        let _ = writeln!(std::io::stderr(), "gating the server of {}", path.display());
    }
    let flags = Flags {
        server: args.server.clone(),
        url: args.url.clone(),
        pid: args.pid,
        cgroup: args.cgroup.clone(),
        ready: args.ready.clone(),
        cli: args.cli_match.clone(),
        mock: args.server_cli,
        keep_env: args.keep_env.clone(),
        concurrency: args.concurrency,
        restart_http: args.restart_http.clone(),
        restart_signal: args.restart_signal.clone(),
        restarts,
    };
    let today = Timestamp::now().strftime("%Y-%m-%d").to_string();
    let settings = Settings::read(file.as_deref(), &flags, mock, &today).map_err(|error| Failure::usage(&error))?;
    warn(&settings.deprecated);
    let withheld: Vec<_> = settings.withheld().iter().map(|name| name.to_string_lossy().into_owned()).collect();
    if !withheld.is_empty() {
        // It is told again where the server fails.
        let _ = writeln!(
            std::io::stderr(),
            "withheld from the server: {} (--keep-env NAME lets one through)",
            withheld.join(", ")
        );
    }
    Ok(Some(Arc::new(settings)))
}
