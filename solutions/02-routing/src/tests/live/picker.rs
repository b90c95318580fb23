//! The learner's router as an endpoint picker in a pod, asked by a program that speaks as Envoy does.

use std::collections::BTreeMap;
use std::process::Command;

use testbed::{Manifests, expect, unknown};

use super::place::{LIMIT, Place, within};

/// Where the picker listens.
const PORT: u16 = 9002;
/// Pickers, by their label.
const PICKERS: &str = "app.kubernetes.io/name=picker";
/// Where the program that asks is, said by whoever runs the check.
const ASK: &str = "LAB_PROGRAM_ASK_PICKER";

/// A running picker.
#[derive(Clone, Copy)]
pub(super) struct Picker<'a> {
    place: &'a Place,
}

/// What became of some requests.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Asked {
    /// How often each endpoint came first, by `ip:port`.
    pub(super) first: BTreeMap<String, usize>,
    /// How often each was named, first or to fall back on.
    pub(super) named: BTreeMap<String, usize>,
    /// Statuses that the proxy is to answer itself.
    pub(super) refused: BTreeMap<u16, usize>,
}

// === impl Place ===

impl Place {
    /// Starts the learner's picker over the engines' Service, as `deploy/gateway` starts one, and waits until it answers.
    pub(super) fn start_picker(&self) -> Picker<'_> {
        self.apply_identity();
        let deployment = "Deployment/picker-stable";
        let manifests = Manifests::deploy("gateway/pickers.yaml")
            .only(deployment)
            .args(
                deployment,
                [
                    "--picker=$(POD_IP):9002",
                    "--metrics-listen=$(POD_IP):9090",
                    "--service=$(POD_NAMESPACE)/engine",
                    "--policy=round-robin",
                    "--watch-every=200ms",
                ],
            )
            .set(deployment, "/spec/template/spec/terminationGracePeriodSeconds", 5);
        self.cluster.apply(&manifests);
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
    pub(super) fn ask(self, count: usize) -> Asked {
        match self.try_ask(count) {
            Ok(asked) => asked,
            Err(why) => self.give_up(&format!("the picker does not answer any more: {why}")),
        }
    }

    /// Ends the check: as a failure if the picker panicked, else without a verdict.
    pub(super) fn give_up(self, why: &str) -> ! {
        self.place.cluster.give_up(PICKERS, why)
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
