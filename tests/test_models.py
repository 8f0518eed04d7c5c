"""Models: the same numbers as stock diffusers, every ordinary form loads, and whatever else is refused in a sentence."""

import json
import os
import re
import shutil
import subprocess
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import diffusers
import pytest
import torch
from diffusers import AutoencoderTiny, IPNDMScheduler, PNDMScheduler, StableDiffusionPipeline, StableDiffusionXLPipeline
from huggingface_hub import constants
from safetensors.torch import load_file, save_file

from advdm.errors import ModelError, SettingsError
from advdm.models import MOVED, SDXL, SHORT_NAMES, LatentDiffusion, StableDiffusion, choose_device, join, load_model, state
from advdm.models.hub import needed
from advdm.models.machine import fit_memory
from advdm.models.precision import finite, finite_gradient
from tests.full_size import sdxl, stable_diffusion_15
from tests.tiny import ldm_checkpoint, tiny_pipeline, tiny_sdxl, tiny_unet

ROOT = Path(__file__).parents[1]
FAMILIES = {StableDiffusion: tiny_pipeline, SDXL: tiny_sdxl}


@pytest.fixture(scope="module", params=FAMILIES, ids=lambda family: family.__name__)
def model(request: pytest.FixtureRequest) -> LatentDiffusion:
    return request.param(FAMILIES[request.param](), "tiny")


@pytest.fixture(scope="module", params=FAMILIES, ids=lambda family: family.__name__)
def velocity(request: pytest.FixtureRequest) -> LatentDiffusion:
    return request.param(FAMILIES[request.param]("v_prediction"), "tiny-v")


def draw(count: int = 2) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    torch.manual_seed(1)
    return torch.randn(count, 4, 8, 8), torch.tensor([100, 700][:count]), torch.randn(count, 4, 8, 8)


# What a model computes


def stock_condition(model: LatentDiffusion, prompt: str, count: int) -> dict[str, Any]:
    """What stock diffusers tells the denoiser."""
    pipeline = model.pipeline
    if isinstance(model, SDXL):
        tokens, _, pooled, _ = pipeline.encode_prompt(prompt, num_images_per_prompt=count)
        ids = pipeline._get_add_time_ids((64, 64), (0, 0), (64, 64), torch.float32, pooled.shape[-1])
        added = {"text_embeds": pooled, "time_ids": ids.repeat(count, 1)}
        return {"encoder_hidden_states": tokens, "added_cond_kwargs": added}
    return {"encoder_hidden_states": pipeline.encode_prompt(prompt, "cpu", count, False)[0]}


@pytest.mark.parametrize("name", ["model", "velocity"])
@torch.no_grad()
def test_predictions_and_errors_are_those_of_stock_diffusers(request: pytest.FixtureRequest, name: str) -> None:
    model = request.getfixturevalue(name)
    latents, timesteps, noise = draw()
    scheduler = diffusers.DDPMScheduler.from_config(model.pipeline.scheduler.config)
    told = stock_condition(model, "a painting of the sea", 2)
    wanted = model.unet(scheduler.add_noise(latents, noise, timesteps), timesteps, **told).sample
    target = noise if name == "model" else scheduler.get_velocity(latents, noise, timesteps)
    condition = model.embed("a painting of the sea")
    prediction, aim = model.predict(latents, timesteps, noise, condition)
    torch.testing.assert_close(prediction, wanted, rtol=0, atol=1e-5)
    torch.testing.assert_close(aim, target)
    error = model.noise_error(latents, timesteps, noise, condition)
    torch.testing.assert_close(error, (wanted - target).square().mean((1, 2, 3)))


@pytest.mark.parametrize("sampler", ["PNDMScheduler", "EulerDiscreteScheduler", "DPMSolverMultistepScheduler"])
def test_what_a_pipeline_samples_with_does_not_change_its_noise_error(sampler: str, velocity: LatentDiffusion) -> None:
    """Euler's add_noise leaves the scale of the latents to another call, and not all know a velocity."""
    pipeline = FAMILIES[type(velocity)]("v_prediction")
    pipeline.scheduler = getattr(diffusers, sampler).from_config(pipeline.scheduler.config)
    other = type(velocity)(pipeline, "other")
    condition = velocity.embed("a painting")
    torch.testing.assert_close(other.noise_error(*draw(), condition), velocity.noise_error(*draw(), condition))


@pytest.mark.parametrize("name", ["model", "velocity"])
def test_pictures_are_those_of_stock_diffusers(request: pytest.FixtureRequest, name: str) -> None:
    """The stock pipeline is called as anybody would; ours paints one at a time."""
    model = request.getfixturevalue(name)
    prompts = ["a boat in the sea", "a painting of a boat"]
    generators = [torch.Generator().manual_seed(seed) for seed in (3, 4)]
    told = {"num_inference_steps": 3, "guidance_scale": 5.0, "output_type": "pt"}
    wanted = model.pipeline(prompts, generator=generators, **told).images
    painted = model.generate(model.embed(prompts), [3, 4], steps=3, guidance=5.0)
    torch.testing.assert_close(painted, wanted, rtol=0, atol=1e-5)
    model.at_once, before = 1, model.at_once
    torch.testing.assert_close(model.generate(model.embed(prompts), [3, 4], steps=3, guidance=5.0), wanted, rtol=0, atol=1e-5)
    model.at_once = before


def test_repainting_is_that_of_stock_diffusers(model: LatentDiffusion) -> None:
    pixels = torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    stock = model.repainter.from_pipe(model.pipeline, dtype=model.dtype)
    stock.set_progress_bar_config(disable=True)
    generators = [torch.Generator().manual_seed(seed) for seed in (3, 4)]
    told = {"strength": 0.6, "num_inference_steps": 5, "guidance_scale": 3.0}
    wanted = stock(["a boat"] * 2, pixels.expand(2, -1, -1, -1), generator=generators, output_type="pt", **told).images
    painted = model.repaint(pixels, model.embed(["a boat"] * 2), [3, 4], strength=0.6, steps=5)
    torch.testing.assert_close(painted, wanted, rtol=0, atol=1e-5)


def test_latents_are_scaled_at_the_door_and_unscaled_on_the_way_out(model: LatentDiffusion) -> None:
    pixels = torch.rand(1, 3, 64, 64)
    posterior = model.encode(pixels)
    raw = model.vae.encode(2 * pixels - 1).latent_dist
    assert model.vae.config.scaling_factor == 0.5
    torch.testing.assert_close(posterior.mean, 0.5 * raw.mean)
    torch.testing.assert_close(posterior.std, 0.5 * raw.std)
    decoded = model.vae.decode(raw.mean).sample / 2 + 0.5
    torch.testing.assert_close(model.decode(posterior.mean), decoded.clamp(0, 1))
    torch.testing.assert_close(model.reconstruct(pixels), decoded.clamp(0, 1))


def test_conditions_are_batches(model: LatentDiffusion) -> None:
    prompts = ["a boat", "the sea", "a painting"]
    batch = model.embed(prompts)
    assert len(batch) == 3
    again = join([batch[:1], batch[[1, 2]]])
    torch.testing.assert_close(again.tokens, batch.tokens)
    latents, timesteps, noise = draw()
    for i in range(2):
        alone = model.noise_error(latents[i : i + 1], timesteps[i : i + 1], noise[i : i + 1], batch[i : i + 1])
        torch.testing.assert_close(alone, model.noise_error(latents, timesteps, noise, batch[:2])[i : i + 1])


# Words


def test_a_known_words_vectors_say_what_the_word_says(model: LatentDiffusion) -> None:
    said = model.embed_words(["a picture of {}", "a {} in the sea"], [model.word("boat", 1), model.word("sea", 1)])
    meant = model.embed(["a picture of boat", "a boat in the sea", "a picture of sea", "a sea in the sea"])
    torch.testing.assert_close(said.tokens, meant.tokens)


def test_a_word_learns_through_every_encoder_and_nothing_else_does(model: LatentDiffusion) -> None:
    words = tuple(vectors.requires_grad_() for vectors in model.word("painting", 2))
    error = model.noise_error(*draw(1), model.embed_words(["a picture of {}"], [words]))
    gradients = torch.autograd.grad(error.sum(), words)
    assert len(gradients) == len(model.encoders)
    assert all(gradient.abs().max() > 0 for gradient in gradients)
    assert not any(weight.requires_grad for module in model.modules for weight in module.parameters())


@pytest.mark.parametrize("count", [1, 3])
def test_a_saved_word_loads_in_stock_diffusers_and_says_the_same(model: LatentDiffusion, count: int, tmp_path: Path) -> None:
    torch.manual_seed(5)
    word = tuple(torch.randn(vectors.shape) for vectors in model.word("painting", count))
    save_file(model.word_files(word, "<mine>"), tmp_path / "w.safetensors")
    files = load_file(tmp_path / "w.safetensors")
    stock = FAMILIES[type(model)]()
    if isinstance(model, SDXL):
        for key, encoder, tokenizer in (("clip_l", "text_encoder", "tokenizer"), ("clip_g", "text_encoder_2", "tokenizer_2")):
            parts = {"text_encoder": getattr(stock, encoder), "tokenizer": getattr(stock, tokenizer)}
            stock.load_textual_inversion(files[key], token="<mine>", **parts)
    else:
        stock.load_textual_inversion(tmp_path, weight_name="w.safetensors")
    other = type(model)(stock, "with the word")
    token = " ".join(["<mine>", *(f"<mine>_{i}" for i in range(1, count))])
    said, meant = model.embed_words(["a boat in {}"], [word]), other.embed(f"a boat in {token}")
    torch.testing.assert_close(said.tokens, meant.tokens)
    if said.pooled is not None:
        torch.testing.assert_close(said.pooled, meant.pooled)
    assert all(torch.equal(a, b) for a, b in zip(model.word_from_files(files), word, strict=True))


def test_a_word_of_another_model_is_refused(model: LatentDiffusion) -> None:
    for tensors in ({"<a>": torch.zeros(1, 7)}, {}, {"clip_l": torch.zeros(1, 16)}, {"a": torch.zeros(1), "b": torch.zeros(1)}):
        if isinstance(model, SDXL) or "clip_l" not in tensors:
            with pytest.raises(ModelError, match=r"^This is no word of tiny"):
                model.word_from_files(tensors)


def test_a_prompt_without_room_for_its_word_is_refused(model: LatentDiffusion) -> None:
    with pytest.raises(SettingsError, match="too long"):
        model.embed_words(["a " * 60 + "{}"], [model.word("sea", 1)])
    with pytest.raises(SettingsError, match="not one word"):
        model.word("zzz", 1)


# Precision, memory, devices


def test_numbers_out_of_range_are_computed_again_in_full_precision(model: LatentDiffusion) -> None:
    half = type(model)(FAMILIES[type(model)]().to(torch.float16), "half")
    before = [weight.clone() for module in half.modules for weight in module.state_dict().values()]
    dtypes = []

    def compute() -> torch.Tensor:
        dtypes.append(half.dtype)
        return torch.tensor([70_000.0]).to(half.unet.dtype)

    assert finite(half, compute) == 70_000
    assert dtypes == [torch.float16, torch.float32]
    after = [weight for module in half.modules for weight in module.state_dict().values()]
    assert all(a.dtype == b.dtype and torch.equal(a, b) for a, b in zip(before, after, strict=True))
    with pytest.raises(ModelError, match="not finite"):
        finite_gradient(half, torch.Generator(), lambda: (None, torch.tensor([torch.nan])))


def test_half_precision_attacks_and_paints(model: LatentDiffusion) -> None:
    half = type(model)(FAMILIES[type(model)]().to(torch.bfloat16), "half")
    pixels = torch.rand(1, 3, 64, 64, requires_grad=True)
    latents = half.encode(pixels).mean
    error = half.noise_error(latents, torch.tensor([300]), torch.randn(1, 4, 8, 8), half.embed("a boat"))
    (gradient,) = torch.autograd.grad(error.sum(), pixels)
    assert latents.dtype == error.dtype == gradient.dtype == torch.float32
    assert half.generate(half.embed("a boat"), [1], steps=2).dtype == torch.float32
    assert half.repaint(pixels.detach(), half.embed("a boat"), [1], steps=4).isfinite().all()


def test_sdxls_autoencoder_is_spared_what_overflows_in_float16() -> None:
    pipeline = tiny_sdxl().to(torch.float16)
    with torch.no_grad():  # values of 10^6 between its layers, as in SDXL's own
        pipeline.vae.encoder.conv_in.weight *= 1e6
        pipeline.vae.decoder.conv_in.weight *= 1e6
    half = SDXL(pipeline, "half")
    pixels = torch.rand(1, 3, 64, 64)
    assert half.encode(pixels).mean.isfinite().all() and half.dtype == torch.float16
    condition = half.embed("a boat")
    assert half.generate(condition, [1], steps=1).isfinite().all()
    assert half.repaint(pixels, condition, [1], steps=2).isfinite().all()
    assert half.encode(pixels).mean.isfinite().all(), "also after painting"


@pytest.mark.parametrize(("memory", "checkpoints", "least"), [(8e9, False, 4), (1e6, True, 1)])
def test_where_memory_is_short_activations_are_computed_twice(
    memory: float, checkpoints: bool, least: int, model: LatentDiffusion, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("advdm.models.machine.device_memory", lambda device: memory)
    other = type(model)(FAMILIES[type(model)](), "other")
    assert other.unet.is_gradient_checkpointing == other.vae.is_gradient_checkpointing == checkpoints
    assert (other.at_once == 1) == checkpoints
    gradients = []
    for one in (model, other):
        pixels = torch.full((1, 3, 64, 64), 0.3, requires_grad=True)
        latents, timesteps, noise = draw(1)
        error = one.noise_error(one.encode(pixels).mean + latents, timesteps, noise, one.embed("a boat"))
        gradients += torch.autograd.grad(error.sum(), pixels)
    torch.testing.assert_close(*gradients)


@pytest.mark.parametrize(
    ("build", "card", "samples", "checkpoints"),
    [
        (stable_diffusion_15, 6e9, 1, False),
        (stable_diffusion_15, 24e9, 4, False),
        (sdxl, 16e9, 1, True),
        (sdxl, 24e9, 1, False),
    ],
)
def test_what_a_card_holds(
    build: Callable[..., Any], card: float, samples: int, checkpoints: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Stable Diffusion 1.5 at 512 px attacks within 6 GB, SDXL at 1024 px within 16."""
    monkeypatch.setattr("advdm.models.machine.device_memory", lambda device: card)
    pipeline = build(device="meta", dtype=torch.bfloat16)
    encoders = [getattr(pipeline, name) for name in pipeline.components if name.startswith("text_encoder")]
    modules = (pipeline.unet, pipeline.vae, *encoders)
    size = 8 * pipeline.unet.config.sample_size
    assert fit_memory(pipeline.unet, pipeline.vae, modules, size, torch.device("cuda")) == samples
    assert pipeline.unet.is_gradient_checkpointing == pipeline.vae.is_gradient_checkpointing == checkpoints


def test_memory_that_runs_out_is_one_sentence(model: LatentDiffusion) -> None:
    with pytest.raises(ModelError, match=r"^The device has too little memory for the model 'tiny'"), model.enough_memory():
        torch.empty(2**48)
    with pytest.raises(RuntimeError, match="another"), model.enough_memory():
        raise RuntimeError("another")


@pytest.mark.parametrize("device", ["tpu", "mps", "cuda:7", "cuda"])
def test_a_device_that_is_not_there_is_one_sentence(device: str) -> None:
    if device == "cuda" and torch.cuda.is_available():
        pytest.skip("there is a card")
    with pytest.raises(ModelError, match=rf"^The device '{device}' is not available here .* cpu\.$"):
        choose_device(device)


# Samplers


@pytest.mark.parametrize("steps", [2, 3])
def test_too_few_steps_for_a_sampler_are_refused_before_any_work(steps: int) -> None:
    pipeline = tiny_pipeline()
    pipeline.scheduler = PNDMScheduler.from_config(pipeline.scheduler.config, skip_prk_steps=False)
    model = StableDiffusion(pipeline, "tiny")
    model.check_sampling(4)
    with pytest.raises(SettingsError, match=rf"PNDMScheduler, cannot paint in {steps} steps"):
        model.check_sampling(steps)


@pytest.mark.parametrize(
    "sampler",
    "DDIM DDPM PNDM LMSDiscrete EulerDiscrete EulerAncestralDiscrete HeunDiscrete KDPM2Discrete KDPM2AncestralDiscrete "
    "DPMSolverMultistep DPMSolverSinglestep DEISMultistep UniPCMultistep LCM TCD SASolver".split(),
)
def test_any_ordinary_sampler_loads_and_paints(sampler: str, tmp_path: Path) -> None:
    pipeline = tiny_pipeline()
    pipeline.scheduler = getattr(diffusers, f"{sampler}Scheduler").from_config(pipeline.scheduler.config)
    pipeline.save_pretrained(tmp_path / "m")
    model = load_model(str(tmp_path / "m"))
    model.check_sampling(4)
    assert model.generate(model.embed("a boat"), [1], steps=4).isfinite().all()
