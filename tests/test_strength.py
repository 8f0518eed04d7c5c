"""How large an epsilon may be for a visibility."""

import numpy as np
import pytest
import torch

from advdm.budget import COLOUR, budget
from advdm.paintings import read_painting
from advdm.strength import epsilon_for
from tests.app_server import EXAMPLES


@pytest.fixture(scope="module")
def bridge():
    return read_painting(EXAMPLES / "langlois_bridge.webp").levels


def chosen(levels, shares, jod=8.3, colour=COLOUR):
    return epsilon_for(levels, shares, jod, 128, colour)


def test_less_epsilon_where_less_may_be_seen(bridge):
    shares = budget(bridge)
    found = [chosen(bridge, shares, jod) for jod in (9.9, 8.3, 7.3)]
    assert sorted(set(found)) == found
    assert found[0] == chosen(bridge, shares, 9.9), "the same again"
    assert chosen(bridge, shares, 10.1) == 1


def test_epsilon_depends_on_the_painting_the_budget_and_the_axes(bridge):
    even = np.ones(bridge.shape[:2], np.float32)
    flat = np.full(bridge.shape, 128, np.uint8)
    grey = np.repeat(bridge[..., 1:2], 3, 2)
    assert chosen(flat, even) < chosen(bridge, even) < chosen(bridge, even / 2)
    assert chosen(bridge, even, colour=torch.eye(3)) < chosen(bridge, even)
    assert chosen(grey, even) == chosen(grey, even, colour=torch.eye(3)), "grey has no colour to hide in"
