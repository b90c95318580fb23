"""Hears a publisher of KV events by the real libzmq, and keeps each message as it came: a line of topic, number and payload.

What is read of a payload here is read by msgspec, by which vLLM writes it, and by nothing of ours.
"""

import threading
import time

import msgspec
import zmq

LIMIT_S = 30


class Recorder:
    """A subscriber to `endpoint`, in a thread of its own. libzmq connects again by itself."""

    def __init__(self, endpoint: str) -> None:
        self.lines = []
        self.payloads = []
        self.socket = zmq.Context.instance().socket(zmq.SUB)
        self.socket.setsockopt(zmq.SUBSCRIBE, b"")
        self.socket.connect(endpoint)
        threading.Thread(target=self.listen, daemon=True).start()

    def listen(self) -> None:
        while True:
            topic, number, payload = self.socket.recv_multipart()
            self.payloads.append(payload)
            self.lines.append(f"{topic.decode()} {int.from_bytes(number, 'big')} {payload.hex()}")

    def note(self, text: str) -> None:
        """Says in the record what happens at this place."""
        self.lines.append(f"# {text}")

    def settle(self) -> None:
        """Waits until nothing has come for a second."""
        until = time.monotonic() + LIMIT_S
        before = -1
        while before != len(self.payloads) and time.monotonic() < until:
            before = len(self.payloads)
            time.sleep(1)

    def events(self) -> list:
        """All events: maps of names."""
        return [event for payload in self.payloads for event in msgspec.msgpack.decode(payload)[1]]

    def count(self) -> dict:
        """Blocks stored and removed, and how often all were cleared."""
        count = {"stored": 0, "removed": 0, "cleared": 0}
        for event in self.events():
            match event["type"]:
                case "BlockStored":
                    count["stored"] += len(event["block_hashes"])
                case "BlockRemoved":
                    count["removed"] += len(event["block_hashes"])
                case "AllBlocksCleared":
                    count["cleared"] += 1
        return count
