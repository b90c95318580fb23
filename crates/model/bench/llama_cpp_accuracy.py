"""How exact llama.cpp is: the peer of `cargo run -p model --example accuracy -- MODEL --json`.

    python llama_cpp_accuracy.py MODEL.gguf EXACT.json THREADS

EXACT.json is what that example printed: the tokens of a text, and what the dequantised weights say of each.
This program has llama.cpp judge the same tokens and prints one line of JSON with the same fields. Needs the
package llama-cpp-python.
"""

import ctypes
import json
import os
import sys

import llama_cpp
import numpy


@llama_cpp.llama_log_callback
def silent(_level, _text, _data):
    pass


def judge(path, text, threads):
    """Log-probability of each token but the first, and the likeliest token at each place."""
    llama_cpp.llama_log_set(silent, ctypes.c_void_p(0))
    llama_cpp.llama_backend_init()
    model = llama_cpp.llama_model_load_from_file(
        path.encode(), llama_cpp.llama_model_default_params()
    )
    if not model:
        sys.exit(f"llama.cpp cannot load {path}")
    params = llama_cpp.llama_context_default_params()
    params.n_ctx = params.n_batch = params.n_ubatch = len(text)
    params.n_threads = params.n_threads_batch = threads
    context = llama_cpp.llama_init_from_model(model, params)
    vocab_size = llama_cpp.llama_vocab_n_tokens(llama_cpp.llama_model_get_vocab(model))
    batch = llama_cpp.llama_batch_init(len(text), 0, 1)
    batch.n_tokens = len(text) - 1
    for at, token in enumerate(text[:-1]):
        batch.token[at] = token
        batch.pos[at] = at
        batch.n_seq_id[at] = 1
        batch.seq_id[at][0] = 0
        batch.logits[at] = True
    code = llama_cpp.llama_decode(context, batch)
    if code != 0:
        sys.exit(f"llama_decode returned {code}")
    judged = []
    for at, token in enumerate(text[1:]):
        logits = llama_cpp.llama_get_logits_ith(context, at)
        row = numpy.ctypeslib.as_array(logits, shape=(vocab_size,)).astype(numpy.float64)
        best = int(row.argmax())
        log = row[token] - row[best] - numpy.log(numpy.exp(row - row[best]).sum())
        judged.append((float(log), best))
    return judged


def main():
    path, exact, threads = sys.argv[1:]
    with open(exact) as file:
        exact = json.load(file)
    judged = judge(os.path.expanduser(path), exact["text"], int(threads))
    off = [abs(log - full) for (log, _), full in zip(judged, exact["full"], strict=True)]
    same = [best == full for (_, best), full in zip(judged, exact["full_best"], strict=True)]
    report = {
        "engine": "llama.cpp",
        "version": llama_cpp.__version__,
        "tokens": len(judged),
        "mean": sum(off) / len(off),
        "max": max(off),
        "top_1": sum(same) / len(same),
    }
    print(json.dumps(report), flush=True)


main()
