"""Sheets of pictures that a person can look at."""

import numpy as np
import torch

from advdm.sheets import GAP, LABELS, sheet


def test_a_row_for_each_side_and_a_column_for_each_picture():
    page = np.asarray(
        sheet({"original": torch.zeros(24, 3, 32, 32), "protected": torch.full((24, 3, 32, 32), 0.5)}, "a" * 24)
    )
    assert page.shape[1] == LABELS + 24 * 32 + GAP
    last = page[-GAP - 16]
    assert (last[LABELS:-GAP] == 128).all() and (last[-GAP:] == 255).all()


def test_a_sheet_of_very_many_pictures_still_fits_its_file(tmp_path):
    """JPEG ends at 65,500 pixels."""
    page = sheet({"original": torch.zeros(1, 3, 64, 64).expand(1200, -1, -1, -1)}, ["a boat"] * 1200)
    page.save(tmp_path / "sheet.jpg")
    assert 60_000 < page.width < 65_500
