"""What can be set: what is out of range is refused in a sentence, and seeds and strides are what they say."""

import pytest

from advdm.errors import SettingsError
from advdm.settings import (
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
    RepaintSettings: {"repaint_strength": (0.01, 1.1, NAN)},
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
    MimicrySettings(prompts=("{}", "a boat"), count=2)
    with pytest.raises(SettingsError, match="At least 4"):
        MimicrySettings(prompts=("{}", "a boat"), count=1)


def test_a_repaint_of_no_step_is_refused():
    """diffusers would fail at it, after everything else is done."""
    MimicrySettings(RepaintSettings(0.2), sampling=Sampling(steps=5))
    with pytest.raises(SettingsError, match="strength"):
        MimicrySettings(RepaintSettings(0.1), sampling=Sampling(steps=5))


def test_each_picture_has_a_seed_of_its_own_and_prompts_are_taken_in_turn():
    """Also against the runs with other seeds."""
    runs = [MimicrySettings(count=100, seed=seed).prompts_and_seeds(0, 600) for seed in range(3)]
    assert len({seed for _, seeds in runs for seed in seeds}) == 3 * 600
    prompts, seeds = runs[0]
    assert prompts == list(MimicrySettings().prompts) * 100
    assert MimicrySettings().prompts_and_seeds(2, 5) == (prompts[2:5], seeds[2:5])
