"""Models: numbers are those of stock diffusers, every ordinary form loads, all else is refused in a sentence."""

import re
import shutil
import warnings
from argparse import Namespace
from collections.abc import Callable
from pathlib import Path
from typing import Any

import diffusers
import peft
import pytest
import torch
from huggingface_hub import constants
from safetensors.torch import save_file

from advdm.commands.models import models
from advdm.errors import ModelError, SettingsError
from advdm.models import (
    MOVED,
    SDXL,
    SHORT_NAMES,
    LatentDiffusion,
    StableDiffusion,
    choose_device,
    cpu,
    load_model,
    state,
)
from advdm.models.checks import check_scheduler
from advdm.models.hub import needed
from advdm.models.machine import fit_memory
from advdm.models.precision import finite, finite_gradient
from advdm.models.schedule import sampler, training_noise
from advdm.settings import Sampling
from tests.full_size import sdxl, stable_diffusion_15
from tests.odd_models import (
    FILES,
    LOADS,
    POINTER,
    REFUSED,
    REFUSED_SDXL,
    Change,
    edit,
    rebuilt,
    remove,
    write,
)
from tests.tiny import ldm_checkpoint, tiny_pipeline, tiny_scheduler, tiny_sdxl

FAMILIES = {StableDiffusion: tiny_pipeline, SDXL: tiny_sdxl}


@pytest.fixture(scope="module", params=FAMILIES, ids=lambda family: family.__name__)
def model(request: pytest.FixtureRequest) -> LatentDiffusion:
    return request.param(FAMILIES[request.param](), "tiny")


@pytest.fixture(scope="module", params=[(family, kind) for family in FAMILIES for kind in ("epsilon", "v_prediction")])
def either(request: pytest.FixtureRequest) -> LatentDiffusion:
    """Of each family one for each prediction."""
    family, prediction = request.param
    return family(FAMILIES[family](prediction), "tiny")


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


@torch.no_grad()
def test_predictions_and_errors_are_those_of_stock_diffusers(either: LatentDiffusion) -> None:
    model = either
    latents, timesteps, noise = draw()
    scheduler = diffusers.DDPMScheduler.from_config(model.pipeline.scheduler.config)
    told = stock_condition(model, "a painting of the sea", 2)
    wanted = model.unet(scheduler.add_noise(latents, noise, timesteps), timesteps, **told).sample
    target = noise if model.prediction_type == "epsilon" else scheduler.get_velocity(latents, noise, timesteps)
    condition = model.embed("a painting of the sea")
    prediction, aim = model.predict(latents, timesteps, noise, condition)
    torch.testing.assert_close(prediction, wanted, rtol=0, atol=1e-5)
    torch.testing.assert_close(aim, target)
    error = model.noise_error(latents, timesteps, noise, condition)
    torch.testing.assert_close(error, (wanted - target).square().mean((1, 2, 3)))


@pytest.mark.parametrize("kind", ["PNDMScheduler", "EulerDiscreteScheduler"])
def test_what_a_pipeline_samples_with_changes_neither_errors_nor_pictures(kind: str, either: LatentDiffusion) -> None:
    """Euler's add_noise leaves the scale of the latents to another call, and not all know a velocity."""
    pipeline = FAMILIES[type(either)](either.prediction_type)
    pipeline.scheduler = getattr(diffusers, kind).from_config(pipeline.scheduler.config)
    other = type(either)(pipeline, "other")
    condition = either.embed("a painting")
    torch.testing.assert_close(other.noise_error(*draw(), condition), either.noise_error(*draw(), condition))
    assert torch.equal(other.generate(condition, [0], Sampling(2)), either.generate(condition, [0], Sampling(2)))


@pytest.mark.parametrize(
    "kind",
    [
        *("DDIM", "DDPM", "PNDM", "LMSDiscrete", "EulerDiscrete", "EulerAncestralDiscrete", "HeunDiscrete", "LCM"),
        *("KDPM2Discrete", "KDPM2AncestralDiscrete", "DPMSolverMultistep", "DPMSolverSinglestep", "DEISMultistep"),
        *("UniPCMultistep", "TCD", "SASolver"),
    ],
)
def test_any_ordinary_sampler_tells_the_schedule_of_the_training(kind: str) -> None:
    told = tiny_scheduler("v_prediction").config
    scheduler = getattr(diffusers, f"{kind}Scheduler").from_config(told)
    check_scheduler(scheduler)
    for made in (sampler(scheduler.config), training_noise(scheduler.config)):
        assert made.config.prediction_type == "v_prediction"
        torch.testing.assert_close(made.alphas_cumprod, tiny_scheduler().alphas_cumprod)


def test_pictures_are_those_of_stock_diffusers(either: LatentDiffusion) -> None:
    """The stock pipeline is called as anybody would; ours also paints one at a time."""
    model = either
    prompts = ["a boat in the sea", "a painting of a boat"]
    generators = [torch.Generator().manual_seed(seed) for seed in (3, 4)]
    told = {"num_inference_steps": 3, "guidance_scale": 5.0, "output_type": "pt"}
    wanted = model.pipeline(prompts, generator=generators, **told).images
    painted = model.generate(model.embed(prompts), [3, 4], Sampling(3, 5.0))
    torch.testing.assert_close(painted, wanted, rtol=0, atol=1e-5)
    model.at_once, before = 1, model.at_once
    again = model.generate(model.embed(prompts), [3, 4], Sampling(3, 5.0))
    torch.testing.assert_close(again, wanted, rtol=0, atol=1e-5)
    model.at_once = before


def test_repainting_is_that_of_stock_diffusers(model: LatentDiffusion) -> None:
    pixels = torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    stock = model.repainter.from_pipe(model.pipeline, dtype=model.dtype)
    stock.scheduler = sampler(stock.scheduler.config, evenly=True)
    stock.set_progress_bar_config(disable=True)
    generators = [torch.Generator().manual_seed(seed) for seed in (3, 4)]
    told = {"strength": 0.6, "num_inference_steps": 5, "guidance_scale": 3.0}
    wanted = stock(
        ["a boat"] * 2, image=pixels.expand(2, -1, -1, -1), generator=generators, output_type="pt", **told
    ).images
    painted = model.repaint(pixels, model.embed(["a boat"] * 2), [3, 4], Sampling(5), 0.6)
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
    torch.testing.assert_close(batch[[1, 2]].tokens, model.embed(prompts[1:]).tokens)
    latents, timesteps, noise = draw()
    for i in range(2):
        alone = model.noise_error(latents[i : i + 1], timesteps[i : i + 1], noise[i : i + 1], batch[i : i + 1])
        torch.testing.assert_close(alone, model.noise_error(latents, timesteps, noise, batch[:2])[i : i + 1])


# Words


def test_a_known_words_vectors_say_what_the_word_says(model: LatentDiffusion) -> None:
    said = model.embed_word(["a picture of {}", "a {} in the sea"], model.word("boat", 1))
    meant = model.embed(["a picture of boat", "a boat in the sea"])
    torch.testing.assert_close(said.tokens, meant.tokens)


def test_a_word_learns_through_every_encoder_and_nothing_else_does(model: LatentDiffusion) -> None:
    words = tuple(vectors.requires_grad_() for vectors in model.word("painting", 2))
    error = model.noise_error(*draw(1), model.embed_word(["a picture of {}"], words))
    gradients = torch.autograd.grad(error.sum(), words)
    assert len(gradients) == len(model.encoders)
    assert all(gradient.abs().max() > 0 for gradient in gradients)
    assert not any(weight.requires_grad for module in model.modules for weight in module.parameters())


def test_a_prompt_without_room_for_its_word_is_refused(model: LatentDiffusion) -> None:
    with pytest.raises(SettingsError, match="too long"):
        model.embed_word(["a " * 60 + "{}"], model.word("sea", 1))
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
    assert half.generate(half.embed("a boat"), [1], Sampling(2)).dtype == torch.float32
    assert half.repaint(pixels.detach(), half.embed("a boat"), [1], Sampling(4), 0.5).isfinite().all()


def test_sdxls_autoencoder_is_spared_what_overflows_in_float16() -> None:
    pipeline = tiny_sdxl().to(torch.float16)
    for part in (pipeline.vae.encoder, pipeline.vae.decoder):  # values beyond 65,504 between its layers
        weight = part.conv_in.weight.data.float()
        part.conv_in.weight.data = (weight * 3e4 / weight.abs().max()).half()
    half = SDXL(pipeline, "half")
    pixels = torch.rand(1, 3, 64, 64)
    assert half.encode(pixels).mean.isfinite().all() and half.dtype == torch.float16
    condition = half.embed("a boat")
    assert half.generate(condition, [1], Sampling(1)).isfinite().all()
    assert half.repaint(pixels, condition, [1], Sampling(2), 0.5).isfinite().all()
    assert half.encode(pixels).mean.isfinite().all(), "also after painting"


@pytest.mark.parametrize(("memory", "checkpoints"), [(8e9, False), (1e6, True)])
def test_where_memory_is_short_activations_are_computed_twice(
    memory: float, checkpoints: bool, model: LatentDiffusion, monkeypatch: pytest.MonkeyPatch
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


@pytest.mark.parametrize("form", [{}, {"stride": 2}, {"bias": False}, {"dilation": 2}, {"padding": "same"}])
@pytest.mark.parametrize("part", [1, 100])
def test_a_convolution_in_parts_gives_the_same(
    part: int, form: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cpu, "PART", part)
    layer = torch.nn.Conv2d(5, 7, 3, **{"padding": 1} | form)
    pictures = torch.randn(2, 5, 6, 4, requires_grad=True)
    plain, (gradient,) = layer(pictures), torch.autograd.grad(layer(pictures).square().sum(), pictures)
    cpu.quicken(layer)
    torch.testing.assert_close(layer(pictures), plain)
    torch.testing.assert_close(torch.autograd.grad(layer(pictures).square().sum(), pictures)[0], gradient)


def test_a_lora_learns_on_layers_done_in_parts(model: LatentDiffusion, monkeypatch: pytest.MonkeyPatch) -> None:
    errors = []
    for part in (1, 10**9):
        monkeypatch.setattr(cpu, "PART", part)
        other = type(model)(FAMILIES[type(model)](), "other")
        torch.manual_seed(0)
        config = peft.LoraConfig(r=2, target_modules=["to_q", "to_k", "conv1"], init_lora_weights="gaussian")
        adapted = peft.inject_adapter_in_model(config, other.unet)
        error = other.noise_error(*draw(1), other.embed("a boat")).sum()
        learned = [weight for name, weight in adapted.named_parameters() if "lora_B" in name]
        errors.append(torch.cat([gradient.flatten() for gradient in torch.autograd.grad(error, learned)]))
    assert errors[0].abs().max() > 0
    torch.testing.assert_close(*errors, rtol=1e-3, atol=1e-5)


def test_memory_that_runs_out_is_one_sentence(model: LatentDiffusion) -> None:
    with (
        pytest.raises(ModelError, match=r"^The device has too little memory for the model 'tiny'"),
        model.enough_memory(),
    ):
        torch.empty(2**48)
    with pytest.raises(RuntimeError, match="another"), model.enough_memory():
        raise RuntimeError("another")


@pytest.mark.parametrize("device", ["tpu", "cuda:7", "cuda"])
def test_a_device_that_is_not_there_is_one_sentence(device: str) -> None:
    if device == "cuda" and torch.cuda.is_available():
        pytest.skip("there is a card")
    with pytest.raises(ModelError, match=rf"^The device '{device}' is not available here .* cpu\.$"):
        choose_device(device)


# Folders and files


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("models")
    for name, pipeline in (("sd", tiny_pipeline()), ("sdxl", tiny_sdxl())):
        pipeline.save_pretrained(folder / name)
    return {name: folder / name for name in ("sd", "sdxl")}


OTHERWISE = ("eight bits", "an old denoiser", "with projection", "sample_size not square", "bare PNDM", "velocities")
"""Those that are not what the tiny pipeline is, or not to two digits."""
SIZES = {"sample_size not square": 8 * 12, "an old denoiser": 512}
"""One that is not square becomes the square of as many pixels; what says nothing is of its time."""
ALSO_SDXL = ("as it is", "fp16", "fp16 of the text encoder alone", "shards of fp16 of a text encoder", "old scheduler")


@pytest.mark.parametrize(("name", "kind"), [*((name, "sd") for name in LOADS), *((name, "sdxl") for name in ALSO_SDXL)])
def test_every_ordinary_form_loads(name: str, kind: str, saved: dict[str, Path], tmp_path: Path, capfd: Any) -> None:
    folder = tmp_path / "m"
    shutil.copytree(saved[kind], folder)
    LOADS[name](folder)
    assert state(str(folder)) == "here"
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model = load_model(str(folder), "cpu")
    assert model.size == SIZES.get(name, 64)
    if name not in OTHERWISE:
        same = type(model)(FAMILIES[type(model)](), "same")
        for mine, theirs in zip(model.modules, same.modules, strict=True):
            for key, weight in theirs.state_dict().items():
                torch.testing.assert_close(mine.state_dict()[key], weight, rtol=0.01, atol=0.01, check_dtype=False)
    if model.size <= 128:
        assert model.generate(model.embed("a boat"), [1], Sampling(4)).shape == (1, 3, model.size, model.size)
    assert capfd.readouterr() == ("", "")


def refusal(name: str) -> str:
    with pytest.raises(ModelError) as caught:
        load_model(name, "cpu")
    sentence = str(caught.value)
    assert "\n" not in sentence and sentence.endswith(".") and len(sentence) < 500
    return sentence


@pytest.mark.parametrize(
    ("kind", "name"), [*(("sd", name) for name in REFUSED), *(("sdxl", name) for name in REFUSED_SDXL)]
)
def test_whatever_else_is_refused_in_a_sentence(
    name: str, kind: str, saved: dict[str, Path], tmp_path: Path, capfd: Any
) -> None:
    folder = tmp_path / "m"
    shutil.copytree(saved[kind], folder)
    change, said = (REFUSED if kind == "sd" else REFUSED_SDXL)[name]
    change(folder)
    sentence = refusal(str(folder))
    assert re.search(said, sentence)
    if "not finite" in said:
        assert state(str(folder)) == "here", "headers do not tell"
    else:
        assert sentence.startswith(f"The model '{folder}' cannot be used: ")
        assert state(str(folder)) == sentence
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("kind", "damage"), [("sdxl", "missing"), *(("sd", damage) for damage in ("missing", "empty", "cut", "rubbish"))]
)
def test_a_damaged_file_is_one_sentence_that_names_it(
    damage: str, kind: str, saved: dict[str, Path], tmp_path: Path
) -> None:
    files = sorted(str(path.relative_to(saved[kind])) for path in saved[kind].rglob("*.*"))
    assert len(files) == {"sd": 10, "sdxl": 14}[kind]
    folder = tmp_path / "m"
    shutil.copytree(saved[kind], folder)
    for name in files:
        data = (folder / name).read_bytes()
        if damage == "missing":
            (folder / name).unlink()
        else:
            (folder / name).write_bytes(
                {"empty": b"", "cut": data[: len(data) // 2], "rubbish": b"\x10" * 1000}[damage]
            )
        sentence = refusal(str(folder))
        assert name.partition("/")[0] in sentence and sentence == state(str(folder))
        (folder / name).write_bytes(data)
    assert state(str(folder)) == "here"


# One checkpoint file


def checkpoint(
    path: Path, make: Callable[[], Any] = tiny_pipeline, configured: bool = True, **more: torch.Tensor
) -> str:
    pipeline = make()
    save_file(ldm_checkpoint(pipeline) | more, path, {"format": "pt"})
    if configured:
        pipeline.save_pretrained(path.with_suffix(""))
        remove("*/*.safetensors")(path.with_suffix(""))
    return str(path)


@pytest.mark.parametrize("make", FAMILIES.values())
def test_one_checkpoint_file_loads(make: Callable[[], Any], tmp_path: Path, capfd: Any) -> None:
    name = checkpoint(tmp_path / "dream.v2.safetensors", make, **{"model_ema.decay": torch.zeros(1)})
    assert state(name) == "here"
    model, same = load_model(name, "cpu"), make()
    assert (model.name, model.title) == (name, "dream.v2.safetensors")
    for mine, theirs in zip(model.modules, (same.vae, same.unet, same.text_encoder), strict=False):
        assert all(
            torch.equal(a, b) for a, b in zip(mine.state_dict().values(), theirs.state_dict().values(), strict=True)
        )
    assert capfd.readouterr() == ("", "")


def test_a_checkpoint_that_predicts_velocities_says_so_by_a_mark(tmp_path: Path) -> None:
    marks = {"v_pred": torch.zeros(1), "ztsnr": torch.zeros(1)}
    model = load_model(checkpoint(tmp_path / "v.safetensors", tiny_sdxl, **marks), "cpu")
    assert model.prediction_type == "v_prediction"
    assert model.noising.config.rescale_betas_zero_snr and model.pipeline.scheduler.config.rescale_betas_zero_snr


@pytest.mark.parametrize(("make", "source"), [(tiny_pipeline, SHORT_NAMES["sd15"]), (tiny_sdxl, SHORT_NAMES["sdxl"])])
def test_a_checkpoint_finds_its_configuration_in_the_hubs_cache(
    make: Callable[[], Any], source: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = checkpoint(tmp_path / "dream.safetensors", make, configured=False)
    sentence = refusal(name)
    assert f"as {source}" in sentence and "under the name 'dream'" in sentence and sentence == state(name)
    cache(make(), source, tmp_path, monkeypatch)
    assert state(name) == "here"
    load_model(name, "cpu")


@pytest.mark.parametrize("name", FILES)
def test_a_file_that_is_no_whole_checkpoint_says_what_it_is(name: str, tmp_path: Path) -> None:
    make, said = FILES[name]
    file = checkpoint(tmp_path / "m.safetensors", configured="lacks" in said)
    save_file({key: weight.contiguous() for key, weight in make(tiny_pipeline()).items()}, file)
    assert re.search(said, refusal(file))
    assert state(file) == refusal(file)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda folder: shutil.rmtree(folder / "unet"), "unet/config.json is missing"),
        (rebuilt(block_out_channels=(8, 24)), "unet has"),
        (edit("model_index.json", _class_name="FluxPipeline"), "FluxPipeline"),
    ],
)
def test_a_configuration_that_does_not_fit_a_checkpoint_is_refused(change: Change, said: str, tmp_path: Path) -> None:
    name = checkpoint(tmp_path / "m.safetensors")
    change(tmp_path / "m")
    assert said in refusal(name)
    other = checkpoint(tmp_path / "x.safetensors", tiny_sdxl)
    shutil.rmtree(tmp_path / "m")
    (tmp_path / "x").rename(tmp_path / "m")
    assert "another kind of model" in refusal(name)
    assert "configuration is not on this machine" in refusal(other)


@pytest.mark.parametrize(
    ("file", "said"), [("m.ckpt", "pickle"), ("m.txt", "no .safetensors checkpoint"), ("m.safetensors", "damaged")]
)
def test_other_files_are_refused(file: str, said: str, tmp_path: Path) -> None:
    (tmp_path / file).write_bytes(b"rubbish")
    assert said in refusal(str(tmp_path / file))


# Names


def cache(pipeline: Any, source: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, **options: Any) -> Path:
    """The pipeline as the hub's local cache holds it."""
    home = tmp_path / "hub" / f"models--{source.replace('/', '--')}"
    pipeline.save_pretrained(home / "snapshots" / "abc", **options)
    (home / "refs").mkdir()
    (home / "refs" / "main").write_text("abc")
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    return home / "snapshots" / "abc"


@pytest.mark.parametrize(("name", "variant"), [("sd15", None), ("someone/theirs", "fp16")])
def test_the_hubs_cache_is_enough(
    name: str, variant: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert state(name) == "not here"
    folder = cache(tiny_pipeline(), SHORT_NAMES.get(name, name), tmp_path, monkeypatch, variant=variant)
    assert state(name) == "here"
    model = load_model(name, "cpu")
    assert model.name == model.title == name
    remove("unet/*.safetensors")(folder)
    assert "its unet has no weights" in refusal(name)
    assert state(name) == refusal(name)


@pytest.mark.parametrize("name", ["sdxl", "nobody/nothing"])
def test_no_hub_in_reach_is_one_sentence(name: str) -> None:
    assert state(name) == "not here"
    assert "not on this machine and could not be fetched" in refusal(name) and "ADVDM_MODEL" in refusal(name)


@pytest.mark.parametrize("name", MOVED)
def test_an_id_that_left_the_hub_names_the_living_one(name: str) -> None:
    assert SHORT_NAMES[MOVED[name]] in refusal(name) == state(name)


@pytest.mark.parametrize(
    "name", ["./no", "~/no where", "~nobody-here/x", "a/b/c", "no.safetensors", "x.ckpt", "weiß nicht", "C:\\models\\x"]
)
def test_a_path_that_leads_nowhere_is_quoted_as_it_was_typed(name: str) -> None:
    said = f"The model '{name}' cannot be used: there is no such folder or file on this machine."
    assert refusal(name) == state(name) == said


def test_a_name_cannot_write_on_the_terminal() -> None:
    assert "\x1b" not in refusal("/no/\x1b[31m\nwhere\udc80")


def test_home_and_the_environment(saved: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copytree(saved["sd"], tmp_path / "my müde model's")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("ADVDM_MODEL", "~/my müde model's/")
    monkeypatch.setenv("ADVDM_DEVICE", "cpu")
    model = load_model()
    assert (model.name, model.title) == ("~/my müde model's/", "my müde model's")
    monkeypatch.chdir(tmp_path / "my müde model's")
    assert load_model(Path(".")).title == "my müde model's"


def test_of_a_repository_only_what_is_needed_is_fetched() -> None:
    wanted = [
        "model_index.json",
        "unet/config.json",
        "unet/diffusion_pytorch_model.safetensors.index.json",
        "unet/diffusion_pytorch_model-00001-of-00002.safetensors",
        "unet/diffusion_pytorch_model-00002-of-00002.safetensors",
        "vae/diffusion_pytorch_model.fp16.safetensors",
        "text_encoder/model.safetensors",
        "text_encoder_2/model.fp16-00001-of-00002.safetensors",
        "text_encoder_2/model-00002-of-00002.fp16.safetensors",
        "text_encoder_2/model.safetensors.index.fp16.json",
        "tokenizer/merges.txt",
        "scheduler/scheduler_config.json",
    ]
    left = [
        "README.md",
        "big.safetensors",
        "unet/diffusion_pytorch_model.fp16.safetensors",
        "unet/diffusion_pytorch_model.bin",
        "vae/diffusion_pytorch_model.bf16.safetensors",
        "text_encoder/model.fp16-00001-of-00002.safetensors",
        "text_encoder/openvino_model.bin",
        "safety_checker/model.safetensors",
    ]
    assert set(needed(sorted(wanted + left))) == set(wanted)
    assert not any(name.endswith("safetensors") for name in needed(wanted, with_weights=False))


def test_the_command_says_of_each_model_what_loading_would(
    saved: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(saved["sd"], tmp_path / "m")
    write("unet/diffusion_pytorch_model.safetensors", POINTER)(tmp_path / "m")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("ADVDM_MODEL", "~/m")
    assert models(Namespace()) == 0
    out, err = capsys.readouterr()
    assert err == ""
    assert re.search(r"^atelier .* here$", out, re.MULTILINE)
    assert re.search(r"^sdxl +stabilityai/.* not here$", out, re.MULTILINE)
    assert re.search(r"^~/m .*default.*Git LFS pointer", out, re.MULTILINE)
    assert f"Device: {choose_device()}" in out and "ADVDM_MODEL" in out
