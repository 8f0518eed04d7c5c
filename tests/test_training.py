"""The training code in miniature: what atelier's pictures, captions and loops promise, in seconds."""

import argparse
import json
import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor, nn

from advdm.models.latent_diffusion import LatentDiffusion
from training.autoencoder import (
    POSTERIOR_STD,
    edge_strength_error,
    encode_mean,
    new_autoencoder,
    softness,
    train_sharp,
    whiten,
)
from training.brushes import HELD_OUT_MANNERS, MANNERS
from training.captions import (
    STYLE_TOKENS,
    all_words,
    colour_statistics,
    compose,
    palette_reader,
    real_caption,
    scene_caption,
    style_word,
    subject_in_title,
)
from training.classifier import NAMES, TREATMENTS, roughened, targets
from training.denoiser import (
    HARD_MANNERS,
    Captioned,
    cached_latents,
    captioned_scenes,
    new_tokenizer,
    starting_tokenizer,
    train,
)
from training.evaluate import (
    EPSILON,
    SECTIONS,
    Figure,
    attacked,
    edge_energy,
    held_out_scenes,
    noise_error,
    principal_deviations,
    prompt,
    prompt_scenes,
    psnr,
    random_noise,
    read_report,
    save_grid,
    write_report,
)
from training.loop import Average, cosine, step_generators, training_steps
from training.perceptual import MannerNetwork, feature_error, train_perceptual
from training.pictures import VALIDATION, Pictures, load_pictures, random_crops, real_views, to_signed, view_of_painting
from training.scenes import HELD_OUT_PALETTES, PALETTES, Scene, paint, paint_set, painted, random_scene
from training.subjects import SUBJECTS


@pytest.fixture(scope="module")
def levels() -> np.ndarray:
    """Six painted pictures of 64 px, gold and blue by turns."""
    scenes = [Scene("a house", "flat colours", palette) for palette in ("gold", "blue") * 3]
    return np.stack([paint(scene, np.random.default_rng(i), 64) for i, scene in enumerate(scenes)])


# Scenes


def test_the_same_state_paints_the_same_picture() -> None:
    scene = Scene("a boat on the sea", "thick impasto", "sunset")
    first, again, other = (paint(scene, np.random.default_rng(seed), 32) for seed in (1, 1, 2))
    assert first.shape == (32, 32, 3)
    assert first.dtype == np.uint8
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


@pytest.mark.parametrize("manner", MANNERS | HELD_OUT_MANNERS)
def test_every_manner_paints(manner: str) -> None:
    picture = paint(Scene("trees", manner, "meadow and sky"), np.random.default_rng(0), 32)
    assert picture.std() > 10


@pytest.mark.parametrize("subject", SUBJECTS)
def test_every_subject_is_painted(subject: str) -> None:
    picture = paint(Scene(subject, "flat colours", "many colours"), np.random.default_rng(0), 32)
    assert picture.std() > 10


def test_training_scenes_leave_out_what_is_held_out() -> None:
    rng = np.random.default_rng(0)
    scenes = [random_scene(rng) for _ in range(500)]
    assert {scene.manner for scene in scenes} == set(MANNERS)
    assert {scene.palette for scene in scenes} == set(PALETTES)
    for scene in held_out_scenes(20):
        assert (scene.manner in HELD_OUT_MANNERS) != (scene.palette in HELD_OUT_PALETTES)


def test_a_painted_picture_depends_on_seed_and_number_alone(tmp_path: Path) -> None:
    paint_set(tmp_path, 2, seed=3, size=16, workers=1)
    scene, picture = painted(1, seed=3, size=16)
    assert np.array_equal(np.load(tmp_path / "pictures.npy")[1], picture)
    assert json.loads((tmp_path / "scenes.json").read_text())[1] == [scene.subject, scene.manner, scene.palette]


# Captions


def test_every_word_is_one_token_and_an_unknown_one_falls_into_letters() -> None:
    tokenizer = new_tokenizer(all_words())
    assert [word for word in set(all_words()) if len(tokenizer.tokenize(word)) != 1] == []
    assert len(tokenizer.tokenize("qzx")) == 3


def test_a_tokenizer_is_the_same_each_time() -> None:
    first, second = (new_tokenizer(all_words()) for _ in range(2))
    assert first.get_vocab() == second.get_vocab()
    assert first.backend_tokenizer.to_str() == second.backend_tokenizer.to_str()


def test_a_training_goes_on_with_the_words_of_its_start(tmp_path: Path) -> None:
    known = new_tokenizer(reversed(all_words()))
    known.save_pretrained(tmp_path / "tokenizer")
    assert starting_tokenizer(tmp_path).get_vocab() == known.get_vocab()
    new_tokenizer(all_words()[1:10]).save_pretrained(tmp_path / "tokenizer")
    with pytest.raises(SystemExit, match="does not know the words"):
        starting_tokenizer(tmp_path)


def test_the_longest_caption_fits() -> None:
    tokenizer = new_tokenizer(all_words())
    longest = [max(names, key=lambda phrase: len(phrase.split())) for names in (SUBJECTS, MANNERS, PALETTES)]
    caption = "a rendering of {}, in {} in the style of {}".format(*longest)
    assert len(tokenizer(caption).input_ids) <= tokenizer.model_max_length


def test_captions_name_any_subset_and_nothing_else() -> None:
    rng = np.random.default_rng(0)
    scene = Scene("a church", "dry brush", "autumn")
    captions = {scene_caption(scene, rng) for _ in range(300)}
    named = {tuple(part in caption for part in (scene.subject, scene.manner, scene.palette)) for caption in captions}
    assert len(named) == 8
    words = {word.strip(",") for caption in captions for word in caption.split()}
    assert words <= set(all_words())
    assert compose(None, None, None, rng) in {
        "a painting",
        "a picture",
        "a rendering",
        "a nice painting",
        "the painting",
    }


def test_a_title_names_what_can_be_seen_only_in_a_wide_view() -> None:
    assert subject_in_title("Study") is None
    assert subject_in_title("The Beach at Sainte-Adresse") == "the sea"
    rng = np.random.default_rng(0)
    wide = {real_caption("The Beach", 1.0, "blue", style_word(3), rng) for _ in range(50)}
    narrow = {real_caption("The Beach", 0.3, "blue", style_word(3), rng) for _ in range(50)}
    assert any("the sea" in caption for caption in wide)
    assert not any("the sea" in caption for caption in narrow)
    assert any("in the style of <painting-3-0> <painting-3-1>" in caption for caption in narrow)
    assert not all("<painting-3-0>" in caption for caption in narrow)


def test_the_palette_is_read_from_the_picture(levels: np.ndarray) -> None:
    assert colour_statistics(levels[0]).shape == (27,)
    read = palette_reader(levels, ["gold", "blue"] * 3)
    fresh = paint(Scene("trees", "flat colours", "gold"), np.random.default_rng(9), 64)
    assert read(fresh) == "gold"


# Pictures


def test_pictures_are_read_with_their_titles(tmp_path: Path, levels: np.ndarray) -> None:
    np.save(tmp_path / "pictures.npy", levels)
    (tmp_path / "scenes.json").write_text(json.dumps([["a house", "flat colours", "gold"]] * len(levels)))
    Image.fromarray(levels[0]).save(tmp_path / "a.webp")
    (tmp_path / "CREDITS.md").write_text("| file | artist | title |\n|---|---|---|\n| a.webp | Nobody | A House |\n")
    pictures = load_pictures(tmp_path, tmp_path)
    assert pictures.real_titles == ("A House",)
    assert pictures.real[0].shape == (64, 64, 3)
    assert pictures.scenes[0] == Scene("a house", "flat colours", "gold")
    views, numbers, shares = real_views(pictures, 3, 32, seed=0)
    assert views.shape == (3, 32, 32, 3)
    assert numbers.tolist() == [0, 0, 0]
    assert ((shares >= 0.5) & (shares <= 1)).all()
    assert np.array_equal(views, real_views(pictures, 3, 32, seed=0)[0])


def test_a_painting_smaller_than_the_view_is_seen_whole() -> None:
    view, share = view_of_painting(np.full((20, 30, 3), 7, np.uint8), 32, np.random.default_rng(0))
    assert share == 1
    assert (view == 7).all()


def test_crops_span_black_to_white(levels: np.ndarray) -> None:
    crops = random_crops(levels, 5, 16, np.random.default_rng(0))
    assert crops.shape == (5, 3, 16, 16)
    assert to_signed(np.array([[[[0, 255, 255]]]], np.uint8)).flatten().tolist() == [-1, 1, 1]
    assert crops.abs().max() <= 1


# Autoencoder


def test_whitening_changes_the_latents_but_no_decoded_picture(levels: np.ndarray) -> None:
    torch.manual_seed(0)
    autoencoder = new_autoencoder().eval()
    pictures = to_signed(levels)
    with torch.no_grad():
        before = autoencoder.decode(encode_mean(autoencoder, pictures)).sample
        whiten(autoencoder, pictures)
        posterior = autoencoder.encode(pictures).latent_dist
        after = autoencoder.decode(posterior.mean).sample
    channels = posterior.mean.transpose(0, 1).flatten(1)
    assert torch.allclose(torch.cov(channels), torch.eye(len(channels)), atol=0.02)
    assert torch.allclose(channels.mean(1), torch.zeros(len(channels)), atol=0.02)
    assert torch.allclose(posterior.std, torch.tensor(POSTERIOR_STD), atol=1e-6)
    assert torch.allclose(before, after, atol=0.01)


def test_the_sharp_stage_leaves_the_encoder_and_moves_the_decoder(tmp_path: Path, levels: np.ndarray) -> None:
    painted = np.resize(levels, (VALIDATION + 6, *levels.shape[1:]))
    pictures = Pictures(painted, real=(), real_titles=(), scenes=())
    torch.manual_seed(0)
    start = new_autoencoder().requires_grad_(False).eval()
    sharp = train_sharp(start, MannerNetwork(), pictures, levels, tmp_path, steps=2, seed=0, bf16=False)
    x = to_signed(levels)
    with torch.no_grad():
        assert torch.equal(encode_mean(sharp, x), encode_mean(start, x))
        latents = encode_mean(start, x)
        assert not torch.allclose(sharp.decode(latents).sample, start.decode(latents).sample)


def test_latents_are_made_once_and_never_taken_for_those_of_another_encoder(tmp_path: Path, levels: np.ndarray) -> None:
    file, encoder = tmp_path / "latents.pt", new_autoencoder().requires_grad_(False).eval()
    first = cached_latents(file, encoder, levels)
    made = file.stat().st_mtime_ns
    assert torch.equal(cached_latents(file, encoder, levels), first)
    assert file.stat().st_mtime_ns == made
    encoder.decoder.conv_in.weight.add_(1)  # nothing to the latents
    cached_latents(file, encoder, levels)
    for other, pictures in ((new_autoencoder().requires_grad_(False), levels), (encoder, levels[::-1])):
        with pytest.raises(SystemExit, match="another encoder or other pictures"):
            cached_latents(file, other, pictures)


def test_edge_strength_is_how_rough_not_where() -> None:
    stripes = torch.tensor([-1.0, 1.0]).repeat_interleave(2).repeat(8).expand(1, 3, 32, 32)
    assert edge_strength_error(stripes, stripes.roll(2, -1)) < 0.05
    assert edge_strength_error(stripes, stripes / 2) > 0.2


def test_softness_wants_as_much_of_the_edges_as_it_is_told() -> None:
    stripes = torch.tensor([-1.0, 1.0]).repeat_interleave(2).repeat(8).expand(2, 3, 32, 32)
    roughness = torch.tensor([1.0, 1.35])
    assert softness(-roughness.reshape(2, 1, 1, 1) * stripes, stripes, roughness) < 1e-4
    assert softness(stripes / 2, stripes, roughness) > softness(stripes * 2 / 3, stripes, roughness) > 0.1
    assert softness(2 * stripes, stripes, roughness) > 0.1


def test_the_perceptual_network_learns_manners_and_sees_a_blurred_one(tmp_path: Path) -> None:
    """Two manners on one scene, so that nothing but the manner tells the pictures apart."""
    scenes = tuple(Scene("a house", manner, "gold") for manner in ("flat colours", "hatching") * (VALIDATION // 2 + 8))
    painted = np.stack([paint(scenes[i], np.random.default_rng(i // 2), 64) for i in range(16)])
    pictures = Pictures(np.resize(painted, (len(scenes), 64, 64, 3)), real=(), real_titles=(), scenes=scenes)
    network = train_perceptual(pictures, tmp_path / "perceptual.pt", steps=40, seed=0, bf16=False)
    seen = to_signed(pictures.validation()[:16])
    wanted = torch.tensor([list(MANNERS).index(scene.manner) for scene in scenes[-VALIDATION:][:16]])
    assert (network(seen).argmax(1) == wanted).float().mean() > 0.9
    shown = network.features(seen)
    assert [len(maps[0, 0]) for maps in shown] == [32, 16, 8, 4]
    blurred, brighter = F.avg_pool2d(seen, 3, 1, 1), seen + 0.02
    assert feature_error(network.features(blurred), shown) > 2 * feature_error(network.features(brighter), shown) > 0


# Loop


def fit(checkpoint: Path, steps: int, stop_after: int | None = None) -> Tensor:
    """A few steps of a tiny training; `stop_after` kills it in the middle."""
    torch.manual_seed(0)
    model = nn.Linear(3, 2)
    average = Average(model)
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.1)
    parts = {"model": model, "average": average.module, "optimizer": optimizer}
    for step in training_steps(checkpoint, parts, steps, lambda _: "", every=2):
        rng, generator = step_generators(5, step)
        x = torch.randn((4, 3), generator=generator) + float(rng.normal())
        loss = model(x).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        average.update(model, step)
        if step == stop_after:
            break
    return torch.cat([weight.flatten() for weight in average.module.parameters()])


def test_a_resumed_training_repeats_an_unbroken_one(tmp_path: Path) -> None:
    unbroken = fit(tmp_path / "unbroken.pt", 7)
    fit(tmp_path / "broken.pt", 7, stop_after=4)
    assert torch.equal(fit(tmp_path / "broken.pt", 7), unbroken)
    assert torch.equal(fit(tmp_path / "broken.pt", 7), unbroken)


def test_the_learning_rate_warms_up_and_falls() -> None:
    rates = [cosine(step, 1000, 1e-3, 1e-5) for step in range(1000)]
    assert rates[0] < 1e-5
    assert max(rates) == pytest.approx(1e-3)
    assert rates[-1] == pytest.approx(1e-5, rel=0.05)


def test_the_denoiser_trains_and_resumes(tmp_path: Path) -> None:
    latents = torch.randn((4, 8, 4, 4), generator=torch.Generator().manual_seed(0)).half()
    source = Captioned(latents, lambda i, rng: f"a painting of {list(SUBJECTS)[i]}", np.full(4, 0.25))
    options = argparse.Namespace(seed=0, steps=2, batch=2, learning_rate=1e-3, bf16=False, work=tmp_path, start=None)
    tokenizer = new_tokenizer(all_words())
    trained, resumed = (train(source, source, tokenizer, [], options).state_dict() for _ in range(2))
    assert all(torch.equal(trained[name], resumed[name]) for name in trained)


def test_hard_manners_are_drawn_more_often(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    scenes = [Scene("a house", manner, "gold") for manner in ("dots", *HARD_MANNERS, *["dots"] * VALIDATION)]
    levels = np.zeros((len(scenes), 8, 8, 3), np.uint8)
    monkeypatch.setattr("training.denoiser.cached_latents", lambda cache, autoencoder, levels: torch.zeros(len(levels)))
    source = captioned_scenes(Pictures(levels, (), (), tuple(scenes)), new_autoencoder(), tmp_path)
    assert source.shares.tolist() == pytest.approx([1 / 7, 3 / 7, 3 / 7])


def test_the_denoiser_learns_a_word_of_each_real_painting_and_forgets_it(tmp_path: Path) -> None:
    latents = torch.randn((4, 8, 4, 4), generator=torch.Generator().manual_seed(0)).half()
    painted = Captioned(latents, lambda i, rng: "a painting", np.full(4, 0.25))
    real = Captioned(latents, lambda i, rng: f"a painting in the style of {style_word(i % 2)}", np.full(4, 0.25))
    options = argparse.Namespace(seed=0, steps=2, batch=8, learning_rate=1e-3, bf16=False, work=tmp_path, start=None)
    tokenizer = new_tokenizer(all_words())
    known = len(tokenizer)
    trained = train(painted, real, tokenizer, [style_word(0), style_word(1)], options)
    kept = torch.load(tmp_path / "denoiser.pt")["model"]["text_encoder.embeddings.token_embedding.weight"]
    assert len(kept) == known + 2 * STYLE_TOKENS
    assert len(trained.text_encoder.get_input_embeddings().weight) == len(tokenizer) == known


# Classifier


def test_roughened_pictures_stay_pictures(levels: np.ndarray) -> None:
    rng = np.random.default_rng(0)
    rough = [roughened(levels[0], rng) for _ in range(20)]
    assert all(picture.shape == (64, 64, 3) and picture.dtype == np.float32 for picture in rough)
    assert min(picture.min() for picture in rough) >= 0
    assert max(picture.max() for picture in rough) <= 1
    assert not np.array_equal(rough[0], rough[1])


@pytest.mark.parametrize("seed", range(8))
def test_roughened_pictures_keep_their_colours(seed: int) -> None:
    """What is mirrored is the picture, not red for blue: the judge must tell gold from blue."""
    rng = np.random.default_rng(seed)
    red = np.zeros((64, 64, 3), np.uint8)
    red[..., 0], red[..., 1] = 200, 60
    seen = roughened(red, rng).mean((0, 1)) * 255
    assert np.abs(seen - red[0, 0]).max() < 12


@pytest.mark.parametrize("treatment", TREATMENTS)
def test_a_treatment_changes_the_surface_and_keeps_the_colours(
    treatment: Callable[..., np.ndarray], levels: np.ndarray
) -> None:
    picture = np.float32(levels[0]) / 255
    seen = treatment(picture, np.random.default_rng(0))
    assert seen.shape == picture.shape and seen.dtype == np.float32
    assert np.abs(seen - picture).mean() > 0.001
    assert np.abs((seen - picture).mean((0, 1))).max() < 0.01


def test_targets_are_numbers_of_the_names() -> None:
    (scene,) = prompt_scenes(1)[5:6]
    assert {name: NAMES[name][int(number)] for name, number in targets([scene]).items()} == vars(scene)
    with pytest.raises(ValueError):
        targets([Scene("trees", "mosaic", "gold")])


# Evaluation


def test_prompts_name_every_pair_and_every_palette() -> None:
    scenes = prompt_scenes(2)
    pairs = [(scene.subject, scene.manner) for scene in scenes]
    assert len(pairs) == 2 * len(set(pairs)) == 2 * len(SUBJECTS) * len(MANNERS)
    assert {scene.palette for scene in scenes} == set(PALETTES)
    assert set(prompt(scenes[0]).replace(",", "").split()) <= set(all_words())


def test_measures_of_known_pictures() -> None:
    grey = torch.full((2, 3, 16, 16), 0.5)
    assert psnr(grey, grey + 0.1) == pytest.approx(20, abs=1e-4)
    ramp = torch.linspace(0, 1, 16).expand(2, 3, 16, 16)
    assert torch.allclose(edge_energy(ramp), torch.tensor(1 / 15))
    generator = torch.Generator().manual_seed(0)
    latents = torch.randn((50, 2, 8, 8), generator=generator) * torch.tensor([1.0, 3.0])[:, None, None]
    assert principal_deviations(latents).tolist() == pytest.approx([1, 3], rel=0.05)


def test_attacks_and_noise_keep_the_bound_and_attacks_do_more(tiny: LatentDiffusion) -> None:
    pictures = torch.rand((2, 3, 64, 64), generator=torch.Generator().manual_seed(0))

    def mean(x: Tensor) -> Tensor:
        return tiny.encode(x).mean

    moved, noisy = attacked(pictures, mean), random_noise(pictures)
    for copies in (moved, noisy):
        assert float((copies - pictures).abs().max()) <= EPSILON / 255 + 1e-6
        assert copies.min() >= 0
        assert copies.max() <= 1
    with torch.no_grad():
        shift, drift = ((mean(copies) - mean(pictures)).norm() for copies in (moved, noisy))
    assert shift > 2 * drift


def test_the_noise_error_is_the_same_each_time(tiny: LatentDiffusion) -> None:
    pictures = torch.rand((2, 3, 64, 64), generator=torch.Generator().manual_seed(0))
    assert noise_error(tiny, pictures) == noise_error(tiny, pictures) > 0


def test_a_section_measured_again_replaces_its_figures_only(tmp_path: Path) -> None:
    file = tmp_path / "report.md"
    first, second, *_ = SECTIONS
    write_report({second: [Figure("b", 2.0, low=3.0)], first: [Figure("a", 1.0)]}, file)
    report = read_report(file.with_suffix(".json")) | {first: [Figure("a", 5.0, 4.0, 6.0)]}
    write_report(report, file)
    assert read_report(file.with_suffix(".json")) == report
    text = file.read_text()
    assert text.index(first) < text.index(second)
    assert "| a | 5 | 4 to 6 | reached |" in text
    assert "| b | 2 | at least 3 | **missed** |" in text


def test_a_figure_that_is_not_a_number_is_missed() -> None:
    assert Figure("x", math.nan, low=0).verdict == "**missed**"
    assert Figure("x", math.nan).verdict == ""


def test_a_grid_has_its_rows_and_columns(tmp_path: Path) -> None:
    rows = torch.zeros((2, 3, 3, 4, 5))
    rows[1, 2] = 1
    save_grid(rows, tmp_path / "grid.png")
    grid = np.asarray(Image.open(tmp_path / "grid.png"))
    assert grid.shape == (8, 15, 3)
    assert (grid[4:, 10:] == 255).all()
    assert grid.sum() == 255 * 60
