"""The frozen model: scaling, prediction types, loading by name, and a sentence for each failure."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from diffusers import EulerDiscreteScheduler, PNDMScheduler

from advdm import ModelError, load_model
from advdm.models.latent_diffusion import MOVED, SHORT_NAMES, LatentDiffusion, choose_device
from tests.tiny import tiny_pipeline


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("model") / "tiny"
    tiny_pipeline().save_pretrained(path)
    return path


def test_latents_are_scaled_at_the_door_and_unscaled_on_the_way_out(tiny):
    pixels = torch.rand(1, 3, 64, 64)
    posterior = tiny.encode(pixels)
    raw = tiny.vae.encode(2 * pixels - 1).latent_dist
    assert tiny.vae.config.scaling_factor == 0.5
    torch.testing.assert_close(posterior.mean, 0.5 * raw.mean)
    torch.testing.assert_close(posterior.std, 0.5 * raw.std)
    decoded = tiny.vae.decode(raw.mean).sample / 2 + 0.5
    torch.testing.assert_close(tiny.decode(posterior.mean), decoded.clamp(0, 1))


def test_nobody_is_told_where_a_model_lies(tmp_path):
    (tmp_path / "mine").mkdir()
    assert LatentDiffusion(tiny_pipeline(), str(tmp_path / "mine")).title == "mine"
    assert LatentDiffusion(tiny_pipeline(), "somebody/model").title == "somebody/model"


@pytest.mark.parametrize("name", ("tiny", "tiny_v"))
def test_noise_error_is_the_training_loss_of_the_prediction_type(request, name):
    model = request.getfixturevalue(name)
    latents, noise = torch.randn(2, 4, 8, 8), torch.randn(2, 4, 8, 8)
    timesteps, embedding = torch.tensor([100, 700]), model.embed("a painting")
    scheduler = model.pipeline.scheduler
    noisy = scheduler.add_noise(latents, noise, timesteps)
    target = {"tiny": noise, "tiny_v": scheduler.get_velocity(latents, noise, timesteps)}[name]
    predicted = model.unet(noisy, timesteps, embedding.expand(2, -1, -1)).sample
    expected = torch.stack([(predicted[i] - target[i]).square().mean() for i in range(2)])
    torch.testing.assert_close(model.noise_error(latents, timesteps, noise, embedding), expected)


@pytest.mark.parametrize("sampler", (PNDMScheduler, EulerDiscreteScheduler))
@pytest.mark.parametrize("name", ("tiny", "tiny_v"))
def test_what_a_pipeline_samples_with_does_not_change_its_noise_error(request, name, sampler):
    """Euler's add_noise leaves the scale of the latents to another call, and neither knows every velocity."""
    model = request.getfixturevalue(name)
    pipeline = tiny_pipeline(model.prediction_type)
    pipeline.scheduler = sampler.from_config(pipeline.scheduler.config)
    other = LatentDiffusion(pipeline, "other")
    draw = torch.randn(2, 4, 8, 8), torch.tensor([100, 700]), torch.randn(2, 4, 8, 8), model.embed("a painting")
    assert torch.equal(other.noise_error(*draw), model.noise_error(*draw))


def test_working_size_comes_from_the_model(tiny):
    assert (tiny.size, tiny.factor, tiny.timesteps) == (64, 8, 1000)
    assert tiny.dtype == torch.float32


def test_loads_a_folder_and_the_environment_chooses(folder, monkeypatch):
    monkeypatch.setenv("ADVDM_MODEL", str(folder))
    monkeypatch.setenv("ADVDM_DEVICE", "cpu")
    model = load_model()
    assert model.name == str(folder)
    assert model.device.type == "cpu"


@pytest.mark.parametrize("name", MOVED)
def test_an_id_that_left_the_hub_names_the_living_one(name):
    with pytest.raises(ModelError, match=SHORT_NAMES[MOVED[name]]):
        load_model(name)


@pytest.mark.parametrize("name", ("sd15", "sd21", "nobody/nothing"))
def test_no_hub_in_reach_is_one_sentence(name):
    with pytest.raises(ModelError, match="ADVDM_MODEL") as caught:
        load_model(name)
    assert "\n" not in str(caught.value)


FILES = [
    "model_index.json",
    "scheduler/scheduler_config.json",
    "text_encoder/config.json",
    "text_encoder/model.safetensors",
    "tokenizer/tokenizer.json",
    "tokenizer/tokenizer_config.json",
    "unet/config.json",
    "unet/diffusion_pytorch_model.safetensors",
    "vae/config.json",
    "vae/diffusion_pytorch_model.safetensors",
]


def test_these_are_all_files_of_a_model(folder):
    assert sorted(str(path.relative_to(folder)) for path in folder.rglob("*.*")) == FILES


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("damage", ("missing", "empty", "cut", "rubbish"))
def test_an_incomplete_folder_is_one_sentence(folder, tmp_path, name, damage):
    broken = tmp_path / "broken"
    shutil.copytree(folder, broken, copy_function=os.link)
    data = (broken / name).read_bytes()
    (broken / name).unlink()
    if damage != "missing":
        (broken / name).write_bytes({"empty": b"", "cut": data[: len(data) // 2], "rubbish": b"\x10" * 1000}[damage])
    with pytest.raises(ModelError, match=r"is not a complete Stable Diffusion pipeline .*\.$"):
        load_model(str(broken))


def test_a_tokenizer_without_settings_is_one_sentence(folder, tmp_path):
    broken = tmp_path / "broken"
    shutil.copytree(folder, broken)
    (broken / "tokenizer" / "tokenizer_config.json").write_text("{}")
    with pytest.raises(ModelError, match="not a complete"):
        load_model(str(broken))


def test_a_device_that_is_not_there_is_one_sentence():
    with pytest.raises(ModelError, match="cpu"):
        choose_device("tpu")


def test_other_prediction_types_are_refused():
    with pytest.raises(ModelError, match="sample"):
        LatentDiffusion(tiny_pipeline("sample"), "odd")


@pytest.mark.parametrize("config", ({"in_channels": 9}, {"class_embed_type": "projection"}))
def test_models_that_want_more_than_a_prompt_are_refused(config):
    pipeline = tiny_pipeline()
    pipeline.unet.register_to_config(**config)
    with pytest.raises(ModelError, match=r"^odd does not go by text alone.*\.$"):
        LatentDiffusion(pipeline, "odd")


@pytest.mark.skipif(not Path("/sys/kernel/mm/transparent_hugepage").exists(), reason="no huge pages on this system")
def test_large_tensors_lie_in_huge_pages():
    program = """
import advdm.model, torch
tensor, inside = torch.zeros(16 * 2**20), False
for line in open("/proc/self/smaps"):
    if not line[0].isupper():
        low, high = (int(end, 16) for end in line.split()[0].split("-"))
        inside = low <= tensor.data_ptr() < high
    elif inside and line.startswith("VmFlags:"):
        print("huge" if "hg" in line.split() else "small")
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "huge\n"
