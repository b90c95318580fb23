//! JSON patch (RFC 6902), with the liberties that Kubernetes' library takes.

use json_patch::{AddOperation, PatchOperation};
use serde_json::Value;

/// An operation does not fit the object, or is none. The API server does not say which.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct DoesNotApply;

/// Applies operations in order.
pub(super) fn apply(object: &mut Value, operations: &Value) -> Result<(), DoesNotApply> {
    for operation in operations.as_array().into_iter().flatten() {
        let operation = lenient(object, operation)?;
        let operation: PatchOperation =
            serde_json::from_value(operation).map_err(|_| DoesNotApply)?;
        if let PatchOperation::Test(test) = &operation
            && test.value.is_null()
            && test.path.resolve(object).is_err()
            && test.path.parent().is_some_and(|parent| parent.resolve(object).is_ok())
        {
            continue;
        }
        json_patch::patch(object, std::slice::from_ref(&operation)).map_err(|_| DoesNotApply)?;
    }
    Ok(())
}

/// The operation as RFC 6902 would have it: a missing value is null, `replace` of an absent field adds it, `copy` from an
/// absent field copies null.
fn lenient(object: &Value, operation: &Value) -> Result<Value, DoesNotApply> {
    let mut operation = operation.clone();
    let map = operation.as_object_mut().ok_or(DoesNotApply)?;
    let name = map.get("op").and_then(Value::as_str).ok_or(DoesNotApply)?.to_owned();
    let path = map.get("path").and_then(Value::as_str).ok_or(DoesNotApply)?.to_owned();
    if matches!(name.as_str(), "add" | "replace" | "test") && !map.contains_key("value") {
        map.insert("value".to_owned(), Value::Null);
    }
    let in_object = |path: &str| {
        let parent = path.rsplit_once('/').map(|(parent, _)| parent);
        parent.and_then(|parent| object.pointer(parent)).is_some_and(Value::is_object)
    };
    let absent = |path: &str| object.pointer(path).is_none() && in_object(path);
    match name.as_str() {
        "replace" if absent(&path) => {
            map.insert("op".to_owned(), "add".into());
        }
        "copy" => {
            let from = map.get("from").and_then(Value::as_str).ok_or(DoesNotApply)?;
            if absent(from) {
                let path = path.parse().map_err(|_| DoesNotApply)?;
                let add = PatchOperation::Add(AddOperation { path, value: Value::Null });
                return serde_json::to_value(add).map_err(|_| DoesNotApply);
            }
        }
        _ => {}
    }
    Ok(operation)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    /// Operations, and whether kube-apiserver 1.34 took them for `{"data": {"a": "1"}, "metadata": {}}`.
    #[test]
    fn operations_are_taken_and_refused_as_the_real_server_does() {
        let cases = [
            (json!([{"op": "test", "path": "/data/a", "value": "2"}]), false),
            (json!([{"op": "test", "path": "/data/a", "value": "1"}]), true),
            (json!([{"op": "test", "path": "/data/zz", "value": null}]), true),
            (json!([{"op": "test", "path": "/data/zz"}]), true),
            (json!([{"op": "test", "path": "/data/zz", "value": "x"}]), false),
            (json!([{"op": "test", "path": "/foo/zz", "value": null}]), false),
            (json!([{"op": "remove", "path": "/data/zz"}]), false),
            (json!([{"op": "replace", "path": "/data/zz", "value": "x"}]), true),
            (json!([{"op": "replace", "path": "/foo/zz", "value": "x"}]), false),
            (json!([{"op": "add", "path": "/foo/zz", "value": "x"}]), false),
            (json!([{"op": "move", "from": "/data/q", "path": "/data/r"}]), false),
            (json!([{"op": "copy", "from": "/data/q", "path": "/data/r"}]), true),
            (json!([{"op": "nope", "path": "/a"}]), false),
            (json!([{"op": "add", "path": "data", "value": "x"}]), false),
            (json!([{"path": "/nope", "value": 1}]), false),
            (json!([{"op": "add", "path": "/data/n"}]), true),
        ];
        for (operations, taken) in cases {
            let mut object = json!({"data": {"a": "1"}, "metadata": {}});
            assert_eq!(apply(&mut object, &operations).is_ok(), taken, "{operations}");
        }
    }
}
