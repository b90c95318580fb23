//! The baseline.

use std::time::Duration;

use crate::{EndpointView, Policy, RouteRequest};

/// One after the other, whatever they do.
#[derive(Debug, Clone, Copy, Default)]
pub struct RoundRobin {
    next: usize,
}

// === impl Policy for RoundRobin ===

impl Policy for RoundRobin {
    fn choose(
        &mut self,
        _request: &RouteRequest<'_>,
        endpoints: &[EndpointView],
        _now: Duration,
    ) -> Option<usize> {
        let chosen = self.next.checked_rem(endpoints.len())?;
        self.next = chosen + 1;
        Some(chosen)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::EndpointId;

    #[test]
    fn takes_turns_and_survives_that_endpoints_come_and_go() {
        let mut policy = RoundRobin::default();
        let of = |count: u32| (0..count).map(EndpointId).map(EndpointView::unknown);
        let mut choose = |count| {
            let endpoints: Vec<_> = of(count).collect();
            policy.choose(&RouteRequest::new(0), &endpoints, Duration::ZERO)
        };
        assert_eq!([choose(3), choose(3), choose(3), choose(3)], [0, 1, 2, 0].map(Some));
        assert_eq!(choose(0), None);
        assert_eq!([choose(2), choose(2), choose(1)], [1, 0, 0].map(Some));
    }
}
