"""Ratio-corrected demosaicing (L. Sanz Rodríguez), from its public description."""

from __future__ import annotations

import torch
from torch import Tensor

from ispkit.ops.demosaic.directional import bend, green_along, mean_along
from ispkit.ops.demosaic.layout import (
    BLUE,
    COLUMN,
    GREEN_B,
    GREEN_R,
    RED,
    ROW,
    SITES,
    Planes,
    Site,
    corners,
    neighbors,
    shift,
    split,
    weave,
)

HALO = 16
"""mirrored pixels around the picture"""


def rcd(mosaic: Tensor, cfa: str) -> Tensor:
    """Green corrected by ratios of a low-pass picture, not by differences: (B, 1, H, W) -> (B, 3, H, W).

    Linear and white balanced, in any scale; not clipped; measured samples pass unchanged; overshoots
    less at hard edges than Hamilton-Adams corrections do. Nothing is chosen: the axes are blended by
    their gradients, so the result is differentiable almost everywhere. Outside the picture its mirror
    image is used.

    Reference: L. Sanz Rodríguez, "Ratio Corrected Demosaicing", 2017, description at
    https://github.com/LuisSR/RCD-Demosaicing. The description leaves the gradients open; those here are ours.
    """
    layout, planes = split(mosaic, cfa, HALO)
    rowness = _rowness(planes)
    smooth = {site: _low_pass(planes, site) for site in (RED, BLUE)}
    green = {**planes, **{s: _green(planes, smooth[s], rowness[s], s) for s in (RED, BLUE)}}
    red, blue = {RED: planes[RED]}, {BLUE: planes[BLUE]}
    for color, home, there in ((red, RED, BLUE), (blue, BLUE, RED)):
        color[there] = _across(planes, green, there)
        difference = {home: color[home] - green[home], there: color[there] - green[there]}
        for site in (GREEN_R, GREEN_B):
            color[site] = green[site] + _at_green(difference, planes[site], rowness[site], site)
    return weave(layout, {site: (red[site], green[site], blue[site]) for site in SITES})


def _tiny(like: Tensor) -> float:
    """Far below any signal, so that scaling the mosaic scales the result; keeps 0 / 0 away."""
    return float(torch.finfo(like.dtype).tiny ** 0.5)


def _rowness(planes: Planes) -> Planes:
    """How much more the mosaic varies along columns than along rows, in [0, 1]; 1 says: follow the row."""
    energy = {dim: _energy(planes, dim) for dim in (ROW, COLUMN)}
    local = {s: energy[COLUMN][s] / (energy[COLUMN][s] + energy[ROW][s]) for s in SITES}
    return {s: _firmer(local[s], _mean(corners(local, s))) for s in SITES}


def _energy(planes: Planes, dim: int) -> Planes:
    """Squared curvature of the color difference along an axis, over a 3x3 window."""
    field = {s: bend(planes[s] - green_along(planes, s, dim), dim).abs() for s in SITES}
    for window in (ROW, COLUMN):
        field = {s: field[s] + mean_along(field, s, window) for s in SITES}
    return {s: field[s].square() + _tiny(field[s]) for s in SITES}


def _firmer(a: Tensor, b: Tensor) -> Tensor:
    """Whichever is further from the undecided 1/2."""
    return torch.where((a - 0.5).abs() < (b - 0.5).abs(), b, a)


def _low_pass(planes: Planes, site: Site) -> Tensor:
    """The mosaic through (1 2 1; 2 4 2; 1 2 1) / 16: gray without the pattern of the colors."""
    near = _add(neighbors(planes, site, ROW)) + _add(neighbors(planes, site, COLUMN))
    return planes[site] * 0.25 + near * 0.125 + _mean(corners(planes, site)) * 0.25


def _green(planes: Planes, smooth: Tensor, rowness: Tensor, site: Site) -> Tensor:
    along = []
    for dim in (ROW, COLUMN):
        near, own = neighbors(planes, site, dim), planes[site]
        guesses, weights = [], []
        for step, this, other in ((-1, *near), (1, *near[::-1])):
            far = shift(smooth, dim, step)
            ratio = (smooth - far) / (smooth.abs() + far.abs() + _tiny(smooth))
            guesses.append(this * (1 + ratio))
            slope = (this - other).abs() + (own - shift(own, dim, step)).abs()
            weights.append(slope + (this - shift(this, dim, step)).abs() + _tiny(smooth))
        along.append(_blend(weights, guesses))
    return torch.lerp(along[1], along[0], rowness)


def _across(color: Planes, green: Planes, site: Site) -> Tensor:
    """Red at blue or blue at red: green plus the color difference along the diagonals, by their gradients."""
    home = (1 - site[0], 1 - site[1])
    difference = corners({home: color[home] - green[home]}, site)
    c = corners(color, site)
    estimates, energies = [], []
    for steps, one, other in (((-1, -1), 0, 3), ((-1, 1), 1, 2)):
        weights, guesses = [], []
        for sign, this, that in ((1, one, other), (-1, other, one)):
            away = _move(green[site], sign * steps[0], sign * steps[1])
            beyond = _move(c[this], sign * steps[0], sign * steps[1])
            slope = (c[this] - c[that]).abs() + (c[this] - beyond).abs() + (green[site] - away).abs()
            weights.append(slope + _tiny(slope))
            guesses.append(difference[this])
        estimates.append(_blend(weights, guesses))
        energies.append(_add(tuple(w.square() for w in weights)))
    return green[site] + torch.lerp(estimates[1], estimates[0], energies[1] / (energies[0] + energies[1]))


def _move(plane: Tensor, rows: int, columns: int) -> Tensor:
    return shift(shift(plane, COLUMN, rows), ROW, columns)


def _at_green(difference: Planes, green: Tensor, rowness: Tensor, site: Site) -> Tensor:
    """Color difference at a green site from its four neighbors, by gradients and the trusted axis."""
    along = []
    for dim in (ROW, COLUMN):
        near = neighbors(difference, site, dim)
        weights = []
        for step, this, other in ((-1, *near), (1, *near[::-1])):
            slope = (this - other).abs() + (green - shift(green, dim, step)).abs()
            weights.append(slope + (this - shift(this, dim, step)).abs() + _tiny(slope))
        along.append(_blend(weights, list(near)))
    return torch.lerp(along[1], along[0], rowness)


def _blend(slopes: list[Tensor], values: list[Tensor]) -> Tensor:
    """Mean of two values, each weighing as much as the other one's slope."""
    return (slopes[1] * values[0] + slopes[0] * values[1]) / (slopes[0] + slopes[1])


def _add(pair: tuple[Tensor, ...]) -> Tensor:
    return pair[0] + pair[1]


def _mean(planes: tuple[Tensor, ...]) -> Tensor:
    return torch.stack(planes).mean(dim=0)
