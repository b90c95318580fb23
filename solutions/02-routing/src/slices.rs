//! Task 2.6, Kubernetes-native, its first part: which replicas there are, folded from slices.
//!
//! Kubernetes tells it in pieces that overlap, arrive in any order, and begin again from time to time. What comes out is one list
//! of replicas, each with an id for as long as its pod lives. Knows no watch: events come in, replicas come out.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};

use discovery::{Conditions, Event, Family, Slice, SliceEndpoint};
use routing::EndpointId;

/// Pods that are gone and whose ids are still known, in case they were between two slices.
pub const REMEMBERED: usize = 1024;

/// What a replica is up to. The order says which of two contradicting slices to believe: the later one here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum State {
    /// It starts, or its probe fails: it gets nothing, for now.
    NotReady,
    /// It gets requests.
    Ready,
    /// It ends, and finishes what it has: it gets nothing any more.
    Draining,
    /// It ends, and does not answer.
    Gone,
}

/// What makes a replica this one and no other.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Key {
    /// A port of a pod, whatever its address.
    Pod {
        /// The pod's UID.
        uid: String,
        /// The port.
        port: u16,
    },
    /// An address behind which no pod is known: a Service without a selector.
    Address(SocketAddr),
}

/// A replica as slices show it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seen {
    /// Where it listens.
    pub address: SocketAddr,
    /// What it is up to.
    pub state: State,
    /// The zone of its node.
    pub zone: Option<String>,
    /// Zones whose clients should use it.
    pub for_zones: Vec<String>,
}

/// A replica of the list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Replica {
    /// Whose statistics are whose. Never used twice.
    pub id: EndpointId,
    /// What it is.
    pub key: Key,
    /// How it is.
    pub seen: Seen,
}

/// Which of a slice's ports, and which addresses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wanted {
    /// The port's name. `None`: every port, each of which is a replica of its own.
    pub port: Option<String>,
    /// The family that is taken where a pod has addresses of both.
    pub family: Family,
}

/// What Kubernetes' three conditions mean for a router.
#[must_use]
pub fn state(conditions: Conditions) -> State {
    // `ready` counts as true where nobody said; `serving` counts as `ready` does; `terminating` as false. A replica that
    // terminates gets nothing new, even where it calls itself ready (a Service may publish what is not ready): it drains
    // while it serves, and is gone when it does not. Any other is ready or not ready.
    // ANCHOR: task_2_6_state
    let ready = conditions.ready.unwrap_or(true);
    let serving = conditions.serving.unwrap_or(ready);
    match (conditions.terminating.unwrap_or(false), serving, ready) {
        (true, true, _) => State::Draining,
        (true, false, _) => State::Gone,
        (false, _, true) => State::Ready,
        (false, _, false) => State::NotReady,
    }
    // ANCHOR_END: task_2_6_state
}

/// What one slice says: a replica for each wanted port of each endpoint whose address can be used.
#[must_use]
pub fn shown(slice: &Slice, wanted: &Wanted) -> Vec<(Key, Seen)> {
    let is_wanted = |name: &str| wanted.port.as_ref().is_none_or(|port| port == name);
    let ports = slice.ports.iter().filter(|port| is_wanted(&port.name));
    let ports: Vec<u16> = ports.filter_map(|port| port.number).collect();
    let pairs = slice.endpoints.iter().filter_map(|endpoint| Some((address(endpoint)?, endpoint)));
    let of = |(ip, endpoint): (IpAddr, &SliceEndpoint)| {
        let seen = |port: u16| Seen {
            address: SocketAddr::new(ip, port),
            state: state(endpoint.conditions),
            zone: endpoint.zone.clone(),
            for_zones: endpoint.for_zones.clone(),
        };
        let key = |port: u16| match &endpoint.pod {
            Some(uid) => Key::Pod { uid: uid.clone(), port },
            None => Key::Address(SocketAddr::new(ip, port)),
        };
        ports.iter().map(|port| (key(*port), seen(*port))).collect::<Vec<_>>()
    };
    pairs.flat_map(of).collect()
}

/// All addresses of an endpoint are the same to a client. Names are not looked up.
fn address(endpoint: &SliceEndpoint) -> Option<IpAddr> {
    endpoint.addresses.first()?.parse().ok()
}

/// One list from all slices, whatever their order.
#[must_use]
pub fn fold<'a>(
    slices: impl IntoIterator<Item = &'a Slice>,
    wanted: &Wanted,
) -> BTreeMap<Key, Seen> {
    // Put what each slice shows (`shown`) into one map. A replica can be in several slices: while it moves from one to another, and
    // because a pod with two addresses is in a slice of each family. It is one replica all the same.
    // - Of two states believe the later one in the order of `State`: a pod that ends never comes back, and a chance that is
    //   tried in vain costs less than a replica that nobody uses.
    // - Of two addresses take the one of `wanted.family` (`family_of`); if that does not tell, the smaller one.
    // - Of two zones, and of two lists of zones, take the larger one: any rule will do that does not depend on the order.
    // What is `Gone` stays in the map, so that an older slice cannot bring it back.
    // ANCHOR: task_2_6_fold
    let mut all = BTreeMap::<Key, Seen>::new();
    for (key, seen) in slices.into_iter().flat_map(|slice| shown(slice, wanted)) {
        let Some(known) = all.get_mut(&key) else {
            all.insert(key, seen);
            continue;
        };
        let rank = |address: &SocketAddr| (family_of(*address) != wanted.family, *address);
        known.address = std::cmp::min_by_key(known.address, seen.address, rank);
        known.state = known.state.max(seen.state);
        known.zone = known.zone.take().max(seen.zone);
        known.for_zones = std::mem::take(&mut known.for_zones).max(seen.for_zones);
    }
    all
    // ANCHOR_END: task_2_6_fold
}

/// What an address is.
#[must_use]
pub fn family_of(address: SocketAddr) -> Family {
    if address.is_ipv4() { Family::Ipv4 } else { Family::Ipv6 }
}

/// The replicas of one Service or pool, kept up to date.
#[derive(Debug, Clone)]
pub struct EndpointTable {
    wanted: Wanted,
    /// The slices that count, by name.
    slices: BTreeMap<String, Slice>,
    /// What a list that has not ended yet has told.
    listing: Option<BTreeMap<String, Slice>>,
    /// Whether a list has ever ended.
    synced: bool,
    /// Ids of what is there, and of what was there a while ago, with the turn at which it was last seen.
    ids: BTreeMap<Key, (EndpointId, u64)>,
    turn: u64,
    next: u32,
    replicas: Vec<Replica>,
}

// === impl EndpointTable ===

impl EndpointTable {
    /// An empty table, of which it is not known yet that it is empty.
    #[must_use]
    pub fn new(wanted: Wanted) -> Self {
        Self {
            wanted,
            slices: BTreeMap::new(),
            listing: None,
            synced: false,
            ids: BTreeMap::new(),
            turn: 0,
            next: 0,
            replicas: Vec::new(),
        }
    }

    /// Takes note of an event.
    pub fn apply(&mut self, event: Event) {
        // Bring `slices`, `listing` and `synced` up to date; what follows works the replicas out.
        // A list is the truth only when it is complete. Until it ends, what was known before counts; then `slices` becomes what was
        // listed, all at once, also when that is nothing. A list that begins while another has not ended replaces it. Changes come
        // after a list, and concern the slice of that name. `Lost` says nothing about the replicas.
        // ANCHOR: task_2_6_apply
        match event {
            Event::ListBegins => self.listing = Some(BTreeMap::new()),
            Event::Listed(slice) => {
                self.listing.get_or_insert_default().insert(slice.name.clone(), slice);
            }
            Event::ListEnds => {
                self.slices = self.listing.take().unwrap_or_default();
                self.synced = true;
            }
            Event::Applied(slice) => {
                self.slices.insert(slice.name.clone(), slice);
            }
            Event::Deleted(name) => {
                self.slices.remove(&name);
            }
            Event::Lost => {}
        }
        // ANCHOR_END: task_2_6_apply
        self.identify();
    }

    /// Whether the whole truth was known once. Until then, no replica means nothing.
    #[must_use]
    pub fn is_synced(&self) -> bool {
        self.synced
    }

    /// Everyone who is there, by key.
    #[must_use]
    pub fn replicas(&self) -> &[Replica] {
        &self.replicas
    }

    /// Those who may get a request.
    pub fn ready(&self) -> impl Iterator<Item = &Replica> {
        self.replicas.iter().filter(|replica| replica.seen.state == State::Ready)
    }

    /// Gives every replica its id: the one that it had, if it was seen before.
    fn identify(&mut self) {
        self.turn += 1;
        let mut replicas = Vec::new();
        for (key, seen) in fold(self.slices.values(), &self.wanted) {
            let next = &mut self.next;
            let entry = self.ids.entry(key.clone()).or_insert_with(|| {
                *next += 1;
                (EndpointId(*next - 1), 0)
            });
            entry.1 = self.turn;
            if seen.state != State::Gone {
                replicas.push(Replica { id: entry.0, key, seen });
            }
        }
        self.replicas = replicas;
        let gone = |seen_at: u64| seen_at != self.turn;
        while self.ids.values().filter(|(_, at)| gone(*at)).count() > REMEMBERED {
            let oldest = self.ids.iter().filter(|(_, (_, at))| gone(*at)).min_by_key(|(_, v)| v.1);
            let Some(oldest) = oldest.map(|(key, _)| key.clone()) else { break };
            self.ids.remove(&oldest);
        }
    }
}

/// Those of the candidates that a client in this zone should use.
#[must_use]
pub fn in_zone<'a>(candidates: Vec<&'a Replica>, zone: Option<&str>) -> Vec<&'a Replica> {
    // Kubernetes hints at zones only where every zone gets its fair part of the replicas, and may be late. So follow the hints
    // (`for_zones`) only if the client's zone is known, every candidate has some, and at least one names the zone: then keep those
    // that name it. In every other case keep all. kube-proxy does the same.
    // ANCHOR: task_2_6_zone
    let Some(zone) = zone else { return candidates };
    let names_it = |replica: &&Replica| replica.seen.for_zones.iter().any(|each| each == zone);
    let all_have = candidates.iter().all(|replica| !replica.seen.for_zones.is_empty());
    if !all_have || !candidates.iter().any(names_it) {
        return candidates;
    }
    candidates.into_iter().filter(names_it).collect()
    // ANCHOR_END: task_2_6_zone
}
