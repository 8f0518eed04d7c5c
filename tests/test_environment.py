"""What the entry points set before torch is imported."""

import os

import pytest

from advdm.environment import SPINS, prepare


@pytest.mark.parametrize(
    ("before", "spins"),
    [({}, SPINS), ({"GOMP_SPINCOUNT": "7"}, "7"), ({"OMP_WAIT_POLICY": "PASSIVE"}, None)],
)
def test_threads_spin_little_unless_the_user_wants_it(before, spins, monkeypatch):
    monkeypatch.setattr(os, "environ", before)
    prepare()
    assert before.get("GOMP_SPINCOUNT") == spins
