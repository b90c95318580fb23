//! A subscriber before publishers that a test plays, byte by byte.
#![expect(clippy::unwrap_used, reason = "helpers of tests are tests")]

use std::time::Duration;

use kv_events::{ConnectionError, Loss, Settings, Subscriber, Unreadable, Update, ZmtpError};
use routing::{KvBlock, KvEvent};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

const READY: &[u8] = b"\x04\x19\x05READY\x0bSocket-Type\0\0\0\x03PUB";
const SUBSCRIBER_READY: &[u8] = b"\x04\x19\x05READY\x0bSocket-Type\0\0\0\x03SUB";

fn greeting(minor: u8, mechanism: &[u8]) -> Vec<u8> {
    let mut greeting = b"\xff\0\0\0\0\0\0\0\x01\x7f\x03".to_vec();
    greeting.push(minor);
    greeting.extend(mechanism);
    greeting.resize(64, 0);
    greeting
}

/// A message of a topic, a number, and the batch `[1.0, [["BlockRemoved", [number]]]]`.
fn message(number: u64) -> Vec<u8> {
    let mut batch = b"\x92\xcb\x3f\xf0\0\0\0\0\0\0\x91\x92\xacBlockRemoved\x91\xcf".to_vec();
    batch.extend(number.to_be_bytes());
    with_batch(number, &batch)
}

fn with_batch(number: u64, batch: &[u8]) -> Vec<u8> {
    let mut message = b"\x01\x02kv\x01\x08".to_vec();
    message.extend(number.to_be_bytes());
    message.extend([0, u8::try_from(batch.len()).unwrap()]);
    message.extend(batch);
    message
}

fn settings() -> Settings {
    let wait = Duration::from_millis(1);
    Settings { topic: "kv".to_owned(), first_wait: wait, ..Settings::default() }
}

async fn listen() -> (TcpListener, Subscriber) {
    listen_with(settings()).await
}

async fn listen_with(settings: Settings) -> (TcpListener, Subscriber) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let subscriber = Subscriber::new(listener.local_addr().unwrap(), settings);
    (listener, subscriber)
}

/// Writes each byte by itself.
async fn trickle(stream: &mut TcpStream, bytes: &[u8]) {
    stream.set_nodelay(true).unwrap();
    for byte in bytes {
        stream.write_all(&[*byte]).await.unwrap();
        tokio::task::yield_now().await;
    }
}

async fn hear(stream: &mut TcpStream, expected: &[u8]) {
    let mut heard = vec![0; expected.len()];
    stream.read_exact(&mut heard).await.unwrap();
    assert_eq!(heard, expected);
}

/// A connection on which a subscription was made.
async fn accept(listener: &TcpListener, minor: u8) -> TcpStream {
    let (mut stream, _) = listener.accept().await.unwrap();
    trickle(&mut stream, &greeting(minor, b"NULL")).await;
    hear(&mut stream, &{
        let mut ours = greeting(1, b"NULL");
        ours[8] = 0;
        ours
    })
    .await;
    trickle(&mut stream, READY).await;
    hear(&mut stream, SUBSCRIBER_READY).await;
    let subscription: &[u8] = if minor > 0 { b"\x04\x0c\x09SUBSCRIBEkv" } else { b"\0\x03\x01kv" };
    hear(&mut stream, subscription).await;
    stream
}

async fn joined(subscriber: &mut Subscriber) {
    let update = subscriber.next().await;
    assert!(matches!(update, Update::Joined), "{update:?}");
}

/// The next update is the batch of [`message`] with this number.
async fn is_batch(subscriber: &mut Subscriber, number: u64) {
    match subscriber.next().await {
        Update::Batch(batch) => {
            let removed = KvEvent::Removed { blocks: vec![KvBlock(number)] };
            assert_eq!(batch.events[0].event, removed);
        }
        other => panic!("batch {number} expected, not {other:?}"),
    }
}

#[tokio::test]
async fn batches_arrive_byte_by_byte() {
    let (listener, mut subscriber) = listen().await;
    tokio::spawn(async move {
        let mut stream = accept(&listener, 1).await;
        trickle(&mut stream, &message(7)).await;
        trickle(&mut stream, &message(8)).await;
        stream.read_u8().await
    });
    joined(&mut subscriber).await;
    is_batch(&mut subscriber, 7).await;
    is_batch(&mut subscriber, 8).await;
}

#[tokio::test]
async fn a_gap_is_told_before_the_batch_behind_it() {
    let (listener, mut subscriber) = listen().await;
    tokio::spawn(async move {
        let mut stream = accept(&listener, 1).await;
        let all = [message(1), message(2), message(5), message(6), message(0)].concat();
        stream.write_all(&all).await.unwrap();
        stream.read_u8().await
    });
    joined(&mut subscriber).await;
    is_batch(&mut subscriber, 1).await;
    is_batch(&mut subscriber, 2).await;
    let gap = subscriber.next().await;
    assert!(matches!(gap, Update::Lost(Loss::Gap { expected: 3, came: 5 })), "{gap:?}");
    is_batch(&mut subscriber, 5).await;
    is_batch(&mut subscriber, 6).await;
    // Also one that goes back: whoever publishes began anew.
    let back = subscriber.next().await;
    assert!(matches!(back, Update::Lost(Loss::Gap { expected: 7, came: 0 })), "{back:?}");
    is_batch(&mut subscriber, 0).await;
}

#[tokio::test]
async fn a_connection_that_ends_is_a_loss_and_is_made_again() {
    let (listener, mut subscriber) = listen().await;
    tokio::spawn(async move {
        for number in [40, 0] {
            let mut stream = accept(&listener, 1).await;
            stream.write_all(&message(number)).await.unwrap();
        }
    });
    for number in [40, 0] {
        joined(&mut subscriber).await;
        is_batch(&mut subscriber, number).await;
        let lost = subscriber.next().await;
        assert!(matches!(lost, Update::Lost(Loss::Connection(_))), "{lost:?}");
    }
}

#[tokio::test]
async fn a_ping_is_answered_with_its_context() {
    let (listener, mut subscriber) = listen().await;
    let publisher = tokio::spawn(async move {
        let mut stream = accept(&listener, 1).await;
        // Between the parts of a message, as the protocol allows.
        let (first, rest) = (&message(1)[..4], &message(1)[4..]);
        stream.write_all(&[first, b"\x04\x0b\x04PING\0\x10ctxt", rest].concat()).await.unwrap();
        hear(&mut stream, b"\x04\x09\x04PONGctxt").await;
    });
    joined(&mut subscriber).await;
    is_batch(&mut subscriber, 1).await;
    publisher.await.unwrap();
}

#[tokio::test]
async fn who_is_silent_is_asked_and_left_when_silent_still() {
    let silence = Duration::from_millis(300);
    let (listener, mut subscriber) = listen_with(Settings { silence, ..settings() }).await;
    tokio::spawn(async move {
        let mut stream = accept(&listener, 1).await;
        for _ in 0..2 {
            hear(&mut stream, b"\x04\x07\x04PING\0\0").await;
            stream.write_all(b"\x04\x05\x04PONG").await.unwrap();
        }
        stream.write_all(&message(3)).await.unwrap();
        hear(&mut stream, b"\x04\x07\x04PING\0\0").await;
        let _end = stream.read_u8().await;
    });
    joined(&mut subscriber).await;
    is_batch(&mut subscriber, 3).await;
    let lost = subscriber.next().await;
    let is_silent = |loss: &Loss| matches!(loss, Loss::Connection(ConnectionError::Silent(_)));
    assert!(matches!(&lost, Update::Lost(loss) if is_silent(loss)), "{lost:?}");
}

#[tokio::test]
async fn a_publisher_of_3_0_is_subscribed_by_a_message_and_never_asked() {
    let silence = Duration::from_millis(1);
    let (listener, mut subscriber) = listen_with(Settings { silence, ..settings() }).await;
    let publisher = tokio::spawn(async move {
        let mut stream = accept(&listener, 0).await;
        tokio::time::sleep(Duration::from_millis(50)).await;
        stream.write_all(&message(1)).await.unwrap();
        stream.shutdown().await.unwrap();
        let mut rest = Vec::new();
        stream.read_to_end(&mut rest).await.unwrap();
        assert_eq!(rest, b"");
    });
    joined(&mut subscriber).await;
    is_batch(&mut subscriber, 1).await;
    let lost = subscriber.next().await;
    assert!(matches!(lost, Update::Lost(_)), "{lost:?}");
    publisher.await.unwrap();
}

#[tokio::test]
async fn what_cannot_be_read_is_told_and_the_next_batch_comes() {
    let (listener, mut subscriber) = listen().await;
    tokio::spawn(async move {
        let mut stream = accept(&listener, 1).await;
        let bad = [&message(1)[..], &with_batch(2, b"\xc1"), b"\0\x01x", &message(3)].concat();
        stream.write_all(&bad).await.unwrap();
        stream.read_u8().await
    });
    joined(&mut subscriber).await;
    is_batch(&mut subscriber, 1).await;
    let bad = subscriber.next().await;
    assert!(matches!(bad, Update::Unreadable(Unreadable::Batch(2, _))), "{bad:?}");
    let bad = subscriber.next().await;
    assert!(matches!(bad, Update::Unreadable(Unreadable::Parts(1))), "{bad:?}");
    is_batch(&mut subscriber, 3).await;
}

#[tokio::test]
async fn a_message_that_is_too_large_ends_the_connection() {
    let (listener, mut subscriber) = listen().await;
    tokio::spawn(async move {
        let mut stream = accept(&listener, 1).await;
        stream.write_all(b"\x02\x00\x00\x00\x00\x01\0\0\0").await.unwrap();
        stream.read_u8().await
    });
    joined(&mut subscriber).await;
    let lost = subscriber.next().await;
    let Update::Lost(Loss::Connection(ConnectionError::Zmtp(error))) = lost else {
        panic!("{lost:?}")
    };
    assert!(matches!(error, ZmtpError::TooLarge { size: 0x100_0000, .. }), "{error}");
}

#[tokio::test]
async fn who_does_not_shake_hands_is_away_and_tried_again() {
    let (listener, mut subscriber) = listen().await;
    tokio::spawn(async move {
        drop(listener.accept().await.unwrap());
        let answers: [Vec<u8>; 3] = [
            b"HTTP/1.1 400 Bad Request\r\n\r\n".to_vec(),
            greeting(1, b"CURVE"),
            [greeting(1, b"NULL"), SUBSCRIBER_READY.to_vec()].concat(),
        ];
        for answer in answers {
            let (mut stream, _) = listener.accept().await.unwrap();
            stream.write_all(&answer).await.unwrap();
            let _end = stream.read_to_end(&mut Vec::new()).await;
        }
        accept(&listener, 1).await.read_u8().await
    });
    let first = subscriber.next().await;
    assert!(matches!(first, Update::Away(_)), "{first:?}");
    let mut away = async || match subscriber.next().await {
        Update::Away(ConnectionError::Zmtp(error)) => error,
        other => panic!("{other:?}"),
    };
    assert_eq!(away().await, ZmtpError::NotZmtp);
    assert_eq!(away().await, ZmtpError::Mechanism);
    assert_eq!(away().await, ZmtpError::SocketType("SUB".to_owned()));
    joined(&mut subscriber).await;
}

#[tokio::test]
async fn who_accepts_and_says_nothing_is_away() {
    let reply = Duration::from_millis(50);
    let (listener, mut subscriber) = listen_with(Settings { reply, ..settings() }).await;
    let update = subscriber.next().await;
    assert!(matches!(update, Update::Away(ConnectionError::Late(..))), "{update:?}");
    drop(listener);
}
