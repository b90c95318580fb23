//! One connection to a publisher, from its greeting to its end.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::zmtp::{self, Command, Frames, Received};

/// Bytes asked of the socket at once.
const READ: usize = 16 << 10;

/// Why there is no connection, or none any more.
#[derive(Debug, thiserror::Error)]
pub enum ConnectionError {
    /// Nobody listens, or the network is in the way.
    #[error("cannot connect: {0}")]
    Connect(io::Error),
    /// It broke.
    #[error("the connection broke: {0}")]
    Broke(io::Error),
    /// The publisher hung up.
    #[error("the publisher hung up")]
    Closed,
    /// It took too long.
    #[error("nothing came of {0} within {1:?}")]
    Late(&'static str, Duration),
    /// It does not answer a PING.
    #[error("the publisher is silent, also when asked, for {0:?}")]
    Silent(Duration),
    /// It is not understood.
    #[error("the publisher {0}")]
    Zmtp(#[from] zmtp::Error),
}

/// How long a publisher may take.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Patience {
    /// To accept, to greet, and to take what we write.
    pub(crate) reply: Duration,
    /// To say something; then it is asked, and has as long again.
    pub(crate) silence: Duration,
}

/// A subscription.
pub(crate) struct Connection {
    stream: TcpStream,
    input: BytesMut,
    frames: Frames,
    patience: Patience,
    has_commands: bool,
    /// Whether it was asked if it is there, and said nothing since.
    asked: bool,
}

// === impl Connection ===

impl Connection {
    /// Connects and subscribes.
    pub(crate) async fn open(
        address: SocketAddr,
        topic: &[u8],
        patience: Patience,
    ) -> Result<Self, ConnectionError> {
        let limit = patience.reply;
        let stream = timeout(limit, TcpStream::connect(address)).await;
        let stream = stream.map_err(|_late| ConnectionError::Late("a connection", limit))?;
        let stream = stream.map_err(ConnectionError::Connect)?;
        stream.set_nodelay(true).map_err(ConnectionError::Connect)?;
        let mut connection = Self {
            stream,
            input: BytesMut::new(),
            frames: Frames::default(),
            patience,
            has_commands: false,
            asked: false,
        };
        let shaken = timeout(limit, connection.shake_hands(topic)).await;
        shaken.map_err(|_late| ConnectionError::Late("a handshake of ZeroMQ", limit))??;
        Ok(connection)
    }

    async fn shake_hands(&mut self, topic: &[u8]) -> Result<(), ConnectionError> {
        self.write(&zmtp::greeting()).await?;
        let greeted = loop {
            match zmtp::greeted(&mut self.input)? {
                Some(greeted) => break greeted,
                None => self.read().await?,
            }
        };
        self.has_commands = greeted.has_commands;
        self.write(&zmtp::ready()).await?;
        loop {
            match self.frames.next(&mut self.input)? {
                Some(Received::Command(Command::Ready)) => break,
                Some(_) => return Err(zmtp::Error::Broken("something before READY").into()),
                None => self.read().await?,
            }
        }
        self.write(&zmtp::subscribe(topic, self.has_commands)).await
    }

    /// The next message. Answers whoever asks whether we are there meanwhile, and asks a publisher that is silent.
    pub(crate) async fn message(&mut self) -> Result<Vec<Bytes>, ConnectionError> {
        loop {
            match self.frames.next(&mut self.input)? {
                Some(Received::Message(parts)) => return Ok(parts),
                Some(Received::Command(Command::Ping(context))) => {
                    self.write(&zmtp::pong(&context)).await?;
                }
                Some(Received::Command(_)) => {}
                None => self.hear().await?,
            }
        }
    }

    async fn hear(&mut self) -> Result<(), ConnectionError> {
        let silence = self.patience.silence;
        match timeout(silence, self.read()).await {
            Ok(heard) => {
                self.asked = false;
                heard
            }
            // Who does not know PING can be silent for ever.
            Err(_) if !self.has_commands => Ok(()),
            Err(_) if self.asked => Err(ConnectionError::Silent(2 * silence)),
            Err(_) => {
                self.asked = true;
                self.write(&zmtp::ping()).await
            }
        }
    }

    async fn read(&mut self) -> Result<(), ConnectionError> {
        self.input.reserve(READ);
        match self.stream.read_buf(&mut self.input).await.map_err(ConnectionError::Broke)? {
            0 => Err(ConnectionError::Closed),
            _ => Ok(()),
        }
    }

    async fn write(&mut self, bytes: &[u8]) -> Result<(), ConnectionError> {
        let limit = self.patience.reply;
        let written = timeout(limit, self.stream.write_all(bytes)).await;
        let written = written.map_err(|_late| ConnectionError::Late("a write", limit))?;
        written.map_err(ConnectionError::Broke)
    }
}
