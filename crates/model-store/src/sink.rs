//! Where a model's bytes go: to a file without its final name, counted and summed on the way.

use std::fmt::Write as _;
use std::fs::File;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use crate::catalogue::Model;
use crate::error::StoreError;
use crate::interrupt::Interrupt;
use crate::progress::Progress;

/// Bytes that are copied at a time.
const BUFFER: usize = 1 << 20;

/// A file on its way.
#[derive(Debug)]
pub(crate) struct Sink<W> {
    output: W,
    path: PathBuf,
    model: &'static Model,
    sum: Sha256,
    written: u64,
    progress: Progress,
}

impl Sink<File> {
    /// Begins the file at this path.
    pub(crate) fn create(
        path: &Path,
        model: &'static Model,
        title: &str,
    ) -> Result<Self, StoreError> {
        let output = File::create(path).map_err(|cause| StoreError::io(path, cause))?;
        Ok(Self::new(output, path, model, title))
    }

    /// The sum is right and the bytes are on the disk, or an error.
    pub(crate) fn finish(self) -> Result<(), StoreError> {
        let path = self.path.clone();
        let file = self.check()?;
        file.sync_all().map_err(|cause| StoreError::io(&path, cause))
    }
}

impl<W: Write> Sink<W> {
    pub(crate) fn new(output: W, path: &Path, model: &'static Model, title: &str) -> Self {
        let progress = Progress::start(title, model.bytes);
        Self { output, path: path.to_owned(), model, sum: Sha256::new(), written: 0, progress }
    }

    /// Takes some bytes; more than the model has are refused at once.
    pub(crate) fn write(&mut self, bytes: &[u8]) -> Result<(), StoreError> {
        self.written += bytes.len() as u64;
        if self.written > self.model.bytes {
            return Err(StoreError::Mismatch {
                expected: format!("{} bytes", self.model.bytes),
                found: "more bytes".into(),
            });
        }
        self.output.write_all(bytes).map_err(|cause| StoreError::io(&self.path, cause))?;
        self.sum.update(bytes);
        self.progress.set(self.written);
        Ok(())
    }

    /// Takes all that a reader has.
    pub(crate) fn copy_from(
        &mut self,
        input: &mut impl Read,
        interrupt: &Interrupt,
    ) -> Result<(), StoreError> {
        let mut buffer = vec![0; BUFFER];
        loop {
            interrupt.check()?;
            let got = input
                .read(&mut buffer)
                .map_err(|error| StoreError::Source(format!("cannot be unpacked: {error}")))?;
            if got == 0 {
                return Ok(());
            }
            self.write(&buffer[..got])?;
        }
    }

    fn check(self) -> Result<W, StoreError> {
        let Self { output, model, sum, written, .. } = self;
        if written != model.bytes {
            return Err(StoreError::Mismatch {
                expected: format!("{} bytes", model.bytes),
                found: format!("{written} bytes"),
            });
        }
        let found = hex(&sum.finalize());
        if found != model.sha256 {
            return Err(StoreError::Mismatch {
                expected: format!("sha256 {}", model.sha256),
                found: format!("sha256 {found}"),
            });
        }
        Ok(output)
    }
}

/// SHA-256 of a file, in hex.
pub(crate) fn sum_of(path: &Path) -> Result<String, StoreError> {
    let io = |cause| StoreError::io(path, cause);
    let mut file = File::open(path).map_err(io)?;
    let mut buffer = vec![0; BUFFER];
    let mut sum = Sha256::new();
    loop {
        match file.read(&mut buffer).map_err(io)? {
            0 => return Ok(hex(&sum.finalize())),
            got => sum.update(&buffer[..got]),
        }
    }
}

/// Bytes as lower-case hex.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(2 * bytes.len()), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;
    use crate::catalogue::tests::model_of;

    /// A disk with room for this many bytes.
    struct SmallDisk(usize);

    impl Write for SmallDisk {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            if bytes.len() > self.0 {
                return Err(io::ErrorKind::StorageFull.into());
            }
            self.0 -= bytes.len();
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_full_disk_says_what_to_free() {
        let model = model_of(b"some model");
        let mut sink = Sink::new(SmallDisk(6), Path::new("/models"), model, "test");
        sink.write(b"some ").unwrap();
        let error = sink.write(b"model").unwrap_err();
        assert!(matches!(error, StoreError::NoSpace { .. }), "{error:?}");
        assert!(error.to_string().contains("LLM_LAB_CACHE"), "{error}");
        assert!(error.is_final(), "another source needs as much space");
    }

    #[test]
    fn too_few_too_many_and_other_bytes_are_refused() {
        let model = model_of(b"some model");
        let try_bytes = |bytes: &[u8]| {
            let mut sink = Sink::new(Vec::new(), Path::new("x"), model, "test");
            sink.write(bytes)?;
            sink.check()
        };
        assert_eq!(try_bytes(b"some model").unwrap(), b"some model");
        assert!(try_bytes(b"some").unwrap_err().to_string().contains("4 bytes"));
        assert!(try_bytes(b"some model!").unwrap_err().to_string().contains("more bytes"));
        assert!(try_bytes(b"some mOdel").unwrap_err().to_string().contains(model.sha256));
    }

    #[test]
    fn an_interrupt_stops_a_copy() {
        let model = model_of(b"some model");
        let mut sink = Sink::new(Vec::new(), Path::new("x"), model, "test");
        let interrupt = Interrupt::default();
        interrupt.set();
        let error = sink.copy_from(&mut b"some model".as_slice(), &interrupt).unwrap_err();
        assert_eq!(error.exit_status(), 130);
    }
}
