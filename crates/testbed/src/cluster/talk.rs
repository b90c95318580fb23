//! The program beside, which talks to the cluster: orders go in as lines, replies come out. It knows no check and no verdict.

use std::ffi::OsString;
use std::io::{BufRead, BufReader, Write};
use std::path::PathBuf;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use cluster_orders::{Order, Refusal, Reply};

/// The longest that the program beside gets to take everything away and end.
const END_LIMIT: Duration = Duration::from_secs(5);
/// Pause between two looks at whether it has.
const END_POLL: Duration = Duration::from_millis(5);

/// Why an order was not carried out.
#[derive(Debug, thiserror::Error)]
pub enum ClusterError {
    /// The grader did not say where.
    #[error("{0} is not set: live checks on a cluster are run by `cargo xtask lab`")]
    NotSet(&'static str),
    /// The program that talks to the cluster cannot be started.
    #[error("cannot start {program}: {cause}", program = program.display())]
    Spawn {
        /// The program.
        program: PathBuf,
        /// What the system said.
        cause: std::io::Error,
    },
    /// It ended, or said nonsense.
    #[error("the program that talks to the cluster {0}")]
    Silent(String),
    /// The cluster did not do it.
    #[error("{why}", why = .0.why)]
    Refused(Refusal),
}

/// The program, and both ends of the conversation. Dropping it lets the program take everything away and end.
pub(super) struct Talk {
    child: Child,
    /// Taken when there is nothing more to say.
    orders: Option<ChildStdin>,
    replies: BufReader<ChildStdout>,
}

// === impl Talk ===

impl Talk {
    pub(super) fn start(
        program: OsString,
        environment: impl IntoIterator<Item = (String, OsString)>,
    ) -> Result<Self, ClusterError> {
        let mut child = Command::new(&program)
            .envs(environment)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(|cause| ClusterError::Spawn { program: program.into(), cause })?;
        let orders = child.stdin.take();
        let replies = child.stdout.take().map(BufReader::new);
        let replies = replies.ok_or_else(|| ClusterError::Silent("has no output".to_owned()))?;
        Ok(Self { child, orders, replies })
    }

    /// Gives an order and waits for its answer.
    pub(super) fn ask(&mut self, order: &Order) -> Result<Reply, ClusterError> {
        self.say(order)?;
        self.hear()
    }

    fn say(&mut self, order: &Order) -> Result<(), ClusterError> {
        let silent = |error: String| ClusterError::Silent(format!("hears nothing: {error}"));
        let orders = self.orders.as_mut().ok_or_else(|| silent("it was dismissed".to_owned()))?;
        let line = serde_json::to_string(order).map_err(|error| silent(error.to_string()))?;
        writeln!(orders, "{line}").map_err(|error| silent(error.to_string()))
    }

    /// The next answer. The program bounds every wait, and ends where it cannot go on.
    pub(super) fn hear(&mut self) -> Result<Reply, ClusterError> {
        let mut line = String::new();
        let read = self.replies.read_line(&mut line);
        let read = read.map_err(|error| ClusterError::Silent(error.to_string()))?;
        if read == 0 {
            return Err(ClusterError::Silent("ended; it says why above".to_owned()));
        }
        match serde_json::from_str(&line) {
            Ok(Reply::Refused(refusal)) => Err(ClusterError::Refused(refusal)),
            Ok(reply) => Ok(reply),
            Err(error) => Err(ClusterError::Silent(format!("said {:?}: {error}", line.trim()))),
        }
    }

    /// Kills the program, so that it takes nothing away.
    pub(super) fn kill(mut self) {
        self.end_at_once();
    }

    /// Both fail only where the process is gone already.
    fn end_at_once(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Talk {
    fn drop(&mut self) {
        drop(self.orders.take());
        let deadline = Instant::now() + END_LIMIT;
        while matches!(self.child.try_wait(), Ok(None)) && Instant::now() < deadline {
            std::thread::sleep(END_POLL);
        }
        // The grader takes away what it could not.
        self.end_at_once();
    }
}
