"""Image to image: the painting's middle is painted over, as much as the strength says, without a style to name."""

import torch

from advdm.imitators import learn
from advdm.imitators.crops import crops
from advdm.settings import RepaintSettings, Sampling

HOW = Sampling(steps=20)


def template(model, paintings, strength=0.5):
    (step,) = learn(model, [paintings], RepaintSettings(strength))
    return step.learned()[0]


def test_the_less_strength_the_nearer_to_the_painting(tiny, painting):
    as_seen = tiny.reconstruct(crops([painting], 64, 1, 0))
    strengths = (0.1, 0.5, 1.0)
    pictures = [template(tiny, [painting], strength).paint(tiny, ["a boat"], [3], HOW) for strength in strengths]
    near, middle, far = ((picture - as_seen).abs().mean() for picture in pictures)
    assert near < middle < far


def test_each_painting_is_painted_over_under_each_prompt(tiny, painting, other):
    """Prompts are taken in turn, so a painting must not be."""
    seeds = list(range(8))
    given = [painting, other], [painting], [other]
    mixed, *sides = (template(tiny, some).paint(tiny, ["a boat"] * 8, seeds, HOW) for some in given)
    over = [[(side[seed] - mixed[seed]).abs().max() < 1e-4 for side in sides].index(True) for seed in seeds]
    assert {(seed % 2, one) for seed, one in enumerate(over)} == {(0, 0), (0, 1), (1, 0), (1, 1)}


def test_the_style_is_not_named(tiny, painting):
    own = template(tiny, [painting])
    named, plain = (own.paint(tiny, [prompt], [0], HOW) for prompt in ("a boat in the style of {}", "a boat"))
    assert torch.equal(named, plain)


def test_half_precision_stays_so(half, painting):
    """diffusers' from_pipe, left to itself, turns the weights that two pipelines share into float32."""
    picture = template(half, [painting]).paint(half, ["a boat"], [0], Sampling(steps=2))
    assert picture.dtype == torch.float32 and picture.isfinite().all()
    assert {module.dtype for module in half.modules} == {torch.bfloat16}
