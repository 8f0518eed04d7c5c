"""Subjects of the painter program that are built: houses, streets, bridges, churches, rooms."""

import numpy as np

from training.brushes import grid
from training.canvas import ACCENT, FORM, GROUND, OTHER, SKY, UP, Canvas, box, curve
from training.parts import house, land, one_fruit, person, pointed, sky, tree, water, windows


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


def a_city(c: Canvas) -> None:
    """A skyline over a street or water, or a street between two rows of houses."""
    night = c.chance(0.4)
    if c.chance(0.6):
        skyline(c, night)
    else:
        street(c, night)


def skyline(c: Canvas, night: bool) -> None:
    key, lit = (0.25, 0.6) if night else (0.66, 0.15)
    base = c.between(0.68, 0.88)
    sky(c, base, key)
    for row, air in ((0, 0.16), (1, 0.0)):
        x = c.between(-0.1, 0.0)
        while x < 1:
            w, h = c.between(0.09, 0.2), c.between(0.15, 0.58) * (1.05 - 0.2 * row)
            hue, tone = c.one_of(FORM, OTHER, ACCENT), (0.3 if night else 0.55) + air
            top, split = base - h, x + w * (0.68 if c.side < 0 else 0.32)
            left, right = (0.1, -0.2) if c.side < 0 else (-0.2, 0.1)
            c.rect(x, top, split, base, c.tone(hue, tone + left))
            c.rect(split, top, x + w, base, c.tone(hue, tone + right))
            if c.chance(0.3):
                c.shape([(x, top), (x + w / 2, top - 0.6 * w), (x + w, top)], c.tone(ACCENT, 0.4), c.tone(OTHER, 0.2))
            if row:
                columns, rows = 2 if w < 0.14 else 3, max(2, int(h / 0.085))
                windows(c, x + 0.02, top + 0.02, x + w - 0.02, base - 0.03, columns, rows, lit)
            x += w * c.between(0.9, 1.15)
    if c.chance(0.5):
        water(c, base, 1.0, key - 0.05)
    else:
        c.shape(box(0, base, 1, 1), c.tone(GROUND, key), c.tone(GROUND, key - 0.2), fall=UP, angle=0.0)


def street(c: Canvas, night: bool) -> None:
    key, lit = (0.25, 0.6) if night else (0.66, 0.15)
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
            hue = c.one_of(FORM, ACCENT, OTHER)
            tone = wall - (0.2 if night else 0) + c.between(-0.08, 0.08)
            corners = [(edge[0], foot[0]), (edge[0], top[0]), (edge[1], top[1] + 0.02), (edge[1], foot[1])]
            c.shape(corners, c.tone(hue, tone + 0.1), c.tone(hue, tone - 0.08), angle=UP)
            for j in (0.2, 0.45, 0.72):
                for i in (0.25, 0.65):
                    e = edge[0] + (edge[1] - edge[0]) * np.float32([i, i + 0.2])
                    a, b = top[0] + (top[1] - top[0]) * i, foot[0] + (foot[1] - foot[0]) * i
                    glass = c.tone(ACCENT, 0.92) if c.chance(lit) else c.tone(OTHER, 0.15)
                    c.shape(box(e[0], a + (b - a) * j, e[1], a + (b - a) * (j + 0.14)), glass)
    for _ in c.count(1, 4):
        person(c, c.between(0.3, 0.7), c.between(vy + 0.15, 0.92), c.between(0.12, 0.22))


def a_bridge(c: Canvas) -> None:
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
        c.shape(np.concatenate([curve(x, top), [(1.02, bank + 0.05), (-0.02, bank + 0.05)]]), stone, dim, angle=0.0)
        for i in range(count):
            cx, w = (i + 0.5) / count + c.between(-0.02, 0.02), 0.36 / count
            arch_of_bridge(c, cx, bank, w, min(0.9 * w + 0.02, bank - deck + 0.6 * hump - 0.03), backdrop)
        c.line(curve(x, top).tolist(), 0.022, c.tone(FORM, 0.88))
    else:
        for i in range(2 * count + 2):
            px = (i + 0.5) / (2 * count + 2)
            c.line([(px, bank + 0.06), (px, float(np.interp(px, x, top)))], 0.025, c.tone(FORM, 0.22))
        c.line(curve(x, top + 0.015).tolist(), 0.05, c.tone(FORM, 0.45))
        c.line(curve(x, top - 0.06).tolist(), 0.012, c.tone(FORM, 0.25))
        for px in np.linspace(0, 1, 9):
            foot = float(np.interp(px, x, top))
            c.line([(px, foot), (px, foot - 0.06)], 0.012, c.tone(FORM, 0.25))
    water(c, bank + 0.04, 1.0)
    if c.chance(0.6):
        s, edge = c.side, 0.5 - 0.5 * c.side
        shore = [(edge, c.between(0.62, 0.75)), (edge + s * c.between(0.15, 0.5), 1.02), (edge, 1.02)]
        c.shape(shore, c.tone(GROUND, 0.6), c.tone(GROUND, 0.3), angle=0.6 * s)
    if c.chance(0.4):
        px = c.between(0.2, 0.8)
        person(c, px, float(np.interp(px, x, top)), 0.1)


def arch_of_bridge(c: Canvas, x: float, bank: float, w: float, h: float, backdrop: np.ndarray) -> None:
    """A round arch of half-width w, through which the backdrop (n, n, 3) shows."""
    t = np.linspace(0, np.pi, 18)
    vault = curve(x + w * np.cos(t), bank - h * np.sin(t))
    arch = np.concatenate([vault, [(x - w, bank + 0.06), (x + w, bank + 0.06)]])
    c.shape((arch - (x, bank)) * 1.1 + (x, bank), c.tone(FORM, 0.3))
    c.shape(arch, c.tone(OTHER, 0.15))
    # Seen a little from the side: the far rim of the vault hides part of the view through it.
    far = arch + np.float32([0.05 * c.side, 0])
    if window := c.window(arch):
        place, (bx, by, bw, bh) = window[0], window[0]
        view = 0.5 * backdrop[by : by + bh, bx : bx + bw] + 0.5 * c.tone(SKY, 0.85)
        c.lay(c.mask_of(far, place) * c.mask_of(arch, place), (bx, by), view, 0.0)


def a_church(c: Canvas) -> None:
    """Nave, tower and spire on a rise, a path to the door."""
    foot = c.between(0.66, 0.84)
    sky(c, foot - 0.05, c.between(0.35, 0.7))
    land(c, foot - c.between(0.04, 0.2))
    c.ridge(foot - 0.02, 0.012, 3, c.tone(GROUND, 0.6), c.tone(GROUND, 0.36), 0.2)
    s, x, scale = c.one_of(-1, 1), c.between(0.3, 0.7), c.between(0.8, 1.15)
    roof = c.one_of(ACCENT, OTHER)
    nave, h, tw = 0.4 * scale, 0.2 * scale, 0.075 * scale
    tower_top = foot - c.between(0.36, 0.44) * scale
    lit, dim = c.tone(FORM, 0.78), c.tone(FORM, 0.36)
    x -= s * 0.2 * scale
    wall = [(x, foot), (x, foot - h), (x + s * nave, foot - 0.94 * h), (x + s * nave, foot)]
    c.shape(wall, c.tone(FORM, 0.68), c.tone(FORM, 0.5), angle=UP)
    ridge = [(x + s * 0.04, foot - 1.75 * h), (x + s * (nave - 0.06), foot - 1.65 * h)]
    slope = [(x, foot - 0.95 * h), *ridge, (x + s * (nave + 0.02), foot - 0.9 * h)]
    c.shape(slope, c.tone(roof, 0.56), c.tone(roof, 0.3), angle=1.1 * s)
    for i in range(3):
        pointed(c, x + s * (tw + 0.06 + 0.1 * i) * scale, foot - 0.25 * h, 0.02 * scale, 0.55 * h)
    c.rect(x - tw, tower_top, x + tw, foot, *((lit, dim) if c.side < 0 else (dim, lit)))
    spire = [(x - 1.2 * tw, tower_top), (x, tower_top - c.between(1.8, 3.4) * tw), (x + 1.2 * tw, tower_top)]
    c.shape(spire, c.tone(roof, 0.55), c.tone(roof, 0.18), fall=0.0 if c.side < 0 else np.pi, angle=UP)
    apex = tower_top - 3.4 * tw
    c.line([(x, apex + 1.2 * tw), (x, apex - 0.3 * tw)], 0.013, c.dark)
    c.line([(x - 0.35 * tw, apex + 0.2 * tw), (x + 0.35 * tw, apex + 0.2 * tw)], 0.013, c.dark)
    pointed(c, x, tower_top + 1.9 * tw, 0.4 * tw, 1.4 * tw)
    pointed(c, x, foot, 0.5 * tw, 1.7 * tw)
    path = [(x - 0.4 * tw, foot), (x + 0.4 * tw, foot), (c.between(0.5, 1), 1.02), (c.between(0, 0.5), 1.02)]
    c.shape(path, c.tone(ACCENT, 0.82), c.tone(ACCENT, 0.6), angle=1.3)
    if c.chance(0.5):
        tree(c, c.between(0.75, 0.95) if s < 0 else c.between(0.05, 0.2), foot + 0.05, c.between(0.3, 0.5))
    if c.chance(0.4):
        person(c, c.between(0.2, 0.8), c.between(foot + 0.08, 0.97), 0.17)


def a_room(c: Canvas) -> None:
    """An interior: floor boards, walls, a table and a lamp, a window or pictures, a chair."""
    x0, x1, top, floor = (c.between(0.05, 0.25), c.between(0.75, 0.95), c.between(0.05, 0.16), c.between(0.52, 0.64))
    vx, vy = (x0 + x1) / 2, c.between(0.35, 0.45)
    x, y = grid(c.n)
    boards = np.arctan2(y - vy, x - vx)
    c.shape([(0, 0), (1, 0), (x1, top), (x0, top)], c.tone(SKY, 0.75), c.tone(SKY, 0.55), angle=0.0)
    planks = [(0, 1), (x0, floor), (x1, floor), (1, 1)]
    c.shape(planks, c.tone(GROUND, 0.55), c.tone(GROUND, 0.7), fall=UP, angle=boards)
    for t in np.linspace(0, 1, 8)[1:-1]:
        c.line([(x0 + t * (x1 - x0), floor), (2.2 * t - 0.6, 1.02)], 0.008, c.tone(GROUND, 0.28))
    wall = FORM if c.chance(0.5) else ACCENT
    left, right = (0.36, 0.6) if c.side < 0 else (0.6, 0.36)
    c.shape([(0, 0), (x0, top), (x0, floor), (0, 1)], c.tone(wall, left), c.tone(wall, left - 0.1), angle=UP)
    c.shape([(1, 0), (x1, top), (x1, floor), (1, 1)], c.tone(wall, right), c.tone(wall, right - 0.1), angle=UP)
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
    furniture(c, top)


def furniture(c: Canvas, top: float) -> None:
    """A table with fruit and a lamp, and perhaps a chair, in a room whose ceiling ends at `top`."""
    tx, ty, w, d = c.between(0.28, 0.68), c.between(0.64, 0.74), c.between(0.16, 0.25), c.between(0.06, 0.1)
    tone = c.tone(OTHER, 0.2)
    c.shadow(tx, ty + 0.2, 1.3 * w, 0.06)
    for px, py in ((tx - 0.75 * w, ty), (tx + 0.75 * w, ty), (tx - w, ty + d), (tx + w, ty + d)):
        c.line([(px, py), (px, py + 0.19)], 0.024, tone)
    cloth = c.one_of(GROUND, ACCENT, SKY)
    plate = [(tx - 0.8 * w, ty), (tx + 0.8 * w, ty), (tx + 1.1 * w, ty + d), (tx - 1.1 * w, ty + d)]
    c.shape(plate, c.tone(cloth, 0.88), c.tone(cloth, 0.66), angle=0.0)
    c.shape(box(tx - 1.1 * w, ty + d, tx + 1.1 * w, ty + d + 0.04), c.tone(cloth, 0.35), angle=0.0)
    lx = c.between(0.3, 0.7)
    if c.chance(0.5):
        ly = c.between(top + 0.14, top + 0.22)
        c.line([(lx, 0), (lx, ly)], 0.012, c.dark)
    else:
        lx, ly = tx + c.between(-0.4, 0.4) * w, ty - 0.13
        c.line([(lx, ty + 0.03), (lx, ly)], 0.02, c.dark)
        c.ball(lx, ty + 0.03, 0.045, 0.016, c.tone(OTHER, 0.4), c.dark)
    c.glow(lx, ly + 0.03, 0.17, c.tone(ACCENT, 0.95), 0.65)
    shade = [(lx - 0.03, ly - 0.05), (lx + 0.03, ly - 0.05), (lx + 0.075, ly + 0.04), (lx - 0.075, ly + 0.04)]
    c.shape(shade, c.light, c.tone(ACCENT, 0.8))
    one_fruit(c, tx - 0.3 * w, ty + 0.2 * d, 0.03)
    if c.chance(0.7):
        cx, cy, s = tx - c.side * c.between(0.26, 0.34), c.between(0.8, 0.9), 0.12
        seat = c.tone(ACCENT, 0.5)
        for px in (cx - s / 2, cx + s / 2):
            c.line([(px, cy + 0.13), (px, cy - 0.02)], 0.02, tone)
            c.line([(px, cy - 0.02), (px, cy - 0.24)], 0.022, seat * 0.6)
        for rung in (0.09, 0.16, 0.23):
            c.line([(cx - s / 2, cy - rung), (cx + s / 2, cy - rung)], 0.022, seat * 0.75)
        back, front = cy - 0.05, cy + 0.02
        corners = [(cx - s / 2, back), (cx + s / 2, back), (cx + 0.62 * s, front), (cx - 0.62 * s, front)]
        c.shape(corners, c.tone(ACCENT, 0.75), seat)
