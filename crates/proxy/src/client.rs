//! The client's side of a connection: what it is still to be sent, what it sent ahead, and when to lose patience.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::{Instant, Sleep};

use crate::limits::{KEPT_CAPACITY, MAX_PIPELINED};
use crate::shared::Shared;

/// A client's socket.
pub(crate) struct Client {
    stream: TcpStream,
    /// What is to be sent, from `sent` on.
    out: Vec<u8>,
    sent: usize,
    /// What came while nobody waited for it.
    ahead: Vec<u8>,
    pub(crate) alarm: Alarm,
}

impl Client {
    pub(crate) fn new(stream: TcpStream) -> Self {
        Self { stream, out: Vec::new(), sent: 0, ahead: Vec::new(), alarm: Alarm::default() }
    }

    /// Where to append what is to be sent.
    pub(crate) fn out(&mut self) -> &mut Vec<u8> {
        &mut self.out
    }

    pub(crate) fn is_flushed(&self) -> bool {
        self.out.is_empty()
    }

    /// Sends what is to be sent.
    pub(crate) fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.sent < self.out.len() {
            let rest = &self.out[self.sent..];
            match Pin::new(&mut self.stream).poll_write(cx, rest) {
                Poll::Ready(Ok(0)) => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                Poll::Ready(Ok(count)) => self.sent += count,
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                Poll::Pending => return Poll::Pending,
            }
        }
        self.out.clear();
        self.out.shrink_to(KEPT_CAPACITY);
        self.sent = 0;
        Poll::Ready(Ok(()))
    }

    /// Sends these bytes, or keeps what the socket does not take at once.
    pub(crate) fn send(&mut self, cx: &mut Context<'_>, bytes: &[u8]) -> io::Result<()> {
        let mut sent = 0;
        if self.out.is_empty() {
            match Pin::new(&mut self.stream).poll_write(cx, bytes) {
                Poll::Ready(Ok(count)) => sent = count,
                Poll::Ready(Err(error)) => return Err(error),
                Poll::Pending => {}
            }
        }
        self.out.extend_from_slice(&bytes[sent..]);
        Ok(())
    }

    /// Reads once into `scratch`. 0 is the end.
    pub(crate) fn poll_read(
        &mut self,
        cx: &mut Context<'_>,
        scratch: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        let mut buffer = ReadBuf::new(scratch);
        Pin::new(&mut self.stream).poll_read(cx, &mut buffer).map_ok(|()| buffer.filled().len())
    }

    /// Ready when the client is gone. What it sends meanwhile is kept, up to a limit, above which its going is not noticed
    /// before something is sent to it.
    pub(crate) fn poll_gone(&mut self, cx: &mut Context<'_>, scratch: &mut [u8]) -> Poll<()> {
        while self.ahead.len() < MAX_PIPELINED {
            let limit = scratch.len().min(MAX_PIPELINED);
            match self.poll_read(cx, &mut scratch[..limit]) {
                Poll::Ready(Ok(0) | Err(_)) => return Poll::Ready(()),
                Poll::Ready(Ok(count)) => self.ahead.extend_from_slice(&scratch[..count]),
                Poll::Pending => break,
            }
        }
        Poll::Pending
    }

    /// Says that nothing more will be sent.
    pub(crate) fn shut_down(&mut self) {
        let _gone_already =
            socket2::SockRef::from(&self.stream).shutdown(std::net::Shutdown::Write);
    }

    /// What came meanwhile.
    pub(crate) fn take_ahead(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.ahead)
    }
}

/// One timer for all that a connection waits for. Moving it later costs nothing: it rings at the earlier time, and is
/// set anew.
#[derive(Default)]
pub(crate) struct Alarm {
    sleep: Option<Pin<Box<Sleep>>>,
    set_for: Option<Duration>,
}

impl Alarm {
    /// Whether it is `due` or later.
    pub(crate) fn poll(
        &mut self,
        cx: &mut Context<'_>,
        due: Option<Duration>,
        shared: &Shared,
    ) -> bool {
        let Some(due) = due else { return false };
        loop {
            let instant = Instant::from_std(shared.instant(due));
            let sleep =
                self.sleep.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(instant)));
            if self.set_for.is_none_or(|set| due < set) {
                sleep.as_mut().reset(instant);
                self.set_for = Some(due);
            }
            if sleep.as_mut().poll(cx).is_pending() {
                return false;
            }
            self.set_for = None;
            if shared.now() >= due {
                return true;
            }
        }
    }
}
