//! ControllerRevisions: the templates that a stateful or daemon set had, numbered, so that an old one can be told from the new
//! one and be taken up again.

use apimachinery::Meta;
use serde_json::{Value, json};

use crate::action::Action;
use crate::fields::Fields;
use crate::resource::REVISIONS;
use crate::{owner, template};

/// The label of pods, and of a daemon set's revisions, that names a revision.
pub(crate) const LABEL: &str = "controller-revision-hash";
/// The label of a revision with its hash.
const OWN_LABEL: &str = "controller.kubernetes.io/hash";

/// A set's revisions, oldest first, with the one of its template last in number.
#[derive(Debug)]
pub(crate) struct History {
    pub(crate) revisions: Vec<Value>,
    /// The revision of the set's template.
    pub(crate) update: Value,
    /// Times that a hash was taken already.
    pub(crate) collisions: i64,
    pub(crate) actions: Vec<Action>,
}

impl History {
    /// Finds the revision of the set's template, makes it the newest, or makes it.
    pub(crate) fn of(set: &Value, all: &[&Value]) -> Self {
        let own = all.iter().filter(|one| owner::is_controlled_by(one, set.uid()));
        let mut revisions: Vec<Value> = own.map(|one| (*one).clone()).collect();
        revisions.sort_by_key(|one| {
            (one.count("revision"), one.text("metadata/creationTimestamp").to_owned())
        });
        let mut collisions = set.count("status/collisionCount");
        let mut actions = Vec::new();
        let wanted = template::plain(set.at("spec/template"));
        let same = revisions.iter().rposition(|one| template::plain(&template(one)) == wanted);
        let next = revisions.last().map_or(0, |last| last.count("revision")) + 1;
        let update = match same {
            Some(index) if index + 1 == revisions.len() => revisions[index].clone(),
            Some(index) => {
                let mut revision = revisions.remove(index);
                actions.push(Action::change(REVISIONS, &revision, json!({"revision": next})));
                revision["revision"] = json!(next);
                revisions.push(revision.clone());
                revision
            }
            None => {
                let taken = |name: &str| all.iter().any(|one| one.name() == name);
                let mut revision = make(set, next, collisions);
                while taken(revision.name()) {
                    collisions += 1;
                    revision = make(set, next, collisions);
                }
                actions.push(Action::create(REVISIONS, revision.clone()));
                revisions.push(revision.clone());
                revision
            }
        };
        Self { revisions, update, collisions, actions }
    }

    /// Deletes the oldest revisions that no pod has, beyond a limit.
    pub(crate) fn truncate(&self, limit: i64, used: &[&str]) -> Vec<Action> {
        let unused: Vec<&Value> = self
            .revisions
            .iter()
            .filter(|one| !used.contains(&one.name()) && one.name() != self.update.name())
            .collect();
        let excess = unused.len().saturating_sub(usize::try_from(limit).unwrap_or(0));
        unused.into_iter().take(excess).map(|one| Action::delete(REVISIONS, one)).collect()
    }

    /// The revision of a name.
    pub(crate) fn named(&self, name: &str) -> Option<&Value> {
        self.revisions.iter().find(|one| one.name() == name)
    }
}

/// The template that a revision holds.
pub(crate) fn template(revision: &Value) -> Value {
    let mut template = revision.at("data/spec/template").clone();
    if let Some(map) = template.as_object_mut() {
        map.remove("$patch");
    }
    template
}

/// The hash in a revision's name.
pub(crate) fn hash(revision: &Value) -> &str {
    revision.label(OWN_LABEL).or_else(|| revision.label(LABEL)).unwrap_or("")
}

fn make(set: &Value, number: i64, collisions: i64) -> Value {
    let collided = (collisions > 0).then_some(collisions);
    let hash = template::hash(set.at("spec/template"), collided);
    let mut labels = set.map("spec/template/metadata/labels").clone();
    let own = if set.text("kind") == "DaemonSet" { LABEL } else { OWN_LABEL };
    labels.insert(own.to_owned(), json!(hash));
    let mut annotations = set.map("metadata/annotations").clone();
    annotations.remove("kubectl.kubernetes.io/last-applied-configuration");
    let mut template = set.at("spec/template").clone();
    template["$patch"] = json!("replace");
    json!({
        "apiVersion": "apps/v1",
        "kind": "ControllerRevision",
        "metadata": {
            "name": format!("{}-{hash}", set.name()),
            "namespace": set.namespace(),
            "labels": labels,
            "annotations": annotations,
            "ownerReferences": [owner::reference(set)],
        },
        "data": {"spec": {"template": template}},
        "revision": number,
    })
}
