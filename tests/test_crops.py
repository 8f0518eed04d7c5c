"""The imitator's crops are a trainer's: Pillow's resampling, the middle first, places and scales of its own."""

import numpy as np
import pytest
import torch
from PIL import Image

from advdm.imitators.crops import ZOOM, crop_encoder, crops
from advdm.paintings import Painting


@pytest.mark.parametrize("shape, box", (((70, 90), (10, 0, 80, 70)), ((91, 64), (0, 13.5, 64, 77.5)), ((64, 64), None)))
def test_the_first_is_the_largest_square_in_the_middle_by_lanczos(shape, box):
    levels = np.random.default_rng(0).integers(0, 256, (*shape, 3), np.uint8)
    (crop,) = crops([Painting(levels)], 64, 1, seed=0) * 255
    wanted = Image.fromarray(levels).resize((64, 64), Image.Resampling.LANCZOS, box)
    assert np.array_equal(crop.round().byte().permute(1, 2, 0), wanted)


def test_places_and_scales_are_random_and_reach_every_border():
    """A painting whose red and green tell where a crop's pixels come from."""
    down, along = np.mgrid[:160, :240]
    levels = np.stack([along, down, np.zeros_like(down)], -1).astype(np.uint8)
    cut = crops([Painting(levels)], 64, 400, seed=0)[1:] * 255
    left, right = cut[:, 0, 32, 2], cut[:, 0, 32, -3]
    top, bottom = cut[:, 1, 2, 32], cut[:, 1, -3, 32]
    assert 0.4 < (left > right).float().mean() < 0.6, "mirrored"
    left, right = torch.minimum(left, right), torch.maximum(left, right)
    side = (bottom - top) * 64 / 59
    assert ((right - left) * 64 / 59 - side).abs().max() < 3, "squares"
    assert 160 / ZOOM - 2 < side.min() < 90 and 150 < side.max() <= 162
    assert left.min() < 12 and right.max() > 228 and top.min() < 8 and bottom.max() > 152
    assert len(torch.stack((left, top), 1).round().unique(dim=0)) > 300


def test_paintings_of_any_size_are_taken_in_turn_and_none_is_left_out(painting, other):
    small = Painting(other.levels[:64, 5:])
    two = crops([painting, small], 64, 4, seed=3)
    for i, one in enumerate((painting, small)):
        assert torch.equal(two[i], crops([one], 64, 1, seed=3)[0]), "each from its middle first"
    assert not torch.equal(two[2], two[0])
    assert len(crops([painting] * 5, 64, 2, seed=0)) == 5


def test_a_copy_is_cut_at_the_same_places(painting, other):
    """The negative's crops are the negatives of the crops, but for rounding; another seed cuts elsewhere."""
    mine, theirs = (crops([one], 64, 12, seed=3) for one in (painting, other))
    assert ((1 - mine) - theirs).abs().max() < 1.5 / 255
    assert torch.equal(mine, crops([painting], 64, 12, seed=3))
    assert not torch.equal(mine[1:], crops([painting], 64, 12, seed=4)[1:])


def test_each_is_encoded_when_it_is_asked_for_and_once(tiny, monkeypatch, painting, other):
    """Stop need not wait until all are."""
    seen, plain = [], tiny.encode
    monkeypatch.setattr(tiny, "encode", lambda pixels: seen.append(len(pixels)) or plain(pixels))
    encode, cut = crop_encoder(tiny, [painting, other], 5, seed=1), crops([painting, other], 64, 5, seed=1)
    chosen = [3, 0, 3]
    posterior = encode(chosen)
    assert torch.equal(encode(chosen).mean, posterior.mean) and seen == [1, 1]
    for i, number in enumerate(chosen):
        alone = plain(cut[number : number + 1])
        torch.testing.assert_close(posterior.mean[i : i + 1], alone.mean)
        torch.testing.assert_close(posterior.std[i : i + 1], alone.std)
