"""Whether what a pipeline carries is what the attack knows, and whether its parts fit each other.

Every function raises ModelError with half a sentence, "its ...", to which `about` puts the model's name.
"""

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from inspect import signature
from typing import Any

from advdm.errors import ModelError
from advdm.files import reason
from advdm.models.schedule import sampler, training_noise

PREDICTIONS = ("epsilon", "v_prediction")
SUPPORTED = "supported are Stable Diffusion 1.x, 2.x and SDXL"


@contextmanager
def about(name: str) -> Iterator[None]:
    """Put the model's name, as the painter wrote it, before what is wrong with it."""
    try:
        yield
    except ModelError as error:
        shown = "".join(letter for letter in name if letter.isprintable())
        raise ModelError(f"The model '{shown}' cannot be used: {error}") from error
    except OSError as error:
        raise ModelError(f"The model '{shown}' cannot be used: its files cannot be read, {reason(error)}.") from error


def check_parts(pipeline: Any, encoders: Sequence[tuple[str, str]], added: str | None) -> None:
    """Refuse a pipeline whose denoiser goes by more than text, or predicts what the attack does not know.

    encoders and added are the family's, see `LatentDiffusion`.
    """
    unet, vae, scheduler = pipeline.unet.config, pipeline.vae.config, pipeline.scheduler
    if unet.in_channels != vae.latent_channels:
        raise ModelError(
            f"its unet takes {unet.in_channels} channels where its vae gives {vae.latent_channels}: it is made for "
            "inpainting, depth or edits, or the two do not fit each other. Only models that go by text alone are "
            "supported."
        )
    if unet.out_channels != unet.in_channels:
        raise ModelError(f"its unet predicts {unet.out_channels} channels of {unet.in_channels}.")
    conditions = {
        "a class": unet.class_embed_type or unet.num_class_embeds,
        "an image or a second text": unet.encoder_hid_dim_type,
        "the strength of guidance (a distilled model)": unet.time_cond_proj_dim,
        f"a condition of the kind '{unet.addition_embed_type}'": unet.addition_embed_type != added,
    }
    for condition, there in conditions.items():
        if there:
            raise ModelError(f"its unet also goes by {condition}; only models that go by text alone are supported.")
    if getattr(vae, "latents_mean", None) or getattr(vae, "shift_factor", None):
        raise ModelError(f"its vae shifts its latents, which Stable Diffusion's do not; {SUPPORTED}.")
    if not isinstance(vae.scaling_factor, float | int) or not 0 < vae.scaling_factor < math.inf:
        raise ModelError("its vae has no scaling factor.")
    check_scheduler(scheduler)
    for tokenizer, encoder in encoders:
        check_tokenizer(tokenizer, getattr(pipeline, tokenizer), encoder, getattr(pipeline, encoder))


def check_scheduler(scheduler: Any) -> None:
    """Refuse a sampler that does not tell the noise of the training, or the prediction."""
    kind, config = type(scheduler).__name__, scheduler.config
    if not {"beta_schedule", "prediction_type"} <= signature(type(scheduler).__init__).parameters.keys():
        raise ModelError(
            f"its scheduler {kind} does not say with which noise a Stable Diffusion was trained; put one that does, as "
            "DDIMScheduler, in its place."
        )
    if config.prediction_type not in PREDICTIONS or config.get("use_flow_sigmas"):
        predicted = "flow" if config.get("use_flow_sigmas") else config.prediction_type
        raise ModelError(f"it predicts '{predicted}' (scheduler); only epsilon and v_prediction are supported.")
    try:
        kept = training_noise(config).alphas_cumprod
        sampler(config)
        known = len(kept) == config.num_train_timesteps > 0 and bool(((kept >= 0) & (kept <= 1)).all())
    except Exception:  # NotImplementedError for a schedule, anything for numbers that make none
        known = False
    if not known:
        raise ModelError(f"its scheduler {kind} names a schedule of noise that cannot be used.")


def check_tokenizer(name: str, tokenizer: Any, part: str, encoder: Any) -> None:
    """Refuse a tokenizer whose tokens the text encoder does not know."""
    # Without its settings a tokenizer loads all the same, knows no longest prompt, and pads as it likes.
    if tokenizer.model_max_length > encoder.config.max_position_embeddings:
        raise ModelError(f"its {name} does not cut prompts to the length that its {part} reads.")
    if None in (tokenizer.bos_token_id, tokenizer.eos_token_id, tokenizer.pad_token_id):
        raise ModelError(f"its {name} has no token for the start, the end or the padding of a prompt.")
    if len(tokenizer) > len(encoder.get_input_embeddings().weight):
        raise ModelError(f"its {name} knows more tokens than its {part}.")
