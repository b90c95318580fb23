//! Changes of an object that is there.

use std::sync::Arc;

use apimachinery::{Kind, Meta, Status};
use serde_json::{Value, json};

use super::State;
use super::delete::may_go;
use crate::custom;
use crate::object::ObjectRef;
use crate::strategy::Write;

impl State {
    /// Makes `new` of `old`, if it may.
    pub(crate) fn change(
        &mut self,
        kind: &Arc<Kind>,
        old: &ObjectRef,
        mut new: Value,
        write: &Write<'_>,
    ) -> Result<ObjectRef, Status> {
        let name = old.value().name();
        let version = new.resource_version();
        if !version.is_empty() && version != old.value().resource_version() {
            return Err(Status::stale(kind, name));
        }
        let uid = new.uid();
        if !uid.is_empty() && uid != old.value().uid() {
            let cause = apimachinery::Cause {
                reason: "FieldValueInvalid".to_owned(),
                message: format!("Invalid value: {uid:?}: field is immutable"),
                field: "metadata.uid".to_owned(),
            };
            return Err(Status::invalid(kind, name, vec![cause.clone(), cause]));
        }
        if new.name() != name && !new.name().is_empty() {
            return Err(Status::bad_request(format!(
                "the name of the object ({}) does not match the name on the URL ({name})",
                new.name()
            )));
        }
        write.prepare_update(self, old.value(), &mut new)?;
        if custom::is_definition(kind) {
            custom::settle(&mut new, &self.kinds, write.now);
        }
        new.metadata_mut().insert("resourceVersion".to_owned(), json!(old.revision().to_string()));
        if may_go(&new) {
            return Ok(self.take(kind, old, write.options.dry_run));
        }
        if new == *old.value() {
            return Ok(Arc::clone(old));
        }
        Ok(self.put(kind, Some(old), new, write.options.dry_run))
    }
}
