"""Sends 48 completions through a router, 8 at a time, half of them streamed, and says who answered how many.

    python ask.py ROUTER MODEL NAME=BACKEND...
"""

import concurrent.futures
import json
import re
import sys
import urllib.error
import urllib.request

REQUESTS, AT_ONCE, TOKENS, PATIENCE_S = 48, 8, 32, 120


def get(url: str) -> str:
    with urllib.request.urlopen(url, timeout=10) as answer:
        return answer.read().decode()


def answered(backend: str) -> int:
    page = get(f"{backend}/metrics")
    return round(sum(float(value) for value in re.findall(r"^vllm:request_success_total\{[^}]*\} (\S+)", page, re.M)))


def ask(router: str, model: str, number: int) -> str:
    stream = number % 2 == 0
    body = {"model": model, "prompt": f"Story {number}: ", "max_tokens": TOKENS, "ignore_eos": True, "stream": stream}
    headers = {"content-type": "application/json"}
    request = urllib.request.Request(f"{router}/v1/completions", json.dumps(body).encode(), headers)
    try:
        with urllib.request.urlopen(request, timeout=PATIENCE_S) as answer:
            text = answer.read().decode()
    except urllib.error.HTTPError as error:
        return str(error.code)
    except OSError as error:
        return type(error).__name__
    if stream:
        return "ok" if text.rstrip().endswith("data: [DONE]") else "cut off"
    return "ok" if json.loads(text)["usage"]["completion_tokens"] == TOKENS else "short"


def main(router: str, model: str, *backends: str) -> None:
    named = dict(backend.split("=", 1) for backend in backends)
    before = {name: answered(url) for name, url in named.items()}
    with concurrent.futures.ThreadPoolExecutor(AT_ONCE) as pool:
        outcomes = list(pool.map(lambda number: ask(router, model, number), range(REQUESTS)))
    for outcome in sorted(set(outcomes)):
        print(f"{outcome:10} {outcomes.count(outcome):4}")
    for name, url in named.items():
        print(f"{name:10} {answered(url) - before[name]:4} answered")
    sys.exit(any(outcome != "ok" for outcome in outcomes))


if __name__ == "__main__":
    main(*sys.argv[1:])
