"""Writes a tokenizer of a few hundred words into a folder: `python tokenizer.py DIR`.

Load generators want one to write prompts and to count tokens, and would fetch it from a hub. What they
measure here does not depend on it, so they get one that needs no network.
"""

import sys

from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

WORDS = 500

words = ["<unk>", "<s>", "</s>"] + [f"w{number}" for number in range(WORDS)]
tokenizer = Tokenizer(models.WordLevel({word: id for id, word in enumerate(words)}, "<unk>"))
tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
fast = PreTrainedTokenizerFast(
    tokenizer_object=tokenizer, unk_token="<unk>", bos_token="<s>", eos_token="</s>"
)
fast.save_pretrained(sys.argv[1])
