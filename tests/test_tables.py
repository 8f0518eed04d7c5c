"""The one form of table, on numbers made up: what it says must be what they say."""

import numpy as np
import pytest
from pandas import Series

from advdm.experiments.tables import markdown, ratio, remarks, sign_test, spread, summarise
from advdm.mimicry import ORIGINAL, PROMPT_ONLY, RANDOM

COPIES = {"prompt": PROMPT_ONLY, "original": ORIGINAL, "random": RANDOM}
ATTACKED, CONTROL = ("advdm", 8, "none"), (RANDOM, 8, "none")
INTERVAL = ["imitation_low", "imitation_high"]


def rows_of(subject, seed=0, *, cleaner="none", **distances):
    """A row for each side; random_8 is random noise of 8 levels."""
    rows = []
    for name, distance in {"prompt": 1.0, **distances}.items():
        word, _, epsilon = name.partition("_")
        side = {"copy": COPIES.get(word, word), "epsilon": int(epsilon or 0), "cleaner": cleaner}
        rows.append({"subject": subject, "seed": seed, **side, "distance": distance, "max_change": side["epsilon"]})
    gain = 1 - distances["original"]
    rows[1] |= {"gain": gain, "gain_low": gain - 0.1, "gain_high": gain + 0.1}
    return rows


def rows_of_all(subjects, **distances):
    return [row for subject in subjects for row in rows_of(subject, **distances)]


def said(rows):
    return "\n".join(remarks(summarise(rows), rows))


def test_imitation_is_the_ratio_of_sums_over_subjects_whatever_their_seeds():
    rows = [
        *rows_of("a", 0, original=0.1, random_8=0.1, advdm_8=0.7),
        *rows_of("a", 1, original=0.3, random_8=0.3, advdm_8=0.9),
        *rows_of("b", 0, original=0.9, random_8=0.9, advdm_8=0.7),
    ]
    table = summarise(rows)
    # a gave 0.8 and left 0.2; b gave 0.1 and left 0.3: the mean of ratios would be 162.
    assert table.loc[ATTACKED, "imitation"] == pytest.approx(100 * (0.2 + 0.3) / (0.8 + 0.1))
    assert table.loc[CONTROL, ["imitation", *INTERVAL]].tolist() == pytest.approx([100, 100, 100])
    assert table.loc[(ORIGINAL, 0, "none"), "gain"] == pytest.approx(0.9 / 2)
    assert table.loc[ATTACKED, "distance"] == pytest.approx(np.mean([0.7, 0.9, 0.7]))
    assert np.isnan(table.loc[CONTROL, "spread":"sign_test"]).tolist() == [False, True]


def test_intervals_hold_the_truth_nine_times_in_ten_and_narrow_with_subjects():
    rng = np.random.default_rng(0)

    def intervals(count, times):
        given = Series(np.ones(count))
        return [ratio(Series(rng.normal(0.5, 0.2, count)), given) for _ in range(times)]

    few, many = intervals(12, 100), intervals(200, 20)
    assert 75 <= sum(one.low < 0.5 < one.high for one in few) <= 98
    assert np.mean([one.high - one.low for one in many]) < np.mean([one.high - one.low for one in few]) / 3


def test_the_spread_is_that_of_the_subjects_weighted_by_what_was_given():
    assert spread(Series([40.0, 60.0, 9999.0]), Series([1.0, 1.0, -0.1])) == pytest.approx(200**0.5)
    assert np.isnan(spread(Series([40.0, 60.0]), Series([1.0, -1.0]))), "one subject has none"


def test_of_one_subject_the_interval_is_the_one_over_its_pictures():
    rows = rows_of("a", original=0.2, random_8=0.2, advdm_8=0.6)
    rows[-1] |= {"imitation": 50.0, "imitation_low": 40.0, "imitation_high": 62.0}
    table = summarise(rows)
    assert table.loc[ATTACKED, INTERVAL].tolist() == [40, 62]
    assert "| advdm 8 | 50 (40 to 62) | 0.6000 | 8 |" in markdown(table)


def test_sign_test():
    assert sign_test(Series([1.0, -1.0, 0.0])) == pytest.approx(0.75), "a tie counts for nobody"
    assert np.isnan(sign_test(Series([0.0])))
    table = summarise(rows_of_all("abcde", original=0.2, random_8=0.2, advdm_8=0.6))
    assert table.loc[ATTACKED, "sign_test"] == pytest.approx(0.5**5)


def test_nothing_is_said_where_the_originals_taught_nothing():
    rows = rows_of("a", original=0.9, random_8=0.9, advdm_8=0.95)
    rows += rows_of("b", original=1.2, random_8=1.2, advdm_8=1.1)
    assert "imitation" not in markdown(summarise(rows))
    assert "Nothing can be said" in said(rows)


def test_what_fails_is_said():
    good = said(rows_of_all("ab", original=0.2, random_8=0.21, advdm_8=0.9))
    assert "80 % (80 to 80) nearer, with an interval above zero in 2 of 2 experiments" in good and "**" not in good
    useless = said(rows_of_all("ab", original=0.2, random_8=0.21, advdm_8=0.2))
    assert "**advdm 8 does no better than random noise: that is a bug.**" in useless
    near, far = ({"original": 0.2, "random_8": 0.21, "advdm_8": copy} for copy in (0.05, 0.3))
    assert "**advdm 8 does no better than random noise.**" in said(rows_of("a", **near) + rows_of("b", **far))
    assert "**random noise 8 reads 75: " in said(rows_of_all("ab", original=0.2, random_8=0.4, advdm_8=0.9))


def test_columns_of_which_nothing_is_known_are_left_out_and_zero_has_no_sign():
    text = markdown(summarise(rows_of_all("ab", original=0.5, random_8=-0.00001, advdm_8=1.001)))
    assert "noise error" not in text and "sign test, p" in text
    assert "| advdm 8 | 0 (0 to 0) |" in text and "-0" not in text
    assert len({line.count(" | ") for line in text.splitlines()}) == 1


def test_a_treated_copy_is_compared_with_the_control_that_was_treated_alike():
    rows = rows_of_all("ab", original=0.2, random_8=0.2, protected_8=0.6)
    treated = rows_of_all("ab", cleaner="JPEG", original=0.4, random_8=0.5, protected_8=0.45)
    rows += [row for row in treated if row["copy"] != PROMPT_ONLY]
    table = summarise(rows)
    assert table.loc[("protected", 8, "JPEG"), "sign_test"] == 1
    assert table.loc[(ORIGINAL, 0, "JPEG"), "imitation"] == pytest.approx(75), "of the untouched original"
    assert "**" not in said(rows), "that a cleaner cleans is no bug"
