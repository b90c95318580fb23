//! Requests for several models share one router. Nobody gets more than it may have, nor what it cannot serve; nobody waits for ever.

use std::collections::BTreeMap;
use std::time::Duration;

use proptest::prelude::*;
use protocol::features::Features;
use routing::{
    Action, Arrival, Asks, Attempt, Dispatch, EndpointId, Event, Orders, RequestKey, RoundRobin,
};
use sol02_routing::{
    Capable, Catalogue, Deployment, Dispatcher, Feature, FeatureSet, Price, Rules, Tier,
};

/// Names, and whose replicas may get requests for them.
const NAMES: [(&str, &[usize]); 4] = [("a", &[0]), ("b", &[1]), ("c", &[2]), ("any", &[0, 1])];
/// Replicas of each deployment, and requests that each may have.
const REPLICAS: u32 = 2;
const LIMIT: u32 = 2;

fn capable() -> Capable {
    let deployment = |model: &str| Deployment {
        model: model.to_owned(),
        version: "1".to_owned(),
        features: FeatureSet::of(&[Feature::Chat]),
        context_tokens: 100,
        tier: Tier::Standard,
        price: Price::default(),
        adapters: Vec::new(),
    };
    let deployments = ["a", "b", "c"].map(deployment).to_vec();
    let aliases = BTreeMap::from([("any".to_owned(), vec!["a".to_owned(), "b".to_owned()])]);
    let served_as = ["a", "b", "c"].map(str::to_owned).to_vec();
    Capable::new(Catalogue { deployments, aliases }, served_as).expect("a name for each")
}

#[derive(Debug, Clone, Copy)]
enum Act {
    /// A request for one of the names comes.
    Ask(usize),
    /// One under way ends.
    End(prop::sample::Index),
    /// A replica is away for a moment.
    Flap(u32),
}

fn act() -> impl Strategy<Value = Act> {
    prop_oneof![
        6 => (0..NAMES.len()).prop_map(Act::Ask),
        4 => any::<prop::sample::Index>().prop_map(Act::End),
        1 => (0..3 * REPLICAS).prop_map(Act::Flap),
    ]
}

struct Rig {
    dispatcher: Dispatcher<RoundRobin>,
    /// What each request asks for, by its key.
    asked: Vec<usize>,
    open: Vec<(u32, EndpointId, Attempt)>,
    refused: usize,
    ended: usize,
}

impl Rig {
    fn ready(&mut self, without: Option<u32>) {
        let all = (0..3).flat_map(|at| (0..REPLICAS).map(move |number| Capable::id(at, number)));
        let ready: Vec<_> =
            (0..).zip(all).filter(|(at, _)| Some(*at) != without).map(|(_, id)| id).collect();
        let mut orders = Orders::default();
        self.dispatcher.set_ready(&ready, Duration::ZERO, &mut orders);
        self.turn(&mut orders);
    }

    fn tell(&mut self, key: u32, event: Event) {
        let name = NAMES[self.asked[key as usize]].0;
        let body = Features { model: Some(name.into()), ..Features::default() };
        let asks =
            Asks { path: "/v1/chat/completions", body: Ok(&body), tier: None, max_cost: None };
        let about = Arrival { asks: Some(asks), ..Arrival::new(u64::from(key)) };
        let mut orders = Orders::default();
        self.dispatcher.on(RequestKey(key), &about, event, Duration::ZERO, &mut orders);
        for action in std::mem::take(&mut orders.actions) {
            match action {
                Action::Start { attempt, endpoint } => self.open.push((key, endpoint, attempt)),
                Action::Refuse(_) => self.refused += 1,
                _ => {}
            }
        }
        self.turn(&mut orders);
    }

    fn turn(&mut self, orders: &mut Orders) {
        for key in std::mem::take(&mut orders.turns) {
            self.tell(key.0, Event::Turn);
        }
    }

    fn end(&mut self, at: usize) {
        let (key, _, attempt) = self.open.remove(at);
        self.tell(key, Event::Head { attempt, status: 200, retry_after: None });
        self.tell(key, Event::FirstByte { attempt });
        self.tell(key, Event::Finished { attempt });
        self.ended += 1;
    }
}

proptest! {
    #[test]
    fn places_are_for_those_who_can_use_them(acts in prop::collection::vec(act(), 0..300)) {
        let rules = Rules { max_in_flight: LIMIT, max_queue: 5, ..Rules::default() };
        let dispatcher = Dispatcher::new(RoundRobin::default(), rules).with_catalogue(capable());
        let (asked, open) = (Vec::new(), Vec::new());
        let mut rig = Rig { dispatcher, asked, open, refused: 0, ended: 0 };
        rig.ready(None);
        for act in acts {
            match act {
                Act::Ask(name) => {
                    rig.asked.push(name);
                    rig.tell(rig.asked.len() as u32 - 1, Event::Arrived);
                }
                Act::End(at) if !rig.open.is_empty() => rig.end(at.index(rig.open.len())),
                Act::End(_) => {}
                Act::Flap(which) => {
                    rig.ready(Some(which));
                    rig.ready(None);
                }
            }
            let mut taken = BTreeMap::new();
            for (key, endpoint, _) in &rig.open {
                let able = NAMES[rig.asked[*key as usize]].1;
                prop_assert!(able.contains(&Capable::deployment_of(*endpoint)), "{endpoint}");
                *taken.entry(*endpoint).or_insert(0) += 1;
            }
            prop_assert!(taken.values().all(|count| *count <= LIMIT), "{taken:?}");
            let free = |able: &[usize]| able.iter().any(|at| {
                (0..REPLICAS).any(|number| !taken.contains_key(&Capable::id(*at, number)))
            });
            let idle = NAMES.iter().all(|(_, able)| free(able));
            let queued = rig.dispatcher.counts(Duration::ZERO).queued;
            prop_assert!(!idle || queued == 0, "{queued} wait, and every model has a replica at rest");
        }
        while !rig.open.is_empty() {
            rig.end(0);
        }
        let counts = rig.dispatcher.counts(Duration::ZERO);
        prop_assert_eq!((counts.queued, counts.in_flight), (0, 0), "nobody waits for ever");
        prop_assert_eq!(rig.ended + rig.refused, rig.asked.len());
    }
}
