//! What the server checks, fills in and keeps people from changing.

use http::Method;
use serde_json::{Value, json};

use crate::behaviour::group;
use crate::fixture::{container, idle_deployment, idle_pod, idle_template, service};
use crate::place::{Patch, Place};
use crate::resource::{
    AUTOSCALERS, CLAIMS, CONFIG_MAPS, DAEMON_SETS, DEPLOYMENTS, JOBS, PODS, Resource, SECRETS,
    SERVICES, STATEFUL_SETS,
};
use crate::unmet::{Met, ensure, items, mentions, same, text};

group!("validation", "field validation, defaults, dry runs, immutable fields", {
    "fieldValidation=Strict refuses an unknown field with 400 and its path" => strict,
    "fieldValidation=Warn keeps the object and warns of the unknown field" => warn,
    "fieldValidation=Ignore drops an unknown field silently" => ignore,
    "fieldValidation=Strict refuses a field given twice" => duplicates,
    "fieldValidation is checked for patches and server-side apply" => strict_patches,
    "a body that is no JSON, or of another type, is refused with 400" => malformed,
    "a body of another kind or version is refused with 400" => other_kind,
    "a YAML body is understood" => yaml,
    "a body of an unknown media type is refused with 415" => media_type,
    "a pod is given its defaults" => pod_defaults,
    "probes and downward API fields are given their defaults" => probe_defaults,
    "a Deployment is given its defaults" => deployment_defaults,
    "a Service is given its defaults and an address" => service_defaults,
    "a NodePort service is given a port" => node_port,
    "a Job, StatefulSet and DaemonSet are given their defaults" => workload_defaults,
    "a Secret's stringData becomes data" => string_data,
    "limits are the default of requests" => limits,
    "a pod without containers is refused with 422" => no_containers,
    "every mistake is a cause with its field" => causes,
    "quantities, ports and names are checked" => values,
    "requests above limits are refused with 422" => requests,
    "a Deployment whose selector does not match its template is refused with 422" => selector,
    "ConfigMap keys are checked" => config_keys,
    "an HPA with fewer maxReplicas than minReplicas is refused with 422" => autoscaler,
    "a Deployment's selector cannot change" => immutable_selector,
    "a pod's containers and node cannot change, its image can" => immutable_pod,
    "an immutable ConfigMap or Secret cannot change" => immutable_data,
    "a Secret's type cannot change" => immutable_type,
    "a Service's address cannot change" => immutable_address,
    "a Job's template and a StatefulSet's volume claims cannot change" => immutable_workloads,
    "a claim's spec cannot change" => immutable_claim,
    "a dry run of create, replace, patch and delete changes nothing" => dry_runs,
    "a dry run is validated, and an unknown value of dryRun refused" => dry_run_checked,
    "a dry run of a create by generateName gives no name away" => dry_run_names,
});

fn with_unknown() -> Value {
    let mut deployment = idle_deployment("a", 0);
    deployment["spec"]["nonsense"] = true.into();
    deployment
}

async fn strict(at: &Place) -> Met {
    let answer = at.try_create(DEPLOYMENTS, with_unknown(), "?fieldValidation=Strict").await?;
    let status = answer.refused(400, "BadRequest")?;
    mentions(&status, "/message", "unknown field \"spec.nonsense\"")?;
    let mut deep = idle_deployment("a", 0);
    deep["spec"]["template"]["spec"]["containers"][0]["imige"] = "x".into();
    let answer = at.try_create(DEPLOYMENTS, deep, "?fieldValidation=Strict").await?;
    let status = answer.refused(400, "BadRequest")?;
    mentions(&status, "/message", "unknown field \"spec.template.spec.containers[0].imige\"")?;
    at.try_create(DEPLOYMENTS, with_unknown(), "?fieldValidation=Other")
        .await?
        .ok()
        .err()
        .map_or_else(
            || Err(crate::unmet::Unmet::fail("a refusal of fieldValidation=Other", "accepted")),
            |_| Ok(()),
        )
}

async fn warn(at: &Place) -> Met {
    let answer = at.try_create(DEPLOYMENTS, with_unknown(), "?fieldValidation=Warn").await?;
    let warnings = answer.warnings().join("\n");
    ensure(warnings.contains("unknown field \\\"spec.nonsense\\\""), "a warning", &warnings)?;
    ensure(warnings.starts_with("299 - "), "warn code 299", &warnings)?;
    same(&answer.ok()?, "/spec/nonsense", Value::Null)
}

async fn ignore(at: &Place) -> Met {
    let answer = at.try_create(DEPLOYMENTS, with_unknown(), "?fieldValidation=Ignore").await?;
    ensure(answer.warnings().is_empty(), "no warning", answer.warnings().join("\n"))?;
    same(&answer.ok()?, "/spec/nonsense", Value::Null)
}

async fn duplicates(at: &Place) -> Met {
    let body = r#"{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"a"},"data":{"k":"1","k":"2"}}"#;
    let target = format!("{}?fieldValidation=Strict", at.collection(CONFIG_MAPS));
    let call = at.call(Method::POST, target).body("application/json", body);
    let status = call.send().await?.refused(400, "BadRequest")?;
    mentions(&status, "/message", "duplicate field \"data.k\"")
}

async fn strict_patches(at: &Place) -> Met {
    at.create(DEPLOYMENTS, idle_deployment("a", 0)).await?;
    let change = json!({"spec": {"nonsense": true}});
    for patch in [Patch::Merge(change.clone()), Patch::Strategic(change)] {
        let answer = at.try_patch(DEPLOYMENTS, "a?fieldValidation=Strict", patch).await?;
        ensure([400, 422].contains(&answer.status), "a refusal", answer.seen())?;
        mentions(&answer.json, "/message", "unknown field \"spec.nonsense\"")?;
    }
    // Apply always refuses: a field without a schema cannot be owned.
    let answer = at.try_apply(DEPLOYMENTS, "one", with_unknown(), "&force=true").await?;
    ensure(answer.status >= 400, "a refusal", answer.seen())?;
    mentions(&answer.json, "/message", "nonsense")
}

async fn post(at: &Place, of: Resource, body: &str) -> Met<crate::wire::Answer> {
    at.call(Method::POST, at.collection(of)).body("application/json", body).send().await
}

async fn malformed(at: &Place) -> Met {
    for body in ["{", "[]", "\"text\"", "nonsense", "{\"metadata\": 3}"] {
        let answer = post(at, CONFIG_MAPS, body).await?;
        ensure(answer.status == 400, format!("400 for {body}"), answer.seen())?;
    }
    for (pointer, value) in [
        ("replicas", json!("three")),
        ("template", json!([])),
        ("selector", json!({"matchLabels": {"app": 3}})),
    ] {
        let mut deployment = idle_deployment("a", 0);
        deployment["spec"][pointer] = value;
        at.try_create(DEPLOYMENTS, deployment, "").await?.refused(400, "BadRequest")?;
    }
    Ok(())
}

async fn other_kind(at: &Place) -> Met {
    let other = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "a"}});
    at.try_create(CONFIG_MAPS, other, "").await?.refused(400, "BadRequest")?;
    let version = json!({"apiVersion": "v2", "kind": "ConfigMap", "metadata": {"name": "a"}});
    at.try_create(CONFIG_MAPS, version, "").await?.refused(400, "BadRequest")?;
    Ok(())
}

async fn yaml(at: &Place) -> Met {
    let body = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\ndata:\n  k: \"1\"\n";
    let call = at.call(Method::POST, at.collection(CONFIG_MAPS)).body("application/yaml", body);
    same(&call.send().await?.ok()?, "/data/k", "1")
}

async fn media_type(at: &Place) -> Met {
    let call = at.call(Method::POST, at.collection(CONFIG_MAPS)).body("text/csv", "a,b");
    call.send().await?.refused(415, "UnsupportedMediaType")?;
    Ok(())
}

async fn pod_defaults(at: &Place) -> Met {
    let mut pod = idle_pod("a");
    pod["spec"]["containers"][0]["ports"] = json!([{"containerPort": 80}]);
    let pod = at.create(PODS, pod).await?;
    for (pointer, expected) in [
        ("/spec/restartPolicy", json!("Always")),
        ("/spec/dnsPolicy", json!("ClusterFirst")),
        ("/spec/terminationGracePeriodSeconds", json!(30)),
        ("/spec/enableServiceLinks", json!(true)),
        ("/spec/preemptionPolicy", json!("PreemptLowerPriority")),
        ("/spec/priority", json!(0)),
        ("/spec/containers/0/imagePullPolicy", json!("IfNotPresent")),
        ("/spec/containers/0/terminationMessagePath", json!("/dev/termination-log")),
        ("/spec/containers/0/terminationMessagePolicy", json!("File")),
        ("/spec/containers/0/ports/0/protocol", json!("TCP")),
        ("/status/phase", json!("Pending")),
        ("/status/qosClass", json!("BestEffort")),
    ] {
        same(&pod, pointer, expected)?;
    }
    let mut latest = idle_pod("b");
    latest["spec"]["containers"][0]["image"] = "a/b".into();
    let latest = at.create(PODS, latest).await?;
    same(&latest, "/spec/containers/0/imagePullPolicy", "Always")?;
    let tolerated: Vec<_> = items(&latest, "/spec/tolerations")
        .iter()
        .filter(|t| t["effect"] == "NoExecute" && t["tolerationSeconds"] == 300)
        .filter_map(|t| t["key"].as_str())
        .collect();
    let right = tolerated.contains(&"node.kubernetes.io/not-ready")
        && tolerated.contains(&"node.kubernetes.io/unreachable");
    ensure(right, "tolerations of not-ready and unreachable for 300 s", format!("{tolerated:?}"))
}

async fn probe_defaults(at: &Place) -> Met {
    let mut pod = idle_pod("a");
    pod["spec"]["containers"][0]["readinessProbe"] = json!({"httpGet": {"port": 80}});
    pod["spec"]["containers"][0]["env"] =
        json!([{"name": "N", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}}]);
    pod["spec"]["volumes"] = json!([{"name": "v", "configMap": {"name": "c"}}]);
    let pod = at.create(PODS, pod).await?;
    let container = &pod["spec"]["containers"][0];
    same(
        container,
        "/readinessProbe",
        json!({
            "httpGet": {"path": "/", "port": 80, "scheme": "HTTP"}, "timeoutSeconds": 1,
            "periodSeconds": 10, "successThreshold": 1, "failureThreshold": 3,
        }),
    )?;
    same(container, "/env/0/valueFrom/fieldRef/apiVersion", "v1")?;
    let volume = items(&pod, "/spec/volumes").iter().find(|volume| volume["name"] == "v");
    same(volume.unwrap_or(&Value::Null), "/configMap/defaultMode", 0o644)
}

async fn deployment_defaults(at: &Place) -> Met {
    let mut deployment = idle_deployment("a", 0);
    deployment["spec"]["paused"] = true.into();
    if let Some(spec) = deployment["spec"].as_object_mut() {
        spec.remove("replicas");
    }
    let made = at.create(DEPLOYMENTS, deployment).await?;
    for (pointer, expected) in [
        ("/spec/replicas", json!(1)),
        ("/spec/strategy/type", json!("RollingUpdate")),
        ("/spec/strategy/rollingUpdate", json!({"maxSurge": "25%", "maxUnavailable": "25%"})),
        ("/spec/revisionHistoryLimit", json!(10)),
        ("/spec/progressDeadlineSeconds", json!(600)),
        ("/spec/template/spec/restartPolicy", json!("Always")),
        ("/spec/template/metadata/creationTimestamp", Value::Null),
    ] {
        same(&made, pointer, expected)?;
    }
    Ok(())
}

async fn service_defaults(at: &Place) -> Met {
    let mut bare = service("a");
    bare["spec"]["ports"] = json!([{"port": 80}]);
    let made = at.create(SERVICES, bare).await?;
    let address = text(&made, "/spec/clusterIP")?;
    ensure(address.parse::<std::net::IpAddr>().is_ok(), "an address", address)?;
    for (pointer, expected) in [
        ("/spec/type", json!("ClusterIP")),
        ("/spec/clusterIPs", json!([address])),
        ("/spec/sessionAffinity", json!("None")),
        ("/spec/internalTrafficPolicy", json!("Cluster")),
        ("/spec/ipFamilyPolicy", json!("SingleStack")),
        ("/spec/ipFamilies", json!(["IPv4"])),
        ("/spec/ports/0", json!({"port": 80, "protocol": "TCP", "targetPort": 80})),
    ] {
        same(&made, pointer, expected)?;
    }
    let other = at.create(SERVICES, service("b")).await?;
    ensure(other["spec"]["clusterIP"] != made["spec"]["clusterIP"], "another address", address)?;
    let mut headless = service("c");
    headless["spec"]["clusterIP"] = "None".into();
    same(&at.create(SERVICES, headless).await?, "/spec/clusterIPs", json!(["None"]))
}

async fn node_port(at: &Place) -> Met {
    let mut open = service("a");
    open["spec"]["type"] = "NodePort".into();
    let made = at.create(SERVICES, open).await?;
    let port = crate::unmet::number(&made, "/spec/ports/0/nodePort")?;
    ensure((30000..32768).contains(&port), "a port between 30000 and 32767", port)
}

async fn workload_defaults(at: &Place) -> Met {
    let mut job = json!({"metadata": {"name": "a"}, "spec": {"suspend": true,
        "template": {"spec": {"schedulerName": "nobody", "restartPolicy": "Never",
            "containers": [container()]}}}});
    let made = at.create(JOBS, job.clone()).await?;
    for (pointer, expected) in [
        ("/spec/backoffLimit", json!(6)),
        ("/spec/completions", json!(1)),
        ("/spec/parallelism", json!(1)),
        ("/spec/completionMode", json!("NonIndexed")),
        ("/spec/podReplacementPolicy", json!("TerminatingOrFailed")),
    ] {
        same(&made, pointer, expected)?;
    }
    let uid = text(&made, "/metadata/uid")?;
    let label = "/spec/selector/matchLabels/batch.kubernetes.io~1controller-uid";
    same(&made, label, uid)?;
    job["metadata"]["name"] = "always".into();
    job["spec"]["template"]["spec"]["restartPolicy"] = "Always".into();
    at.try_create(JOBS, job, "").await?.refused(422, "Invalid")?;

    let set = json!({"metadata": {"name": "a"}, "spec": {"replicas": 0, "serviceName": "a",
        "selector": {"matchLabels": {"app": "a"}}, "template": idle_template("a")}});
    let made = at.create(STATEFUL_SETS, set).await?;
    same(&made, "/spec/podManagementPolicy", "OrderedReady")?;
    same(
        &made,
        "/spec/updateStrategy",
        json!({"type": "RollingUpdate", "rollingUpdate": {"partition": 0}}),
    )?;
    same(&made, "/spec/revisionHistoryLimit", 10)?;

    let mut template = idle_template("a");
    template["spec"]["nodeSelector"] = json!({"conformance/no": "node"});
    let set = json!({"metadata": {"name": "a"}, "spec": {
        "selector": {"matchLabels": {"app": "a"}}, "template": template}});
    let made = at.create(DAEMON_SETS, set).await?;
    let update =
        json!({"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 0, "maxUnavailable": 1}});
    same(&made, "/spec/updateStrategy", update)
}

async fn string_data(at: &Place) -> Met {
    let secret =
        json!({"metadata": {"name": "a"}, "data": {"b": "Yg=="}, "stringData": {"a": "a"}});
    let made = at.create(SECRETS, secret).await?;
    same(&made, "/data", json!({"a": "YQ==", "b": "Yg=="}))?;
    same(&made, "/stringData", Value::Null)?;
    same(&made, "/type", "Opaque")?;
    let broken = json!({"metadata": {"name": "b"}, "data": {"b": "not base64!"}});
    at.try_create(SECRETS, broken, "").await?.refused(400, "BadRequest")?;
    Ok(())
}

async fn limits(at: &Place) -> Met {
    let mut pod = idle_pod("a");
    pod["spec"]["containers"][0]["resources"] =
        json!({"limits": {"cpu": "0.5", "memory": "1Gi", "nvidia.com/gpu": 1}});
    let made = at.create(PODS, pod).await?;
    let expected = json!({"cpu": "500m", "memory": "1Gi", "nvidia.com/gpu": "1"});
    same(&made, "/spec/containers/0/resources/limits", expected.clone())?;
    same(&made, "/spec/containers/0/resources/requests", expected)?;
    same(&made, "/status/qosClass", "Guaranteed")
}

async fn no_containers(at: &Place) -> Met {
    let pod = json!({"metadata": {"name": "a"}, "spec": {"containers": []}});
    let status = at.try_create(PODS, pod, "").await?.refused(422, "Invalid")?;
    same(&status, "/details/causes/0/field", "spec.containers")?;
    same(&status, "/details/causes/0/reason", "FieldValueRequired")?;
    mentions(&status, "/message", "Pod \"a\" is invalid: spec.containers: Required value")
}

async fn causes(at: &Place) -> Met {
    let mut pod = idle_pod("a");
    pod["spec"]["restartPolicy"] = "Sometimes".into();
    pod["spec"]["containers"][0]["name"] = "Bad_Name".into();
    pod["spec"]["containers"][0]["volumeMounts"] = json!([{"name": "none", "mountPath": "/m"}]);
    let status = at.try_create(PODS, pod, "").await?.refused(422, "Invalid")?;
    let fields: Vec<_> =
        items(&status, "/details/causes").iter().filter_map(|c| c["field"].as_str()).collect();
    for field in
        ["spec.restartPolicy", "spec.containers[0].name", "spec.containers[0].volumeMounts[0].name"]
    {
        ensure(fields.contains(&field), format!("a cause for {field}"), format!("{fields:?}"))?;
    }
    same(&status, "/details/kind", "Pod")
}

async fn values(at: &Place) -> Met {
    let container = |part: Value| {
        let mut pod = idle_pod("a");
        if let (Some(into), Some(from)) =
            (pod["spec"]["containers"][0].as_object_mut(), part.as_object())
        {
            into.extend(from.clone());
        }
        pod
    };
    for (part, code) in [
        (json!({"resources": {"requests": {"cpu": "much"}}}), 400),
        (json!({"resources": {"requests": {"cpu": "-1"}}}), 422),
        (json!({"resources": {"requests": {"nvidia.com/gpu": "1"}}}), 422),
        (json!({"ports": [{"containerPort": 70000}]}), 422),
        (json!({"env": [{"name": ""}]}), 422),
        (json!({"image": ""}), 422),
        (json!({"imagePullPolicy": "Perhaps"}), 422),
        (json!({"livenessProbe": {}}), 422),
        (json!({"readinessProbe": {"tcpSocket": {"port": 1}, "exec": {"command": ["x"]}}}), 422),
    ] {
        let answer = at.try_create(PODS, container(part.clone()), "").await?;
        ensure(answer.status == code, format!("{code} for {part}"), answer.seen())?;
    }
    Ok(())
}

async fn requests(at: &Place) -> Met {
    let mut pod = idle_pod("a");
    pod["spec"]["containers"][0]["resources"] =
        json!({"limits": {"cpu": "1"}, "requests": {"cpu": "2"}});
    let status = at.try_create(PODS, pod, "").await?.refused(422, "Invalid")?;
    mentions(&status, "/details/causes/0/message", "must be less than or equal to cpu limit")?;
    same(&status, "/details/causes/0/field", "spec.containers[0].resources.requests")
}

async fn selector(at: &Place) -> Met {
    let mut deployment = idle_deployment("a", 0);
    deployment["spec"]["selector"]["matchLabels"] = json!({"app": "other"});
    let status = at.try_create(DEPLOYMENTS, deployment, "").await?.refused(422, "Invalid")?;
    same(&status, "/details/causes/0/field", "spec.template.metadata.labels")?;
    mentions(&status, "/message", "`selector` does not match template `labels`")
}

async fn config_keys(at: &Place) -> Met {
    let map = json!({"metadata": {"name": "a"}, "data": {"not a key": "v"}});
    at.try_create(CONFIG_MAPS, map, "").await?.refused(422, "Invalid")?;
    let twice = json!({"metadata": {"name": "a"}, "data": {"k": "v"}, "binaryData": {"k": "dg=="}});
    at.try_create(CONFIG_MAPS, twice, "").await?.refused(422, "Invalid")?;
    let large = json!({"metadata": {"name": "a"}, "data": {"k": "x".repeat(1 << 20 | 1)}});
    at.try_create(CONFIG_MAPS, large, "").await?.refused(422, "Invalid")?;
    Ok(())
}

async fn autoscaler(at: &Place) -> Met {
    let hpa = json!({"metadata": {"name": "a"}, "spec": {"minReplicas": 3, "maxReplicas": 2,
        "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "a"}}});
    let status = at.try_create(AUTOSCALERS, hpa, "").await?.refused(422, "Invalid")?;
    same(&status, "/details/causes/0/field", "spec.maxReplicas")?;
    let hpa = json!({"metadata": {"name": "a"}, "spec": {"maxReplicas": 2,
        "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "none"}}});
    let made = at.create(AUTOSCALERS, hpa).await?;
    same(&made, "/spec/minReplicas", 1)?;
    same(
        &made,
        "/spec/metrics/0/resource",
        json!({"name": "cpu",
        "target": {"type": "Utilization", "averageUtilization": 80}}),
    )
}

/// Holds that merging `change` is refused with 422 and a cause for `field`.
async fn unchangeable(at: &Place, of: Resource, change: Value, field: &str) -> Met {
    let status = at.try_patch(of, "a", Patch::Merge(change)).await?.refused(422, "Invalid")?;
    let fields: Vec<_> =
        items(&status, "/details/causes").iter().filter_map(|c| c["field"].as_str()).collect();
    let starts = fields.iter().any(|seen| seen.starts_with(field));
    ensure(starts, format!("a cause for {field}"), format!("{fields:?}"))
}

async fn immutable_selector(at: &Place) -> Met {
    at.create(DEPLOYMENTS, idle_deployment("a", 0)).await?;
    let labels = json!({"app": "a", "more": "b"});
    let change = json!({"spec": {"selector": {"matchLabels": labels},
        "template": {"metadata": {"labels": labels}}}});
    unchangeable(at, DEPLOYMENTS, change, "spec.selector").await
}

async fn immutable_pod(at: &Place) -> Met {
    at.create(PODS, idle_pod("a")).await?;
    for change in [
        json!({"spec": {"containers": [{"name": "other", "image": "b"}]}}),
        json!({"spec": {"restartPolicy": "Never"}}),
        json!({"spec": {"nodeName": "some-node"}}),
        json!({"spec": {"containers": [{"name": "main", "image": "b", "args": ["x"]}]}}),
    ] {
        unchangeable(at, PODS, change, "spec").await?;
    }
    let image =
        Patch::Strategic(json!({"spec": {"containers": [{"name": "main", "image": "b:2"}]}}));
    same(&at.patch(PODS, "a", image).await?, "/spec/containers/0/image", "b:2")
}

async fn immutable_data(at: &Place) -> Met {
    let fixed = json!({"metadata": {"name": "a"}, "data": {"k": "dg=="}, "immutable": true});
    at.create(SECRETS, fixed.clone()).await?;
    at.create(CONFIG_MAPS, fixed).await?;
    for of in [SECRETS, CONFIG_MAPS] {
        unchangeable(at, of, json!({"data": {"k": "dw=="}}), "data").await?;
        unchangeable(at, of, json!({"immutable": false}), "immutable").await?;
        at.merge(of, "a", json!({"metadata": {"labels": {"still": "free"}}})).await?;
    }
    Ok(())
}

async fn immutable_type(at: &Place) -> Met {
    at.create(SECRETS, json!({"metadata": {"name": "a"}})).await?;
    unchangeable(at, SECRETS, json!({"type": "example.com/other"}), "type").await
}

async fn immutable_address(at: &Place) -> Met {
    let made = at.create(SERVICES, service("a")).await?;
    let address = text(&made, "/spec/clusterIP")?;
    let change = json!({"spec": {"clusterIP": "10.99.99.99", "clusterIPs": ["10.99.99.99"]}});
    unchangeable(at, SERVICES, change, "spec.clusterIP").await?;
    // A replace that leaves the address out keeps it, as an apply by an old client does.
    let mut replaced = service("a");
    replaced["metadata"]["resourceVersion"] = made["metadata"]["resourceVersion"].clone();
    same(&at.replace(SERVICES, &replaced).await?, "/spec/clusterIP", address)
}

async fn immutable_workloads(at: &Place) -> Met {
    let job = json!({"metadata": {"name": "a"}, "spec": {"suspend": false,
        "template": {"spec": {"schedulerName": "nobody", "restartPolicy": "Never",
            "containers": [container()]}}}});
    at.create(JOBS, job).await?;
    let change = json!({"spec": {"template": {"spec": {"restartPolicy": "OnFailure"}}}});
    unchangeable(at, JOBS, change, "spec.template").await?;
    unchangeable(at, JOBS, json!({"spec": {"completions": 4}}), "spec.completions").await?;
    let set = json!({"metadata": {"name": "a"}, "spec": {"replicas": 0, "serviceName": "a",
        "selector": {"matchLabels": {"app": "a"}}, "template": idle_template("a")}});
    at.create(STATEFUL_SETS, set).await?;
    let claim = json!({"metadata": {"name": "c"}, "spec": {"accessModes": ["ReadWriteOnce"],
        "resources": {"requests": {"storage": "1Gi"}}}});
    unchangeable(at, STATEFUL_SETS, json!({"spec": {"volumeClaimTemplates": [claim]}}), "spec")
        .await?;
    unchangeable(at, STATEFUL_SETS, json!({"spec": {"serviceName": "b"}}), "spec").await
}

async fn immutable_claim(at: &Place) -> Met {
    let claim = json!({"metadata": {"name": "a"}, "spec": {"storageClassName": "none",
        "accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}});
    let made = at.create(CLAIMS, claim).await?;
    same(&made, "/spec/volumeMode", "Filesystem")?;
    unchangeable(at, CLAIMS, json!({"spec": {"accessModes": ["ReadOnlyMany"]}}), "spec").await
}

async fn dry_runs(at: &Place) -> Met {
    let new = json!({"metadata": {"name": "b"}, "data": {"k": "v"}});
    let made = at.try_create(CONFIG_MAPS, new, "?dryRun=All").await?.ok()?;
    text(&made, "/metadata/uid")?;
    at.try_get(CONFIG_MAPS, "b").await?.refused(404, "NotFound")?;
    let kept = at.config_map("a", json!({"k": "1"})).await?;
    let patch = Patch::Merge(json!({"data": {"k": "2"}}));
    same(&at.patch(CONFIG_MAPS, "a?dryRun=All", patch).await?, "/data/k", "2")?;
    let mut other = kept.clone();
    other["data"]["k"] = "3".into();
    let target = format!("{}?dryRun=All", at.path(CONFIG_MAPS, "a"));
    same(&at.call(Method::PUT, target.clone()).json(&other).send().await?.ok()?, "/data/k", "3")?;
    at.call(Method::DELETE, target).send().await?.ok()?;
    at.delete(CONFIG_MAPS, "a", json!({"dryRun": ["All"]})).await?;
    same(&at.get(CONFIG_MAPS, "a").await?, "", kept)
}

async fn dry_run_checked(at: &Place) -> Met {
    let pod = json!({"metadata": {"name": "a"}, "spec": {"containers": []}});
    at.try_create(PODS, pod, "?dryRun=All").await?.refused(422, "Invalid")?;
    let map = json!({"metadata": {"name": "a"}});
    let answer = at.try_create(CONFIG_MAPS, map, "?dryRun=Some").await?;
    ensure((400..500).contains(&answer.status), "a refusal", answer.seen())
}

async fn dry_run_names(at: &Place) -> Met {
    let map = json!({"metadata": {"generateName": "a-"}});
    let made = at.try_create(CONFIG_MAPS, map, "?dryRun=All").await?.ok()?;
    let name = text(&made, "/metadata/name")?;
    at.try_get(CONFIG_MAPS, name).await?.refused(404, "NotFound")?;
    Ok(())
}
