//! What is known of one request after its end.

use std::time::Duration;

use serde::ser::{Serialize, SerializeMap, Serializer};

use crate::Received;

/// Why a request failed. Few and fixed, so that runs can be compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ErrorKind {
    /// No connection.
    Connect,
    /// No complete answer in time.
    Timeout,
    /// A status of 400 to 499.
    Status4xx,
    /// A status of 500 to 599.
    Status5xx,
    /// Any other status but 2xx.
    StatusOther,
    /// An error inside a stream that had begun well.
    Server,
    /// An answer that breaks HTTP, SSE or JSON.
    Malformed,
    /// The connection was closed before the end of the answer.
    ClosedEarly,
    /// Too many requests were in flight already: the generator did not send it.
    NotSent,
}

impl ErrorKind {
    /// Its name in records and reports.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Connect => "connect",
            Self::Timeout => "timeout",
            Self::Status4xx => "status_4xx",
            Self::Status5xx => "status_5xx",
            Self::StatusOther => "status_other",
            Self::Server => "server_error",
            Self::Malformed => "malformed",
            Self::ClosedEarly => "closed_early",
            Self::NotSent => "not_sent",
        }
    }

    pub(crate) fn of_status(status: u16) -> Self {
        match status {
            400..500 => Self::Status4xx,
            500..600 => Self::Status5xx,
            _ => Self::StatusOther,
        }
    }
}

/// How a request failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// The kind.
    pub kind: ErrorKind,
    /// What the server or the system said; may be empty.
    pub detail: String,
}

impl Failure {
    /// A failure.
    #[must_use]
    pub fn new(kind: ErrorKind, detail: impl Into<String>) -> Self {
        Self { kind, detail: detail.into() }
    }
}

/// One request. Times are since the start of the run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// Its place in the schedule, from 0.
    pub index: usize,
    /// When it was due. In a closed loop, when it was sent.
    pub scheduled: Duration,
    /// When the first byte left, or the connection for it was asked for. `None` where it was not sent.
    pub sent: Option<Duration>,
    /// When its answer was complete, or it failed.
    pub ended: Duration,
    /// Length of the prompt that was asked for, in tokens.
    pub input_asked: u32,
    /// Length of the answer that was asked for, in tokens.
    pub output_asked: u32,
    /// Why it failed, if it did.
    pub failure: Option<Failure>,
    /// What came back.
    pub received: Received,
    /// Whether its connection had carried requests before.
    pub reused: bool,
    /// Whether it was sent a second time, because the server had closed the kept connection meanwhile.
    pub retried: bool,
}

impl Record {
    /// How late it was sent: the generator's own fault.
    #[must_use]
    pub fn lateness(&self) -> Option<Duration> {
        self.sent.map(|sent| sent.saturating_sub(self.scheduled))
    }

    /// Time from when it was due to the first token; only where tokens were streamed.
    #[must_use]
    pub fn ttft(&self) -> Option<Duration> {
        Some(self.lateness()? + self.ttft_from_send()?)
    }

    /// Time from when it was sent to the first token; only where tokens were streamed.
    #[must_use]
    pub fn ttft_from_send(&self) -> Option<Duration> {
        let first = *self.received.content_us.first()?;
        (self.failure.is_none() && self.received.streamed).then(|| micros(first))
    }

    /// Time from when it was due to the last token; to the end of the body where none were streamed.
    #[must_use]
    pub fn e2e(&self) -> Option<Duration> {
        Some(self.lateness()? + self.e2e_from_send()?)
    }

    /// Time from when it was sent to the last token; to the end of the body where none were streamed.
    #[must_use]
    pub fn e2e_from_send(&self) -> Option<Duration> {
        let sent = self.sent.filter(|_| self.failure.is_none())?;
        let last = self.received.content_us.last().copied().map(micros);
        Some(last.unwrap_or_else(|| self.ended.saturating_sub(sent)))
    }

    /// Mean time per output token after the first: `(E2E - TTFT) / (tokens - 1)`.
    #[must_use]
    pub fn tpot(&self) -> Option<Duration> {
        let first = self.ttft_from_send()?;
        let later = self.output_tokens().checked_sub(1).filter(|later| *later > 0)?;
        Some(self.e2e_from_send()?.saturating_sub(first) / later)
    }

    /// Tokens of the answer: as the server counted them, else pieces of content.
    #[must_use]
    pub fn output_tokens(&self) -> u32 {
        let pieces = || u32::try_from(self.received.content_us.len()).unwrap_or(u32::MAX);
        self.received.completion_tokens.unwrap_or_else(pieces)
    }

    /// Tokens of the prompt: as the server counted them, else as asked.
    #[must_use]
    pub fn input_tokens(&self) -> u32 {
        self.received.prompt_tokens.unwrap_or(self.input_asked)
    }

    /// Times between pieces of content.
    pub fn gaps(&self) -> impl Iterator<Item = Duration> {
        self.received.content_us.windows(2).map(|pair| micros(pair[1].saturating_sub(pair[0])))
    }
}

fn micros(us: u32) -> Duration {
    Duration::from_micros(us.into())
}

fn ms(duration: Duration) -> f64 {
    // Whole microseconds: what is below is noise.
    duration.as_micros() as f64 / 1000.0
}

/// One line of the records' file.
impl Serialize for Record {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let seconds = |time: Duration| time.as_micros() as f64 / 1e6;
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("index", &self.index)?;
        map.serialize_entry("scheduled_s", &seconds(self.scheduled))?;
        map.serialize_entry("sent_s", &self.sent.map(seconds))?;
        map.serialize_entry("ended_s", &seconds(self.ended))?;
        map.serialize_entry("lateness_ms", &self.lateness().map(ms))?;
        map.serialize_entry("ok", &self.failure.is_none())?;
        map.serialize_entry("error", &self.failure.as_ref().map(|failure| failure.kind.name()))?;
        map.serialize_entry("detail", &self.failure.as_ref().map(|f| f.detail.as_str()))?;
        let status = Some(self.received.status).filter(|status| *status != 0);
        map.serialize_entry("status", &status)?;
        map.serialize_entry("input_tokens_asked", &self.input_asked)?;
        map.serialize_entry("input_tokens", &self.received.prompt_tokens)?;
        map.serialize_entry("output_tokens_asked", &self.output_asked)?;
        map.serialize_entry("output_tokens", &self.output_tokens())?;
        map.serialize_entry("finish_reason", &self.received.finish_reason)?;
        map.serialize_entry("ttft_ms", &self.ttft().map(ms))?;
        map.serialize_entry("ttft_from_send_ms", &self.ttft_from_send().map(ms))?;
        map.serialize_entry("tpot_ms", &self.tpot().map(ms))?;
        map.serialize_entry("e2e_ms", &self.e2e().map(ms))?;
        map.serialize_entry("e2e_from_send_ms", &self.e2e_from_send().map(ms))?;
        let itl: Vec<f64> = self.gaps().map(ms).collect();
        map.serialize_entry("itl_ms", &itl)?;
        map.serialize_entry("coalesced", &self.received.coalesced)?;
        map.serialize_entry("reused_connection", &self.reused)?;
        map.serialize_entry("retried", &self.retried)?;
        map.end()
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A request due at 1 s and sent 10 ms late, with tokens at these milliseconds after sending.
    pub(crate) fn streamed(content_ms: &[u32]) -> Record {
        let content_us: Vec<u32> = content_ms.iter().map(|ms| ms * 1000).collect();
        let last = content_ms.last().copied().unwrap_or(0);
        Record {
            index: 3,
            scheduled: Duration::from_secs(1),
            sent: Some(Duration::from_millis(1010)),
            ended: Duration::from_millis(1011 + u64::from(last)),
            input_asked: 5,
            output_asked: 3,
            failure: None,
            received: Received { status: 200, streamed: true, content_us, ..Received::default() },
            reused: true,
            retried: false,
        }
    }

    fn times(record: &Record) -> [Option<u128>; 5] {
        [
            record.ttft(),
            record.ttft_from_send(),
            record.tpot(),
            record.e2e(),
            record.e2e_from_send(),
        ]
        .map(|time| time.map(|time| time.as_millis()))
    }

    #[test]
    fn latencies_count_from_the_schedule_and_from_the_send() {
        let record = streamed(&[100, 140, 180]);
        assert_eq!(times(&record), [Some(110), Some(100), Some(40), Some(190), Some(180)]);
        assert_eq!(record.gaps().map(|gap| gap.as_millis()).collect::<Vec<_>>(), [40, 40]);
    }

    #[test]
    fn the_servers_count_of_tokens_goes_first() {
        let mut record = streamed(&[100, 140, 180]);
        record.received.completion_tokens = Some(5);
        assert_eq!((record.output_tokens(), record.tpot().unwrap().as_millis()), (5, 20));
    }

    #[test]
    fn an_answer_in_one_piece_has_no_first_token() {
        let mut record = streamed(&[100]);
        record.received.streamed = false;
        record.received.completion_tokens = Some(9);
        assert_eq!(times(&record), [None, None, None, Some(110), Some(100)]);
        record.received.content_us.clear();
        assert_eq!(times(&record)[4], Some(101), "up to the end of the body");
    }

    #[test]
    fn a_failed_request_has_no_latency() {
        let mut record = streamed(&[100, 140]);
        record.failure = Some(Failure::new(ErrorKind::ClosedEarly, ""));
        assert_eq!(times(&record), [None; 5]);
        record.sent = None;
        assert_eq!(record.lateness(), None);
    }

    #[test]
    fn a_record_is_one_line_of_json() {
        let mut record = streamed(&[100, 140]);
        record.received.finish_reason = Some(crate::FinishReason::Length);
        insta::assert_snapshot!(serde_json::to_string(&record).unwrap());
        record.failure = Some(Failure::new(ErrorKind::Status5xx, "full"));
        record.received = Received { status: 503, ..Received::default() };
        insta::assert_snapshot!(serde_json::to_string(&record).unwrap());
    }
}
