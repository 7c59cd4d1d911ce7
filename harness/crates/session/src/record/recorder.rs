//! The recorder process: starts the CLI, copies its streams, and writes the recording.

use std::fs::File;
use std::io::Write;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, ExitCode, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI32, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, poll};
use rustix::fs::OFlags;
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, Signal, getppid, kill_process, pidfd_open, pidfd_send_signal};
use signal_hook::consts::{SIGHUP, SIGINT, SIGQUIT, SIGTERM};
use signal_hook::iterator::Signals;

use super::lines::{Channel, LineSplitter};
use super::queue::Queue;
use super::writer::RecordingWriter;
use super::{RecordError, RecordOptions, close_own_stdio, copy, signals};
use crate::recording::End;

/// Wait for the last lines once the shim is gone: nobody reads them then, so only what fits into the pipe is written.
const LAST_LINES: Duration = Duration::from_millis(200);

/// Observations of the threads, from which the cause of the end is derived.
#[derive(Default)]
struct Observations {
    stdin_closed: AtomicBool,
    shim_is_gone: AtomicBool,
    /// The last signal that was passed on.
    signal: AtomicI32,
}

/// Records; ends as the CLI ends.
pub fn run_recorder(options: &RecordOptions) -> Result<ExitCode, RecordError> {
    let shim = getppid().ok_or_else(|| RecordError::system_error("find the shim")(Errno::SRCH))?;
    let watched = pidfd_open(shim, PidfdFlags::empty()).map_err(RecordError::system_error("watch the shim"))?;
    if getppid() != Some(shim) {
        return Ok(ExitCode::FAILURE);
    }
    let _ = rustix::thread::set_name(c"leakgate-record");
    let incoming = Signals::new(signals::forwarded_signals()).map_err(RecordError::system_error("handle signals"))?;
    // A recording that cannot be made is told at the end: the session does not depend on it.
    let writer = RecordingWriter::create(options, shim.as_raw_nonzero().get().unsigned_abs());
    let mut cli = match spawn_cli(options) {
        Ok(cli) => cli,
        Err(error) => {
            let _ = writer.map(RecordingWriter::discard_file);
            return Err(error);
        }
    };
    let (end, seen, writer) = record_session(&mut cli, writer, watched, incoming)?;
    // Before anything that can fail: from now on the shim may trust our status.
    let _ = kill_process(shim, Signal::URG);
    if let Err(message) = writer.and_then(|writer| writer.finish(end, describe_end(&seen, end))) {
        // The CLI has had its last word, so this is not taken for one of its lines in the middle of a turn.
        let _ = writeln!(std::io::stderr(), "{message}");
    }
    Ok(signals::exit_like(end))
}

fn spawn_cli(options: &RecordOptions) -> Result<Child, RecordError> {
    let (program, arguments) = options.command.split_first().map_or((None, &[][..]), |(p, a)| (Some(p), a));
    let program = program.cloned().unwrap_or_default();
    #[expect(clippy::disallowed_methods, reason = "waited for here, and killed when the shim is")]
    let mut command = Command::new(&program);
    // In a group of its own, or a signal to the wrapper's group would reach it twice.
    command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).process_group(0);
    let started = process_tree::spawn_when_not_busy(&mut command);
    started.map_err(|source| RecordError::Start { program: program.to_string_lossy().into_owned(), source })
}

/// The streams as files; what std buffers would add latency.
fn duplicate_stream(fd: impl AsFd) -> Result<File, RecordError> {
    fd.as_fd().try_clone_to_owned().map(File::from).map_err(RecordError::system_error("share a stream"))
}

fn take_pipe<T: Into<OwnedFd>>(stream: Option<T>) -> Result<File, RecordError> {
    stream
        .map(|stream| File::from(stream.into()))
        .ok_or_else(|| RecordError::system_error("share a stream")(Errno::BADF))
}

/// How the CLI ended, what was seen of it, and the writer, or why there is none.
type SessionOutcome = (End, Arc<Observations>, Result<RecordingWriter, String>);

/// The CLI's whole life.
fn record_session(
    cli: &mut Child,
    writer: Result<RecordingWriter, String>,
    shim: OwnedFd,
    incoming: Signals,
) -> Result<SessionOutcome, RecordError> {
    let (seen, queue) = (Arc::new(Observations::default()), Arc::new(Queue::default()));
    let pid = Pid::from_child(cli);
    let pidfd = || pidfd_open(pid, PidfdFlags::empty()).map_err(RecordError::system_error("watch the CLI"));
    let (for_shim, for_signals) = (pidfd()?, pidfd()?);
    let (known, also) = (Arc::clone(&seen), Arc::clone(&seen));
    spawn_thread("shim", move || kill_cli_after_shim(&shim, &for_shim, &known))?;
    spawn_thread("signals", move || forward_signals(incoming, &for_signals, &also))?;
    let errors = duplicate_stream(std::io::stderr())?;
    let (over, wake) = UnixStream::pair().map_err(RecordError::system_error("make a pipe"))?;
    let ended = spawn_copiers(cli, &over, &queue, &seen)?;
    let lines = Arc::clone(&queue);
    let thread = std::thread::Builder::new().name("writer".to_owned()).spawn(move || match writer {
        Ok(mut writer) => {
            writer.write_queued(&lines);
            Ok(writer)
        }
        Err(message) => {
            lines.give_up();
            Err(message)
        }
    });
    let thread = thread.map_err(RecordError::system_error("start a thread"))?;
    let status = cli.wait().map_err(RecordError::system_error("wait for the CLI"))?;
    let _ = (&wake).write_all(b".");
    wait_for_last_lines(&ended, &seen);
    queue.close();
    let writer =
        thread.join().unwrap_or_else(|_| Err("leakgate: the recording is not whole: a defect of leakgate".to_owned()));
    let _ = rustix::stdio::dup2_stderr(&errors);
    Ok((to_end(status), seen, writer))
}

/// Starts a thread for each stream; each tells when it is done.
fn spawn_copiers(
    cli: &mut Child,
    over: &UnixStream,
    queue: &Arc<Queue>,
    seen: &Arc<Observations>,
) -> Result<Receiver<Channel>, RecordError> {
    let (stdin, stdout, stderr) =
        (take_pipe(cli.stdin.take())?, take_pipe(cli.stdout.take())?, take_pipe(cli.stderr.take())?);
    for stream in [&stdout, &stderr] {
        // Ours alone: the CLI's end of the pipe is another.
        rustix::fs::fcntl_setfl(stream, OFlags::NONBLOCK).map_err(RecordError::system_error("set up a pipe"))?;
    }
    let streams = [
        (Channel::In, duplicate_stream(std::io::stdin())?, stdin),
        (Channel::Out, stdout, duplicate_stream(std::io::stdout())?),
        (Channel::Err, stderr, duplicate_stream(std::io::stderr())?),
    ];
    close_own_stdio();
    let (done, ended) = sync_channel(streams.len());
    for (channel, from, to) in streams {
        let over = over.try_clone().map_err(RecordError::system_error("share a pipe"))?;
        let (queue, seen, done) = (Arc::clone(queue), Arc::clone(seen), done.clone());
        spawn_thread("stream", move || {
            let stopped = copy::copy_stream(from, to, &over, LineSplitter::new(channel, &queue));
            if channel == Channel::In && stopped == copy::CopyEnd::EndOfFile {
                seen.stdin_closed.store(true, Ordering::SeqCst);
            }
            let _ = done.send(channel);
        })?;
    }
    Ok(ended)
}

fn to_end(status: std::process::ExitStatus) -> End {
    use std::os::unix::process::ExitStatusExt;
    status.code().map_or_else(|| End::Signal(status.signal().unwrap_or(9)), End::Code)
}

fn spawn_thread(name: &str, work: impl FnOnce() + Send + 'static) -> Result<(), RecordError> {
    let thread = std::thread::Builder::new().name(name.to_owned()).spawn(work);
    thread.map(drop).map_err(RecordError::system_error("start a thread"))
}

/// Kills the CLI once the shim is gone: whoever killed the shim meant the CLI.
fn kill_cli_after_shim(shim: &OwnedFd, cli: &OwnedFd, seen: &Observations) {
    while let Err(Errno::INTR) = poll(&mut [PollFd::new(shim, PollFlags::IN)], None) {}
    seen.shim_is_gone.store(true, Ordering::SeqCst);
    let _ = pidfd_send_signal(cli, Signal::KILL);
}

fn forward_signals(mut incoming: Signals, cli: &OwnedFd, seen: &Observations) {
    for signal in incoming.forever() {
        if is_terminating(signal) {
            seen.signal.store(signal, Ordering::SeqCst);
        }
        if let Some(signal) = signals::to_signal(signal) {
            let _ = pidfd_send_signal(cli, signal);
        }
    }
}

/// Whether a CLI may end of it.
fn is_terminating(signal: i32) -> bool {
    [SIGTERM, SIGINT, SIGHUP, SIGQUIT].contains(&signal)
}

/// Waits until the wrapper has taken what the CLI still said. It may take its time, unless it has killed us, or sends
/// a signal that it means the CLI to end of.
fn wait_for_last_lines(ended: &Receiver<Channel>, seen: &Observations) {
    let signal = seen.signal.swap(0, Ordering::SeqCst);
    let (mut left, mut patience) = (2, 1);
    while left > 0 && patience > 0 {
        match ended.recv_timeout(LAST_LINES) {
            Ok(Channel::In) => {}
            Ok(_) => left -= 1,
            Err(RecvTimeoutError::Timeout) => {
                let told = seen.signal.load(Ordering::SeqCst) != 0 || seen.shim_is_gone.load(Ordering::SeqCst);
                patience -= i32::from(told);
            }
            Err(RecvTimeoutError::Disconnected) => return,
        }
    }
    seen.signal.store(signal, Ordering::SeqCst);
}

/// The cause of the CLI's end, in words, for the recording's last line.
fn describe_end(seen: &Observations, end: End) -> String {
    let signal = seen.signal.load(Ordering::SeqCst);
    let by = match end {
        _ if seen.shim_is_gone.load(Ordering::SeqCst) => Some("SIGKILL".to_owned()),
        _ if signal != 0 => Some(signals::signal_name(signal)),
        End::Signal(signal) => Some(signals::signal_name(signal)),
        End::Code(_) => None,
    };
    match (seen.stdin_closed.load(Ordering::SeqCst), by) {
        (true, None) => "stdin closed".to_owned(),
        (true, Some(by)) => format!("stdin closed, then {by}"),
        (false, Some(by)) => by,
        (false, None) => "by itself".to_owned(),
    }
}
