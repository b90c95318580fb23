//! Programs beside a container's main process, connections into a pod, and what a container prints from now on.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::pin::Pin;

use apimachinery::Key;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::net::unix::pipe;

use crate::agent::NodeAgent;
use crate::error::AgentError;
use crate::logs::{LogOptions, container_name};
use crate::supervisor::order::{Ending, Spec};

/// What to run beside a container.
#[derive(Debug, Clone, Default)]
pub struct ExecRequest {
    /// Which container; none where there is one only.
    pub container: Option<String>,
    /// Program and arguments.
    pub command: Vec<String>,
    /// Whether the caller sends input.
    pub stdin: bool,
    /// Whether it runs on a terminal; then there is no standard error of its own.
    pub tty: bool,
}

/// Bytes that a program reads.
pub type Input = Pin<Box<dyn AsyncWrite + Send>>;
/// Bytes that a program prints.
pub type Output = Pin<Box<dyn AsyncRead + Send>>;
/// How a program ends: its exit status, or why it could not be started.
pub type Finish = Pin<Box<dyn Future<Output = Result<Ending, String>> + Send>>;

/// A program that runs. Dropping `ended` kills it.
pub struct Session {
    /// Its standard input, if it was asked for. Dropping it closes it.
    pub stdin: Option<Input>,
    /// Its standard output; of a terminal, both.
    pub stdout: Output,
    /// Its standard error, without a terminal.
    pub stderr: Option<Output>,
    /// Its terminal's size.
    pub terminal: Option<Terminal>,
    /// Its ending.
    pub ended: Finish,
}

impl std::fmt::Debug for Session {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Session").field("terminal", &self.terminal).finish_non_exhaustive()
    }
}

/// The terminal of a session.
#[derive(Debug)]
pub struct Terminal {
    file: OwnedFd,
}

impl Terminal {
    /// Sets its size, in characters.
    ///
    /// # Errors
    /// When it is gone.
    pub fn resize(&self, columns: u16, rows: u16) -> io::Result<()> {
        let size =
            rustix::termios::Winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
        Ok(rustix::termios::tcsetwinsize(&self.file, size)?)
    }
}

impl NodeAgent {
    /// Runs a program beside a container's main process: with its variables, its working directory and its view of files.
    ///
    /// # Errors
    /// [`AgentError::NoPod`], [`AgentError::NoContainer`], [`AgentError::NotRunning`].
    pub async fn exec(&self, pod: &Key, request: ExecRequest) -> Result<Session, AgentError> {
        let (_, _, view) = self.shared.find(pod)?;
        let (sandbox, spec) = {
            let view = view.borrow();
            let name = container_name(&view, pod, request.container.as_deref())?;
            let container = view.containers.get(&name).cloned().unwrap_or_default();
            let (Some(sandbox), Some(pid)) = (view.sandbox.clone(), container.pid) else {
                let state = container.waiting.unwrap_or_else(|| "Terminated".to_owned());
                let (pod, container) = (pod.name.clone(), name);
                return Err(AgentError::NotRunning { pod, container, state });
            };
            let mut env = container.env.to_vec();
            if request.tty {
                env.push(("TERM".to_owned(), "xterm".to_owned()));
            }
            let spec = Spec {
                argv: request.command.clone(),
                env,
                dir: container.dir,
                enter: self.shared.views.then_some(pid),
                tty: request.tty,
                ..Spec::default()
            };
            (sandbox, spec)
        };
        let told = || AgentError::io("files for a program");
        let (files, ours) = if request.tty {
            on_terminal(request.stdin).map_err(told())?
        } else {
            on_pipes(request.stdin).map_err(told())?
        };
        let mut running = sandbox.run(spec, files).await;
        let ended: Finish = Box::pin(async move { running.ended().await });
        let Ours { stdin, stdout, stderr, terminal } = ours;
        Ok(Session { stdin, stdout, stderr, terminal, ended })
    }

    /// What a container prints from now on, until it ends. It cannot be sent input.
    ///
    /// # Errors
    /// As for [`logs`](Self::logs); [`AgentError::NotSupported`] when input is asked for.
    pub fn attach(
        &self,
        pod: &Key,
        container: Option<String>,
        stdin: bool,
    ) -> Result<impl futures_util::Stream<Item = io::Result<bytes::Bytes>> + Send + use<>, AgentError>
    {
        if stdin {
            let what = "standard input of a container that runs; use exec";
            return Err(AgentError::NotSupported(what.to_owned()));
        }
        let options =
            LogOptions { container, follow: true, tail_lines: Some(0), ..LogOptions::default() };
        self.logs(pod, options)
    }

    /// Opens a connection to a port of a pod, declared or not, where its program listens.
    ///
    /// # Errors
    /// [`AgentError::NoPod`], [`AgentError::Io`] when nobody listens.
    pub async fn port_forward(&self, pod: &Key, port: u16) -> Result<TcpStream, AgentError> {
        let (_, _, view) = self.shared.find(pod)?;
        let address = view.borrow().address.as_ref().map(|address| address.bind);
        let address = address.ok_or_else(|| AgentError::NoPod(pod.name.clone()))?;
        let connected = match TcpStream::connect((address, port)).await {
            // A program that listens on localhost only, as many do that are meant to be forwarded.
            Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
                self.listener_of(pod, port).await.ok_or(error)
            }
            other => other,
        };
        let what = format!("connect to port {port} of pod {}", pod.name);
        let stream = connected.map_err(AgentError::io(what))?;
        let _slower_without = stream.set_nodelay(true);
        Ok(stream)
    }

    /// A connection to a port that one of the pod's own processes has open on another local address.
    async fn listener_of(&self, pod: &Key, port: u16) -> Option<TcpStream> {
        let address = crate::net::listener_of(&self.shared, pod, port)?;
        TcpStream::connect((address, port)).await.ok()
    }
}

/// The caller's ends of a program's files.
struct Ours {
    stdin: Option<Input>,
    stdout: Output,
    stderr: Option<Output>,
    terminal: Option<Terminal>,
}

fn on_pipes(wants_stdin: bool) -> io::Result<([OwnedFd; 3], Ours)> {
    let output = || -> io::Result<(OwnedFd, Output)> {
        let (read, write) = io::pipe()?;
        Ok((write.into(), Box::pin(pipe::Receiver::from_owned_fd(read.into())?)))
    };
    let (stdin, input): (OwnedFd, Option<Input>) = if wants_stdin {
        let (read, write) = io::pipe()?;
        (read.into(), Some(Box::pin(pipe::Sender::from_owned_fd(write.into())?)))
    } else {
        (std::fs::File::open("/dev/null")?.into(), None)
    };
    let (stdout, out) = output()?;
    let (stderr, err) = output()?;
    let ours = Ours { stdin: input, stdout: out, stderr: Some(err), terminal: None };
    Ok(([stdin, stdout, stderr], ours))
}

fn on_terminal(wants_stdin: bool) -> io::Result<([OwnedFd; 3], Ours)> {
    let pty = nix::pty::openpty(None, None)?;
    let copy = |file: &OwnedFd| file.as_fd().try_clone_to_owned();
    let files = [copy(&pty.slave)?, copy(&pty.slave)?, pty.slave];
    let stdin: Option<Input> = if wants_stdin {
        Some(Box::pin(tokio::fs::File::from_std(copy(&pty.master)?.into())))
    } else {
        None
    };
    // Reads in a thread of its own; at the terminal's end it fails, which is its end.
    let stdout = tokio::fs::File::from_std(copy(&pty.master)?.into());
    let terminal = Some(Terminal { file: pty.master });
    Ok((files, Ours { stdin, stdout: Box::pin(stdout), stderr: None, terminal }))
}
