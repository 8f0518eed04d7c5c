"""The one form of table: what came of all subjects, a row for each side.

    imitation = 100 sum_i (prompt_i - side_i) / sum_i (prompt_i - original_i)      over subjects i

with d2 as the mean over a subject's seeds: a subject counts as much as its original taught. The spread is the standard
deviation of the subjects' own imitations, weighted in the same way. Intervals (90 %) are bootstrapped over the
subjects; of one subject they are those over its pictures. The sign test asks on how many subjects a copy was imitated
less than its control, random noise of the same epsilon.
"""

from collections.abc import Sequence
from dataclasses import astuple
from typing import Any

import numpy as np
import torch
from pandas import DataFrame, Series
from scipy.stats import binomtest

from advdm.experiments.measure import Row, Side
from advdm.mimicry import CONTROL, ORIGINAL, PROMPT_ONLY, PROTECTED, RANDOM, percent, scored
from advdm.statistics import DRAWS, Estimate, estimate

COLUMNS = {
    "imitation": ("imitation, 0-100", 0),
    "spread": ("spread", 0),
    "sign_test": ("sign test, p", 3),
    "distance": ("style distance, unbiased MMD", 4),
    "noise_error": ("noise error", 3),
    "max_change": ("largest change", 0),
    "visibility": ("JOD (10: no difference)", 2),
    "psnr": ("PSNR, dB", 1),
    "ssim": ("SSIM", 3),
    "frechet_distance": ("Fréchet distance, EfficientNet-Lite0", 1),
    "knn_precision": ("k-NN precision, EfficientNet-Lite0", 2),
}
"""Heading and decimals of each number, by its name in every table, report and file."""
MORE = ["imitation_low", "imitation_high", "gain", "gain_low", "gain_high"]
"""Further columns of a CSV. The gain is the original's: the share by which it brought the imitator nearer."""
KEYS = ["copy", "epsilon", "cleaner"]

Key = tuple[str, int, str]
PROMPT_SIDE: Key = (PROMPT_ONLY, 0, "none")
ORIGINAL_SIDE: Key = (ORIGINAL, 0, "none")


def summarise(rows: Sequence[Row]) -> DataFrame:
    """Rows of every subject, seed and side to one row a side, indexed by KEYS, in the order of their first."""
    frame = DataFrame(rows).reindex(columns=["subject", "seed", *KEYS, *COLUMNS, *MORE])
    numbers = [*COLUMNS, *MORE]
    frame[numbers] = frame[numbers].astype(float)
    sides = frame.groupby(KEYS, sort=False)
    table = sides[numbers].mean()
    table["max_change"] = sides["max_change"].max()
    distances = frame.groupby([*KEYS, "subject"], sort=False)["distance"].mean().unstack("subject").loc[table.index]
    if distances.shape[1] > 1:
        compare_subjects(table, distances)
    if estimate_of(table, ORIGINAL_SIDE, "gain").low <= 0:
        table[["imitation", "imitation_low", "imitation_high", "spread"]] = np.nan
    return table


def compare_subjects(table: DataFrame, distances: DataFrame) -> None:
    """Fill in what several subjects tell; distances has a column a subject and the table's rows."""
    prompt = distances.loc[PROMPT_SIDE]
    given = prompt - distances.loc[ORIGINAL_SIDE]
    put(table, ORIGINAL_SIDE, "gain", ratio(given, prompt))
    for side in table.index.drop([PROMPT_SIDE, ORIGINAL_SIDE]):
        kept = 100 * (prompt - distances.loc[side])
        put(table, side, "imitation", ratio(kept, given))
        table.at[side, "spread"] = spread(kept / given, given)
        control = control_of(side)
        if side[0] not in (ORIGINAL, RANDOM) and control in distances.index:
            table.at[side, "sign_test"] = sign_test(distances.loc[side] - distances.loc[control])


def control_of(side: Key) -> Key:
    """Random noise of the same epsilon that went through the same."""
    return (RANDOM, *side[1:])


def ratio(above: Series, below: Series) -> Estimate:
    """sum(above) / sum(below) with its interval, bootstrapped over the subjects."""
    count = len(above)
    drawn = np.concatenate([[np.arange(count)], np.random.default_rng(0).integers(count, size=(DRAWS, count))])
    over, under = (part.to_numpy()[drawn].sum(1) for part in (above, below))
    return estimate(torch.from_numpy(over / under))


def spread(scales: Series, given: Series) -> float:
    """Weighted standard deviation over the subjects; one whose original taught nothing weighs nothing."""
    known = given > 0
    return float(np.sqrt(np.cov(scales[known], aweights=given[known]))) if known.sum() > 1 else np.nan


def sign_test(farther: Series) -> float:
    """How likely so many subjects or more would be imitated less than their control by chance."""
    count = int((farther != 0).sum())
    return float(binomtest(int((farther > 0).sum()), count, alternative="greater").pvalue) if count else np.nan


def put(table: DataFrame, side: Key, name: str, one: Estimate) -> None:
    for column, value in zip((name, f"{name}_low", f"{name}_high"), astuple(one), strict=True):
        table.at[side, column] = value


def estimate_of(table: DataFrame, side: Key, name: str) -> Estimate:
    """A number of a side with its interval."""
    return Estimate(*(table.at[side, column] for column in (name, f"{name}_low", f"{name}_high")))


def best_way_first(table: DataFrame) -> tuple[DataFrame, list[str]]:
    """Where copies were cleaned, the imitator's best way first, by what came of the protected copy; and a remark."""
    if set(table.index.get_level_values("cleaner")) == {"none"}:
        return table, []
    ways = list(table.loc[PROTECTED].sort_values("distance").index.get_level_values("cleaner"))
    rest = sorted(table.index.drop([PROMPT_SIDE]), key=lambda side: ways.index(side[2]))
    table, best = table.loc[[PROMPT_SIDE, *rest]], "the copy as it is" if ways[0] == "none" else ways[0]
    learned = estimate_of(table, ORIGINAL_SIDE, "gain").low > 0
    return table, [f"The imitator does best with: {best}."] if learned else []


def markdown(table: DataFrame) -> str:
    """The table for people, imitations with their intervals; columns in which nothing is known are left out."""
    known = [name for name in COLUMNS if table[name].notna().any()]
    lines = [["learned from", *(COLUMNS[name][0] for name in known)], ["---"] * (1 + len(known))]
    for side in table.index:
        lines.append([str(Side(*side)), *(written(table, side, name) for name in known)])
    return "\n".join(f"| {' | '.join(line)} |" for line in lines) + "\n"


def written(table: DataFrame, side: Key, name: str) -> str:
    """A number as the table shows it; nothing where it is not known."""
    value: Any = table.at[side, name]
    if np.isnan(value):
        return ""
    if name == "imitation":
        return scored(estimate_of(table, side, name))
    decimals = COLUMNS[name][1]
    return f"{round(value, decimals) + 0:.{decimals}f}"  # adding 0 makes a rounded -0 a 0


def remarks(table: DataFrame, rows: Sequence[Row]) -> list[str]:
    """What the numbers are, and where control or defence fail."""
    gain = estimate_of(table, ORIGINAL_SIDE, "gain")
    learned = [row["gain_low"] > 0 for row in rows if (row["copy"], row["epsilon"], row["cleaner"]) == ORIGINAL_SIDE]
    found = [
        "Imitation: 100 is as good as from the original, 0 as without the painting; lower protects better. With its "
        "90 % interval, over several subjects the ratio of sums; the spread is that of the subjects.",
        f"The originals brought the imitator {percent(gain)} nearer, with an interval above zero in {sum(learned)} of "
        f"{len(learned)} experiments." + (" Nothing can be said about imitation." if gain.low <= 0 else ""),
        "Fréchet distance and k-NN precision are the paper's metrics, on EfficientNet-Lite0 instead of Inception: "
        "compare them within this table only.",
    ]
    for side in table.index:
        value = table.at[side, "imitation"]
        if side[2] != "none" or np.isnan(value):
            continue
        if side[0] == RANDOM and not CONTROL[0] <= value <= CONTROL[1]:
            found.append(
                f"**{Side(*side)} reads {value:.0f}: it should lie between {CONTROL[0]} and {CONTROL[1]}, so do "
                "not trust the other numbers.**"
            )
        if side[0] != RANDOM and control_of(side) in table.index and value >= table.at[control_of(side), "imitation"]:
            sure = table.at[side, "imitation_low"] > table.at[control_of(side), "imitation"]
            found.append(f"**{Side(*side)} does no better than random noise{': that is a bug' if sure else ''}.**")
    return found
