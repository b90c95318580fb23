//! Server-side apply: who owns which fields, and what an applied configuration makes of an object.
//!
//! Rules: Kubernetes' structured merge and field manager, as of 1.34. An applier owns the fields it names; an updater owns
//! what its write added or changed. Fields that an applier drops and nobody else owns go. Times come from the caller.

mod atom;
mod managed;
mod merge;
mod path;
mod set;
mod walk;

use std::sync::LazyLock;

use serde_json::{Value, json};

pub use managed::Operation;
pub use path::{Step, show};
pub use set::FieldSet;

use crate::schema::Typed;
use crate::status::Cause;
use crate::{Details, Kind, Meta, Reason, Status};
use managed::{Entry, Managed};
use walk::{Comparison, compare, fields_of};

/// The annotation in which `kubectl apply` of the client's side keeps what it applied last.
const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";
/// The manager of fields that nobody tracked before the first apply.
const BEFORE_FIRST: &str = "before-first-apply";

/// Who writes what.
#[derive(Clone, Copy, Debug)]
pub struct Writer<'a> {
    /// The kind of the object.
    pub kind: &'a Kind,
    /// Its schema.
    pub typed: Typed<'a>,
    /// The field manager's name; empty is `unknown`.
    pub manager: &'a str,
    /// The subresource written, like `status`; empty: the object itself.
    pub subresource: &'a str,
    /// Now, in RFC 3339 with whole seconds.
    pub now: &'a str,
}

/// Fields of metadata that nobody owns.
static NOBODYS: LazyLock<FieldSet> = LazyLock::new(|| {
    let mut set = FieldSet::of(&[&["apiVersion"], &["kind"], &["metadata"]]);
    for name in [
        "name",
        "namespace",
        "creationTimestamp",
        "selfLink",
        "uid",
        "clusterName",
        "generation",
        "managedFields",
        "resourceVersion",
    ] {
        set.insert(&[Step::field("metadata"), Step::field(name)]);
    }
    set
});

impl Writer<'_> {
    fn entry(&self, operation: Operation, fields: FieldSet) -> Entry {
        Entry {
            manager: if self.manager.is_empty() { "unknown" } else { self.manager }.to_owned(),
            operation,
            api_version: self.kind.api_version(),
            subresource: self.subresource.to_owned(),
            time: None,
            fields,
        }
    }

    /// Fields that a write of this part cannot change, so that nobody owns them by it.
    fn reset(&self) -> FieldSet {
        match (self.subresource, self.kind.kind.as_str()) {
            ("", _) if self.kind.has_status() => FieldSet::of(&[&["status"]]),
            ("status", "Deployment") => FieldSet::of(&[&["spec"], &["metadata", "labels"]]),
            ("status", "Pod") => FieldSet::of(&[
                &["spec"],
                &["metadata", "deletionTimestamp"],
                &["metadata", "ownerReferences"],
            ]),
            ("status", _) => FieldSet::of(&[&["spec"]]),
            _ => FieldSet::default(),
        }
    }

    /// Takes from all but one manager what a write changed; returns what it changed.
    fn take(
        &self,
        managed: &mut Managed,
        old: &Value,
        new: &Value,
        but: Option<&Entry>,
    ) -> Comparison {
        let changes = compare(self.typed, &bare(old), &bare(new)).without(&self.reset());
        let touched = changes.touched();
        for entry in managed.0.iter_mut().filter(|entry| but.is_none_or(|but| !entry.is_of(but))) {
            entry.fields = entry.fields.difference(&touched).difference(&changes.removed);
        }
        managed.0.retain(|entry| !entry.fields.is_empty());
        changes
    }

    /// Notes in `new` which fields a write other than an apply took over. `old` is the newest version; for a creation,
    /// the empty object of the kind, settled.
    pub fn track(&self, old: &Value, new: &mut Value) {
        let mut managed = Managed::before(old, new, self.subresource.is_empty());
        let creation = old.uid().is_empty();
        new.metadata_mut().remove("managedFields");
        if managed.0.is_empty() && !creation {
            return;
        }
        self.update(&mut managed, old, new);
        managed.write(new);
    }

    fn update(&self, managed: &mut Managed, old: &Value, new: &Value) {
        let changes = self.take(managed, old, new, None);
        let fields = changes.touched().difference(&NOBODYS);
        if fields.is_empty() {
            return;
        }
        let mut own = self.entry(Operation::Update, fields);
        own.time = Some(self.now.to_owned());
        match managed.0.iter_mut().find(|entry| entry.is_of(&own)) {
            Some(known) => {
                known.fields = known.fields.union(&own.fields);
                known.time = own.time;
            }
            None => managed.0.push(own),
        }
        managed.cap(&self.kind.api_version());
    }

    /// What an applied configuration makes of an object: of `live`, or for a creation of the empty object of the kind,
    /// settled. The result is not settled yet, and carries the managed fields.
    ///
    /// # Errors
    /// 409 with a cause for each field that another manager owns with another value, unless `force`; 400 and 500 for a
    /// configuration that cannot be applied, in the API server's words.
    pub fn apply(&self, live: &Value, config: &Value, force: bool) -> Result<Value, Status> {
        if config["metadata"].get("managedFields").is_some_and(|fields| !fields.is_null()) {
            return Err(Status::bad_request("metadata.managedFields must be nil"));
        }
        self.check(self.typed, config, &mut Vec::new()).map_err(|why| {
            let (namespace, name) = (config.namespace(), config.name());
            let (group, version) = (&self.kind.group, &self.kind.version);
            let version = if group.is_empty() { version.clone() } else { format!("{group}/{version}") };
            let kind = &self.kind.kind;
            let core = if group.is_empty() { "/" } else { "" };
            let message = format!(
                "failed to create typed patch object ({namespace}/{name}; {core}{version}, Kind={kind}): {why}"
            );
            Status::new(500, Reason::Unknown, message)
        })?;
        let mut managed = Managed::read(live).unwrap_or_default();
        if managed.0.is_empty() && !live.uid().is_empty() {
            let first = Writer { manager: BEFORE_FIRST, subresource: "", ..*self };
            first.update(&mut managed, &json!({}), live);
        }
        let applied = self.applied(&managed, live, config, force);
        let allowed = self.manager == "kubectl" && live.annotation(LAST_APPLIED).is_some();
        let (mut new, managed) = match applied {
            Err(conflicts) if allowed => {
                let conflicts = self.beyond_last_applied(live, conflicts);
                if !conflicts.is_empty() {
                    return Err(conflict(&conflicts));
                }
                self.applied(&managed, live, config, true)
                    .map_err(|conflicts| conflict(&conflicts))?
            }
            other => other.map_err(|conflicts| conflict(&conflicts))?,
        };
        if allowed {
            let annotations = new.metadata_mut().entry("annotations").or_insert_with(|| json!({}));
            annotations[LAST_APPLIED] = json!(last_applied(config));
        }
        managed.write(&mut new);
        Ok(new)
    }

    /// Merges, prunes and takes over; or the conflicts: managers and paths.
    fn applied(
        &self,
        before: &Managed,
        live: &Value,
        config: &Value,
        force: bool,
    ) -> Result<(Value, Managed), Vec<(Entry, FieldSet)>> {
        let mut managed = before.clone();
        let (live, config) = (bare(live), bare(config));
        let merged = merge::merge(self.typed, &live, &config);
        let fields = fields_of(self.typed, &config).without(&self.reset());
        let mut own = self.entry(Operation::Apply, fields);
        let place = managed.0.iter().position(|entry| entry.is_of(&own));
        let last = place.map(|at| managed.0.remove(at));
        own.time = last.as_ref().and_then(|last| last.time.clone());
        let new = match &last {
            // Whoever names all that he named last drops nothing.
            Some(last) if !last.fields.difference(&own.fields).is_empty() => {
                let everybody = managed
                    .0
                    .iter()
                    .fold(own.fields.clone(), |all, entry| all.union(&entry.fields));
                self.prune(&merged, &last.fields, &everybody)
            }
            _ => merged,
        };
        let changes = compare(self.typed, &live, &new).without(&self.reset());
        if !force {
            let touched = changes.touched();
            let conflicts: Vec<(Entry, FieldSet)> = managed
                .0
                .iter()
                .map(|entry| (entry.clone(), entry.fields.intersection(&touched)))
                .filter(|(_, fields)| !fields.is_empty())
                .collect();
            if !conflicts.is_empty() {
                return Err(conflicts);
            }
        }
        self.take(&mut managed, &live, &new, None);
        if live != new {
            own.time = Some(self.now.to_owned());
        }
        own.fields = own.fields.difference(&NOBODYS);
        managed.0.push(own);
        Ok((new, managed))
    }

    /// Takes out what this applier named last time and nobody names now.
    fn prune(&self, merged: &Value, last: &FieldSet, everybody: &FieldSet) -> Value {
        let typed = self.typed;
        let named = |set: &FieldSet| set.with_named(typed);
        let last = named(last);
        let pruned = merge::remove(typed, merged, &last);
        let all = named(&fields_of(typed, merged));
        let kept = named(&fields_of(typed, &pruned)).union(&named(everybody));
        let pruned = merge::remove(typed, merged, &all.difference(&kept));
        let kept = named(&fields_of(typed, &pruned));
        merge::remove(typed, merged, &all.difference(&kept).intersection(&last))
    }

    /// Conflicts that `kubectl apply` of the client's side did not cause itself: it owns what it applied last, as long as
    /// nobody changed it.
    fn beyond_last_applied(
        &self,
        live: &Value,
        conflicts: Vec<(Entry, FieldSet)>,
    ) -> Vec<(Entry, FieldSet)> {
        let text = live.annotation(LAST_APPLIED).unwrap_or("");
        let Ok(last) = serde_json::from_str::<Value>(text) else { return conflicts };
        if last["apiVersion"].as_str() != Some(&self.kind.api_version()) {
            return conflicts;
        }
        let changes = compare(self.typed, &last, &bare(live));
        let own = fields_of(self.typed, &last)
            .difference(&changes.touched())
            .difference(&changes.removed);
        let rest = conflicts.into_iter().map(|(entry, fields)| (entry, fields.difference(&own)));
        rest.filter(|(_, fields)| !fields.is_empty()).collect()
    }

    /// What the schema has against a configuration.
    fn check(&self, typed: Typed<'_>, value: &Value, path: &mut Vec<Step>) -> Result<(), String> {
        use crate::schema::Shape;
        let expected = |what: &str| {
            let found = match value {
                Value::Object(_) => "map".to_owned(),
                Value::Array(_) => "list".to_owned(),
                Value::String(_) => "string".to_owned(),
                other => crate::decode::go_print(other),
            };
            Err(format!("{}: expected {what}, got {found}", show(path)))
        };
        match (typed.shape(), value) {
            (_, Value::Null) | (Shape::Any, _) => Ok(()),
            (Shape::Integer | Shape::Number, found) if !found.is_number() => {
                expected("numeric (int or float)")
            }
            (Shape::Text, found) if !found.is_string() => expected("string"),
            (Shape::Boolean, found) if !found.is_boolean() => expected("boolean"),
            (Shape::Object(_) | Shape::Map(_), Value::Object(map)) => {
                for (name, value) in map {
                    let Some(inner) = typed.field(name) else {
                        return Err(format!("{}.{name}: field not declared in schema", show(path)));
                    };
                    path.push(Step::field(name));
                    self.check(inner, value, path)?;
                    path.pop();
                }
                Ok(())
            }
            (Shape::Object(_) | Shape::Map(_), _) => expected("map"),
            (Shape::List(_), Value::Array(list)) => {
                let mut seen: Vec<Step> = Vec::new();
                for (at, item) in list.iter().enumerate() {
                    let step = match atom::atom(typed, value) {
                        atom::Atom::List(typed, keys) => match atom::step(typed, keys, item) {
                            Some(step) if seen.contains(&step) => {
                                let path = show(path);
                                return Err(format!("{path}: duplicate entries for key {step}"));
                            }
                            Some(step) => step,
                            None => {
                                let path = show(path);
                                return Err(format!(
                                    "{path}: element {at}: associative list with keys has an element that omits all key fields {keys:?} (and doesn't have default values for any key fields)"
                                ));
                            }
                        },
                        _ => Step::Index(i64::try_from(at).unwrap_or(i64::MAX)),
                    };
                    seen.push(step.clone());
                    path.push(step);
                    self.check(typed.item(), item, path)?;
                    path.pop();
                }
                Ok(())
            }
            (Shape::List(_), _) => expected("list"),
            _ => Ok(()),
        }
    }
}

/// An object without its managed fields.
fn bare(object: &Value) -> Value {
    let mut object = object.clone();
    if object["metadata"].is_object() {
        object.metadata_mut().remove("managedFields");
    }
    object
}

/// The annotation's text for a configuration.
fn last_applied(config: &Value) -> String {
    let mut config = bare(config);
    if let Some(annotations) =
        config["metadata"].get_mut("annotations").and_then(Value::as_object_mut)
    {
        annotations.remove(LAST_APPLIED);
    }
    format!("{config}\n")
}

fn conflict(conflicts: &[(Entry, FieldSet)]) -> Status {
    let mut causes = Vec::new();
    let mut groups: Vec<(String, Vec<String>)> = Vec::new();
    for (entry, fields) in conflicts {
        let who = entry.shown();
        let mut paths = Vec::new();
        fields.each(|path| paths.push(show(path)));
        causes.extend(paths.iter().map(|path| Cause {
            reason: "FieldManagerConflict".to_owned(),
            message: format!("conflict with {who}"),
            field: path.clone(),
        }));
        groups.push((who, paths));
    }
    groups.sort();
    let message = match causes.as_slice() {
        [one] => format!("Apply failed with 1 conflict: {}: {}", one.message, one.field),
        many => {
            let mut lines = Vec::new();
            for (who, paths) in &groups {
                lines.push(format!("conflicts with {who}:"));
                lines.extend(paths.iter().map(|path| format!("- {path}")));
            }
            format!("Apply failed with {} conflicts: {}", many.len(), lines.join("\n"))
        }
    };
    let mut status = Status::new(409, Reason::Conflict, message);
    status.details = Some(Box::new(Details { causes, ..Details::default() }));
    status
}

#[cfg(test)]
mod tests;
