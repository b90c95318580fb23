//! Makes faults and undoes them, knowing of Chaos Mesh's resources only how they say what has become of them.

use std::time::Duration;

use cluster_orders::{Manifests, ObjectName};
use kube::api::{DeleteParams, DynamicObject};
use serde_json::Value;
use tokio::time::{Instant, sleep};

use super::{Bed, BedError};

/// Pause between two looks.
const POLL: Duration = Duration::from_millis(30);
/// How an executor begins to say that it never will.
const NEVER: &str = "not supported";

impl Bed {
    /// Applies faults, and waits until all targets have them. What is not made within `limit` is taken away again.
    pub(super) async fn inject(
        &mut self,
        manifests: &Manifests,
        limit: Duration,
    ) -> Result<Vec<ObjectName>, BedError> {
        let faults = self.apply(manifests).await?;
        let deadline = Instant::now() + limit;
        for fault in &faults {
            if let Err(error) = self.wait_until_made(fault, deadline).await {
                self.delete(&faults, limit).await?;
                return Err(error);
            }
        }
        Ok(faults)
    }

    async fn wait_until_made(
        &mut self,
        fault: &ObjectName,
        deadline: Instant,
    ) -> Result<(), BedError> {
        let api = self.api_of(fault).await?;
        loop {
            let why = match made(&api.get(&fault.name).await?) {
                Ok(()) => return Ok(()),
                Err(why) => why,
            };
            if why.starts_with(NEVER) || Instant::now() >= deadline {
                let why = format!("the fault {fault} was not made: {why}");
                return Err(BedError::NotSo { why, pods: Vec::new() });
            }
            sleep(POLL).await;
        }
    }

    /// Deletes objects, and waits until they are gone.
    pub(super) async fn delete(
        &mut self,
        objects: &[ObjectName],
        limit: Duration,
    ) -> Result<(), BedError> {
        let deadline = Instant::now() + limit;
        for object in objects {
            let api = self.api_of(object).await?;
            match api.delete(&object.name, &DeleteParams::background()).await {
                Ok(_) => {}
                Err(kube::Error::Api(status)) if status.code == 404 => {}
                Err(error) => return Err(error.into()),
            }
        }
        for object in objects {
            let api = self.api_of(object).await?;
            while api.get_opt(&object.name).await?.is_some() {
                if Instant::now() >= deadline {
                    let why = format!("{object} is not gone after {limit:?}");
                    return Err(BedError::NotSo { why, pods: Vec::new() });
                }
                sleep(POLL).await;
            }
        }
        Ok(())
    }
}

/// Whether its executor says that all targets have the fault, or why they have not.
fn made(fault: &DynamicObject) -> Result<(), String> {
    // Workflows and schedules have no targets: what they make has.
    if fault.data.pointer("/spec/selector").is_none() {
        return Ok(());
    }
    let condition = |kind: &str| {
        let all = fault.data.pointer("/status/conditions").and_then(Value::as_array);
        all.into_iter().flatten().find(|one| one["type"] == kind)
    };
    if condition("AllInjected").is_some_and(|one| one["status"] == "True") {
        return Ok(());
    }
    let reasons = ["Selected", "AllInjected"].iter().filter_map(|kind| condition(kind));
    let mut reasons =
        reasons.filter_map(|one| one["reason"].as_str()).filter(|text| !text.is_empty());
    let nobody = "nobody has looked at it yet: does an executor of Chaos Mesh's resources run?";
    Err(reasons.next().unwrap_or(nobody).to_owned())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn fault(conditions: &Value) -> DynamicObject {
        let spec = json!({ "selector": {} });
        let value = json!({ "metadata": {}, "spec": spec, "status": { "conditions": conditions } });
        serde_json::from_value(value).unwrap()
    }

    #[test]
    fn a_fault_is_made_when_its_executor_says_so() {
        let all = json!([{ "type": "AllInjected", "status": "True" }]);
        assert_eq!(made(&fault(&all)), Ok(()));
        let refused = json!([
            { "type": "Selected", "status": "True" },
            { "type": "AllInjected", "status": "False", "reason": "not supported here: tea" },
        ]);
        assert_eq!(made(&fault(&refused)), Err("not supported here: tea".to_owned()));
        assert!(made(&fault(&Value::Null)).unwrap_err().contains("nobody has looked"));
    }
}
