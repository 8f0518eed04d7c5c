"""The painter program: paints the captioned pictures that atelier is trained on.

A scene names a subject (landscapes, buildings, indoors), a manner (manners) and a palette (here). To look at some:

    python -m training.scenes DIR --count 20 --size 256
"""

import argparse
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from training import buildings, indoors, landscapes
from training.brushes import Array, Rng, to_bytes
from training.canvas import Canvas
from training.manners import MANNERS

SIZE = 128
ALL = (landscapes.mountains, landscapes.a_road, landscapes.a_boat_on_the_sea, buildings.a_house, landscapes.trees)
ALL += (landscapes.a_night_sky, buildings.a_city, indoors.flowers_in_a_vase, indoors.fruit, indoors.a_portrait)
ALL += (buildings.a_bridge, buildings.a_church, landscapes.a_wheat_field, landscapes.a_figure_walking, buildings.a_room)
ALL += (indoors.abstract_shapes,)
SUBJECTS: dict[str, Callable[[Canvas], None]] = {subject.__name__.replace("_", " "): subject for subject in ALL}
# Dark, light, then the hues that sky, ground, forms and accents take, in that order.
PALETTES: dict[str, str] = {
    "gold": "3a2206 fff2bc e6b52e c88f14 efcf5e a8700e f0c030 d29a2a",
    "blue": "0a1550 dcefff 3f86d6 2457b8 63b3e8 9fd0f4 1b3f9a 4a78c8",
    "red": "33060a ffdccf d9432f a81a1e e8695a f0907a 8f1424 c92a22",
    "green": "08240f eff8cf 8cc06a 3c8c3a 5aa04a b4d060 1f6a40 4a9a5e",
    "violet": "1c0a3a f3e4ff 9a68d0 6a38b0 b688e0 d8a8f0 4c2a90 8848b8",
    "grey": "17181a f4f4f2 a0a2a4 74767a 8c8c8a c8c8c6 55585c 686664",
    "earth": "1e120a eee0c8 a88e70 6e4e34 8e6444 b98c62 4e3a2a 7c6a50",
    "pastel": "7c6c94 fffcf6 bcdcf2 c8e8c8 f6c2cc fbe6b4 d8c6f0 f8d4b8",
    "night": "04050f b8b060 121c40 0c1430 1e2650 c8a840 0e1838 221c48",
    "sunset": "2c0f3c ffe6a0 f08a3c 8a2c58 c83c50 fbb848 5c2a78 e85a34",
    "teal and orange": "06262e fdecd0 2a9c9c 14707a ef7f2c f59a48 0f5560 d8641e",
    "ochre and ultramarine": "10143c f6ecd2 3248b4 d0982f bc8424 e4b85a 22308c 4a60c8",
    "many colours": "1c1440 fffae4 3c80dc 44a848 e8442c f4c024 8438b8 f080b4",
    "primary colours": "141418 fcfaf0 2c58c0 f4d030 d83024 f8e06c 1c3c90 e0584c",
    "autumn": "1e140c fbf0d0 8cb8b8 c8842c a4461e f0be3c 66682a d86824",
    "meadow and sky": "12241a fbfaec 7cb8ec 6a9c3c 98744c f0e29a 3c6c34 b4cc6a",
}


@dataclass(frozen=True)
class Scene:
    """What a picture shows, how it is painted and in which colours: three phrases."""

    subject: str
    manner: str
    palette: str


def random_scene(rng: Rng) -> Scene:
    """A scene from the training phrases, all equally likely."""
    return Scene(*(str(rng.choice(list(names))) for names in (SUBJECTS, MANNERS, PALETTES)))


def mixed_colours(palette: str, rng: Rng) -> Array:
    """Colours (8, 3) in 0..1 of a palette as mixed on the day: a little off; hues sometimes trade places."""
    codes = PALETTES[palette].split()
    colours = np.float32([[int(code[i : i + 2], 16) / 255 for i in (0, 2, 4)] for code in codes])
    if rng.random() < 0.3:
        colours[2:7] = rng.permutation(colours[2:7])
    return np.clip(colours + rng.normal(0, 0.02, colours.shape) + rng.normal(0, 0.015, 3), 0, 1).astype(np.float32)


def paint(scene: Scene, rng: Rng, size: int = 128) -> Array:
    """The picture (size, size, 3) uint8 RGB of a scene; the same rng state paints the same picture."""
    dark, light, *hues = mixed_colours(scene.palette, rng)
    # Painted at twice the size: edges come out clean and strokes can be thin without aliasing.
    canvas = Canvas(2 * size, rng, dark, light, np.stack(hues))
    SUBJECTS[scene.subject](canvas)
    picture = MANNERS[scene.manner](canvas.study(), rng)
    return to_bytes(cv2.resize(np.float32(picture), (size, size), interpolation=cv2.INTER_AREA))


def scene_of(index: int, seed: int) -> Scene:
    """The scene of picture number `index` of a set."""
    return random_scene(np.random.default_rng([seed, index]))


def painted(index: int, seed: int, size: int = SIZE) -> Array:
    """Picture number `index` of a set; it depends on nothing but seed and index."""
    rng = np.random.default_rng([seed, index])
    return paint(random_scene(rng), rng, size)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m training.scenes", description="Paints pictures as PNG files.")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--count", type=int, default=20)
    parser.add_argument("--size", type=int, default=256, help="side in pixels")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    options.folder.mkdir(parents=True, exist_ok=True)
    for i in range(options.count):
        rng = np.random.default_rng([options.seed, i])
        scene = random_scene(rng)
        name = f"{i:04} {scene.subject}, {scene.manner}, {scene.palette}.png"
        cv2.imwrite(str(options.folder / name), paint(scene, rng, options.size)[..., ::-1])


if __name__ == "__main__":
    main()
