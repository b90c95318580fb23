"""How fast Vidur simulates: one line of JSON for each line on standard input.

    python vidur_round.py PROMPT OUTPUT RATE REQUESTS DIR

Needs the package vidur. One replica of Llama-3-8B on one H100, Poisson arrivals at RATE a second, every
request alike, continuous batching with chunked prefills (its Sarathi scheduler). Vidur predicts the time of a
step from profiles that it fetches from a hub; where that cannot be reached they are made here from a roofline.
How fast it simulates does not depend on what the tables hold, only on how long steps are against arrivals.
Each round simulates REQUESTS requests with another seed and prints how many that were for a second of
processor time. DIR is for what Vidur writes.
"""

import json
import multiprocessing
import os
import sys
import time
from importlib.metadata import version

# Vidur logs on standard output, where answers go; from here on it is standard error for all but those.
answers = os.fdopen(os.dup(1), "w")
os.dup2(2, 1)

from vidur.config import SimulationConfig
from vidur.execution_time_predictor.sklearn_execution_time_predictor import (
    SklearnExecutionTimePredictor,
)
from vidur.simulator import Simulator
from vidur.utils.random import set_seeds

MAX_TOKENS = 4096
MAX_BATCH = 256
GRAIN = 256

# NVIDIA H100 SXM data sheet, and what of it kernels reach.
BYTES_PER_MS = 3.35e12 * 0.8 / 1e3
FLOPS_PER_MS = 989e12 * 0.6 / 1e3
# Llama-3-8B in 16 bits: 32 layers, 8 KV heads and 32 query heads of 128.
LAYERS = 32
PARAMETERS = 8.0e9 / LAYERS
KV_BYTES = 2 * 8 * 128 * 2
ATTENTION_FLOPS = 4 * 32 * 128
# Shares of a layer's parameters.
PROJECTIONS = {"attn_pre_proj": 0.12, "attn_post_proj": 0.08, "mlp_up_proj": 0.53, "mlp_down_proj": 0.27}
SMALL = ["mlp_act", "attn_rope", "attn_kv_cache_save", "input_layernorm", "post_attention_layernorm", "add"]


def roofline(_self):
    """Milliseconds of each operation of one layer, by what it depends on."""
    tokens = range(1, MAX_TOKENS + 1)
    cached = range(0, MAX_TOKENS + 1, GRAIN)
    tables = {
        name: {
            (n,): share * max(2 * PARAMETERS / BYTES_PER_MS, 2 * PARAMETERS * n / FLOPS_PER_MS)
            for n in tokens
        }
        for name, share in PROJECTIONS.items()
    }
    tables |= {name: {(n,): 0.001 for n in tokens} for name in SMALL}
    tables["attn_decode"] = {
        (batch, kv): batch * kv * KV_BYTES / BYTES_PER_MS
        for batch in range(1, MAX_BATCH + 1)
        for kv in cached
    }
    tables["attn_prefill"] = {
        (kv, chunk): ATTENTION_FLOPS * chunk * (kv + chunk / 2) / FLOPS_PER_MS
        for kv in cached
        for chunk in range(32, MAX_TOKENS + 1, 32)
    }
    return tables


def settings(prompt, output, rate, requests, folder, seed):
    total = int(prompt) + int(output)
    words = f"""
        --seed {seed}
        --cluster_config_num_replicas 1
        --replica_config_tensor_parallel_size 1 --replica_config_num_pipeline_stages 1
        --replica_config_device h100 --replica_config_network_device h100_dgx
        --replica_config_model_name meta-llama/Llama-3-8B
        --replica_scheduler_config_type sarathi
        --sarathi_scheduler_config_batch_size_cap {MAX_BATCH}
        --sarathi_scheduler_config_chunk_size 512
        --request_generator_config_type synthetic
        --synthetic_request_generator_config_seed {seed}
        --synthetic_request_generator_config_num_requests {requests}
        --length_generator_config_type fixed
        --fixed_request_length_generator_config_prefill_tokens {prompt}
        --fixed_request_length_generator_config_decode_tokens {output}
        --fixed_request_length_generator_config_max_tokens {total}
        --interval_generator_config_type poisson
        --poisson_request_interval_generator_config_seed {seed}
        --poisson_request_interval_generator_config_qps {rate}
        --execution_time_predictor_config_type random_forrest
        --random_forrest_execution_time_predictor_config_prediction_max_tokens_per_request {MAX_TOKENS}
        --random_forrest_execution_time_predictor_config_prediction_max_batch_size {MAX_BATCH}
        --random_forrest_execution_time_predictor_config_kv_cache_prediction_granularity {GRAIN}
        --random_forrest_execution_time_predictor_config_cache_dir DIR/cache
        --no-metrics_config_write_metrics
        --no-metrics_config_write_json_trace
        --no-metrics_config_enable_chrome_trace
        --metrics_config_output_dir DIR
    """
    return [word.replace("DIR", folder) for word in words.split()]


def simulate(seed):
    """Requests for a second of processor time. Tables and arrivals are there before the clock starts."""
    sys.argv[1:] = settings(*ARGUMENTS, seed)
    config = SimulationConfig.create_from_cli_args()
    set_seeds(config.seed)
    simulator = Simulator(config)
    started = time.process_time()
    simulator.run()
    return int(ARGUMENTS[3]) / (time.process_time() - started)


ARGUMENTS = sys.argv[1:]
SklearnExecutionTimePredictor._load_predictions_from_hf = roofline
print(json.dumps({"ready": True, "version": version("vidur")}), file=answers, flush=True)
for seed, _ in enumerate(sys.stdin):
    # Vidur numbers replicas for as long as a process lives, so each round has one of its own.
    with multiprocessing.get_context("fork").Pool(1) as pool:
        rate = pool.apply(simulate, (seed + 1,))
    print(json.dumps({"requests_per_s": rate}), file=answers, flush=True)
