//! Makes `src/protobuf/fields.txt`: field numbers, facts read from the `.proto` files of Kubernetes' API.
//!
//!     cargo run -p api-server --example protobuf_fields -- k8s.io/api/*/*/generated.proto ... > fields.txt
//!
//! A line is a message and its fields, `name:number:type`. Types: `s` text, `y` bytes, `b` boolean, `i` whole number, `d`
//! fraction, `@M` message M, `=M` message M whose fields are the outer message's own in JSON; before it `*` for a list, `%`
//! for a map from text.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;

use apimachinery::builtin;
use apimachinery::schema::{Typed, builtin as schemas};

type Outcome<T> = Result<T, Box<dyn std::error::Error>>;

/// Messages that requests carry beside the kinds that are stored.
const BESIDE: [&str; 9] = [
    "api.authentication.v1.SelfSubjectReview",
    "api.authorization.v1.SelfSubjectAccessReview",
    "api.authorization.v1.SelfSubjectRulesReview",
    "api.authentication.v1.TokenRequest",
    "api.autoscaling.v1.HorizontalPodAutoscaler",
    "api.autoscaling.v1.Scale",
    "api.core.v1.Binding",
    "api.policy.v1.Eviction",
    "apimachinery.pkg.apis.meta.v1.DeleteOptions",
];

fn main() -> Outcome<()> {
    let mut messages: BTreeMap<String, Vec<(String, u32, String)>> = BTreeMap::new();
    for file in std::env::args().skip(1) {
        read(&std::fs::read_to_string(file)?, &mut messages)?;
    }
    let kinds = builtin::kinds();
    let mut open: Vec<String> = BESIDE.iter().map(ToString::to_string).collect();
    for kind in kinds.iter().filter(|kind| kind.group != "apiextensions.k8s.io") {
        let definition = schemas().of_kind(&kind.api_version(), &kind.kind);
        let definition = definition.ok_or_else(|| format!("no schema for {kind}"))?;
        open.push(definition.name.trim_start_matches("io.k8s.").to_owned());
    }
    let mut kept: BTreeSet<String> = BTreeSet::new();
    while let Some(name) = open.pop() {
        if !kept.insert(name.clone()) {
            continue;
        }
        for (_, _, of) in messages.get(&name).ok_or_else(|| format!("no message {name}"))? {
            if let Some((_, message)) = of.split_once('@') {
                open.push(message.to_owned());
            }
        }
    }
    let mut out = std::io::stdout().lock();
    for name in kept {
        let schema = schemas().get(&format!("io.k8s.{name}"));
        let fields = messages[&name].iter().map(|(field, number, of)| {
            let named = schema.is_none_or(|schema| {
                let typed = Typed::new(&schema.schema);
                typed.fields().is_none() || typed.known(field).is_some()
            });
            let of = if named { of.clone() } else { of.replace('@', "=") };
            format!("{field}:{number}:{of}")
        });
        writeln!(out, "{name} {}", fields.collect::<Vec<_>>().join(" "))?;
    }
    Ok(())
}

fn read(text: &str, messages: &mut BTreeMap<String, Vec<(String, u32, String)>>) -> Outcome<()> {
    let mut package = String::new();
    let mut message: Option<String> = None;
    for line in text.lines() {
        let line = line.trim();
        if let Some(name) = line.strip_prefix("package ") {
            package = short(name.trim_end_matches(';'));
        } else if let Some(rest) = line.strip_prefix("message ") {
            let name = rest.split(' ').next().unwrap_or("");
            let name = format!("{package}.{name}");
            messages.insert(name.clone(), Vec::new());
            message = (!rest.ends_with("{}")).then_some(name);
        } else if line == "}" {
            message = None;
        } else if let Some(name) = &message
            && line.ends_with(';')
            && !line.starts_with("//")
        {
            let field = field(line.trim_end_matches(';'), &package).ok_or("a field")?;
            messages.entry(name.clone()).or_default().push(field);
        }
    }
    Ok(())
}

fn field(line: &str, package: &str) -> Option<(String, u32, String)> {
    let (left, number) = line.split_once(" = ")?;
    let (of, name) = left.rsplit_once(' ')?;
    let of = if let Some(of) = of.strip_prefix("map<string, ") {
        format!("%{}", code(of.trim_end_matches('>'), package))
    } else if let Some(of) = of.strip_prefix("repeated ") {
        format!("*{}", code(of, package))
    } else {
        code(of.strip_prefix("optional ")?, package)
    };
    Some((name.to_owned(), number.trim().parse().ok()?, of))
}

fn code(of: &str, package: &str) -> String {
    match of {
        "string" => "s".to_owned(),
        "bytes" => "y".to_owned(),
        "bool" => "b".to_owned(),
        "int32" | "int64" | "uint32" | "uint64" => "i".to_owned(),
        "double" | "float" => "d".to_owned(),
        message => match message.strip_prefix('.') {
            Some(full) => format!("@{}", short(full)),
            None => format!("@{package}.{message}"),
        },
    }
}

fn short(name: &str) -> String {
    name.trim_start_matches("k8s.io.").to_owned()
}
