"""Distances that read 0 for equal sets of any size, and intervals that hold what they say, paired."""

import numpy as np
import pytest
import torch

from advdm.statistics import DRAWS, bootstrap_weights, estimate, squared_distances


@pytest.mark.parametrize("made, wanted", ((2, 2), (4, 16), (18, 16), (60, 3)))
def test_equal_sets_read_zero_in_the_mean_whatever_their_size(made, wanted):
    """The plain distance of means, which is biased, would fail by thirty of its standard errors and more."""
    rng = np.random.default_rng(0)
    pairs = [torch.from_numpy(rng.normal(3, 1, (made + wanted, 20))).split((made, wanted)) for _ in range(1500)]
    alike = torch.full((1, made), 1 / made, dtype=torch.float64)
    found = np.array([squared_distances(x, y, alike).item() for x, y in pairs])
    assert abs(found.mean()) < 3.5 * found.std() / len(pairs) ** 0.5


def test_it_is_the_mean_over_pairs_of_different_pictures():
    """By its definition, in plain loops; and of a weighted draw, that of the pictures drawn."""
    x, y = torch.randn(2, 5, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)

    def within(z, w):
        pairs = [(i, j) for i in range(len(z)) for j in range(len(z)) if i != j]
        return sum(w[i] * w[j] * z[i] @ z[j] for i, j in pairs) / sum(w[i] * w[j] for i, j in pairs)

    even, some = torch.full((5,), 0.2), torch.tensor([0.5, 0.25, 0.25, 0, 0])
    for weights, found in zip((even, some), squared_distances(x, y, torch.stack((even, some)).double()), strict=True):
        plain = within(x, weights.double()) + within(y, even.double()) - 2 * (weights.double() @ x) @ y.mean(0)
        assert found.item() == pytest.approx(plain.item(), rel=1e-6)


@pytest.mark.parametrize("count", (4, 18, 100))
def test_weights_are_shares_of_which_the_first_are_alike(count):
    weights = bootstrap_weights(count)
    assert weights.shape == (1 + DRAWS, count)
    assert torch.equal(weights[0], torch.full((count,), 1 / count, dtype=torch.float64))
    torch.testing.assert_close(weights.sum(1), torch.ones(1 + DRAWS, dtype=torch.float64))
    assert weights.max() < 1, "a draw of one picture alone has no pair"
    assert torch.equal(weights, bootstrap_weights(count)) and not torch.equal(weights, bootstrap_weights(count, 1))


def intervals(rng, count: int, common: float):
    """Of gain and imitation, of prompt-only, original and protected pictures that share `common` of their variance.

    The painting lies at 0 and the sides at 1, 0.7 and 0.85 on one axis: gain 0.51, imitation 54.4.
    """
    dimensions, spread = 50, (0.35 / 50) ** 0.5
    weights = bootstrap_weights(count)
    wanted = torch.from_numpy(rng.normal(0, spread, (16, dimensions)))
    shared = rng.normal(0, spread * common**0.5, (count, dimensions))
    distances = []
    for place in (1, 0.7, 0.85):
        side = shared + rng.normal(0, spread * (1 - common) ** 0.5, (count, dimensions))
        side[:, 0] += place
        distances.append(squared_distances(torch.from_numpy(side), wanted, weights))
    plain, original, protected = distances
    return estimate((plain - original) / plain), estimate(100 * (plain - protected) / (plain - original))


@pytest.mark.parametrize("count, common", ((18, 0.0), (18, 0.7), (48, 0.7)))
def test_nine_of_ten_intervals_hold_the_truth(count, common):
    rng = np.random.default_rng(1)
    gains, imitations = zip(*(intervals(rng, count, common) for _ in range(200)), strict=True)
    for truth, found in ((1 - 0.7**2, gains), (100 * (1 - 0.85**2) / (1 - 0.7**2), imitations)):
        assert 0.8 <= np.mean([one.low <= truth <= one.high for one in found]) <= 0.97


def test_what_sides_share_makes_the_interval_narrower():
    """Paired: the same pictures are drawn on every side, so common accidents cancel out."""
    rng = np.random.default_rng(0)
    paired, apart = ([intervals(rng, 18, common)[1] for _ in range(40)] for common in (0.8, 0.0))
    assert np.median([one.high - one.low for one in paired]) < 0.7 * np.median([one.high - one.low for one in apart])


def test_the_estimate_is_the_first_and_its_interval_the_others_middle():
    found = estimate(torch.cat([torch.tensor([7.0]), torch.arange(101.0)]))
    assert (found.value, found.low, found.high) == pytest.approx((7, 5, 95))
