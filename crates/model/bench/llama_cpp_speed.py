"""How fast llama.cpp runs a model here: the peer of `cargo run -p model --example speed -- --json`.

    python llama_cpp_speed.py MODEL.gguf THREADS [--rounds N | --on-demand]

Needs the package llama-cpp-python. It does the work that the example `speed` does, so that the two can be
compared: the same prompt of 512 tokens, 32 greedy steps from position 512 for one sequence and for eight,
each sequence with a cache of its own, one process that stays loaded. Each round prints one line of JSON
with the same fields. `--on-demand` runs one round for each line on stdin, so that a harness can take turns
between programs.
"""

import argparse
import ctypes
import json
import os
import statistics
import sys
import time

import llama_cpp
import numpy

PROMPT = 512
STEPS = 32
SEQUENCES = 8
# One cache a sequence, as wide as llama.cpp rounds it up to.
CONTEXT = 768


class Peer:
    """A loaded model with eight sequences, each holding a prompt of PROMPT tokens."""

    def __init__(self, path, threads, flash):
        llama_cpp.llama_log_set(silent, ctypes.c_void_p(0))
        llama_cpp.llama_backend_init()
        self.model = llama_cpp.llama_model_load_from_file(
            path.encode(), llama_cpp.llama_model_default_params()
        )
        if not self.model:
            sys.exit(f"llama.cpp cannot load {path}")
        params = llama_cpp.llama_context_default_params()
        params.n_ctx = SEQUENCES * CONTEXT
        params.n_batch = PROMPT
        params.n_ubatch = PROMPT
        params.n_seq_max = SEQUENCES
        params.n_threads = threads
        params.n_threads_batch = threads
        params.flash_attn_type = flash
        params.no_perf = True
        self.context = llama_cpp.llama_init_from_model(self.model, params)
        self.memory = llama_cpp.llama_get_memory(self.context)
        vocabulary = llama_cpp.llama_model_get_vocab(self.model)
        self.vocab_size = llama_cpp.llama_vocab_n_tokens(vocabulary)
        self.batch = llama_cpp.llama_batch_init(PROMPT, 0, SEQUENCES)
        for sequence in range(SEQUENCES):
            self.prefill(sequence)

    def decode(self, tokens):
        """Runs `(token, position, sequence, wants_logits)` as one batch; returns the greedy tokens."""
        batch = self.batch
        batch.n_tokens = len(tokens)
        for at, (token, position, sequence, wanted) in enumerate(tokens):
            batch.token[at] = token
            batch.pos[at] = position
            batch.n_seq_id[at] = 1
            batch.seq_id[at][0] = sequence
            batch.logits[at] = wanted
        code = llama_cpp.llama_decode(self.context, batch)
        if code != 0:
            sys.exit(f"llama_decode returned {code}")
        greedy = []
        for at, (_, _, _, wanted) in enumerate(tokens):
            if wanted:
                logits = llama_cpp.llama_get_logits_ith(self.context, at)
                row = numpy.ctypeslib.as_array(logits, shape=(self.vocab_size,))
                greedy.append(int(row.argmax()))
        return greedy

    def prefill(self, sequence):
        """Seconds to compute a prompt from nothing."""
        llama_cpp.llama_memory_seq_rm(self.memory, sequence, -1, -1)
        last = PROMPT - 1
        tokens = [(prompt_token(sequence, at), at, sequence, at == last) for at in range(PROMPT)]
        started = time.perf_counter()
        self.decode(tokens)
        return time.perf_counter() - started

    def generate(self, sequences):
        """Seconds for STEPS greedy steps of this many sequences together."""
        for sequence in range(sequences):
            llama_cpp.llama_memory_seq_rm(self.memory, sequence, PROMPT, -1)
        tokens = [5] * sequences
        started = time.perf_counter()
        for step in range(STEPS):
            tokens = self.decode(
                [(token, PROMPT + step, id, True) for id, token in enumerate(tokens)]
            )
        return time.perf_counter() - started

    def round(self):
        return {
            "prefill_512_tok_s": PROMPT / self.prefill(0),
            "decode_b1_tok_s": STEPS / self.generate(1),
            "decode_b8_tok_s": SEQUENCES * STEPS / self.generate(SEQUENCES),
        }


@llama_cpp.llama_log_callback
def silent(_level, _text, _data):
    pass


def prompt_token(sequence, at):
    """The prompts of the example `speed`."""
    return 3 + (at * 7 + sequence * 11) % 250


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("model")
    parser.add_argument("threads", type=int)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--on-demand", action="store_true")
    parser.add_argument("--flash", choices=["auto", "on", "off"], default="auto")
    args = parser.parse_args()
    flash = {"auto": -1, "off": 0, "on": 1}[args.flash]
    peer = Peer(os.path.expanduser(args.model), args.threads, flash)
    about = {"engine": "llama.cpp", "version": llama_cpp.__version__, "threads": args.threads}
    peer.round()
    if args.on_demand:
        print(json.dumps(about | {"ready": True}), flush=True)
        for _ in sys.stdin:
            print(json.dumps(about | peer.round()), flush=True)
        return
    rounds = [peer.round() for _ in range(args.rounds)]
    median = {key: statistics.median(round[key] for round in rounds) for key in rounds[0]}
    print(json.dumps(about | {"rounds": args.rounds} | median), flush=True)


main()
