//! Jobs: pods that run to their end, as many as asked for, and not too many that fail.
//!
//! The rules are those of kube-controller-manager 1.34, `pkg/controller/job` and `ttlafterfinished`. Not here: success policies
//! and back-off limits by index.

mod failure_policy;
mod finish;
mod indexes;
mod plan;
mod pods;

use apimachinery::{Key, Meta, Status};
use object_store::Change;

use crate::action::Plan;
use crate::controller::Controller;
use crate::execute::Identity;
use crate::fields::Fields;
use crate::owner;
use crate::resource::{Item, JOBS, PODS, Resource};
use crate::view::{View, values};

/// Who leaves jobs alone: a job may be managed by somebody else.
const OURSELVES: &str = "kubernetes.io/job-controller";

/// The controller of Jobs.
#[derive(Debug)]
pub(crate) struct Jobs;

impl Controller for Jobs {
    fn identity(&self) -> Identity {
        Identity { source: "job-controller", manager: "kube-controller-manager" }
    }

    fn interests(&self) -> Vec<Resource> {
        vec![JOBS, PODS]
    }

    fn route(&mut self, _view: &View, change: &Change) -> Vec<Item> {
        let object = change.object.value();
        if change.object.kind().plural == JOBS.plural {
            return vec![Item::new(JOBS, Key::of(object))];
        }
        let name = owner::controller_named(object, "Job");
        name.map(|name| Item::new(JOBS, Key::namespaced(object.namespace(), name)))
            .into_iter()
            .collect()
    }

    fn reconcile(&mut self, view: &View, item: &Item) -> Result<Plan, Status> {
        let pods = view.within(PODS, &item.key.namespace);
        let Some(job) = view.get(JOBS, &item.key) else {
            // Pods that it left must not wait for it for ever.
            let left = values(&pods).into_iter().filter(|pod| {
                owner::controller_named(pod, "Job") == Some(item.key.name.as_str())
                    && pods::is_tracked(pod)
            });
            return Ok(Plan::of(left.map(pods::untrack).collect()));
        };
        let job = job.value();
        if !matches!(job.text("spec/managedBy"), "" | OURSELVES) {
            return Ok(Plan::default());
        }
        Ok(plan::plan(job, &values(&pods), view.now()))
    }
}
