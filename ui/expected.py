"""What the page says a copy leaves of an imitation, measured beforehand by `python -m benchmarks.frontier`."""

from typing import NamedTuple


class Expected(NamedTuple):
    """Imitation by LoRA over so many paintings, as in `experiments.tables`, and the least and most of one painting."""

    imitation: float
    least: float
    most: float
    paintings: int


EXPECTED: dict[tuple[str, str, int, int], Expected] = {
    ("atelier", "subtle", 25, 1): Expected(53, 33, 82, 8),
    ("atelier", "balanced", 25, 1): Expected(22, -4, 48, 8),
    ("atelier", "strong", 25, 1): Expected(-29, -102, -3, 8),
}
"""By the model's name, the strength's word, steps and samples, all else as usual; of others the page says nothing."""


def sentence(*made: str | int) -> str:
    """What to expect of a copy that was made so, or nothing where that was not measured."""
    found = EXPECTED.get(made)  # type: ignore[call-overload]
    if found is None:
        return ""
    return (
        f"We protected {found.paintings} colour paintings with these settings. A LoRA then scored "
        f"{found.imitation:.0f} over all, {found.least:.0f} on the best protected and {found.most:.0f} on the least. "
        "100 is imitation as good as from the original, 0 as without the painting, below 0 farther off. Yours may "
        "differ: try the LoRA on the Mimicry tab."
    )
