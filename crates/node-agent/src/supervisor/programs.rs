//! The supervisor's loop: orders in, reports out, output into logs, endings noticed. One thread.

use std::collections::{BTreeMap, HashMap};
use std::io::{self, Read};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::process::{Command, Stdio};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use process_tree::{Process, Tree, this_program};

use super::channel::{self, Inbox};
use super::logfile::{LogFile, Stream};
use super::order::{Ending, Order, Report, Spec, TaskId};
use super::{STAGE, processes};

/// Bytes read from a program at once.
const CHUNK: usize = 16 << 10;
/// Chunks read from one stream before others get their turn.
const TURN: usize = 16;

/// Runs until the agent is gone. Returns the exit status.
pub(super) fn supervise() -> i32 {
    match Supervisor::new().and_then(|mut supervisor| supervisor.run()) {
        Ok(()) => 0,
        Err(_) => 1,
    }
}

/// One started program.
struct Task {
    pid: u32,
    /// The stage's socket, until it has become the program.
    stage: Option<(UnixStream, Inbox)>,
    outputs: Vec<Output>,
    log: Option<LogFile>,
    ending: Option<Ending>,
}

struct Output {
    stream: Stream,
    pipe: io::PipeReader,
}

struct Supervisor {
    agent: UnixStream,
    inbox: Inbox,
    /// Becomes readable when a child has changed.
    children: nix::sys::signalfd::SignalFd,
    tasks: BTreeMap<TaskId, Task>,
}

/// What became readable.
enum Ready {
    Agent,
    Children,
    Stage(TaskId),
    Output(TaskId, usize),
}

impl Supervisor {
    fn new() -> io::Result<Self> {
        #[cfg(target_os = "linux")]
        nix::sys::prctl::set_child_subreaper(true)?;
        let mut mask = SigSet::empty();
        mask.add(Signal::SIGCHLD);
        mask.thread_block()?;
        let flags =
            nix::sys::signalfd::SfdFlags::SFD_CLOEXEC | nix::sys::signalfd::SfdFlags::SFD_NONBLOCK;
        let children = nix::sys::signalfd::SignalFd::with_flags(&mask, flags)?;
        let agent = UnixStream::from(io::stdin().as_fd().try_clone_to_owned()?);
        Ok(Self { agent, inbox: Inbox::default(), children, tasks: BTreeMap::new() })
    }

    fn run(&mut self) -> io::Result<()> {
        let result = loop {
            match self.turn() {
                Ok(true) => {}
                Ok(false) => break Ok(()),
                Err(error) => break Err(error),
            }
        };
        let me = std::process::id();
        processes::kill_all(|| Tree::look().alive_below(me));
        for task in self.tasks.values_mut() {
            task.drain();
        }
        result
    }

    /// Waits for something and handles it. `false`: the agent is gone.
    fn turn(&mut self) -> io::Result<bool> {
        for ready in self.wait()? {
            match ready {
                Ready::Agent => {
                    if !self.inbox.fill(&self.agent)? {
                        return Ok(false);
                    }
                    while let Some(order) = self.inbox.take()? {
                        self.carry_out(order)?;
                    }
                }
                Ready::Children => {
                    while self.children.read_signal()?.is_some() {}
                    self.reap()?;
                }
                Ready::Stage(id) => self.hear_stage(id)?,
                Ready::Output(id, index) => {
                    if let Some(task) = self.tasks.get_mut(&id) {
                        task.read(index);
                    }
                }
            }
        }
        Ok(true)
    }

    fn wait(&self) -> io::Result<Vec<Ready>> {
        let mut what = vec![Ready::Agent, Ready::Children];
        let mut fds = vec![
            PollFd::new(self.agent.as_fd(), PollFlags::POLLIN),
            PollFd::new(self.children.as_fd(), PollFlags::POLLIN),
        ];
        for (id, task) in &self.tasks {
            if let Some((socket, _)) = &task.stage {
                what.push(Ready::Stage(*id));
                fds.push(PollFd::new(socket.as_fd(), PollFlags::POLLIN));
            }
            // From the last, as one that has ended is taken out of the list.
            for (index, output) in task.outputs.iter().enumerate().rev() {
                what.push(Ready::Output(*id, index));
                fds.push(PollFd::new(output.pipe.as_fd(), PollFlags::POLLIN));
            }
        }
        match poll(&mut fds, PollTimeout::NONE) {
            Ok(_) | Err(nix::errno::Errno::EINTR) => {}
            Err(error) => return Err(error.into()),
        }
        let ready: Vec<bool> =
            fds.iter().map(|fd| fd.revents().is_some_and(|events| !events.is_empty())).collect();
        Ok(what.into_iter().zip(ready).filter_map(|(what, ready)| ready.then_some(what)).collect())
    }

    fn carry_out(&mut self, order: Order) -> io::Result<()> {
        match order {
            Order::Start { id, spec, log, files } => {
                let files: Vec<OwnedFd> =
                    self.inbox.files.drain(..files.min(self.inbox.files.len())).collect();
                let log = log.map(LogFile::open).transpose();
                match log.and_then(|log| start(&spec, log, files)) {
                    Ok(task) => {
                        self.tasks.insert(id, task);
                        Ok(())
                    }
                    Err(error) => {
                        self.report(&Report::NotStarted { id, reason: error.to_string() })
                    }
                }
            }
            Order::Signal { id, signal, tree } => {
                let (Some(task), Ok(signal)) = (self.tasks.get(&id), Signal::try_from(signal))
                else {
                    return Ok(());
                };
                if task.ending.is_none() {
                    processes::signal(task.pid, signal);
                }
                if tree && signal == Signal::SIGKILL {
                    processes::kill_all(|| self.owned(id));
                } else if tree {
                    self.owned(id).iter().for_each(|one| processes::signal(one.id, signal));
                }
                Ok(())
            }
            Order::Freeze { id, frozen } => {
                let signal = if frozen { Signal::SIGSTOP } else { Signal::SIGCONT };
                // Twice: what forked while the first list was being read is in the second.
                for _ in 0..2 {
                    let all = Tree::look().alive_below(std::process::id());
                    all.iter().for_each(|process| processes::signal(process.id, signal));
                }
                self.report(&Report::Ended { id, ending: Ending { code: 0, signal: None } })
            }
        }
    }

    /// A stage said something or became its program.
    fn hear_stage(&mut self, id: TaskId) -> io::Result<()> {
        let Some(task) = self.tasks.get_mut(&id) else { return Ok(()) };
        let Some((socket, inbox)) = &mut task.stage else { return Ok(()) };
        if inbox.fill(&*socket).unwrap_or(false) {
            return Ok(());
        }
        let said = task.stage.take().map(|(_, inbox)| inbox.into_text()).unwrap_or_default();
        let pid = task.pid;
        if said.is_empty() {
            return self.report(&Report::Started { id, pid });
        }
        // Its ending says nothing new: it is reaped like a stranger's.
        self.tasks.remove(&id);
        self.report(&Report::NotStarted { id, reason: said })
    }

    /// Takes note of children that have ended.
    fn reap(&mut self) -> io::Result<()> {
        let mut ended = Vec::new();
        loop {
            let (pid, ending) = match waitpid(None, Some(WaitPidFlag::WNOHANG)) {
                Ok(WaitStatus::Exited(pid, code)) => (pid, Ending { code, signal: None }),
                Ok(WaitStatus::Signaled(pid, signal, _)) => {
                    let signal = signal as i32;
                    (pid, Ending { code: 128 + signal, signal: Some(signal) })
                }
                Ok(WaitStatus::StillAlive) | Err(_) => break,
                Ok(_) => continue,
            };
            let task = self.tasks.iter_mut().find(|(_, task)| {
                task.ending.is_none() && i32::try_from(task.pid) == Ok(pid.as_raw())
            });
            if let Some((id, task)) = task {
                task.ending = Some(ending);
                ended.push(*id);
            }
        }
        for id in ended {
            self.end(id)?;
        }
        Ok(())
    }

    /// A program's main process has ended: so does everything that it started.
    fn end(&mut self, id: TaskId) -> io::Result<()> {
        // A dead process says nothing more, so that this comes to an end.
        while self.tasks.get(&id).is_some_and(|task| task.stage.is_some()) {
            self.hear_stage(id)?;
        }
        if !self.tasks.contains_key(&id) {
            return Ok(());
        }
        processes::kill_all(|| self.owned(id));
        let Some(mut task) = self.tasks.remove(&id) else { return Ok(()) };
        task.drain();
        match task.ending {
            Some(ending) => self.report(&Report::Ended { id, ending }),
            None => Ok(()),
        }
    }

    /// Processes that a program started: below its main process, or of its session, or of nobody's while it is alone.
    fn owned(&self, id: TaskId) -> Vec<Process> {
        let all = Tree::look();
        let mains: HashMap<u32, TaskId> =
            self.tasks.iter().map(|(id, task)| (task.pid, *id)).collect();
        let owner = |process: &Process| {
            let mut at = *process;
            while !mains.contains_key(&at.id) && at.parent != std::process::id() {
                match all.get(at.parent) {
                    Some(parent) => at = parent,
                    None => break,
                }
            }
            let by_session = u32::try_from(process.session).ok();
            let found = mains.get(&at.id).or_else(|| mains.get(&by_session?));
            found.copied().or_else(|| (mains.len() == 1).then_some(id))
        };
        let below = all.alive_below(std::process::id());
        below.into_iter().filter(|process| owner(process) == Some(id)).collect()
    }

    fn report(&self, report: &Report) -> io::Result<()> {
        channel::send_all(&self.agent, &channel::line(report)?, &[])
    }
}

impl Task {
    /// Reads what a stream has; forgets it at its end.
    fn read(&mut self, index: usize) {
        let mut buffer = [0; CHUNK];
        for _ in 0..TURN {
            let Some(output) = self.outputs.get_mut(index) else { return };
            match output.pipe.read(&mut buffer) {
                Ok(0) => {
                    self.outputs.remove(index);
                    return;
                }
                Ok(read) => {
                    let stream = output.stream;
                    if let Some(log) = &mut self.log {
                        // A full disk costs lines, not the program.
                        let _lost = log.write(stream, &buffer[..read]);
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => {
                    self.outputs.remove(index);
                    return;
                }
            }
        }
    }

    /// Reads what is left when nobody writes any more.
    fn drain(&mut self) {
        for index in (0..self.outputs.len()).rev() {
            // A pipe holds 64 KiB, so one turn empties it.
            self.read(index);
        }
        if let Some(log) = &mut self.log {
            let _lost = log.finish();
        }
    }
}

/// Starts a stage and hands it what to become.
fn start(spec: &Spec, log: Option<LogFile>, files: Vec<OwnedFd>) -> io::Result<Task> {
    let (ours, theirs) = UnixStream::pair()?;
    let mut command = Command::new(this_program()?);
    command.arg(STAGE).arg(std::process::id().to_string());
    command.stdin(OwnedFd::from(theirs)).stdout(Stdio::null()).stderr(Stdio::null());
    command.env_clear();
    let child = command.spawn()?;
    drop(command);
    let pid = child.id();
    let mut outputs = Vec::new();
    let files = match <[OwnedFd; 3]>::try_from(files) {
        Ok(given) => given,
        Err(mut rest) => {
            let stdin = match rest.pop() {
                Some(stdin) => stdin,
                None => std::fs::File::open("/dev/null")?.into(),
            };
            let (stdout, stdout_end) = io::pipe()?;
            let (stderr, stderr_end) = io::pipe()?;
            for (stream, pipe) in [(Stream::Stdout, stdout), (Stream::Stderr, stderr)] {
                let flags = rustix::fs::fcntl_getfl(&pipe)? | rustix::fs::OFlags::NONBLOCK;
                rustix::fs::fcntl_setfl(&pipe, flags)?;
                outputs.push(Output { stream, pipe });
            }
            [stdin, stdout_end.into(), stderr_end.into()]
        }
    };
    let files = files.each_ref().map(AsFd::as_fd);
    channel::send_all(&ours, &channel::line(spec)?, &files)?;
    Ok(Task { pid, stage: Some((ours, Inbox::default())), outputs, log, ending: None })
}
