"""The target that some objectives drive to: a pattern or a picture of one's own, seen as the painting is."""

import numpy as np
import pytest
import torch

from advdm import SettingsError, protect
from advdm.paintings import Painting
from advdm.targets import pattern, target_latents, target_levels
from advdm.views import View

OWN = Painting(np.full((64, 100, 3), (200, 10, 30), np.uint8))


@pytest.mark.parametrize("size", ((64, 64), (64, 512), (501, 400)))
def test_pattern_is_half_black_and_half_white(size):
    drawn = pattern(*size)
    assert drawn.shape == (*size, 1) and set(np.unique(drawn)) == {0, 255}
    assert 0.35 < (drawn == 255).mean() < 0.65


def test_it_is_as_large_as_the_painting(painting):
    assert np.array_equal(target_levels(painting, None), pattern(70, 90))
    assert np.array_equal(target_levels(painting, OWN), np.full((70, 90, 3), (200, 10, 30), np.uint8))


def test_it_is_seen_through_the_painting_s_view(tiny):
    levels = np.random.default_rng(0).integers(0, 256, (90, 80, 3), np.uint8)
    square = torch.from_numpy(levels[10:70, 5:65]).permute(2, 0, 1)[None] / 255
    expected = tiny.encode(View(0, 0, 60, 60, (64, 64)).look(square).flip(-1)).mean
    aim = target_latents(levels, tiny)
    for _ in range(2):  # also where the view comes back
        found = aim(View(10, 5, 60, 60, (64, 64), mirrored=True))
        torch.testing.assert_close(found, expected)
        assert not found.requires_grad


def test_what_half_precision_saw_is_seen_anew_in_float32(half):
    """A step that ran out of its range is redone, and a target out of range with it."""
    aim, view = target_latents(pattern(64, 64), half), View(0, 0, 64, 64, (64, 64))
    rough = aim(view)
    with half.full_precision():
        assert not torch.equal(aim(view), rough)


def test_a_target_that_nothing_looks_at_is_refused(tiny, painting):
    with pytest.raises(SettingsError, match="only these have one: textural, mist, ace"):
        protect(painting, tiny, objective="sds_down", target=OWN)
