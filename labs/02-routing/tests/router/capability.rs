//! The running router with a catalogue, from outside: who gets a request, byte by byte, and what clients are told where nobody does.

use std::process::Command;

use crate::common::Router;
use crate::scripted::{Act, Engine, Said, Server, within};
use serde_json::Value;

const CHAT: &str = "/v1/chat/completions";

/// Servers for the catalogue of the example: two of `large`, one of `sees`, one of `small`.
struct Service {
    large: [Server; 2],
    sees: Server,
    small: Server,
}

impl Service {
    fn start() -> Self {
        let large = [Server::start(), Server::start()];
        Self { large, sees: Server::start(), small: Server::start() }
    }

    /// A router with the example's catalogue for these servers, once so many are ready.
    fn router(&self, args: &[&str], ready: usize) -> Router {
        let mut text = std::fs::read_to_string(example()).unwrap();
        let [first, second] = &self.large;
        for (port, server) in
            [(8001, first), (8002, second), (8003, &self.sees), (8004, &self.small)]
        {
            let written = format!("http://127.0.0.1:{port}");
            assert!(text.contains(&written), "{written}");
            text = text.replace(&written, &server.url());
        }
        let router = Router::with_catalogue(&text, args);
        router.wait_for("llm_router_endpoints_ready", ready as f64);
        router
    }

    fn asked(&self) -> [usize; 4] {
        let [first, second] = &self.large;
        [first, second, &self.sees, &self.small].map(|server| server.bodies().len())
    }
}

fn example() -> &'static str {
    concat!(env!("CARGO_MANIFEST_DIR"), "/catalogue.yaml")
}

fn chat(model: &str, content: &str, rest: &str) -> String {
    format!(r#"{{"model":"{model}","messages":[{{"role":"user","content":{content}}}]{rest}}}"#)
}

/// An error in OpenAI's shape.
fn expect_problem(said: &Said, status: u16, param: Option<&str>, code: &str) {
    let error: Value = serde_json::from_str(&said.body).unwrap();
    let error = &error["error"];
    let found = (said.status, error["param"].as_str(), error["code"].as_str());
    assert_eq!(found, (status, param, Some(code)), "{}", said.body);
    assert!(error["message"].as_str().is_some_and(|message| !message.is_empty()), "{}", said.body);
    assert_eq!(said.retry_after.as_deref(), (status == 429).then_some("1"), "{}", said.body);
}

#[test]
fn a_name_that_nobody_knows_is_a_404() {
    let service = Service::start();
    let router = service.router(&[], 4);
    let said = router.post(CHAT, &chat("huge", "\"hi\"", ""), &[]);
    expect_problem(&said, 404, Some("model"), "model_not_found");
    let said = router.post(CHAT, &chat("large@1", "\"hi\"", ""), &[]);
    expect_problem(&said, 404, Some("model"), "model_not_found");
    let said = router.post("/v1/responses", r#"{"model":"large","input":"hi"}"#, &[]);
    assert_eq!(said.status, 404, "{}", said.body);
    assert_eq!(service.asked(), [0; 4]);
}

#[test]
fn what_nobody_can_ever_serve_is_a_400_that_names_the_field() {
    let service = Service::start();
    let router = service.router(&[], 4);
    let picture = r#"[{"type":"image_url","image_url":{"url":"data:,"}}]"#;
    let said = router.post(CHAT, &chat("large", picture, ""), &[]);
    expect_problem(&said, 400, Some("messages"), "unsupported_feature");
    let tools = r#","tools":[{"type":"function","function":{"name":"add"}}]"#;
    let said = router.post(CHAT, &chat("sees", "\"hi\"", tools), &[]);
    expect_problem(&said, 400, Some("tools"), "unsupported_feature");
    let said = router.post(CHAT, &chat("small", "\"hi\"", r#","max_tokens":8193"#), &[]);
    expect_problem(&said, 400, Some("messages"), "context_length_exceeded");
    let dear = [("x-llm-max-cost", "1000")];
    let said = router.post(CHAT, &chat("large", "\"hi\"", r#","max_tokens":100"#), &dear);
    expect_problem(&said, 400, Some("x-llm-max-cost"), "cost_ceiling_exceeded");
    let said = router.post(CHAT, r#"{"model":"large","messages":["#, &[]);
    assert_eq!(said.status, 400, "{}", said.body);
    assert!(said.body.contains("no JSON object"), "{}", said.body);
    assert_eq!(service.asked(), [0; 4], "no server was asked");
}

#[test]
fn whoever_is_able_gets_the_request_and_nobody_else() {
    let service = Service::start();
    let router = service.router(&[], 4);
    let picture = r#"[{"type":"image_url","image_url":{"url":"data:,"}}]"#;
    for _ in 0..3 {
        assert_eq!(router.post(CHAT, &chat("chat", picture, ""), &[]).status, 200);
    }
    assert_eq!(service.asked(), [0, 0, 3, 0]);
    for _ in 0..4 {
        assert_eq!(router.post(CHAT, &chat("large", "\"hi\"", ""), &[]).status, 200);
    }
    assert_eq!(service.asked(), [2, 2, 3, 0], "round robin among the replicas of one deployment");
    assert_eq!(router.post(CHAT, &chat("sql", "\"hi\"", ""), &[]).status, 200);
    assert_eq!(service.small.bodies(), [chat("sql", "\"hi\"", "")], "an adapter keeps its name");
}

#[test]
fn only_the_model_is_written_anew_where_the_replicas_call_it_otherwise() {
    let service = Service::start();
    let router = service.router(&[], 4);
    let body = "{ \"model\":\"ch\\u0061t\",\n \"messages\" : [{\"role\":\"user\",\"content\":\"\\u00e9 \\\"model\\\"\"}], \"x\":1.50 }";
    let said = router.post(CHAT, body, &[]);
    assert_eq!((said.status, said.downgraded.as_deref()), (200, None));
    let [first, second] = &service.large;
    let sent = [first.bodies(), second.bodies()].concat();
    assert_eq!(sent, [body.replace("ch\\u0061t", "qwen3-32b")]);
}

#[test]
fn a_second_attempt_goes_down_the_alias_under_the_next_models_name() {
    let service = Service::start();
    service.large.iter().for_each(|server| server.act(Act::Fails));
    let router = service.router(&[], 4);
    let tools = r#","tools":[{"type":"function","function":{"name":"add"}}]"#;
    let body = chat("chat", "\"hi\"", tools);
    let said = router.post(CHAT, &body, &[]);
    assert_eq!((said.status, said.downgraded.as_deref()), (200, Some("premium -> economy")));
    assert_eq!(
        service.asked(),
        [1, 1, 0, 1],
        "both of the first model, then the next that has tools"
    );
    let [first, _] = &service.large;
    assert_eq!(first.bodies(), [body.replacen("chat", "qwen3-32b", 1)]);
    assert_eq!(service.small.bodies(), [body.replacen("chat", "small", 1)]);
    // A model's own name crosses nothing.
    let said = router.post(CHAT, &chat("large", "\"hi\"", ""), &[]);
    assert_eq!((said.status, service.small.bodies().len()), (500, 1), "{}", said.body);
}

#[test]
fn where_all_that_could_are_full_it_is_a_429_and_an_alias_goes_on() {
    let service = Service::start();
    service.sees.act(Act::Holds);
    let router = service.router(&["--max-in-flight", "1", "--max-queue", "0"], 4);
    let body = chat("sees", "\"hi\"", "");
    std::thread::scope(|scope| {
        let held = scope.spawn(|| router.post(CHAT, &body, &[]).status);
        within("a request under way", || {
            (router.metric("llm_router_in_flight") == Some(1.0)).then_some(())
        });
        let said = router.post(CHAT, &body, &[]);
        expect_problem(&said, 429, None, "rate_limit_exceeded");
        let picture = r#"[{"type":"image_url","image_url":{"url":"data:,"}}]"#;
        let said = router.post(CHAT, &chat("chat", picture, ""), &[]);
        expect_problem(&said, 429, None, "rate_limit_exceeded");
        // The room of those that can serve it does count.
        assert_eq!(router.post(CHAT, &chat("chat", "\"hi\"", ""), &[]).status, 200);
        service.sees.act(Act::Answers);
        assert_eq!(held.join().unwrap(), 200);
    });
}

#[test]
fn who_waits_for_a_full_model_holds_up_nobody_else() {
    let service = Service::start();
    service.sees.act(Act::Holds);
    let router = service.router(&["--max-in-flight", "1"], 4);
    let body = chat("sees", "\"hi\"", "");
    std::thread::scope(|scope| {
        let held: Vec<_> =
            (0..3).map(|_| scope.spawn(|| router.post(CHAT, &body, &[]).status)).collect();
        within("two that wait", || {
            (router.metric("llm_router_queue_depth") == Some(2.0)).then_some(())
        });
        assert_eq!(router.post(CHAT, &chat("small", "\"hi\"", ""), &[]).status, 200);
        assert_eq!(router.metric("llm_router_queue_depth"), Some(2.0));
        service.sees.act(Act::Answers);
        assert!(held.into_iter().all(|one| one.join().unwrap() == 200));
    });
    assert_eq!(service.asked(), [0, 0, 3, 1]);
}

#[test]
fn who_is_away_is_a_503_and_comes_back_by_itself() {
    let service = Service::start();
    service.sees.be_well(false);
    let router = service.router(&[], 3);
    let picture = r#"[{"type":"image_url","image_url":{"url":"data:,"}}]"#;
    for model in ["sees", "chat"] {
        let said = router.post(CHAT, &chat(model, picture, ""), &[]);
        expect_problem(&said, 503, None, "model_not_ready");
    }
    assert_eq!(service.asked(), [0; 4]);
    service.sees.be_well(true);
    router.wait_for("llm_router_endpoints_ready", 4.0);
    assert_eq!(router.post(CHAT, &chat("sees", picture, ""), &[]).status, 200);
}

#[test]
fn the_list_of_models_has_those_that_can_be_reached() {
    let service = Service::start();
    service.small.be_well(false);
    let router = service.router(&[], 3);
    let list: Value = serde_json::from_str(&router.get("/v1/models").body).unwrap();
    let names: Vec<&str> = list["data"]
        .as_array()
        .unwrap()
        .iter()
        .map(|model| model["id"].as_str().unwrap())
        .collect();
    assert_eq!(names, ["large", "large@2507", "sees", "sees@1", "chat"]);
    assert_eq!(list["data"][0]["max_model_len"], 32768);
    assert_eq!(router.get("/v1/models/large@2507").status, 200);
    let said = router.get("/v1/models/sql");
    expect_problem(&said, 404, Some("model"), "model_not_found");
    service.small.be_well(true);
    router.wait_for("llm_router_endpoints_ready", 4.0);
    assert_eq!(router.get("/v1/models/sql").status, 200);
}

#[test]
fn without_a_catalogue_whatever_is_asked_is_the_servers_to_answer() {
    let server = Server::start();
    let router = Router::start(&["--endpoints", &server.url()]);
    router.wait_for("llm_router_endpoints_ready", 1.0);
    let bodies = [
        chat("whatever", r#"[{"type":"image_url"}]"#, r#","max_tokens":999999999"#),
        "{ \"model\" : \"a\\/b\", \"model\":\"c\"}".to_owned(),
        "no JSON".to_owned(),
    ];
    for body in &bodies {
        assert_eq!(router.post(CHAT, body, &[("x-llm-max-cost", "1")]).status, 200);
    }
    assert_eq!(router.post("/v1/responses", "{}", &[]).status, 200);
    assert_eq!(server.bodies()[..3], bodies);
    assert_eq!(router.get("/v1/models").body, "ok", "the server's own list");
}

#[test]
fn a_catalogue_that_is_wrong_ends_the_router_and_says_where() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let text = std::fs::read_to_string(example()).unwrap();
    std::fs::write(file.path(), text.replace("context_tokens: 16384", "context_tokens: many"))
        .unwrap();
    let run = |path: &std::path::Path| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_lab02-router"));
        let out = command.args(["--port", "0", "--catalogue"]).arg(path).output().unwrap();
        assert!(!out.status.success());
        String::from_utf8(out.stderr).unwrap()
    };
    let said = run(file.path());
    assert!(said.contains("line 15") && said.contains("is no catalogue"), "{said}");
    let said = run(&file.path().with_extension("gone"));
    assert!(said.contains("give --catalogue a file"), "{said}");
}

#[test]
#[ignore = "builds lab 1's engine; run by `cargo xtask test --only peers`"]
fn peer_real_engines_answer_to_their_own_names_and_one_takes_over_from_the_other() {
    let (mut first, second) = (Engine::start("qwen-a"), Engine::start("qwen-b"));
    let deployment = |model: &str, engine: &Engine| {
        format!(
            "  - {{model: {model}, version: '1', served_as: qwen-{model}, endpoints: ['{}'], \
             features: [chat, completions], context_tokens: 4096}}\n",
            engine.url
        )
    };
    let text = format!(
        "deployments:\n{}{}aliases: {{chat: [a, b]}}\n",
        deployment("a", &first),
        deployment("b", &second)
    );
    let router = Router::with_catalogue(&text, &[]);
    router.wait_for("llm_router_endpoints_ready", 2.0);
    let body = chat("chat", "\"hi\"", r#","max_tokens":4"#);
    let model = |said: &Said| {
        let answer: Value = serde_json::from_str(&said.body).unwrap();
        (said.status, answer["model"].as_str().map(str::to_owned))
    };
    assert_eq!(first.post(CHAT, &body).status, 404, "an engine knows its own name only");
    assert_eq!(model(&router.post(CHAT, &body, &[])), (200, Some("qwen-a".to_owned())));
    first.kill();
    assert_eq!(model(&router.post(CHAT, &body, &[])), (200, Some("qwen-b".to_owned())));
}
