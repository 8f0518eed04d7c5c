"""Subjects of the painter program that a painter finds in the studio: still lifes, portraits, shapes."""

import numpy as np

from training.canvas import ACCENT, FORM, GROUND, OTHER, SKY, UP, Canvas, Colour, box, curve, ribbon
from training.parts import one_fruit, tabletop


def flowers_in_a_vase(c: Canvas) -> None:
    """A bunch in a vase on a table."""
    edge = tabletop(c)
    x, foot, h = c.between(0.35, 0.65), c.between(max(edge + 0.12, 0.76), 0.95), c.between(0.26, 0.36)
    w, hue = h * c.between(0.32, 0.5), c.one_of(FORM, OTHER, SKY)
    rim, reach = foot - h, c.between(0.26, 0.38)
    c.shadow(x, foot - 0.01, 1.5 * w, 0.035)
    spokes = zip(c.rng.uniform(-3.3, 0.2, 13), c.rng.uniform(0.2, 1, 13), strict=True)
    heads = [(x + reach * np.cos(a) * d, rim - 0.16 + reach * 0.85 * np.sin(a) * d) for a, d in spokes]
    heads = heads[: int(c.rng.integers(5, 14))]
    for hx, hy in heads:
        c.line([(x, rim + 0.03), ((x + hx) / 2, (rim + hy) / 2 - 0.02), (hx, hy)], 0.012, c.tone(GROUND, 0.25))
    for _ in c.count(6, 14):
        a = c.between(-3.1, 0.0)
        leaf = (x + 0.17 * np.cos(a), rim - 0.03 + 0.14 * np.sin(a))
        c.ball(*leaf, 0.07, 0.025, c.tone(GROUND, 0.42), c.tone(GROUND, 0.12), turn=a)
    t = np.linspace(0, 1, 12)
    profile = 0.5 * w + 0.5 * w * np.sin(np.pi * np.clip(t * 0.9 + 0.05, 0, 1)) * (t > 0.12) - 0.1 * w * (t > 0.95)
    fall = 0.1 if c.side < 0 else np.pi - 0.1
    c.shape(ribbon(x, profile, rim + h * t), c.tone(hue, 0.85), c.tone(hue, 0.22), fall=fall, angle=UP)
    c.ball(x + c.side * 0.4 * w, rim + 0.45 * h, 0.12 * w, 0.1 * h, c.light, c.tone(hue, 0.85))
    petals = int(c.rng.integers(5, 10))
    for hx, hy in heads:
        r, bloom = c.between(0.06, 0.11), c.tone(c.one_of(ACCENT, ACCENT, FORM, SKY), c.between(0.5, 0.9))
        for a in np.arange(petals) * 2 * np.pi / petals + c.between(0, 1):
            petal = (hx + 0.62 * r * np.cos(a), hy + 0.62 * r * np.sin(a))
            c.ball(*petal, 0.5 * r, 0.26 * r, bloom, 0.72 * bloom, turn=a, k=9)
        c.ball(hx, hy, 0.3 * r, 0.3 * r, c.tone(OTHER, 0.35), c.dark, k=10)


def fruit(c: Canvas) -> None:
    """Apples, pears and lemons on a table, some in a bowl."""
    edge = tabletop(c)
    spots = [(c.between(0.1, 0.9), c.between(edge + 0.06, 0.9)) for _ in c.count(3, 7)]
    if c.chance(0.6):
        x, y, w = c.between(0.3, 0.7), c.between(edge + 0.08, 0.8), c.between(0.18, 0.28)
        for i in range(5):
            one_fruit(c, x + w * (i - 2) * 0.36, y - 0.12 - 0.04 * (i % 2), c.between(0.07, 0.09))
        t = np.linspace(0, np.pi, 16)
        c.shadow(x, y + 0.02, w * 1.1, 0.04)
        bowl = curve(x + w * np.cos(t), y - 0.1 + 0.14 * np.sin(t))
        c.shape(bowl, c.tone(SKY, 0.92), c.tone(OTHER, 0.3), angle=0.0)
        c.ball(x, y - 0.1, w, 0.02, c.tone(SKY, 0.7), c.tone(OTHER, 0.5))
        spots = [(px, max(py, y + 0.05)) for px, py in spots]
    for x, y in sorted(spots, key=lambda p: p[1]):
        r = 0.065 + 0.14 * (y - edge) + c.between(0, 0.035)
        c.shadow(x, y + 0.8 * r, 1.2 * r, 0.3 * r)
        one_fruit(c, x, y, r)


def a_portrait(c: Canvas) -> None:
    """Head and shoulders, one half of the face in the light."""
    x, y, r = c.between(0.4, 0.6), c.between(0.34, 0.44), c.between(0.13, 0.19)
    c.shape(box(0, 0, 1, 1), c.tone(SKY, 0.55), c.tone(SKY, 0.28), angle=c.between(-1.2, 1.2))
    turn, hair = c.between(-0.3, 0.3) * r, c.tone(OTHER, c.between(0.08, 0.4))
    skin, mid, dim = c.tone(FORM, 0.84, 0.05), c.tone(FORM, 0.62), c.tone(FORM, 0.34)
    long_hair = c.chance(0.4)
    if long_hair:
        c.ball(x, y + 0.25 * r, 1.18 * r, 1.75 * r, hair, 0.5 * hair)
    c.ball(x, y - 0.2 * r, 1.1 * r, 1.32 * r, hair, 0.6 * hair)
    chin, chest = y + 0.6 * r, y + 2 * r
    neck = [(x - 0.42 * r, chin), (x + 0.42 * r, chin), (x + 0.5 * r, chest), (x - 0.5 * r, chest)]
    c.shape(neck, mid, dim, angle=UP)
    w, top = c.between(2.0, 2.7) * r, y + 1.55 * r
    right = [(x + 0.6 * r, top), (x + 0.8 * w, top + 0.6 * r), (x + w, 1.05)]
    left = [(x - w, 1.05), (x - 0.8 * w, top + 0.6 * r)]
    cloth = c.one_of(ACCENT, GROUND, OTHER)
    c.shape([(x - 0.6 * r, top), *right, *left], c.tone(cloth, 0.56), c.tone(cloth, 0.16), angle=1.2)
    collar = [(x - 0.6 * r, top - 0.05), (x + 0.6 * r, top - 0.05), (x, top + c.between(0.5, 1.0) * r)]
    c.shape(collar, c.tone(SKY, 0.9) if c.chance(0.5) else mid, dim)
    face(c, x, y, r, x + turn, (skin, mid, dim), hair)
    if c.chance(0.35):
        hat = c.tone(c.one_of(GROUND, ACCENT, OTHER), c.between(0.2, 0.8))
        c.ball(x, y - 0.78 * r, 1.7 * r, 0.26 * r, hat, 0.5 * hat)
        c.ball(x, y - 1.15 * r, 0.95 * r, 0.55 * r, hat, 0.5 * hat)
    elif not long_hair or c.chance(0.7):
        c.ball(x - 0.2 * turn, y - 1.0 * r, 0.92 * r, 0.42 * r, hair, 0.6 * hair)


def face(
    c: Canvas, x: float, y: float, r: float, cx: float, flesh: tuple[Colour, Colour, Colour], hair: Colour
) -> None:
    """A face of radius r about (x, y) that looks to cx; flesh is skin in the light, between, and in the shade."""
    skin, mid, dim = flesh
    c.ball(x, y, 0.95 * r, 1.28 * r, skin, dim)
    # The far cheek turns into shadow along a soft edge.
    t = np.linspace(-np.pi / 2, np.pi / 2, 14)
    far = curve(x - c.side * 0.94 * r * np.cos(t), y + 1.26 * r * np.sin(t))
    near = curve(x - c.side * (0.35 + 0.12 * np.cos(3 * t)) * r, y + 1.2 * r * np.sin(t))
    c.shape(np.concatenate([far, near[::-1]]), mid, dim, fall=0.0 if c.side > 0 else np.pi, angle=UP)
    eye = y - 0.12 * r
    for s in (-1, 1):
        ex = cx + s * 0.4 * r
        c.ball(ex, eye, 0.24 * r, 0.15 * r, dim, dim * 0.9, k=10)
        c.ball(ex, eye + 0.02 * r, 0.17 * r, 0.085 * r, c.tone(FORM, 0.95), mid, k=10)
        c.ball(ex + 0.04 * s * r, eye + 0.01 * r, 0.085 * r, 0.095 * r, c.dark, c.dark, k=8)
        c.line([(ex - 0.25 * r, eye - 0.24 * r), (ex + 0.25 * r, eye - 0.27 * r)], 0.09 * r, 0.6 * hair)
    c.shape([(cx, eye - 0.1 * r), (cx - c.side * 0.2 * r, y + 0.42 * r), (cx + 0.02 * r, y + 0.46 * r)], dim, mid)
    c.line([(cx, eye), (cx + c.side * 0.1 * r, y + 0.36 * r)], 0.1 * r, c.tone(FORM, 0.95))
    if c.chance(0.3):
        c.ball(cx, y + 0.95 * r, 0.72 * r, 0.55 * r, hair, 0.5 * hair)
    mouth = c.tone(ACCENT, 0.4)
    c.ball(cx, y + 0.72 * r, 0.3 * r, 0.08 * r, mouth, 0.6 * mouth, k=10)


def abstract_shapes(c: Canvas) -> None:
    """Bands, discs, triangles and arcs that overlap."""
    lit, shade = c.tone(SKY, 0.8), c.tone(GROUND, 0.6)
    c.shape(box(0, 0, 1, 1), lit, shade, fall=c.between(0, 6.3), angle=c.between(0, 3))
    for _ in c.count(5, 12):
        hue, tone = int(c.rng.integers(5)), c.between(0.15, 0.9)
        x, y, r = c.between(0, 1), c.between(0, 1), c.between(0.06, 0.26)
        lit, shade, turn = c.tone(hue, tone + 0.1), c.tone(hue, tone - 0.2), c.between(0, 2 * np.pi)
        match int(c.rng.integers(4)):
            case 0:
                c.ball(x, y, r, r, lit, shade)
            case 1:
                a = turn + np.float32([0, 2.1, 4.2])
                c.shape(curve(x + 1.3 * r * np.cos(a), y + 1.3 * r * np.sin(a)), lit, shade, angle=turn)
            case 2:
                dx, dy = 2 * r * np.cos(turn), 2 * r * np.sin(turn)
                c.line([(x - dx, y - dy), (x + dx, y + dy)], c.between(0.03, 0.1), lit)
            case _:
                a = turn + np.linspace(0, c.between(2, 5), 14)
                c.line(curve(x + r * np.cos(a), y + r * np.sin(a)).tolist(), c.between(0.02, 0.05), lit)
