//! Given: task 2.3 in the live router, and the one filter of it. Whoever counts places for a request, or chooses one, asks [`Whom`].
//!
//! Who could *ever* serve a request depends on the request and the catalogue alone, so it is found once, when the request
//! arrives: [`Able`]. Who serves it *now* is asked at each attempt, since an endpoint may have come or gone.

use std::sync::Arc;

use protocol::openai::Problem;
use routing::{Arrival, EndpointId, Model, Reason, Terms};

use crate::capability::{self, Answer, Server, allowed, answer, lack};
use crate::catalogue::{Catalogue, VERSION_MARK};
use crate::need::{Api, DOWNGRADE_HEADER, Need, Wishes};

/// Deployments that a catalogue may have.
pub const MOST_DEPLOYMENTS: usize = 64;

/// Deployments, as bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Able(u64);

impl Able {
    /// Where nobody has a catalogue.
    pub const ANYONE: Self = Self(u64::MAX);

    fn has(self, deployment: usize) -> bool {
        deployment < MOST_DEPLOYMENTS && self.0 >> deployment & 1 == 1
    }

    /// Whether some are in both.
    #[must_use]
    pub fn meets(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }
}

/// Why a request goes nowhere, and what its client is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refused {
    /// In a router's words.
    pub reason: Reason,
    /// In the client's.
    pub answer: Box<Answer>,
}

/// A catalogue in front of endpoints.
#[derive(Debug, Clone)]
pub struct Capable {
    catalogue: Catalogue,
    /// What the replicas of each deployment call their model.
    served_as: Vec<Arc<str>>,
}

// === impl Capable ===

impl Capable {
    /// `served_as`: of each deployment, the name by which its replicas know the model. `None` where there is not one name for each,
    /// or more than [`MOST_DEPLOYMENTS`].
    #[must_use]
    pub fn new(catalogue: Catalogue, served_as: Vec<String>) -> Option<Self> {
        let count = catalogue.deployments.len();
        let served_as: Vec<_> = served_as.into_iter().map(Arc::from).collect();
        let fits = count == served_as.len() && count <= MOST_DEPLOYMENTS;
        fits.then_some(Self { catalogue, served_as })
    }

    /// The id of a replica, from its number among those of its deployment.
    #[must_use]
    pub fn id(deployment: usize, number: u32) -> EndpointId {
        let of = u32::try_from(deployment % MOST_DEPLOYMENTS).unwrap_or(0);
        EndpointId(number * MOST_DEPLOYMENTS as u32 + of)
    }

    /// Whose replica it is.
    #[must_use]
    pub fn deployment_of(endpoint: EndpointId) -> usize {
        endpoint.0 as usize % MOST_DEPLOYMENTS
    }

    /// What a request needs.
    ///
    /// # Errors
    /// [`Refused`] where nobody answers its path, or its body cannot be read.
    pub fn need<'a>(&self, about: &Arrival<'a>) -> Result<Need<'a>, Refused> {
        let path = about.asks.map_or("", |asks| asks.path);
        let Some((asks, api)) = about.asks.zip(Api::at(path)) else {
            let message = format!(
                "`{path}` is routed to no model: a catalogue routes chat completions, completions and embeddings."
            );
            return Err(refused(Reason::Unknown, message));
        };
        let body = asks.body.map_err(|why| refused(Reason::Unable, why.to_owned()))?;
        Ok(Need::of(api, body, Wishes::of(asks.tier, asks.max_cost)))
    }

    /// Who could ever serve it.
    ///
    /// # Errors
    /// [`Refused`] where nobody could.
    pub fn able(&self, need: &Need<'_>) -> Result<Able, Refused> {
        let able = allowed(&self.catalogue, need.model).into_iter().map(|choice| choice.deployment);
        let able = able.filter(|at| lack(&self.catalogue.deployments[*at], need).is_none());
        let able = able.fold(0, |bits, at| bits | 1_u64 << at);
        if able != 0 {
            return Ok(Able(able));
        }
        let refusal = match capability::route(&self.catalogue, need, &[]) {
            Err(refusal) => refusal,
            Ok(_) => capability::Refusal::NotReady,
        };
        let reason = match refusal {
            capability::Refusal::UnknownModel => Reason::Unknown,
            capability::Refusal::Unable(_) => Reason::Unable,
            capability::Refusal::Saturated => Reason::Shed,
            capability::Refusal::NotReady => Reason::NobodyReady,
        };
        Err(Refused { reason, answer: Box::new(answer(&refusal, need)) })
    }

    /// What clients can ask for while these are ready.
    #[must_use]
    pub fn models(&self, ready: &[EndpointId]) -> Vec<Model> {
        let is_up = |at: usize| ready.iter().any(|id| Self::deployment_of(*id) == at);
        let mut names: Vec<String> = Vec::new();
        let mut add = |name: String| {
            if !names.contains(&name) {
                names.push(name);
            }
        };
        for deployment in &self.catalogue.deployments {
            let (model, version) = (&deployment.model, &deployment.version);
            add(model.clone());
            add(format!("{model}{VERSION_MARK}{version}"));
            deployment.adapters.iter().cloned().for_each(&mut add);
        }
        self.catalogue.aliases.keys().cloned().for_each(&mut add);
        let context = |name: &String| {
            let choices = allowed(&self.catalogue, name).into_iter();
            let up = choices.filter(|choice| is_up(choice.deployment));
            up.map(|choice| self.catalogue.deployments[choice.deployment].context_tokens).max()
        };
        let model = |name: String| Some(Model { context_tokens: context(&name)?, name });
        names.into_iter().filter_map(model).collect()
    }
}

/// Who may get one request.
#[derive(Debug, Clone, Copy)]
pub struct Whom<'a> {
    capable: Option<&'a Capable>,
    able: Able,
    /// `None` where only places are counted.
    need: Option<Need<'a>>,
}

// === impl Whom ===

impl<'a> Whom<'a> {
    /// Those that are able to serve it; everybody, where there is no catalogue.
    #[must_use]
    pub fn new(capable: Option<&'a Capable>, able: Able, need: Option<Need<'a>>) -> Self {
        Self { capable, able, need }
    }

    /// Everybody.
    #[must_use]
    pub fn anyone() -> Self {
        Self { capable: None, able: Able::ANYONE, need: None }
    }

    /// Whether this endpoint could ever serve it.
    #[must_use]
    pub fn may(&self, endpoint: EndpointId) -> bool {
        self.capable.is_none() || self.able.has(Capable::deployment_of(endpoint))
    }

    /// Whether it matters which of those that may.
    #[must_use]
    pub fn prefers(&self) -> bool {
        self.capable.is_some() && self.need.is_some()
    }

    /// Of these, those that get it now, and on which terms: replicas of one deployment. `None`: all are full, or nobody is there.
    #[must_use]
    pub fn among(&self, servers: &[Server]) -> Option<(Vec<EndpointId>, Terms)> {
        let (capable, need) = (self.capable?, self.need.as_ref()?);
        let route = capability::route(&capable.catalogue, need, servers).ok()?;
        let there = match route.choice.adapter {
            Some(adapter) => Arc::from(adapter),
            None => capable.served_as.get(route.choice.deployment)?.clone(),
        };
        let field = route.downgraded.map(|(wanted, got)| {
            (DOWNGRADE_HEADER, format!("{} -> {}", wanted.as_str(), got.as_str()))
        });
        let model = (*there != *need.model).then_some(there);
        Some((route.endpoints, Terms { model, field }))
    }

    /// What the client is told who is refused for this reason; `None` where what it asks for has nothing to do with it.
    #[must_use]
    pub fn answer(&self, reason: Reason) -> Option<Answer> {
        let refusal = match reason {
            Reason::Shed | Reason::QueueTimeout => capability::Refusal::Saturated,
            Reason::NobodyReady => capability::Refusal::NotReady,
            _ => return None,
        };
        self.capable?;
        Some(answer(&refusal, self.need.as_ref()?))
    }
}

/// A refusal that task 2.3 does not know: it is about no model.
fn refused(reason: Reason, message: String) -> Refused {
    let kind = "invalid_request_error".into();
    let problem = Problem { message, kind, param: None, code: None };
    let answer = Answer { status: reason.status(), retry_after: None, problem };
    Refused { reason, answer: Box::new(answer) }
}
