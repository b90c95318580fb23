//! A simulated pod: the engine as a process, on the predicted steps of a device that is not here.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use serving::{BlockTable, Chunk, EventKind, SequenceId, StepPlan, Tokens};
use simulation::StepCost;
use sol01_triage::Placement;
use testbed::{Client, Prompt, RunningEngine};

const ENGINE: &str = env!("CARGO_BIN_EXE_sol01-engine");
/// Long enough for a busy machine, short enough to be noticed.
const LIMIT: Duration = Duration::from_secs(60);

/// A running pod; killed when it goes out of scope.
struct Pod {
    process: Child,
    url: String,
}

impl RunningEngine for Pod {
    fn url(&self) -> &str {
        &self.url
    }

    fn log(&self) -> Vec<String> {
        Vec::new()
    }
}

impl Drop for Pod {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn command(flags: &[&str]) -> Command {
    let mut command = Command::new(ENGINE);
    command.args(["--port", "0", "--debug-timelines"]).args(flags);
    command
}

/// Starts a pod and waits until it is ready.
fn pod(flags: &[&str]) -> Client {
    let mut process = command(flags)
        .arg("--exit-with-parent")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("the engine starts");
    let mut line = String::new();
    let stdout = process.stdout.take().expect("a pipe");
    BufReader::new(stdout).read_line(&mut line).expect("a first line");
    let url = line.trim().strip_prefix("listening on ").expect("its address").to_owned();
    let client = Client::new(Box::new(Pod { process, url }));
    let deadline = Instant::now() + LIMIT;
    while client.try_complete(&Prompt::new("are you there", 1)).is_err() {
        assert!(Instant::now() < deadline, "the pod was not ready in time");
        std::thread::sleep(Duration::from_millis(20));
    }
    client
}

fn refused(flags: &[&str]) -> (Option<i32>, String) {
    let Output { status, stderr, .. } = command(flags).output().expect("the engine starts");
    (status.code(), String::from_utf8_lossy(&stderr).into_owned())
}

/// One step that decodes one sequence.
fn decode() -> StepPlan {
    let chunk = Chunk {
        sequence: SequenceId(0),
        start: 20,
        tokens: Tokens::from_slice(&[1]),
        block_table: BlockTable::default(),
        samples: true,
    };
    StepPlan { chunks: vec![chunk], preempted: Vec::new() }
}

#[test]
fn answers_are_streamed_and_repeat_themselves() {
    let pod = pod(&["--sim", "h100:smollm2-135m"]);
    let answers = pod.complete_all(&vec![Prompt::new("tell me about scheduling", 24); 4]);
    for answer in &answers {
        assert_eq!(answer.usage.completion_tokens, 24);
        assert_eq!(answer.usage.prompt_tokens, 8);
        assert_eq!(answer.text, answers[0].text);
        assert_eq!(answer.text.len(), 72);
    }
    let other = pod.complete(&Prompt::new("tell me about something else", 24));
    assert_ne!(other.text, answers[0].text);
}

#[test]
fn a_pod_takes_at_least_as_long_as_the_device_would() {
    let name = "h100:llama-3.1-8b";
    let step = name.parse::<Placement>().expect("a placement").roofline.step_time(&decode()).total;
    let pod = pod(&["--sim", name]);
    let answer = pod.complete(&Prompt::new("how long does this take", 17));
    let timeline = &pod.timelines(&[answer])[0];
    let tokens: Vec<Duration> = timeline
        .events()
        .iter()
        .filter(|event| event.kind == EventKind::Token)
        .map(|event| event.at)
        .collect();
    assert_eq!(tokens.len(), 17);
    assert!(tokens.is_sorted());
    // The prompt's step and 16 decodes; the busiest machine makes this longer, never shorter.
    let took = tokens[16] - timeline.events()[0].at;
    assert!(took >= step * 16, "{took:?} for 16 steps of {step:?}");
}

#[test]
fn the_metrics_page_is_that_of_a_pod() {
    let pod = pod(&["--sim", "rtx4090:qwen2.5-7b", "--max-num-seqs", "2"]);
    let _answers = pod.complete_all(&vec![Prompt::new("a prompt that is long enough", 8); 5]);
    let finished = "vllm:request_success_total";
    // One of them asked whether the pod was there.
    let page = pod.settled_metrics(|page| page.total(finished) == Some(6.0));
    assert_eq!(page.total(finished), Some(6.0));
    assert_eq!(page.total("vllm:generation_tokens_total"), Some(41.0));
    assert_eq!(page.total("vllm:time_to_first_token_seconds_count"), Some(6.0));
    assert_eq!(page.total("vllm:num_requests_running"), Some(0.0));
}

#[test]
fn what_does_not_exist_or_fit_is_refused_with_what_there_is() {
    let (status, said) = refused(&["--sim", "h200x:qwen2.5-7b"]);
    assert_eq!(status, Some(2));
    assert!(said.contains("no device is called `h200x`; there are"), "{said}");
    let (status, said) = refused(&["--sim", "h100:qwen9"]);
    assert_eq!(status, Some(2));
    assert!(said.contains("no model is called `qwen9`; there are"), "{said}");
    let (status, said) = refused(&["--sim", "rtx4090:llama-3.1-70b"]);
    assert_eq!(status, Some(1));
    assert!(said.contains("llama-3.1-70b leaves no room for a KV cache"), "{said}");
    let (status, said) =
        refused(&["--sim", "h100:qwen2.5-7b", "--num-kv-blocks", "9", "--max-model-len", "160"]);
    assert_eq!(status, Some(1));
    assert!(said.contains("cannot hold one context of 160 tokens: raise it to 10"), "{said}");
    let (status, said) = refused(&[]);
    assert!(status.is_some_and(|code| code > 0) && said.contains("--sim"), "{said}");
}

#[cfg(not(feature = "live"))]
#[test]
fn a_build_without_models_says_so() {
    let (status, said) = refused(&["--model", "tiny"]);
    assert_eq!(status, Some(2));
    assert!(said.contains("built without models") && said.contains("--sim"), "{said}");
}
