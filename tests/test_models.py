"""Models: numbers are those of stock diffusers, every ordinary form loads, all else is refused in a sentence."""

import re
import shutil
import warnings
from argparse import Namespace
from collections.abc import Callable
from pathlib import Path
from typing import Any

import diffusers
import pytest
import torch
from diffusers import AsymmetricAutoencoderKL
from huggingface_hub import constants
from safetensors.torch import save_file

from advdm.commands.models import models
from advdm.errors import ModelError, SettingsError
from advdm.models import MOVED, SDXL, SHORT_NAMES, StableDiffusion, choose_device, cpu, load_model, machine, state
from advdm.models.checks import check_scheduler
from advdm.models.hub import needed
from advdm.models.schedule import sampler
from advdm.settings import Sampling
from tests.full_size import sdxl, stable_diffusion_15
from tests.odd_models import FILES, LOADS, POINTER, REFUSED, REFUSED_SDXL, UNET, rebuilt, remove, write
from tests.tiny import ldm_checkpoint, tiny_pipeline, tiny_scheduler, tiny_sdxl

FAMILIES = {StableDiffusion: tiny_pipeline, SDXL: tiny_sdxl}


@pytest.fixture(scope="module", params=[(family, kind) for family in FAMILIES for kind in ("epsilon", "v_prediction")])
def model(request):
    """Of each family one for each prediction."""
    family, prediction = request.param
    return family(FAMILIES[family](prediction), "tiny")


def draw() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Latents, timestep and noise."""
    torch.manual_seed(1)
    return torch.randn(1, 4, 8, 8), torch.tensor([700]), torch.randn(1, 4, 8, 8)


def generators() -> list[torch.Generator]:
    return [torch.Generator().manual_seed(seed) for seed in (3, 4)]


# What a model computes


@torch.no_grad()
def test_predictions_and_errors_are_those_of_stock_diffusers(model):
    """The stock pipeline's denoiser, told what that tells it, on latents and timesteps of the test."""
    told = []
    hook = model.unet.register_forward_pre_hook(lambda _, numbers, words: told.append(words), with_kwargs=True)
    model.pipeline("a painting of the sea", num_inference_steps=1, guidance_scale=1)
    hook.remove()
    latents, timesteps, noise = draw()
    scheduler = diffusers.DDPMScheduler.from_config(model.pipeline.scheduler.config)
    (wanted,) = model.unet(scheduler.add_noise(latents, noise, timesteps), timesteps, **told[0])
    target = noise if model.prediction_type == "epsilon" else scheduler.get_velocity(latents, noise, timesteps)
    condition = model.embed("a painting of the sea")
    found = model.predict(latents, timesteps, noise, condition)
    torch.testing.assert_close(found, (wanted, target), rtol=0, atol=1e-5)
    error = model.noise_error(latents, timesteps, noise, condition)
    torch.testing.assert_close(error, (wanted - target).square().mean((1, 2, 3)))


@pytest.mark.parametrize(
    "kind",
    [
        *("DDIM", "DDPM", "PNDM", "LMSDiscrete", "EulerDiscrete", "EulerAncestralDiscrete", "HeunDiscrete", "LCM"),
        *("KDPM2Discrete", "KDPM2AncestralDiscrete", "DPMSolverMultistep", "DPMSolverSinglestep", "DEISMultistep"),
        *("UniPCMultistep", "TCD", "SASolver"),
    ],
)
def test_what_a_pipeline_samples_with_changes_neither_errors_nor_pictures(kind, tiny_v):
    """Euler's add_noise leaves the scale of the latents to another call, and not all know a velocity."""
    pipeline = tiny_pipeline("v_prediction")
    pipeline.scheduler = getattr(diffusers, f"{kind}Scheduler").from_config(pipeline.scheduler.config)
    check_scheduler(pipeline.scheduler)
    other, condition = StableDiffusion(pipeline, "other"), tiny_v.embed("a painting")
    assert other.pipeline.scheduler.config.prediction_type == "v_prediction"
    torch.testing.assert_close(other.pipeline.scheduler.alphas_cumprod, tiny_scheduler().alphas_cumprod)
    assert torch.equal(other.noise_error(*draw(), condition), tiny_v.noise_error(*draw(), condition))
    assert torch.equal(other.generate(condition, [0], Sampling(2)), tiny_v.generate(condition, [0], Sampling(2)))


def test_pictures_are_those_of_stock_diffusers(model, monkeypatch):
    """The stock pipeline is called as anybody would; ours also paints one at a time."""
    prompts = ["a boat in the sea", "a painting of a boat"]
    told = {"num_inference_steps": 3, "guidance_scale": 5.0, "output_type": "pt"}
    wanted = model.pipeline(prompts, generator=generators(), **told).images
    for at_once in (model.at_once, 1):
        monkeypatch.setattr(model, "at_once", at_once)
        painted = model.generate(model.embed(prompts), [3, 4], Sampling(3, 5.0))
        torch.testing.assert_close(painted, wanted, rtol=0, atol=1e-5)


def test_repainting_is_that_of_stock_diffusers(model):
    pixels = torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    stock = model.repainter.from_pipe(model.pipeline, dtype=model.dtype)
    stock.scheduler = sampler(stock.scheduler.config, evenly=True)
    told = {"strength": 0.6, "num_inference_steps": 5, "guidance_scale": 3.0, "output_type": "pt"}
    wanted = stock(["a boat"] * 2, image=pixels.expand(2, -1, -1, -1), generator=generators(), **told).images
    painted = model.repaint(pixels, model.embed(["a boat"] * 2), [3, 4], Sampling(5), 0.6)
    torch.testing.assert_close(painted, wanted, rtol=0, atol=1e-5)


# Words


def test_a_known_words_vectors_say_what_the_word_says(model):
    said = model.embed_word(["a picture of {}", "a {} in the sea"], model.word("boat", 1))
    meant = model.embed(["a picture of boat", "a boat in the sea"])
    torch.testing.assert_close((said.tokens, said.pooled), (meant.tokens, meant.pooled))


def test_a_prompt_without_room_for_its_word_is_refused(model):
    with pytest.raises(SettingsError, match="too long"):
        model.embed_word(["a " * 60 + "{}"], model.word("sea", 1))
    with pytest.raises(SettingsError, match="not one word"):
        model.word("zzz", 1)


# Precision, memory, devices


def test_what_overflows_in_float16_is_painted_all_the_same(model):
    """SDXL's autoencoder, of which that is known, does not even run in float16."""
    pipeline = FAMILIES[type(model)](model.prediction_type).to(torch.float16)
    for part in (pipeline.vae.encoder, pipeline.vae.decoder):  # values beyond 65,504 between its layers
        weight = part.conv_in.weight.data.float()
        part.conv_in.weight.data = (weight * 3e4 / weight.abs().max()).half()
    half, pixels = type(model)(pipeline, "half"), torch.rand(1, 3, 64, 64)
    dtypes, condition = [module.dtype for module in half.modules], half.embed("a boat")
    for numbers in (
        half.noise_error(*draw(), condition),
        half.reconstruct(pixels),
        half.generate(condition, [1], Sampling(1)),
        half.repaint(pixels, condition, [1], Sampling(2), 0.5),
    ):
        assert numbers.dtype == torch.float32 and numbers.isfinite().all()
    assert half.encode(pixels).mean.isfinite().all() == isinstance(half, SDXL)
    assert half.dtype == torch.float16 and [module.dtype for module in half.modules] == dtypes


def test_an_infinity_does_not_pass_for_white():
    pipeline = tiny_pipeline()
    torch.nn.init.constant_(pipeline.vae.decoder.conv_out.bias, torch.inf)
    with pytest.raises(ModelError, match="not finite"):
        StableDiffusion(pipeline, "bright").reconstruct(torch.rand(1, 3, 64, 64))


def test_where_memory_is_short_activations_are_computed_twice(model, monkeypatch):
    monkeypatch.setattr(machine, "device_memory", lambda device: 1e6)
    other, gradients = type(model)(FAMILIES[type(model)](model.prediction_type), "other"), []
    assert other.unet.is_gradient_checkpointing and other.vae.is_gradient_checkpointing and other.at_once == 1
    for one in (model, other):
        pixels = torch.full((1, 3, 64, 64), 0.3, requires_grad=True)
        latents, timesteps, noise = draw()
        error = one.noise_error(one.encode(pixels).mean + latents, timesteps, noise, one.embed("a boat"))
        gradients += torch.autograd.grad(error.sum(), pixels)
    torch.testing.assert_close(*gradients)


def test_an_autoencoder_that_cannot_compute_twice_loads_all_the_same(monkeypatch):
    monkeypatch.setattr(machine, "device_memory", lambda device: 1e6)
    pipeline = tiny_pipeline()
    form = pipeline.vae.config
    sides = {f"{side}_block_out_channels": form.block_out_channels for side in ("down", "up")}
    kinds = {"down_block_types": form.down_block_types, "up_block_types": form.up_block_types}
    pipeline.vae = AsymmetricAutoencoderKL(**kinds, **sides, norm_num_groups=form.norm_num_groups)
    pipeline.vae.register_to_config(block_out_channels=form.block_out_channels)
    assert StableDiffusion(pipeline, "asymmetric").unet.is_gradient_checkpointing


@pytest.mark.parametrize(
    ("build", "card", "samples", "checkpoints"),
    [
        (stable_diffusion_15, 6e9, 1, False),
        (stable_diffusion_15, 24e9, 4, False),
        (sdxl, 16e9, 1, True),
        (sdxl, 24e9, 1, False),
    ],
)
def test_what_a_card_holds(build, card, samples, checkpoints, monkeypatch):
    """Stable Diffusion 1.5 at 512 px attacks within 6 GB, SDXL at 1024 px within 16."""
    monkeypatch.setattr(machine, "device_memory", lambda device: card)
    pipeline = build(device="meta", dtype=torch.bfloat16)
    modules = [part for part in pipeline.components.values() if isinstance(part, torch.nn.Module)]
    size = 8 * pipeline.unet.config.sample_size
    assert machine.fit_memory(pipeline.unet, pipeline.vae, modules, size, torch.device("cuda")) == samples
    assert pipeline.unet.is_gradient_checkpointing == pipeline.vae.is_gradient_checkpointing == checkpoints


@pytest.mark.parametrize("form", [{}, {"stride": 2}, {"bias": False}, {"dilation": 2}, {"padding": "same"}])
def test_a_convolution_in_parts_gives_the_same(form, monkeypatch):
    monkeypatch.setattr(cpu, "PART", 100)
    layer = torch.nn.Conv2d(5, 7, 3, **{"padding": 1} | form)
    pictures = torch.randn(2, 5, 6, 4, requires_grad=True)
    plain, (gradient,) = layer(pictures), torch.autograd.grad(layer(pictures).square().sum(), pictures)
    cpu.quicken(layer)
    torch.testing.assert_close(layer(pictures), plain)
    torch.testing.assert_close(torch.autograd.grad(layer(pictures).square().sum(), pictures)[0], gradient)


def test_only_a_want_of_memory_is_called_that(model):
    with pytest.raises(RuntimeError, match="another"), model.enough_memory():
        raise RuntimeError("another")


# Folders


@pytest.fixture(scope="module")
def saved(saved_tiny, tmp_path_factory):
    tiny_sdxl().save_pretrained(folder := tmp_path_factory.mktemp("models") / "sdxl")
    return {"sd": saved_tiny, "sdxl": folder}


@pytest.fixture
def copied(saved, tmp_path):
    """A saved model of a family as the folder "m"."""
    return lambda kind: Path(shutil.copytree(saved[kind], tmp_path / "m"))


OTHER_WEIGHTS = ("eight bits", "with projection", "sample_size not square")
SIZES = {"sample_size not square": 8 * 12, "an old denoiser": 512}
"""One that is not square becomes the square of as many pixels; what says nothing is of its time."""
ALSO_SDXL = ("as it is", "fp16", "shards of fp16 of a text encoder")


@pytest.mark.parametrize(("name", "kind"), [*((name, "sd") for name in LOADS), *((name, "sdxl") for name in ALSO_SDXL)])
def test_every_ordinary_form_loads(name, kind, copied, capfd):
    folder = copied(kind)
    LOADS[name](folder)
    assert state(str(folder)) == "here"
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model = load_model(folder, "cpu")
    assert model.size == SIZES.get(name, 64)
    same = StableDiffusion(tiny_pipeline(), "same") if kind == "sd" else SDXL(tiny_sdxl(), "same")
    assert type(model) is type(same)
    if name not in OTHER_WEIGHTS:
        for mine, theirs in zip(model.modules, same.modules, strict=True):
            found, wanted = dict(mine.state_dict()), dict(theirs.state_dict())
            torch.testing.assert_close(found, wanted, rtol=0.01, atol=0.01, check_dtype=False)
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
    ("kind", "name"), [*(("sd", one) for one in REFUSED), *(("sdxl", one) for one in REFUSED_SDXL)]
)
def test_whatever_else_is_refused_in_a_sentence(name, kind, copied, capfd):
    folder = copied(kind)
    change, said = (REFUSED if kind == "sd" else REFUSED_SDXL)[name]
    change(folder)
    sentence = refusal(str(folder))
    assert re.search(said, sentence)
    if name == "not a number":
        assert state(str(folder)) == "here", "headers do not tell"
    else:
        assert sentence.startswith(f"The model '{folder}' cannot be used: ") and state(str(folder)) == sentence
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("damage", ["missing", "empty", "cut", "rubbish"])
@pytest.mark.parametrize(("kind", "count"), [("sd", 10), ("sdxl", 14)])
def test_a_damaged_file_is_one_sentence_that_names_it(kind, count, damage, copied):
    folder = copied(kind)
    files = sorted(folder.rglob("*.*"))
    assert len(files) == count
    for path in files:
        data = path.read_bytes()
        path.unlink()
        if damage != "missing":
            path.write_bytes({"empty": b"", "cut": data[: len(data) // 2], "rubbish": b"\x10" * 1000}[damage])
        sentence = refusal(str(folder))
        assert path.relative_to(folder).parts[0] in sentence and sentence == state(str(folder))
        path.write_bytes(data)
    assert state(str(folder)) == "here"


# One checkpoint file


def checkpoint(path: Path, make: Callable[[], Any], **more: torch.Tensor) -> str:
    """With its configuration beside it."""
    pipeline = make()
    save_file(ldm_checkpoint(pipeline) | more, path, {"format": "pt"})
    pipeline.save_pretrained(path.with_suffix(""))
    remove("*/*.safetensors")(path.with_suffix(""))
    return str(path)


@pytest.mark.parametrize("make", FAMILIES.values())
def test_one_checkpoint_file_loads(make, tmp_path, capfd):
    name = checkpoint(tmp_path / "dream.v2.safetensors", make, **{"model_ema.decay": torch.zeros(1)})
    assert state(name) == "here"
    model, same = load_model(name, "cpu"), make()
    assert (model.name, model.title) == (name, "dream.v2.safetensors")
    for mine, theirs in zip(model.modules, (same.vae, same.unet, same.text_encoder), strict=False):
        assert all(map(torch.equal, mine.state_dict().values(), theirs.state_dict().values()))
    assert capfd.readouterr() == ("", "")


def test_a_checkpoint_that_predicts_velocities_says_so_by_a_mark(tmp_path):
    marks = {"v_pred": torch.zeros(1), "ztsnr": torch.zeros(1)}
    model = load_model(checkpoint(tmp_path / "v.safetensors", tiny_sdxl, **marks), "cpu")
    assert model.prediction_type == "v_prediction"
    assert model.noising.config.rescale_betas_zero_snr and model.pipeline.scheduler.config.rescale_betas_zero_snr


@pytest.mark.parametrize(("make", "source"), [(tiny_pipeline, SHORT_NAMES["sd15"]), (tiny_sdxl, SHORT_NAMES["sdxl"])])
def test_a_checkpoint_finds_its_configuration_in_the_hubs_cache(make, source, tmp_path, monkeypatch):
    name = checkpoint(tmp_path / "dream.safetensors", make)
    shutil.rmtree(tmp_path / "dream")
    sentence = refusal(name)
    assert f"as {source}" in sentence and "under the name 'dream'" in sentence and sentence == state(name)
    cache(make(), source, tmp_path, monkeypatch)
    assert state(name) == "here"
    load_model(name, "cpu")


@pytest.mark.parametrize("tensors", FILES)
def test_a_file_that_is_no_whole_checkpoint_says_what_it_is(tensors, tmp_path):
    file = str(tmp_path / "m.safetensors")
    save_file({name: torch.zeros(2) for name in tensors.split()}, file)
    assert re.search(FILES[tensors], refusal(file)) and state(file) == refusal(file)


@pytest.mark.parametrize(
    ("part", "gone"), [("unet", "middle_block"), ("vae", "decoder.mid"), ("text_encoder", "text_model.final")]
)
def test_a_checkpoint_without_some_of_its_weights_is_refused(part, gone, tmp_path):
    file = checkpoint(tmp_path / "m.safetensors", tiny_pipeline)
    save_file({name: one for name, one in ldm_checkpoint(tiny_pipeline()).items() if gone not in name}, file)
    assert f"its {part} lacks" in refusal(file) == state(file)


def test_a_configuration_that_does_not_fit_a_checkpoint_is_refused(tmp_path):
    name = checkpoint(tmp_path / "m.safetensors", tiny_pipeline)
    rebuilt(block_out_channels=(8, 24))(tmp_path / "m")
    assert "unet has" in refusal(name)
    tiny_sdxl().save_pretrained(tmp_path / "m")
    assert "another kind of model" in refusal(name)


@pytest.mark.parametrize(
    ("file", "said"), [("m.ckpt", "pickle"), ("m.txt", "no .safetensors checkpoint"), ("m.safetensors", "damaged")]
)
def test_other_files_are_refused(file, said, tmp_path):
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
def test_the_hubs_cache_is_enough(name, variant, tmp_path, monkeypatch):
    folder = cache(tiny_pipeline(), SHORT_NAMES.get(name, name), tmp_path, monkeypatch, variant=variant)
    assert state(name) == "here"
    model = load_model(name, "cpu")
    assert model.name == model.title == name
    remove("unet/*.safetensors")(folder)
    assert "its unet has no weights" in refusal(name) == state(name)


@pytest.mark.parametrize("name", ["sdxl", "nobody/nothing"])
def test_no_hub_in_reach_is_one_sentence(name):
    assert state(name) == "not here"
    assert "not on this machine and could not be fetched" in refusal(name) and "ADVDM_MODEL" in refusal(name)


@pytest.mark.parametrize("name", MOVED)
def test_an_id_that_left_the_hub_names_the_living_one(name):
    assert SHORT_NAMES[MOVED[name]] in refusal(name) == state(name)


@pytest.mark.parametrize("name", ["./no", "~/no where", "~nobody-here/x", "a/b/c", "no.safetensors", "x.ckpt", "C:\\x"])
def test_a_path_that_leads_nowhere_is_quoted_as_it_was_typed(name):
    said = f"The model '{name}' cannot be used: there is no such folder or file on this machine."
    assert refusal(name) == state(name) == said


def test_a_name_cannot_write_on_the_terminal():
    assert "\x1b" not in refusal("/no/\x1b[31m\nwhere\udc80")


def test_home_and_the_environment(saved, tmp_path, monkeypatch):
    shutil.copytree(saved["sd"], tmp_path / "my müde model's")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("ADVDM_MODEL", "~/my müde model's/")
    monkeypatch.setenv("ADVDM_DEVICE", "cpu")
    model = load_model()
    assert (model.name, model.title) == ("~/my müde model's/", "my müde model's")
    monkeypatch.chdir(tmp_path / "my müde model's")
    assert load_model(Path(".")).title == "my müde model's"


def test_of_a_repository_only_what_is_needed_is_fetched():
    unet, vae, clip = "unet/diffusion_pytorch_model", "vae/diffusion_pytorch_model", "text_encoder/model"
    wanted = [
        *("model_index.json", "unet/config.json", "tokenizer/merges.txt", "scheduler/scheduler_config.json"),
        *(f"{unet}.safetensors.index.json", f"{unet}-00001-of-00002.safetensors", f"{unet}-00002-of-00002.safetensors"),
        *(f"{vae}.fp16.safetensors", f"{clip}.safetensors", "text_encoder_2/model.fp16-00001-of-00002.safetensors"),
        *("text_encoder_2/model-00002-of-00002.fp16.safetensors", "text_encoder_2/model.safetensors.index.fp16.json"),
    ]
    left = [
        *("README.md", "big.safetensors", "safety_checker/model.safetensors", "text_encoder/openvino_model.bin"),
        *(f"{unet}.fp16.safetensors", f"{vae}.bf16.safetensors", f"{clip}.fp16-00001-of-00002.safetensors"),
        f"{unet}.bin",
    ]
    assert set(needed(sorted(wanted + left))) == set(wanted)
    assert not any(name.endswith("safetensors") for name in needed(wanted, with_weights=False))


def test_the_command_says_of_each_model_what_loading_would(copied, tmp_path, monkeypatch, capsys):
    write(UNET, POINTER)(copied("sd"))
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("ADVDM_MODEL", "~/m")
    assert models(Namespace()) == 0
    out, err = capsys.readouterr()
    assert err == ""
    assert re.search(r"^atelier .* here$", out, re.MULTILINE)
    assert re.search(r"^sdxl +stabilityai/.* not here$", out, re.MULTILINE)
    assert re.search(r"^~/m .*default.*Git LFS pointer", out, re.MULTILINE)
    assert f"Device: {choose_device()}" in out and "ADVDM_MODEL" in out
