"""The subjects of the painter program: each composes a picture on a canvas, never the same way twice."""

from collections.abc import Callable

import numpy as np

from training.brushes import grid
from training.canvas import ACCENT, FORM, GROUND, OTHER, SKY, Canvas
from training.parts import clouds, house, land, one_fruit, person, pointed, sky, tabletop, tree, water, windows


def mountains(c: Canvas) -> None:
    """Ranges one behind the other, one flank in the light, snow on some; a meadow or a lake below."""
    foot = c.between(0.58, 0.85)
    sky(c, foot)
    for row in range(3):
        hue = (OTHER, FORM, FORM)[row]
        for _ in c.count(1, 3):
            x, h, w = (c.between(-0.05, 1.05), c.between(0.25, 0.52) * (1.1 - 0.22 * row), c.between(0.22, 0.42))
            peak, t = (x, foot - h), np.linspace(0, 1, 7)
            crest = np.stack([x + t * c.between(-0.06, 0.06) + 0.02 * c.rng.normal(size=7), foot - h * (1 - t)], 1)
            crest[0] = peak
            air = 0.12 * (2 - row)
            for side in (-1, 1):
                rim = (
                    np.stack([x + side * w * t**0.9, foot - h * (1 - t)], 1)
                    + c.rng.normal(0, 0.012, (7, 2)) * (t * (1 - t) * 4)[:, None]
                )
                tone = (0.62 if side == c.side else 0.26) + air
                face = np.concatenate([crest, rim[::-1]])
                c.shape(face, c.tone(hue, tone + 0.06), c.tone(hue, tone - 0.08), fall=np.pi / 2, angle=side * 1.0)
                if row and h > 0.26:
                    k = 3
                    snow = np.concatenate([crest[:k], [crest[k] * (0.6, 1) + rim[k] * (0.4, 0)], rim[k - 1 :: -1]])
                    c.shape(snow, c.tone(SKY, 0.97 if side == c.side else 0.74), angle=side * 1.0)
    if c.chance(0.35):
        water(c, foot, 1.0)
    else:
        land(c, foot)
        for _ in c.count(0, 5):
            y = c.between(foot + 0.03, 0.95)
            tree(c, c.between(0, 1), y, 0.08 + 0.5 * (y - foot), "pine")


def road(c: Canvas) -> None:
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
    outline = np.concatenate([np.stack([middle - half_width, ys], 1), np.stack([middle + half_width, ys], 1)[::-1]])
    c.shape(outline, c.tone(ACCENT, 0.78), c.tone(ACCENT, 0.6), fall=np.pi / 2, angle=c.angle.copy())
    for rut in (-0.45, 0.35):
        c.line(np.stack([middle + rut * half_width, ys], 1)[4:].tolist(), 0.014, c.tone(ACCENT, 0.35))
    kind = str(c.rng.choice(["round", "cypress", "bare"]))
    for i in range(4, 13, int(c.rng.integers(2, 4))):
        for side in (-1, 1):
            if c.chance(0.75):
                tree(c, middle[i] + side * (half_width[i] + 0.03 + 0.06 * t[i]), ys[i], 0.07 + 0.6 * t[i] ** 1.5, kind)
    if c.chance(0.3):
        person(c, middle[8], ys[8], 0.16)


def boat(c: Canvas) -> None:
    """Sailing boats on open water."""
    horizon = c.between(0.25, 0.6)
    sky(c, horizon)
    if c.chance(0.4):
        c.ridge(horizon - 0.03, 0.03, 3, c.tone(FORM, 0.5), c.tone(FORM, 0.42), 0.1)
    water(c, horizon, 1.0)
    for y in sorted(c.rng.uniform(horizon + 0.04, 0.88, int(c.rng.integers(1, 4)))):
        s = 0.1 + 0.55 * (y - horizon) + c.between(0, 0.08)
        x, way = c.between(0.12, 0.88), float(c.rng.choice([-1, 1]))
        hull = [
            (x - way * s * 0.55, y - 0.2 * s),
            (x + way * s * 0.7, y - 0.26 * s),
            (x + way * s * 0.42, y + 0.04 * s),
            (x - way * s * 0.42, y + 0.04 * s),
        ]
        for i in range(6):
            yy, ww = y + s * (0.07 + 0.09 * i), s * (0.5 - 0.05 * i) * c.between(0.6, 1)
            c.line(
                [(x - ww, yy), (x + ww, yy)],
                0.035 * s + 0.006,
                c.tone(FORM if i % 2 else ACCENT, 0.3 if i % 2 else 0.8),
            )
        c.line([(x, y - 0.2 * s), (x, y - 1.25 * s)], 0.03 * s + 0.004, c.tone(FORM, 0.15))
        sail = c.tone(ACCENT if c.chance(0.5) else SKY, 0.92, 0.04)
        c.shape(
            [(x - way * 0.03 * s, y - 1.2 * s), (x - way * 0.5 * s, y - 0.3 * s), (x - way * 0.03 * s, y - 0.28 * s)],
            sail,
            0.72 * sail,
            angle=1.2 * way,
        )
        c.shape(
            [(x + way * 0.05 * s, y - 1.1 * s), (x + way * 0.55 * s, y - 0.33 * s), (x + way * 0.05 * s, y - 0.32 * s)],
            sail,
            0.6 * sail,
            angle=-1.2 * way,
        )
        c.shape(hull, c.tone(FORM, 0.5), c.tone(FORM, 0.12), fall=np.pi / 2, angle=0.0)


def a_house(c: Canvas) -> None:
    """One to three houses in the country."""
    horizon = c.between(0.38, 0.62)
    sky(c, horizon)
    land(c, horizon)
    if c.chance(0.5):
        tree(c, c.between(0, 1), horizon + 0.06, c.between(0.3, 0.5))
    for i in c.count(0, 2):
        house(c, c.between(0.1, 0.9), horizon + 0.03 + 0.04 * i, c.between(0.07, 0.11), c.between(0.06, 0.09))
    w, y = c.between(0.17, 0.27), c.between(max(0.62, horizon + 0.1), 0.82)
    x = c.between(0.38, 0.62)
    path = [(x - c.side * w * 0.4, y), (x - c.side * w * 0.6, y), (c.between(0, 0.5), 1.02), (c.between(0.5, 1), 1.02)]
    c.shape(path, c.tone(ACCENT, 0.8), c.tone(ACCENT, 0.6), angle=1.2)
    house(c, x, y, w, w * c.between(0.75, 1.1))
    if c.chance(0.5):
        tree(c, x + c.side * c.between(0.32, 0.45), y + 0.06, c.between(0.35, 0.6))


def trees(c: Canvas) -> None:
    """A grove: from a single big tree to a row."""
    horizon = c.between(0.5, 0.75)
    sky(c, horizon)
    land(c, horizon)
    kind = str(c.rng.choice(["round", "cypress", "bare", "pine"])) if c.chance(0.6) else None
    feet = sorted(c.rng.uniform(horizon + 0.03, 0.95, int(c.rng.integers(1, 7))))
    for y in feet:
        tree(c, c.between(0.05, 0.95), y, c.between(0.4, 0.6) + 0.55 * (y - horizon), kind)


def night_sky(c: Canvas) -> None:
    """Moon and stars in halos over dark hills and lit windows."""
    horizon = c.between(0.6, 0.88)
    c.shape([(0, 0), (1, 0), (1, 1), (0, 1)], c.tone(SKY, 0.2), c.tone(SKY, 0.42), fall=np.pi / 2)
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
        outer = np.stack([np.cos(t), np.sin(t)], 1)
        inner = np.stack([0.41 * np.cos(t), 0.9 * np.sin(t)], 1)
        c.shape(np.concatenate([outer, inner[::-1]]) * r * (c.side, 1) + (x, y), c.light, c.tone(ACCENT, 0.85))
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


def city(c: Canvas) -> None:
    """A skyline over a street or water, or a street between two rows of houses."""
    night = c.chance(0.4)
    key, lit = (0.25, 0.6) if night else (0.66, 0.15)
    if c.chance(0.6):
        base = c.between(0.68, 0.88)
        sky(c, base, key)
        for row, air in ((0, 0.16), (1, 0.0)):
            x = c.between(-0.1, 0.0)
            while x < 1:
                w, h = c.between(0.09, 0.2), c.between(0.15, 0.58) * (1.05 - 0.2 * row)
                hue, tone = int(c.rng.choice([FORM, OTHER, ACCENT])), (0.3 if night else 0.55) + air
                top = base - h
                split = x + w * (0.68 if c.side < 0 else 0.32)
                left, right = (0.1, -0.2) if c.side < 0 else (-0.2, 0.1)
                c.rect(x, top, split, base, c.tone(hue, tone + left))
                c.rect(split, top, x + w, base, c.tone(hue, tone + right))
                if c.chance(0.3):
                    c.shape(
                        [(x, top), (x + w / 2, top - 0.6 * w), (x + w, top)], c.tone(ACCENT, 0.4), c.tone(OTHER, 0.2)
                    )
                if row:
                    windows(
                        c,
                        x + 0.02,
                        top + 0.02,
                        x + w - 0.02,
                        base - 0.03,
                        2 if w < 0.14 else 3,
                        max(2, int(h / 0.085)),
                        lit,
                    )
                x += w * c.between(0.9, 1.15)
        if c.chance(0.5):
            water(c, base, 1.0, key - 0.05)
        else:
            c.shape(
                [(0, base), (1, base), (1, 1), (0, 1)],
                c.tone(GROUND, key),
                c.tone(GROUND, key - 0.2),
                fall=np.pi / 2,
                angle=0.0,
            )
        return
    vx, vy = c.between(0.35, 0.65), c.between(0.45, 0.6)
    sky(c, vy, key)
    c.shape([(0, 1), (vx, vy), (1, 1)], c.tone(GROUND, key + 0.1), c.tone(GROUND, key - 0.1), angle=0.0)
    for side in (-1, 1):
        wall, start = 0.62 if side == -c.side else 0.32, c.between(-0.35, -0.15)
        depths = np.cumsum(np.r_[0.0, c.rng.uniform(0.1, 0.22, 4)])
        for near, far in zip(depths[:-1][::-1], depths[1:][::-1], strict=True):
            edge = vx + side * 0.62 * (1 - np.float32([near, far]) / 0.95)
            scale = np.abs(edge - vx) / 0.62
            top, foot = vy + start * 2.1 * scale, vy + 0.48 * scale
            hue, tone = (
                int(c.rng.choice([FORM, ACCENT, OTHER])),
                wall - (0.2 if night else 0) + c.between(-0.08, 0.08),
            )
            corners = [(edge[0], foot[0]), (edge[0], top[0]), (edge[1], top[1] + 0.02), (edge[1], foot[1])]
            c.shape(corners, c.tone(hue, tone + 0.1), c.tone(hue, tone - 0.08), angle=np.pi / 2)
            for j in (0.2, 0.45, 0.72):
                for i in (0.25, 0.65):
                    e = edge[0] + (edge[1] - edge[0]) * np.float32([i, i + 0.2])
                    a, b = top[0] + (top[1] - top[0]) * i, foot[0] + (foot[1] - foot[0]) * i
                    y0, y1 = a + (b - a) * j, a + (b - a) * (j + 0.14)
                    glass = c.tone(ACCENT, 0.92) if c.chance(lit) else c.tone(OTHER, 0.15)
                    c.shape([(e[0], y0), (e[1], y0), (e[1], y1), (e[0], y1)], glass)
    for _ in c.count(1, 4):
        person(c, c.between(0.3, 0.7), c.between(vy + 0.15, 0.92), c.between(0.12, 0.22))


def flowers(c: Canvas) -> None:
    """A bunch in a vase on a table."""
    edge = tabletop(c)
    x, foot, h = c.between(0.35, 0.65), c.between(max(edge + 0.12, 0.76), 0.95), c.between(0.26, 0.36)
    w, hue = h * c.between(0.32, 0.5), int(c.rng.choice([FORM, OTHER, SKY]))
    rim, reach = foot - h, c.between(0.26, 0.38)
    c.shadow(x, foot - 0.01, 1.5 * w, 0.035)
    heads = [
        (x + reach * np.cos(a) * d, rim - 0.16 + reach * 0.85 * np.sin(a) * d)
        for a, d in zip(c.rng.uniform(-3.3, 0.2, 13), c.rng.uniform(0.2, 1, 13), strict=True)
    ]
    heads = heads[: int(c.rng.integers(5, 14))]
    for hx, hy in heads:
        c.line([(x, rim + 0.03), ((x + hx) / 2, (rim + hy) / 2 - 0.02), (hx, hy)], 0.012, c.tone(GROUND, 0.25))
    for _ in c.count(6, 14):
        a = c.between(-3.1, 0.0)
        c.ball(
            x + 0.17 * np.cos(a),
            rim - 0.03 + 0.14 * np.sin(a),
            0.07,
            0.025,
            c.tone(GROUND, 0.42),
            c.tone(GROUND, 0.12),
            turn=a,
        )
    t = np.linspace(0, 1, 12)
    profile = 0.5 * w + 0.5 * w * np.sin(np.pi * np.clip(t * 0.9 + 0.05, 0, 1)) * (t > 0.12) - 0.1 * w * (t > 0.95)
    ys = rim + h * t
    body = np.concatenate([np.stack([x - profile, ys], 1), np.stack([x + profile, ys], 1)[::-1]])
    c.shape(body, c.tone(hue, 0.85), c.tone(hue, 0.22), fall=0.1 if c.side < 0 else np.pi - 0.1, angle=np.pi / 2)
    c.ball(x + c.side * 0.4 * w, rim + 0.45 * h, 0.12 * w, 0.1 * h, c.light, c.tone(hue, 0.85))
    petals = int(c.rng.integers(5, 10))
    for hx, hy in heads:
        r, bloom = (c.between(0.06, 0.11), c.tone(int(c.rng.choice([ACCENT, ACCENT, FORM, SKY])), c.between(0.5, 0.9)))
        for a in np.arange(petals) * 2 * np.pi / petals + c.between(0, 1):
            c.ball(
                hx + 0.62 * r * np.cos(a),
                hy + 0.62 * r * np.sin(a),
                0.5 * r,
                0.26 * r,
                bloom,
                0.72 * bloom,
                turn=a,
                k=9,
            )
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
        bowl = np.stack([x + w * np.cos(t), y - 0.1 + 0.14 * np.sin(t)], 1)
        c.shape(bowl, c.tone(SKY, 0.92), c.tone(OTHER, 0.3), angle=0.0)
        c.ball(x, y - 0.1, w, 0.02, c.tone(SKY, 0.7), c.tone(OTHER, 0.5))
        spots = [(px, max(py, y + 0.05)) for px, py in spots]
    for x, y in sorted(spots, key=lambda p: p[1]):
        r = 0.065 + 0.14 * (y - edge) + c.between(0, 0.035)
        c.shadow(x, y + 0.8 * r, 1.2 * r, 0.3 * r)
        one_fruit(c, x, y, r)


def portrait(c: Canvas) -> None:
    """Head and shoulders, one half of the face in the light."""
    x, y, r = c.between(0.4, 0.6), c.between(0.34, 0.44), c.between(0.13, 0.19)
    c.shape([(0, 0), (1, 0), (1, 1), (0, 1)], c.tone(SKY, 0.55), c.tone(SKY, 0.28), angle=c.between(-1.2, 1.2))
    turn, hair = c.between(-0.3, 0.3) * r, c.tone(OTHER, c.between(0.08, 0.4))
    skin, mid, dim = c.tone(FORM, 0.84, 0.05), c.tone(FORM, 0.62), c.tone(FORM, 0.34)
    long_hair = c.chance(0.4)
    if long_hair:
        c.ball(x, y + 0.25 * r, 1.18 * r, 1.75 * r, hair, 0.5 * hair)
    c.ball(x, y - 0.2 * r, 1.1 * r, 1.32 * r, hair, 0.6 * hair)
    c.shape(
        [(x - 0.42 * r, y + 0.6 * r), (x + 0.42 * r, y + 0.6 * r), (x + 0.5 * r, y + 2 * r), (x - 0.5 * r, y + 2 * r)],
        mid,
        dim,
        angle=np.pi / 2,
    )
    w, top = c.between(2.0, 2.7) * r, y + 1.55 * r
    cloak = [
        (x - 0.6 * r, top),
        (x + 0.6 * r, top),
        (x + 0.8 * w, top + 0.6 * r),
        (x + w, 1.05),
        (x - w, 1.05),
        (x - 0.8 * w, top + 0.6 * r),
    ]
    cloth = int(c.rng.choice([ACCENT, GROUND, OTHER]))
    c.shape(cloak, c.tone(cloth, 0.56), c.tone(cloth, 0.16), angle=1.2)
    c.shape(
        [(x - 0.6 * r, top - 0.05), (x + 0.6 * r, top - 0.05), (x, top + c.between(0.5, 1.0) * r)],
        c.tone(SKY, 0.9) if c.chance(0.5) else mid,
        dim,
    )
    c.ball(x, y, 0.95 * r, 1.28 * r, skin, dim)
    # The far cheek turns into shadow along a soft edge.
    t = np.linspace(-np.pi / 2, np.pi / 2, 14)
    far = np.stack([x - c.side * 0.94 * r * np.cos(t), y + 1.26 * r * np.sin(t)], 1)
    near = np.stack([x - c.side * (0.35 + 0.12 * np.cos(3 * t)) * r, y + 1.2 * r * np.sin(t)], 1)
    c.shape(np.concatenate([far, near[::-1]]), mid, dim, fall=0.0 if c.side > 0 else np.pi, angle=np.pi / 2)
    cx, eye = x + turn, y - 0.12 * r
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
    if c.chance(0.35):
        hat = c.tone(int(c.rng.choice([GROUND, ACCENT, OTHER])), c.between(0.2, 0.8))
        c.ball(x, y - 0.78 * r, 1.7 * r, 0.26 * r, hat, 0.5 * hat)
        c.ball(x, y - 1.15 * r, 0.95 * r, 0.55 * r, hat, 0.5 * hat)
    elif not long_hair or c.chance(0.7):
        c.ball(x - 0.2 * turn, y - 1.0 * r, 0.92 * r, 0.42 * r, hair, 0.6 * hair)


def bridge(c: Canvas) -> None:
    """A stone bridge with arches, or a wooden one on posts, over a river."""
    bank = c.between(0.48, 0.64)
    sky(c, bank)
    c.ridge(bank - 0.05, 0.02, 5, c.tone(GROUND, 0.5), c.tone(GROUND, 0.36), 0.1)
    if c.chance(0.6):
        tree(c, c.between(0, 1), bank, c.between(0.2, 0.35))
    hump, deck = c.between(0.0, 0.09), bank - c.between(0.1, 0.2)
    stone, dim = c.tone(FORM, 0.72), c.tone(FORM, 0.42)
    x = np.linspace(-0.02, 1.02, 24)
    top = deck - hump * np.sin(np.pi * np.clip(x, 0, 1))
    backdrop, count = c.colour.copy(), int(c.rng.integers(1, 4))
    if c.chance(0.65):
        wall = np.concatenate([np.stack([x, top], 1), [(1.02, bank + 0.05), (-0.02, bank + 0.05)]])
        c.shape(wall, stone, dim, angle=0.0)
        for i in range(count):
            cx, w = (i + 0.5) / count + c.between(-0.02, 0.02), 0.36 / count
            h = min(0.9 * w + 0.02, bank - deck + 0.6 * hump - 0.03)
            t = np.linspace(0, np.pi, 18)
            arch = np.concatenate(
                [
                    np.stack([cx + w * np.cos(t), bank - h * np.sin(t)], 1),
                    [(cx - w, bank + 0.06), (cx + w, bank + 0.06)],
                ]
            )
            rim = (arch - (cx, bank)) * 1.1 + (cx, bank)
            c.shape(rim, c.tone(FORM, 0.3))
            c.shape(arch, c.tone(OTHER, 0.15))
            # Seen a little from the side: the far rim of the vault hides part of the view through it.
            far, box = arch + np.float32([0.05 * c.side, 0]), c.box_of(arch)
            if box:
                bx, by, bw, bh = box
                view = 0.5 * backdrop[by : by + bh, bx : bx + bw] + 0.5 * c.tone(SKY, 0.85)
                c.lay(c.mask_of(far, box) * c.mask_of(arch, box), (bx, by), view, 0.0)
        c.line(np.stack([x, top], 1).tolist(), 0.022, c.tone(FORM, 0.88))
    else:
        for i in range(2 * count + 2):
            px = (i + 0.5) / (2 * count + 2)
            c.line([(px, bank + 0.06), (px, float(np.interp(px, x, top)))], 0.025, c.tone(FORM, 0.22))
        c.line(np.stack([x, top + 0.015], 1).tolist(), 0.05, c.tone(FORM, 0.45))
        c.line(np.stack([x, top - 0.06], 1).tolist(), 0.012, c.tone(FORM, 0.25))
        for px in np.linspace(0, 1, 9):
            c.line(
                [(px, float(np.interp(px, x, top))), (px, float(np.interp(px, x, top)) - 0.06)],
                0.012,
                c.tone(FORM, 0.25),
            )
    water(c, bank + 0.04, 1.0)
    if c.chance(0.6):
        s = c.side
        edge = 0.5 - 0.5 * s
        c.shape(
            [(edge, c.between(0.62, 0.75)), (edge + s * c.between(0.15, 0.5), 1.02), (edge, 1.02)],
            c.tone(GROUND, 0.6),
            c.tone(GROUND, 0.3),
            angle=0.6 * s,
        )
    if c.chance(0.4):
        px = c.between(0.2, 0.8)
        person(c, px, float(np.interp(px, x, top)), 0.1)


def church(c: Canvas) -> None:
    """Nave, tower and spire on a rise, a path to the door."""
    foot = c.between(0.66, 0.84)
    sky(c, foot - 0.05, c.between(0.35, 0.7))
    land(c, foot - c.between(0.04, 0.2))
    c.ridge(foot - 0.02, 0.012, 3, c.tone(GROUND, 0.6), c.tone(GROUND, 0.36), 0.2)
    s, x, scale = float(c.rng.choice([-1, 1])), c.between(0.3, 0.7), c.between(0.8, 1.15)
    hue, roof = FORM, int(c.rng.choice([ACCENT, OTHER]))
    nave, h, tw = 0.4 * scale, 0.2 * scale, 0.075 * scale
    tower_top = foot - c.between(0.36, 0.44) * scale
    lit, dim = c.tone(hue, 0.78), c.tone(hue, 0.36)
    x -= s * 0.2 * scale
    c.shape(
        [(x, foot), (x, foot - h), (x + s * nave, foot - 0.94 * h), (x + s * nave, foot)],
        c.tone(hue, 0.68),
        c.tone(hue, 0.5),
        angle=np.pi / 2,
    )
    c.shape(
        [
            (x, foot - 0.95 * h),
            (x + s * 0.04, foot - 1.75 * h),
            (x + s * (nave - 0.06), foot - 1.65 * h),
            (x + s * (nave + 0.02), foot - 0.9 * h),
        ],
        c.tone(roof, 0.56),
        c.tone(roof, 0.3),
        angle=1.1 * s,
    )
    for i in range(3):
        pointed(c, x + s * (tw + 0.06 + 0.1 * i) * scale, foot - 0.25 * h, 0.02 * scale, 0.55 * h)
    c.rect(x - tw, tower_top, x + tw, foot, lit if c.side < 0 else dim, dim if c.side < 0 else lit)
    c.shape(
        [(x - 1.2 * tw, tower_top), (x, tower_top - c.between(1.8, 3.4) * tw), (x + 1.2 * tw, tower_top)],
        c.tone(roof, 0.55),
        c.tone(roof, 0.18),
        fall=0.0 if c.side < 0 else np.pi,
        angle=np.pi / 2,
    )
    apex = tower_top - 3.4 * tw
    c.line([(x, apex + 1.2 * tw), (x, apex - 0.3 * tw)], 0.013, c.dark)
    c.line([(x - 0.35 * tw, apex + 0.2 * tw), (x + 0.35 * tw, apex + 0.2 * tw)], 0.013, c.dark)
    pointed(c, x, tower_top + 1.9 * tw, 0.4 * tw, 1.4 * tw)
    pointed(c, x, foot, 0.5 * tw, 1.7 * tw)
    c.shape(
        [(x - 0.4 * tw, foot), (x + 0.4 * tw, foot), (c.between(0.5, 1), 1.02), (c.between(0, 0.5), 1.02)],
        c.tone(ACCENT, 0.82),
        c.tone(ACCENT, 0.6),
        angle=1.3,
    )
    if c.chance(0.5):
        tree(c, c.between(0.75, 0.95) if s < 0 else c.between(0.05, 0.2), foot + 0.05, c.between(0.3, 0.5))
    if c.chance(0.4):
        person(c, c.between(0.2, 0.8), c.between(foot + 0.08, 0.97), 0.17)


def wheat_field(c: Canvas) -> None:
    """Standing corn up to a high horizon, birds or sheaves."""
    horizon = c.between(0.25, 0.5)
    sky(c, horizon)
    if c.chance(0.6):
        c.ridge(horizon - 0.03, 0.02, 4, c.tone(FORM, 0.5), c.tone(FORM, 0.4), 0.1)
    for _ in c.count(0, 3):
        tree(c, c.between(0, 1), horizon + 0.01, c.between(0.1, 0.22))
    c.ridge(horizon + 0.01, 0.008, 3, c.tone(ACCENT, 0.8), c.tone(ACCENT, 0.5), np.pi / 2)
    lean = c.between(-0.25, 0.25)
    for depth in np.linspace(0.02, 1, 12) ** 1.4:
        y, h = horizon + 0.02 + depth * (1.08 - horizon), 0.03 + 0.13 * depth
        for x in np.arange(c.between(-0.05, 0), 1.05, 0.026 + 0.046 * depth):
            tip = (x + lean * h + c.between(-0.3, 0.3) * h, y - h * c.between(0.8, 1.3))
            c.line(
                [(x, y), tip],
                0.008 + 0.011 * depth,
                c.tone(ACCENT if c.chance(0.8) else GROUND, c.between(0.25, 0.9), 0),
            )
    if c.chance(0.4):
        for y in sorted(c.rng.uniform(horizon + 0.15, 0.85, 4)):
            x, s = c.between(0.05, 0.95), 0.09 + 0.25 * (y - horizon)
            c.shadow(x, y, 0.7 * s, 0.12 * s)
            c.shape(
                [
                    (x - 0.5 * s, y),
                    (x - 0.12 * s, y - 0.7 * s),
                    (x - 0.35 * s, y - 1.2 * s),
                    (x + 0.35 * s, y - 1.2 * s),
                    (x + 0.12 * s, y - 0.7 * s),
                    (x + 0.5 * s, y),
                ],
                c.tone(ACCENT, 0.92),
                c.tone(ACCENT, 0.4),
                angle=np.pi / 2,
            )
    if c.chance(0.5):
        for _ in range(8):
            x, y, w = c.between(0.05, 0.95), c.between(0.05, horizon + 0.15), c.between(0.02, 0.04)
            c.line([(x - w, y - 0.5 * w), (x, y), (x + w, y - 0.6 * w)], 0.011, c.dark)


def figure_walking(c: Canvas) -> None:
    """One or two people on their way, a long shadow beside them."""
    horizon = c.between(0.28, 0.55)
    sky(c, horizon)
    land(c, horizon)
    for _ in c.count(0, 3):
        tree(
            c,
            float(c.rng.choice([c.between(0, 0.25), c.between(0.75, 1)])),
            c.between(horizon + 0.03, 0.75),
            c.between(0.3, 0.6),
        )
    y, w = c.between(0.72, 0.86), c.between(0.08, 0.14)
    c.shape(
        [(0, y - w / 2), (1, y - w / 2 + c.between(-0.05, 0.05)), (1, y + w), (0, y + w)],
        c.tone(ACCENT, 0.82),
        c.tone(ACCENT, 0.6),
        angle=0.0,
    )
    x, h = c.between(0.3, 0.7), c.between(0.4, 0.62)
    if c.chance(0.3):
        person(c, x + float(c.rng.choice([-1, 1])) * c.between(0.2, 0.3), y - 0.02, h * 0.9)
    person(c, x, y + 0.04, h)


def room(c: Canvas) -> None:
    """An interior: floor boards, walls, a table and a lamp, a window or pictures, a chair."""
    x0, x1, top, floor = (c.between(0.05, 0.25), c.between(0.75, 0.95), c.between(0.05, 0.16), c.between(0.52, 0.64))
    vx, vy = (x0 + x1) / 2, c.between(0.35, 0.45)
    x, y = grid(c.n)
    boards = np.arctan2(y - vy, x - vx)
    c.shape([(0, 0), (1, 0), (x1, top), (x0, top)], c.tone(SKY, 0.75), c.tone(SKY, 0.55), angle=0.0)
    c.shape(
        [(0, 1), (x0, floor), (x1, floor), (1, 1)],
        c.tone(GROUND, 0.55),
        c.tone(GROUND, 0.7),
        fall=np.pi / 2,
        angle=boards,
    )
    for t in np.linspace(0, 1, 8)[1:-1]:
        c.line([(x0 + t * (x1 - x0), floor), (2.2 * t - 0.6, 1.02)], 0.008, c.tone(GROUND, 0.28))
    wall = FORM if c.chance(0.5) else ACCENT
    left, right = (0.36, 0.6) if c.side < 0 else (0.6, 0.36)
    c.shape([(0, 0), (x0, top), (x0, floor), (0, 1)], c.tone(wall, left), c.tone(wall, left - 0.1), angle=np.pi / 2)
    c.shape([(1, 0), (x1, top), (x1, floor), (1, 1)], c.tone(wall, right), c.tone(wall, right - 0.1), angle=np.pi / 2)
    c.rect(x0, top, x1, floor, c.tone(wall, 0.62), c.tone(wall, 0.46))
    a = c.between(x0 + 0.05, x1 - 0.3)
    if c.chance(0.6):
        c.rect(a - 0.015, top + 0.06, a + 0.225, floor - 0.1, c.tone(OTHER, 0.3))
        c.rect(a, top + 0.075, a + 0.21, floor - 0.115, c.light, c.tone(SKY, 0.8))
        c.line([(a + 0.105, top + 0.07), (a + 0.105, floor - 0.11)], 0.014, c.tone(OTHER, 0.3))
        c.line([(a, (top + floor) / 2), (a + 0.21, (top + floor) / 2)], 0.014, c.tone(OTHER, 0.3))
    else:
        for px in (a, a + 0.17):
            c.rect(px, top + 0.08, px + 0.12, top + 0.22, c.tone(OTHER, 0.25))
            c.rect(px + 0.015, top + 0.095, px + 0.105, top + 0.205, c.tone(SKY, 0.8), c.tone(GROUND, 0.4))
    tx, ty, w, d = c.between(0.28, 0.68), c.between(0.64, 0.74), c.between(0.16, 0.25), c.between(0.06, 0.1)
    tone = c.tone(OTHER, 0.2)
    c.shadow(tx, ty + 0.2, 1.3 * w, 0.06)
    for px, py in ((tx - 0.75 * w, ty), (tx + 0.75 * w, ty), (tx - w, ty + d), (tx + w, ty + d)):
        c.line([(px, py), (px, py + 0.19)], 0.024, tone)
    cloth = int(c.rng.choice([GROUND, ACCENT, SKY]))
    c.shape(
        [(tx - 0.8 * w, ty), (tx + 0.8 * w, ty), (tx + 1.1 * w, ty + d), (tx - 1.1 * w, ty + d)],
        c.tone(cloth, 0.88),
        c.tone(cloth, 0.66),
        angle=0.0,
    )
    c.shape(
        [(tx - 1.1 * w, ty + d), (tx + 1.1 * w, ty + d), (tx + 1.1 * w, ty + d + 0.04), (tx - 1.1 * w, ty + d + 0.04)],
        c.tone(cloth, 0.35),
        angle=0.0,
    )
    lx = c.between(0.3, 0.7)
    if c.chance(0.5):
        ly = c.between(top + 0.14, top + 0.22)
        c.line([(lx, 0), (lx, ly)], 0.012, c.dark)
    else:
        lx, ly = tx + c.between(-0.4, 0.4) * w, ty - 0.13
        c.line([(lx, ty + 0.03), (lx, ly)], 0.02, c.dark)
        c.ball(lx, ty + 0.03, 0.045, 0.016, c.tone(OTHER, 0.4), c.dark)
    c.glow(lx, ly + 0.03, 0.17, c.tone(ACCENT, 0.95), 0.65)
    c.shape(
        [(lx - 0.03, ly - 0.05), (lx + 0.03, ly - 0.05), (lx + 0.075, ly + 0.04), (lx - 0.075, ly + 0.04)],
        c.light,
        c.tone(ACCENT, 0.8),
    )
    one_fruit(c, tx - 0.3 * w, ty + 0.2 * d, 0.03)
    if c.chance(0.7):
        cx, cy, s = tx - c.side * c.between(0.26, 0.34), c.between(0.8, 0.9), 0.12
        seat = c.tone(ACCENT, 0.5)
        for px in (cx - s / 2, cx + s / 2):
            c.line([(px, cy + 0.13), (px, cy - 0.02)], 0.02, tone)
            c.line([(px, cy - 0.02), (px, cy - 0.24)], 0.022, seat * 0.6)
        for rung in (0.09, 0.16, 0.23):
            c.line([(cx - s / 2, cy - rung), (cx + s / 2, cy - rung)], 0.022, seat * 0.75)
        c.shape(
            [(cx - s / 2, cy - 0.05), (cx + s / 2, cy - 0.05), (cx + 0.62 * s, cy + 0.02), (cx - 0.62 * s, cy + 0.02)],
            c.tone(ACCENT, 0.75),
            seat,
        )


def abstract_shapes(c: Canvas) -> None:
    """Bands, discs, triangles and arcs that overlap."""
    c.shape(
        [(0, 0), (1, 0), (1, 1), (0, 1)],
        c.tone(SKY, 0.8),
        c.tone(GROUND, 0.6),
        fall=c.between(0, 6.3),
        angle=c.between(0, 3),
    )
    for _ in c.count(5, 12):
        hue, tone, x, y, r = (
            int(c.rng.integers(5)),
            c.between(0.15, 0.9),
            c.between(0, 1),
            c.between(0, 1),
            c.between(0.06, 0.26),
        )
        lit, shade, turn = c.tone(hue, tone + 0.1), c.tone(hue, tone - 0.2), c.between(0, 2 * np.pi)
        match int(c.rng.integers(4)):
            case 0:
                c.ball(x, y, r, r, lit, shade)
            case 1:
                a = turn + np.float32([0, 2.1, 4.2])
                c.shape(np.stack([x + 1.3 * r * np.cos(a), y + 1.3 * r * np.sin(a)], 1), lit, shade, angle=turn)
            case 2:
                dx, dy = 2 * r * np.cos(turn), 2 * r * np.sin(turn)
                c.line([(x - dx, y - dy), (x + dx, y + dy)], c.between(0.03, 0.1), lit)
            case _:
                a = turn + np.linspace(0, c.between(2, 5), 14)
                c.line(np.stack([x + r * np.cos(a), y + r * np.sin(a)], 1).tolist(), c.between(0.02, 0.05), lit)


Subject = Callable[[Canvas], None]
SUBJECTS: dict[str, Subject] = {
    "mountains": mountains,
    "a road": road,
    "a boat on the sea": boat,
    "a house": a_house,
    "trees": trees,
    "a night sky": night_sky,
    "a city": city,
    "flowers in a vase": flowers,
    "fruit": fruit,
    "a portrait": portrait,
    "a bridge": bridge,
    "a church": church,
    "a wheat field": wheat_field,
    "a figure walking": figure_walking,
    "a room": room,
    "abstract shapes": abstract_shapes,
}
