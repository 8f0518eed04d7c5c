"""Captions: what a picture shows, its manner and its palette, in plain words, any subset of them."""

import re
from collections.abc import Callable, Sequence
from random import Random

import cv2
import numpy as np

from training.manners import MANNERS
from training.scenes import PALETTES, SUBJECTS, Scene

WITH_SUBJECT = ("a painting of {}", "a picture of {}", "a rendering of {}", "{}")
WITHOUT_SUBJECT = ("a painting", "a picture", "a rendering", "a nice painting", "the painting")
WITH_MANNER = ("{}, in {}", "{} in the style of {}")
WITH_PALETTE = ("{}, in {}", "{} in {}")
OTHER_WORDS = "small large"
"""Of the prompts that textual inversion trains with (Gal et al. 2022); no caption holds them."""

SEEN_IN_TITLES = (
    (r"boats?\b|fisherman|sea view", "boats"),
    (r"beach|sea\b|cliff|rocks|falaise|étretat", "the sea"),
    (r"virgin and child|madonna|mother|woman and child", "a mother and child"),
    (r"portrait|girl\b|lady|dancers?|singer|gentleman|mrs|monk|saint (agatha|lucy|francis)$", "a portrait"),
    (r"still life|apples|fruit|cherries", "fruit"),
    (r"chrysanthemums", "flowers"),
    (r"river|seine|pond|creuse|marsh", "a river"),
    (r"road\b", "a road"),
    (r"cottage|house|mill\b|courtyard", "a house"),
    (r"paris|gare|notre dame|venice|place du|colonnade", "a city"),
    (r"wood(ed|s|chopper)|grove|trees", "trees"),
    (r"mountain|alpine|ravine", "mountains"),
    (r"harvest|pasture|shepherd|herd|cow\b|pigs|heather", "a field"),
    (r"landscape|view of|panoramic|auvergne|bordighera|souvenir of italy", "a landscape"),
    (r"interior|room\b|kitchen|reading|tea\b|tête-à-tête", "a room"),
    (r"christ|crucifixion|adoration|nativity|lamentation|entombment|saints\b|saint |magi\b", "a crowd of figures"),
)
"""What can be seen in a real painting whose title matches."""

WHOLE = 0.7
"""A view of at least this share of a painting's short side still shows the subject of its title."""
STYLE_TOKENS = 4
"""Tokens of the word of a real painting's style: as many vectors as an imitator learns for one."""


def compose(subject: str | None, manner: str | None, palette: str | None, rng: Random) -> str:
    """One sentence from the parts that are named; in random order of manner and palette."""
    caption = rng.choice(WITH_SUBJECT).format(subject) if subject else rng.choice(WITHOUT_SUBJECT)
    for templates, words in rng.sample([(WITH_MANNER, manner), (WITH_PALETTE, palette)], 2):
        if words:
            caption = rng.choice(templates).format(caption, words)
    return caption


def some(words: str, rng: Random) -> str | None:
    return words if rng.random() < 0.75 else None


def scene_caption(scene: Scene, rng: Random) -> str:
    """Names a random subset of the scene's subject, manner and palette."""
    return compose(some(scene.subject, rng), some(scene.manner, rng), some(scene.palette, rng), rng)


def style_word(painting: int) -> str:
    """The word of the style of real painting number `painting`: STYLE_TOKENS tokens that no other caption has."""
    return " ".join(f"<painting-{painting}-{i}>" for i in range(STYLE_TOKENS))


def real_caption(title: str, share: float, palette: str, style: str, rng: Random) -> str:
    """Names the subject of the title where the view is wide enough to show it, the style, and the measured palette."""
    seen = (subject for pattern, subject in SEEN_IN_TITLES if re.search(pattern, title.lower()))
    subject = next(seen, None) if share >= WHOLE else None
    return compose(subject and some(subject, rng), some(style, rng), some(palette, rng), rng)


def colour_statistics(levels: np.ndarray) -> np.ndarray:
    """Quantiles of L, a and b, and the chroma in each of twelve hues, of an (H, W, 3) uint8 picture: (27,)."""
    small = cv2.resize(np.ascontiguousarray(levels), (32, 32), interpolation=cv2.INTER_AREA)
    lab = cv2.cvtColor(small.astype(np.float32) / 255, cv2.COLOR_RGB2LAB).reshape(-1, 3)
    chroma, hue = np.hypot(lab[:, 1], lab[:, 2]), np.arctan2(lab[:, 2], lab[:, 1])
    hues, _ = np.histogram(hue, bins=12, range=(-np.pi, np.pi), weights=chroma)
    quantiles = np.quantile(lab, (0.1, 0.3, 0.5, 0.7, 0.9), axis=0)
    return np.concatenate([quantiles.ravel(), hues / len(lab)])


def palette_reader(levels: np.ndarray, palettes: Sequence[str]) -> Callable[[np.ndarray], str]:
    """Learns from painted pictures (N, H, W, 3) and their palettes to name the palette of any picture.

    Linear discriminant: the class mean that is nearest under the covariance within the classes.
    """
    statistics = np.stack([colour_statistics(picture) for picture in levels])
    names = sorted(set(palettes))
    labels = np.array([names.index(palette) for palette in palettes])
    means = np.stack([statistics[labels == i].mean(0) for i in range(len(names))])
    precision = np.linalg.pinv(np.cov((statistics - means[labels]).T))

    def read(picture: np.ndarray) -> str:
        offsets = colour_statistics(picture) - means
        return names[int(np.einsum("ni,ij,nj->n", offsets, precision, offsets).argmin())]

    return read


def all_words() -> list[str]:
    """Every word a caption can hold, and OTHER_WORDS."""
    seen = (words for _, words in SEEN_IN_TITLES)
    phrases = (*WITH_SUBJECT, *WITHOUT_SUBJECT, *WITH_MANNER, *SUBJECTS, *MANNERS, *PALETTES, OTHER_WORDS, *seen)
    return re.findall(r"[a-z]+", " ".join(phrases))
