//! Startup, readiness and liveness probes, by the kubelet's thresholds and periods.

use std::time::Duration;

use k8s_openapi::api::core::v1::Probe;
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::hooks::{Call, Failure};
use super::worker::Message;
use crate::supervisor::order::TaskId;

/// Pause between first attempts while nobody listens yet.
const FIRST_PAUSE: Duration = Duration::from_millis(5);
/// Longest of these pauses.
const LONGEST_PAUSE: Duration = Duration::from_millis(100);

/// Which probe.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ProbeKind {
    /// Until it succeeds, the others wait.
    Startup,
    /// Whether requests may come.
    Readiness,
    /// Whether to restart.
    Liveness,
}

impl ProbeKind {
    /// As events name it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Startup => "Startup",
            Self::Readiness => "Readiness",
            Self::Liveness => "Liveness",
        }
    }
}

/// What a probe has found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// Often enough in a row: well.
    Up,
    /// Failed, but not often enough to matter.
    Missed(String),
    /// Failed often enough in a row.
    Down(String),
}

/// Counts results until they matter. Pure.
#[derive(Debug, Clone)]
struct Thresholds {
    success: i32,
    failure: i32,
    successes: i32,
    failures: i32,
    is_up: Option<bool>,
}

impl Thresholds {
    fn new(probe: &Probe) -> Self {
        let at_least_one = |given: Option<i32>, default: i32| given.unwrap_or(default).max(1);
        Self {
            success: at_least_one(probe.success_threshold, 1),
            failure: at_least_one(probe.failure_threshold, 3),
            successes: 0,
            failures: 0,
            is_up: None,
        }
    }

    /// Takes a result; says what it means, if it means anything new.
    fn take(&mut self, result: Result<(), String>) -> Option<Outcome> {
        match result {
            Ok(()) => {
                self.failures = 0;
                self.successes = self.successes.saturating_add(1);
                let news = self.successes >= self.success && self.is_up != Some(true);
                if news {
                    self.is_up = Some(true);
                }
                news.then_some(Outcome::Up)
            }
            Err(message) => {
                self.successes = 0;
                self.failures = self.failures.saturating_add(1);
                if self.failures < self.failure {
                    return Some(Outcome::Missed(message));
                }
                self.is_up = Some(false);
                Some(Outcome::Down(message))
            }
        }
    }
}

/// Probes one run of a container until it is told to stop. `second`: how long a second takes.
pub(crate) async fn watch(
    probe: Probe,
    kind: ProbeKind,
    call: Call,
    second: Duration,
    task: TaskId,
    sender: mpsc::Sender<Message>,
) {
    let seconds = |given: Option<i32>, default: u32, least: u32| {
        let given = given.and_then(|given| u32::try_from(given).ok()).unwrap_or(default);
        second * given.max(least)
    };
    let period = seconds(probe.period_seconds, 10, 1);
    let limit = probe.timeout_seconds.and_then(|given| u64::try_from(given).ok()).unwrap_or(1);
    let limit = Duration::from_secs(limit.max(1));
    tokio::time::sleep(seconds(probe.initial_delay_seconds, 0, 0)).await;
    let mut thresholds = Thresholds::new(&probe);
    // While the program is young, that nobody listens yet is no failure: a period would be long to wait.
    let young = Instant::now() + period;
    let mut pause = FIRST_PAUSE;
    let mut next = Instant::now();
    loop {
        let result = attempt(&probe, &call, limit).await;
        if let Err(Failure { not_listening: true, .. }) = result
            && kind != ProbeKind::Liveness
            && Instant::now() + pause < young
        {
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
            next = Instant::now();
            continue;
        }
        if let Some(outcome) = thresholds.take(result.map_err(|failure| failure.message)) {
            let is_over = kind == ProbeKind::Startup && !matches!(outcome, Outcome::Missed(_));
            if sender.send(Message::Probed { task, kind, outcome }).await.is_err() || is_over {
                return;
            }
        }
        next += period;
        tokio::time::sleep_until(next).await;
    }
}

async fn attempt(probe: &Probe, call: &Call, limit: Duration) -> Result<(), Failure> {
    let work = async {
        if let Some(get) = &probe.http_get {
            call.http(get).await
        } else if let Some(socket) = &probe.tcp_socket {
            call.tcp(socket.host.as_deref(), &socket.port).await
        } else if let Some(exec) = &probe.exec {
            call.exec(exec.command.as_deref().unwrap_or(&[])).await
        } else if let Some(grpc) = &probe.grpc {
            call.grpc(grpc).await
        } else {
            Err("the probe says nothing that can be done".to_owned().into())
        }
    };
    match tokio::time::timeout(limit, work).await {
        Ok(result) => result,
        Err(_) if probe.exec.is_some() => Err(format!("command timed out after {limit:?}").into()),
        Err(_) if probe.grpc.is_some() => {
            Err(format!("timeout: health rpc did not complete within {limit:?}").into())
        }
        Err(_) => Err("context deadline exceeded (Client.Timeout exceeded while awaiting headers)"
            .to_owned()
            .into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn thresholds(success: i32, failure: i32) -> Thresholds {
        let (success_threshold, failure_threshold) = (Some(success), Some(failure));
        Thresholds::new(&Probe { success_threshold, failure_threshold, ..Probe::default() })
    }

    #[test]
    fn one_failure_of_three_changes_nothing() {
        let mut all = thresholds(1, 3);
        let fail = || Err("x".to_owned());
        assert_eq!(all.take(Ok(())), Some(Outcome::Up));
        assert_eq!(all.take(fail()), Some(Outcome::Missed("x".into())));
        assert_eq!(all.take(Ok(())), None, "it is up already");
        assert_eq!(all.take(fail()), Some(Outcome::Missed("x".into())));
        assert_eq!(all.take(fail()), Some(Outcome::Missed("x".into())));
        assert_eq!(all.take(fail()), Some(Outcome::Down("x".into())));
        assert_eq!(all.take(Ok(())), Some(Outcome::Up));
    }

    proptest! {
        #[test]
        fn goes_up_and_down_only_by_whole_thresholds(
            success in 1..4_i32,
            failure in 1..4_i32,
            results in prop::collection::vec(any::<bool>(), 0..40),
        ) {
            let mut all = thresholds(success, failure);
            let mut row = 0;
            let mut last = None;
            for result in results {
                row = if last == Some(result) { row + 1 } else { 1 };
                last = Some(result);
                match all.take(if result { Ok(()) } else { Err(String::new()) }) {
                    Some(Outcome::Up) => prop_assert!(result && row >= success),
                    Some(Outcome::Down(_)) => prop_assert!(!result && row >= failure),
                    _ => {}
                }
            }
        }
    }
}
