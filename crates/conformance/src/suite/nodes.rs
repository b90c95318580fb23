//! What needs pods that really run: logs, exec, port-forward, probes, restarts, volumes, services.

use futures_util::{AsyncBufReadExt, TryStreamExt};
use kube::api::LogParams;
use serde_json::{Value, json};

use crate::behaviour::group;
use crate::fixture::service;
use crate::live::{
    api, container, ended, exec, forward, log, main_status, needed, pod, probe, ready, server,
};
use crate::place::{COMES_ABOUT_WITHIN, Place};
use crate::resource::{CLAIMS, DEPLOYMENTS, ENDPOINT_SLICES, JOBS, PODS, SECRETS, SERVICES};
use crate::unmet::{Met, Unmet, condition, ensure, items, mentions, number, same, text};

group!("nodes", "running pods: logs, exec, port-forward, probes, restarts, volumes, services", {
    "a pod runs, becomes ready and has an address" => runs,
    "a log is read whole and from its tail" => logs,
    "a followed log goes on until the container ends" => follow,
    "the log of a container that was restarted is kept as the previous one" => previous,
    "a log of a pod with several containers needs a name" => which_container,
    "exec returns output and the end of a command" => exec_output,
    "exec reports the exit code of a command that fails" => exec_fails,
    "exec hands standard input to a command" => exec_input,
    "exec in a container that is not there is refused" => exec_nowhere,
    "port-forward reaches a port of the pod" => port_forward,
    "readiness decides whether a Service's endpoint is ready" => readiness,
    "a pod that fails its liveness probe is restarted" => liveness,
    "a startup probe holds the others back" => startup,
    "a pod that must not restart ends as Succeeded or Failed with its exit code" => ends,
    "a container that keeps failing is in CrashLoopBackOff" => crash_loop,
    "init containers run one after another before the others" => init,
    "an init container that fails keeps the pod from starting" => init_fails,
    "environment comes from values, the pod, ConfigMaps and Secrets" => environment,
    "a variable from a missing ConfigMap is CreateContainerConfigError" => missing_config,
    "ConfigMaps, Secrets and the pod's metadata are files" => files,
    "containers of a pod share an emptyDir" => shared_folder,
    "an image that is not there is ErrImagePull, then ImagePullBackOff" => no_image,
    "a deleted pod is asked to end and given its grace" => grace,
    "a preStop hook runs before SIGTERM" => pre_stop,
    "a pod past its activeDeadlineSeconds has failed" => deadline,
    "a Service is reached by variables and by name" => reached,
    "a Service reaches ready pods only" => ready_only,
    "a Deployment's rollout waits for readiness probes" => rollout,
    "a Job runs to completion" => job,
    "a claim keeps files when its pod is replaced" => claim,
    "a node renews its lease and reports what it has" => node_reports,
});

async fn runs(at: &Place) -> Met {
    needed(at)?;
    let pod = ready(at, pod("a", server(at), json!({}))).await?;
    same(&pod, "/status/phase", "Running")?;
    for kind in ["PodScheduled", "Initialized", "ContainersReady", "Ready"] {
        same(condition(&pod, kind), "/status", "True")?;
    }
    for pointer in ["/status/podIP", "/status/hostIP", "/status/startTime", "/spec/nodeName"] {
        text(&pod, pointer)?;
    }
    let main = main_status(&pod);
    same(&main, "/ready", true)?;
    same(&main, "/started", true)?;
    same(&main, "/restartCount", 0)?;
    text(&main, "/state/running/startedAt")?;
    text(&main, "/containerID").map(|_| ())
}

fn never() -> Value {
    json!({"restartPolicy": "Never"})
}

async fn logs(at: &Place) -> Met {
    needed(at)?;
    let three = pod("a", container(at, &["print", "one", "two", "three"]), never());
    ended(at, three, "Succeeded").await?;
    let all = log(at, "a").await?;
    ensure(all == "one\ntwo\nthree\n", "three lines", all)?;
    let tail = LogParams { tail_lines: Some(2), ..LogParams::default() };
    let tail = api(at).logs("a", &tail).await?;
    ensure(tail == "two\nthree\n", "the last two lines", tail)?;
    let stamped = LogParams { timestamps: true, tail_lines: Some(1), ..LogParams::default() };
    let stamped = api(at).logs("a", &stamped).await?;
    let time = stamped.split(' ').next().unwrap_or_default();
    ensure(time.parse::<jiff::Timestamp>().is_ok(), "a time before the line", stamped)
}

async fn follow(at: &Place) -> Met {
    needed(at)?;
    let args = ["exit", "0", "--print", "begin", "--after-ms", "1500"];
    at.create(PODS, pod("a", container(at, &args), never())).await?;
    at.until(PODS, "a", "running", |pod| pod["status"]["phase"] != "Pending").await?;
    let params = LogParams { follow: true, ..LogParams::default() };
    let lines = api(at).log_stream("a", &params).await?.lines();
    let lines = tokio::time::timeout(COMES_ABOUT_WITHIN, lines.try_collect::<Vec<_>>()).await;
    let lines = lines.map_err(|_| Unmet::fail("an end of the log", "none in time"))?;
    let lines = lines.map_err(|error| Unmet::fail("a log", error.to_string()))?;
    ensure(lines == ["begin"], "one line, then the end", format!("{lines:?}"))?;
    at.until(PODS, "a", "ended", |pod| pod["status"]["phase"] == "Succeeded").await.map(|_| ())
}

async fn previous(at: &Place) -> Met {
    needed(at)?;
    let args = ["exit", "3", "--print", "to fail", "--after-ms", "200"];
    at.create(PODS, pod("a", container(at, &args), json!({}))).await?;
    let seen = at
        .until(PODS, "a", "a restart", |pod| main_status(pod)["restartCount"].as_u64() >= Some(1))
        .await?;
    same(&main_status(&seen), "/lastState/terminated/exitCode", 3)?;
    same(&main_status(&seen), "/lastState/terminated/reason", "Error")?;
    let params = LogParams { previous: true, ..LogParams::default() };
    let log = api(at).logs("a", &params).await?;
    ensure(log == "to fail\n", "the log of the first run", log)
}

async fn which_container(at: &Place) -> Met {
    needed(at)?;
    let mut two = pod("a", container(at, &["print", "from main"]), never());
    let mut side = container(at, &["print", "from side"]);
    side["name"] = "side".into();
    two["spec"]["containers"] = json!([two["spec"]["containers"][0], side]);
    ended(at, two, "Succeeded").await?;
    let answer = at.ask(at.path(PODS, "a/log")).await?;
    ensure(answer.status == 400, "400", answer.seen())?;
    mentions(&answer.json, "/message", "a container name must be specified for pod a")?;
    let params = LogParams { container: Some("side".into()), ..LogParams::default() };
    let log = api(at).logs("a", &params).await?;
    ensure(log == "from side\n", "the log of side", log)
}

async fn serving(at: &Place) -> Met<Value> {
    let mut server = server(at);
    server["readinessProbe"] = probe("/readyz");
    ready(at, pod("a", server, json!({}))).await
}

async fn exec_output(at: &Place) -> Met {
    needed(at)?;
    serving(at).await?;
    let done = exec(at, "a", &["stub", "print", "hello", "there"], "").await?;
    ensure(done.stdout == "hello\nthere\n", "its output", format!("{done:?}"))?;
    same(&done.status, "/status", "Success")
}

async fn exec_fails(at: &Place) -> Met {
    needed(at)?;
    serving(at).await?;
    let done = exec(at, "a", &["stub", "exit", "7"], "").await?;
    same(&done.status, "/status", "Failure")?;
    same(&done.status, "/reason", "NonZeroExitCode")?;
    same(&done.status, "/details/causes/0", json!({"reason": "ExitCode", "message": "7"}))?;
    let done = exec(at, "a", &["stub", "cat", "/no/such/file"], "").await?;
    ensure(done.stderr.contains("/no/such/file"), "its standard error", format!("{done:?}"))
}

async fn exec_input(at: &Place) -> Met {
    needed(at)?;
    serving(at).await?;
    let done = exec(at, "a", &["stub", "echo"], "line one\nline two\n").await?;
    ensure(done.stdout == "line one\nline two\n", "what was sent", format!("{done:?}"))
}

async fn exec_nowhere(at: &Place) -> Met {
    needed(at)?;
    serving(at).await?;
    let params = kube::api::AttachParams::default().container("nowhere");
    match api(at).exec("a", ["stub", "print", "x"], &params).await {
        Err(_) => Ok(()),
        Ok(_) => Err(Unmet::fail("a refusal", "a stream")),
    }
}

async fn port_forward(at: &Place) -> Met {
    needed(at)?;
    serving(at).await?;
    let answer = forward(at, "a", "GET", "/").await?;
    ensure(answer.starts_with("HTTP/1.1 200") && answer.ends_with("\na\n"), "a", answer)?;
    let answer = forward(at, "a", "GET", "/env/POD_NAME").await?;
    ensure(answer.ends_with("\r\n\r\na"), "its variable", answer)
}

async fn endpoint(at: &Place, is_ready: bool) -> Met {
    let query = "?labelSelector=kubernetes.io%2Fservice-name%3Da";
    let sentence = format!("an endpoint with ready = {is_ready}");
    at.until_list(ENDPOINT_SLICES, query, &sentence, |slices| {
        slices.iter().any(|slice| {
            let endpoints = items(slice, "/endpoints");
            endpoints.len() == 1 && endpoints[0]["conditions"]["ready"] == is_ready
        })
    })
    .await
    .map(|_| ())
}

async fn readiness(at: &Place) -> Met {
    needed(at)?;
    serving(at).await?;
    at.create(SERVICES, service("a")).await?;
    endpoint(at, true).await?;
    forward(at, "a", "POST", "/unready").await?;
    endpoint(at, false).await?;
    let pod = at.get(PODS, "a").await?;
    same(condition(&pod, "Ready"), "/status", "False")?;
    same(&main_status(&pod), "/restartCount", 0)?;
    forward(at, "a", "POST", "/ready").await?;
    endpoint(at, true).await
}

async fn liveness(at: &Place) -> Met {
    needed(at)?;
    let mut server = server(at);
    server["livenessProbe"] = probe("/healthz");
    server["readinessProbe"] = probe("/readyz");
    ready(at, pod("a", server, json!({}))).await?;
    forward(at, "a", "POST", "/sick").await?;
    let seen = at
        .until(PODS, "a", "restarted and ready", |pod| {
            main_status(pod)["restartCount"] == 1 && condition(pod, "Ready")["status"] == "True"
        })
        .await?;
    same(&seen, "/status/phase", "Running")
}

async fn startup(at: &Place) -> Met {
    needed(at)?;
    let mut server = server(at);
    let args = json!(["serve", "--host", "$(POD_IP)", "--port", "8080", "--start-ms", "3000"]);
    server["args"] = args;
    server["livenessProbe"] = probe("/healthz");
    server["startupProbe"] = probe("/healthz");
    server["startupProbe"]["failureThreshold"] = 30.into();
    let pod = ready(at, pod("a", server, json!({}))).await?;
    same(&main_status(&pod), "/restartCount", 0)
}

async fn ends(at: &Place) -> Met {
    needed(at)?;
    let good = pod("good", container(at, &["exit", "0"]), never());
    let bad = pod("bad", container(at, &["exit", "3"]), never());
    let good = ended(at, good, "Succeeded").await?;
    same(&main_status(&good), "/state/terminated/exitCode", 0)?;
    same(&main_status(&good), "/state/terminated/reason", "Completed")?;
    let bad = ended(at, bad, "Failed").await?;
    same(&main_status(&bad), "/state/terminated/exitCode", 3)?;
    same(&main_status(&bad), "/state/terminated/reason", "Error")?;
    same(&main_status(&bad), "/restartCount", 0)
}

async fn crash_loop(at: &Place) -> Met {
    needed(at)?;
    at.create(PODS, pod("a", container(at, &["exit", "1"]), json!({}))).await?;
    let seen = at
        .until(PODS, "a", "CrashLoopBackOff", |pod| {
            main_status(pod)["state"]["waiting"]["reason"] == "CrashLoopBackOff"
        })
        .await?;
    let restarts = number(&main_status(&seen), "/restartCount")?;
    ensure(restarts >= 1, "at least one restart", restarts)?;
    mentions(&main_status(&seen), "/state/waiting/message", "back-off")
}

async fn init(at: &Place) -> Met {
    needed(at)?;
    let mount = json!([{"name": "work", "mountPath": "/conform"}]);
    let step = |name: &str, args: &[&str]| {
        let mut step = container(at, args);
        step["name"] = name.into();
        step["volumeMounts"] = mount.clone();
        step
    };
    let extra = json!({
        "restartPolicy": "Never", "volumes": [{"name": "work", "emptyDir": {}}],
        "initContainers": [
            step("first", &["append", "/conform/log", "one"]),
            step("second", &["append", "/conform/log", "two"]),
        ],
    });
    let pod = pod("a", step("main", &["cat", "/conform/log"]), extra);
    let pod = ended(at, pod, "Succeeded").await?;
    let log = log(at, "a").await?;
    ensure(log == "one\ntwo\n", "first, then second", log)?;
    let statuses = items(&pod, "/status/initContainerStatuses");
    ensure(statuses.len() == 2, "two statuses of init containers", statuses.len())?;
    same(&statuses[0], "/state/terminated/reason", "Completed")
}

async fn init_fails(at: &Place) -> Met {
    needed(at)?;
    let mut first = container(at, &["exit", "4"]);
    first["name"] = "first".into();
    let extra = json!({"restartPolicy": "Never", "initContainers": [first]});
    let pod = ended(at, pod("a", container(at, &["print", "x"]), extra), "Failed").await?;
    same(&pod, "/status/initContainerStatuses/0/state/terminated/exitCode", 4)?;
    same(condition(&pod, "Initialized"), "/status", "False")?;
    let waiting = main_status(&pod)["state"]["waiting"]["reason"].clone();
    ensure(waiting == "PodInitializing", "main never started", waiting)
}

async fn config(at: &Place) -> Met {
    at.config_map("map", json!({"key": "of map", "other": "more"})).await?;
    let secret = json!({"metadata": {"name": "secret"}, "stringData": {"key": "of secret"}});
    at.create(SECRETS, secret).await.map(|_| ())
}

async fn environment(at: &Place) -> Met {
    needed(at)?;
    config(at).await?;
    let field = |path: &str| json!({"fieldRef": {"fieldPath": path}});
    let mut main = container(at, &["env", "A", "B", "NAME", "SPACE", "LABEL", "M", "S", "P_other"]);
    main["env"] = json!([
        {"name": "A", "value": "plain"},
        {"name": "B", "value": "$(A) and $$(A)"},
        {"name": "NAME", "valueFrom": field("metadata.name")},
        {"name": "SPACE", "valueFrom": field("metadata.namespace")},
        {"name": "LABEL", "valueFrom": field("metadata.labels['app']")},
        {"name": "M", "valueFrom": {"configMapKeyRef": {"name": "map", "key": "key"}}},
        {"name": "S", "valueFrom": {"secretKeyRef": {"name": "secret", "key": "key"}}},
    ]);
    main["envFrom"] = json!([{"prefix": "P_", "configMapRef": {"name": "map"}}]);
    ended(at, pod("a", main, never()), "Succeeded").await?;
    let expected = format!(
        "A=plain\nB=plain and $(A)\nNAME=a\nSPACE={}\nLABEL=a\nM=of map\nS=of secret\nP_other=more\n",
        at.namespace
    );
    let seen = log(at, "a").await?;
    ensure(seen == expected, expected.clone(), seen)
}

async fn missing_config(at: &Place) -> Met {
    needed(at)?;
    let mut main = container(at, &["print", "x"]);
    main["env"] = json!([
        {"name": "M", "valueFrom": {"configMapKeyRef": {"name": "map", "key": "key"}}}]);
    at.create(PODS, pod("a", main, never())).await?;
    at.until(PODS, "a", "CreateContainerConfigError", |pod| {
        main_status(pod)["state"]["waiting"]["reason"] == "CreateContainerConfigError"
    })
    .await?;
    at.config_map("map", json!({"key": "late"})).await?;
    at.until(PODS, "a", "ended", |pod| pod["status"]["phase"] == "Succeeded").await.map(|_| ())
}

async fn files(at: &Place) -> Met {
    needed(at)?;
    config(at).await?;
    let mut main = container(at, &["cat", "/conf/map/key", "/conf/secret/key", "/conf/pod/labels"]);
    main["volumeMounts"] = json!([
        {"name": "map", "mountPath": "/conf/map"},
        {"name": "secret", "mountPath": "/conf/secret"},
        {"name": "pod", "mountPath": "/conf/pod"},
    ]);
    let label = json!([{"path": "labels", "fieldRef": {"fieldPath": "metadata.labels"}}]);
    let extra = json!({"restartPolicy": "Never", "volumes": [
        {"name": "map", "configMap": {"name": "map"}},
        {"name": "secret", "secret": {"secretName": "secret"}},
        {"name": "pod", "downwardAPI": {"items": label}},
    ]});
    ended(at, pod("a", main, extra), "Succeeded").await?;
    let seen = log(at, "a").await?;
    ensure(seen.trim_end() == "of mapof secretapp=\"a\"", "the three files", seen)
}

async fn shared_folder(at: &Place) -> Met {
    needed(at)?;
    let mount = json!([{"name": "work", "mountPath": "/conform"}]);
    let mut main = server(at);
    main["volumeMounts"] = mount.clone();
    let mut side = container(at, &["write", "/conform/note", "from side"]);
    side["name"] = "side".into();
    side["volumeMounts"] = mount;
    let mut two = pod("a", main, json!({"volumes": [{"name": "work", "emptyDir": {}}]}));
    two["spec"]["restartPolicy"] = "OnFailure".into();
    two["spec"]["containers"] = json!([two["spec"]["containers"][0], side]);
    at.create(PODS, two).await?;
    at.until(PODS, "a", "side ended and main running", |pod| {
        let statuses = items(pod, "/status/containerStatuses");
        let done = |status: &Value| status["state"]["terminated"]["exitCode"] == 0;
        statuses.iter().any(done) && !main_status(pod)["state"]["running"].is_null()
    })
    .await?;
    let answer = forward(at, "a", "GET", "/file/conform/note").await?;
    ensure(answer.ends_with("from side\n"), "what side wrote", answer)
}

async fn no_image(at: &Place) -> Met {
    needed(at)?;
    let mut main = container(at, &[]);
    main["image"] = "registry.invalid/conform/none:1".into();
    at.create(PODS, pod("a", main, json!({}))).await?;
    let reason = |pod: &Value| main_status(pod)["state"]["waiting"]["reason"].clone();
    at.until(PODS, "a", "ErrImagePull or ImagePullBackOff", |pod| {
        reason(pod) == "ErrImagePull" || reason(pod) == "ImagePullBackOff"
    })
    .await?;
    let seen =
        at.until(PODS, "a", "ImagePullBackOff", |pod| reason(pod) == "ImagePullBackOff").await?;
    same(&seen, "/status/phase", "Pending")
}

/// Follows the log of pod `a` while it is deleted.
async fn last_words(at: &Place) -> Met<Vec<String>> {
    let params = LogParams { follow: true, ..LogParams::default() };
    let lines = api(at).log_stream("a", &params).await?.lines();
    at.delete(PODS, "a", json!({})).await?;
    let lines = tokio::time::timeout(COMES_ABOUT_WITHIN, lines.try_collect::<Vec<_>>()).await;
    let lines = lines.map_err(|_| Unmet::fail("an end of the log", "none in time"))?;
    at.until_gone(PODS, "a").await?;
    lines.map_err(|error| Unmet::fail("a log", error.to_string()))
}

async fn grace(at: &Place) -> Met {
    needed(at)?;
    ready(at, pod("a", container(at, &["stubborn"]), json!({}))).await?;
    let lines = last_words(at).await?;
    let expected = ["stubborn", "asked to end"];
    ensure(lines == expected, format!("{expected:?}, and then the end"), format!("{lines:?}"))
}

async fn pre_stop(at: &Place) -> Met {
    needed(at)?;
    let mut server = server(at);
    server["readinessProbe"] = probe("/readyz");
    server["lifecycle"] =
        json!({"preStop": {"httpGet": {"path": "/print/before", "port": crate::live::PORT}}});
    ready(at, pod("a", server, json!({"terminationGracePeriodSeconds": 10}))).await?;
    let lines = last_words(at).await?;
    let before = lines.iter().position(|line| line == "before");
    let after = lines.iter().position(|line| line == "terminated");
    let right = before.is_some() && before < after;
    ensure(right, "before, and then terminated", format!("{lines:?}"))
}

async fn deadline(at: &Place) -> Met {
    needed(at)?;
    let extra = json!({"activeDeadlineSeconds": 1, "restartPolicy": "Never"});
    let pod = ended(at, pod("a", container(at, &["sleep", "60000"]), extra), "Failed").await?;
    same(&pod, "/status/reason", "DeadlineExceeded")
}

async fn reached(at: &Place) -> Met {
    needed(at)?;
    serving(at).await?;
    at.create(SERVICES, service("a")).await?;
    endpoint(at, true).await?;
    let by_variable = container(at, &["get", "$(A_SERVICE_HOST):$(A_SERVICE_PORT)/"]);
    let retry = json!({"restartPolicy": "OnFailure"});
    ended(at, pod("b", by_variable, retry.clone()), "Succeeded").await?;
    let seen = log(at, "b").await?;
    ensure(seen.trim() == "a", "the name of the pod behind", seen)?;
    for (name, host) in [("c", "a".to_owned()), ("d", format!("a.{}.svc", at.namespace))] {
        let by_name = container(at, &["get", &format!("{host}:80/")]);
        ended(at, pod(name, by_name, retry.clone()), "Succeeded").await?;
        let seen = log(at, name).await?;
        ensure(seen.trim() == "a", format!("the pod behind {host}"), seen)?;
    }
    Ok(())
}

async fn ready_only(at: &Place) -> Met {
    needed(at)?;
    let mut names = Vec::new();
    for name in ["a", "b"] {
        let mut server = server(at);
        server["readinessProbe"] = probe("/readyz");
        let mut pod = pod(name, server, json!({}));
        pod["metadata"]["labels"]["app"] = "a".into();
        ready(at, pod).await?;
        names.push(name);
    }
    at.create(SERVICES, service("a")).await?;
    forward(at, "b", "POST", "/unready").await?;
    let query = "?labelSelector=kubernetes.io%2Fservice-name%3Da";
    at.until_list(ENDPOINT_SLICES, query, "one of two endpoints ready", |slices| {
        let all: Vec<_> = slices.iter().flat_map(|slice| items(slice, "/endpoints")).collect();
        all.len() == 2 && all.iter().filter(|e| e["conditions"]["ready"] == true).count() == 1
    })
    .await?;
    for turn in 0..4 {
        let name = format!("c{turn}");
        let client = container(at, &["get", "a:80/"]);
        ended(at, pod(&name, client, json!({"restartPolicy": "OnFailure"})), "Succeeded").await?;
        let seen = log(at, &name).await?;
        ensure(seen.trim() == "a", "the ready pod", seen)?;
    }
    Ok(())
}

async fn rollout(at: &Place) -> Met {
    needed(at)?;
    let mut server = server(at);
    server["readinessProbe"] = probe("/readyz");
    let deployment = json!({"metadata": {"name": "a"}, "spec": {
        "replicas": 2, "selector": {"matchLabels": {"app": "a"}},
        "strategy": {"rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}},
        "template": {"metadata": {"labels": {"app": "a"}},
            "spec": {"terminationGracePeriodSeconds": 2, "containers": [server]}}}});
    at.create(DEPLOYMENTS, deployment).await?;
    let settled = |seen: &Value| {
        seen["status"]["observedGeneration"] == seen["metadata"]["generation"]
            && ["replicas", "updatedReplicas", "availableReplicas"]
                .iter()
                .all(|count| seen["status"][count] == 2)
    };
    let before = at.until(DEPLOYMENTS, "a", "two available", settled).await?;
    let query = format!("&resourceVersion={}", crate::unmet::version(&before)?);
    let mut watch = at.watch(DEPLOYMENTS, &query).await?;
    let restart = json!({"restarted": "once"});
    let change = json!({"spec": {"template": {"metadata": {"annotations": restart}}}});
    at.merge(DEPLOYMENTS, "a", change).await?;
    loop {
        let seen = watch.next().await?.object;
        let available = seen["status"]["availableReplicas"].as_u64().unwrap_or(0);
        ensure(available >= 2, "two available all the time", available)?;
        if seen["metadata"]["generation"] == 2 && settled(&seen) {
            return Ok(());
        }
    }
}

async fn job(at: &Place) -> Met {
    needed(at)?;
    let spec = json!({"restartPolicy": "Never", "containers": [container(at, &["print", "done"])]});
    let job = json!({"metadata": {"name": "a"}, "spec": {
        "completions": 3, "parallelism": 2, "template": {"spec": spec}}});
    at.create(JOBS, job).await?;
    let seen = at
        .until(JOBS, "a", "complete", |job| condition(job, "Complete")["status"] == "True")
        .await?;
    same(&seen, "/status/succeeded", 3)
}

async fn claim(at: &Place) -> Met {
    needed(at)?;
    let classes = at.ask("/apis/storage.k8s.io/v1/storageclasses").await?.ok()?;
    let default = "storageclass.kubernetes.io/is-default-class";
    let has = items(&classes, "/items")
        .iter()
        .any(|class| class["metadata"]["annotations"][default] == "true");
    if !has {
        return Err(Unmet::Skip("this cluster has no default StorageClass".into()));
    }
    let claim = json!({"metadata": {"name": "data"}, "spec": {"accessModes": ["ReadWriteOnce"],
        "resources": {"requests": {"storage": "10Mi"}}}});
    at.create(CLAIMS, claim).await?;
    let extra = json!({"restartPolicy": "Never", "volumes": [
        {"name": "data", "persistentVolumeClaim": {"claimName": "data"}}]});
    for (name, args) in [
        ("a", vec!["append", "/data/log", "one"]),
        ("b", vec!["append", "/data/log", "two"]),
        ("c", vec!["cat", "/data/log"]),
    ] {
        let mut main = container(at, &args);
        main["volumeMounts"] = json!([{"name": "data", "mountPath": "/data"}]);
        ended(at, pod(name, main, extra.clone()), "Succeeded").await?;
    }
    let seen = log(at, "c").await?;
    ensure(seen == "one\ntwo\n", "what the pods before wrote", seen)?;
    at.until(CLAIMS, "data", "bound", |claim| claim["status"]["phase"] == "Bound").await.map(|_| ())
}

async fn node_reports(at: &Place) -> Met {
    needed(at)?;
    let name = at.settings.live_node.clone().unwrap_or_default();
    let node = at.ask(format!("/api/v1/nodes/{name}")).await?.ok()?;
    same(condition(&node, "Ready"), "/status", "True")?;
    for pointer in [
        "/status/allocatable/cpu",
        "/status/allocatable/memory",
        "/status/allocatable/pods",
        "/status/nodeInfo/kubeletVersion",
        "/metadata/labels/kubernetes.io~1hostname",
        "/metadata/labels/kubernetes.io~1arch",
    ] {
        text(&node, pointer)?;
    }
    let path = format!("/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases/{name}");
    let first = at.ask(path.clone()).await?.ok()?;
    at.until_answer(&path, "a renewed lease", |answer| {
        answer.json["spec"]["renewTime"] != first["spec"]["renewTime"]
    })
    .await
    .map(|_| ())
}
