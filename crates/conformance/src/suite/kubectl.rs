//! The commands that people type, by the real `kubectl`, from 1.20 on.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::behaviour::group;
use crate::fixture::{STUB_IMAGE, idle_deployment};
use crate::kubectl::{Running, at_least, feed, run, run_with};
use crate::live::{PORT, container, needed, pod, probe, ready, server};
use crate::place::Place;
use crate::resource::{CONFIG_MAPS, DEPLOYMENTS, NODES, PODS};
use crate::stage::{Stage, workload};
use crate::unmet::{Met, Unmet, condition, ensure, items, names, same, text};

group!("kubectl", "the commands that people type, by the real kubectl", {
    "kubectl get shows tables, wide tables, YAML, JSON paths and names" => get,
    "kubectl get -w tells of changes" => get_watch,
    "kubectl get of a missing object fails with NotFound" => get_missing,
    "kubectl apply creates, configures, and leaves unchanged" => apply,
    "kubectl apply removes a field that its manifest no longer has" => apply_removes,
    "kubectl apply --server-side names conflicts and can force" => apply_server_side,
    "kubectl apply --dry-run=server changes nothing" => apply_dry_run,
    "kubectl apply refuses an unknown field" => apply_strict,
    "kubectl apply -k builds a kustomization" => apply_kustomize,
    "kubectl diff shows what apply would change" => diff,
    "kubectl replace and create say what went wrong" => replace,
    "kubectl create deployment, configmap, secret, job and service" => create,
    "kubectl run makes a pod" => run_pod,
    "kubectl expose makes a Service" => expose,
    "kubectl autoscale makes an autoscaler" => autoscale,
    "kubectl scale, rollout status, set image, history, undo, restart, pause, resume" => rollout,
    "kubectl set env and set resources change a template" => set,
    "kubectl label and annotate add, overwrite and remove" => label,
    "kubectl patch knows three kinds of patch" => patch,
    "kubectl edit applies what the editor wrote" => edit,
    "kubectl delete works by name, by label and for all, and waits" => delete,
    "kubectl wait waits for a condition and for a deletion" => wait,
    "kubectl describe tells of deployments, pods, services and nodes" => describe,
    "kubectl explain describes fields" => explain,
    "kubectl api-resources and api-versions list what is served" => api_resources,
    "kubectl auth can-i answers yes" => can_i,
    "kubectl cluster-info and version name the server" => cluster_info,
    "kubectl get events and events tell what happened" => events,
    "kubectl cordon, uncordon and taint change a node" => cordon,
    "kubectl drain evicts the pods of a node" => drain,
    "kubectl shows custom resources with their columns and short names" => custom,
    "kubectl get --raw reads any path" => raw,
    "kubectl logs and logs -f print a log" => logs,
    "kubectl exec runs a command, with input and exit code" => exec,
    "kubectl port-forward reaches a pod and a Service" => port_forward,
    "kubectl top shows what pods and nodes use" => top,
});

fn typed(kind: &str, version: &str, mut object: Value) -> String {
    object["apiVersion"] = version.into();
    object["kind"] = kind.into();
    object.to_string()
}

fn map(data: Value) -> String {
    typed("ConfigMap", "v1", json!({"metadata": {"name": "a"}, "data": data}))
}

async fn applied(at: &Place, manifest: &str) -> Met<String> {
    feed(at, &["apply", "-f", "-"], manifest).await?.ok()
}

async fn get(at: &Place) -> Met {
    applied(at, &map(json!({"k": "v"}))).await?;
    run(at, &["get", "cm", "a"]).await?.says(&["NAME", "DATA", "AGE", "\na "])?;
    run(at, &["get", "configmap/a", "-o", "wide"]).await?.says(&["NAME", "a "])?;
    let yaml = run(at, &["get", "cm", "a", "-o", "yaml"]).await?;
    yaml.says(&["kind: ConfigMap", "  k: v", "  name: a"])?;
    let value = run(at, &["get", "cm", "a", "-o", "jsonpath={.data.k}"]).await?.ok()?;
    ensure(value == "v", "v", value)?;
    run(at, &["get", "cm", "a", "-o", "name"]).await?.says(&["configmap/a"])?;
    let columns = "custom-columns=N:.metadata.name,K:.data.k";
    run(at, &["get", "cm", "a", "-o", columns]).await?.says(&["N K", "a v"])?;
    run(at, &["get", "cm", "a", "--show-labels"]).await?.says(&["LABELS", "<none>"])?;
    at.create(DEPLOYMENTS, idle_deployment("b", 1)).await?;
    at.until_list(PODS, "", "a pod", |pods| pods.len() == 1).await?;
    let all = run(at, &["get", "all"]).await?;
    all.says(&["pod/b-", "deployment.apps/b", "replicaset.apps/b-", "READY"])?;
    let pods = run(at, &["get", "pods", "-l", "app=b", "-o", "wide"]).await?;
    pods.says(&["STATUS", "RESTARTS", "NODE", "READINESS GATES", "0/1", "Pending"])?;
    let sorted =
        ["get", "pods", "-A", "--sort-by=.metadata.name", "--field-selector=status.phase=Pending"];
    run(at, &sorted).await?.says(&["NAMESPACE", "b-"]).map(|_| ())
}

async fn get_watch(at: &Place) -> Met {
    let mut watch = Running::start(at, &["get", "pods", "-w"])?;
    // An empty list prints nothing to standard output, so there is no sign that the watch has begun but its events.
    at.create(PODS, crate::fixture::idle_pod("first")).await?;
    watch.line_with("first").await?;
    at.create(PODS, crate::fixture::idle_pod("second")).await?;
    watch.line_with("second").await.map(|_| ())
}

async fn get_missing(at: &Place) -> Met {
    let one = run(at, &["get", "deployment", "none"]).await?;
    one.fails(&["Error from server (NotFound): deployments.apps \"none\" not found"])?;
    run(at, &["get", "nothings"]).await?.fails(&["doesn't have a resource type \"nothings\""])?;
    let none = run(at, &["get", "pods"]).await?;
    ensure(none.stderr.contains("No resources found"), "No resources found", &none.stderr)
}

async fn apply(at: &Place) -> Met {
    let said = applied(at, &map(json!({"k": "1"}))).await?;
    ensure(said.contains("configmap/a created"), "created", said)?;
    let said = applied(at, &map(json!({"k": "2"}))).await?;
    ensure(said.contains("configmap/a configured"), "configured", said)?;
    let said = applied(at, &map(json!({"k": "2"}))).await?;
    ensure(said.contains("configmap/a unchanged"), "unchanged", said)?;
    let mut deployment = idle_deployment("b", 1);
    applied(at, &typed("Deployment", "apps/v1", deployment.clone())).await?;
    deployment["spec"]["template"]["spec"]["containers"][0]["image"] = "b:2".into();
    applied(at, &typed("Deployment", "apps/v1", deployment)).await?;
    let seen = at.get(DEPLOYMENTS, "b").await?;
    same(&seen, "/spec/template/spec/containers/0/image", "b:2")?;
    let last = &seen["metadata"]["annotations"]["kubectl.kubernetes.io/last-applied-configuration"];
    ensure(last.is_string(), "the last applied configuration", last)
}

async fn apply_removes(at: &Place) -> Met {
    applied(at, &map(json!({"keep": "1", "drop": "2"}))).await?;
    at.merge(CONFIG_MAPS, "a", json!({"data": {"other": "3"}})).await?;
    applied(at, &map(json!({"keep": "1"}))).await?;
    same(&at.get(CONFIG_MAPS, "a").await?, "/data", json!({"keep": "1", "other": "3"}))
}

async fn apply_server_side(at: &Place) -> Met {
    let by = async |manager: &str, value: &str, extra: &[&str]| {
        let manager = format!("--field-manager={manager}");
        let mut args = vec!["apply", "--server-side", manager.as_str(), "-f", "-"];
        args.extend(extra);
        feed(at, &args, &map(json!({"k": value}))).await
    };
    by("one", "1", &[]).await?.says(&["configmap/a serverside-applied"])?;
    by("two", "2", &[]).await?.fails(&["conflict with \"one\"", ".data.k"])?;
    by("two", "2", &["--force-conflicts"]).await?.says(&["serverside-applied"])?;
    same(&at.get(CONFIG_MAPS, "a").await?, "/data/k", "2")
}

async fn apply_dry_run(at: &Place) -> Met {
    let args = ["apply", "--dry-run=server", "-f", "-"];
    feed(at, &args, &map(json!({}))).await?.says(&["configmap/a created (server dry run)"])?;
    let args = ["apply", "--dry-run=client", "-f", "-"];
    feed(at, &args, &map(json!({}))).await?.says(&["configmap/a created (dry run)"])?;
    at.try_get(CONFIG_MAPS, "a").await?.refused(404, "NotFound")?;
    Ok(())
}

async fn apply_strict(at: &Place) -> Met {
    let mut deployment = idle_deployment("a", 0);
    deployment["spec"]["nonsense"] = 1.into();
    let manifest = typed("Deployment", "apps/v1", deployment);
    let said = feed(at, &["apply", "-f", "-"], &manifest).await?;
    said.fails(&["unknown field", "nonsense"])
}

async fn apply_kustomize(at: &Place) -> Met {
    let folder = tempfile::tempdir().map_err(|error| Unmet::fail("a folder", error.to_string()))?;
    let write = |name: &str, text: &str| {
        std::fs::write(folder.path().join(name), text)
            .map_err(|error| Unmet::fail("a file", error.to_string()))
    };
    write(
        "kustomization.yaml",
        "resources: [map.yaml]\nnamePrefix: pre-\ncommonLabels: {by: kustomize}\n",
    )?;
    write("map.yaml", &map(json!({"k": "v"})))?;
    let path = folder.path().display().to_string();
    run(at, &["apply", "-k", &path]).await?.says(&["configmap/pre-a created"])?;
    same(&at.get(CONFIG_MAPS, "pre-a").await?, "/metadata/labels/by", "kustomize")
}

async fn diff(at: &Place) -> Met {
    applied(at, &map(json!({"k": "1"}))).await?;
    let same_again = feed(at, &["diff", "-f", "-"], &map(json!({"k": "1"}))).await?;
    ensure(same_again.code == 0, "exit 0 for no difference", format!("{same_again:?}"))?;
    let other = feed(at, &["diff", "-f", "-"], &map(json!({"k": "2"}))).await?;
    ensure(other.code == 1, "exit 1 for a difference", format!("{other:?}"))?;
    let shows = other.stdout.contains("-  k: \"1\"") && other.stdout.contains("+  k: \"2\"");
    ensure(shows, "the lines that differ", other.stdout)
}

async fn replace(at: &Place) -> Met {
    feed(at, &["create", "-f", "-"], &map(json!({"k": "1"}))).await?.says(&["created"])?;
    let again = feed(at, &["create", "-f", "-"], &map(json!({}))).await?;
    again.fails(&["Error from server (AlreadyExists)", "configmaps \"a\" already exists"])?;
    feed(at, &["replace", "-f", "-"], &map(json!({"k": "2"}))).await?.says(&["replaced"])?;
    let bad = json!({"metadata": {"name": "b"}, "spec": {"containers": []}});
    let said = feed(at, &["create", "-f", "-"], &typed("Pod", "v1", bad)).await?;
    said.fails(&["The Pod \"b\" is invalid", "spec.containers: Required value"])
}

async fn create(at: &Place) -> Met {
    let deployment = ["create", "deployment", "a", "--image=a:1", "--replicas=0"];
    run(at, &deployment).await?.says(&["deployment.apps/a created"])?;
    same(&at.get(DEPLOYMENTS, "a").await?, "/spec/template/metadata/labels/app", "a")?;
    let map = ["create", "configmap", "a", "--from-literal=k=v"];
    run(at, &map).await?.says(&["configmap/a created"])?;
    same(&at.get(CONFIG_MAPS, "a").await?, "/data/k", "v")?;
    let secret = ["create", "secret", "generic", "a", "--from-literal=k=v"];
    run(at, &secret).await?.says(&["secret/a created"])?;
    let value = run(at, &["get", "secret", "a", "-o", "jsonpath={.data.k}"]).await?.ok()?;
    ensure(value == "dg==", "dg==", value)?;
    let job = ["create", "job", "a", "--image=a:1", "--", "stub", "print", "x"];
    run(at, &job).await?.says(&["job.batch/a created"])?;
    let service = ["create", "service", "clusterip", "a", "--tcp=80:8080"];
    run(at, &service).await?.says(&["service/a created"])?;
    run(at, &["create", "serviceaccount", "a"]).await?.says(&["serviceaccount/a created"])?;
    let dry = ["create", "deployment", "b", "--image=a:1", "--dry-run=client", "-o", "yaml"];
    run(at, &dry).await?.says(&["kind: Deployment", "image: a:1"]).map(|_| ())
}

async fn run_pod(at: &Place) -> Met {
    let args = ["run", "a", "--image=a:1", "--restart=Never", "--labels=app=a", "--env=K=v"];
    run(at, &args).await?.says(&["pod/a created"])?;
    let pod = at.get(PODS, "a").await?;
    same(&pod, "/spec/containers/0/env/0", json!({"name": "K", "value": "v"}))?;
    same(&pod, "/spec/restartPolicy", "Never")
}

async fn expose(at: &Place) -> Met {
    at.create(DEPLOYMENTS, idle_deployment("a", 0)).await?;
    let args = ["expose", "deployment", "a", "--port=80", "--target-port=8080"];
    run(at, &args).await?.says(&["service/a exposed"])?;
    let service = at.get(crate::resource::SERVICES, "a").await?;
    same(&service, "/spec/selector", json!({"app": "a"}))?;
    run(at, &["get", "svc", "a"]).await?.says(&["CLUSTER-IP", "PORT(S)", "80/TCP"]).map(|_| ())
}

async fn autoscale(at: &Place) -> Met {
    at.create(DEPLOYMENTS, idle_deployment("a", 1)).await?;
    let args = ["autoscale", "deployment", "a", "--min=1", "--max=3", "--cpu-percent=50"];
    run(at, &args).await?.says(&["horizontalpodautoscaler.autoscaling/a autoscaled"])?;
    run(at, &["get", "hpa", "a"]).await?.says(&["Deployment/a", "MINPODS", "REPLICAS"]).map(|_| ())
}

async fn rollout(at: &Place) -> Met {
    let _stage = Stage::set(at, 1).await?;
    let manifest = typed("Deployment", "apps/v1", workload(at, "a", 1, json!({})));
    applied(at, &manifest).await?;
    let status = ["rollout", "status", "deployment/a", "--timeout=45s"];
    run(at, &status).await?.says(&["deployment \"a\" successfully rolled out"])?;
    run(at, &["scale", "deployment/a", "--replicas=2"])
        .await?
        .says(&["deployment.apps/a scaled"])?;
    run(at, &status).await?.ok()?;
    run(at, &["set", "image", "deployment/a", "main=b:2"]).await?.says(&["image updated"])?;
    run(at, &status).await?.says(&["successfully rolled out"])?;
    let history = run(at, &["rollout", "history", "deployment/a"]).await?;
    history.says(&["REVISION", "\n1 ", "\n2 "])?;
    let two = run(at, &["rollout", "history", "deployment/a", "--revision=2"]).await?;
    two.says(&["b:2"])?;
    run(at, &["rollout", "undo", "deployment/a"])
        .await?
        .says(&["deployment.apps/a rolled back"])?;
    run(at, &status).await?.ok()?;
    let seen = at.get(DEPLOYMENTS, "a").await?;
    same(&seen, "/spec/template/spec/containers/0/image", STUB_IMAGE)?;
    run(at, &["rollout", "restart", "deployment/a"]).await?.says(&["restarted"])?;
    run(at, &status).await?.ok()?;
    run(at, &["rollout", "pause", "deployment/a"]).await?.says(&["paused"])?;
    run(at, &["rollout", "resume", "deployment/a"]).await?.says(&["resumed"])?;
    run(at, &["get", "deployment", "a"]).await?.says(&["2/2"]).map(|_| ())
}

async fn set(at: &Place) -> Met {
    at.create(DEPLOYMENTS, idle_deployment("a", 0)).await?;
    run(at, &["set", "env", "deployment/a", "K=v"]).await?.says(&["env updated"])?;
    let limits = ["set", "resources", "deployment/a", "--limits=cpu=1", "-c", "main"];
    run(at, &limits).await?.says(&["resource requirements updated"])?;
    let main = at.get(DEPLOYMENTS, "a").await?["spec"]["template"]["spec"]["containers"][0].clone();
    same(&main, "/env/0/value", "v")?;
    same(&main, "/resources/limits/cpu", "1")
}

async fn label(at: &Place) -> Met {
    at.config_map("a", json!({})).await?;
    run(at, &["label", "cm", "a", "tier=web"]).await?.says(&["labeled"])?;
    run(at, &["label", "cm", "a", "tier=db"]).await?.fails(&["already has a value"])?;
    run(at, &["label", "cm", "a", "tier=db", "--overwrite"]).await?.ok()?;
    run(at, &["annotate", "cm", "a", "note=some words"]).await?.says(&["annotated"])?;
    let seen = at.get(CONFIG_MAPS, "a").await?;
    same(&seen, "/metadata/labels/tier", "db")?;
    same(&seen, "/metadata/annotations/note", "some words")?;
    run(at, &["label", "cm", "a", "tier-"]).await?.ok()?;
    same(&at.get(CONFIG_MAPS, "a").await?, "/metadata/labels", Value::Null)
}

async fn patch(at: &Place) -> Met {
    at.create(DEPLOYMENTS, idle_deployment("a", 0)).await?;
    let strategic =
        r#"{"spec":{"template":{"spec":{"containers":[{"name":"main","image":"b:2"}]}}}}"#;
    run(at, &["patch", "deployment", "a", "-p", strategic]).await?.says(&["patched"])?;
    let merge = r#"{"spec":{"minReadySeconds":3}}"#;
    run(at, &["patch", "deployment", "a", "--type=merge", "-p", merge])
        .await?
        .says(&["patched"])?;
    let json = r#"[{"op":"replace","path":"/spec/minReadySeconds","value":4}]"#;
    run(at, &["patch", "deployment", "a", "--type=json", "-p", json]).await?.says(&["patched"])?;
    let seen = at.get(DEPLOYMENTS, "a").await?;
    same(&seen, "/spec/template/spec/containers/0/image", "b:2")?;
    same(&seen, "/spec/minReadySeconds", 4)
}

async fn edit(at: &Place) -> Met {
    at.config_map("a", json!({"k": "before"})).await?;
    let args = ["edit", "cm", "a"];
    let editor = "sed -i s/before/after/";
    run_with(at, &args, ("KUBE_EDITOR", editor)).await?.says(&["configmap/a edited"])?;
    same(&at.get(CONFIG_MAPS, "a").await?, "/data/k", "after")?;
    let unchanged = run_with(at, &args, ("KUBE_EDITOR", "true")).await?;
    ensure(unchanged.stderr.contains("no changes made"), "no changes", format!("{unchanged:?}"))
}

async fn delete(at: &Place) -> Met {
    for (name, tier) in [("a", "web"), ("b", "web"), ("c", "db"), ("d", "db")] {
        let labels = json!({"tier": tier});
        at.create(CONFIG_MAPS, json!({"metadata": {"name": name, "labels": labels}})).await?;
    }
    run(at, &["delete", "cm", "a"]).await?.says(&["configmap \"a\" deleted"])?;
    at.try_get(CONFIG_MAPS, "a").await?.refused(404, "NotFound")?;
    run(at, &["delete", "cm", "-l", "tier=web"]).await?.says(&["configmap \"b\" deleted"])?;
    run(at, &["delete", "cm", "none", "--ignore-not-found"]).await?.ok()?;
    at.create(DEPLOYMENTS, idle_deployment("e", 2)).await?;
    at.until_list(PODS, "", "two pods", |pods| pods.len() == 2).await?;
    let cascade = ["delete", "deployment", "e", "--cascade=orphan"];
    if at_least(at, 20).is_ok() {
        run(at, &cascade).await?.says(&["deleted"])?;
        at.list(PODS, "")
            .await
            .and_then(|list| ensure(names(&list).len() == 2, "orphans", list))?;
    }
    run(at, &["delete", "rs,deploy", "--all", "--timeout=45s"]).await?.ok()?;
    at.until_list(PODS, "", "no pod", <[Value]>::is_empty).await?;
    run(at, &["delete", "cm", "--all"]).await?.says(&["\"c\"", "\"d\""]).map(|_| ())
}

async fn wait(at: &Place) -> Met {
    let _stage = Stage::set(at, 1).await?;
    at.create(DEPLOYMENTS, workload(at, "a", 1, json!({}))).await?;
    let available = ["wait", "--for=condition=available", "deployment/a", "--timeout=45s"];
    run(at, &available).await?.says(&["deployment.apps/a condition met"])?;
    let ready = ["wait", "--for=condition=Ready", "pod", "-l", "app=a", "--timeout=45s"];
    run(at, &ready).await?.says(&["condition met"])?;
    at.delete(DEPLOYMENTS, "a", json!({})).await?;
    let gone = ["wait", "--for=delete", "pod", "-l", "app=a", "--timeout=45s"];
    let said = run(at, &gone).await?;
    let none_left = said.stderr.contains("no matching resources found");
    ensure(said.code == 0 || none_left, "a wait for the deletion", format!("{said:?}"))?;
    let never = ["wait", "--for=condition=available", "deployment/b", "--timeout=1s"];
    run(at, &never).await?.fails(&["not found"])
}

async fn describe(at: &Place) -> Met {
    let _stage = Stage::set(at, 1).await?;
    at.create(DEPLOYMENTS, workload(at, "a", 1, json!({}))).await?;
    at.until(DEPLOYMENTS, "a", "one ready", |seen| seen["status"]["readyReplicas"] == 1).await?;
    let deployment = run(at, &["describe", "deployment", "a"]).await?;
    deployment.says(&[
        "1 desired",
        "RollingUpdateStrategy:",
        "NewReplicaSet:",
        "ScalingReplicaSet",
    ])?;
    let pod = run(at, &["describe", "pod", "-l", "app=a"]).await?;
    pod.says(&["Running", "Controlled By:", "Conditions:", "Scheduled"])?;
    at.create(crate::resource::SERVICES, crate::fixture::service("a")).await?;
    let service = run(at, &["describe", "service", "a"]).await?;
    service.says(&["Selector:", "app=a", "Endpoints:"])?;
    let name = format!("{}-0", at.namespace);
    let node = run(at, &["describe", "node", &name]).await?;
    node.says(&["Allocatable:", "Taints:", "Non-terminated Pods:", "Conditions:"]).map(|_| ())
}

async fn explain(at: &Place) -> Met {
    run(at, &["explain", "deployment.spec.replicas"]).await?.says(&[
        "KIND:",
        "Deployment",
        "integer",
    ])?;
    let pod = run(at, &["explain", "pod.spec"]).await?;
    pod.says(&["containers", "nodeName", "restartPolicy"])?;
    run(at, &["explain", "pods.spec.nonsense"]).await?.fails(&["nonsense"])
}

async fn api_resources(at: &Place) -> Met {
    let all = run(at, &["api-resources"]).await?;
    let all =
        all.says(&["NAME", "SHORTNAMES", "deployments", "deploy", "apps/v1", "configmaps"])?;
    let pods = all.lines().find(|line| line.starts_with("pods ")).unwrap_or_default();
    ensure(pods.contains("po") && pods.ends_with("Pod"), "pods, po, Pod", pods)?;
    let apps = run(at, &["api-resources", "--api-group=apps", "-o", "name"]).await?;
    apps.says(&["deployments.apps", "statefulsets.apps"])?;
    let verbs = ["api-resources", "--namespaced=true", "--verbs=list,watch", "-o", "wide"];
    run(at, &verbs).await?.says(&["VERBS"])?;
    run(at, &["api-versions"]).await?.says(&["apps/v1", "batch/v1", "\nv1"]).map(|_| ())
}

async fn can_i(at: &Place) -> Met {
    run(at, &["auth", "can-i", "create", "deployments"]).await?.says(&["yes"]).map(|_| ())
}

async fn cluster_info(at: &Place) -> Met {
    run(at, &["cluster-info"]).await?.says(&["is running at", "https://"])?;
    let version = run(at, &["version", "-o", "json"]).await?;
    version.says(&["serverVersion", "gitVersion"]).map(|_| ())
}

async fn events(at: &Place) -> Met {
    at.create(DEPLOYMENTS, idle_deployment("a", 1)).await?;
    let query = "?fieldSelector=involvedObject.kind%3DDeployment";
    at.until_list(crate::resource::EVENTS, query, "an event", |found| !found.is_empty()).await?;
    let shown = run(at, &["get", "events"]).await?;
    shown.says(&["LAST SEEN", "REASON", "ScalingReplicaSet", "deployment/a"])?;
    if at_least(at, 26).is_ok() {
        let shown = run(at, &["events", "--for", "deployment/a"]).await?;
        shown.says(&["ScalingReplicaSet", "Deployment/a"])?;
    }
    Ok(())
}

async fn cordon(at: &Place) -> Met {
    let name = crate::stage::node(at, "0", json!({})).await?;
    run(at, &["cordon", &name]).await?.says(&["cordoned"])?;
    run(at, &["get", "node", &name]).await?.says(&["SchedulingDisabled"])?;
    run(at, &["uncordon", &name]).await?.says(&["uncordoned"])?;
    let taint = ["taint", "nodes", &name, "example.com/key=value:NoSchedule"];
    run(at, &taint).await?.says(&["tainted"])?;
    let seen = at.get(NODES, &name).await?;
    let has = items(&seen, "/spec/taints").iter().any(|taint| taint["key"] == "example.com/key");
    ensure(has, "the taint", &seen["spec"]["taints"])?;
    run(at, &["taint", "nodes", &name, "example.com/key-"]).await?.says(&["untainted"]).map(|_| ())
}

async fn drain(at: &Place) -> Met {
    let _stage = Stage::set(at, 2).await?;
    at.create(DEPLOYMENTS, workload(at, "a", 4, json!({}))).await?;
    at.until(DEPLOYMENTS, "a", "four ready", |seen| seen["status"]["readyReplicas"] == 4).await?;
    let name = format!("{}-0", at.namespace);
    let args = ["drain", &name, "--ignore-daemonsets", "--timeout=45s"];
    let said = run(at, &args).await?.ok()?;
    ensure(said.contains("drained") || said.contains("evicted"), "drained", said)?;
    let there = format!("?fieldSelector=spec.nodeName%3D{name}");
    let left = at.list(PODS, &there).await?;
    ensure(items(&left, "/items").is_empty(), "no pod on the node", left)?;
    at.until(DEPLOYMENTS, "a", "four ready elsewhere", |seen| seen["status"]["readyReplicas"] == 4)
        .await?;
    same(&at.get(NODES, &name).await?, "/spec/unschedulable", true)
}

async fn custom(at: &Place) -> Met {
    let group = format!("{}.example.com", at.namespace);
    let definition = json!({
        "metadata": {"name": format!("gadgets.{group}")},
        "spec": {"group": group, "scope": "Namespaced",
            "names": {"plural": "gadgets", "kind": "Gadget", "shortNames": ["gg"]},
            "versions": [{"name": "v1", "served": true, "storage": true,
                "schema": {"openAPIV3Schema": {"type": "object", "properties": {"spec": {
                    "type": "object", "properties": {"size": {"type": "integer"}}}}}},
                "additionalPrinterColumns": [
                    {"name": "Size", "type": "integer", "jsonPath": ".spec.size"}]}]},
    });
    at.remove_later(at.path(crate::resource::DEFINITIONS, &format!("gadgets.{group}")));
    applied(at, &typed("CustomResourceDefinition", "apiextensions.k8s.io/v1", definition)).await?;
    let crd = format!("crd/gadgets.{group}");
    run(at, &["wait", "--for=condition=established", &crd, "--timeout=45s"]).await?.ok()?;
    let list = format!("/apis/{group}/v1/namespaces/{}/gadgets", at.namespace);
    at.until_answer(&list, "gadgets to be served", |answer| answer.status == 200).await?;
    let object = json!({"metadata": {"name": "a"}, "spec": {"size": 3}});
    applied(at, &typed("Gadget", &format!("{group}/v1"), object)).await?;
    run(at, &["get", &format!("gadgets.{group}")]).await?.says(&["SIZE", "a 3"])?;
    run(at, &["get", "gg", "a", "-o", "jsonpath={.spec.size}"]).await?.says(&["3"]).map(|_| ())
}

async fn raw(at: &Place) -> Met {
    run(at, &["get", "--raw", "/healthz"]).await?.says(&["ok"])?;
    run(at, &["get", "--raw", "/version"]).await?.says(&["gitVersion"]).map(|_| ())
}

async fn logs(at: &Place) -> Met {
    needed(at)?;
    let args = ["exit", "0", "--print", "begin", "--after-ms", "1500"];
    at.create(PODS, pod("a", container(at, &args), json!({"restartPolicy": "Never"}))).await?;
    at.until(PODS, "a", "started", |pod| pod["status"]["phase"] != "Pending").await?;
    run(at, &["logs", "-f", "a"]).await?.says(&["begin"])?;
    at.until(PODS, "a", "ended", |pod| pod["status"]["phase"] == "Succeeded").await?;
    run(at, &["logs", "a", "--tail=1", "--timestamps"]).await?.says(&["begin", "Z "])?;
    run(at, &["logs", "none"]).await?.fails(&["NotFound"])
}

async fn serving(at: &Place) -> Met {
    let mut server = server(at);
    server["readinessProbe"] = probe("/readyz");
    ready(at, pod("a", server, json!({}))).await.map(|_| ())
}

async fn exec(at: &Place) -> Met {
    needed(at)?;
    serving(at).await?;
    run(at, &["exec", "a", "--", "stub", "print", "hello"]).await?.says(&["hello"])?;
    let echoed = feed(at, &["exec", "-i", "a", "--", "stub", "echo"], "one\ntwo\n").await?;
    echoed.says(&["one\ntwo\n"])?;
    let failed = run(at, &["exec", "a", "--", "stub", "exit", "7"]).await?;
    ensure(failed.code == 7, "exit code 7", format!("{failed:?}"))
}

async fn port_forward(at: &Place) -> Met {
    needed(at)?;
    serving(at).await?;
    at.create(crate::resource::SERVICES, crate::fixture::service("a")).await?;
    for (target, port) in [("pod/a", PORT), ("service/a", 80)] {
        let mut forward = Running::start(at, &["port-forward", target, &format!(":{port}")])?;
        let line = forward.line_with("Forwarding from 127.0.0.1:").await?;
        let local = line.split("127.0.0.1:").nth(1).and_then(|rest| rest.split(' ').next());
        let local: u16 = local
            .and_then(|port| port.parse().ok())
            .ok_or_else(|| Unmet::fail("a local port", line.clone()))?;
        // Twice: the second connection must work as well as the first.
        for _ in 0..2 {
            let answer = fetch(local).await?;
            ensure(answer.ends_with("\na\n"), format!("the pod behind {target}"), answer)?;
        }
    }
    Ok(())
}

async fn fetch(port: u16) -> Met<String> {
    let broken = |error: std::io::Error| Unmet::fail("an answer", error.to_string());
    let exchange = async {
        let mut stream =
            tokio::net::TcpStream::connect(("127.0.0.1", port)).await.map_err(broken)?;
        let request = b"GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n";
        stream.write_all(request).await.map_err(broken)?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.map_err(broken)?;
        Ok(answer)
    };
    let answered = tokio::time::timeout(Duration::from_secs(10), exchange).await;
    answered.unwrap_or_else(|_| Err(Unmet::fail("an answer through the port", "none in time")))
}

async fn top(at: &Place) -> Met {
    needed(at)?;
    if at.ask("/apis/metrics.k8s.io/v1beta1").await?.status == 404 {
        return Err(Unmet::Skip("this cluster has no metrics.k8s.io".into()));
    }
    serving(at).await?;
    let path = format!("/apis/metrics.k8s.io/v1beta1/namespaces/{}/pods/a", at.namespace);
    at.until_answer(&path, "metrics", |answer| answer.status == 200).await?;
    run(at, &["top", "pods"]).await?.says(&["CPU(cores)", "MEMORY(bytes)", "a "])?;
    run(at, &["top", "nodes"]).await?.says(&["CPU(cores)"])?;
    let pod = at.get(PODS, "a").await?;
    text(&pod, "/spec/nodeName")?;
    same(condition(&pod, "Ready"), "/status", "True")
}
