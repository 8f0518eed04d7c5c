"""Sheets of pictures that a person can look at."""

import numpy as np
import torch

from advdm.sheets import GAP, LABELS, MOST, sheet


def test_a_row_for_each_side_and_no_more_columns_than_a_file_can_hold():
    """Some formats end at 65,500 pixels, which a hundred large pictures would pass."""
    sides = {"original": torch.zeros(70, 3, 32, 32), "protected": torch.full((70, 3, 32, 32), 0.5)}
    page = np.asarray(sheet(sides, ["a boat"] * 70))
    assert page.shape[1] == LABELS + MOST * 32 + GAP
    row = page[-GAP - 16]
    assert (row[LABELS:-GAP] == 128).all() and (row[-GAP:] == 255).all()
