"""The experiment: the order of its events, paired pictures, more of them later, and words that follow the intervals."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from diffusers import DDIMScheduler

from advdm.errors import SettingsError
from advdm.imitators import LearningStep, learn
from advdm.imitators.crops import crops
from advdm.metrics import max_change
from advdm.mimicry import (
    ORIGINAL,
    PROMPT_ONLY,
    PROTECTED,
    RANDOM,
    REFERENCE_CROPS,
    Finding,
    Painted,
    doubt,
    judge,
    mimicry,
    paint,
    reference,
    three_sides,
    verdict,
    with_random_noise,
)
from advdm.models import StableDiffusion
from advdm.paintings import Painting
from advdm.settings import InversionSettings, LoraSettings, MimicrySettings, RepaintSettings, Sampling, Settings
from advdm.statistics import Estimate
from tests.tiny import tiny_pipeline

PROMPTS = ("a painting in the style of {}", "a boat in the style of {}")
SETTINGS = MimicrySettings(LoraSettings(steps=2, rank=4, batch=2), PROMPTS, count=2, sampling=Sampling(steps=2))


@pytest.fixture(autouse=True)
def mean_colour(monkeypatch):
    """The style of a picture: for this one the right answers are known."""
    monkeypatch.setattr("advdm.mimicry.style", lambda pictures: pictures.mean((2, 3)))


def joined(painted) -> torch.Tensor:
    return torch.cat([one.pictures for one in painted])


@pytest.mark.parametrize(
    "imitator",
    (SETTINGS.imitator, InversionSettings(steps=2, batch=2), RepaintSettings()),
    ids=("lora", "word", "repaint"),
)
def test_it_learns_paints_and_judges_in_that_order(tiny, painting, other, imitator):
    """A copy that is its painting imitates like it, to the bit; a picture has the same number on every side."""
    copy = Painting(painting.levels.copy())
    sides = {ORIGINAL: [painting, other], PROTECTED: [copy, other], RANDOM: [other, painting]}
    events = list(mimicry(tiny, sides, replace(SETTINGS, imitator=imitator)))
    steps = [event for event in events if isinstance(event, LearningStep)]
    painted = [event for event in events if isinstance(event, Painted)]
    finding = events[-1]
    assert events == [*steps, *painted, finding] and isinstance(finding, Finding)
    assert [step.number for step in steps] == list(range(1, 1 + getattr(imitator, "steps", 1)))
    assert len(steps[-1].losses) == 3
    order = [PROMPT_ONLY, *sides]
    assert [(one.side, one.first) for one in painted] == [(side, first) for first in (0, 2) for side in order]
    made = {side: joined(one for one in painted if one.side == side) for side in order}
    assert all(pictures.shape == (4, 3, 64, 64) for pictures in made.values())
    assert torch.equal(made[ORIGINAL], made[PROTECTED]) and not torch.equal(made[ORIGINAL], made[RANDOM])
    assert finding.pictures == 4 and set(finding.distance) == set(order)
    assert finding.distance[ORIGINAL] == finding.distance[PROTECTED]


def test_every_picture_has_a_seed_of_its_own_the_same_on_every_side(tiny):
    class Recorder:
        def __init__(self):
            self.asked = []

        def paint(self, model, prompts, seeds, how):
            self.asked += zip(prompts, seeds, strict=True)
            return torch.zeros(len(seeds), 3, 64, 64)

    sides = {ORIGINAL: Recorder(), PROTECTED: Recorder()}
    plain = joined(one for one in paint(tiny, sides, replace(SETTINGS, count=5)) if one.side == PROMPT_ONLY)
    asked = sides[ORIGINAL].asked
    assert asked == sides[PROTECTED].asked and len({seed for _, seed in asked}) == 10
    assert torch.pdist(plain.flatten(1)).min() > 0.01, "also on the side that saw nothing"


def test_pictures_painted_later_are_those_of_one_longer_run(tiny, painting):
    *_, step = learn(tiny, [[painting]], SETTINGS.imitator)
    learned, more = {ORIGINAL: step.learned()[0]}, replace(SETTINGS, count=4)
    pieces = [*paint(tiny, learned, SETTINGS), *paint(tiny, learned, more, start=SETTINGS.pictures)]
    for one, longer in zip(pieces, paint(tiny, learned, more), strict=True):
        assert (one.side, one.first) == (longer.side, longer.first)
        assert torch.equal(one.pictures, longer.pictures)


@pytest.mark.parametrize("at_once", (1, 3))
def test_few_at_once_paint_the_same(tiny, monkeypatch, at_once):
    settings = replace(SETTINGS, prompts=("a boat", "a sea", "a style", "a picture"), count=2)
    whole = joined(paint(tiny, {}, settings))
    monkeypatch.setattr(tiny, "at_once", at_once)
    parts = list(paint(tiny, {}, settings))
    assert max(len(one.pictures) for one in parts) == at_once
    torch.testing.assert_close(joined(parts), whole, rtol=0, atol=1e-4)


LONG = "a " * 46 + "{}"
"""48 tokens with start and end: after 46 others there is no room for a word."""


@pytest.mark.parametrize("imitator", (InversionSettings(steps=1), LoraSettings(steps=1)), ids=("word", "lora"))
def test_a_prompt_without_room_is_refused_before_the_learning(tiny, painting, imitator):
    settings = replace(SETTINGS, imitator=imitator, prompts=(LONG,), count=4)
    with pytest.raises(SettingsError, match="too long"):
        next(mimicry(tiny, {ORIGINAL: [painting]}, settings))


def test_a_repaint_which_names_no_style_needs_no_room(tiny, painting):
    settings = replace(SETTINGS, imitator=RepaintSettings(), prompts=(LONG,), count=4)
    assert next(mimicry(tiny, {ORIGINAL: [painting]}, settings)).number == 1


def test_more_sampling_steps_than_the_model_knows_are_refused_before_the_learning(painting):
    pipeline = tiny_pipeline()
    pipeline.scheduler = DDIMScheduler(num_train_timesteps=100)
    model, many = StableDiffusion(pipeline, "few timesteps"), replace(SETTINGS, sampling=Sampling(steps=101))
    with pytest.raises(SettingsError, match="at most 100 sampling steps"):
        next(mimicry(model, {ORIGINAL: [painting]}, many))


def flat(levels, count=24, noise=0.02, seed=0):
    """Pictures of one colour each, with accidents that are those of the seed."""
    accidents = noise * np.random.default_rng(seed).normal(size=(count, 3, 1, 1))
    return torch.from_numpy(levels + accidents).float().expand(-1, -1, 8, 8)


def found(original, protected, control=None, noise=0.02):
    """Of a black painting, and 0.8 away from it without having seen it."""
    levels = {PROMPT_ONLY: 0.8, ORIGINAL: original, PROTECTED: protected, RANDOM: control}
    seen = {side: level for side, level in levels.items() if level is not None}
    sides = {side: flat(level, noise=noise, seed=seed) for seed, (side, level) in enumerate(seen.items())}
    return judge(flat(0.0, 16, noise, seed=4), sides)


@pytest.mark.parametrize(
    "original, protected, control, noise, word",
    (
        (0.4, 0.8, 0.4, 0.02, "Protected"),
        (0.4, 0.62, None, 0.02, "Partly protected"),
        (0.4, 0.42, 0.4, 0.01, "Not protected"),
        (0.4, 0.8, 0.84, 0.02, "Undecided"),  # no better than random noise
        (0.4, 0.62, 0.6, 0.3, "Undecided"),  # too wide
        (0.79, 0.1, 0.79, 0.3, "Nothing can be said"),  # a gain that may be chance
    ),
)
def test_the_word_follows_the_interval(original, protected, control, noise, word):
    finding = found(original, protected, control, noise)
    assert finding.verdict == word and finding.sentence.startswith(f"{word}: ")
    assert bool(finding.imitation) == (word != "Nothing can be said") == (finding.gain.low > 0)
    assert "-0 " not in finding.sentence
    if finding.imitation:
        one = finding.imitation[PROTECTED]
        assert one.low <= one.value <= one.high
        assert f"{one.value:.0f} ({one.low:.0f} to {one.high:.0f})" in finding.sentence
        assert ("Random noise" in finding.sentence) == (control is not None), "the control beside every claim"


@pytest.mark.parametrize("control, doubted", ((0.4, False), (0.5, True), (0.2, True)))
def test_a_control_that_is_not_near_100_is_doubted(control, doubted):
    assert ("do not trust this test" in found(0.4, 0.7, control, 0.01).sentence) == doubted


def test_no_word_rests_on_a_doubtful_control():
    """Neither good news nor bad."""
    for copy in (0.75, 0.41):
        finding = found(0.4, copy, 0.3, 0.01)
        assert finding.verdict == "Undecided" and "More pictures" not in finding.sentence


BARELY, SURE = Estimate(0.1, 0.0, 0.2), Estimate(0.1, 0.01, 0.2)


@pytest.mark.parametrize(
    "gain, imitation, spared, word",
    (
        (BARELY, Estimate(10, 0, 20), None, "Nothing can be said"),
        (SURE, None, None, ""),
        (SURE, Estimate(30, 10, 49), Estimate(70, 1, 90), "Protected"),
        (SURE, Estimate(30, 10, 50), Estimate(70, 1, 90), "Partly protected"),
        (SURE, Estimate(30, 10, 49), Estimate(20, 0, 40), "Undecided"),
        (SURE, Estimate(70, 60, 99), Estimate(30, 1, 40), "Partly protected"),
        (SURE, Estimate(70, 60, 100), Estimate(30, 1, 40), "Undecided"),
        (SURE, Estimate(90, 80, 99), Estimate(10, 1, 20), "Not protected"),
        (SURE, Estimate(120, 80, 140), None, "Not protected"),
    ),
)
def test_verdict(gain, imitation, spared, word):
    assert verdict(gain, imitation, spared) == word


def test_the_scale_runs_from_what_saw_nothing_to_what_saw_the_original():
    """Without accidents the numbers are those of the formula: distances 0.64, 0.16, 0.36 in each of three channels."""
    finding = found(0.4, 0.6, 0.4, noise=0)
    assert finding.gain.value == pytest.approx(0.75, abs=1e-5)
    assert finding.imitation[PROTECTED].value == pytest.approx(100 * (0.64 - 0.36) / 0.48, abs=1e-3)
    assert finding.imitation[RANDOM].value == pytest.approx(100, abs=1e-3)
    assert finding.distance[PROTECTED] == pytest.approx(3 * 0.36, abs=1e-5)


def test_pictures_are_drawn_alike_on_every_side():
    """A copy whose pictures are those of the original is at 100 in every draw of the bootstrap: they are paired."""
    sides = {PROMPT_ONLY: flat(0.8), ORIGINAL: flat(0.4, seed=1), PROTECTED: flat(0.4, seed=1)}
    one = judge(flat(0.0, 16), sides).imitation[PROTECTED]
    assert (one.value, one.low, one.high) == pytest.approx((100, 100, 100), rel=1e-9)


def test_without_a_protected_copy_there_is_a_gain_and_no_verdict():
    sides = {PROMPT_ONLY: flat(0.8), ORIGINAL: flat(0.4, seed=1), "JPEG 75": flat(0.6, seed=2)}
    finding = judge(flat(0.0, 16), sides)
    assert finding.verdict == "" and "Nothing" not in finding.sentence
    assert list(finding.imitation) == ["JPEG 75"] and finding.gain.low > 0


def test_the_reference_is_the_painting_as_the_model_paints_it(tiny, painting, other):
    wanted = reference(tiny, [painting], seed=5)
    assert len(wanted) == REFERENCE_CROPS
    as_painted = tiny.reconstruct(crops([painting], 64, 32, seed=5))
    torch.testing.assert_close(wanted[0], as_painted[0], rtol=0, atol=1e-4)
    away = torch.cdist(wanted[1:].flatten(1), as_painted[1:].flatten(1))
    assert away.min() > 0.01, "but for the middle not what an imitator learned from"
    assert len(reference(tiny, [painting, other] * 10)) == 20


@pytest.mark.parametrize("channels", (1, 3))
def test_the_control_is_random_noise_of_all_levels_up_to_epsilon(channels):
    levels = np.random.default_rng(0).integers(8, 248, (64, 64, channels), np.uint8).repeat(3 // channels, 2)
    moved = with_random_noise(Painting(levels), 8, seed=1).levels.astype(int) - levels
    assert set(moved.ravel()) == set(range(-8, 9))
    assert (moved == moved[..., :1]).all() == (channels == 1), "grey stays grey, also in a file of colour"
    black = with_random_noise(Painting(0 * levels), 8, seed=1)
    assert black.levels.max() == 8, "no level is wrapped round"


def test_the_control_is_as_strong_as_the_copy(painting):
    copy = Painting(painting.levels.clip(3) - np.uint8(3))
    resized = Painting(np.zeros((32, 32, 3), np.uint8))
    sides = three_sides([painting, painting], [copy, resized], seed=1)
    assert list(sides) == [ORIGINAL, PROTECTED, RANDOM]
    changes = [max_change(one.levels, painting.levels) for one in sides[RANDOM]]
    assert changes == [3, Settings.epsilon], "of a copy of another size the change is not known"


def test_pairs_out_of_order_are_doubted(painting):
    other = Painting(painting.levels[:, ::-1])
    near, far = (with_random_noise(one, 4, 0) for one in (painting, other))
    assert doubt([painting, other], [near, far]) == ""
    assert doubt([painting, other], [near, other]).startswith("An original and its copy are the same picture")
    assert doubt([painting], [other]).startswith("The pictures do not look like the same painting")
    assert doubt([painting] * 3, [other, near, other]).startswith("The pictures of pair 1 and of pair 3 do not")
