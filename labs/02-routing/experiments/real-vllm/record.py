"""Records what a server says of itself, idle and under load, as test data for `crates/backends`.

    python record.py BASE_URL MODEL FOLDER

Sends 12 completions of 200 tokens at once, then looks at the page every half second until they have ended, and keeps the
page on which most requests waited. It ends after two minutes whatever happens.
"""

import json
import pathlib
import re
import sys
import threading
import time
import urllib.request

REQUESTS, TOKENS, PATIENCE_S = 12, 200, 120


def get(url: str) -> str:
    with urllib.request.urlopen(url, timeout=10) as answer:
        return answer.read().decode()


def complete(base: str, model: str, number: int) -> None:
    body = {"model": model, "prompt": f"{number} times a story. " * 40, "max_tokens": TOKENS, "ignore_eos": True}
    headers = {"content-type": "application/json"}
    request = urllib.request.Request(f"{base}/v1/completions", json.dumps(body).encode(), headers)
    with urllib.request.urlopen(request, timeout=PATIENCE_S) as answer:
        answer.read()


def waiting(page: str) -> float:
    found = re.search(r"^(?:vllm:num_requests_waiting|llamacpp:requests_deferred)(?:\{[^}]*\})? (\S+)", page, re.M)
    return float(found[1]) if found else -1.0


def main(base: str, model: str, folder: str) -> None:
    out = pathlib.Path(folder)
    out.mkdir(parents=True, exist_ok=True)
    (out / "models.json").write_text(get(f"{base}/v1/models"))
    (out / "metrics-idle.txt").write_text(get(f"{base}/metrics"))
    threads = [threading.Thread(target=complete, args=(base, model, n), daemon=True) for n in range(REQUESTS)]
    for thread in threads:
        thread.start()
    best, until = "", time.monotonic() + PATIENCE_S
    while any(thread.is_alive() for thread in threads) and time.monotonic() < until:
        page = get(f"{base}/metrics")
        best = max(best, page, key=waiting)
        time.sleep(0.5)
    (out / "metrics-load.txt").write_text(best)
    print(f"most requests waiting: {waiting(best):.0f}")


if __name__ == "__main__":
    main(*sys.argv[1:])
