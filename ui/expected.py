"""What the page says a copy leaves of an imitation, measured beforehand by `python -m advdm evaluate`."""

from typing import NamedTuple


class Expected(NamedTuple):
    """Imitation by LoRA over so many paintings, 100 for what the originals gave: the mean, the least and the most."""

    imitation: float
    least: float
    most: float
    paintings: int


EXPECTED: dict[tuple[str, str, int, int], Expected] = {
    ("atelier", "balanced", 25, 1): Expected(27, -15, 51, 8),
    ("atelier", "strong", 25, 1): Expected(8, -40, 34, 8),
}
"""By the model's title, the strength's word, steps and samples, all else as usual; of others the page says nothing."""


def sentence(*made: str | int) -> str:
    """What to expect of a copy that was made so, or nothing where that was not measured."""
    found = EXPECTED.get(made)  # type: ignore[call-overload]
    if found is None:
        return ""
    return (
        f"On {found.paintings} paintings protected like this, an imitator learned {found.imitation:.0f} of 100 on "
        f"average (from {found.least:.0f} to {found.most:.0f}). 100 is what the original taught it, 0 is nothing. "
        "Yours may differ: try it on the Mimicry tab."
    )
