//! What watches the lab: rules, alerts, dashboard and scrape configuration, by Prometheus' own tool where it is there.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod common;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

use common::root;
use serde_json::{Value, json};

const FOLDER: &str = "solutions/02-routing/deploy/observe";

fn read(file: &str) -> String {
    std::fs::read_to_string(root().join(FOLDER).join(file)).unwrap()
}

/// The groups of the PrometheusRule, as Prometheus itself reads them.
fn groups() -> Value {
    let rules: Value = serde_saphyr::from_str(&read("rules.yaml")).unwrap();
    rules["spec"].clone()
}

/// Title and query of everything that the dashboard shows.
fn queries() -> Vec<(String, String)> {
    let dashboard: Value = serde_json::from_str(&read("dashboard.json")).unwrap();
    let mut queries = Vec::new();
    for panel in dashboard["panels"].as_array().unwrap() {
        for target in panel["targets"].as_array().unwrap() {
            let text = |value: &Value| value.as_str().unwrap().to_owned();
            queries.push((text(&panel["title"]), text(&target["expr"])));
        }
    }
    queries
}

/// The metrics that a query names.
fn metrics(query: &str) -> BTreeSet<String> {
    let word = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == ':';
    let words = query.split(|c| !word(c));
    let ours = words.filter(|word| word.starts_with("vllm:") || word.starts_with("llm_router"));
    ours.map(ToOwned::to_owned).collect()
}

#[test]
fn every_query_names_metrics_that_somebody_exports() {
    // Where the names are written down: vLLM's, which the engine keeps, and the router's own.
    let source = |file: &str| std::fs::read_to_string(root().join(file)).unwrap();
    let engine = source("crates/protocol/src/vllm.rs");
    let router = source("crates/proxy/src/metrics.rs");
    let groups = groups();
    let rules: Vec<&Value> = groups["groups"]
        .as_array()
        .unwrap()
        .iter()
        .flat_map(|group| group["rules"].as_array().unwrap())
        .collect();
    let recorded: BTreeSet<&str> =
        rules.iter().filter_map(|rule| rule["record"].as_str()).collect();
    let exprs = rules.iter().map(|rule| rule["expr"].as_str().unwrap().to_owned());
    let all = exprs.chain(queries().into_iter().map(|(_, query)| query));
    let mut looked = 0;
    for query in all {
        for name in metrics(&query) {
            looked += 1;
            let base = ["_bucket", "_count", "_sum"].iter().find_map(|end| name.strip_suffix(end));
            let base = base.unwrap_or(&name);
            let exported = match base.strip_prefix("llm_router_") {
                Some(short) => {
                    router.contains(&format!("\"{short}\""))
                        || router.contains(&format!("\"{base}\""))
                }
                None => engine.contains(&format!("\"{base}\"")),
            };
            assert!(exported || recorded.contains(&*name), "{name}, in: {query}");
        }
    }
    assert!(looked > 30, "{looked} names were looked at");
}

#[test]
fn every_alert_says_where_to_look_and_has_a_unit_test() {
    let tests = read("rules.test.yaml");
    for group in groups()["groups"].as_array().unwrap() {
        for rule in group["rules"].as_array().unwrap() {
            let Some(alert) = rule["alert"].as_str() else { continue };
            assert!(rule["annotations"]["summary"].is_string(), "{alert}");
            assert!(rule["annotations"]["look"].is_string(), "{alert}");
            assert!(rule["for"].is_string(), "{alert}: one bad scrape would wake somebody");
            assert!(tests.contains(&format!("alertname: {alert}\n")), "{alert} has no unit test");
        }
    }
}

#[test]
fn panels_do_not_overlap_and_use_the_chosen_prometheus() {
    let dashboard: Value = serde_json::from_str(&read("dashboard.json")).unwrap();
    let mut cells = BTreeSet::new();
    for panel in dashboard["panels"].as_array().unwrap() {
        let title = panel["title"].as_str().unwrap();
        assert_eq!(panel["datasource"]["uid"], "${datasource}", "{title}");
        let of = |name: &str| panel["gridPos"][name].as_u64().unwrap();
        assert!(of("x") + of("w") <= 24, "{title}");
        for x in of("x")..of("x") + of("w") {
            for y in of("y")..of("y") + of("h") {
                assert!(cells.insert((x, y)), "{title} covers another panel");
            }
        }
    }
}

/// A folder for a test's files.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let folder = std::env::temp_dir().join(format!("llm-lab-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        Self(folder)
    }

    fn write(&self, file: &str, text: &str) {
        std::fs::write(self.0.join(file), text).unwrap();
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn promtool(folder: &Path, args: &[&str]) {
    let output = Command::new("promtool").args(args).current_dir(folder).output().unwrap();
    let said = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let (out, err) = (said(&output.stdout), said(&output.stderr));
    assert!(output.status.success(), "promtool {args:?}\n{out}\n{err}");
}

#[test]
#[ignore = "needs promtool; `cargo xtask test --only peers` installs it"]
fn peer_rules_and_alerts_pass_their_unit_tests() {
    let folder = Folder::new("rules");
    folder.write("rules.yaml", &groups().to_string());
    folder.write("rules.test.yaml", &read("rules.test.yaml"));
    promtool(&folder.0, &["check", "rules", "rules.yaml"]);
    promtool(&folder.0, &["test", "rules", "rules.test.yaml"]);
}

#[test]
#[ignore = "needs promtool; `cargo xtask test --only peers` installs it"]
fn peer_every_query_of_the_dashboard_is_promql() {
    let queries = queries();
    assert!(queries.len() > 20);
    let rule = |(number, (_, query)): (usize, &(String, String))| json!({"record": format!("query:{number}"), "expr": query});
    let rules: Vec<Value> = queries.iter().enumerate().map(rule).collect();
    let folder = Folder::new("dashboard");
    folder.write(
        "queries.yaml",
        &json!({"groups": [{"name": "dashboard", "rules": rules}]}).to_string(),
    );
    promtool(&folder.0, &["check", "rules", "queries.yaml"]);
}

#[test]
#[ignore = "needs promtool; `cargo xtask test --only peers` installs it"]
fn peer_the_scrape_configuration_is_one() {
    let mut config: Value = serde_saphyr::from_str(&read("prometheus.yml")).unwrap();
    // Debian builds Prometheus without its Kubernetes discovery, so the rest is checked around another.
    let job = config["scrape_configs"][0].as_object_mut().unwrap();
    assert_eq!(job.remove("kubernetes_sd_configs").unwrap(), json!([{"role": "pod"}]));
    job.insert("static_configs".to_owned(), json!([{"targets": ["127.0.0.1:1"]}]));
    let folder = Folder::new("config");
    folder.write("prometheus.yml", &config.to_string());
    std::fs::create_dir_all(folder.0.join("rules")).unwrap();
    folder.write("rules/rules.yaml", &groups().to_string());
    promtool(&folder.0, &["check", "config", "prometheus.yml"]);
}
