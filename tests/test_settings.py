"""What can be set: what is out of range is refused in a sentence, and seeds and strides are what they say."""

import pytest

from advdm.errors import SettingsError
from advdm.settings import (
    IMITATORS,
    EvaluationSettings,
    InversionSettings,
    LoraSettings,
    MimicrySettings,
    RepaintSettings,
    Sampling,
    Settings,
)

NAN, INFINITE = float("nan"), float("inf")
LEARNING = {"steps": (0, 1.5), "batch": (0, 65), "learning_rate": (0, NAN, 2)}
REFUSED = {
    Settings: {
        "epsilon": (0, 65, 7.5, 8.0, NAN),
        "steps": (0, 10_001),
        "samples": (0, 257),
        "step_size": (0.0, INFINITE),
        "seed": (-1, 10**400),
        "objective": ("glaze",),
    },
    InversionSettings: {**LEARNING, "vectors": (0, 17)},
    LoraSettings: {**LEARNING, "rank": (0, 257)},
    RepaintSettings: {"strength": (0.01, 1.1, NAN)},
    Sampling: {"steps": (0, 1001), "guidance": (0.5, INFINITE)},
    MimicrySettings: {"count": (0, 101), "seed": (-1, 2**33), "prompts": ((),)},
    EvaluationSettings: {"seeds": (0,), "epsilons": ((0,),), "objectives": (("glaze",),)},
}


@pytest.mark.parametrize(
    "kind, name, value",
    [(kind, name, value) for kind, fields in REFUSED.items() for name, values in fields.items() for value in values],
)
def test_out_of_range_is_refused_in_a_sentence(kind, name, value):
    with pytest.raises(SettingsError, match=r"\.$"):
        kind(**{name: value})


@pytest.mark.parametrize("kind", (*IMITATORS.values(), Settings, MimicrySettings, EvaluationSettings))
def test_defaults_are_in_range(kind):
    kind()


@pytest.mark.parametrize(
    "settings, stride",
    (({}, 1), ({"epsilon": 16}, 2), ({"epsilon": 16, "as_published": True}, 1), ({"step_size": 0.5}, 0.5)),
)
def test_a_step_is_an_eighth_of_epsilon_and_as_published_one_level(settings, stride):
    assert Settings(**settings).stride == stride


def test_as_published_has_one_objective():
    with pytest.raises(SettingsError, match="only with the objective advdm"):
        Settings(as_published=True, objective="mist")


def test_too_few_pictures_for_an_interval_are_refused():
    assert MimicrySettings(prompts=("{}", "a boat"), count=2).pictures == 4
    with pytest.raises(SettingsError, match="At least 4"):
        MimicrySettings(prompts=("{}", "a boat"), count=1)


def test_a_repaint_of_no_step_is_refused():
    """diffusers would fail at it, after everything else is done."""
    few = Sampling(steps=5)
    MimicrySettings(RepaintSettings(0.2), sampling=few)
    with pytest.raises(SettingsError, match="strength"):
        MimicrySettings(RepaintSettings(0.1), sampling=few)


@pytest.mark.parametrize("count", (1, 3, 100))
def test_each_picture_has_a_seed_of_its_own(count):
    """Also against the runs with other seeds; prompts are taken in turn."""
    orders = [MimicrySettings(count=count, seed=seed).order(0, 6 * count) for seed in range(3)]
    seeds = [seed for _, run in orders for seed in run]
    assert len(set(seeds)) == 3 * 6 * count
    prompts, _ = orders[0]
    assert prompts == list(MimicrySettings().prompts) * count
    assert MimicrySettings(count=count).order(2, 5) == (orders[0][0][2:5], orders[0][1][2:5])
