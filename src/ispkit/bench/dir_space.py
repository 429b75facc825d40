"""What a representation keeps of a picture and of its degradation: distances, and a map (Guo et al. 2024, Fig. 4).

Several pictures are spoiled in many ways each. A representation that does not care how brings the views of one picture
together and keeps different pictures apart: the ratio of the two mean distances is small, and a view is nearest to the
center of its own picture. The map is the first two principal components; the paper's is a t-SNE, whose distances
between clusters mean nothing.
"""

from __future__ import annotations

import io
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ispkit.bench.experiment import Table
from ispkit.core.errors import ParamError, ShapeError
from ispkit.data.samples import Sample
from ispkit.io.atomic import write_bytes
from ispkit.nets.dir import AutoEncoder, DirNet

Represent = Callable[[Tensor], Tensor]
"""encoded pictures (B, 3, H, W) in [0, 1] -> (B, ...), one representation each"""
_DRAWN = 4
"""pictures on a map, as in the paper"""


@dataclass(frozen=True)
class Cloud:
    """Representations of the views of P pictures, V each."""

    names: tuple[str, ...]
    """of the pictures"""
    views: Tensor
    """(P, V, D) of degraded views"""
    clean: Tensor
    """(P, D) of the pictures as they were"""

    def __post_init__(self) -> None:
        if self.views.ndim != 3 or len(self.views) < 2 or self.views.shape[1] < 2:
            raise ShapeError(f"distances need two pictures of two views each, got views {tuple(self.views.shape)}")
        if len(self.names) != len(self.views) or self.clean.shape != self.views[:, 0].shape:
            raise ShapeError(
                f"{len(self.names)} names and clean {tuple(self.clean.shape)} do not fit {tuple(self.views.shape)}"
            )

    def standardized(self) -> Cloud:
        """Each coordinate with the mean 0 and the variance 1 of all views; one that never changes becomes 0."""
        flat = self.views.flatten(0, 1).double()
        mean, deviation = flat.mean(0), flat.std(0, correction=0)
        tiny = deviation <= 1e-12 * flat.abs().amax(0)
        scale = torch.where(tiny, 0.0, 1 / deviation.where(~tiny, torch.ones_like(deviation)))
        return Cloud(self.names, (self.views - mean) * scale, (self.clean - mean) * scale)


@dataclass(frozen=True)
class Spread:
    """How far views lie from each other, in the units of the representation."""

    within: float
    """mean Euclidean distance of two views of one picture"""
    between: float
    """mean distance of two views of different pictures"""
    to_clean: float
    """mean distance of a view from the representation of its clean picture"""
    identified: float
    """share of views that are nearest to the center of their own picture's other views"""

    @property
    def ratio(self) -> float:
        """Within / between: 0 where the degradation leaves no trace, 1 where nothing else is seen; NaN for points."""
        return self.within / self.between if self.between > 0 else math.nan


def spread(cloud: Cloud) -> Spread:
    """Distances of all pairs of views, in float64."""
    pictures, views = cloud.views.shape[:2]
    flat = cloud.views.flatten(0, 1).double()
    flat = flat - flat.mean(0)
    distances = torch.cdist(flat, flat)
    owner = torch.arange(pictures).repeat_interleave(views)
    same = (owner[:, None] == owner[None]).to(distances.device)
    own = same & ~torch.eye(len(flat), dtype=torch.bool, device=distances.device)
    gap = (cloud.views - cloud.clean[:, None]).double().norm(dim=2)
    return Spread(
        within=float(distances[own].mean()),
        between=float(distances[~same].mean()),
        to_clean=float(gap.mean()),
        identified=identified(cloud),
    )


def identified(cloud: Cloud) -> float:
    """Share of views nearest to the center of their own picture, which is taken without them; chance is 1 / P."""
    pictures, views = cloud.views.shape[:2]
    data = cloud.views.double()
    centers = data.mean(1)
    distances = torch.cdist(data.flatten(0, 1), centers).reshape(pictures, views, pictures)
    without = (centers[:, None] * views - data) / (views - 1)
    own = (data - without).norm(dim=2)
    mine = torch.eye(pictures, dtype=torch.bool, device=data.device)[:, None].expand_as(distances)
    others = distances.masked_fill(mine, math.inf).amin(2)
    return float((own < others).double().mean())


def principal(rows: Tensor, count: int = 2) -> tuple[Tensor, Tensor, Tensor]:
    """The first principal components of (N, D): mean (D,), axes (count, D), and the share of the variance of each.

    The largest coordinate of each axis is positive. Raises `ShapeError` for fewer rows or coordinates than components.
    """
    if rows.ndim != 2 or min(rows.shape) < count:
        raise ShapeError(f"{count} components need as many rows and coordinates, got {tuple(rows.shape)}")
    data = rows.double()
    mean = data.mean(0)
    _, values, axes = torch.linalg.svd(data - mean, full_matrices=False)
    axes = axes[:count]
    largest = axes.gather(1, axes.abs().argmax(1, keepdim=True))
    share = values.square() / values.square().sum().clamp(min=torch.finfo(torch.float64).tiny)
    return mean, axes * torch.where(largest < 0, -1.0, 1.0), share[:count]


@torch.no_grad()
def cloud_of(represent: Represent, samples: Sequence[Sample], *, batch: int = 16) -> Cloud:
    """Representations of samples with several views a picture, `batch` frames at a time, as float32 on the CPU.

    Frames are finished pictures of one size. Raises `ShapeError` for samples without views.
    """
    views = sorted({s.views for s in samples})
    if len(views) != 1 or views[0] < 2:
        raise ShapeError(f"a cloud needs samples of one number of views from 2 on, got views={views}")
    every = views[0]
    found = [_vectors(represent, s.frame.data, batch) for s in samples]
    rows = [r.reshape(-1, every, r.shape[1]) for r in found]
    clean = [_vectors(represent, s.target[::every], batch) for s in samples]
    return Cloud(tuple(n for s in samples for n in s.names[::every]), torch.cat(rows), torch.cat(clean))


def _vectors(represent: Represent, pictures: Tensor, batch: int) -> Tensor:
    parts = (pictures[i : i + batch] for i in range(0, len(pictures), batch))
    return torch.cat([represent(part).flatten(1).float().cpu() for part in parts])


def raw_pixels(pictures: Tensor) -> Tensor:
    """The pictures themselves: what every representation is compared with."""
    return pictures


def representations_of(net: DirNet | AutoEncoder) -> dict[str, Represent]:
    """What a net can be looked at through, by the paper's names: r0, pilot and r+; of an auto-encoder its code."""
    if isinstance(net, AutoEncoder):
        return {"auto-encoder": lambda x: net.encoder(x)[0]}
    return {
        "r0": lambda x: net.represent(x).r0,
        "pilot": lambda x: net.represent(x).pilot,
        "r+": lambda x: net.aligned(*net.represent(x)),
    }


def averaged(represent: Represent) -> Represent:
    """A representation without its places: (B, C, h, w) -> (B, C), the mean over height and width."""
    return lambda x: represent(x).mean((-2, -1))


def space_rows(clouds: Mapping[str, Cloud]) -> list[dict[str, Any]]:
    """One row a representation, as it is and standardized."""
    rows = []
    for name, cloud in clouds.items():
        plain, even = spread(cloud), spread(cloud.standardized())
        rows.append(
            {
                "representation": name,
                "numbers": cloud.views.shape[2],
                "within / between": plain.ratio,
                "standardized": even.ratio,
                "to clean / between": plain.to_clean / plain.between if plain.between > 0 else math.nan,
                "identified": plain.identified,
                "identified, standardized": even.identified,
            }
        )
    return rows


def space_table(clouds: Mapping[str, Cloud], *, heading: str = "Distances of representations") -> Table:
    """The rows with a note of what they are. Raises `ParamError` for clouds of different pictures or views."""
    sizes = {cloud.views.shape[:2] for cloud in clouds.values()}
    if len(sizes) != 1:
        raise ParamError(f"representations are compared on the same views, got {sorted(map(tuple, sizes))}")
    pictures, views = sizes.pop()
    note = (
        f"{pictures} pictures, {views} degraded views each. within / between: mean distance of two views of one "
        "picture over that of two views of different pictures, less is better; standardized: after each number got "
        "the variance 1; to clean: of a view from its clean picture; identified: share of views nearest to the center "
        f"of their own picture's other views, by chance {1 / pictures:.3g}."
    )
    return Table(heading, space_rows(clouds), note)


def draw_spaces(path: Path, clouds: Mapping[str, Cloud], *, most: int = _DRAWN) -> None:
    """Write a PNG: for each representation the plane of its views' two principal components, clean pictures as stars.

    The first `most` pictures are drawn, and the plane is theirs.
    """
    from matplotlib.figure import Figure

    columns = min(len(clouds), 3)
    rows = -(-len(clouds) // columns)
    figure = Figure(figsize=(3.6 * columns, 3.6 * rows), dpi=110, layout="constrained")
    grid = list(figure.subplots(rows, columns, squeeze=False).flat)
    for axes, (name, cloud) in zip(grid, clouds.items(), strict=False):
        _draw(axes, cloud, most)
        axes.set_title(name, fontsize=10)
    for axes in grid[len(clouds) :]:
        axes.set_axis_off()
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", metadata={"Software": None})
    write_bytes(path, buffer.getvalue())


def _draw(axes: Any, cloud: Cloud, most: int) -> None:
    views, clean = cloud.views[:most].double(), cloud.clean[:most].double()
    mean, plane, share = principal(views.flatten(0, 1))
    for i, (own, star) in enumerate(zip((views - mean) @ plane.T, (clean - mean) @ plane.T, strict=True)):
        axes.scatter(*own.T.tolist(), s=7, alpha=0.6, color=f"C{i}", linewidths=0, label=cloud.names[i])
        axes.scatter(*star.tolist(), s=110, marker="*", color=f"C{i}", edgecolors="black", linewidths=0.8, zorder=3)
    axes.set_xlabel(f"{100 * share[0]:.0f} % of the variance", fontsize=8)
    axes.set_ylabel(f"{100 * share[1]:.0f} %", fontsize=8)
    axes.set_xticks([])
    axes.set_yticks([])
