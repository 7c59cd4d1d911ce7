//! The process behind: it starts the CLI, passes its streams, and writes the recording.

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

use super::book::Book;
use super::lines::{Channel, Lines};
use super::queue::Queue;
use super::{Plan, RecordError, pass, signals};
use crate::recording::End;

/// A dead front has nobody left who waits for the last lines; what fits into the pipe is written within this.
const LAST_LINES: Duration = Duration::from_millis(200);

/// What the threads have seen.
#[derive(Default)]
struct Seen {
    stdin_closed: AtomicBool,
    front_is_gone: AtomicBool,
    /// The last signal that was passed on.
    signal: AtomicI32,
}

/// Records; ends as the CLI ends.
pub fn back(plan: &Plan) -> Result<ExitCode, RecordError> {
    let front = getppid().ok_or_else(|| RecordError::system("find the front")(Errno::SRCH))?;
    let watched = pidfd_open(front, PidfdFlags::empty()).map_err(RecordError::system("watch the front"))?;
    if getppid() != Some(front) {
        return Ok(ExitCode::FAILURE);
    }
    let _ = rustix::thread::set_name(c"leakgate-record");
    let incoming = Signals::new(signals::passed()).map_err(RecordError::system("handle signals"))?;
    // A recording that cannot be made is told at the end: the session does not depend on it.
    let book = Book::open(plan, front.as_raw_nonzero().get().unsigned_abs());
    let mut cli = match start(plan) {
        Ok(cli) => cli,
        Err(error) => {
            let _ = book.map(Book::discard);
            return Err(error);
        }
    };
    let (end, seen, book) = session(&mut cli, book, watched, incoming)?;
    // Before anything that can fail: from now on the front may trust our status.
    let _ = kill_process(front, Signal::URG);
    if let Err(message) = book.and_then(|book| book.finish(end, after(&seen, end))) {
        // The CLI has had its last word, so this is not taken for one of its lines in the middle of a turn.
        let _ = writeln!(std::io::stderr(), "{message}");
    }
    Ok(signals::end_as(end))
}

fn start(plan: &Plan) -> Result<Child, RecordError> {
    let (program, arguments) = plan.command.split_first().map_or((None, &[][..]), |(p, a)| (Some(p), a));
    let program = program.cloned().unwrap_or_default();
    #[expect(clippy::disallowed_methods, reason = "waited for here, and killed when the front is")]
    let mut command = Command::new(&program);
    // In a group of its own, or a signal to the wrapper's group would reach it twice.
    command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).process_group(0);
    let started = process_tree::spawn_when_not_busy(&mut command);
    started.map_err(|source| RecordError::Start { program: program.to_string_lossy().into_owned(), source })
}

/// The streams as files; what std buffers would add latency.
fn own(fd: impl AsFd) -> Result<File, RecordError> {
    fd.as_fd().try_clone_to_owned().map(File::from).map_err(RecordError::system("share a stream"))
}

fn pipe<T: Into<OwnedFd>>(stream: Option<T>) -> Result<File, RecordError> {
    stream.map(|stream| File::from(stream.into())).ok_or_else(|| RecordError::system("share a stream")(Errno::BADF))
}

/// How the CLI ended, what was seen of it, and the book, or why there is none.
type Lived = (End, Arc<Seen>, Result<Book, String>);

/// The CLI's whole life.
fn session(
    cli: &mut Child,
    book: Result<Book, String>,
    front: OwnedFd,
    incoming: Signals,
) -> Result<Lived, RecordError> {
    let (seen, queue) = (Arc::new(Seen::default()), Arc::new(Queue::default()));
    let pid = Pid::from_child(cli);
    let pidfd = || pidfd_open(pid, PidfdFlags::empty()).map_err(RecordError::system("watch the CLI"));
    let (for_front, for_signals) = (pidfd()?, pidfd()?);
    let (known, also) = (Arc::clone(&seen), Arc::clone(&seen));
    spawn("front", move || watch(&front, &for_front, &known))?;
    spawn("signals", move || pass_on(incoming, &for_signals, &also))?;
    let errors = own(std::io::stderr())?;
    let (over, wake) = UnixStream::pair().map_err(RecordError::system("make a pipe"))?;
    let ended = streams(cli, &over, &queue, &seen)?;
    let lines = Arc::clone(&queue);
    let writer = std::thread::Builder::new().name("book".to_owned()).spawn(move || match book {
        Ok(mut book) => {
            book.keep(&lines);
            Ok(book)
        }
        Err(message) => {
            lines.give_up();
            Err(message)
        }
    });
    let writer = writer.map_err(RecordError::system("start a thread"))?;
    let status = cli.wait().map_err(RecordError::system("wait for the CLI"))?;
    let _ = (&wake).write_all(b".");
    wait_for_last_lines(&ended, &seen);
    queue.close();
    let book =
        writer.join().unwrap_or_else(|_| Err("leakgate: the recording is not whole: a defect of leakgate".to_owned()));
    let _ = rustix::stdio::dup2_stderr(&errors);
    Ok((end(status), seen, book))
}

/// Starts a thread for each stream; each tells when it is done.
fn streams(
    cli: &mut Child,
    over: &UnixStream,
    queue: &Arc<Queue>,
    seen: &Arc<Seen>,
) -> Result<Receiver<Channel>, RecordError> {
    let (stdin, stdout, stderr) = (pipe(cli.stdin.take())?, pipe(cli.stdout.take())?, pipe(cli.stderr.take())?);
    for stream in [&stdout, &stderr] {
        // Ours alone: the CLI's end of the pipe is another.
        rustix::fs::fcntl_setfl(stream, OFlags::NONBLOCK).map_err(RecordError::system("set up a pipe"))?;
    }
    let plan = [
        (Channel::In, own(std::io::stdin())?, stdin),
        (Channel::Out, stdout, own(std::io::stdout())?),
        (Channel::Err, stderr, own(std::io::stderr())?),
    ];
    close_own_stdio();
    let (done, ended) = sync_channel(plan.len());
    for (channel, from, to) in plan {
        let over = over.try_clone().map_err(RecordError::system("share a pipe"))?;
        let (queue, seen, done) = (Arc::clone(queue), Arc::clone(seen), done.clone());
        spawn("stream", move || {
            let stopped = pass::pass(from, to, &over, Lines::new(channel, &queue));
            if channel == Channel::In && stopped == pass::Stopped::AtEnd {
                seen.stdin_closed.store(true, Ordering::SeqCst);
            }
            let _ = done.send(channel);
        })?;
    }
    Ok(ended)
}

fn end(status: std::process::ExitStatus) -> End {
    use std::os::unix::process::ExitStatusExt;
    status.code().map_or_else(|| End::Signal(status.signal().unwrap_or(9)), End::Code)
}

fn spawn(name: &str, work: impl FnOnce() + Send + 'static) -> Result<(), RecordError> {
    let thread = std::thread::Builder::new().name(name.to_owned()).spawn(work);
    thread.map(drop).map_err(RecordError::system("start a thread"))
}

/// The threads have their own; the ends of these must mean what they should.
fn close_own_stdio() {
    if let Ok(null) = File::options().read(true).write(true).open("/dev/null") {
        let _ = rustix::stdio::dup2_stdin(&null);
        let _ = rustix::stdio::dup2_stdout(&null);
        let _ = rustix::stdio::dup2_stderr(&null);
    }
}

/// Kills the CLI once the front is gone: whoever killed the front meant the CLI.
fn watch(front: &OwnedFd, cli: &OwnedFd, seen: &Seen) {
    while let Err(Errno::INTR) = poll(&mut [PollFd::new(front, PollFlags::IN)], None) {}
    seen.front_is_gone.store(true, Ordering::SeqCst);
    let _ = pidfd_send_signal(cli, Signal::KILL);
}

fn pass_on(mut incoming: Signals, cli: &OwnedFd, seen: &Seen) {
    for signal in incoming.forever() {
        if ends(signal) {
            seen.signal.store(signal, Ordering::SeqCst);
        }
        if let Some(signal) = signals::named(signal) {
            let _ = pidfd_send_signal(cli, signal);
        }
    }
}

/// Whether a CLI may end of it.
fn ends(signal: i32) -> bool {
    [SIGTERM, SIGINT, SIGHUP, SIGQUIT].contains(&signal)
}

/// Waits until the wrapper has taken what the CLI still said. It may take its time, unless it has killed us, or sends
/// a signal that it means the CLI to end of.
fn wait_for_last_lines(ended: &Receiver<Channel>, seen: &Seen) {
    let signal = seen.signal.swap(0, Ordering::SeqCst);
    let (mut left, mut patience) = (2, 1);
    while left > 0 && patience > 0 {
        match ended.recv_timeout(LAST_LINES) {
            Ok(Channel::In) => {}
            Ok(_) => left -= 1,
            Err(RecvTimeoutError::Timeout) => {
                let told = seen.signal.load(Ordering::SeqCst) != 0 || seen.front_is_gone.load(Ordering::SeqCst);
                patience -= i32::from(told);
            }
            Err(RecvTimeoutError::Disconnected) => return,
        }
    }
    seen.signal.store(signal, Ordering::SeqCst);
}

/// What ended the CLI, in words.
fn after(seen: &Seen, end: End) -> String {
    let signal = seen.signal.load(Ordering::SeqCst);
    let by = match end {
        _ if seen.front_is_gone.load(Ordering::SeqCst) => Some("SIGKILL".to_owned()),
        _ if signal != 0 => Some(signals::name(signal)),
        End::Signal(signal) => Some(signals::name(signal)),
        End::Code(_) => None,
    };
    match (seen.stdin_closed.load(Ordering::SeqCst), by) {
        (true, None) => "stdin closed".to_owned(),
        (true, Some(by)) => format!("stdin closed, then {by}"),
        (false, Some(by)) => by,
        (false, None) => "by itself".to_owned(),
    }
}
