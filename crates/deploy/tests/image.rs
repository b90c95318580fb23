//! The engine's image: built without a network, started as a pod would be, talked to, drained.
//!
//! It needs Docker: `deploy with-docker --install -- cargo test -p deploy --test image -- --ignored`.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use testcontainers::core::WaitFor;
use testcontainers::runners::{SyncBuilder, SyncRunner};
use testcontainers::{Container, GenericBuildableImage, GenericImage, ImageExt};

/// Long enough for a busy machine.
const LIMIT: Duration = Duration::from_secs(60);
/// Seconds that a stopped container has before it is killed.
const GRACE_S: i32 = 20;

/// The folder that `docker build` takes.
fn staged() -> String {
    let output = Command::new(env!("CARGO_BIN_EXE_deploy")).arg("image").output().expect("it runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("a path").trim().to_owned()
}

fn image() -> GenericImage {
    let context = staged();
    let recipe = Path::new(&context).join("Dockerfile");
    GenericBuildableImage::new("llm-lab/engine", "test")
        .with_dockerfile(recipe)
        .with_file(Path::new(&context).join("rootfs"), "rootfs")
        .build_image()
        .expect("the image is built without a network")
}

/// The engine's address, from the first line that it prints.
fn address(container: &Container<GenericImage>) -> String {
    let mut line = String::new();
    BufReader::new(container.stdout(true)).read_line(&mut line).expect("a line");
    line.trim().strip_prefix("listening on ").expect("its address").to_owned()
}

#[test]
#[ignore = "needs Docker: deploy with-docker --install -- cargo test -p deploy --test image -- --ignored"]
fn the_image_serves_as_nobody_and_drains_when_it_is_stopped() {
    // Host networking: an engine of ours has no bridge. Port 0: whichever is free.
    let container = image()
        .with_wait_for(WaitFor::message_on_stdout("listening on"))
        .with_network("host")
        .with_readonly_rootfs(true)
        .with_cap_drop("ALL")
        .with_security_opt("no-new-privileges")
        .with_user("65532:65532")
        .with_startup_timeout(LIMIT)
        .with_cmd(["--host=127.0.0.1", "--port=0", "--sim=h100:qwen2.5-7b"])
        .start()
        .expect("the container starts");
    let url = address(&container);
    let agent: ureq::Agent =
        ureq::Agent::config_builder().timeout_global(Some(LIMIT)).build().into();
    let body = serde_json::json!({ "prompt": "hello", "max_tokens": 3 });
    let mut answer =
        agent.post(format!("{url}/v1/completions")).send_json(&body).expect("an answer");
    let answer: serde_json::Value = answer.body_mut().read_json().expect("JSON");
    assert_eq!(answer["usage"]["completion_tokens"], 3, "{answer}");
    let page =
        agent.get(format!("{url}/metrics")).call().expect("a page").body_mut().read_to_string();
    assert!(page.expect("text").contains("vllm:request_success_total"));

    // A request that runs when the end comes is answered in full: SIGTERM drains.
    let running = std::thread::spawn({
        let (agent, url) = (agent.clone(), url.clone());
        move || {
            let body = serde_json::json!({ "prompt": "a long story", "max_tokens": 200 });
            let mut answer = agent.post(format!("{url}/v1/completions")).send_json(&body)?;
            answer.body_mut().read_json::<serde_json::Value>()
        }
    });
    while !agent
        .get(format!("{url}/metrics"))
        .call()
        .and_then(|mut page| page.body_mut().read_to_string())
        .is_ok_and(|page| {
            page.lines()
                .any(|line| line.starts_with("vllm:num_requests_running") && !line.ends_with(" 0"))
        })
    {
        assert!(!running.is_finished(), "the request ended before the drain");
    }
    container.stop_with_timeout(Some(GRACE_S)).expect("it is stopped");
    assert_eq!(container.exit_code().expect("a status"), Some(0));
    let answer = running.join().unwrap().expect("an answer in spite of the end");
    assert_eq!(answer["usage"]["completion_tokens"], 200, "{answer}");
}
