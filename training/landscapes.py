"""Subjects of the painter program under the open sky: each composes a picture, never the same way twice."""

import numpy as np

from training.brushes import grid
from training.canvas import ACCENT, FORM, GROUND, OTHER, SKY, UP, Canvas, box, curve, ribbon
from training.parts import clouds, land, person, sky, tree, water


def mountains(c: Canvas) -> None:
    """Ranges one behind the other, one flank in the light, snow on some; a meadow or a lake below."""
    foot = c.between(0.58, 0.85)
    sky(c, foot)
    for row in range(3):
        for _ in c.count(1, 3):
            mountain(c, foot, row)
    if c.chance(0.35):
        water(c, foot, 1.0)
    else:
        land(c, foot)
        for _ in c.count(0, 5):
            y = c.between(foot + 0.03, 0.95)
            tree(c, c.between(0, 1), y, 0.08 + 0.5 * (y - foot), "pine")


def mountain(c: Canvas, foot: float, row: int) -> None:
    """A peak of the farthest row, 0, to the nearest, 2."""
    hue, air = (OTHER, FORM, FORM)[row], 0.12 * (2 - row)
    x, h, w = c.between(-0.05, 1.05), c.between(0.25, 0.52) * (1.1 - 0.22 * row), c.between(0.22, 0.42)
    t = np.linspace(0, 1, 7)
    crest = curve(x + t * c.between(-0.06, 0.06) + 0.02 * c.rng.normal(size=7), foot - h * (1 - t))
    crest[0] = (x, foot - h)
    for side in (-1, 1):
        rough = c.rng.normal(0, 0.012, (7, 2)) * (t * (1 - t) * 4)[:, None]
        rim = curve(x + side * w * t**0.9, foot - h * (1 - t)) + rough
        tone = (0.62 if side == c.side else 0.26) + air
        face = np.concatenate([crest, rim[::-1]])
        c.shape(face, c.tone(hue, tone + 0.06), c.tone(hue, tone - 0.08), fall=UP, angle=side * 1.0)
        if row and h > 0.26:
            snow = np.concatenate([crest[:3], [crest[3] * (0.6, 1) + rim[3] * (0.4, 0)], rim[2::-1]])
            c.shape(snow, c.tone(SKY, 0.97 if side == c.side else 0.74), angle=side * 1.0)


def a_road(c: Canvas) -> None:
    """A road that runs to a point on the horizon, trees or posts along it."""
    horizon, vx = c.between(0.3, 0.6), c.between(0.2, 0.8)
    sky(c, horizon)
    land(c, horizon)
    x, y = grid(c.n)
    below = y > horizon + 0.02
    c.angle[below] = np.arctan2(y - horizon, x - vx)[below]
    t = np.linspace(0, 1, 14)
    near, half, bend = c.between(0.2, 0.8), c.between(0.16, 0.36), c.between(-0.16, 0.16)
    middle = vx + (near - vx) * t**1.3 + bend * np.sin(2 * np.pi * t) * (0.2 + 0.8 * t) * (1 - t)
    ys, half_width = horizon + (1.03 - horizon) * t**1.5, 0.008 + half * t**1.5
    outline = ribbon(middle, half_width, ys)
    c.shape(outline, c.tone(ACCENT, 0.78), c.tone(ACCENT, 0.6), fall=UP, angle=c.angle.copy())
    for rut in (-0.45, 0.35):
        c.line(curve(middle + rut * half_width, ys)[4:].tolist(), 0.014, c.tone(ACCENT, 0.35))
    kind = c.one_of("round", "cypress", "bare")
    for i in range(4, 13, int(c.rng.integers(2, 4))):
        for side in (-1, 1):
            if c.chance(0.75):
                tree(c, middle[i] + side * (half_width[i] + 0.03 + 0.06 * t[i]), ys[i], 0.07 + 0.6 * t[i] ** 1.5, kind)
    if c.chance(0.3):
        person(c, middle[8], ys[8], 0.16)


def a_boat_on_the_sea(c: Canvas) -> None:
    """Sailing boats on open water."""
    horizon = c.between(0.25, 0.6)
    sky(c, horizon)
    if c.chance(0.4):
        c.ridge(horizon - 0.03, 0.03, 3, c.tone(FORM, 0.5), c.tone(FORM, 0.42), 0.1)
    water(c, horizon, 1.0)
    for y in sorted(c.rng.uniform(horizon + 0.04, 0.88, int(c.rng.integers(1, 4)))):
        s = 0.1 + 0.55 * (y - horizon) + c.between(0, 0.08)
        x, way = c.between(0.12, 0.88), c.one_of(-1, 1)
        for i in range(6):
            yy, ww = y + s * (0.07 + 0.09 * i), s * (0.5 - 0.05 * i) * c.between(0.6, 1)
            ripple = c.tone(FORM, 0.3) if i % 2 else c.tone(ACCENT, 0.8)
            c.line([(x - ww, yy), (x + ww, yy)], 0.035 * s + 0.006, ripple)
        c.line([(x, y - 0.2 * s), (x, y - 1.25 * s)], 0.03 * s + 0.004, c.tone(FORM, 0.15))
        sail = c.tone(ACCENT if c.chance(0.5) else SKY, 0.92, 0.04)
        luff, jib = x - way * 0.03 * s, x + way * 0.05 * s
        main = [(luff, y - 1.2 * s), (x - way * 0.5 * s, y - 0.3 * s), (luff, y - 0.28 * s)]
        c.shape(main, sail, 0.72 * sail, angle=1.2 * way)
        fore = [(jib, y - 1.1 * s), (x + way * 0.55 * s, y - 0.33 * s), (jib, y - 0.32 * s)]
        c.shape(fore, sail, 0.6 * sail, angle=-1.2 * way)
        deck = [(x - way * s * 0.55, y - 0.2 * s), (x + way * s * 0.7, y - 0.26 * s)]
        keel = [(x + way * s * 0.42, y + 0.04 * s), (x - way * s * 0.42, y + 0.04 * s)]
        c.shape([*deck, *keel], c.tone(FORM, 0.5), c.tone(FORM, 0.12), fall=UP, angle=0.0)


def trees(c: Canvas) -> None:
    """A grove: from a single big tree to a row."""
    horizon = c.between(0.5, 0.75)
    sky(c, horizon)
    land(c, horizon)
    kind = c.one_of("round", "cypress", "bare", "pine") if c.chance(0.6) else None
    feet = sorted(c.rng.uniform(horizon + 0.03, 0.95, int(c.rng.integers(1, 7))))
    for y in feet:
        tree(c, c.between(0.05, 0.95), y, c.between(0.4, 0.6) + 0.55 * (y - horizon), kind)


def a_night_sky(c: Canvas) -> None:
    """Moon and stars in halos over dark hills and lit windows."""
    horizon = c.between(0.6, 0.88)
    c.shape(box(0, 0, 1, 1), c.tone(SKY, 0.2), c.tone(SKY, 0.42), fall=UP)
    if c.chance(0.5):
        clouds(c, horizon, 0.35)
    for _ in c.count(6, 22):
        x, y, r = c.between(0, 1), c.between(0, horizon - 0.06), c.between(0.007, 0.02)
        c.glow(x, y, 3.5 * r, c.tone(ACCENT, 0.7), 0.65)
        c.ball(x, y, r, r, c.light, c.tone(ACCENT, 0.85), k=8)
    x, y, r = c.between(0.12, 0.88), c.between(0.12, 0.4), c.between(0.05, 0.1)
    c.glow(x, y, 2.6 * r, c.tone(ACCENT, 0.75), 0.75)
    if c.chance(0.5):
        t = np.linspace(-1.9, 1.9, 16)
        sickle = np.concatenate([curve(np.cos(t), np.sin(t)), curve(0.41 * np.cos(t), 0.9 * np.sin(t))[::-1]])
        c.shape(sickle * r * (c.side, 1) + (x, y), c.light, c.tone(ACCENT, 0.85))
    else:
        c.ball(x, y, r, r, c.light, c.tone(ACCENT, 0.8))
    c.ridge(horizon, 0.04, 5, c.tone(OTHER, 0.22), c.tone(OTHER, 0.15), 0.2)
    line = c.ridge(horizon + 0.07, 0.03, 4, c.tone(GROUND, 0.2), c.tone(GROUND, 0.06), 0.1)
    for _ in c.count(0, 8):
        x, w = c.between(0, 1), c.between(0.03, 0.06)
        y = float(np.interp(x, np.linspace(0, 1, 64), line)) + 0.05
        c.shape([(x - w, y), (x - w, y - w), (x, y - 2 * w), (x + w, y - w), (x + w, y)], c.tone(FORM, 0.25), c.dark)
        c.rect(x - 0.4 * w, y - 0.8 * w, x + 0.3 * w, y - 0.2 * w, c.tone(ACCENT, 0.85))
    if c.chance(0.35):
        tree(c, c.between(0.05, 0.95), 1.02, c.between(0.6, 0.95), "cypress")


def a_wheat_field(c: Canvas) -> None:
    """Standing corn up to a high horizon, birds or sheaves."""
    horizon = c.between(0.25, 0.5)
    sky(c, horizon)
    if c.chance(0.6):
        c.ridge(horizon - 0.03, 0.02, 4, c.tone(FORM, 0.5), c.tone(FORM, 0.4), 0.1)
    for _ in c.count(0, 3):
        tree(c, c.between(0, 1), horizon + 0.01, c.between(0.1, 0.22))
    c.ridge(horizon + 0.01, 0.008, 3, c.tone(ACCENT, 0.8), c.tone(ACCENT, 0.5), UP)
    lean = c.between(-0.25, 0.25)
    for depth in np.linspace(0.02, 1, 12) ** 1.4:
        y, h = horizon + 0.02 + depth * (1.08 - horizon), 0.03 + 0.13 * depth
        for x in np.arange(c.between(-0.05, 0), 1.05, 0.026 + 0.046 * depth):
            tip = (x + lean * h + c.between(-0.3, 0.3) * h, y - h * c.between(0.8, 1.3))
            stalk = c.tone(ACCENT if c.chance(0.8) else GROUND, c.between(0.25, 0.9), 0)
            c.line([(x, y), tip], 0.008 + 0.011 * depth, stalk)
    if c.chance(0.4):
        for y in sorted(c.rng.uniform(horizon + 0.15, 0.85, 4)):
            x, s = c.between(0.05, 0.95), 0.09 + 0.25 * (y - horizon)
            c.shadow(x, y, 0.7 * s, 0.12 * s)
            left = [(x - 0.5 * s, y), (x - 0.12 * s, y - 0.7 * s), (x - 0.35 * s, y - 1.2 * s)]
            right = [(x + 0.35 * s, y - 1.2 * s), (x + 0.12 * s, y - 0.7 * s), (x + 0.5 * s, y)]
            c.shape([*left, *right], c.tone(ACCENT, 0.92), c.tone(ACCENT, 0.4), angle=UP)
    if c.chance(0.5):
        for _ in range(8):
            x, y, w = c.between(0.05, 0.95), c.between(0.05, horizon + 0.15), c.between(0.02, 0.04)
            c.line([(x - w, y - 0.5 * w), (x, y), (x + w, y - 0.6 * w)], 0.011, c.dark)


def a_figure_walking(c: Canvas) -> None:
    """One or two people on their way, a long shadow beside them."""
    horizon = c.between(0.28, 0.55)
    sky(c, horizon)
    land(c, horizon)
    for _ in c.count(0, 3):
        x = c.one_of(c.between(0, 0.25), c.between(0.75, 1))
        tree(c, x, c.between(horizon + 0.03, 0.75), c.between(0.3, 0.6))
    y, w = c.between(0.72, 0.86), c.between(0.08, 0.14)
    path = [(0, y - w / 2), (1, y - w / 2 + c.between(-0.05, 0.05)), (1, y + w), (0, y + w)]
    c.shape(path, c.tone(ACCENT, 0.82), c.tone(ACCENT, 0.6), angle=0.0)
    x, h = c.between(0.3, 0.7), c.between(0.4, 0.62)
    if c.chance(0.3):
        person(c, x + c.one_of(-1, 1) * c.between(0.2, 0.3), y - 0.02, h * 0.9)
    person(c, x, y + 0.04, h)
