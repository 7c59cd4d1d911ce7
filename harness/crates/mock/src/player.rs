//! The process itself: it reads, waits, speaks and breaks.

use crate::exit::Exit;
use std::collections::{HashMap, HashSet, VecDeque};
use std::hint::black_box;
use std::process::ExitCode;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rustix::process::{Signal, getpid, kill_process};
use serde_json::Value;
use signal_hook::consts::SIGTERM;

use super::client::Client;
use super::dialect::Dialect;
use super::fault::{Faults, Kind as FaultKind, count_process};
use super::input::{self, Control, Input, User};
use super::options::{Options, Pace};
use super::orphan;
use super::stdio::{Inbound, Inbox, Outbox, print_error};
use leakgate_session::recording::{End, Session};

mod ask;
mod control;
mod hooks;
mod own;
mod servers;
mod tool;
mod turn;

/// A CLI process, played.
#[expect(clippy::struct_excessive_bools, reason = "each is a fact of its own about the process")]
pub(super) struct Player {
    options: Options,
    dialect: Rc<Dialect>,
    faults: Faults,
    inbox: Inbox,
    out: Outbox,
    /// Stdin has ended.
    closed: bool,
    /// A turn runs.
    busy: bool,
    queue: VecDeque<User>,
    /// The request id of an interrupt that the running turn has not taken yet.
    interrupt: Option<String>,
    /// What the caller has answered in this turn to control requests of the CLI, by their ids.
    answers: HashMap<String, Result<Value, String>>,
    /// Ids of the CLI's own requests, beyond the recorded, that wait for an answer.
    asked: HashSet<String>,
    /// How many ids were made up.
    ids: u64,
    client: Client,
    servers: Vec<servers::Server>,
    /// The permission mode.
    mode: String,
    /// The turn is played with the questions of the recording.
    is_as_recorded: bool,
    /// The user's message that is still to be repeated.
    repeats: Option<String>,
    /// The last turn has ended in an error.
    has_failed: bool,
    turns: u64,
    clears: usize,
    /// The session id: the recording's first, until a `/clear` changes it.
    session: Option<String>,
    /// The model, once `set_model` has named one.
    model: Option<String>,
    outlives_sigterm: bool,
    /// Whether the handler of SIGTERM ends the process.
    sigterm_exits: Arc<AtomicBool>,
    ballast: Vec<Vec<u8>>,
}

/// Why the process ends.
#[derive(Debug)]
enum Stop {
    /// By itself, with this code.
    Exit(u8),
    /// Nobody reads stdout any more.
    NoReader,
}

impl From<std::io::Error> for Stop {
    fn from(_: std::io::Error) -> Self {
        Self::NoReader
    }
}

impl Player {
    /// Takes signals, stdin and memory, and is counted.
    pub(super) fn start(options: Options, session: &Session) -> std::io::Result<Self> {
        let dialect = Rc::new(Dialect::new(session));
        if options.call.streams {
            dialect.preload_clears();
        }
        let sigterm_exits = obey_sigterm(&dialect)?;
        let process = options.counter.as_deref().map(count_process).transpose()?.unwrap_or(1);
        let call = options.call.clone();
        let first_session = dialect.own_script().turns.iter().find_map(|turn| Some(turn.session_ids()?.0.to_owned()));
        let model = call.model.as_deref().and_then(|model| dialect.full_model_name(model));
        let mut player = Self {
            dialect,
            faults: Faults::new(options.faults.clone(), options.seed, process),
            inbox: if call.streams { Inbox::open()? } else { Inbox::empty() },
            out: Outbox::new(call.format),
            // A single prompt is all that there is.
            closed: !call.streams,
            busy: false,
            queue: if call.streams { VecDeque::new() } else { [input::user_of(&call.prompt)].into() },
            interrupt: None,
            answers: HashMap::new(),
            asked: HashSet::new(),
            ids: 0,
            client: Client::default(),
            servers: Vec::new(),
            mode: call.permissions.mode,
            is_as_recorded: false,
            repeats: None,
            has_failed: false,
            turns: 0,
            clears: 0,
            session: call.session.or(first_session),
            model,
            outlives_sigterm: false,
            sigterm_exits,
            ballast: Vec::new(),
            options,
        };
        player.hold_memory(player.options.rss);
        Ok(player)
    }

    /// Plays until the process has to end.
    pub(super) fn run(&mut self) -> ExitCode {
        match self.play_session() {
            Err(Stop::Exit(code)) => ExitCode::from(code),
            Err(Stop::NoReader) => ExitCode::SUCCESS,
            // The CLI says by its exit code whether the last turn was a failure.
            Ok(()) => ExitCode::from(u8::from(self.has_failed && self.dialect.knows_sdks())),
        }
    }

    fn play_session(&mut self) -> Result<(), Stop> {
        if let Some(refusal) = &self.dialect.own_script().refusal {
            refusal.complaints.iter().for_each(|line| print_error(line));
            return Err(Stop::Exit(refusal.code));
        }
        let faults = self.faults.at_start();
        self.apply_faults(&faults)?;
        loop {
            while let Some(user) = self.queue.pop_front() {
                self.answer_user(&user)?;
                self.out.flush()?;
            }
            if self.closed {
                self.out.finish()?;
                return if self.outlives_sigterm { wait_forever() } else { Ok(()) };
            }
            let inbound = self.inbox.wait();
            self.handle_inbound(inbound)?;
            self.out.flush()?;
        }
    }

    fn answer_user(&mut self, user: &User) -> Result<(), Stop> {
        if user.is_clear {
            return self.answer_clear();
        }
        self.turns += 1;
        self.hold_memory(self.options.rss_per_turn);
        self.busy = true;
        let result = self.play_turn(user);
        self.busy = false;
        self.answers.clear();
        // An interrupt that came with the last line of the turn finds nothing to stop.
        match self.interrupt.take() {
            Some(id) if result.is_ok() => self.answer_control(&interrupt_request(id)),
            _ => result,
        }
    }

    /// Takes in what came from stdin, while a turn runs or between turns.
    fn handle_inbound(&mut self, inbound: Inbound) -> Result<(), Stop> {
        let Inbound::Line(line) = inbound else {
            self.closed = true;
            return Ok(());
        };
        if line.trim_ascii().is_empty() {
            return Ok(());
        }
        match input::parse(&line) {
            Ok(Input::User(user)) => self.queue.push_back(user),
            Ok(Input::Control(asked)) if self.busy && asked.subtype == "interrupt" && self.interrupt.is_none() => {
                self.interrupt = Some(asked.id);
            }
            Ok(Input::Control(asked)) => self.answer_control(&asked)?,
            Ok(Input::Answer(answer)) if self.busy || self.asked.contains(&answer.id) => {
                self.answers.insert(answer.id, answer.said);
            }
            Ok(Input::Answer(_) | Input::Other) => {}
            Err(_) => {
                self.out.flush()?;
                print_error(&self.dialect.bad_input(&line));
                return Err(Stop::Exit(1));
            }
        }
        Ok(())
    }

    /// Takes in what is there already, without waiting.
    fn poll_input(&mut self) -> Result<(), Stop> {
        while !self.closed {
            let Some(inbound) = self.inbox.try_next() else { break };
            self.handle_inbound(inbound)?;
        }
        Ok(())
    }

    /// Waits as long as the recording did, taking in what comes.
    fn wait_recorded(&mut self, gap: Duration) -> Result<(), Stop> {
        if self.options.pace == Pace::Full || gap.is_zero() {
            return self.poll_input();
        }
        self.out.flush()?;
        let end = Instant::now() + gap;
        while self.interrupt.is_none() {
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() || self.closed {
                std::thread::sleep(left);
                break;
            }
            if let Some(inbound) = self.inbox.wait_for(left) {
                self.handle_inbound(inbound)?;
                self.out.flush()?;
            }
        }
        Ok(())
    }

    /// Says nothing for so long, taking in what comes; an interrupt or the end of stdin ends it.
    fn be_silent(&mut self, length: Duration) -> Result<(), Stop> {
        self.out.flush()?;
        let end = Instant::now() + length;
        if !self.options.call.streams {
            std::thread::sleep(length);
        }
        while self.interrupt.is_none() && !self.closed {
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            if let Some(inbound) = self.inbox.wait_for(left) {
                self.handle_inbound(inbound)?;
                self.out.flush()?;
            }
        }
        Ok(())
    }

    /// Waits until the caller has done something; a caller that is gone never will.
    fn wait_until(&mut self, done: impl Fn(&Self) -> bool) -> Result<(), Stop> {
        self.out.flush()?;
        while !done(self) {
            if self.closed {
                return wait_forever();
            }
            let inbound = self.inbox.wait();
            self.handle_inbound(inbound)?;
            self.out.flush()?;
        }
        Ok(())
    }

    fn apply_faults(&mut self, faults: &[FaultKind]) -> Result<(), Stop> {
        faults.iter().try_for_each(|fault| self.apply_fault(*fault))
    }

    fn apply_fault(&mut self, fault: FaultKind) -> Result<(), Stop> {
        self.out.flush()?;
        match fault {
            FaultKind::Crash => {
                let _ = kill_process(getpid(), Signal::KILL);
                wait_forever()
            }
            FaultKind::CrashExit | FaultKind::CrashStart => Err(Stop::Exit(1)),
            FaultKind::Hang | FaultKind::HangStart => wait_forever(),
            FaultKind::IgnoreSigterm => {
                self.outlives_sigterm = true;
                self.sigterm_exits.store(false, Ordering::SeqCst);
                // Where no handler stands yet, one that does nothing keeps the signal from killing.
                signal_hook::flag::register(SIGTERM, Arc::new(AtomicBool::new(false)))?;
                Ok(())
            }
            FaultKind::Grandchild => leave_orphan(false),
            FaultKind::GrandchildStdout => leave_orphan(true),
            // It is in the words of the turn already.
            FaultKind::WrongMark => Ok(()),
        }
    }

    /// Holds this many bytes more, touched.
    fn hold_memory(&mut self, bytes: usize) {
        if bytes > 0 {
            self.ballast.push(black_box(vec![1; bytes]));
        }
    }
}

/// Sees to it that SIGTERM ends the process as it ended the recorded version; the flag can take that back.
fn obey_sigterm(dialect: &Dialect) -> std::io::Result<Arc<AtomicBool>> {
    let exits = Arc::new(AtomicBool::new(true));
    if let End::Code(code) = dialect.end_after_sigterm() {
        signal_hook::flag::register_conditional_shutdown(SIGTERM, code, Arc::clone(&exits))?;
    }
    Ok(exits)
}

/// Leaves a child behind. Should that fail, a run must not go on as if there were one.
fn leave_orphan(holds_stdout: bool) -> Result<(), Stop> {
    orphan::spawn_orphan(holds_stdout).map_err(|error| {
        print_error(&format!("mock-claude: cannot start a grandchild: {error}"));
        Stop::Exit(Exit::Broken as u8)
    })
}

fn interrupt_request(id: String) -> Control {
    Control::bare(id, "interrupt")
}

/// Does nothing more, until a signal ends the process.
fn wait_forever() -> Result<(), Stop> {
    loop {
        std::thread::park();
    }
}
