//! The learner's router as an endpoint picker in a pod, asked by a program that speaks as Envoy does.

use std::collections::BTreeMap;
use std::process::Command;

use serde_json::json;
use testbed::{Manifests, expect, expect_eq, note, unknown};

use super::place::{LIMIT, Place, within};
use super::{ENGINES, is_well};

/// Where the picker listens.
const PORT: u16 = 9002;
/// Pickers, by their label.
pub(super) const PICKERS: &str = "app.kubernetes.io/name=picker";
/// Where the program that asks is, said by whoever runs the check.
const ASK: &str = "LAB_PROGRAM_ASK_PICKER";

/// Requests that each engine is to be named for.
const EACH: usize = 8;

/// A running picker.
#[derive(Clone, Copy)]
struct Picker<'a> {
    place: &'a Place,
}

/// What became of some requests.
#[derive(Debug, Default, PartialEq, Eq)]
struct Asked {
    /// How often each endpoint came first, by `ip:port`.
    first: BTreeMap<String, usize>,
    /// How often each was named, first or to fall back on.
    named: BTreeMap<String, usize>,
    /// Statuses that the proxy is to answer itself.
    refused: BTreeMap<u16, usize>,
}

// === impl Place ===

impl Place {
    /// Starts the learner's picker over a pool of all engines, as `deploy/gateway` starts one, and waits until it knows the pool.
    fn start_picker(&self) -> Picker<'_> {
        self.apply_identity();
        self.apply_pool("engine-stable", &json!({ "app": "engine" }));
        let deployment = "Deployment/picker-stable";
        let manifests = Manifests::deploy("gateway/pickers.yaml")
            .only(deployment)
            .args(
                deployment,
                [
                    "--picker=$(POD_IP):9002",
                    "--metrics-listen=$(POD_IP):9090",
                    "--inference-pool=$(POD_NAMESPACE)/engine-stable",
                    "--policy=round-robin",
                    "--watch-every=200ms",
                ],
            )
            .set(deployment, "/spec/template/spec/terminationGracePeriodSeconds", 5)
            .set(deployment, "/spec/template/spec/containers/0/readinessProbe/periodSeconds", 1);
        self.cluster.apply(&manifests);
        // Who has not heard of the pool refuses everything, too; but its own probe says that it is not ready.
        self.cluster.ready(deployment);
        let picker = Picker { place: self };
        if !within(LIMIT, || picker.try_ask(1).is_ok()) {
            let why = picker.try_ask(1).err().unwrap_or_default();
            self.cluster.give_up(PICKERS, format!("the picker does not answer: {why}"));
        }
        picker
    }
}

// === impl Picker ===

impl Picker<'_> {
    /// Asks where so many requests should go, one after the other.
    fn ask(self, count: usize) -> Asked {
        match self.try_ask(count) {
            Ok(asked) => asked,
            Err(why) => self.give_up(&format!("the picker does not answer any more: {why}")),
        }
    }

    /// Ends the check: as a failure if the picker panicked, else without a verdict.
    fn give_up(self, why: &str) -> ! {
        self.place.cluster.give_up(PICKERS, why)
    }

    /// Whether it names this engine first.
    fn knows(self, engine: &str) -> bool {
        self.ask(2 * EACH).first.contains_key(engine)
    }

    /// Nobody is named, and all is refused with 503.
    fn expect_refusals(self, while_so: &str) {
        let asked = self.ask(EACH);
        let refused = BTreeMap::from([(503, EACH)]);
        expect_eq(format!("{while_so}: statuses, and how many"), refused, asked.refused);
        let named: Vec<_> = asked.named.keys().collect();
        let saw = format!("{named:?}");
        expect(format!("{while_so}: endpoints"), named.is_empty(), "none", saw);
    }

    /// Asks, or says why nobody answered.
    fn try_ask(self, count: usize) -> Result<Asked, String> {
        let pod = self.place.running(PICKERS).ok_or("its pod did not start in time")?;
        let url = self.place.cluster.pod_url(&pod.name, PORT);
        let Some(program) = std::env::var_os(ASK) else {
            unknown(format!("{ASK} is not set: live checks are run by `cargo xtask lab 2`"))
        };
        let asked = Command::new(program)
            .args([url.trim_start_matches("http://"), &count.to_string()])
            .output()
            .map_err(|error| error.to_string())?;
        if !asked.status.success() {
            return Err(String::from_utf8_lossy(&asked.stderr).trim().to_owned());
        }
        let mut all = Asked::default();
        String::from_utf8_lossy(&asked.stdout).lines().for_each(|line| all.take(line));
        Ok(all)
    }
}

// === impl Asked ===

impl Asked {
    /// Endpoints that are none of these.
    fn strangers(&self, known: &BTreeMap<String, String>) -> Vec<String> {
        let is_known = |engine: &&String| known.values().any(|one| one == *engine);
        self.named.keys().filter(|engine| !is_known(engine)).cloned().collect()
    }

    fn take(&mut self, line: &str) {
        let (what, rest) = line.split_once(' ').unwrap_or((line, ""));
        match (what, rest.parse()) {
            ("picked", _) => {
                let endpoints: Vec<&str> = rest.split(' ').collect();
                for (at, endpoint) in endpoints.into_iter().enumerate() {
                    *self.named.entry(endpoint.to_owned()).or_default() += 1;
                    if at == 0 {
                        *self.first.entry(endpoint.to_owned()).or_default() += 1;
                    }
                }
            }
            ("refused", Ok(status)) => *self.refused.entry(status).or_default() += 1,
            _ => expect("the picker's answer", false, "an endpoint, or a refusal", line),
        }
    }
}

/// Kills one of the engines, and waits for the one that takes its place; who is ready then.
fn kill_one_of(place: &Place, ready: &BTreeMap<String, String>) -> BTreeMap<String, String> {
    let Some(name) = ready.keys().next() else { unknown("no engine is ready") };
    let _killed = place.kill_engine(name);
    let mut after = BTreeMap::new();
    let replaced = within(LIMIT, || {
        after = place.ready_engines();
        after.len() == ready.len() && !after.contains_key(name)
    });
    if !replaced {
        unknown("nobody took the killed engine's place");
    }
    after
}

/// Takes all ready engines away, and waits until the picker has heard of it. One that names engines all the same fails if it also
/// names one that comes later: of that it was told after their end.
fn end_all(place: &Place, picker: Picker<'_>) {
    place.scale_engines(0);
    if !within(LIMIT, || place.ready_engines().is_empty()) {
        unknown("all engines were to go, and some are still ready");
    }
    if within(LIMIT, || picker.ask(1).named.is_empty()) {
        return;
    }
    let named = picker.ask(EACH).named;
    place.scale_engines(1);
    place.engines_ready();
    let later = place.ready_engines();
    let is_new = later.values().all(|engine| !named.contains_key(engine));
    if is_new && within(LIMIT, || later.values().any(|engine| picker.knows(engine))) {
        let saw = format!("{:?}", named.keys());
        expect("after the last engine that was ready: endpoints", false, "none", saw);
    }
    picker.give_up("the picker does not hear that no engine is ready any more");
}

#[test]
#[ignore = "live: run by cargo xtask lab 2"]
fn task_2_6_a_picker_names_ready_engines_in_turn_and_no_other() {
    let place = Place::empty();
    // First: a picker that knows the pool then knows of this one, too.
    place.start_unready_engine();
    let unready = &place.all_engines(1)[0];
    if !within(LIMIT, || is_well(&place, unready)) {
        unknown("the engine that is never ready does not answer");
    }
    let picker = place.start_picker();
    picker.expect_refusals("while no engine is ready");

    place.start_engines(ENGINES);
    place.engines_ready();
    let ready = place.ready_engines();
    if ready.len() != ENGINES as usize {
        unknown(format!("{} engines are ready, not {ENGINES}", ready.len()));
    }
    if !within(LIMIT, || ready.values().all(|engine| picker.knows(engine))) {
        picker.give_up("the picker does not name every engine that is ready");
    }
    let asked = picker.ask(EACH * ready.len());
    note(format!("in turn: {:?}", asked.first.values()));
    let in_turn = asked.first.len() == ready.len() && asked.first.values().all(|n| *n == EACH);
    let saw = format!("{:?}", asked.first);
    if place.ready_engines() != ready {
        unknown("engines were called ready, and are not any more");
    }
    expect("how often an engine was named first", in_turn, format!("{EACH} times each"), saw);
    let strangers = asked.strangers(&ready);
    expect_eq("endpoints that are not ready", Vec::<String>::new(), strangers);

    let after = kill_one_of(&place, &ready);
    let next = after.iter().find(|(name, _)| !ready.contains_key(*name)).map(|(_, next)| next);
    let next = next.unwrap_or_else(|| unknown("nobody took the killed engine's place"));
    // What is told of the one that came later was told after the end of the one that went.
    if ready.values().any(|known| known == next) {
        unknown("the next engine has the address of the killed one");
    }
    if !within(LIMIT, || picker.knows(next)) {
        picker.give_up("the picker does not name the engine that took the killed one's place");
    }
    let strangers = picker.ask(EACH * ready.len()).strangers(&after);
    expect_eq("endpoints named after their end", Vec::<String>::new(), strangers);

    end_all(&place, picker);
    picker.expect_refusals("after the last engine that was ready");
}
