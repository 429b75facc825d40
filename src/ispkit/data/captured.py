"""Labelled RAW files of one's own camera, prepared as Diamond et al. 2021 prepared theirs.

"Dirty Pixels", ACM Trans. Graphics, section 6 and its code: 1103 DNG files of a Pixel at ISO 8000, 1/10000 s.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from ispkit.core.errors import FileError, ParamError, ShapeError
from ispkit.core.frame import Domain, Frame
from ispkit.core.meta import View
from ispkit.data.classes import TABLE, class_order, files_below, table_rows
from ispkit.data.labelled_set import LabelledSet
from ispkit.data.pairs_files import folder_of
from ispkit.io.load import load
from ispkit.isp.stages.levels import scaled_noise
from ispkit.ops.cfa import from_planes, planes
from ispkit.ops.levels import linearize
from ispkit.ops.white_balance import balance

RAWS = (".dng", ".nef", ".cr2", ".cr3", ".arw", ".raf", ".rw2", ".orf", ".pef", ".srw")
PIXEL_NOISE = (0.0153, 0.0328)
"""shot scale and read deviation that the authors calibrated for their camera at ISO 8000"""


@dataclass(frozen=True)
class Protocol:
    """How a captured RAW file becomes a small mosaic."""

    side: int = 224
    """of the square mosaic, even: the paper's 224 are planes of 112"""
    percentile: float = 98.0
    """of the white-balanced mosaic, which is scaled to 1"""
    noise: tuple[float, float] | None = None
    """(alpha, sigma) of the file's signal, variance = alpha x + sigma^2, as `PIXEL_NOISE`; None: the file's profile"""

    def __post_init__(self) -> None:
        if self.side < 2 or self.side % 2:
            raise ParamError(f"side={self.side} must be an even number of at least 2")
        if not 0 < self.percentile <= 100:
            raise ParamError(f"percentile={self.percentile:g} must be in (0, 100]")
        if self.noise is not None and min(self.noise) < 0:
            raise ParamError(f"noise={self.noise} must be 0 or above")


@dataclass(frozen=True)
class CapturedPicture:
    """A labelled RAW file."""

    name: str
    path: Path
    marked: int
    protocol: Protocol = Protocol()

    @property
    def label(self) -> int:
        """Its class."""
        return self.marked

    def frame(self) -> Frame:
        """(1, 1, side, side) MOSAIC in [0, 1], white-balanced; its noise profile is right. Raises `FileError`."""
        try:
            return prepared(load(self.path), self.protocol)
        except ShapeError as error:
            raise FileError(f"{self.path}: {error}") from error


CapturedPictures = LabelledSet[CapturedPicture]
"""a folder of labelled RAW files, read when they are asked for"""


def read_captured(
    folder: str | Path, *, protocol: Protocol | None = None, names: Sequence[str] | None = None
) -> CapturedPictures:
    """RAW files with classes: a folder a class, or a flat folder with `labels.tsv` (see `data.classes`).

    `names`: all classes in their order, where the folder has only some of them. Raises `FileError`.
    """
    room, how = folder_of(folder, "labelled RAW files"), protocol or Protocol()
    if (room / TABLE).is_file():
        rows = table_rows(room / TABLE, None if names is None else len(names))
        words = list(names or (f"class {i}" for i in range(1 + max(index for _, index, _ in rows))))
        for _, index, name in rows:
            words[index] = name if name and names is None else words[index]
        return CapturedPictures([CapturedPicture(file, room / file, index, how) for file, index, _ in rows], words)
    files = [path for path in files_below(room, RAWS) if path.parent != room]
    order = class_order(room, [path.relative_to(room).parts[0] for path in files], names)
    items = [
        CapturedPicture(str(path.relative_to(room)), path, order[path.relative_to(room).parts[0]], how)
        for path in files
    ]
    return CapturedPictures(items, tuple(order))


def prepared(frame: Frame, protocol: Protocol | None = None) -> Frame:
    """A RAW frame (B, 1, H, W) -> MOSAIC (B, 1, side, side) in [0, 1] by the authors' steps.

    Black and white level; each color divided by the as-shot neutral; of each of the four planes the square in the
    middle that is a whole number of times side / 2, and of it every n-th pixel; put together again; scaled so that the
    percentile is 1; clipped. The noise profile follows each gain by color (S g, O g^2), as the authors' alpha and sigma
    do; picking pixels leaves it alone. Raises `ShapeError` for a frame smaller than `side`, and `DomainError`.
    """
    how = protocol or Protocol()
    frame.expect(Domain.RAW, "the protocol for captured files")
    meta = frame.meta if frame.meta.batch == frame.batch else frame.meta.select([0] * frame.batch)
    data = linearize(frame.data, meta.black_level, meta.white_level, 0.0)
    noise = meta.noise_profile
    if how.noise is not None:
        alpha, sigma = how.noise
        noise = noise.new_tensor([alpha, sigma**2]).expand(*noise.shape)
    gains = 1 / meta.neutral
    small = _sampled(balance(data, gains.to(data), meta.cfa), how.side)
    level = torch.quantile(small.flatten(1), how.percentile / 100, dim=1)
    if not (level > 0).all():
        raise ShapeError(f"the {how.percentile:g}th percentile of a picture is not above its black level")
    scale = (1 / level)[:, None] * gains.to(level)
    return Frame(
        (small / level[:, None, None, None]).clamp(0, 1),
        Domain.MOSAIC,
        replace(
            meta,
            neutral=torch.ones_like(meta.neutral),
            wb_gains=meta.wb_gains * gains,
            noise_profile=scaled_noise(noise, scale),
            noise_map=None,
            view=(View((how.side, how.side)),) * meta.batch,
            opcodes=((),) * meta.batch,
        ),
    )


def _sampled(mosaic: Tensor, side: int) -> Tensor:
    """The middle of each plane, every n-th pixel of it, put together again."""
    half = side // 2
    height, width = (n // 2 * 2 for n in mosaic.shape[-2:])
    sites = planes(mosaic[..., :height, :width])
    step = min(sites.shape[-2:]) // half
    if step < 1:
        raise ShapeError(f"a mosaic of {mosaic.shape[-2]}x{mosaic.shape[-1]} pixels is smaller than {side}x{side}")
    top, left = ((n - step * half) // 2 for n in sites.shape[-2:])
    middle = sites[..., top : top + step * half, left : left + step * half]
    return from_planes(middle[..., ::step, ::step])
