"""Our subscriber of KV events before the real libzmq and msgspec: publishes what vLLM publishes, reads what the subscriber prints, says
what came of it, and ends what it started. Exits with 1 where an expectation did not hold. About ten seconds.

    python3 -m venv /tmp/kv-events && /tmp/kv-events/bin/pip install pyzmq==27.3.0 msgspec==0.23.0
    /tmp/kv-events/bin/python run.py

FOLLOW may name the example `follow` of `crates/kv-events` that is built already.
"""

import os
import pathlib
import queue
import subprocess
import sys
import threading
import time

import msgspec
import zmq

ROOT = pathlib.Path(__file__).resolve().parents[4]
LIMIT_S = 20
HASH = bytes(range(32))
failed = []


def structs(array_like):
    """The structs of vllm/distributed/kv_events.py: events as lists of fields (until 0.23) or as maps of names (0.32); a batch is a list."""
    options = {"array_like": array_like, "omit_defaults": True, "gc": False}

    class EventBatch(msgspec.Struct, **{**options, "array_like": True}):
        ts: float
        events: list
        data_parallel_rank: int | None = None

    class BlockStored(msgspec.Struct, tag=True, **options):
        block_hashes: list
        parent_block_hash: bytes | int | None
        token_ids: list
        block_size: int
        lora_id: int | None
        medium: str | None
        lora_name: str | None
        extra_keys: list | None = None
        group_idx: int | None = None
        kv_cache_spec_kind: str | None = None
        kv_cache_spec_sliding_window: int | None = None
        locality: str | None = None
        ownership: str | None = None
        session_id: str | None = None

    class BlockRemoved(msgspec.Struct, tag=True, **options):
        block_hashes: list
        medium: str | None
        group_idx: int | None = None
        locality: str | None = None
        ownership: str | None = None

    class AllBlocksCleared(msgspec.Struct, tag=True, **options):
        pass

    class BlockMoved(msgspec.Struct, tag=True, **options):
        """Nobody's: a kind that may come one day."""

        where: list

    return EventBatch, BlockStored, BlockRemoved, AllBlocksCleared, BlockMoved


class Publisher:
    """As vLLM's ZmqEventPublisher: PUB, bound; topic, number, batch. Its libzmq asks each subscriber whether it is there."""

    def __init__(self, port=None):
        self.socket = zmq.Context.instance().socket(zmq.PUB)
        self.socket.setsockopt(zmq.HEARTBEAT_IVL, 100)
        self.socket.setsockopt(zmq.HEARTBEAT_TIMEOUT, 500)
        if port is None:
            self.port = self.socket.bind_to_random_port("tcp://127.0.0.1")
        else:
            self.port = port
            self.socket.bind(f"tcp://127.0.0.1:{port}")
        self.number = 0

    def send(self, batch, topic=b"kv@pod@model"):
        payload = msgspec.msgpack.encode(batch)
        self.socket.send_multipart((topic, self.number.to_bytes(8, "big"), payload))
        self.number += 1


def expect(lines, line):
    try:
        came = lines.get(timeout=LIMIT_S)
    except queue.Empty:
        came = "nothing"
    print(f"{'ok  ' if came == line else 'NOT '} {line}" + ("" if came == line else f"   but: {came}"))
    if came != line:
        failed.append(line)


def program():
    if built := os.environ.get("FOLLOW"):
        return built
    subprocess.run(["cargo", "build", "-q", "-p", "kv-events", "--example", "follow"], cwd=ROOT, check=True)
    return ROOT / "target/debug/examples/follow"


def run(lines, publisher):
    expect(lines, "joined")
    time.sleep(0.5)  # PUB does not say when a subscription has come
    for array_like, form in ((True, "lists"), (False, "maps")):
        batch, stored, removed, cleared, moved = structs(array_like)
        print(f"-- {form}")
        publisher.send(batch(1.0, [cleared()]), topic=b"other")
        publisher.number -= 1  # not for us
        publisher.send(batch(2.0, [
            stored([HASH, HASH[::-1]], None, list(range(32)), 16, None, "GPU", None, [None, None], 0, "full_attention", None, None, None, "a session"),
            stored([2**64 - 1], HASH, [151_644] * 16, 16, None, None, None),
            stored([-1], 7, [1] * 16, 16, None, "CPU", None),
            moved([[[]]]),
            removed([HASH], "GPU"),
            cleared(),
        ], 0))
        expect(lines, "stored 2 x 16, 32 tokens, first 18191a1b1c1d1e1f, behind nothing")
        expect(lines, "stored 1 x 16, 16 tokens, first ffffffffffffffff, behind 18191a1b1c1d1e1f")
        expect(lines, "stored 1 x 16, 16 tokens, first ffffffffffffffff, behind 0000000000000007 (not plain)")
        expect(lines, "removed 1")
        expect(lines, "cleared")
        expect(lines, "unknown event")
        blocks = [HASH] * 8192
        publisher.send(batch(3.0, [stored(blocks, None, list(range(131_072)), 16, None, "GPU", None)]))
        expect(lines, "stored 8192 x 16, 131072 tokens, first 18191a1b1c1d1e1f, behind nothing")
    print("-- silence of 3 s, in which libzmq asks each 100 ms and hangs up on whoever does not answer for 500 ms")
    time.sleep(3)
    publisher.number += 1
    publisher.send(batch(4.0, [cleared()]))
    expect(lines, f"lost: batch {publisher.number - 1} came where {publisher.number - 2} was next")
    expect(lines, "cleared")
    print("-- the publisher ends, and another takes its place")
    publisher.socket.close(linger=0)
    expect(lines, "lost: the publisher hung up")
    time.sleep(1)
    after = Publisher(publisher.port)
    while (line := lines.get(timeout=LIMIT_S)).startswith("away: cannot connect"):
        pass
    print(f"{'ok  ' if line == 'joined' else 'NOT '} joined")
    failed.extend([] if line == "joined" else ["joined again"])
    time.sleep(0.5)
    after.send(batch(5.0, [cleared()]))
    expect(lines, "cleared")
    after.socket.close(linger=0)


def main():
    publisher = Publisher()
    command = [program(), f"127.0.0.1:{publisher.port}", "kv@"]
    follower = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    lines = queue.Queue()
    threading.Thread(target=lambda: [lines.put(line.rstrip()) for line in follower.stdout], daemon=True).start()
    print(f"libzmq {zmq.zmq_version()}, msgspec {msgspec.__version__}")
    try:
        run(lines, publisher)
    finally:
        follower.kill()
        follower.wait()
    sys.exit(1 if failed else 0)


main()
