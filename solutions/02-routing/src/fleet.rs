//! Given: the endpoints that a router knows, and who of them may get a request now.

use std::time::Duration;

use routing::{Ending, EndpointId, EndpointView, Scrape, Terms};

use crate::capability::Server;
use crate::capable::{Capable, Whom};
use crate::outliers::Outliers;

/// How long an endpoint is left alone that says it has no room, if another one has.
const REST: Duration = Duration::from_secs(1);

/// Whether there is a place for a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Vacancy {
    /// There is.
    Room,
    /// There are endpoints, but all are full.
    Full,
    /// There is no endpoint that is ready and not ejected.
    Nobody,
}

#[derive(Debug, Clone)]
struct Member {
    view: EndpointView,
    ready: bool,
    rests_until: Duration,
    /// Whether it is gone for good.
    gone: bool,
    /// Adapters in its memory.
    adapters: Vec<String>,
}

/// All endpoints.
#[derive(Debug, Clone)]
pub struct Fleet {
    members: Vec<Member>,
    /// Requests that one endpoint may have from us at once.
    limit: u32,
    /// Those that the last look found.
    seen: Vec<EndpointView>,
    /// On which terms these get the request.
    terms: Terms,
}

impl Fleet {
    /// Nobody, and room for so many requests at each.
    #[must_use]
    pub fn new(limit: u32) -> Self {
        Self { members: Vec::new(), limit, seen: Vec::new(), terms: Terms::default() }
    }

    /// These are ready, and no others. Those that are not keep what they work on, and are forgotten when that is done.
    pub fn set_ready(&mut self, ready: &[EndpointId]) {
        for member in &mut self.members {
            member.ready = ready.contains(&member.view.id);
        }
        self.members.retain(|member| member.ready || member.view.in_flight > 0);
        for id in ready {
            if self.member(*id).is_none() {
                let view = EndpointView::unknown(*id);
                let rests_until = Duration::ZERO;
                self.members.push(Member {
                    view,
                    ready: true,
                    rests_until,
                    gone: false,
                    adapters: Vec::new(),
                });
            }
        }
    }

    /// It is gone for good. Whether nothing more is heard of it; if not, `Fleet::free` says when.
    pub fn forget(&mut self, endpoint: EndpointId) -> bool {
        let Some(member) = self.member(endpoint) else { return true };
        (member.ready, member.gone) = (false, true);
        let works = member.view.in_flight > 0;
        self.members.retain(|member| member.ready || member.view.in_flight > 0);
        !works
    }

    /// What an endpoint said of itself.
    pub fn set_scrape(&mut self, endpoint: EndpointId, scrape: Scrape) {
        if let Some(member) = self.member(endpoint) {
            member.view.scrape = Some(scrape);
        }
    }

    /// Adapters that it says it has in its memory.
    pub fn set_adapters(&mut self, endpoint: EndpointId, adapters: Vec<String>) {
        if let Some(member) = self.member(endpoint) {
            member.adapters = adapters;
        }
    }

    /// Looks who may get a request now: able to, ready, not ejected, not full, not among `tried`. Those that rest are only seen
    /// where nobody else is.
    pub fn look(
        &mut self,
        outliers: &Outliers,
        whom: &Whom<'_>,
        tried: &[EndpointId],
        now: Duration,
    ) -> Vacancy {
        self.seen.clear();
        let limit = self.limit;
        let well = |member: &&Member| {
            member.ready && whom.may(member.view.id) && !outliers.is_ejected(member.view.id, now)
        };
        let free =
            |member: &&Member| member.view.in_flight < limit && !tried.contains(&member.view.id);
        let rested = |member: &&Member| member.rests_until <= now;
        if whom.prefers() {
            let server = |member: &Member, saturated| Server {
                endpoint: member.view.id,
                deployment: Capable::deployment_of(member.view.id),
                saturated,
                loaded: member.adapters.clone(),
            };
            let others = |member: &&Member| !tried.contains(&member.view.id);
            let servers = |is_free: &dyn Fn(&&Member) -> bool| -> Vec<Server> {
                let found = self.members.iter().filter(well).filter(others);
                found.map(|member| server(member, !is_free(&member))).collect()
            };
            let found = whom.among(&servers(&|member| free(member) && rested(member)));
            let found = found.or_else(|| whom.among(&servers(&free)));
            if let Some((chosen, terms)) = found {
                let views = self.members.iter().map(|member| member.view);
                self.seen.extend(views.filter(|view| chosen.contains(&view.id)));
                self.terms = terms;
            }
        } else {
            let found = self.members.iter().filter(well).filter(free).filter(rested);
            self.seen.extend(found.map(|member| member.view));
            if self.seen.is_empty() {
                let found = self.members.iter().filter(well).filter(free);
                self.seen.extend(found.map(|member| member.view));
            }
        }
        if !self.seen.is_empty() {
            Vacancy::Room
        } else if self.members.iter().any(|member| well(&member)) {
            Vacancy::Full
        } else {
            Vacancy::Nobody
        }
    }

    /// Those that the last look found.
    #[must_use]
    pub fn seen(&self) -> &[EndpointView] {
        &self.seen
    }

    /// On which terms those that the last look found get the request.
    pub(crate) fn take_terms(&mut self) -> Terms {
        std::mem::take(&mut self.terms)
    }

    /// Those that are ready and not ejected.
    pub(crate) fn up(&self, outliers: &Outliers, now: Duration) -> Vec<EndpointId> {
        let ready = self.members.iter().filter(|member| member.ready);
        ready.map(|member| member.view.id).filter(|id| !outliers.is_ejected(*id, now)).collect()
    }

    /// Such requests that could be sent now, in all.
    #[must_use]
    pub fn places(&self, outliers: &Outliers, whom: &Whom<'_>, now: Duration) -> u32 {
        let well = |member: &&Member| {
            member.ready && whom.may(member.view.id) && !outliers.is_ejected(member.view.id, now)
        };
        let free = |member: &Member| self.limit.saturating_sub(member.view.in_flight);
        self.members.iter().filter(well).map(free).fold(0, u32::saturating_add)
    }

    /// Takes a place at one of those that were seen.
    pub(crate) fn take(&mut self, seen: usize) -> Option<EndpointId> {
        let id = self.seen.get(seen)?.id;
        self.member(id)?.view.in_flight += 1;
        Some(id)
    }

    /// Gives a place back. Whether that was the last at an endpoint that is gone for good.
    pub(crate) fn free(&mut self, endpoint: EndpointId, ending: Ending, now: Duration) -> bool {
        let mut last = false;
        if let Some(member) = self.member(endpoint) {
            member.view.in_flight = member.view.in_flight.saturating_sub(1);
            if ending == Ending::Refused {
                member.rests_until = now + REST;
            }
            last = member.gone && member.view.in_flight == 0;
        }
        self.members.retain(|member| member.ready || member.view.in_flight > 0);
        last
    }

    /// Endpoints that are ready.
    #[must_use]
    pub fn ready(&self) -> u32 {
        self.members.iter().map(|member| u32::from(member.ready)).sum()
    }

    /// Requests under way at one.
    #[must_use]
    pub fn in_flight_at(&self, endpoint: EndpointId) -> u32 {
        let member = self.members.iter().find(|member| member.view.id == endpoint);
        member.map_or(0, |member| member.view.in_flight)
    }

    /// Requests under way.
    #[must_use]
    pub fn in_flight(&self) -> u32 {
        self.members.iter().map(|member| member.view.in_flight).sum()
    }

    fn member(&mut self, endpoint: EndpointId) -> Option<&mut Member> {
        self.members.iter_mut().find(|member| member.view.id == endpoint)
    }
}
