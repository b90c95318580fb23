//! What containers have printed, read from files in the CRI's log format.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use apimachinery::Key;
use bytes::Bytes;
use futures_util::Stream;
use jiff::Timestamp;
use tokio::sync::{mpsc, watch};

use crate::agent::NodeAgent;
use crate::error::AgentError;
use crate::pod::worker::View;
use crate::supervisor::logfile::aged;

/// Pieces on their way to one reader.
const PIECES: usize = 16;
/// Bytes of a piece, about.
const PIECE: usize = 32 << 10;
/// How often a follower looks for more.
const POLL: Duration = Duration::from_millis(50);
/// Bytes that are read at once when looking for the last lines.
const BLOCK: u64 = 64 << 10;

/// What to read of a log.
#[derive(Debug, Clone, Default)]
pub struct LogOptions {
    /// Which container; none where there is one only.
    pub container: Option<String>,
    /// Go on until the container ends.
    pub follow: bool,
    /// The run before the current one.
    pub previous: bool,
    /// Only the last lines.
    pub tail_lines: Option<usize>,
    /// Only lines since then.
    pub since: Option<Timestamp>,
    /// With the time before each line.
    pub timestamps: bool,
    /// At most so many bytes.
    pub limit_bytes: Option<u64>,
}

/// One entry of a log file: `TIME STREAM TAG text`.
#[derive(Debug, PartialEq, Eq)]
struct Entry<'a> {
    time: &'a str,
    is_whole: bool,
    text: &'a [u8],
}

impl<'a> Entry<'a> {
    /// Reads a line without its end.
    fn parse(line: &'a [u8]) -> Option<Self> {
        let mut fields = line.splitn(4, |byte| *byte == b' ');
        let time = std::str::from_utf8(fields.next()?).ok()?;
        let _stream = fields.next()?;
        let is_whole = match fields.next()? {
            b"F" => true,
            b"P" => false,
            _ => return None,
        };
        Some(Self { time, is_whole, text: fields.next().unwrap_or(b"") })
    }
}

impl NodeAgent {
    /// What a container of a pod has printed, in pieces.
    ///
    /// # Errors
    /// [`AgentError::NoPod`], [`AgentError::NoContainer`], [`AgentError::NotRunning`] when it has not run yet.
    pub fn logs(
        &self,
        pod: &Key,
        options: LogOptions,
    ) -> Result<impl Stream<Item = io::Result<Bytes>> + Send + use<>, AgentError> {
        let (uid, _, view) = self.shared.find(pod)?;
        let name = container_name(&view.borrow(), pod, options.container.as_deref())?;
        let dir = self.shared.log_dir(pod, &uid).join(&name);
        let run = self.run_of(&view, pod, &name, &dir, options.previous)?;
        let files = self.shared.config.logs.max_files;
        let (sender, receiver) = mpsc::channel(PIECES);
        let reader = Reader {
            path: dir.join(format!("{run}.log")),
            files,
            options,
            view,
            name,
            run,
            left: u64::MAX,
            starts_line: true,
            sender,
        };
        tokio::spawn(reader.run());
        Ok(futures_util::stream::unfold(receiver, async |mut receiver| {
            receiver.recv().await.map(|piece| (piece, receiver))
        }))
    }

    fn run_of(
        &self,
        view: &watch::Receiver<View>,
        pod: &Key,
        name: &str,
        dir: &Path,
        previous: bool,
    ) -> Result<i32, AgentError> {
        let view = view.borrow();
        let one = view.containers.get(name);
        let run = one.and_then(|one| one.run).or_else(|| newest_run(dir));
        if previous {
            let before =
                run.map(|run| run - 1).filter(|run| dir.join(format!("{run}.log")).exists());
            let message =
                format!("previous terminated container {name:?} in pod {:?} not found", pod.name);
            return before.ok_or(AgentError::NoContainer(message));
        }
        run.ok_or_else(|| {
            let state = one.and_then(|one| one.waiting.clone()).unwrap_or_default();
            let message =
                format!("container {name:?} in pod {:?} is waiting to start: {state}", pod.name);
            AgentError::Invalid(message)
        })
    }
}

/// The container that is meant.
pub(crate) fn container_name(
    view: &View,
    pod: &Key,
    name: Option<&str>,
) -> Result<String, AgentError> {
    let mut names = view.containers.keys();
    match (name, names.len()) {
        (Some(name), _) if view.containers.contains_key(name) => Ok(name.to_owned()),
        (Some(name), _) => {
            let message = format!("container {name} is not valid for pod {}", pod.name);
            Err(AgentError::NoContainer(message))
        }
        (None, 1) => Ok(names.next().cloned().unwrap_or_default()),
        (None, _) => {
            let all = names.cloned().collect::<Vec<_>>().join(" ");
            let message = format!(
                "a container name must be specified for pod {}, choose one of: [{all}]",
                pod.name
            );
            Err(AgentError::NoContainer(message))
        }
    }
}

fn newest_run(dir: &Path) -> Option<i32> {
    let entries = std::fs::read_dir(dir).ok()?.flatten();
    let runs = entries.filter_map(|entry| {
        let name = entry.file_name();
        name.to_str()?.strip_suffix(".log")?.parse::<i32>().ok()
    });
    runs.max()
}

/// Reads a log for somebody.
struct Reader {
    path: PathBuf,
    files: usize,
    options: LogOptions,
    view: watch::Receiver<View>,
    name: String,
    run: i32,
    left: u64,
    /// The next text begins a line.
    starts_line: bool,
    sender: mpsc::Sender<io::Result<Bytes>>,
}

impl Reader {
    async fn run(mut self) {
        self.left = self.options.limit_bytes.unwrap_or(u64::MAX);
        if let Err(error) = self.read().await {
            let _nobody_reads = self.sender.send(Err(error)).await;
        }
    }

    async fn read(&mut self) -> io::Result<()> {
        let (mut age, offset) = match self.options.tail_lines {
            Some(lines) => start_of_tail(&self.path, self.files, lines)?,
            None => {
                ((0..self.files).rev().find(|age| aged(&self.path, *age).exists()).unwrap_or(0), 0)
            }
        };
        let mut file = File::open(aged(&self.path, age))?;
        file.seek(SeekFrom::Start(offset))?;
        let mut input = BufReader::new(file);
        let mut line = Vec::new();
        loop {
            // Asked before reading, so that what is printed last is read.
            let over = self.is_over();
            let mut out = Vec::new();
            loop {
                if !self.whole_line(&mut input, &mut line)? {
                    break;
                }
                self.take(&line, &mut out);
                line.clear();
                if out.len() >= PIECE && !self.send(&mut out).await {
                    return Ok(());
                }
            }
            if !self.send(&mut out).await {
                return Ok(());
            }
            if age > 0 {
                age -= 1;
                input = BufReader::new(File::open(aged(&self.path, age))?);
                line.clear();
                continue;
            }
            let here = input.get_ref().metadata()?.ino();
            if std::fs::metadata(&self.path).is_ok_and(|about| about.ino() != here) {
                // Rotated. What came last into the old file is in it already.
                while self.whole_line(&mut input, &mut line)? {
                    self.take(&line, &mut out);
                    line.clear();
                }
                if !self.send(&mut out).await {
                    return Ok(());
                }
                input = BufReader::new(File::open(&self.path)?);
                line.clear();
                continue;
            }
            if !self.options.follow || over {
                return Ok(());
            }
            tokio::select! {
                () = tokio::time::sleep(POLL) => {}
                () = self.sender.closed() => return Ok(()),
            }
        }
    }

    /// Reads a line, without its end. What has no end yet stays, to be completed.
    fn whole_line(&self, input: &mut impl BufRead, line: &mut Vec<u8>) -> io::Result<bool> {
        if self.left == 0 {
            return Ok(false);
        }
        input.read_until(b'\n', line)?;
        Ok(line.pop_if(|last| *last == b'\n').is_some())
    }

    fn is_over(&self) -> bool {
        let view = self.view.borrow();
        let one = view.containers.get(&self.name);
        let ended = one.is_none_or(|one| one.pid.is_none() || one.run != Some(self.run));
        ended || self.view.has_changed().is_err() || self.left == 0
    }

    fn take(&mut self, line: &[u8], out: &mut Vec<u8>) {
        let Some(entry) = Entry::parse(line) else { return };
        if let Some(since) = self.options.since
            && entry.time.parse::<Timestamp>().is_ok_and(|time| time < since)
        {
            return;
        }
        let before = out.len();
        if self.options.timestamps && self.starts_line {
            out.extend_from_slice(entry.time.as_bytes());
            out.push(b' ');
        }
        out.extend_from_slice(entry.text);
        if entry.is_whole {
            out.push(b'\n');
        }
        self.starts_line = entry.is_whole;
        let added = (out.len() - before) as u64;
        if added > self.left {
            out.truncate(before + usize::try_from(self.left).unwrap_or(usize::MAX));
        }
        self.left = self.left.saturating_sub(added);
    }

    /// `false`: nobody reads, or enough has been read.
    async fn send(&self, out: &mut Vec<u8>) -> bool {
        if !out.is_empty() && self.sender.send(Ok(std::mem::take(out).into())).await.is_err() {
            return false;
        }
        self.left > 0
    }
}

/// The file (by age) and the place in it where the last lines begin.
fn start_of_tail(path: &Path, files: usize, lines: usize) -> io::Result<(usize, u64)> {
    let mut missing = lines;
    let mut oldest = (0, std::fs::metadata(path)?.len());
    if lines == 0 {
        return Ok(oldest);
    }
    for age in 0..files {
        let Ok(mut file) = File::open(aged(path, age)) else { break };
        oldest = (age, 0);
        let mut end = file.metadata()?.len();
        // The line end of the last line begins no other.
        let mut is_last = true;
        while end > 0 {
            let start = end.saturating_sub(BLOCK);
            let mut block = Vec::new();
            file.seek(SeekFrom::Start(start))?;
            (&mut file).take(end - start).read_to_end(&mut block)?;
            for (index, byte) in block.iter().enumerate().rev() {
                if *byte != b'\n' {
                    continue;
                }
                if std::mem::take(&mut is_last) {
                    continue;
                }
                missing -= 1;
                if missing == 0 {
                    return Ok((age, start + index as u64 + 1));
                }
            }
            end = start;
        }
        // The first line of the file.
        if !is_last {
            missing -= 1;
        }
        if missing == 0 {
            break;
        }
    }
    Ok(oldest)
}

/// The end of a log's text: at most so many lines and bytes.
pub(crate) fn tail(path: &Path, lines: usize, bytes: u64) -> io::Result<String> {
    let (age, offset) = start_of_tail(path, 1, lines)?;
    let mut file = File::open(aged(path, age))?;
    file.seek(SeekFrom::Start(offset))?;
    let mut text = Vec::new();
    for line in BufReader::new(file).split(b'\n') {
        let line = line?;
        if let Some(entry) = Entry::parse(&line) {
            text.extend_from_slice(entry.text);
            if entry.is_whole {
                text.push(b'\n');
            }
        }
    }
    let start = text.len().saturating_sub(usize::try_from(bytes).unwrap_or(usize::MAX));
    Ok(String::from_utf8_lossy(&text[start..]).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::supervisor::logfile::{LogFile, Stream};
    use crate::supervisor::order::Log;
    use proptest::prelude::*;

    #[test]
    fn the_last_lines_are_found_over_rotated_files() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("0.log");
        let log = Log { path: path.clone(), max_bytes: 300, max_files: 3 };
        let mut file = LogFile::open(log).unwrap();
        for number in 0..14 {
            file.write(Stream::Stdout, format!("line {number}\n").as_bytes()).unwrap();
        }
        let count = |age: usize| {
            let text = std::fs::read_to_string(aged(&path, age)).unwrap_or_default();
            text.lines().count()
        };
        assert!(count(1) > 0 && count(2) > 0 && count(3) == 0, "it was rotated, and bounded");
        let (newest, older) = (count(0), count(1));
        assert_eq!(start_of_tail(&path, 3, newest).unwrap(), (0, 0));
        assert_eq!(start_of_tail(&path, 3, newest + older).unwrap(), (1, 0));
        let (age, offset) = start_of_tail(&path, 3, newest + 1).unwrap();
        let text = std::fs::read(aged(&path, age)).unwrap();
        let rest = String::from_utf8(text[usize::try_from(offset).unwrap()..].to_vec()).unwrap();
        assert_eq!((age, rest.lines().count()), (1, 1));
        assert_eq!(start_of_tail(&path, 3, 1000).unwrap(), (2, 0));
        assert_eq!(tail(&path, 1, 100).unwrap(), "line 13\n");
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_again(chunks in prop::collection::vec("[a-z\n]{0,30}", 0..20)) {
            let dir = tempfile::tempdir().unwrap();
            let path = dir.path().join("0.log");
            let log = Log { path: path.clone(), max_bytes: 1 << 20, max_files: 2 };
            let mut file = LogFile::open(log).unwrap();
            for chunk in &chunks {
                file.write(Stream::Stderr, chunk.as_bytes()).unwrap();
            }
            file.finish().unwrap();
            prop_assert_eq!(tail(&path, 1000, 1 << 20).unwrap(), chunks.concat());
        }

        #[test]
        fn no_line_makes_the_parser_panic(line in prop::collection::vec(any::<u8>(), 0..60)) {
            let _any_answer = Entry::parse(&line);
        }
    }
}
