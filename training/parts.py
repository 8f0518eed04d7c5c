"""Things that appear in several subjects of the painter program: sky, land, water, trees, houses, people."""

import cv2
import numpy as np

from training.brushes import blur, grid, noise
from training.canvas import ACCENT, FORM, GROUND, OTHER, SKY, UP, Canvas, box


def sky(c: Canvas, horizon: float, key: float = 0.66) -> None:
    """Air down to the horizon, now and then with clouds or a sun."""
    top, bottom = c.tone(SKY, key - c.between(0, 0.25)), c.tone(SKY if c.chance(0.6) else ACCENT, key + 0.14)
    c.shape(box(0, 0, 1, horizon + 0.1), top, bottom, fall=UP)
    if c.chance(0.25):
        x, y, r = c.between(0.1, 0.9), c.between(0.08, max(0.1, horizon - 0.08)), c.between(0.03, 0.07)
        c.glow(x, y, 3.5 * r, c.tone(ACCENT, 0.9), 0.6)
        c.ball(x, y, r, r, c.light, c.tone(ACCENT, 0.85))
    if c.chance(0.6):
        clouds(c, horizon, key)


def clouds(c: Canvas, horizon: float, key: float) -> None:
    """Drifts of vapour, lit from above, greyer below."""
    n = c.n
    drift = cv2.resize(noise(c.rng, n, 5), (n, n // 2))
    drift = np.concatenate([drift, drift])[:n] + 0.5 * noise(c.rng, n, 12) + 0.25 * noise(c.rng, n, 26)
    _, y = grid(n)
    mask = np.clip(1.1 * drift - 0.5, 0, 1) * np.clip((horizon - y) * 8, 0, 1)
    lit, under = c.tone(SKY, min(1, key + 0.3)), c.tone(OTHER, key + 0.05)
    # What lies under thick cloud is in its shade: compare with the cloud a little higher up.
    shade = np.clip(np.roll(blur(mask, n / 50), n // 22, 0) * 1.2 - 0.2, 0, 0.8)[..., None]
    c.lay((0.8 * mask).astype(np.float32), (0, 0), (lit + shade * (under - lit)).astype(np.float32), None)


def land(c: Canvas, horizon: float, hue: int = GROUND, tone: float = 0.52) -> None:
    """Ground from the horizon down: brighter far away, patched with fields and tufts."""
    c.shape(box(0, horizon, 1, 1), c.tone(hue, tone + 0.14), c.tone(hue, tone - 0.1), fall=UP, angle=0.0)
    if c.chance(0.6):
        c.ridge(horizon - 0.01, c.between(0.005, 0.03), 4, c.tone(OTHER, 0.45), c.tone(OTHER, 0.4), 0.1)
        c.ridge(horizon + 0.035, 0.006, 3, c.tone(hue, tone + 0.08), c.tone(hue, tone - 0.1), 0.0)
    for _ in c.count(0, 3):
        y = c.between(horizon + 0.06, 0.95)
        h = (y - horizon) * c.between(0.15, 0.4)
        slope = c.between(-0.06, 0.06)
        band = [(0, y - slope), (1, y + slope), (1, y + h), (0, y + h)]
        lit = c.tone(c.one_of(hue, ACCENT, FORM), tone + 0.08)
        c.shape(band, lit, c.tone(hue, tone - 0.05), angle=c.between(-0.2, 0.2))
    for _ in c.count(0, 26):
        y = horizon + 0.04 + (0.97 - horizon) * c.rng.random() ** 0.7
        r = 0.012 + 0.05 * (y - horizon)
        c.ball(c.between(0, 1), y, 1.6 * r, 0.6 * r, c.tone(hue, tone + 0.12), c.tone(hue, tone - 0.18), k=8)


def water(c: Canvas, y0: float, y1: float, tone: float = 0.55) -> None:
    """Level water that mirrors what stands above y0, with ripples."""
    top, bottom = int(y0 * c.n), int(min(y1, 1) * c.n)
    mirror = c.colour[max(0, 2 * top - bottom) : top][::-1]
    if len(mirror) < bottom - top:
        mirror = np.concatenate([mirror, np.repeat(mirror[-1:], bottom - top - len(mirror), 0)])
    mirror = cv2.blur(mirror, (5, 15))
    c.colour[top:bottom] = 0.5 * mirror + 0.5 * c.tone(SKY, tone)
    c.angle[top:bottom] = 0.0
    for _ in c.count(14, 50):
        depth = c.rng.random() ** 1.3
        y, w = y0 + 0.01 + depth * (y1 - y0), 0.02 + 0.12 * depth * c.rng.random()
        x, h = c.between(0, 1), 0.004 + 0.009 * depth
        crest = [(x - w, y), (x, y - h), (x + w, y), (x, y + h)]
        c.shape(crest, c.tone(SKY, tone + (0.3 if c.chance(0.5) else -0.25)), angle=0.0)


def tree(c: Canvas, x: float, y: float, h: float, kind: str | None = None) -> None:
    """A tree of height h that stands on (x, y)."""
    kind = kind or str(c.rng.choice(["round", "cypress", "bare", "pine"], p=[0.5, 0.2, 0.15, 0.15]))
    hue, lean = c.one_of(GROUND, FORM, OTHER), c.between(-0.08, 0.08) * h
    c.shadow(x, y, 0.3 * h, 0.05 * h)
    bark, w = c.tone(FORM, 0.2), c.between(0.025, 0.05) * h
    if kind == "cypress":
        cypress(c, x, y, h, hue, lean)
    elif kind == "pine":
        for i in range(4):
            top, r = y - h * (1 - 0.2 * i), h * (0.1 + 0.06 * i)
            tier = [(x + lean, top), (x + r, top + 0.36 * h), (x - r, top + 0.36 * h)]
            c.shape(tier, c.tone(hue, 0.42), c.tone(hue, 0.12), angle=UP)
        c.rect(x - w, y - 0.06 * h, x + w, y, bark)
    else:
        crown = y - 0.6 * h
        trunk = [(x - w, y), (x - 0.6 * w + lean, crown), (x + 0.6 * w + lean, crown), (x + w, y)]
        c.shape(trunk, c.tone(FORM, 0.4), bark, angle=UP)
        for _ in range(5 if kind == "round" else 11):
            a, reach = c.between(-2.7, -0.45), h * c.between(0.25, 0.42)
            start = y - h * c.between(0.4, 0.62)
            elbow = (x + lean + 0.5 * reach * np.cos(a), start + 0.4 * reach * np.sin(a))
            tip = (x + lean + reach * np.cos(a), start + reach * np.sin(a))
            c.line([(x + 0.7 * lean, start), elbow, tip], 0.55 * w, bark)
        if kind == "round":
            foliage(c, x + lean, crown - 0.12 * h, h, hue)


def cypress(c: Canvas, x: float, y: float, h: float, hue: int, lean: float) -> None:
    for i in range(26):
        t = i / 25
        r = h * 0.11 * np.sin(np.pi * (0.12 + 0.88 * t) ** 0.7) + 0.006
        px, tone = c.between(-0.6, 0.6) * r, c.between(0.14, 0.4)
        tone += 0.1 * np.sign(px * c.side)
        at = (x + lean * t + px, y - h * (0.06 + 0.88 * t))
        c.ball(*at, 0.6 * r, 0.09 * h, c.tone(hue, tone), c.tone(hue, tone - 0.12), k=9)
    top, left = int(max(0, y - h) * c.n), int(max(0, x - 0.1 * h) * c.n)
    c.angle[top : int(y * c.n), left : int((x + 0.1 * h) * c.n)] = UP


def foliage(c: Canvas, x: float, y: float, h: float, hue: int) -> None:
    """The round crown of a tree of height h, its middle at (x, y)."""
    for i in range(34):
        a, d = c.between(0, 2 * np.pi), 0.3 * h * c.rng.random() ** 0.5
        r = h * c.between(0.04, 0.12) * (1.25 - i / 50)
        dx, dy = 1.15 * d * np.cos(a), d * np.sin(a)
        tone = 0.34 + 0.5 * (c.side * dx - dy) / h + 0.004 * i
        c.ball(x + dx, y + dy, 1.2 * r, r, c.tone(hue, tone + 0.1), c.tone(hue, tone - 0.12), k=10)


def windows(c: Canvas, x0: float, y0: float, x1: float, y1: float, columns: int, rows: int, lit: float) -> None:
    """Rows of windows on a wall; a share `lit` of them shines."""
    dx, dy = (x1 - x0) / columns, (y1 - y0) / rows
    for i in range(columns):
        for j in range(rows):
            x, y = x0 + (i + 0.25) * dx, y0 + (j + 0.25) * dy
            glass = c.tone(ACCENT, 0.9) if c.chance(lit) else c.tone(OTHER, 0.15)
            c.rect(x, y, x + 0.5 * dx, y + 0.55 * dy, glass)


def house(c: Canvas, x: float, y: float, w: float, h: float) -> None:
    """A house seen from a corner that stands on (x, y); w, h are the width and height of its front."""
    s, depth = c.side, w * c.between(0.4, 0.8)
    hue, roof = c.one_of(FORM, ACCENT, OTHER), c.one_of(ACCENT, FORM, GROUND)
    flank, rise = x + s * depth, h * c.between(0.4, 0.75)
    lit, dim = c.tone(hue, 0.82), c.tone(hue, 0.4)
    c.shadow(x, y + 0.02, w * 1.2, 0.05 * h + 0.015)
    # The long wall and its slope of the roof look to the light, the gable away from it.
    near, far, peak = x - s * w, x, x - s * w / 2
    back = peak + s * depth
    wall = [(far, y), (far, y - h), (flank, y - 0.95 * h), (flank, y - 0.04 * h)]
    c.shape(wall, lit, c.tone(hue, 0.72), angle=UP)
    gable = [(near, y), (near, y - h), (peak, y - h - rise), (far, y - h), (far, y)]
    c.shape(gable, dim, c.tone(hue, 0.32), angle=UP)
    ridge = [(peak, y - h - rise), (back, y - 0.95 * h - rise)]
    slope = [*ridge, (flank + s * 0.1 * w, y - 0.88 * h), (far - s * 0.02, y - 0.93 * h)]
    c.shape(slope, c.tone(roof, 0.6), c.tone(roof, 0.42), angle=1.2 * s)
    c.line([(near - s * 0.08 * w, y - 0.9 * h), (peak, y - h - rise)], 0.06 * w, c.tone(roof, 0.25))
    if c.chance(0.7):
        cx, top, foot = peak + s * 0.6 * depth, y - h - 1.35 * rise, y - h - 0.75 * rise
        c.rect(cx - 0.07 * w, top, cx + 0.07 * w, foot, c.tone(roof, 0.55), c.tone(roof, 0.2))
    a, b = sorted((far + s * 0.06 * w, flank - s * 0.05 * w))
    windows(c, a, y - 0.85 * h, b, y - 0.25 * h, 2, 1, 0.15)
    a = x - s * w * 0.5
    c.rect(a - 0.13 * w, y - 0.5 * h, a + 0.13 * w, y, c.tone(ACCENT, 0.3), c.tone(OTHER, 0.15))
    c.rect(a - 0.1 * w, y - 0.95 * h, a + 0.1 * w, y - 0.68 * h, c.tone(OTHER, 0.15))


def person(c: Canvas, x: float, y: float, h: float) -> None:
    """A walking figure of height h whose feet are at (x, y)."""
    way, stride = c.one_of(-1, 1), c.between(0.08, 0.16) * h
    coat, legs, flesh = c.tone(ACCENT, 0.5), c.tone(OTHER, 0.25), c.tone(FORM, 0.75)
    far = [(x - c.side * 0.5 * h, y + 0.13 * h), (x - c.side * 0.62 * h, y + 0.1 * h)]
    c.shape([(x, y), *far, (x + 0.03 * h, y - 0.02 * h)], c.tone(OTHER, 0.1))
    hip, neck = y - 0.46 * h, y - 0.82 * h
    if c.chance(0.65):
        for step, shade in ((-1, 0.7), (1, 1.0)):
            foot = x + step * stride
            c.line([(x, hip), (x + 0.6 * step * stride, y - 0.22 * h), (foot, y)], 0.085 * h, legs * shade)
            c.line([(foot, y), (foot + way * 0.07 * h, y)], 0.045 * h, c.dark)
    else:
        skirt = [(x - 0.07 * h, hip), (x + 0.07 * h, hip), (x + 0.16 * h, y), (x - 0.15 * h, y)]
        c.shape(skirt, c.tone(OTHER, 0.5), c.tone(OTHER, 0.15), angle=UP)
    shoulder, elbow = (x - way * 0.03 * h, neck + 0.05 * h), (x - way * 0.16 * h, y - 0.6 * h)
    c.line([shoulder, elbow, (x - way * 0.1 * h, y - 0.45 * h)], 0.06 * h, 0.7 * coat)
    top, waist = neck + 0.03 * h, hip + 0.03 * h
    body = [(x - 0.11 * h, top), (x + 0.11 * h, top), (x + 0.1 * h, waist), (x - 0.1 * h, waist)]
    c.shape(body, c.tone(ACCENT, 0.68), c.tone(ACCENT, 0.28), angle=UP)
    hand = (x + way * 0.22 * h, y - 0.5 * h)
    c.line([(x + way * 0.05 * h, neck + 0.07 * h), (x + way * 0.13 * h, y - 0.62 * h), hand], 0.06 * h, coat)
    if c.chance(0.5):
        c.line([(hand[0], hand[1] - 0.12 * h), (hand[0] + way * 0.06 * h, y)], 0.022 * h, c.tone(FORM, 0.2))
    c.ball(x + way * 0.02 * h, neck - 0.07 * h, 0.062 * h, 0.08 * h, flesh, c.tone(FORM, 0.4))
    hat = c.tone(c.one_of(GROUND, OTHER), c.one_of(0.2, 0.75))
    c.ball(x, neck - 0.12 * h, 0.13 * h, 0.025 * h, hat, 0.7 * hat)
    c.ball(x, neck - 0.15 * h, 0.065 * h, 0.05 * h, hat, 0.7 * hat)


def tabletop(c: Canvas) -> float:
    """A wall and a table; returns the height of the table's far edge."""
    edge = c.between(0.5, 0.72)
    c.shape(box(0, 0, 1, edge), c.tone(SKY, 0.62), c.tone(SKY, 0.32), angle=c.between(-0.8, 0.8))
    if c.chance(0.4):
        x, w = c.between(0, 0.8), c.between(0.2, 0.45)
        folds = [(x, 0), (x + w, 0), (x + w + c.between(-0.1, 0.2), edge), (x + c.between(-0.2, 0.1), edge)]
        c.shape(folds, c.tone(OTHER, 0.6), c.tone(OTHER, 0.25), angle=UP)
    slope = c.between(-0.04, 0.04)
    top = [(0, edge - slope), (1, edge + slope), (1, 1), (0, 1)]
    c.shape(top, c.tone(GROUND, 0.7), c.tone(GROUND, 0.42), angle=c.between(-0.15, 0.15))
    if c.chance(0.4):
        x = c.between(-0.1, 0.5)
        cloth = [(x, edge + 0.06), (x + 0.5, edge + 0.03), (x + 0.65, 1), (x - 0.1, 1)]
        c.shape(cloth, c.tone(SKY, 0.95), c.tone(SKY, 0.65), angle=0.7)
    return edge


def one_fruit(c: Canvas, x: float, y: float, r: float) -> None:
    """An apple, a pear or a lemon of radius r."""
    hue = c.one_of(ACCENT, FORM, OTHER)
    lit, shade = c.tone(hue, 0.72), c.tone(hue, 0.16)
    kind = c.rng.choice(["apple", "pear", "lemon"], p=[0.6, 0.2, 0.2])
    if kind == "lemon":
        c.ball(x, y + 0.2 * r, 1.2 * r, 0.8 * r, lit, shade, turn=c.between(-0.5, 0.5))
    else:
        if kind == "pear":
            c.ball(x, y - 0.8 * r, 0.55 * r, 0.8 * r, lit, shade)
        c.ball(x, y, r, 0.95 * r, lit, shade)
        top = y - (1.5 if kind == "pear" else 0.8) * r
        c.line([(x, top), (x + 0.2 * r, top - 0.4 * r)], 0.14 * r, c.dark)
    c.ball(x + c.side * 0.35 * r, y - 0.35 * r, 0.2 * r, 0.14 * r, c.light, c.tone(hue, 0.8), k=9)


def pointed(c: Canvas, x: float, y: float, w: float, h: float) -> None:
    """A Gothic window or door of half-width w, standing on y."""
    arch = [(x - w, y), (x - w, y - 0.65 * h), (x, y - h), (x + w, y - 0.65 * h), (x + w, y)]
    c.shape(arch, c.tone(OTHER, 0.12), angle=UP)
