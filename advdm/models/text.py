"""Prompts through one text encoder, also with a learned word: its vectors take the place of {} among the embeddings.

    "a painting of {}"  ->  [start] a painting of v_1 ... v_n [end] [pad] ...        (tokens,)

The word is appended to the frozen token table for one call, so the encoder and the tokenizer stay as they are.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.func import functional_call

from advdm.errors import SettingsError
from advdm.files import clean

OUTPUTS = {"output_hidden_states": True}


def encode_prompts(tokenizer: Any, encoder: Any, prompts: Sequence[str]) -> Any:
    """The encoder's output for every prompt, padded or cut to the length that it reads."""
    length = tokenizer.model_max_length
    tokens = tokenizer(list(prompts), padding="max_length", max_length=length, truncation=True, return_tensors="pt")
    return encoder(tokens.input_ids.to(encoder.device), **OUTPUTS)


def encode_word(tokenizer: Any, encoder: Any, prompts: Sequence[str], vectors: Tensor) -> Any:
    """The encoder's output for every prompt with the word of these vectors (n, width); differentiable.

    A prompt without {} has no word in it.
    """
    table = encoder.get_input_embeddings().weight
    word = range(len(table), len(table) + len(vectors))
    tokens = [prompt_tokens(tokenizer, prompt, word) for prompt in prompts]
    longer = torch.cat([table, vectors.to(table)])
    name = next(name for name, weight in encoder.named_parameters() if weight is table)
    return functional_call(encoder, {name: longer}, (torch.tensor(tokens, device=table.device),), OUTPUTS)


def prompt_tokens(tokenizer: Any, prompt: str, word: Sequence[int]) -> list[int]:
    """Token ids of a prompt with the ids `word` for its {}, between start and end, padded to the encoder's length.

    What is longer is cut. Raises SettingsError where that would cut the word.
    """
    before, *after = (tokenizer(part, add_special_tokens=False).input_ids for part in prompt.split("{}"))
    inner = [*before, *(token for part in after for token in (*word, *part))]
    length = tokenizer.model_max_length
    if after and len(before) + len(word) > length - 2:
        raise SettingsError(
            f"The prompt '{clean(prompt)}' is too long: its word must come within the first {length - 2} tokens that "
            f"the model reads, and {len(before)} come before it."
        )
    start, end = tokenizer.bos_token_id, tokenizer.eos_token_id
    return [start, *inner[: length - 2], end, *[tokenizer.pad_token_id] * (length - 2 - len(inner))]


def word_vectors(tokenizer: Any, encoder: Any, word: str, count: int) -> Tensor:
    """The embedding of a word that the encoder knows, `count` times: (count, width) float32. Raises SettingsError."""
    tokens = tokenizer(word, add_special_tokens=False).input_ids
    if len(tokens) != 1:
        raise SettingsError(f"'{clean(word)}' is not one word of the model.")
    table: Tensor = encoder.get_input_embeddings().weight
    return table[tokens].detach().float().repeat(count, 1)
