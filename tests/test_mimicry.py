"""The experiment's contract: all sides learn alike, and the verdict is right whichever way it fell."""

import pytest
import torch

from advdm.errors import SettingsError
from advdm.imitators.inversion import InversionSettings, invert
from advdm.mimicry import (
    PAINTED_OVER,
    MimicrySettings,
    doubt,
    imitate,
    imitate_side_by_side,
    imitate_unseen,
    judge_imitations,
    middle_square,
    mimicry_steps,
    reference,
    repaint_all,
)
from advdm.models.latent_diffusion import LatentDiffusion
from advdm.paintings import Painting
from tests.tiny import tiny_pipeline

SETTINGS = MimicrySettings(
    InversionSettings(steps=3, vectors=2, batch=2), ("a painting in the style of {}", "a boat in {}"), sampling_steps=4
)


class Ruler:
    """A judge for whom the style of a picture is how bright it is."""

    def style(self, pictures):
        return pictures.mean((1, 2, 3))[:, None]


def verdict(baseline, original, protected):
    """Of flat pictures that are so far from the wanted black."""
    wanted, *sides = (torch.full((2, 3, 8, 8), level) for level in (0.0, baseline, original, protected))
    return judge_imitations(Ruler(), wanted, *sides)


def test_steps_are_those_of_the_inversion_side_by_side(tiny, painting):
    other = Painting(255 - painting.levels)
    steps = list(mimicry_steps(tiny, [[painting], [other, painting], [painting]], SETTINGS))
    *_, last = invert(tiny, [[painting], [other, painting], [painting]], SETTINGS.inversion)
    assert [step.number for step in steps] == [1, 2, 3]
    assert steps[-1].losses == last.losses
    words = [word.vectors for word in steps[-1].words]
    assert all(torch.equal(mine, word.vectors) for mine, word in zip(words, last.words, strict=True))
    # But for rounding, which depends on the place in the batch; each step moves a number by about 0.02.
    torch.testing.assert_close(words[0], words[2], rtol=1e-4, atol=1e-4)
    assert not torch.allclose(words[0], words[1], atol=1e-3)


def test_side_by_side_each_word_paints_what_it_paints_alone(tiny, painting, monkeypatch):
    settings = MimicrySettings(SETTINGS.inversion, SETTINGS.prompts, count=2, sampling_steps=2, seed=5)
    *_, last = mimicry_steps(tiny, [[painting], [Painting(255 - painting.levels)]], settings)
    alone = [*(imitate(tiny, word, settings) for word in last.words), imitate_unseen(tiny, settings)]
    assert [len(pictures) for pictures in alone] == [4, 4, 4]
    assert not torch.allclose(alone[0][:1], alone[0][1:2]), "another seed is another picture"
    monkeypatch.setattr(tiny, "at_once", 3)
    together = imitate_side_by_side(tiny, last.words, settings)
    torch.testing.assert_close(torch.stack(together), torch.stack(alone), atol=1e-4, rtol=0)


@pytest.mark.parametrize(
    "distances, scale, opening",
    (
        ((0.8, 0.4, 0.8), 0, "Protected: "),
        ((0.8, 0.4, 0.9), -25, "Protected: "),
        ((0.8, 0.4, 0.65), 37.5, "Protected: "),
        ((0.8, 0.4, 0.6), 50, "Partly protected: "),
        ((0.8, 0.4, 0.45), 87.5, "Not protected: "),
        ((0.8, 0.4, 0.3), 125, "Not protected: "),
    ),
)
def test_verdict(distances, scale, opening):
    found = verdict(*distances)
    assert (found.baseline, found.original, found.protected) == pytest.approx(distances)
    assert found.imitation == pytest.approx(scale, abs=1e-3)
    assert found.sentence.startswith(opening)
    assert f" {round(found.imitation)}," in found.sentence and "-0," not in found.sentence


@pytest.mark.parametrize("original", (0.8, 0.9, 0.79))
def test_nothing_can_be_said_where_the_original_taught_nothing(original):
    found = verdict(0.8, original, 0.1)
    assert found.imitation is None
    assert found.sentence.startswith("Nothing can be said")


@pytest.mark.parametrize("original, opening", ((0.4, "Protected: "), (0.8, "Nothing can be said: ")))
def test_verdict_on_painting_over_says_so(original, opening):
    wanted, *sides = (torch.full((2, 3, 8, 8), level) for level in (0.0, 0.8, original, 0.8))
    found = judge_imitations(Ruler(), wanted, *sides, way=PAINTED_OVER)
    assert found.sentence.startswith(opening)
    assert "painted over the original" in found.sentence and "learned" not in found.sentence


def test_the_middle_square_is_the_middle(painting):
    square = middle_square(painting, 70)
    assert square.shape == (1, 3, 70, 70)
    levels = torch.from_numpy(painting.levels[:, 10:80]).permute(2, 0, 1)[None]
    torch.testing.assert_close(square, levels / 255, atol=1e-6, rtol=0)


def test_a_model_in_half_precision_stays_so_when_it_paints_over(painting):
    """diffusers' from_pipe, left to itself, turns the weights that two pipelines share into float32."""
    model = LatentDiffusion(tiny_pipeline().to(torch.bfloat16), "half")
    repaint_all(model, [painting], MimicrySettings(prompts=("a house",), sampling_steps=2, strength=0.5))
    assert {module.dtype for module in (model.vae, model.unet, model.text_encoder)} == {torch.bfloat16}
    reference(model, [painting])


def test_repainting_repeats_and_follows_the_painting(tiny, painting):
    settings = MimicrySettings(prompts=SETTINGS.prompts, count=2, sampling_steps=4, strength=0.5)
    other = Painting(255 - painting.levels)
    first, again, changed = (repaint_all(tiny, side, settings) for side in ([painting], [painting], [other]))
    assert first.shape == (4, 3, 64, 64)
    assert torch.equal(first, again)
    assert not torch.equal(first, changed)
    assert torch.equal(repaint_all(tiny, [painting, other], settings)[2:], changed[2:]), "paintings are taken in turn"


@pytest.mark.parametrize("change", ({"strength": 0.01}, {"strength": 1.1}, {"strength": float("nan")}, {"count": 0}))
def test_settings_out_of_range(change):
    with pytest.raises(SettingsError):
        MimicrySettings(**change)


def test_pairs_out_of_order_are_doubted(painting):
    other = Painting(painting.levels[:, ::-1])
    assert doubt([painting, other], [painting, other]) == ""
    assert doubt([painting], [other]).startswith("The pictures do not look like the same painting")
    assert doubt([painting] * 3, [other, painting, other]).startswith(
        "The pictures of pair 1 and of pair 3 do not look"
    )
