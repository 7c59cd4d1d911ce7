//! One server and what is asked of it, as the load, the plan and the events need it.

use std::path::PathBuf;
use std::sync::Arc;

use futures_util::future::BoxFuture;

use super::settings::{Home, Mock, Origin, Restart, Settings};
use super::target::ExternalTarget;
use crate::assignment::Assignment;
use crate::driver;
use crate::event::{Listener, Subject};
use crate::load::endpoint::{Endpoint, Strictness};
use crate::load::reply_format::Mix;
use crate::load::script::Script;
use crate::load::{Load, Shape};
use leakgate_judge::sample::{GrowthUnit, Outside, Plan, TargetRun};

/// The scenario's name in reports.
pub const NAME: &str = "outside";

/// A server to be driven.
#[derive(Debug, Clone)]
pub struct ExternalAssignment {
    /// How to start the server, and the load and limits of the run.
    pub settings: Arc<Settings>,
    /// The requests.
    pub script: Arc<Script>,
    /// The mock CLI.
    pub mock: PathBuf,
    /// The seed of the load.
    pub seed: u64,
    /// How often the settings' restarts were doubled.
    pub doubled: u64,
    /// Its name in the report.
    pub name: String,
    /// The name of the control that it is, if it is one.
    pub control: Option<&'static str>,
}

impl Assignment for ExternalAssignment {
    fn subject(&self) -> Subject<'_> {
        let goal = self.settings.warm_up + self.settings.restarts;
        match self.control {
            Some(name) => Subject { name, target: NAME, control: true, goal },
            None => Subject { name: NAME, target: &self.name, control: false, goal },
        }
    }

    fn empty_run(&self) -> TargetRun {
        TargetRun::new(NAME, &self.name, self.plan())
    }

    fn with_doubled_restarts(&self) -> Box<dyn Assignment> {
        let mut settings = Settings::clone(&self.settings);
        settings.restarts *= 2;
        settings.turns = settings.turns.saturating_mul(2);
        Box::new(Self { settings: Arc::new(settings), doubled: self.doubled + 1, ..self.clone() })
    }

    fn can_repeat(&self) -> bool {
        matches!(self.settings.origin, Origin::Started(_))
    }

    fn is_external(&self) -> bool {
        true
    }

    fn drive<'a>(&'a self, listener: &'a dyn Listener) -> BoxFuture<'a, TargetRun> {
        Box::pin(driver::drive::<ExternalTarget>(self, listener))
    }

    fn check_start<'a>(&'a self, listener: &'a dyn Listener) -> BoxFuture<'a, Option<TargetRun>> {
        Box::pin(driver::check_start::<ExternalTarget>(self, listener))
    }
}

impl ExternalAssignment {
    fn plan(&self) -> Plan {
        let settings = &self.settings;
        let mut unmeasured = Vec::new();
        match &settings.origin {
            Origin::Started(started) if started.home == Home::Keep => {
                unmeasured.push("files in its HOME were not counted: it kept the caller's".to_owned());
            }
            Origin::Started(_) => {}
            Origin::Process(_) | Origin::Cgroup(_) => unmeasured.push(
                "it ran before leakgate came: files, and what would be left after its end, were not counted".to_owned(),
            ),
        }
        Plan {
            slots: 0,
            warm_up: settings.warm_up,
            restarts: settings.restarts,
            connections: settings.load.concurrency,
            max_turns: if let Restart::Turns(Some(turns)) = settings.restart { turns } else { 0 },
            server_rss_cap_mb: settings.server_rss_mb.unwrap_or(0),
            tree_rss_cap_mb: settings.tree_rss_mb.unwrap_or(0),
            memory_noise_mb: 0,
            doubled: self.doubled,
            errors_allowed: settings.errors_allowed,
            exceptions: Vec::new(),
            outside: Some(Outside {
                per: GrowthUnit::Restart,
                cli_processes_allowed: settings.cli_processes,
                memory_floor: settings.memory_floor,
                exceptions: settings.exceptions.clone(),
                unmeasured,
            }),
        }
    }

    fn endpoint(&self) -> Endpoint {
        let Settings { url, load, .. } = &*self.settings;
        Endpoint {
            address: url.address,
            host: url.host.clone(),
            path: url.path(&load.path),
            model: load.model.clone(),
            key: load.key.clone(),
            strictness: Strictness::Marks,
        }
    }

    pub(super) fn shape(&self) -> Shape {
        let load = &self.settings.load;
        Shape {
            connections: load.concurrency,
            mix: Mix::TEXT,
            filler: 0,
            json: load.json,
            streamed: load.streamed,
            leaving: 0.0,
            deadline: load.deadline,
            seed: self.seed,
        }
    }

    pub(super) fn load(&self, shape: Shape) -> Load {
        Load::new(self.endpoint(), Arc::clone(&self.script), shape)
    }
}

/// Whether the mock plays the CLI, as far as leakgate knows.
#[must_use]
pub fn is_mocked(settings: &Settings) -> bool {
    settings.mock == Mock::Mock && matches!(settings.origin, Origin::Started(_))
}
