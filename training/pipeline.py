"""The parts of atelier's pipeline beside its autoencoder, untrained, and the folder a finished one is written to."""

import json
import shutil
from collections.abc import Iterable
from pathlib import Path
from tempfile import TemporaryDirectory

from diffusers import AutoencoderKL, DDIMScheduler, StableDiffusionPipeline, UNet2DConditionModel
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, trainers
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

from training.autoencoder import LATENT_CHANNELS
from training.captions import all_words
from training.scenes import SIZE

WIDTH = 128
"""Width of the text encoder, and so of the cross-attention."""
LENGTH = 32
"""Tokens of a prompt, padding included."""


def new_tokenizer(words: Iterable[str]) -> CLIPTokenizer:
    """CLIP's byte-pair tokenizer with merges learned so that each of `words` is one token; others fall into letters."""
    bpe = Tokenizer(models.BPE(end_of_word_suffix="</w>"))
    bpe.normalizer = normalizers.Lowercase()
    bpe.pre_tokenizer = pre_tokenizers.Whitespace()
    alphabet = list("abcdefghijklmnopqrstuvwxyz0123456789,.'-*")
    trainer = trainers.BpeTrainer(
        vocab_size=100_000,
        min_frequency=1,
        initial_alphabet=alphabet,
        # Else each run would number them in an order of its own, and break the ties between merges by that.
        special_tokens=[f"{letter}</w>" for letter in alphabet],
        end_of_word_suffix="</w>",
        show_progress=False,
    )
    # The extra single letters give every letter its word-final form.
    bpe.train_from_iterator([*words, *alphabet], trainer)
    learned = bpe.get_vocab()
    ordered = sorted(learned, key=learned.__getitem__)
    vocabulary = {token: i for i, token in enumerate([*ordered, "<|startoftext|>", "<|endoftext|>"])}
    merges = [tuple(merge) for merge in json.loads(bpe.to_str())["model"]["merges"]]
    return CLIPTokenizer(vocab=vocabulary, merges=merges, model_max_length=LENGTH)


def starting_tokenizer(folder: Path | None) -> CLIPTokenizer:
    """A new one, or that of a finished pipeline in `folder`, which must know every word of the captions."""
    if folder is None:
        return new_tokenizer(all_words())
    tokenizer = CLIPTokenizer.from_pretrained(folder / "tokenizer")
    if unknown := sorted({word for word in all_words() if len(tokenizer.tokenize(word)) > 1}):
        raise SystemExit(f"{folder} does not know the words {', '.join(unknown)}: start from nothing instead.")
    return tokenizer


def new_text_encoder(tokenizer: CLIPTokenizer) -> CLIPTextModel:
    return CLIPTextModel(
        CLIPTextConfig(
            vocab_size=len(tokenizer),
            hidden_size=WIDTH,
            intermediate_size=4 * WIDTH,
            projection_dim=WIDTH,
            num_hidden_layers=3,
            num_attention_heads=4,
            max_position_embeddings=LENGTH,
            **{name: getattr(tokenizer, name) for name in ("bos_token_id", "eos_token_id", "pad_token_id")},
        )
    )


def new_unet() -> UNet2DConditionModel:
    return UNet2DConditionModel(
        sample_size=SIZE // 8,
        in_channels=LATENT_CHANNELS,
        out_channels=LATENT_CHANNELS,
        block_out_channels=(64, 128, 192),
        down_block_types=("CrossAttnDownBlock2D", "CrossAttnDownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "CrossAttnUpBlock2D", "CrossAttnUpBlock2D"),
        layers_per_block=1,
        cross_attention_dim=WIDTH,
        attention_head_dim=4,
        norm_num_groups=8,
    )


def new_scheduler() -> DDIMScheduler:
    """Stable Diffusion's noise schedule."""
    betas = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear"}
    return DDIMScheduler(**betas, clip_sample=False, set_alpha_to_one=False, steps_offset=1)


def export(
    vae: AutoencoderKL, tokenizer: CLIPTokenizer, text_encoder: CLIPTextModel, unet: UNet2DConditionModel, out: Path
) -> None:
    """Write the pipeline to the folder `out`; what else lies there stays."""
    for part in (vae, unet):
        part.register_to_config(_name_or_path="")  # else the folder of this machine is written down
    parts = {"vae": vae, "tokenizer": tokenizer, "text_encoder": text_encoder, "unet": unet}
    unused = {"safety_checker": None, "feature_extractor": None, "requires_safety_checker": False}
    pipeline = StableDiffusionPipeline(**parts, **unused, scheduler=new_scheduler()).to("cpu")
    # Half the size on disk; not the text encoder, which transformers would load in the type it was saved in.
    pipeline.unet.half()
    pipeline.vae.half()
    out.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(dir=out.parent) as folder:
        pipeline.save_pretrained(folder, max_shard_size="9MB")
        for new in Path(folder).iterdir():
            old = out / new.name
            if old.is_dir():
                shutil.rmtree(old)
            new.replace(old)
