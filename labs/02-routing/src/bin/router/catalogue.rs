//! A catalogue that was read: what is deployed, and where.

mod file;
mod names;

use std::net::SocketAddr;
use std::path::Path;

use anyhow::{Context, Result, bail};
use lab02_routing::capable::{Capable, MOST_DEPLOYMENTS};
use lab02_routing::catalogue::{Catalogue, Deployment, FeatureSet, Price};
use proxy::Member;

use file::{Entry, File};
use names::{MOST_NAMES, Names, name};

/// Bytes of a file.
const MOST_BYTES: u64 = 1 << 20;

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
        self.catalogue.deployments.push(Deployment {
            model: entry.model,
            version: entry.version,
            features: FeatureSet::of(&entry.features),
            context_tokens: entry.context_tokens,
            tier: entry.tier,
            price: Price { input: entry.price.input, output: entry.price.output },
            adapters: entry.adapters,
        });
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

    use lab02_routing::catalogue::{Feature, Tier};

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
