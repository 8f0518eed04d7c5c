"""What the page says a copy leaves of an imitation, measured beforehand by `python -m benchmarks.frontier`."""

from typing import NamedTuple


class Expected(NamedTuple):
    """Imitation by LoRA over so many paintings, 100 for what the originals gave: the mean, the least and the most."""

    imitation: float
    least: float
    most: float
    paintings: int


EXPECTED: dict[tuple[str, str, int, int], Expected] = {
    ("atelier", "subtle", 25, 1): Expected(54, 24, 74, 8),
    ("atelier", "balanced", 25, 1): Expected(26, -6, 45, 8),
    ("atelier", "strong", 25, 1): Expected(-17, -75, 17, 8),
}
"""By the model's title, the strength's word, steps and samples, all else as usual; of others the page says nothing."""


def sentence(*made: str | int) -> str:
    """What to expect of a copy that was made so, or nothing where that was not measured."""
    found = EXPECTED.get(made)  # type: ignore[call-overload]
    if found is None:
        return ""
    return (
        f"Of {found.paintings} paintings protected like this, an imitator scored {found.imitation:.0f} on average "
        f"({found.least:.0f} to {found.most:.0f}), where 0 never saw the painting and 100 learned from the original. "
        "Yours may differ: try it on the Mimicry tab."
    )
