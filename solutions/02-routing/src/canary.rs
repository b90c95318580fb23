//! Given: task 2.4 as a policy, around a policy for each version.
//!
//! Assigns each request to a version, lets that version's policy choose among its endpoints, watches how requests end, and
//! moves the share. So the same rollout runs in the simulator and in the live router. Time to the first token is what it
//! compares: how long an answer takes depends on what was asked. Requests are told to the rollout in the order in which they were
//! assigned; so it learns of one only when those before it have ended, at the latest when they time out.

use std::collections::VecDeque;
use std::time::Duration;

use routing::{
    Ending, EndpointId, EndpointView, Feedback, Happening, KvEvent, Policy, RouteRequest,
};

use crate::canary_metrics;
use crate::rollout::{Decision, Observation, Rollout, Seen, State};
use crate::split::{Assignment, Share, Split, Version, assign, position};

/// Requests that are watched at a time. Beyond, the oldest are not waited for any longer.
pub const MOST_WATCHED: usize = 65_536;
/// A request of whose end nobody has told by then is not waited for any longer.
pub const LONGEST: Duration = Duration::from_secs(15 * 60);

/// A request that was assigned.
#[derive(Debug, Clone, Copy)]
struct Watched {
    request: u64,
    endpoint: EndpointId,
    at: Duration,
    assignment: Assignment,
    share: Share,
    session: Option<u64>,
    first_token: Option<Duration>,
    /// `None` while it is under way; `Some(None)` when it ended in a way that says nothing.
    ended: Option<Option<Seen>>,
}

/// A canary in front of two policies.
pub struct Canary<P> {
    split: Split,
    rollout: Rollout,
    /// Stable, canary.
    policies: [P; 2],
    version_of: Box<dyn Fn(EndpointId) -> Version + Send>,
    /// Hears of every decision that changes something.
    told: Box<dyn Fn(Duration, Decision) + Send>,
    /// In the order of their numbers, which is that of their assignment. One that has ended waits here for those before it.
    watched: VecDeque<Watched>,
    /// Requests with smaller numbers are done with. What is chosen for them now is a retry, or was in a queue while others were
    /// served: neither is observed, and neither depends on the version.
    done_below: u64,
    /// What changed, and when.
    history: Vec<(Duration, Decision)>,
    /// Of the version that was assigned; and where each stands in what was shown.
    views: Vec<EndpointView>,
    places: Vec<usize>,
}

impl<P: Policy> Canary<P> {
    /// Begins `rollout` under the name of `experiment`. `version_of` knows what runs on an endpoint.
    #[must_use]
    pub fn new(
        experiment: &str,
        rollout: Rollout,
        policies: [P; 2],
        version_of: impl Fn(EndpointId) -> Version + Send + 'static,
    ) -> Self {
        let split =
            Split { experiment: experiment.to_owned(), canary: rollout.share(), overrides: false };
        Self {
            split,
            rollout,
            policies,
            version_of: Box::new(version_of),
            told: Box::new(|_, _| {}),
            watched: VecDeque::new(),
            done_below: 0,
            history: Vec::new(),
            views: Vec::new(),
            places: Vec::new(),
        }
    }

    /// Lets clients choose a version by name.
    #[must_use]
    pub fn with_overrides(mut self) -> Self {
        self.split.overrides = true;
        self
    }

    /// Tells every decision that changes something. Must not wait: requests do.
    #[must_use]
    pub fn with_listener(mut self, told: impl Fn(Duration, Decision) + Send + 'static) -> Self {
        self.told = Box::new(told);
        self
    }

    /// Where the rollout is.
    #[must_use]
    pub fn state(&self) -> State {
        self.rollout.state()
    }

    /// The rollout itself: for metrics.
    #[must_use]
    pub fn rollout(&self) -> &Rollout {
        &self.rollout
    }

    /// Every decision that changed something, with its time.
    #[must_use]
    pub fn history(&self) -> &[(Duration, Decision)] {
        &self.history
    }

    /// Remembers a request's first attempt. Where it goes after that, no chance has decided.
    fn watch(
        &mut self,
        request: &RouteRequest<'_>,
        endpoint: EndpointId,
        assignment: Assignment,
        share: Share,
        at: Duration,
    ) {
        let id = request.id;
        let place = self.watched.binary_search_by_key(&id, |watched| watched.request);
        let (Err(place), true) = (place, id >= self.done_below) else { return };
        let session = request.session.map(|key| position(&self.split.experiment, key.as_bytes()));
        let (request, first_token, ended) = (id, None, None);
        let watched =
            Watched { request, endpoint, at, assignment, share, session, first_token, ended };
        self.watched.insert(place, watched);
    }

    /// Tells the rollout of all that have ended before the first that has not, and asks it what comes next.
    fn learn(&mut self, at: Duration) {
        while let Some(Watched {
            request, at: assigned, assignment, share, session, ended, ..
        }) = self.watched.front().copied()
        {
            let is_given_up =
                self.watched.len() > MOST_WATCHED || at.saturating_sub(assigned) > LONGEST;
            if ended.is_none() && !is_given_up {
                return;
            }
            self.watched.pop_front();
            self.done_below = request + 1;
            let Some(Some(seen)) = ended else { continue };
            let Assignment { version, counts } = assignment;
            let shadow = false;
            self.rollout.observe(&Observation {
                version,
                share,
                counts,
                shadow,
                session,
                seen,
                at,
            });
            let decision = self.rollout.step(at);
            if !matches!(decision, Decision::Stay(_)) {
                (self.told)(at, decision);
                self.history.push((at, decision));
                self.split.canary = self.rollout.share();
            }
        }
    }

    /// Lets the version's policy choose among its endpoints.
    fn choose_of(
        &mut self,
        version: Version,
        request: &RouteRequest<'_>,
        endpoints: &[EndpointView],
        now: Duration,
    ) -> Option<usize> {
        self.views.clear();
        self.places.clear();
        for (place, view) in endpoints.iter().enumerate() {
            if (self.version_of)(view.id) == version {
                self.views.push(*view);
                self.places.push(place);
            }
        }
        let chosen = self.policies[version as usize].choose(request, &self.views, now)?;
        self.places.get(chosen).copied()
    }
}

// === impl Policy for Canary ===

impl<P: Policy> Policy for Canary<P> {
    fn choose(
        &mut self,
        request: &RouteRequest<'_>,
        endpoints: &[EndpointView],
        now: Duration,
    ) -> Option<usize> {
        let wish = request.version.and_then(Version::named);
        let mut assignment = assign(&self.split, request.session, request.id, wish);
        let share = self.split.canary;
        let mut chosen = self.choose_of(assignment.version, request, endpoints, now);
        if chosen.is_none() {
            // Its version has nobody for it. Whoever goes elsewhere is no random sample of there.
            let version = match assignment.version {
                Version::Stable => Version::Canary,
                Version::Canary => Version::Stable,
            };
            assignment = Assignment { version, counts: false };
            let may = version == Version::Stable || share > Share::NONE;
            chosen = may.then(|| self.choose_of(version, request, endpoints, now)).flatten();
        }
        if let Some(view) = chosen.and_then(|chosen| endpoints.get(chosen)) {
            self.watch(request, view.id, assignment, share, now);
        }
        chosen
    }

    fn observe(&mut self, feedback: &Feedback) {
        let version = (self.version_of)(feedback.endpoint);
        self.policies[version as usize].observe(feedback);
        let place = self.watched.binary_search_by_key(&feedback.request, |watched| watched.request);
        let is_first_attempt = |watched: &&mut Watched| {
            watched.endpoint == feedback.endpoint && watched.ended.is_none()
        };
        let watched = place.ok().and_then(|place| self.watched.get_mut(place));
        let Some(watched) = watched.filter(is_first_attempt) else { return };
        match feedback.happening {
            Happening::Sent => {}
            Happening::FirstToken(after) => watched.first_token = Some(after),
            Happening::Ended { ending, took } => {
                let waited = watched.first_token.unwrap_or(took);
                watched.ended = Some(match ending {
                    Ending::Answered => Some(Seen::Answered(waited)),
                    Ending::Failed | Ending::TimedOut | Ending::Refused => Some(Seen::Failed),
                    Ending::Cancelled => Some(Seen::GaveUp(waited)),
                    Ending::ClientError => None,
                });
                self.learn(feedback.at);
            }
        }
    }

    fn kv_event(&mut self, endpoint: EndpointId, event: &KvEvent) {
        self.policies[(self.version_of)(endpoint) as usize].kv_event(endpoint, event);
    }

    fn forget(&mut self, endpoint: EndpointId) {
        self.policies[(self.version_of)(endpoint) as usize].forget(endpoint);
    }

    fn write_metrics(&self, page: &mut String) {
        for family in canary_metrics::metrics(&self.rollout) {
            page.push_str(&family.to_string());
        }
        self.policies.iter().for_each(|policy| policy.write_metrics(page));
    }

    fn reads_prompt(&self) -> bool {
        self.policies.iter().any(Policy::reads_prompt)
    }
}

#[cfg(test)]
mod tests {
    use routing::RoundRobin;

    use super::*;
    use crate::rollout::{Guard, Objective, Plan};

    const fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    /// Endpoint 0 is stable, endpoint 1 the canary, at 50 %.
    fn canary() -> Canary<RoundRobin> {
        let plan = Plan {
            steps: vec![Share::percent(50)],
            hold: Duration::ZERO,
            min_requests: 1_000_000,
            alpha: 0.05,
            slow: ms(100),
            objective: Objective { within: ms(100), misses: 0.1, doubt: 0.05 },
            stale_after: Duration::MAX,
        };
        let rollout = Rollout::try_new(plan, Duration::ZERO).expect("a plan");
        let version_of =
            |endpoint: EndpointId| if endpoint.0 == 0 { Version::Stable } else { Version::Canary };
        Canary::new("given", rollout, [RoundRobin::default(); 2], version_of)
    }

    fn choose(canary: &mut Canary<RoundRobin>, id: u64, shown: &[u32]) -> Option<EndpointId> {
        let views: Vec<_> = shown.iter().map(|id| EndpointView::unknown(EndpointId(*id))).collect();
        let chosen = canary.choose(&RouteRequest::new(id), &views, ms(id))?;
        Some(views[chosen].id)
    }

    fn end(
        canary: &mut Canary<RoundRobin>,
        request: u64,
        endpoint: u32,
        ending: Ending,
        at: Duration,
    ) {
        let happening = Happening::Ended { ending, took: ms(5) };
        let endpoint = EndpointId(endpoint);
        canary.observe(&Feedback { request, endpoint, happening, at });
    }

    fn counted(canary: &Canary<RoundRobin>) -> u64 {
        let of = |version| canary.rollout.tally(version).requests;
        of(Version::Stable) + of(Version::Canary)
    }

    #[test]
    fn requests_are_told_in_the_order_of_their_assignment() {
        let mut canary = canary();
        let at: Vec<u32> =
            (0..3).filter_map(|id| choose(&mut canary, id, &[0, 1])).map(|id| id.0).collect();
        end(&mut canary, 2, at[2], Ending::Answered, ms(10));
        end(&mut canary, 1, at[1], Ending::Failed, ms(11));
        assert_eq!(counted(&canary), 0, "the first has not ended");
        end(&mut canary, 0, at[0], Ending::ClientError, ms(12));
        assert_eq!(counted(&canary), 2, "a mistake of the client says nothing");
    }

    #[test]
    fn retries_and_hedges_are_not_counted() {
        let mut canary = canary();
        let first = choose(&mut canary, 0, &[0, 1]).expect("an endpoint").0;
        let other = 1 - first;
        // A hedge at the other version answers first; the first attempt is cancelled after it.
        choose(&mut canary, 0, &[other]);
        end(&mut canary, 0, other, Ending::Answered, ms(10));
        assert_eq!(counted(&canary), 0);
        end(&mut canary, 0, first, Ending::Failed, ms(11));
        assert_eq!(counted(&canary), 1);
        // A retry after the first attempt was told.
        choose(&mut canary, 0, &[other]);
        end(&mut canary, 0, other, Ending::Answered, ms(12));
        assert_eq!((counted(&canary), canary.watched.len()), (1, 0));
    }

    #[test]
    fn whoever_goes_elsewhere_is_served_and_not_counted() {
        let mut canary = canary();
        for id in 0..50 {
            assert_eq!(choose(&mut canary, id, &[0]), Some(EndpointId(0)));
            end(&mut canary, id, 0, Ending::Answered, ms(id));
        }
        let [stable, moved] = [counted(&canary), 50 - counted(&canary)];
        assert!(stable > 10 && moved > 10, "about half were assigned to the canary, which is gone");
        assert_eq!(canary.rollout.tally(Version::Canary).requests, 0);
        assert_eq!(choose(&mut canary, 99, &[]), None);
    }

    #[test]
    fn a_tester_chooses_where_that_is_allowed_and_is_not_counted() {
        let mut canary = canary().with_overrides();
        let both = [EndpointView::unknown(EndpointId(0)), EndpointView::unknown(EndpointId(1))];
        for (id, version, chosen) in [(0, "canary", 1), (1, "stable", 0)] {
            let request = RouteRequest { version: Some(version), ..RouteRequest::new(id) };
            assert_eq!(canary.choose(&request, &both, ms(id)), Some(chosen));
            end(&mut canary, id, chosen as u32, Ending::Answered, ms(id));
        }
        assert_eq!(counted(&canary), 0);
        let mut deaf = self::canary();
        let request = |id, version| RouteRequest { version, ..RouteRequest::new(id) };
        for id in 0..20 {
            let with = deaf.choose(&request(id, Some("canary")), &both, ms(id));
            assert_eq!(with, self::canary().choose(&request(id, None), &both, ms(id)));
        }
    }

    #[test]
    fn an_end_that_nobody_tells_does_not_stop_the_rollout() {
        let mut canary = canary();
        choose(&mut canary, 0, &[0, 1]);
        for id in 1..100 {
            let at = choose(&mut canary, id, &[0, 1]).expect("an endpoint").0;
            let ending = if at == 1 { Ending::Failed } else { Ending::Answered };
            end(&mut canary, id, at, ending, ms(id));
        }
        assert!(matches!(canary.state(), State::Step(0)), "the first may still end");
        let at = choose(&mut canary, 100, &[0, 1]).expect("an endpoint").0;
        end(&mut canary, 100, at, Ending::Answered, LONGEST + ms(1));
        assert_eq!(canary.state(), State::RolledBack(Guard::Errors));
        for id in 101..150 {
            assert_eq!(choose(&mut canary, id, &[0, 1]), Some(EndpointId(0)));
        }
    }
}
