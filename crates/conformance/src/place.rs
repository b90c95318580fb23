//! Where a behaviour happens: a namespace of its own, the verbs of the API in few words, and what must be removed after.
//!
//! It knows no behaviour.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use http::Method;
use serde_json::{Value, json};

use crate::resource::{CONFIG_MAPS, NAMESPACES, PODS, Resource};
use crate::unmet::{Met, Unmet, items, text};
use crate::watch::Watch;
use crate::wire::{Answer, Call, Wire};

/// Label of everything that a run creates outside a namespace of its own; its value is the run's id.
pub const RUN_LABEL: &str = "conformance/run";
/// The longest that a state may take to come about.
pub const COMES_ABOUT_WITHIN: Duration = Duration::from_secs(45);
/// Time between two looks.
const LOOK_EVERY: Duration = Duration::from_millis(50);
/// A request to remove something is repeated this often.
const REMOVE_TRIES: usize = 3;

/// What a run was asked for.
#[derive(Clone)]
pub struct Settings {
    /// The run's id, which labels what it creates.
    pub run: String,
    /// The image of the course's stub program.
    pub image: String,
    /// The name of a node whose agent runs pods; none where there is none.
    pub live_node: Option<String>,
    /// The `kubectl` to run, for behaviours that are about it.
    pub kubectl: Option<crate::kubectl::Program>,
    /// How the cluster is reached, for behaviours that are about other clients.
    pub config: Option<kube::Config>,
}

/// A namespace of its own and a client with a memory.
pub struct Place {
    /// The client.
    pub wire: Wire,
    /// The namespace.
    pub namespace: String,
    /// What the run was asked for.
    pub settings: Arc<Settings>,
    leftovers: Mutex<Vec<String>>,
}

/// A patch, by its kind.
#[derive(Debug, Clone)]
pub enum Patch {
    /// RFC 6902.
    Json(Value),
    /// RFC 7386.
    Merge(Value),
    /// Kubernetes' own, which knows lists by their keys.
    Strategic(Value),
}

impl Patch {
    fn parts(&self) -> (&'static str, &Value) {
        match self {
            Self::Json(body) => ("application/json-patch+json", body),
            Self::Merge(body) => ("application/merge-patch+json", body),
            Self::Strategic(body) => ("application/strategic-merge-patch+json", body),
        }
    }
}

impl Place {
    /// Creates a namespace by `generateName`.
    ///
    /// # Errors
    /// [`Unmet::Fail`] when the cluster refuses.
    pub async fn open(wire: Wire, settings: Arc<Settings>) -> Met<Self> {
        let manifest = json!({
            "apiVersion": "v1", "kind": "Namespace",
            "metadata": {"generateName": "conform-", "labels": {RUN_LABEL: settings.run}},
        });
        let target = NAMESPACES.collection("");
        let made = wire.call(Method::POST, target).json(&manifest).send().await?.ok()?;
        let namespace = text(&made, "/metadata/name")?.to_owned();
        Ok(Self { wire, namespace, settings, leftovers: Mutex::default() })
    }

    /// Removes the namespace and all that was noted by [`Place::remove_later`]. Failures are left to the next run:
    /// a cluster that cannot delete has been told so by a behaviour.
    pub async fn close(self) {
        let pods = PODS.collection(&self.namespace);
        let at_once = json!({"gracePeriodSeconds": 0});
        let _ = self.wire.call(Method::DELETE, pods).json(&at_once).send().await;
        let mut paths = self.leftovers.into_inner().unwrap_or_else(PoisonError::into_inner);
        paths.push(format!("{}/{}", NAMESPACES.collection(""), self.namespace));
        for path in paths {
            for _ in 0..REMOVE_TRIES {
                let answer = self.wire.call(Method::DELETE, path.clone()).send().await;
                if answer.is_ok_and(|answer| answer.status < 500) {
                    break;
                }
            }
        }
    }

    /// Notes a path outside the namespace that is deleted when the behaviour has ended, however it ends.
    pub fn remove_later(&self, path: String) {
        self.leftovers.lock().unwrap_or_else(PoisonError::into_inner).push(path);
    }

    /// The path of a collection in this namespace.
    #[must_use]
    pub fn collection(&self, of: Resource) -> String {
        of.collection(&self.namespace)
    }

    /// The path of an object, or of a subresource: `name/status`.
    #[must_use]
    pub fn path(&self, of: Resource, name: &str) -> String {
        format!("{}/{name}", self.collection(of))
    }

    /// A request to any target.
    pub fn call(&self, method: Method, target: impl Into<String>) -> Call<'_> {
        self.wire.call(method, target)
    }

    /// Asks for any path.
    ///
    /// # Errors
    /// [`Unmet::Fail`] when no answer comes.
    pub async fn ask(&self, target: impl Into<String>) -> Met<Answer> {
        self.call(Method::GET, target).send().await
    }

    /// Creates an object; `query` may hold `?dryRun=All` or the like.
    ///
    /// # Errors
    /// [`Unmet::Fail`] when no answer comes.
    pub async fn try_create(&self, of: Resource, object: Value, query: &str) -> Met<Answer> {
        let target = format!("{}{query}", self.collection(of));
        self.call(Method::POST, target).json(&typed(of, object)).send().await
    }

    /// Creates an object that must be accepted.
    ///
    /// # Errors
    /// [`Unmet::Fail`] with the refusal.
    pub async fn create(&self, of: Resource, object: Value) -> Met<Value> {
        let made = self.try_create(of, object, "").await?.ok()?;
        if !of.namespaced {
            self.remove_later(self.path(of, text(&made, "/metadata/name")?));
        }
        Ok(made)
    }

    /// Creates a `ConfigMap` with `data`.
    ///
    /// # Errors
    /// [`Unmet::Fail`] with the refusal.
    pub async fn config_map(&self, name: &str, data: Value) -> Met<Value> {
        self.create(CONFIG_MAPS, json!({"metadata": {"name": name}, "data": data})).await
    }

    /// Reads an object.
    ///
    /// # Errors
    /// [`Unmet::Fail`] when no answer comes.
    pub async fn try_get(&self, of: Resource, name: &str) -> Met<Answer> {
        self.ask(self.path(of, name)).await
    }

    /// Reads an object that must be there.
    ///
    /// # Errors
    /// [`Unmet::Fail`] with the refusal.
    pub async fn get(&self, of: Resource, name: &str) -> Met<Value> {
        self.try_get(of, name).await?.ok()
    }

    /// Lists a collection; `query` is empty or starts with `?`.
    ///
    /// # Errors
    /// [`Unmet::Fail`] with the refusal.
    pub async fn list(&self, of: Resource, query: &str) -> Met<Value> {
        self.ask(format!("{}{query}", self.collection(of))).await?.ok()
    }

    /// Replaces an object by itself as changed; `part` is empty, or `/status` or the like.
    ///
    /// # Errors
    /// [`Unmet::Fail`] when no answer comes.
    pub async fn try_replace(&self, of: Resource, object: &Value, part: &str) -> Met<Answer> {
        let name = text(object, "/metadata/name")?;
        let target = format!("{}{part}", self.path(of, name));
        self.call(Method::PUT, target).json(&typed(of, object.clone())).send().await
    }

    /// Replaces an object, which must be accepted.
    ///
    /// # Errors
    /// [`Unmet::Fail`] with the refusal.
    pub async fn replace(&self, of: Resource, object: &Value) -> Met<Value> {
        self.try_replace(of, object, "").await?.ok()
    }

    /// Patches an object, or a subresource by `name/status`; `name` may end in a query.
    ///
    /// # Errors
    /// [`Unmet::Fail`] when no answer comes.
    pub async fn try_patch(&self, of: Resource, name: &str, patch: Patch) -> Met<Answer> {
        let (media_type, body) = patch.parts();
        let call = self.call(Method::PATCH, self.path(of, name));
        call.body(media_type, body.to_string()).send().await
    }

    /// Patches an object, which must be accepted.
    ///
    /// # Errors
    /// [`Unmet::Fail`] with the refusal.
    pub async fn patch(&self, of: Resource, name: &str, patch: Patch) -> Met<Value> {
        self.try_patch(of, name, patch).await?.ok()
    }

    /// Merges `change` into an object.
    ///
    /// # Errors
    /// [`Unmet::Fail`] with the refusal.
    pub async fn merge(&self, of: Resource, name: &str, change: Value) -> Met<Value> {
        self.patch(of, name, Patch::Merge(change)).await
    }

    /// Applies `object` server-side as `manager`; the name comes from its metadata, `extra` is appended to the query.
    ///
    /// # Errors
    /// [`Unmet::Fail`] when no answer comes.
    pub async fn try_apply(
        &self,
        of: Resource,
        manager: &str,
        object: Value,
        extra: &str,
    ) -> Met<Answer> {
        let object = typed(of, object);
        let name = text(&object, "/metadata/name")?;
        let target = format!("{}?fieldManager={manager}{extra}", self.path(of, name));
        let call = self.call(Method::PATCH, target);
        call.body("application/apply-patch+yaml", object.to_string()).send().await
    }

    /// Applies `object` server-side as `manager`, which must be accepted.
    ///
    /// # Errors
    /// [`Unmet::Fail`] with the refusal.
    pub async fn apply(&self, of: Resource, manager: &str, object: Value) -> Met<Value> {
        self.try_apply(of, manager, object, "").await?.ok()
    }

    /// Deletes an object with these `DeleteOptions`.
    ///
    /// # Errors
    /// [`Unmet::Fail`] when no answer comes.
    pub async fn try_delete(&self, of: Resource, name: &str, options: Value) -> Met<Answer> {
        self.call(Method::DELETE, self.path(of, name)).json(&options).send().await
    }

    /// Deletes an object, which must be accepted.
    ///
    /// # Errors
    /// [`Unmet::Fail`] with the refusal.
    pub async fn delete(&self, of: Resource, name: &str, options: Value) -> Met<Value> {
        self.try_delete(of, name, options).await?.ok()
    }

    /// Watches a collection; `query` holds further parameters, each with `&` before it.
    ///
    /// # Errors
    /// [`Unmet::Fail`] when the watch is refused.
    pub async fn watch(&self, of: Resource, query: &str) -> Met<Watch> {
        self.watch_as(of, query, "application/json").await
    }

    /// Watches a collection in another form: metadata only, or as a table.
    ///
    /// # Errors
    /// [`Unmet::Fail`] when the watch is refused.
    pub async fn watch_as(&self, of: Resource, query: &str, accept: &str) -> Met<Watch> {
        let target = format!("{}?watch=true{query}", self.collection(of));
        let response = self.call(Method::GET, target.clone()).accept(accept).open().await?;
        if response.status().as_u16() != 200 {
            let status = response.status();
            let body = response.into_body().collect_bytes().await?;
            let seen = format!("{status} {}", String::from_utf8_lossy(&body));
            return Err(Unmet::fail(format!("GET {target} to be accepted"), seen));
        }
        Ok(Watch::new(response.into_body()))
    }

    /// Looks at an object until `holds`, at most [`COMES_ABOUT_WITHIN`].
    ///
    /// # Errors
    /// [`Unmet::Fail`] with `sentence` and the last state.
    pub async fn until(
        &self,
        of: Resource,
        name: &str,
        sentence: &str,
        holds: impl Fn(&Value) -> bool,
    ) -> Met<Value> {
        self.until_answer(&self.path(of, name), sentence, |answer| {
            answer.status == 200 && holds(&answer.json)
        })
        .await
    }

    /// Looks at a list until `holds`, at most [`COMES_ABOUT_WITHIN`].
    ///
    /// # Errors
    /// [`Unmet::Fail`] with `sentence` and the last list.
    pub async fn until_list(
        &self,
        of: Resource,
        query: &str,
        sentence: &str,
        holds: impl Fn(&[Value]) -> bool,
    ) -> Met<Vec<Value>> {
        let target = format!("{}{query}", self.collection(of));
        let answered = self.until_answer(&target, sentence, |answer| {
            answer.json["items"].as_array().is_some_and(|items| holds(items))
        });
        let list = answered.await?;
        Ok(list["items"].as_array().cloned().unwrap_or_default())
    }

    /// Looks until an object is gone.
    ///
    /// # Errors
    /// [`Unmet::Fail`] with the state that stays.
    pub async fn until_gone(&self, of: Resource, name: &str) -> Met {
        let sentence = format!("{} {name} to be gone", of.kind);
        self.until_answer(&self.path(of, name), &sentence, |answer| answer.status == 404).await?;
        Ok(())
    }

    /// Asks for `target` until the answer `holds`.
    ///
    /// # Errors
    /// [`Unmet::Fail`] with `sentence` and the last answer.
    pub async fn until_answer(
        &self,
        target: &str,
        sentence: &str,
        holds: impl Fn(&Answer) -> bool,
    ) -> Met<Value> {
        let started = Instant::now();
        loop {
            let answer = self.ask(target).await?;
            if holds(&answer) {
                return Ok(answer.json);
            }
            if started.elapsed() > COMES_ABOUT_WITHIN {
                return Err(Unmet::fail(
                    format!("{sentence}, within {COMES_ABOUT_WITHIN:?}"),
                    last_state(&answer),
                ));
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }
}

/// What matters in a state that never came right, without the noise of metadata and spec.
fn last_state(answer: &Answer) -> String {
    if answer.status != 200 {
        return answer.seen();
    }
    match answer.json["items"].as_array() {
        Some(items) => {
            let each: Vec<_> = items.iter().map(brief).collect();
            format!("{} items: {}", items.len(), each.join(", "))
        }
        None => brief(&answer.json),
    }
}

/// Name and status of an object; of a pod first what its containers wait for.
fn brief(object: &Value) -> String {
    let status = &object["status"];
    let mut shown = object["metadata"]["name"].as_str().unwrap_or_default().to_owned();
    for list in ["/initContainerStatuses", "/containerStatuses"] {
        for container in items(status, list) {
            shown += &format!(" {}: {}", container["name"], container["state"]);
        }
    }
    format!("{shown} {status}")
}

/// Fills in the API version and kind where they are missing.
fn typed(of: Resource, mut object: Value) -> Value {
    if object["apiVersion"].is_null() {
        object["apiVersion"] = of.group_version.into();
    }
    if object["kind"].is_null() {
        object["kind"] = of.kind.into();
    }
    object
}
