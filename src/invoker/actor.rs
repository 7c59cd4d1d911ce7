//! The task that owns a CLI process and its pipes, and carries out the actions of [`super::life`].
//!
//! Everything that can happen to the process is one branch of one `select!`, and every branch is cancel-safe: lines
//! come through a decoder that keeps what it has read, writes go through a buffer that keeps what was not written. So
//! a CLI that floods one pipe while it ignores another blocks nothing. This task is never aborted: it ends when the
//! process tree is empty.

use std::collections::VecDeque;
use std::time::{Duration, Instant, SystemTime};

use bytes::BytesMut;
use futures_util::StreamExt;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::process::{Child, ChildStderr, ChildStdin, ChildStdout};
use tokio::sync::mpsc;
use tokio_util::codec::FramedRead;

use super::binding::{TurnBinding, Work};
use super::life::{Action, Cause, Ending, Input, Life, Message, Phase};
use super::reply::{self, Finished, Reply};
use super::{Assignment, Command, LiveInvoker, Report, keeper_tree_rss};
use crate::claude::codec::{LineDecoder, LineError};
use crate::claude::event::{self, ClaudeEvent, ControlError, EventError, TurnResult};
use crate::claude::quota::QuotaHold;
use crate::claude::{ClaudeCommand, ClaudeProcess};
use crate::clock::{now, sleep_until};
use crate::keeper;
use crate::turn::{TurnError, TurnEvent};

mod events;

/// Capacity for the events of a turn that the client has not read. Two of them are reserved for the last piece of text
/// and the end, so that the end of a turn never waits for a slow client.
pub(crate) const REPLY_QUEUE: usize = 16;
const RESERVED_EVENTS: usize = 2;

/// Capacity of an empty read buffer: several deltas. The buffer grows for a longer line.
const READ_BUFFER_BYTES: usize = 8 * 1024;

/// Bytes of answers that may wait for a CLI that sends control requests and reads no answers. In every recording it sends
/// one at a time, and an answer has a few hundred bytes.
const MAX_QUEUED_ANSWER_BYTES: usize = 256 * 1024;

/// The end of the CLI's stderr that stays in memory.
const MAX_STDERR_TAIL_BYTES: usize = 64 * 1024;
/// The end of stderr that goes into an error message.
const MAX_STDERR_IN_ERROR_BYTES: usize = 600;

/// After the exit, how long to wait for the rest of the output. The tree is empty by then, so the pipes have no
/// writer and their end comes at once; this is for a process that escaped with one of them.
const MAX_DRAIN: Duration = Duration::from_millis(500);

/// After the CLI closed its stdout, how long it may take to exit.
const MAX_EXIT_AFTER_EOF: Duration = Duration::from_secs(2);

/// The request ids of those control requests whose answers have to be recognised. Never more than one of each is open.
const INITIALIZE: &str = "initialize";
const SET_MODEL: &str = "set_model";

/// Runs one invoker from its start until its process tree is empty.
pub(super) async fn run(mut live: LiveInvoker, commands: mpsc::Receiver<Command>) {
    let spec: &ClaudeCommand = &live.factory.shared.cli;
    let runtime = &live.factory.shared.runtime;
    let (scratch, mark) = (runtime.scratch(live.id), runtime.mark(live.id));
    match runtime.restore_files().map_err(std::io::Error::other).and_then(|()| spec.spawn(&scratch, &mark)) {
        Ok(cli) => Actor::new(live, commands, cli).run().await,
        Err(error) => live.report_gone(Cause::Failed(format!("cannot start a process: {error}")), false),
    }
}

/// A turn that runs.
struct Running {
    assignment: Assignment,
    reply: Reply,
    /// Events that wait until the client has taken others.
    waiting: VecDeque<TurnEvent>,
    /// A byte of it has reached the client, so it cannot be retried.
    forwarded: bool,
}

struct Actor {
    live: LiveInvoker,
    life: Life,
    commands: mpsc::Receiver<Command>,
    commands_open: bool,
    keeper: Child,
    pid: Option<i32>,
    stdin: Option<ChildStdin>,
    outbox: BytesMut,
    /// Bytes of answers to control requests in the outbox since it was last empty.
    answers: usize,
    binding: TurnBinding,
    stdout: FramedRead<ChildStdout, LineDecoder>,
    stdout_open: bool,
    stderr: ChildStderr,
    stderr_open: bool,
    stderr_tail: VecDeque<u8>,
    turn: Option<Running>,
    /// The current model; `None` before `initialize` was answered.
    model: Option<String>,
    /// The model of a `set_model` that is not answered yet.
    asked_model: Option<String>,
    /// How the `result` that is being handled ends the turn.
    finished: Option<Finished>,
    /// The error of a stream that ended early; part of the description of the exit that follows.
    broken: Option<String>,
    /// Once stdout has ended: until when the exit has to follow.
    exit_due: Option<Instant>,
    /// Once the keeper has exited: its status, and until when the rest of the output is read.
    exit: Option<(std::process::ExitStatus, Instant)>,
}

impl Actor {
    fn new(live: LiveInvoker, commands: mpsc::Receiver<Command>, cli: ClaudeProcess) -> Self {
        let (begun, first) = Life::begin(live.factory.shared.deadlines, now());
        let pid = cli.keeper.id().and_then(|pid| i32::try_from(pid).ok());
        live.set_keeper(pid);
        let max_line = live.factory.shared.max_line;
        let mut actor = Self {
            live,
            life: begun,
            commands,
            commands_open: true,
            keeper: cli.keeper,
            pid,
            stdin: Some(cli.stdin),
            outbox: BytesMut::new(),
            answers: 0,
            binding: TurnBinding::default(),
            stdout: FramedRead::new(cli.stdout, LineDecoder::new(max_line)),
            stdout_open: true,
            stderr: cli.stderr,
            stderr_open: true,
            stderr_tail: VecDeque::new(),
            turn: None,
            model: None,
            asked_model: None,
            finished: None,
            broken: None,
            exit_due: None,
            exit: None,
        };
        for action in first {
            actor.perform(action);
        }
        actor
    }

    async fn run(mut self) {
        let mut stderr_chunk = BytesMut::with_capacity(4096);
        while *self.life.phase() != Phase::Gone {
            let blocked = self.turn.as_ref().is_some_and(|turn| !turn.waiting.is_empty());
            let deadline = self.next_deadline(blocked);
            // A clone, because the branches below borrow `self` mutably.
            let client = self.turn.as_ref().map(|turn| turn.assignment.reply.clone());
            tokio::select! {
                // Not read while the client is slow: the pipe fills up, and the CLI waits with it.
                line = self.stdout.next(), if self.stdout_open && !blocked => self.on_line(line),
                written = write_outbox(&mut self.stdin, &mut self.outbox), if self.stdin.is_some() && !self.outbox.is_empty() => {
                    self.on_written(&written);
                }
                read = self.stderr.read_buf(&mut stderr_chunk), if self.stderr_open => {
                    self.stderr_open = matches!(read, Ok(n) if n > 0);
                    self.append_stderr(&mut stderr_chunk);
                }
                status = self.keeper.wait(), if self.exit.is_none() => self.on_exit(status),
                command = self.commands.recv(), if self.commands_open => self.on_command(command),
                () = wait_for_client(client.as_ref(), blocked), if client.is_some() => self.on_client(client.as_ref()),
                () = sleep_until(deadline) => self.on_deadline(blocked),
            }
            self.finish_exit();
        }
    }

    /// The nearest of the deadlines of the life, of the exit after the end of stdout, and of the rest after the exit.
    fn next_deadline(&self, blocked: bool) -> Option<Instant> {
        let drained = self.exit.filter(|_| !blocked).map(|(_, drained)| drained);
        [self.life.deadline(), self.exit_due, drained].into_iter().flatten().min()
    }

    fn handle(&mut self, input: Input) {
        for action in self.life.handle(input, now()) {
            self.perform(action);
        }
    }

    fn perform(&mut self, action: Action) {
        match action {
            Action::Send(message) => self.queue_message(message),
            Action::CloseStdin => {
                self.stdin = None;
                self.outbox.clear();
            }
            Action::Terminate => self.signal_keeper(rustix::process::Signal::TERM),
            // The keeper kills its whole tree on SIGQUIT and forwards SIGTERM to the CLI.
            Action::KillTree => self.signal_keeper(rustix::process::Signal::QUIT),
            Action::Abandon => self.kill_keeper(),
            Action::EndTurn(ending) => self.end_turn(ending),
            Action::ReportReady => {
                self.model = Some(self.live.factory.shared.model.clone());
                self.report(Report::Ready { rss: keeper_tree_rss(self.pid) });
            }
            Action::ReportIdle { cleared } => self.report(Report::Idle { cleared, rss: keeper_tree_rss(self.pid) }),
            Action::ReportCleared => self.report(Report::Cleared),
            Action::ReportLeaving(cause) => self.report(Report::Leaving { cause, rss: keeper_tree_rss(self.pid) }),
            Action::ReportGone(cause) => self.finish_life(cause),
        }
    }

    fn report(&self, report: Report<Assignment>) {
        self.live.report(report);
    }

    /// Gives back the memory of long lines between turns.
    fn shrink_read_buffer(&mut self) {
        if self.turn.is_none() && self.stdout.read_buffer().is_empty() {
            *self.stdout.read_buffer_mut() = BytesMut::with_capacity(READ_BUFFER_BYTES);
        }
    }

    fn queue_message(&mut self, message: Message) {
        let line = match message {
            Message::Initialize => event::control_request(INITIALIZE, "initialize"),
            Message::Interrupt => event::control_request("interrupt", "interrupt"),
            Message::Clear => {
                self.binding.begin_work(Work::Clear);
                event::slash_command("/clear")
            }
            Message::SetModel => {
                let wanted = self.wanted_model().to_owned();
                event::set_model(SET_MODEL, self.asked_model.insert(wanted))
            }
            Message::User => {
                let Some(turn) = &self.turn else { return };
                self.binding.begin_work(Work::Prompt);
                event::user_message(&turn.assignment.prompt.text)
            }
        };
        self.outbox.extend_from_slice(&line);
    }

    /// The model that the leased turn wants.
    fn wanted_model(&self) -> &str {
        let wanted = self.turn.as_ref().and_then(|turn| turn.assignment.prompt.model.as_deref());
        wanted.unwrap_or(&self.live.factory.shared.model)
    }

    /// Signals the keeper. Its pid cannot be reused before it has been waited for.
    fn signal_keeper(&self, signal: rustix::process::Signal) {
        if let (None, Some(pid)) = (self.exit, self.pid.and_then(rustix::process::Pid::from_raw)) {
            let _ = rustix::process::kill_process(pid, signal);
        }
    }

    /// Kills a keeper that did not end the tree in time: it was stopped with SIGSTOP, or it hangs in the kernel.
    fn kill_keeper(&mut self) {
        tracing::error!(invoker = self.live.id, "the keeper did not end the process tree in time; killing both");
        self.signal_keeper(rustix::process::Signal::KILL);
        self.end_orphans();
    }

    /// Ends the rest of a tree whose keeper is gone.
    fn end_orphans(&self) {
        let ended = self.live.factory.shared.runtime.end_leftovers(self.live.id, self.pid);
        tracing::warn!(invoker = self.live.id, processes = ended, "the keeper was killed; ended the processes it left");
    }

    fn finish_life(&mut self, cause: Cause) {
        let status = self.exit.map(|(status, _)| status);
        if status.is_none_or(|s| s.code().is_none()) {
            // Only a kill ends a keeper without an exit code, and then its tree may still run.
            self.end_orphans();
        }
        // A turn that was assigned in this instant has not begun, so another invoker can run it.
        self.commands.close();
        while let Ok(command) = self.commands.try_recv() {
            if let Command::Turn { assignment, .. } = command {
                self.report(Report::TurnOver { usage: None });
                self.report(Report::Returned(assignment));
            }
        }
        let code = status.and_then(|s| s.code()).and_then(|c| u8::try_from(c).ok());
        // After `initialize` the codes 126 and 127 can only be the CLI's own.
        let not_started = matches!(code, Some(keeper::exit::NOT_FOUND | keeper::exit::NOT_EXECUTABLE));
        let unusable = not_started && self.model.is_none();
        self.live.report_gone(cause, unusable);
    }
}

/// Writes a part of the outbox; never ends without a stdin.
async fn write_outbox(stdin: &mut Option<ChildStdin>, outbox: &mut BytesMut) -> std::io::Result<usize> {
    match stdin {
        Some(stdin) => stdin.write_buf(outbox).await,
        None => std::future::pending().await,
    }
}

/// Ends when the client is gone or, if `blocked`, when its queue has room again.
async fn wait_for_client(client: Option<&mpsc::Sender<TurnEvent>>, blocked: bool) {
    let Some(client) = client else { return };
    if blocked {
        let _ = client.reserve_many(RESERVED_EVENTS + 1).await;
    } else {
        client.closed().await;
    }
}
