//! Checks of task 2.3, capability: a catalogue of six deployments, and random ones.

use std::collections::BTreeMap;

use protocol::features::Features;
use rand::Rng;
use rand::rngs::StdRng;
use routing::EndpointId;
use testbed::{expect, expect_close, expect_eq, expect_some, rng};

use crate::catalogue::{Catalogue, Deployment, Feature, FeatureSet, Price, Tier};
use crate::need::{Api, COST_HEADER, Length, Need, Wishes};
use crate::{Choice, Lack, Refusal, Route, Server, allowed, answer, lack, route};

const LARGE: usize = 0;
const LARGE_OLD: usize = 1;
const SEES: usize = 2;
const SMALL: usize = 3;
const LONG: usize = 4;
const EMBEDS: usize = 5;

fn deployment(
    model: &str,
    version: &str,
    features: &[Feature],
    context: u64,
    tier: Tier,
) -> Deployment {
    Deployment {
        model: model.to_owned(),
        version: version.to_owned(),
        features: FeatureSet::of(features),
        context_tokens: context,
        tier,
        price: Price::default(),
        adapters: Vec::new(),
    }
}

fn catalogue() -> Catalogue {
    use Feature::{Chat, Completions, Embeddings, Images, StructuredOutputs, Tools};
    let text = [Chat, Completions, Tools, StructuredOutputs];
    let mut deployments = vec![
        deployment("large", "2", &text, 8_000, Tier::Premium),
        deployment("large", "1", &text, 8_000, Tier::Premium),
        deployment("sees", "1", &[Chat, Images], 16_000, Tier::Standard),
        deployment("small", "1", &text, 4_000, Tier::Economy),
        deployment("long", "1", &[Chat, Completions], 100_000, Tier::Standard),
        deployment("embeds", "1", &[Embeddings], 512, Tier::Standard),
    ];
    deployments[LARGE].price = Price { input: 2_000, output: 10_000 };
    deployments[LARGE_OLD].price = Price { input: 2_000, output: 10_000 };
    deployments[SMALL].price = Price { input: 100, output: 400 };
    deployments[LONG].price = Price { input: 500, output: 1_500 };
    deployments[SMALL].adapters = vec!["sql".to_owned(), "law".to_owned()];
    deployments[LONG].adapters = vec!["sql".to_owned()];
    let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
    let aliases = BTreeMap::from([
        ("chat".to_owned(), names(&["large", "sees", "small", "long"])),
        ("safe".to_owned(), names(&["large@1", "sql", "large"])),
    ]);
    Catalogue { deployments, aliases }
}

/// A chat of 800 to 1,000 tokens that wants 100.
fn chat(model: &str) -> Need<'_> {
    Need {
        model,
        api: Api::Chat,
        features: FeatureSet::of(&[Feature::Chat]),
        input: Length { least: 800, likely: 1_000 },
        output: 100,
        wishes: Wishes::default(),
    }
}

fn server(endpoint: u32, deployment: usize) -> Server {
    Server { endpoint: EndpointId(endpoint), deployment, saturated: false, loaded: Vec::new() }
}

/// One ready replica of each of these, with the deployment as its number.
fn ready(deployments: &[usize]) -> Vec<Server> {
    deployments.iter().map(|deployment| server(*deployment as u32, *deployment)).collect()
}

fn full(deployment: usize) -> Server {
    Server { saturated: true, ..server(deployment as u32, deployment) }
}

const ALL: [usize; 6] = [LARGE, LARGE_OLD, SEES, SMALL, LONG, EMBEDS];

/// The deployment that serves `need` where the `ready` are ready.
#[track_caller]
fn served_by(context: &str, expected: Result<usize, Refusal>, need: &Need<'_>, ready: &[Server]) {
    let catalogue = catalogue();
    let seen = route(&catalogue, need, ready).map(|route| route.choice.deployment);
    expect_eq(format!("`{}`, {context}: the deployment", need.model), expected, seen);
}

#[test]
fn task_2_3_finds_what_a_name_allows() {
    let catalogue = catalogue();
    let sql = Some("sql");
    type Allowed<'a> = &'a [(usize, Option<&'a str>)];
    let cases: [(&str, Allowed<'_>); 8] = [
        ("large", &[(LARGE, None), (LARGE_OLD, None)]),
        ("large@1", &[(LARGE_OLD, None)]),
        ("large@3", &[]),
        ("sql", &[(SMALL, sql), (LONG, sql)]),
        ("law", &[(SMALL, Some("law"))]),
        ("chat", &[(LARGE, None), (LARGE_OLD, None), (SEES, None), (SMALL, None), (LONG, None)]),
        ("safe", &[(LARGE_OLD, None), (SMALL, sql), (LONG, sql), (LARGE, None)]),
        ("larg", &[]),
    ];
    for (name, expected) in cases {
        let choice = |&(deployment, adapter): &(usize, _)| Choice { deployment, adapter };
        let expected: Vec<_> = expected.iter().map(choice).collect();
        expect_eq(format!("what `{name}` allows"), expected, allowed(&catalogue, name));
    }
}

#[test]
fn task_2_3_never_serves_another_model_than_the_client_allowed() {
    let others = ready(&[LARGE, SEES, SMALL, LONG]);
    let pinned = chat("large@1");
    served_by("and only version 2 is ready", Err(Refusal::NotReady), &pinned, &others);
    let mut servers = others.clone();
    servers.push(full(LARGE_OLD));
    served_by("which is full, and version 2 has room", Err(Refusal::Saturated), &pinned, &servers);
    let others = ready(&[SEES, SMALL, LONG]);
    served_by("and other models are ready", Err(Refusal::NotReady), &chat("large"), &others);
    let name = "law";
    served_by(
        "and the model below another adapter is ready",
        Err(Refusal::NotReady),
        &chat(name),
        &ready(&[LONG]),
    );
    served_by("and everything is ready", Err(Refusal::UnknownModel), &chat("gpt-9"), &ready(&ALL));
}

#[test]
fn task_2_3_falls_back_in_order_where_nobody_is_ready_or_has_room() {
    let need = chat("chat");
    served_by("and all are ready", Ok(LARGE), &need, &ready(&ALL));
    served_by("without version 2", Ok(LARGE_OLD), &need, &ready(&ALL[1..]));
    served_by("without `large`", Ok(SEES), &need, &ready(&ALL[2..]));
    let servers = [full(LARGE), full(LARGE_OLD), full(SEES), server(9, SMALL)];
    served_by("and the first three are full", Ok(SMALL), &need, &servers);
    let servers = [full(LARGE), full(SMALL)];
    served_by("one is full, the others are not ready", Err(Refusal::Saturated), &need, &servers);
    served_by("and only `embeds` is ready", Err(Refusal::NotReady), &need, &ready(&[EMBEDS]));
    served_by("and `embeds` is full", Err(Refusal::NotReady), &need, &[full(EMBEDS)]);
}

#[test]
fn task_2_3_says_400_only_where_it_could_never_be_served() {
    let features = FeatureSet::of(&[Feature::Chat, Feature::Images]);
    let pictures = Need { features, ..chat("chat") };
    served_by("with a picture", Ok(SEES), &pictures, &ready(&ALL));
    // `sees` is down for a moment. A 400 would tell the client never to ask again.
    let blind = ready(&[LARGE, LARGE_OLD, SMALL, LONG]);
    served_by("with a picture, `sees` is down", Err(Refusal::NotReady), &pictures, &blind);
    let mut servers = blind.clone();
    servers.push(full(SEES));
    served_by("with a picture, `sees` is full", Err(Refusal::Saturated), &pictures, &servers);
    let unable = Err(Refusal::Unable(Lack::Feature(Feature::Images)));
    let small = Need { model: "small", ..pictures };
    served_by("with a picture, nothing is ready", unable.clone(), &small, &[]);
    served_by("with a picture, all are ready", unable, &small, &ready(&ALL));
}

#[test]
fn task_2_3_counts_the_answer_into_the_context() {
    let catalogue = catalogue();
    let small = &catalogue.deployments[SMALL];
    let input = Length { least: 3_000, likely: 3_500 };
    for (output, expected) in [(1, None), (1_000, None), (1_001, Some(Lack::Context(4_000)))] {
        let need = Need { input, output, ..chat("small") };
        let context = format!("context 4000, prompt at least 3000, answer {output}: lack");
        expect_eq(context, expected, lack(small, &need));
    }
    let endless = Need { output: u64::MAX, ..chat("small") };
    expect_eq("an answer without end: lack", Some(Lack::Context(4_000)), lack(small, &endless));
}

#[test]
fn task_2_3_names_the_reason_that_came_closest() {
    let features = FeatureSet::of(&[Feature::Chat, Feature::Images]);
    let input = Length { least: 20_000, likely: 25_000 };
    let long_picture = Need { features, input, ..chat("chat") };
    let unable = |lack| Err(Refusal::Unable(lack));
    let context = "a picture and 20,000 tokens: only `sees` takes pictures, and it is too short";
    served_by(context, unable(Lack::Context(16_000)), &long_picture, &ready(&ALL));
    let input = Length { least: 200_000, likely: 250_000 };
    let too_long = Need { input, ..chat("chat") };
    let context = "200,000 tokens: the largest context";
    served_by(context, unable(Lack::Context(100_000)), &too_long, &ready(&ALL));
    let wishes = Wishes { max_cost: Some(100_000), ..Wishes::default() };
    let features = FeatureSet::of(&[Feature::Chat, Feature::Tools]);
    let poor = Need { wishes, features, output: 1_000, ..chat("chat") };
    let context = "tools for 100,000 nano-dollars: the lowest cost of those that have tools";
    served_by(context, unable(Lack::Cost(480_000)), &poor, &ready(&ALL));
}

#[test]
fn task_2_3_keeps_to_the_clients_ceiling() {
    let wishes = |max_cost| Wishes { max_cost: Some(max_cost), ..Wishes::default() };
    let servers = ready(&[LARGE, SMALL]);
    // `large`: 800 x 2,000 + 100 x 10,000. `small`: 800 x 100 + 100 x 400.
    let need = |ceiling| Need { wishes: wishes(ceiling), ..chat("chat") };
    served_by("for what `large` costs", Ok(LARGE), &need(2_600_000), &servers);
    served_by("for one nano-dollar less", Ok(SMALL), &need(2_599_999), &servers);
    let saturated = Err(Refusal::Saturated);
    let dear = [server(0, LARGE), full(SMALL)];
    served_by("too little for `large`, `small` is full", saturated, &need(200_000), &dear);
}

/// The route of `need`, which somebody must serve.
#[track_caller]
fn routed<'a>(catalogue: &'a Catalogue, need: &Need<'_>, servers: &[Server]) -> Route<'a> {
    let context = format!("`{}` with {} ready replicas", need.model, servers.len());
    expect_some(context, "a route", route(catalogue, need, servers).ok())
}

#[test]
fn task_2_3_says_when_a_lower_tier_answers() {
    let catalogue = catalogue();
    let premium = Some(Tier::Premium);
    let wish = |tier| Need { wishes: Wishes { tier, max_cost: None }, ..chat("chat") };
    let down = |from, to| Some((from, to));
    // `small` comes before `long` in the alias, but is two tiers below.
    type Case<'a> = (Option<Tier>, &'a [usize], usize, Option<(Tier, Tier)>);
    let cases: [Case<'_>; 6] = [
        (None, &[LARGE], LARGE, None),
        (None, &[SMALL, LONG], LONG, down(Tier::Premium, Tier::Standard)),
        (premium, &[SMALL], SMALL, down(Tier::Premium, Tier::Economy)),
        (Some(Tier::Standard), &[LARGE, LONG], LARGE, None),
        (Some(Tier::Standard), &[SMALL, LONG], LONG, None),
        (Some(Tier::Economy), &[SMALL, LONG], SMALL, None),
    ];
    for (wished, up, deployment, downgraded) in cases {
        let route = routed(&catalogue, &wish(wished), &ready(up));
        let context = format!("`chat`, wished {wished:?}, ready {up:?}: deployment, downgraded");
        expect_eq(context, (deployment, downgraded), (route.choice.deployment, route.downgraded));
    }
}

#[test]
fn task_2_3_prefers_replicas_that_have_the_adapter() {
    let catalogue = catalogue();
    let with = |endpoint, adapters: &[&str], saturated| Server {
        loaded: adapters.iter().map(|adapter| (*adapter).to_owned()).collect(),
        saturated,
        ..server(endpoint, SMALL)
    };
    let ends = |ids: &[u32]| ids.iter().copied().map(EndpointId).collect::<Vec<_>>();
    let servers = [
        with(0, &[], false),
        with(1, &["law", "sql"], false),
        with(2, &["law"], false),
        with(3, &["sql"], false),
    ];
    let route = routed(&catalogue, &chat("sql"), &servers);
    expect_eq("`sql`, loaded on 1 and 3: endpoints", ends(&[1, 3]), route.endpoints);
    expect_eq("and the adapter to ask for", Some("sql"), route.choice.adapter);
    let servers = [with(0, &[], false), with(1, &["sql"], true), with(2, &["law"], false)];
    let route = routed(&catalogue, &chat("sql"), &servers);
    expect_eq("`sql`, loaded on 1, which is full: endpoints", ends(&[0, 2]), route.endpoints);
    let route = routed(&catalogue, &chat("small"), &servers);
    expect_eq("`small` itself, where 1 is full: endpoints", ends(&[0, 2]), route.endpoints);
}

#[test]
fn task_2_3_sends_what_may_be_too_long_where_most_fits() {
    let catalogue = catalogue();
    // Certainly fits into 8,000; may as well take 12,000.
    let need = Need { input: Length { least: 5_000, likely: 12_000 }, ..chat("chat") };
    let choose =
        |need: &Need<'_>, up: &[usize]| routed(&catalogue, need, &ready(up)).choice.deployment;
    let context = "`chat`, 5,000 to 12,000 tokens, ready: `large` (8,000), `sees` (16,000)";
    expect_eq(context, SEES, choose(&need, &[LARGE, SEES]));
    // Nobody that is ready surely has room. The engine has the last word: it counts.
    let context = "the same, ready: `large` alone";
    expect_eq(context, LARGE, choose(&need, &[LARGE]));
    let need = Need { input: Length { least: 3_000, likely: 9_000 }, ..chat("chat") };
    let context = "`chat`, 3,000 to 9,000 tokens, ready: `small` (4,000), `large` 1 (8,000)";
    expect_eq(context, LARGE_OLD, choose(&need, &[SMALL, LARGE_OLD]));
    let need = Need { wishes: Wishes { tier: Some(Tier::Economy), max_cost: None }, ..need };
    let context = "the same, wished economy";
    expect_eq(context, LARGE_OLD, choose(&need, &[SMALL, LARGE_OLD]));
}

#[test]
fn task_2_3_answers_as_openai_does() {
    let need = Need { api: Api::Completions, ..chat("large") };
    let invalid = "invalid_request_error";
    let unable = Refusal::Unable;
    let cases = [
        (Refusal::UnknownModel, 404, invalid, Some("model"), "model_not_found"),
        (unable(Lack::Feature(Feature::Tools)), 400, invalid, Some("tools"), "unsupported_feature"),
        (
            unable(Lack::Feature(Feature::Audio)),
            400,
            invalid,
            Some("messages"),
            "unsupported_feature",
        ),
        (unable(Lack::Context(4_321)), 400, invalid, Some("prompt"), "context_length_exceeded"),
        (unable(Lack::Cost(7_654)), 400, invalid, Some(COST_HEADER), "cost_ceiling_exceeded"),
        (Refusal::Saturated, 429, "rate_limit_error", None, "rate_limit_exceeded"),
        (Refusal::NotReady, 503, "server_error", None, "model_not_ready"),
    ];
    for (refusal, status, kind, param, code) in cases {
        let answer = answer(&refusal, &need);
        let problem = &answer.problem;
        expect_eq(format!("{refusal:?}: status"), status, answer.status);
        let seen = (&*problem.kind, problem.param.as_deref(), problem.code.as_deref());
        expect_eq(format!("{refusal:?}: type, param, code"), (kind, param, Some(code)), seen);
        let waits = answer.retry_after.is_some();
        expect_eq(format!("{refusal:?}: says Retry-After"), status == 429, waits);
        let names_it = problem.message.contains("large");
        expect(format!("{refusal:?}: message"), names_it, "the model's name", &problem.message);
        if let Refusal::Unable(Lack::Context(limit)) = refusal {
            let says = problem.message.contains(&limit.to_string());
            expect("a context too short: message", says, "the limit", &problem.message);
        }
    }
}

#[test]
fn task_2_3_serves_what_clients_really_send() {
    let body = br#"{"model": "chat", "max_tokens": 50, "messages": [
        {"role": "user", "content": [{"type": "text", "text": "What is this?"},
                                     {"type": "image_url", "image_url": {"url": "https://example.com/a.png"}}]}]}"#;
    let features = expect_some("a body", "features", Features::read(body).ok());
    let catalogue = catalogue();
    let need = Need::of(Api::Chat, &features, Wishes::of(Some("premium"), None));
    let route = routed(&catalogue, &need, &ready(&ALL));
    let downgraded = Some((Tier::Premium, Tier::Standard));
    let seen = (route.choice.deployment, route.downgraded);
    expect_eq("a question about a picture: deployment, downgraded", (SEES, downgraded), seen);
}

/// A catalogue, a request and replicas of all kinds.
fn drawn(rng: &mut StdRng) -> (Catalogue, Need<'static>, Vec<Server>) {
    const NAMES: [&str; 7] = ["a", "a@1", "b", "b@2", "any", "lora", "c"];
    let features = |rng: &mut StdRng, part: f64| {
        let each = Feature::ALL.into_iter().filter(|_| rng.random_bool(part));
        FeatureSet::of(&each.collect::<Vec<_>>())
    };
    let mut catalogue = Catalogue::default();
    for (model, version) in [("a", "1"), ("a", "2"), ("b", "1"), ("b", "2")] {
        let tier = [Tier::Economy, Tier::Standard, Tier::Premium][rng.random_range(0..3)];
        let context = rng.random_range(1..5) * 1_000;
        let mut offered = deployment(model, version, &[], context, tier);
        offered.features = features(rng, 0.9);
        offered.price = Price { input: rng.random_range(1..9), output: rng.random_range(1..9) };
        if rng.random_bool(0.5) {
            offered.adapters.push("lora".to_owned());
        }
        catalogue.deployments.push(offered);
    }
    catalogue.aliases.insert("any".to_owned(), vec!["b@1".to_owned(), "a".to_owned()]);
    let least = rng.random_range(1..3_000);
    let need = Need {
        model: NAMES[rng.random_range(0..NAMES.len())],
        api: Api::Chat,
        features: features(rng, 0.1),
        input: Length { least, likely: least + rng.random_range(0..1_000) },
        output: rng.random_range(1..1_000),
        wishes: Wishes {
            tier: rng.random_bool(0.5).then_some(Tier::Standard),
            max_cost: rng.random_bool(0.5).then(|| rng.random_range(1_000..20_000)),
        },
    };
    let servers = (0..rng.random_range(0..8)).map(|endpoint| Server {
        saturated: rng.random_bool(0.5),
        loaded: if rng.random_bool(0.3) { vec!["lora".to_owned()] } else { Vec::new() },
        ..server(endpoint, rng.random_range(0..4))
    });
    let servers = servers.collect();
    (catalogue, need, servers)
}

#[test]
fn task_2_3_holds_its_promises_whatever_is_asked() {
    let mut rng = rng("catalogues");
    let (mut served, mut refused) = (0, 0);
    for case in 0..3_000 {
        let (catalogue, need, servers) = drawn(&mut rng);
        let name = format!("case {case}, {need:?}");
        // What the name allows, said once more in other words.
        let names =
            catalogue.aliases.get(need.model).cloned().unwrap_or(vec![need.model.to_owned()]);
        let means = |offered: &Deployment, name: &str| {
            let pinned = format!("{}@{}", offered.model, offered.version);
            name == offered.model || name == pinned || offered.adapters.iter().any(|a| a == name)
        };
        let may =
            |index: usize| names.iter().any(|name| means(&catalogue.deployments[index], name));
        let can = |index: usize| may(index) && lack(&catalogue.deployments[index], &need).is_none();
        let is_up = |full: bool| {
            servers.iter().any(|server| can(server.deployment) && server.saturated == full)
        };
        let known = (0..4).any(may);
        let possible = (0..4).any(can);
        let seen = route(&catalogue, &need, &servers);
        let expected = match (known, possible, is_up(false), is_up(true)) {
            (false, ..) => 404,
            (_, false, ..) => 400,
            (.., true, _) => 200,
            (.., true) => 429,
            _ => 503,
        };
        let status = seen.as_ref().map_or_else(|refusal| answer(refusal, &need).status, |_| 200);
        expect_eq(format!("{name}: status"), expected, status);
        let Ok(route) = seen else {
            refused += 1;
            continue;
        };
        served += 1;
        let chosen = route.choice.deployment;
        expect(format!("{name}: deployment"), can(chosen), "one that may and can", chosen);
        for endpoint in &route.endpoints {
            let free = servers.iter().any(|server| {
                server.endpoint == *endpoint && server.deployment == chosen && !server.saturated
            });
            expect(format!("{name}: {endpoint}"), free, "a replica of it with room", "another");
        }
        let got = catalogue.deployments[chosen].tier;
        if let Some(wished) = need.wishes.tier {
            let expected = (got < wished).then_some((wished, got));
            expect_eq(format!("{name}: downgraded"), expected, route.downgraded);
        }
    }
    let part = f64::from(served) / f64::from(served + refused);
    expect_close("cases that are served, of all: neither none nor all", 0.4, part, 0.7);
}
