//! Lines and open files over a Unix socket, for the synchronous side of a supervisor.

use std::collections::VecDeque;
use std::io::{IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags,
};
use serde::Serialize;
use serde::de::DeserializeOwned;

/// Most open files beside one line.
const MAX_FILES: usize = 3;
/// Longest line; environment and arguments of one program fit into the kernel's 2 MiB.
const MAX_LINE: usize = 8 << 20;

/// A document as a line.
pub(crate) fn line(document: &impl Serialize) -> std::io::Result<Vec<u8>> {
    let mut line = serde_json::to_vec(document)?;
    line.push(b'\n');
    Ok(line)
}

/// Sends the beginning of `bytes` with files beside it; says how much went.
pub(crate) fn send(
    socket: impl AsFd,
    bytes: &[u8],
    files: &[BorrowedFd<'_>],
) -> std::io::Result<usize> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_FILES))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if !files.is_empty() && !control.push(SendAncillaryMessage::ScmRights(files)) {
        return Err(std::io::Error::other("too many files beside one order"));
    }
    let sent =
        rustix::net::sendmsg(socket, &[IoSlice::new(bytes)], &mut control, SendFlags::NOSIGNAL)?;
    Ok(sent)
}

/// Sends all of `bytes`, blocking.
pub(crate) fn send_all(
    socket: impl AsFd,
    mut bytes: &[u8],
    files: &[BorrowedFd<'_>],
) -> std::io::Result<()> {
    let mut files = files;
    while !bytes.is_empty() {
        match send(socket.as_fd(), bytes, files) {
            Ok(sent) => {
                bytes = &bytes[sent..];
                files = &[];
            }
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// What has arrived and is not yet a whole line.
#[derive(Debug, Default)]
pub(crate) struct Inbox {
    bytes: Vec<u8>,
    /// Files in the order in which they came.
    pub(crate) files: VecDeque<OwnedFd>,
}

impl Inbox {
    /// Reads once. `false`: the other side is gone.
    pub(crate) fn fill(&mut self, socket: impl AsFd) -> std::io::Result<bool> {
        let mut buffer = [0; 8 << 10];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_FILES))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let got = rustix::net::recvmsg(
            socket,
            &mut [IoSliceMut::new(&mut buffer)],
            &mut control,
            RecvFlags::CMSG_CLOEXEC,
        )?;
        if got.flags.contains(ReturnFlags::CTRUNC) {
            return Err(std::io::Error::other("more files than an order may bring"));
        }
        for message in control.drain() {
            if let RecvAncillaryMessage::ScmRights(files) = message {
                self.files.extend(files);
            }
        }
        self.bytes.extend_from_slice(&buffer[..got.bytes]);
        if self.bytes.len() > MAX_LINE {
            return Err(std::io::Error::other("an order longer than any can be"));
        }
        Ok(got.bytes > 0)
    }

    /// The next whole line, if there is one.
    pub(crate) fn take<T: DeserializeOwned>(&mut self) -> std::io::Result<Option<T>> {
        let Some(end) = self.bytes.iter().position(|byte| *byte == b'\n') else { return Ok(None) };
        let parsed = serde_json::from_slice(&self.bytes[..end])?;
        self.bytes.drain(..=end);
        if self.bytes.is_empty() {
            self.bytes = Vec::new();
        }
        Ok(Some(parsed))
    }

    /// Everything that has arrived, as text.
    pub(crate) fn into_text(self) -> String {
        String::from_utf8_lossy(&self.bytes).into_owned()
    }
}
