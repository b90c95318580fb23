//! Writes a program's output in the CRI's log format, and rotates it.
//!
//! A line is `TIME STREAM F text`; one without an end yet is `TIME STREAM P text` (Kubernetes, CRI logging format).

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::PathBuf;

use super::order::Log;

/// Longest piece of a line that is written at once; longer ones are split, as container runtimes do.
const PIECE: usize = 16 << 10;

/// A stream of a program.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stream {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
}

impl Stream {
    fn name(self) -> &'static str {
        match self {
            Self::Stdout => "stdout",
            Self::Stderr => "stderr",
        }
    }
}

/// A log that is being written.
#[derive(Debug)]
pub(crate) struct LogFile {
    log: Log,
    file: File,
    written: u64,
    /// The unfinished line of each stream.
    open: [Vec<u8>; 2],
}

impl LogFile {
    /// Opens it, to append.
    pub(crate) fn open(log: Log) -> io::Result<Self> {
        let file = append(&log.path)?;
        let written = file.metadata()?.len();
        Ok(Self { log, file, written, open: [Vec::new(), Vec::new()] })
    }

    /// Takes what a stream gave.
    pub(crate) fn write(&mut self, stream: Stream, bytes: &[u8]) -> io::Result<()> {
        let mut out = Vec::new();
        let time = now();
        let rest = &mut self.open[stream as usize];
        for piece in bytes.split_inclusive(|byte| *byte == b'\n') {
            rest.extend_from_slice(piece);
            if rest.last() == Some(&b'\n') {
                rest.pop();
                entry(&mut out, &time, stream, b'F', rest);
                rest.clear();
            } else if rest.len() >= PIECE {
                entry(&mut out, &time, stream, b'P', rest);
                rest.clear();
            }
        }
        self.put(&out)
    }

    /// Writes unfinished lines: nothing more will come.
    pub(crate) fn finish(&mut self) -> io::Result<()> {
        let mut out = Vec::new();
        for stream in [Stream::Stdout, Stream::Stderr] {
            let rest = std::mem::take(&mut self.open[stream as usize]);
            if !rest.is_empty() {
                entry(&mut out, &now(), stream, b'P', &rest);
            }
        }
        self.put(&out)
    }

    fn put(&mut self, out: &[u8]) -> io::Result<()> {
        if out.is_empty() {
            return Ok(());
        }
        if self.written > 0 && self.written + out.len() as u64 > self.log.max_bytes {
            self.rotate()?;
        }
        self.file.write_all(out)?;
        self.written += out.len() as u64;
        Ok(())
    }

    fn rotate(&mut self) -> io::Result<()> {
        for age in (0..self.log.max_files.saturating_sub(1)).rev() {
            let _there_are_fewer = std::fs::rename(self.aged(age), self.aged(age + 1));
        }
        if self.log.max_files < 2 {
            let _gone_already = std::fs::remove_file(&self.log.path);
        }
        self.file = append(&self.log.path)?;
        self.written = 0;
        Ok(())
    }

    fn aged(&self, age: usize) -> PathBuf {
        aged(&self.log.path, age)
    }
}

/// The file of a log that was rotated `age` times since.
pub(crate) fn aged(path: &std::path::Path, age: usize) -> PathBuf {
    if age == 0 {
        return path.to_owned();
    }
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".{age}"));
    name.into()
}

fn append(path: &std::path::Path) -> io::Result<File> {
    OpenOptions::new().create(true).append(true).open(path)
}

fn now() -> String {
    jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%S.%9fZ").to_string()
}

fn entry(out: &mut Vec<u8>, time: &str, stream: Stream, tag: u8, text: &[u8]) {
    out.extend_from_slice(time.as_bytes());
    out.push(b' ');
    out.extend_from_slice(stream.name().as_bytes());
    out.extend_from_slice(&[b' ', tag, b' ']);
    out.extend_from_slice(text);
    out.push(b'\n');
}
