"""The training code in miniature: what atelier's pictures, captions, stages and command promise, in seconds."""

import shutil
from functools import partial
from itertools import count
from random import Random

import numpy as np
import pytest
import torch
from diffusers import StableDiffusionPipeline
from PIL import Image

from training import autoencoder, denoiser, evaluate, loop, sharp
from training.__main__ import main
from training.captions import all_words, palette_reader, real_caption, scene_caption, style_word
from training.classifier import TREATMENTS, roughened
from training.loop import SHARES, Run, Stage
from training.manners import MANNERS
from training.pictures import keep
from training.pipeline import new_tokenizer, starting_tokenizer
from training.scenes import PALETTES, SUBJECTS, Scene, paint, painted


def test_a_picture_depends_on_seed_and_number_alone():
    first, again, other = (painted(i, seed=3, size=32) for i in (1, 1, 2))
    assert np.array_equal(first, again) and not np.array_equal(first, other)


def test_every_subject_and_manner_is_painted():
    scenes = [Scene(subject, "flat colours", "many colours") for subject in SUBJECTS]
    for scene in (*scenes, *(Scene("trees", manner, "meadow and sky") for manner in MANNERS)):
        assert paint(scene, np.random.default_rng(0), 32).std() > 10, scene


def test_what_is_painted_already_is_kept(tmp_path):
    paint_one, size = partial(painted, seed=3, size=16), 16 * 16 * 3
    (tmp_path / "set.part").write_bytes(b"\x07" * size + b"half")  # killed in the middle of the second
    pictures = keep(tmp_path / "set", (16, 16, 3), 9, paint_one, iter([True, True, False]).__next__)
    assert (pictures[0] == 7).all()
    assert np.array_equal(pictures[1:], [paint_one(i) for i in (1, 2, 3)]), "told to stop after three"
    assert len(keep(tmp_path / "set", (16, 16, 3), 9, paint_one)) == 4, "finished is finished"


def test_every_word_is_one_token_and_an_unknown_one_falls_into_letters(tmp_path):
    tokenizer, again = (new_tokenizer(all_words()) for _ in range(2))
    assert all(len(tokenizer.tokenize(word)) == 1 for word in all_words()) and len(tokenizer.tokenize("qzx")) == 3
    assert tokenizer.get_vocab() == again.get_vocab()
    longest = (max(names, key=lambda phrase: len(phrase.split())) for names in (SUBJECTS, MANNERS, PALETTES))
    caption = "a rendering of {}, in {} in the style of {}".format(*longest)
    assert len(tokenizer(caption).input_ids) <= tokenizer.model_max_length
    new_tokenizer(all_words()[1:10]).save_pretrained(tmp_path / "tokenizer")
    with pytest.raises(SystemExit, match="does not know the words"):
        starting_tokenizer(tmp_path)


def test_captions_name_any_subset_and_nothing_else():
    rng, scene = Random(0), Scene("a church", "dry brush", "autumn")
    captions = {scene_caption(scene, rng) for _ in range(300)}
    assert len({tuple(part in caption for part in vars(scene).values()) for caption in captions}) == 8
    assert {word.strip(",") for caption in captions for word in caption.split()} <= set(all_words())


def test_a_title_names_what_can_be_seen_only_in_a_wide_view():
    wide, narrow = (
        [real_caption("The Beach", share, "blue", style_word(3), Random(i)) for i in range(50)] for share in (1, 0.3)
    )
    assert any("the sea" in caption for caption in wide) and not any("the sea" in caption for caption in narrow)
    assert {"in the style of <painting-3-0> <painting-3-1>" in caption for caption in narrow} == {True, False}


def test_the_palette_is_read_from_the_picture():
    scenes = [Scene("a house", "flat colours", palette) for palette in ("gold", "blue") * 4]
    *known, gold, blue = (paint(scene, np.random.default_rng(i), 64) for i, scene in enumerate(scenes))
    read = palette_reader(np.stack(known), ["gold", "blue"] * 3)
    assert (read(gold), read(blue)) == ("gold", "blue")


def test_the_minutes_are_shared_and_what_a_stage_leaves_goes_to_the_next(tmp_path):
    clock = [0.0]
    run = Run(tmp_path, torch.device("cpu"), minutes=10, now=lambda: clock[0])

    def rates(name, most, seconds, stop_after=None):
        seen = []
        for step in Stage(run, name).steps(most, {}):
            seen.append(step.rate(1.0, 0.1) / min(1, (step.number + 1) / loop.WARMUP_STEPS))  # without the warm-up
            if step.number == stop_after:
                break
            clock[0] += seconds
        return seen

    assert len(rates("reconstruction", 10**6, 7.0, stop_after=9)) == 10
    clock[0] += 10**5  # a night between the two halves is nobody's time
    rest = rates("reconstruction", 10**6, 7.0)
    used = 7 * (9 + len(rest))
    assert used == pytest.approx(600 * SHARES["reconstruction"] / (1 - SHARES["pictures"]), abs=7)
    assert rest[0] > 0.5 and rest[-1] < 0.12, "annealed by the end of its time"
    assert rates("perceptual", 5, 0.0)[-1] < 0.2, "or of its steps"
    assert len(rates("denoiser", 10**6, 1.0)) == pytest.approx(600 - used, abs=1)
    assert rates("denoiser", 10**6, 1.0) == []


def test_whitening_changes_the_latents_but_no_decoded_picture():
    torch.manual_seed(0)
    model, levels = autoencoder.new_autoencoder().eval(), np.stack([painted(i, 0, 64) for i in range(6)])
    pictures = autoencoder.to_signed(torch.from_numpy(levels))
    with torch.no_grad():
        before = model.decode(autoencoder.encode_mean(model, pictures)).sample
        autoencoder.whiten(model, pictures)
        posterior = model.encode(pictures).latent_dist
        after = model.decode(posterior.mean).sample
    channels = posterior.mean.transpose(0, 1).flatten(1)
    assert torch.allclose(torch.cov(channels), torch.eye(len(channels)), atol=0.02)
    assert torch.allclose(channels.mean(1), torch.zeros(len(channels)), atol=0.02)
    assert torch.allclose(posterior.std, torch.tensor(autoencoder.POSTERIOR_STD), atol=1e-6)
    assert torch.allclose(before, after, atol=0.01)


def test_crops_are_whole_or_mirrored_parts_of_the_right_picture():
    levels = torch.arange(2 * 8 * 8 * 3, dtype=torch.uint8).reshape(2, 8, 8, 3)
    seen, mirrored = (autoencoder.to_signed(picture)[0] for picture in (levels[1:], levels[1:].flip(2)))
    whole = autoencoder.crops(levels, np.array([1] * 20), 8, np.random.default_rng(0))
    assert {(torch.equal(x, seen), torch.equal(x, mirrored)) for x in whole} == {(True, False), (False, True)}


def test_softness_wants_as_much_of_the_edges_as_it_is_told():
    stripes, roughness = torch.tensor([-1.0, 1.0]).repeat(16).expand(2, 3, 32, 32), torch.tensor([1.0, 1.35])
    assert sharp.softness(-roughness.reshape(2, 1, 1, 1) * stripes, stripes, roughness) < 1e-4
    assert sharp.softness(stripes / 2, stripes, roughness) > sharp.softness(stripes * 2 / 3, stripes, roughness) > 0.1


def test_latents_are_drawn_as_often_as_they_should_and_with_their_captions():
    latents, tokens = torch.arange(3.0).reshape(3, 1, 1, 1).half(), torch.arange(3).reshape(3, 1, 1).expand(3, 8, 5)
    source = denoiser.Captioned(latents, tokens, np.repeat(np.arange(3), [1, 3, 3]))
    drawn, captions = source.draw(7000, np.random.default_rng(0))
    assert torch.equal(drawn[:, 0, 0, 0], captions[:, 0].float())
    assert torch.bincount(captions[:, 0]).tolist() == pytest.approx([1000, 3000, 3000], abs=150)


def test_no_step_mixes_the_cpu_with_another_device(monkeypatch, tmp_path):
    """The meta device has shapes and no numbers; like a card, it refuses to work with a tensor of the CPU."""
    monkeypatch.setattr(torch, "cov", lambda rows: rows @ rows.T)
    monkeypatch.setattr(Stage, "note", lambda *_, **__: None)
    for module in (autoencoder, sharp, denoiser):
        monkeypatch.setattr(module, "descend", lambda loss, *_, **__: loss.backward())
    run, meta = Run(tmp_path, torch.device("meta"), batch=4), {"dtype": torch.uint8, "device": "meta"}
    pictures, real = torch.empty((9, 128, 128, 3), **meta), torch.empty((9, 160, 160, 3), **meta)
    vae = autoencoder.train_reconstruction(run, pictures, real, 1)
    network = sharp.train_perceptual(run, pictures, [Scene("trees", "dots", "gold")] * 9, 1)
    assert sharp.train_sharp(run, vae, network, pictures, real, 1).device.type == "meta"
    tokens = torch.empty((9, 8, 32), dtype=torch.long, device="meta")
    source = denoiser.Captioned(torch.empty((9, 12, 16, 16), device="meta"), tokens, np.arange(9))
    denoiser.train_denoiser(run, source, source, new_tokenizer(all_words()), 2, 1, None)


@pytest.fixture(scope="module")
def command(tmp_path_factory):
    """Runs the command at toy size, from those files of the finished run `whole` that it is given.

    `command.folder / name` is its pipeline.
    """
    folder = tmp_path_factory.mktemp("run")
    Image.fromarray(painted(0, seed=9, size=180)).save(folder / "0.webp")
    (folder / "CREDITS.md").write_text("| file | title |\n|---|---|\n| 0.webp | A House |\n")

    def run(name, *more, given=(), **clock):
        work = folder / f"{name}_work"
        work.mkdir(exist_ok=True)
        for file in given:
            shutil.copy(folder / "whole_work" / file, work)
        toy = f"--minutes inf --steps 2 1 1 2 --count 20 --batch 4 --paintings {folder}"
        main([*toy.split(), "--work", str(work), "--out", str(folder / name), *more], **clock)

    run.folder = folder
    run("whole")
    return run


PICTURES = ("painted_0", "views_128", "views_160")


def test_it_makes_a_pipeline_that_diffusers_loads_and_that_paints(command):
    settings = [path.read_text() for path in (command.folder / "whole").rglob("*.json")]
    assert settings and not any(str(command.folder) in text for text in settings)
    pipeline = StableDiffusionPipeline.from_pretrained(command.folder / "whole")
    words = pipeline.text_encoder.get_input_embeddings().weight
    assert len(words) == len(pipeline.tokenizer), "those of the real paintings are left out"
    assert pipeline("a painting of a house, in dots", num_inference_steps=2).images[0].size == (128, 128)


def test_interrupted_it_goes_on_to_the_same_weights(command):
    whole, broken, clock = command.folder / "whole", command.folder / "broken", count(0, 100)
    checkpoint = command.folder / "broken_work" / "denoiser.pt"

    def until_the_denoiser_was_saved():
        if checkpoint.exists():
            raise KeyboardInterrupt
        return next(clock)

    earlier = (*PICTURES, *(f"{stage}.pt" for stage in ("reconstruction", "perceptual", "sharp", "latents")))
    with pytest.raises(KeyboardInterrupt):
        command("broken", given=earlier, now=until_the_denoiser_was_saved)
    assert torch.load(checkpoint)["step"] == 1 and not broken.exists()
    command("broken")
    for part in whole.rglob("*.safetensors"):
        assert part.read_bytes() == (broken / part.relative_to(whole)).read_bytes()
    with pytest.raises(SystemExit, match="other settings"):
        command("broken", "--seed", "1")


def test_a_finished_pipeline_is_trained_on(command):
    command("further", "--start", str(command.folder / "whole"), given=PICTURES)
    first, second = (StableDiffusionPipeline.from_pretrained(command.folder / name) for name in ("whole", "further"))
    assert first.tokenizer.get_vocab() == second.tokenizer.get_vocab()
    assert torch.equal(first.vae.encoder.conv_in.weight, second.vae.encoder.conv_in.weight)
    for before, after in ((first.vae.decoder, second.vae.decoder), (first.unet, second.unet)):
        assert not torch.equal(before.conv_in.weight, after.conv_in.weight)


def test_figures_are_printed_with_their_targets(command, monkeypatch, capsys):
    monkeypatch.setattr(evaluate, "STEPS", 2)
    fresh, scenes = evaluate.to_unit([painted(i, seed=5) for i in range(2)]), [Scene("trees", "dry brush", "gold")] * 2
    pipeline = StableDiffusionPipeline.from_pretrained(command.folder / "whole")
    atelier = evaluate.Atelier(pipeline, fresh, scenes, fresh, options=None)
    for section in (evaluate.reconstruction, evaluate.latents, evaluate.sensitivity, evaluate.error):
        section(atelier)
    rows = capsys.readouterr().out.splitlines()
    assert len(rows) == 4 + 12 + 12 + 3
    assert rows[-1].startswith("| Van Gogh over rough | 1 | at most 1.3 | reached")
    assert "**missed**" in rows[0], "two steps are not enough"


def test_the_judge_learns_from_pictures_that_keep_their_colours_and_lose_their_surface():
    red, picture = np.full((64, 64, 3), (200, 60, 0), np.uint8), np.float32(painted(0, 0, 64)) / 255
    for seed in range(8):
        assert np.abs(roughened(red, np.random.default_rng(seed)).mean((0, 1)) * 255 - red[0, 0]).max() < 12
    for treatment in TREATMENTS:
        change = treatment(picture, np.random.default_rng(0)) - picture
        assert np.abs(change).mean() > 0.001 and np.abs(change.mean((0, 1))).max() < 0.01
