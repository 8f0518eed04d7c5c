"""The manners of the painter program: each turns a study (clean colours, stroke directions) into paint."""

from collections.abc import Callable

import cv2
import numpy as np

from training.brushes import (
    Array,
    Rng,
    Study,
    blur,
    bristles,
    broken,
    cells_of,
    draw,
    edge_angle,
    grid,
    ground,
    luminance,
    noise,
    pick,
    posterise,
    relief,
    scatter,
    spread,
    to_bytes,
    to_unit,
    touch_up,
    trace,
    weave,
    wobble,
)

Manner = Callable[[Study, Rng], Array]


def flat_colours(study: Study, rng: Rng) -> Array:
    """Cut paper: few colours, no brush to be seen."""
    swatches, label = posterise(wobble(study.colour, rng, 0.8), rng, int(rng.integers(8, 14)))
    return swatches[label]


def short_strokes(study: Study, rng: Rng) -> Array:
    """Short separate touches, side by side, over a toned ground."""
    n, unit = study.size, study.size / 256 * rng.uniform(0.85, 1.35)
    angle = edge_angle(study.colour, study.angle, 2) + 0.25 * noise(rng, n, 16)
    starts = scatter(rng, n, 6.3 * unit)
    colours = broken(pick(study.colour, starts), study, rng, 0.11, 0.5)
    paths = trace(angle, starts, spread(rng, len(starts), 9, 19) * unit, 2)
    image = draw(to_bytes(ground(study, rng, 0.5)), paths, colours, spread(rng, len(starts), 4, 7.5) * unit)
    return to_unit(touch_up(image, study, rng, unit))


def swirling_strokes(study: Study, rng: Rng) -> Array:
    """Long curved strokes, light beside dark, that turn around whirls."""
    n, unit = study.size, study.size / 256 * rng.uniform(0.9, 1.3)
    x, y = grid(n)
    turn, pull = np.zeros((n, n), np.complex64), rng.uniform(0.25, 0.55)
    for _ in range(rng.integers(3, 7)):
        cx, cy, reach = rng.uniform(0, 1), rng.uniform(0, 0.9), rng.uniform(0.15, 0.35)
        around = np.arctan2(y - cy, x - cx) + np.pi / 2 + rng.uniform(-0.3, 0.3)
        turn += np.exp(-((x - cx) ** 2 + (y - cy) ** 2) / reach**2) * np.exp(2j * around)
    angle = np.angle(turn + pull * np.exp(2j * edge_angle(study.colour, study.angle, 3))) / 2
    angle = angle.astype(np.float32) + 0.1 * noise(rng, n, 4)
    starts = scatter(rng, n, 9 * unit)
    colours = broken(pick(study.colour, starts), study, rng, 0.2, 0.5)
    paths = trace(angle, starts, spread(rng, len(starts), 40, 80) * unit, 10)
    image = draw(to_bytes(ground(study, rng, 0.4)), paths, colours, spread(rng, len(starts), 5, 8) * unit)
    return to_unit(touch_up(image, study, rng, unit, 0.4))


def dots(study: Study, rng: Rng) -> Array:
    """Round touches of unmixed colour on a light ground."""
    n, unit = study.size, study.size / 256 * rng.uniform(0.85, 1.2)
    image = to_bytes(0.5 * blur(study.colour, 6) + 0.5 * study.light)
    starts = scatter(rng, n, 5.2 * unit)
    colours = broken(pick(study.colour, starts), study, rng, 0.1, 0.7)
    radii = np.maximum(1, np.round(spread(rng, len(starts), 2.6, 4.0) * unit)).astype(int).tolist()
    inks = np.round(255 * colours).tolist()
    for at, ink, radius in zip(starts.astype(int).tolist(), inks, radii, strict=True):
        cv2.circle(image, at, radius, ink, -1)
    return to_unit(image)


def watercolour(study: Study, rng: Rng) -> Array:
    """Thin washes on white paper: running edges, pigment pooled along them, blooms and granulation."""
    n, unit = study.size, study.size / 256
    wash = wobble(blur(study.colour, 1.6 * unit), rng, 2.4 * unit, 12)
    edge = np.abs(wash - blur(wash, 4 * unit)).sum(2)
    density = 0.72 + 0.14 * noise(rng, n, 5) + 0.07 * noise(rng, n, 40) + np.minimum(0.35, 0.8 * edge)
    # Pigment absorbs: more of it means a higher power of the same transmission.
    bare = np.clip(1.2 * noise(rng, n, 4) - 1.9, 0, 0.8)[..., None]
    painted = np.clip(wash, 0.03, 1) ** np.clip(density, 0.3, 1.4)[..., None]
    paper = np.float32([0.985, 0.975, 0.95])
    return paper * (painted + bare * (1 - painted)) * (1 + 0.012 * noise(rng, n, 60)[..., None])


def ink_outlines(study: Study, rng: Rng) -> Array:
    """Cloisonne: flat colours inside dark contours."""
    unit = study.size / 256
    smooth = wobble(study.colour, rng, 1.3 * unit)
    swatches, label = posterise(smooth, rng, int(rng.integers(8, 13)))
    fill = blur(swatches[label], 1.0) * (1 + 0.05 * bristles(rng, study.angle, 50)[..., None])
    soft = to_bytes(blur(smooth, 1.4 * unit))
    # Contours between hues of equal lightness show in single channels only.
    contour = np.max([cv2.Canny(soft[..., i].copy(), 25, 70) for i in range(3)], 0)
    thick = int(rng.integers(4, 7) * unit)
    contour = cv2.dilate(contour, cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (thick, thick)))
    line = blur(to_unit(contour), 0.8 * unit)[..., None]
    return fill + line * (0.7 * study.dark - fill)


def facets(study: Study, rng: Rng) -> Array:
    """Cubist planes: triangles of one colour each, smaller along the contours, tilted against the light."""
    n = study.size
    smooth = blur(study.colour, 2)
    grey = luminance(smooth)
    detail = blur(np.hypot(cv2.Sobel(grey, cv2.CV_32F, 1, 0), cv2.Sobel(grey, cv2.CV_32F, 0, 1)), 2)
    candidates = scatter(rng, n, n / 36)
    keep = 0.1 + 4 * pick(detail, candidates) > rng.random(len(candidates))
    rim = np.linspace(0, n - 1, 9)
    border = np.concatenate([np.stack([rim, rim * 0], 1), np.stack([rim, rim * 0 + n - 1], 1)])
    mesh = cv2.Subdiv2D((-1, -1, n + 2, n + 2))
    mesh.insert(np.concatenate([candidates[keep], border, border[:, ::-1]]).astype(np.float32))
    planes = mesh.getTriangleList().reshape(-1, 3, 2)
    planes = planes[((planes >= -1) & (planes <= n)).all((1, 2))]
    colours = broken(pick(smooth, planes.mean(1)), study, rng, 0.1, 0.3)
    image = to_bytes(smooth)
    for plane, ink in zip(np.round(planes).astype(np.int32), np.round(255 * colours).tolist(), strict=True):
        cv2.fillConvexPoly(image, plane, ink)
        cv2.polylines(image, [plane], True, [0.8 * v for v in ink], 1)
    return to_unit(image) * (1 + 0.05 * noise(rng, n, 24)[..., None])


def hatching(study: Study, rng: Rng) -> Array:
    """Coloured ink on tinted paper: lines that bend with the forms, thicker and crossed in the dark."""
    n = study.size
    x, y = grid(n)
    soft = blur(study.colour, 1.5)
    tone = luminance(soft)
    low, high = np.quantile(tone[::4, ::4], [0.03, 0.95])
    tone = np.clip((tone - low) / (high - low + 0.05), 0, 1)
    paper = 0.42 * study.light + 0.58 * blur(study.colour, n / 30) * (1 + 0.03 * noise(rng, n, 30)[..., None])
    ink = 0.4 * study.dark + 0.2 * soft + 0.4 * soft * soft
    lean, lines, bend = rng.uniform(0, np.pi), n / rng.uniform(10, 13), 0.8 * noise(rng, n, 4)
    form = blur(tone, n / 30)
    image = paper
    for threshold, turn in ((1.0, 0.0), (0.5, rng.uniform(0.8, 1.6))):
        a = lean + turn
        stripe = np.sin(2 * np.pi * lines * (x * np.cos(a) + y * np.sin(a)) + bend + 5 * form)
        width = 0.95 - 1.9 * np.clip(tone / threshold, 0, 1.05)
        image = image + (0.85 * np.clip(1.7 * (stripe * 0.9 + width) + 0.3, 0, 1))[..., None] * (ink - image)
    return image


def pastel_chalk(study: Study, rng: Rng) -> Array:
    """Broad soft sticks; the tooth of a coloured paper stays bare."""
    n, unit = study.size, study.size / 256
    starts = scatter(rng, n, 7 * unit)
    goal = blur(study.colour, 1.2)
    goal = goal + 0.12 * (study.light - goal)
    colours = broken(pick(goal, starts), study, rng, 0.09, 0.5)
    angle = rng.uniform(0, np.pi) + 0.25 * noise(rng, n, 8)
    paths = trace(angle, starts, spread(rng, len(starts), 14, 26) * unit, 2)
    chalk = touch_up(
        draw(to_bytes(goal), paths, colours, spread(rng, len(starts), 4.5, 8) * unit), study, rng, unit, 0.2
    )
    chalk = 0.7 * blur(to_unit(chalk), 1.2 * unit) + 0.3 * goal
    tooth = np.clip(0.7 * (noise(rng, n, 50) + 0.6 * bristles(rng, angle, 60, 2)) - 0.4, 0, 1)[..., None]
    paper = study.hues[rng.integers(len(study.hues))] * 0.6 + 0.25 * study.dark + 0.1
    return chalk + 0.55 * tooth * (paper - chalk)


def loaded(study: Study, rng: Rng, spacing: float, length: float, width: float, jitter: float) -> tuple[Array, Array]:
    """Paint laid on thickly: colour (n, n, 3), height (n, n), both in 0..1; sizes in pixels."""
    n = study.size
    angle = edge_angle(study.colour, study.angle, 2.5) + 0.2 * noise(rng, n, 10)
    starts = scatter(rng, n, spacing)
    colours = broken(pick(study.colour, starts), study, rng, jitter, 0.5)
    # The height rides along as a fourth channel: a stroke covers what lies under it in both.
    paint = np.concatenate([colours, rng.random((len(starts), 1))], 1)
    image = to_bytes(np.concatenate([ground(study, rng, 0.3), np.zeros((n, n, 1), np.float32)], 2))
    sizes = rng.uniform(0.65, 1.3, len(starts)).astype(np.float32)
    draw(image, trace(angle, starts, sizes * length, 4), paint, sizes * width)
    image[..., :3] = touch_up(np.ascontiguousarray(image[..., :3]), study, rng, n / 256, 0.35)
    height = to_unit(image[..., 3]) + 0.22 * bristles(rng, angle, 64, 3)
    return to_unit(image[..., :3]), blur(height, 1.3)


def thick_impasto(study: Study, rng: Rng) -> Array:
    """Ridges of paint, lit from the side."""
    unit = study.size / 256 * rng.uniform(0.85, 1.25)
    colour, height = loaded(study, rng, 6.5 * unit, 22 * unit, 7.5 * unit, 0.1)
    return colour * relief(height, rng.uniform(0, 2 * np.pi), 0.26)


def dry_brush(study: Study, rng: Rng) -> Array:
    """A stiff brush with little paint: bristle tracks, the canvas and its ground show through."""
    n, unit = study.size, study.size / 256
    colour, _ = loaded(study, rng, 9 * unit, 32 * unit, 10 * unit, 0.08)
    angle = edge_angle(study.colour, study.angle, 3)
    cover = bristles(rng, angle, 58, 4) + 0.5 * weave(rng, n) + 0.5 * noise(rng, n, 7)
    cover = np.clip(0.8 + 0.5 * cover, 0, 1)[..., None]
    tint = study.hues[rng.integers(len(study.hues))]
    canvas = (0.45 * tint + 0.4 * study.light + 0.1) * (1 + 0.1 * weave(rng, n)[..., None])
    return canvas + cover * (colour - canvas)


def old_master_oil(study: Study, rng: Rng) -> Array:
    """Glazes over a dark ground: light falls on the middle, edges dissolve; fine canvas or cracks."""
    n, unit = study.size, study.size / 256
    x, y = grid(n)
    soft, _ = loaded(study, rng, 7 * unit, 14 * unit, 6 * unit, 0.05)
    soft = 0.45 * blur(soft, 1.6 * unit) + 0.55 * blur(study.colour, 1.4 * unit)
    cx, cy, reach = rng.uniform(0.3, 0.7), rng.uniform(0.3, 0.6), rng.uniform(0.4, 0.65)
    lamp = np.exp(-((x - cx) ** 2 + (y - cy) ** 2) / (2 * reach**2))
    lamp = (0.35 + 0.75 * lamp * (1 + 0.12 * noise(rng, n, 4)))[..., None]
    ground_colour = 0.8 * study.dark + 0.06 * study.hues.mean(0)
    image = ground_colour + (soft ** np.float32(1.35) - ground_colour) * np.clip(lamp, 0, 1.05)
    if rng.random() < 0.5:
        crack = cv2.morphologyEx(cells_of(rng, n, 200), cv2.MORPH_GRADIENT, np.ones((3, 3), np.uint8)) > 0
        return image * (1 - 0.22 * blur(crack.astype(np.float32), 0.8)[..., None])
    return image * (1 + 0.06 * weave(rng, n)[..., None])


def layered_brushwork(study: Study, rng: Rng) -> Array:
    """Hertzmann's painter: large brushes first, then smaller ones only where the picture still differs."""
    n, unit = study.size, study.size / 256
    image = to_bytes(ground(study, rng, 0.6))
    tolerance = rng.uniform(0.09, 0.16)
    for radius in (11 * unit, 6 * unit, 3.2 * unit):
        goal = blur(study.colour, 0.5 * radius)
        angle = edge_angle(goal, study.angle, 0.4 * radius) + 0.12 * noise(rng, n, 8)
        wrong = blur(np.abs(goal - to_unit(image)).sum(2), 0.5 * radius)
        starts = scatter(rng, n, 1.15 * radius)
        starts = starts[pick(wrong, starts) > tolerance]
        colours = broken(pick(goal, starts), study, rng, 0.07, 0.35)
        paths = trace(angle, starts, spread(rng, len(starts), 2, 6) * radius, 5)
        # A stroke ends where it would leave its colour.
        ends = np.abs(pick(goal, paths.reshape(-1, 2)).reshape(*paths.shape[:2], 3) - pick(goal, starts)[:, None])
        stay = np.logical_and.accumulate(ends.sum(2) < 0.35, 1)
        last = np.maximum(stay.sum(1) - 1, 0)
        paths = paths[np.arange(len(paths))[:, None], np.minimum(np.arange(paths.shape[1]), last[:, None])]
        draw(image, paths, colours, np.full(len(starts), 1.7 * radius))
    return to_unit(image) * (1 + 0.05 * bristles(rng, study.angle, 56, 3)[..., None])


ALL: tuple[Manner, ...] = (flat_colours, short_strokes, swirling_strokes, dots, watercolour, ink_outlines, facets)
ALL += (hatching, pastel_chalk, thick_impasto, dry_brush, old_master_oil, layered_brushwork)
MANNERS: dict[str, Manner] = {manner.__name__.replace("_", " "): manner for manner in ALL}
