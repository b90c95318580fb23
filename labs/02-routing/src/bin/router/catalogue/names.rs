//! The names and places of a catalogue: each means one thing.

use std::collections::BTreeSet;

use anyhow::{Context, Result, bail};
use lab02_routing::catalogue::VERSION_MARK;

use super::Place;
use super::file::Entry;
use crate::args::address;

/// Aliases, names of an alias, adapters or endpoints of a deployment.
pub(super) const MOST_NAMES: usize = 256;
/// Bytes of a name.
const LONGEST_NAME: usize = 256;

/// What was said so far.
#[derive(Default)]
pub(super) struct Names {
    models: BTreeSet<String>,
    versions: BTreeSet<String>,
    adapters: BTreeSet<String>,
    places: BTreeSet<String>,
}

// === impl Names ===

impl Names {
    pub(super) fn model(&mut self, model: &str, version: &str) -> Result<()> {
        name("model", model)?;
        name("version", version)?;
        if model.contains(VERSION_MARK) || version.contains(VERSION_MARK) {
            bail!(
                "`{VERSION_MARK}` stands between a model and its version, and in neither; leave it out"
            );
        }
        let both = format!("{model}{VERSION_MARK}{version}");
        if !self.versions.insert(both.clone()) {
            bail!("{both} is deployed already; write more `endpoints` there, or another `version`");
        }
        self.models.insert(model.to_owned());
        Ok(())
    }

    pub(super) fn adapters(&mut self, adapters: &[String]) -> Result<()> {
        if adapters.len() > MOST_NAMES {
            bail!("`adapters` has {} entries; {MOST_NAMES} is the most", adapters.len());
        }
        for adapter in adapters {
            name("adapters", adapter)?;
            self.adapters.insert(adapter.clone());
        }
        Ok(())
    }

    /// Where a deployment's replicas are: nowhere where another one's are.
    pub(super) fn place(&mut self, entry: &Entry) -> Result<Place> {
        let place = match (&entry.service, &entry.endpoints[..]) {
            (None, []) | (Some(_), [_, ..]) => {
                bail!(
                    "either `endpoints` or `service` says where its replicas are; write one of them"
                )
            }
            (Some(service), []) => {
                let is_one = service.split_once('/').is_some_and(|(space, name)| {
                    !space.is_empty() && !name.is_empty() && !name.contains('/')
                });
                if !is_one {
                    bail!("`service` is {service:?}; write NAMESPACE/NAME");
                }
                Place::Service(service.clone())
            }
            (None, urls) if urls.len() > MOST_NAMES => {
                bail!("`endpoints` has {} entries; {MOST_NAMES} is the most", urls.len())
            }
            (None, urls) => {
                let found: Result<_> = urls.iter().map(|url| address(url)).collect();
                Place::Fixed(found.context("`endpoints`")?)
            }
        };
        let all = match &place {
            Place::Fixed(addresses) => addresses.iter().map(ToString::to_string).collect(),
            Place::Service(service) => vec![service.clone()],
        };
        for one in all {
            if !self.places.insert(one.clone()) {
                bail!(
                    "{one} is a replica of another deployment, or twice of this one; an endpoint serves one deployment"
                );
            }
        }
        Ok(place)
    }

    /// Whether one name means one thing.
    pub(super) fn are_apart(&self) -> Result<()> {
        if let Some(both) = self.adapters.intersection(&self.models).next() {
            bail!("{both:?} is a model and an adapter; give the adapter another name");
        }
        Ok(())
    }

    pub(super) fn alias(&self, alias: &str, names: &[String]) -> Result<()> {
        name("aliases", alias)?;
        if !(1..=MOST_NAMES).contains(&names.len()) {
            bail!("it stands for {} names; write 1 to {MOST_NAMES}", names.len());
        }
        let known = |name: &String| {
            [&self.models, &self.versions, &self.adapters].iter().any(|set| set.contains(name))
        };
        if let Some(unknown) = names.iter().find(|name| !known(name)) {
            bail!(
                "{unknown:?} is no model, no model@version and no adapter of this file; an alias stands for these only"
            );
        }
        Ok(())
    }
}

pub(super) fn name(field: &str, name: &str) -> Result<()> {
    let plain = !name.chars().any(|letter| letter.is_control() || letter.is_whitespace());
    if name.is_empty() || name.len() > LONGEST_NAME || !plain {
        bail!("`{field}` is {name:?}; write a name of 1 to {LONGEST_NAME} bytes without blanks");
    }
    Ok(())
}
