//! The router's own span around the engine's: who called, what came of it. Nothing here is done where nobody asked for traces.

use std::net::SocketAddr;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use otlp::attribute::{number, seconds, text};
use otlp::{Exporter, Ids, Kind, RandomIds, Span};
use protocol::traceparent::TraceParent;

/// Where spans go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tracing {
    /// The collector's full address, `/v1/traces` included.
    pub endpoint: String,
    /// What this router is called in a trace.
    pub service: String,
}

/// The place of a request in its trace.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Place {
    /// The caller's span.
    pub(crate) parent: Option<u64>,
    /// The trace and the router's own span, as the endpoint hears of it.
    pub(crate) own: TraceParent,
}

impl Place {
    /// A span of our own below the caller's. `None`: the caller does not record, so what it sent goes on as it is.
    pub(crate) fn below(caller: Option<TraceParent>, ids: &mut RandomIds) -> Option<Self> {
        let sampled = caller.is_none_or(|caller| caller.sampled);
        let trace_id = caller.map_or_else(|| ids.trace_id(), |caller| caller.trace_id);
        let own = TraceParent { trace_id, span_id: ids.span_id(), sampled };
        sampled.then_some(Self { parent: caller.map(|caller| caller.span_id), own })
    }
}

/// What became of a request, as far as its span tells.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Told {
    /// The status that the client got; 0 where it got none.
    pub(crate) status: u16,
    /// When its first byte came, since the router started.
    pub(crate) first_byte: Option<Duration>,
    pub(crate) attempts: usize,
    /// Who was asked last.
    pub(crate) endpoint: Option<SocketAddr>,
    /// It was ended before its end.
    pub(crate) cut_off: bool,
}

/// A request that has ended.
#[derive(Debug)]
pub(crate) struct Routed {
    pub(crate) place: Place,
    /// Since the router started.
    pub(crate) from: Duration,
    pub(crate) to: Duration,
    pub(crate) told: Told,
}

/// Starts to export. Times are since now.
pub(crate) fn start(tracing: &Tracing) -> std::io::Result<Exporter<Routed>> {
    let epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Exporter::start(&tracing.endpoint, &tracing.service, move |routed, _| vec![span(routed, epoch)])
}

fn span(routed: &Routed, epoch: Duration) -> Span {
    let Routed { place, from, to, told } = routed;
    let mut attributes = vec![
        number("http.response.status_code", usize::from(told.status)),
        number("llm.router.attempts", told.attempts),
    ];
    attributes.extend(told.endpoint.map(|address| text("server.address", &address.to_string())));
    attributes.extend(told.first_byte.map(|at| {
        seconds("llm.router.time_to_first_byte", at.saturating_sub(*from).as_secs_f64())
    }));
    let error = match told.status {
        _ if told.cut_off => Some("the answer was cut off"),
        0 => Some("the client went away"),
        500.. => Some("the answer is an error"),
        _ => None,
    };
    Span {
        trace_id: place.own.trace_id,
        id: place.own.span_id,
        parent: place.parent,
        name: "route",
        kind: Kind::Server,
        from: epoch + *from,
        to: epoch + *to,
        attributes,
        error,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_caller_that_does_not_record_gets_no_span_and_a_stranger_a_trace_of_its_own() {
        let mut ids = RandomIds::default();
        let caller = TraceParent { trace_id: 7, span_id: 8, sampled: true };
        let place = Place::below(Some(caller), &mut ids).unwrap();
        assert_eq!((place.own.trace_id, place.parent), (7, Some(8)));
        assert_ne!(place.own.span_id, 8);
        assert_eq!(Place::below(Some(TraceParent { sampled: false, ..caller }), &mut ids), None);
        let first = Place::below(None, &mut ids).unwrap();
        let second = Place::below(None, &mut ids).unwrap();
        assert_eq!(first.parent, None);
        assert_ne!(first.own.trace_id, second.own.trace_id);
    }
}
