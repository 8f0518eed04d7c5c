"""How sure a number is: unbiased squared distances between two sets of pictures, and bootstrap intervals.

    d2(X, Y) = |mean X - mean Y|^2 - var(X) / n - var(Y) / m        (MMD with a linear kernel; 0 in the mean for X ~ Y)

As a U-statistic it leaves out the pairs of a picture with itself. A bootstrap weighs picture i with w_i, sum w = 1,
and leaves out the same pairs, so that a picture drawn twice does not pass for two alike. It draws n - 1 of n pictures
(Rao and Wu 1988): with n an interval of few pictures is too narrow.
"""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

DRAWS = 2000
LEVEL = 0.9
"""Share of the bootstrap's draws that an interval holds."""


@dataclass(frozen=True)
class Estimate:
    """A number with its 90 % interval."""

    value: float
    low: float
    high: float


def bootstrap_weights(count: int, seed: int = 0) -> Tensor:
    """(1 + DRAWS, count) weights of pictures, count above 2, each row's sum 1; the first row weighs all alike."""
    drawn = np.random.default_rng(seed).multinomial(count - 1, [1 / count] * count, DRAWS).astype(float)
    # Where one picture was drawn every time, there is no pair left; that row weighs all alike.
    drawn[(drawn == count - 1).any(1)] = (count - 1) / count
    return torch.from_numpy(np.concatenate([np.full((1, count), 1 / count), drawn / (count - 1)]))


def squared_distances(made: Tensor, wanted: Tensor, weights: Tensor) -> Tensor:
    """d2 between styles made (n, D) and wanted (m, D) for each row of weights (B, n): (B,) float64."""
    made, wanted = made.double(), wanted.double()
    gram = made @ made.T
    squares = weights.square()
    own = ((weights @ gram * weights).sum(1) - squares @ gram.diagonal()) / (1 - squares.sum(1))
    cross = weights @ (made @ wanted.mean(0))
    other, count = wanted @ wanted.T, len(wanted)
    return own - 2 * cross + (other.sum() - other.trace()) / (count * (count - 1))


def estimate(draws: Tensor) -> Estimate:
    """The first of the draws, with the interval of the others."""
    low, high = np.quantile(draws[1:].numpy(), [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return Estimate(float(draws[0]), float(low), float(high))
