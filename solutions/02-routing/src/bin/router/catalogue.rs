//! The catalogue as a file: what operators write, and what is wrong with it.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::path::Path;

use anyhow::{Context, Result, bail};
use proxy::Member;
use serde::Deserialize;
use serde_saphyr::Spanned;
use sol02_routing::capable::{Capable, MOST_DEPLOYMENTS};
use sol02_routing::catalogue::{
    Catalogue, Deployment, Feature, FeatureSet, Price, Tier, VERSION_MARK,
};

use crate::args::address;

/// Bytes of a file.
const MOST_BYTES: u64 = 1 << 20;
/// Aliases, names of an alias, adapters or endpoints of a deployment.
const MOST_NAMES: usize = 256;
/// Bytes of a name.
const LONGEST_NAME: usize = 256;

/// What is deployed, and where.
#[derive(Debug)]
pub(crate) struct Deployed {
    pub(crate) catalogue: Catalogue,
    /// Of each deployment: what its replicas call the model, and where they are.
    pub(crate) served_as: Vec<String>,
    pub(crate) places: Vec<Place>,
}

/// Where the replicas of a deployment are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Place {
    /// There.
    Fixed(Vec<SocketAddr>),
    /// Where the EndpointSlices of this Service say: `NAMESPACE/NAME`.
    Service(String),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    deployments: Vec<Spanned<Entry>>,
    #[serde(default)]
    aliases: BTreeMap<String, Spanned<Vec<String>>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    model: String,
    version: String,
    /// What its replicas call the model; `model` where it is not said.
    served_as: Option<String>,
    #[serde(default)]
    endpoints: Vec<String>,
    service: Option<String>,
    features: Vec<Word>,
    context_tokens: u64,
    #[serde(default)]
    tier: TierWord,
    #[serde(default)]
    price: PriceEntry,
    #[serde(default)]
    adapters: Vec<String>,
}

#[derive(Deserialize, Clone, Copy)]
#[serde(rename_all = "snake_case")]
enum Word {
    Chat,
    Completions,
    Embeddings,
    Images,
    Audio,
    Video,
    Tools,
    StructuredOutputs,
}

#[derive(Deserialize, Clone, Copy, Default)]
#[serde(rename_all = "snake_case")]
enum TierWord {
    Economy,
    #[default]
    Standard,
    Premium,
}

#[derive(Deserialize, Clone, Copy, Default)]
#[serde(deny_unknown_fields)]
struct PriceEntry {
    input: u64,
    output: u64,
}

// === impl Deployed ===

impl Deployed {
    /// Reads a file.
    pub(crate) fn read(path: &Path) -> Result<Self> {
        let shown = path.display();
        let size = std::fs::metadata(path).with_context(|| {
            format!("no catalogue at {shown}: give --catalogue a file, or leave it out")
        })?;
        if size.len() > MOST_BYTES {
            bail!("{shown} has {} bytes, and a catalogue has {MOST_BYTES} at most", size.len());
        }
        let text = std::fs::read_to_string(path).with_context(|| format!("{shown}"))?;
        Self::parse(&text).with_context(|| format!("{shown} is no catalogue"))
    }

    fn parse(text: &str) -> Result<Self> {
        let file: File = serde_saphyr::from_str(text)?;
        let count = file.deployments.len();
        if !(1..=MOST_DEPLOYMENTS).contains(&count) {
            bail!("`deployments` has {count} entries; write 1 to {MOST_DEPLOYMENTS}");
        }
        let mut deployed =
            Self { catalogue: Catalogue::default(), served_as: Vec::new(), places: Vec::new() };
        let mut known = Names::default();
        for (at, entry) in file.deployments.into_iter().enumerate() {
            let line = entry.defined.line();
            deployed
                .add(entry.value, &mut known)
                .with_context(|| format!("line {line}: deployments[{at}]"))?;
        }
        known.are_apart()?;
        if file.aliases.len() > MOST_NAMES {
            bail!("`aliases` has {} entries; {MOST_NAMES} is the most", file.aliases.len());
        }
        for (alias, names) in file.aliases {
            let line = names.defined.line();
            known
                .alias(&alias, &names.value)
                .with_context(|| format!("line {line}: aliases.{alias}"))?;
            deployed.catalogue.aliases.insert(alias, names.value);
        }
        Ok(deployed)
    }

    /// The replicas that no cluster is asked for.
    pub(crate) fn fixed(&self) -> Vec<Member> {
        let places = self.places.iter().enumerate();
        let of = places.filter_map(|(at, place)| match place {
            Place::Fixed(addresses) => Some((at, addresses)),
            Place::Service(_) => None,
        });
        let members = of.flat_map(|(at, addresses)| {
            let named = Member::fixed(addresses).into_iter();
            named.map(move |member| Member { id: Capable::id(at, member.id.0), ..member })
        });
        members.collect()
    }

    /// The Services that are asked for the others, each with its deployment.
    pub(crate) fn services(&self) -> impl Iterator<Item = (usize, &str)> {
        self.places.iter().enumerate().filter_map(|(at, place)| match place {
            Place::Service(service) => Some((at, service.as_str())),
            Place::Fixed(_) => None,
        })
    }

    /// What a dispatcher asks.
    pub(crate) fn capable(&self) -> Result<Capable> {
        let capable = Capable::new(self.catalogue.clone(), self.served_as.clone());
        capable.context("a catalogue has one name for each deployment")
    }

    fn add(&mut self, entry: Entry, known: &mut Names) -> Result<()> {
        known.model(&entry.model, &entry.version)?;
        let served_as = entry.served_as.clone().unwrap_or_else(|| entry.model.clone());
        name("served_as", &served_as)?;
        if entry.features.is_empty() {
            bail!(
                "`features` is empty, so it could serve nothing; write chat, completions or embeddings at least"
            );
        }
        if entry.context_tokens == 0 {
            bail!("`context_tokens` is 0; write the engine's --max-model-len");
        }
        known.adapters(&entry.adapters)?;
        self.places.push(known.place(&entry)?);
        self.served_as.push(served_as);
        let features: Vec<Feature> = entry.features.iter().map(|word| word.feature()).collect();
        self.catalogue.deployments.push(Deployment {
            model: entry.model,
            version: entry.version,
            features: FeatureSet::of(&features),
            context_tokens: entry.context_tokens,
            tier: entry.tier.tier(),
            price: Price { input: entry.price.input, output: entry.price.output },
            adapters: entry.adapters,
        });
        Ok(())
    }
}

/// What was said so far.
#[derive(Default)]
struct Names {
    models: BTreeSet<String>,
    versions: BTreeSet<String>,
    adapters: BTreeSet<String>,
    places: BTreeSet<String>,
}

// === impl Names ===

impl Names {
    fn model(&mut self, model: &str, version: &str) -> Result<()> {
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

    fn adapters(&mut self, adapters: &[String]) -> Result<()> {
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
    fn place(&mut self, entry: &Entry) -> Result<Place> {
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
    fn are_apart(&self) -> Result<()> {
        if let Some(both) = self.adapters.intersection(&self.models).next() {
            bail!("{both:?} is a model and an adapter; give the adapter another name");
        }
        Ok(())
    }

    fn alias(&self, alias: &str, names: &[String]) -> Result<()> {
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

fn name(field: &str, name: &str) -> Result<()> {
    let plain = !name.chars().any(|letter| letter.is_control() || letter.is_whitespace());
    if name.is_empty() || name.len() > LONGEST_NAME || !plain {
        bail!("`{field}` is {name:?}; write a name of 1 to {LONGEST_NAME} bytes without blanks");
    }
    Ok(())
}

impl Word {
    fn feature(self) -> Feature {
        match self {
            Self::Chat => Feature::Chat,
            Self::Completions => Feature::Completions,
            Self::Embeddings => Feature::Embeddings,
            Self::Images => Feature::Images,
            Self::Audio => Feature::Audio,
            Self::Video => Feature::Video,
            Self::Tools => Feature::Tools,
            Self::StructuredOutputs => Feature::StructuredOutputs,
        }
    }
}

impl TierWord {
    fn tier(self) -> Tier {
        match self {
            Self::Economy => Tier::Economy,
            Self::Standard => Tier::Standard,
            Self::Premium => Tier::Premium,
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

    use super::*;

    const GOOD: &str = "\
deployments:
  - model: large
    version: '2'
    endpoints: [http://127.0.0.1:9001]
    features: [chat, completions, tools]
    context_tokens: 8000
    tier: premium
    price: {input: 150, output: 600}
    adapters: [sql]
  - model: large
    version: '1'
    served_as: large-old
    service: default/large
    features: [chat]
    context_tokens: 4000
aliases:
  chat: [large@2, sql, large]
";

    #[test]
    fn a_file_says_what_is_deployed_and_where() {
        let deployed = Deployed::parse(GOOD).unwrap();
        let [new, old] = &deployed.catalogue.deployments[..] else { panic!("{deployed:?}") };
        assert_eq!((new.tier, new.price.output, old.tier), (Tier::Premium, 600, Tier::Standard));
        assert!(new.features.has(Feature::Tools) && !old.features.has(Feature::Tools));
        assert_eq!(deployed.served_as, ["large", "large-old"]);
        let fixed = Place::Fixed(vec![SocketAddr::from(([127, 0, 0, 1], 9001))]);
        assert_eq!(deployed.places, [fixed, Place::Service("default/large".to_owned())]);
        assert_eq!(deployed.catalogue.aliases["chat"], ["large@2", "sql", "large"]);
    }

    #[test]
    fn whatever_is_wrong_is_named_with_its_line_and_what_to_write() {
        for (from, to, line, says) in [
            ("context_tokens: 8000", "context_tokens: 0", "line 2", "--max-model-len"),
            ("context_tokens: 8000", "context_token: 8000", "line 6", "context_tokens"),
            ("[chat, completions, tools]", "[chat, telepathy]", "line 5", "telepathy"),
            ("[chat, completions, tools]", "[]", "line 2", "could serve nothing"),
            ("version: '1'", "version: '2'", "line 10", "another `version`"),
            (
                "model: large\n    version: '1'",
                "model: la@rge\n    version: '1'",
                "line 10",
                "leave it out",
            ),
            ("    service: default/large\n", "", "line 10", "`endpoints` or `service`"),
            ("service: default/large", "service: large", "line 10", "NAMESPACE/NAME"),
            ("service: default/large", "endpoints: [127.0.0.1:9001]", "line 10", "one deployment"),
            ("http://127.0.0.1:9001", "http://127.0.0.1:9001/v1", "line 2", "http://HOST:PORT"),
            ("[large@2, sql, large]", "[large@3]", "line 17", "large@3"),
            ("[large@2, sql, large]", "[]", "line 17", "write 1 to"),
            ("[sql]", "[large]", "", "another name"),
            ("tier: premium", "tier: gold", "line 7", "premium"),
        ] {
            assert!(GOOD.contains(from), "{from}");
            let error = Deployed::parse(&GOOD.replace(from, to)).unwrap_err();
            let text = format!("{error:#}");
            assert!(text.contains(line) && text.contains(says), "{to}: {text}");
        }
        let text = format!("{:#}", Deployed::parse("deployments: []").unwrap_err());
        assert!(text.contains("write 1 to 64"), "{text}");
    }
}
