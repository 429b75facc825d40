"""Lens shading of a light from flat fields, a mesh of gains a site; and its correction."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import sparse
from scipy.linalg import eigh
from scipy.optimize import least_squares
from torch import Tensor

from ispkit.calibrate.look import Pixels, Reals
from ispkit.core.errors import ParamError
from ispkit.core.meta import View
from ispkit.core.profile import Rgb, ShadingMap
from ispkit.sensor.optics import falloff

MESH = (13, 17)
"""rows and columns of the mesh unless told otherwise"""
_CELLS, _CELLS_OF_LARGE, _LARGE = 4, 2, 400
"""blocks that the light is averaged in, per mesh cell and side; fewer from so many nodes on"""
_STIFFNESSES = tuple(float(v) for v in np.logspace(-3, 7, 41))
_FLAT = 0.02
"""below this spread of the gains the light has no center that could be found"""
_FARTHEST = 0.15
"""how far the optical center may lie from the middle, in units of height and width"""
_UNKNOWN_LIGHT_K = 5000.0
"""what a shot under an unknown light is corrected for"""


@dataclass(frozen=True)
class ShadingResult:
    """A shading map with what is left of it."""

    map: ShadingMap
    frames: int
    mesh_residue: float
    """root mean square of light x gain - 1 over the blocks of all sites: noise and unevenness"""
    radial_residue: float
    """the same of the radial model and the greens"""
    corner_gain: float
    """mean gain of the four corners of the greens"""
    white: Rgb
    """the light's white in sensor RGB, largest 1: what the sites read where each is brightest"""


def measure_shading(
    light: Pixels, *, cfa: str, cct_k: float, good: NDArray[np.bool_] | None = None, mesh: tuple[int, int] = MESH,
    frames: int = 1
) -> ShadingResult:  # fmt: skip
    """Gains that flatten the mean flat field `light` (4, h, w), in any unit above black.

    The gains solve gain x light = 1 in least squares, bilinear between the nodes, as stiff as the noise
    asks for; nodes stand on the edges of the active area. Pixels where `good` is False are ignored. Raises `ParamError`
    for a mesh that the picture cannot fill, or a frame without light.
    """
    rows, columns = mesh
    if rows < 2 or columns < 2 or 2 * rows > light.shape[1] or 2 * columns > light.shape[2]:
        raise ParamError(
            f"mesh={rows}x{columns} does not fit a picture of {2 * light.shape[1]}x{2 * light.shape[2]} px"
        )
    if min(float(np.median(plane)) for plane in light) <= 0:
        raise ParamError("a flat field without light has no shading; expose more")
    blocks = [_blocks(light, good, site, mesh) for site in range(4)]
    nodes = _mesh_gains(blocks, mesh)
    residues = [(_interpolated(n, b) * b.light - 1) * b.used for n, b in zip(nodes, blocks, strict=True)]
    gains = [n / n.min() for n in nodes]
    greens = [b for b, c in zip(blocks, cfa, strict=True) if c == "G"]
    radial, center, radial_residue = _radial(greens, (2 * light.shape[1], 2 * light.shape[2]))
    corners = [float(g[:: rows - 1, :: columns - 1].mean()) for g, c in zip(gains, cfa, strict=True) if c == "G"]
    planes = [tuple(tuple(round(float(v), 6) for v in row) for row in g) for g in gains]
    made = ShadingMap(cct_k, (planes[0], planes[1], planes[2], planes[3]), radial, center)
    share = float(np.mean([b.used.mean() for b in blocks]))
    mesh_residue = float(np.sqrt(np.mean(np.square(residues)) / max(share, 1e-9)))
    # blocks are relative to the median of their site
    brightest = [float(np.median(plane) / n.min()) for plane, n in zip(light, nodes, strict=True)]
    white = _white(brightest, cfa)
    return ShadingResult(made, frames, mesh_residue, radial_residue, float(np.mean(corners)), white)


def corrected(mosaic: Tensor, shading: Sequence[ShadingMap], cct_k: float, view: View) -> Tensor:
    """A mosaic (1, 1, H, W), black 0, times the gains of one or more maps.

    Between the maps of known lights the gains are straight in 1 / CCT; 0 is an unknown light, taken for 5000 K.
    """
    cct = torch.tensor([cct_k or _UNKNOWN_LIGHT_K], dtype=torch.float64)
    return mosaic * falloff(lit(shading), cct, view, mosaic)


def lit(shading: Sequence[ShadingMap]) -> Sequence[ShadingMap]:
    """The maps of known lights, between which one can interpolate; the first if there is none."""
    return [s for s in shading if s.cct_k > 0] or shading[:1]


def _white(sites: Sequence[float], cfa: str) -> Rgb:
    red, green, blue = (float(np.mean([v for v, c in zip(sites, cfa, strict=True) if c == k])) for k in "RGB")
    peak = max(red, green, blue)
    return red / peak, green / peak, blue / peak


@dataclass(frozen=True)
class _Blocks:
    """Mean light of one site in blocks, and where their centers lie: units of height and width."""

    light: Reals
    used: Reals
    y: Reals
    x: Reals


def _blocks(light: Pixels, good: NDArray[np.bool_] | None, site: int, mesh: tuple[int, int]) -> _Blocks:
    plane = light[site]
    use: NDArray[np.bool_] = np.ones(plane.shape, bool) if good is None else good[site]
    cells = _CELLS if mesh[0] * mesh[1] < _LARGE else _CELLS_OF_LARGE
    edges = [
        np.linspace(0, n, min((m - 1) * cells, n) + 1).round().astype(int)
        for n, m in zip(plane.shape, mesh, strict=True)
    ]
    total, count = (_sums(np.where(use, v, 0), edges) for v in (plane, np.float32(1)))
    used = (count > 0).astype(np.float64)
    mean: Reals = total / np.maximum(count, 1)
    mean /= float(np.median(plane))
    # pixel i of a site is pixel 2 i + offset of the mosaic
    y, x = (
        ((e[:-1] + e[1:] - 1) + offset + 0.5) / (2 * n)
        for e, offset, n in zip(edges, divmod(site, 2), plane.shape, strict=True)
    )
    return _Blocks(mean, used, y, x)


def _sums(values: NDArray[Any], edges: Sequence[NDArray[np.int64]]) -> Reals:
    sums: Reals = np.add.reduceat(
        np.add.reduceat(values, edges[0][:-1], axis=0, dtype=np.float64), edges[1][:-1], axis=1
    )
    return sums


def _hat(position: Reals, points: int) -> Reals:
    """Linear interpolation weights (n, points) of positions in [0, 1]."""
    weights: Reals = np.clip(1 - np.abs(position[:, None] * (points - 1) - np.arange(points)), 0, None)
    return weights


def _mesh_gains(blocks: Sequence[_Blocks], mesh: tuple[int, int]) -> list[Reals]:
    """Nodes of every site, equally stiff: as cross-validation says (Golub, Heath, Wahba 1979)."""
    rows, columns = mesh
    bend_y = np.kron(_bend(rows), np.eye(columns))
    bend_x = np.kron(np.eye(rows), _bend(columns))
    penalty = bend_y.T @ bend_y + bend_x.T @ bend_x
    systems = [_Damped.of(b, mesh, penalty) for b in blocks]
    costs = [sum(s.cross_validation(stiff) for s in systems) for stiff in _STIFFNESSES]
    stiff = _STIFFNESSES[int(np.argmin(costs))]
    return [np.maximum(s.solve(stiff).reshape(mesh), 1e-3) for s in systems]


@dataclass(frozen=True)
class _Damped:
    """Least squares |A g - b|^2 + stiff g' P g with g = V z, V' A'A V = 1, V' P V = damping."""

    basis: Reals
    damping: Reals
    projection: Reals
    """V' A' b"""
    power: float
    """b' b"""
    count: float

    @staticmethod
    def of(blocks: _Blocks, mesh: tuple[int, int], penalty: Reals) -> _Damped:
        hat = sparse.kron(sparse.csr_array(_hat(blocks.y, mesh[0])), sparse.csr_array(_hat(blocks.x, mesh[1])))
        design = sparse.diags_array((blocks.light * blocks.used).ravel()) @ hat
        normal: Reals = (design.T @ design).toarray()
        normal += 1e-9 * float(np.trace(normal)) / len(normal) * (np.eye(len(normal)) + penalty)
        damping, basis = eigh(penalty, normal)
        target = blocks.used.ravel()
        return _Damped(basis, damping, basis.T @ (design.T @ target), float(target.sum()), float(target.sum()))

    def solve(self, stiff: float) -> Reals:
        nodes: Reals = self.basis @ (self.projection / (1 + stiff * self.damping))
        return nodes

    def cross_validation(self, stiff: float) -> float:
        """The mean squared error at blocks that were left out, up to a constant."""
        kept = 1 / (1 + stiff * self.damping)
        residue = self.power - float((self.projection**2 * (2 * kept - kept**2)).sum())
        return self.count * max(residue, 0.0) / (self.count - float(kept.sum())) ** 2


def _bend(points: int) -> Reals:
    """Third differences, which leave parabolas alone; none for fewer than four points."""
    bend: Reals = np.diff(np.eye(points), 3, axis=0) if points > 3 else np.zeros((1, points))
    return bend


def _interpolated(nodes: Reals, blocks: _Blocks) -> Reals:
    value: Reals = _hat(blocks.y, nodes.shape[0]) @ nodes @ _hat(blocks.x, nodes.shape[1]).T
    return value


def _radial(
    blocks: Sequence[_Blocks], size: tuple[int, int]
) -> tuple[tuple[float, float, float, float, float], tuple[float, float], float]:
    """FixVignetteRadial of the light: coefficients, center (row, column) and residue.

    For a given center gain x light = constant is linear in the coefficients, so only the center is searched.
    """

    def solve(center: Reals) -> tuple[Reals, Reals]:
        design = np.concatenate([_powers(b, center, size) * b.light.reshape(-1, 1) for b in blocks])
        used = np.concatenate([b.used.ravel() for b in blocks])
        design = design * used[:, None]
        found = np.linalg.lstsq(design, used, rcond=None)[0]
        return found, design @ found - used

    center = np.array([0.5, 0.5])
    spread = max(float(np.ptp(b.light) / np.median(b.light)) for b in blocks)
    if spread > _FLAT:
        bounds = (center - _FARTHEST, center + _FARTHEST)
        center = least_squares(lambda c: solve(c)[1], center, bounds=bounds, diff_step=1e-3).x
    found, residue = solve(center)
    k = [float(v) for v in (found[1:] / found[0]).round(7)]
    rms = float(np.sqrt(np.mean(residue**2)))
    return (k[0], k[1], k[2], k[3], k[4]), (float(center[0].round(5)), float(center[1].round(5))), rms


def _powers(blocks: _Blocks, center: Reals, size: tuple[int, int]) -> Reals:
    """1, r^2, ..., r^10 of the blocks' centers (n, 6); r as in `ispkit.ops.lens.centered`."""
    height, width = size
    cy, cx = center[0] * (height - 1), center[1] * (width - 1)
    reach = max(cy, height - 1 - cy) ** 2 + max(cx, width - 1 - cx) ** 2
    dy, dx = blocks.y * height - 0.5 - cy, blocks.x * width - 0.5 - cx
    r2 = ((dy[:, None] ** 2 + dx[None, :] ** 2) / reach).ravel()
    return np.stack([r2**n for n in range(6)], axis=1)
