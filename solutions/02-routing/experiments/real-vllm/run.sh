#!/usr/bin/env bash
# Puts vLLM and our engine, which predicts another device, behind the router, asks, and says who answered. Ends what it started. About five minutes on 2 cores.
#
#     ./run.sh FOLDER          the folder of install.sh; from anywhere in the repository
#
# ROUTER and ENGINE may name programs that are built already.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
folder=$(cd "${1:?the folder of install.sh}" && pwd)
root=$(cd "$here/../../../.." && pwd)
cd "$root"
if [ -z "${ENGINE:-}" ]; then
  cargo build -q -p sol01-triage --features serve --bin sol01-engine
  ENGINE=target/debug/sol01-engine
fi
if [ -z "${ROUTER:-}" ]; then
  cargo build -q --release -p sol02-routing --features live --bin sol02-router
  ROUTER=target/release/sol02-router
fi
pids=()
stop() { for pid in "${pids[@]}"; do kill "$pid" 2>/dev/null || true; done; }
trap stop EXIT
# Nothing here may look for models or report usage over the network.
export HF_HUB_OFFLINE=1 TRANSFORMERS_OFFLINE=1 VLLM_NO_USAGE_STATS=1 DO_NOT_TRACK=1
export VLLM_CPU_KVCACHE_SPACE=1 OMP_NUM_THREADS=2
# The command `vllm` asks for a package of that name and does not start; its module does.
"$folder/venv/bin/python" -m vllm.entrypoints.openai.api_server --model "$folder/model" --served-model-name smollm2-135m \
  --host 127.0.0.1 --port 18190 --max-model-len 2048 --max-num-seqs 4 --enforce-eager > "$folder/vllm.log" 2>&1 &
pids+=($!)
"$ENGINE" --sim "${SIM:-h100:llama-3.1-8b}" --served-model-name smollm2-135m --port 18182 > "$folder/engine.log" 2>&1 &
pids+=($!)
python3 "$here/wait.py" http://127.0.0.1:18190/health http://127.0.0.1:18182/health
"$ROUTER" --endpoints http://127.0.0.1:18190,http://127.0.0.1:18182 --policy "${POLICY:-load}" --port 18191 \
  > "$folder/router.log" 2>&1 &
pids+=($!)
python3 "$here/wait.py" http://127.0.0.1:18191/ready
python3 "$here/ask.py" http://127.0.0.1:18191 smollm2-135m vllm=http://127.0.0.1:18190 engine=http://127.0.0.1:18182
