"""`CameraMeta`: the camera's facts that travel with the pixels; `View`: where the pixels sit on the sensor."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any

import torch
from torch import Tensor

from ispkit.core.cfa import Cell, CfaPattern, check_cfa
from ispkit.core.errors import DomainError, ShapeError
from ispkit.core.opcodes import Opcode

# ColorMatrix of a camera whose own primaries are those of linear sRGB: XYZ (D65) -> sRGB.
XYZ_TO_SRGB = (
    (3.2404542, -1.5371385, -0.4985314),
    (-0.9692660, 1.8760108, 0.0415560),
    (0.0556434, -0.2040259, 1.0572252),
)


@dataclass(frozen=True)
class View:
    """Where a frame sits on the sensor's active area: sensor row = origin[0] + step[0] * row.

    Maps that belong to the sensor (shading, distortion, defect lists) are looked up through it, so a
    crop, a tile or a mirrored copy still finds its own place.
    """

    full_size: tuple[int, int]
    """height, width of the whole active area"""
    origin: tuple[int, int] = (0, 0)
    """sensor row and column of the frame's top-left pixel"""
    step: tuple[int, int] = (1, 1)
    """+1, or -1 where the frame runs backwards"""

    def crop(self, y: int, x: int) -> View:
        """The view of a window whose top-left pixel is `(y, x)`."""
        origin = (self.origin[0] + self.step[0] * y, self.origin[1] + self.step[1] * x)
        return replace(self, origin=origin)

    def mirror(self, axis: int, size: int) -> View:
        """The view after flipping `axis` (0 rows, 1 columns) of a frame of `size` pixels."""
        origin, step = list(self.origin), list(self.step)
        origin[axis] += step[axis] * (size - 1)
        step[axis] = -step[axis]
        return replace(self, origin=(origin[0], origin[1]), step=(step[0], step[1]))

    def transpose(self) -> View:
        """The view on a sensor whose rows and columns are swapped, too."""
        return View(self.full_size[::-1], self.origin[::-1], self.step[::-1])

    def coordinates(self, size: Sequence[int], like: Tensor) -> tuple[Tensor, Tensor]:
        """Sensor rows (H,) and columns (W,) of the pixels of a frame of `size` = (..., H, W)."""
        rows = torch.arange(size[-2], device=like.device, dtype=like.dtype) * self.step[0] + self.origin[0]
        cols = torch.arange(size[-1], device=like.device, dtype=like.dtype) * self.step[1] + self.origin[1]
        return rows, cols


@dataclass(frozen=True)
class CameraMeta:
    """The facts that a RAW file or a calibration gives; names follow the DNG specification.

    Numeric fields are float32 tensors with a leading batch axis (size 1 broadcasts), ragged ones
    tuples with one entry a frame; a batch has one CFA. Build one with `CameraMeta.make`.
    """

    cfa_pattern: CfaPattern
    """the filters of the top-left 2x2 cells, row by row; `cfa` for those who know cells of one photosite alone"""
    cfa_cell: Cell
    """photosites a filter: one in a Bayer array, 2x2 in a Quad Bayer array"""
    black_level: Tensor
    """(B, 4) DN, per site of the top-left 2x2 photosites, row by row"""
    white_level: Tensor
    """(B, 4) DN, per site"""
    neutral: Tensor
    """(B, 3) the scene's white in sensor RGB, largest 1; as shot, until a white balance says otherwise"""
    wb_gains: Tensor
    """(B, 3) what the pixels have been multiplied with already; ones for a fresh frame"""
    color_matrices: Tensor
    """(B, 2, 3, 3) XYZ -> sensor RGB under the two calibration illuminants (equal if there is one)"""
    forward_matrices: Tensor
    """(B, 2, 3, 3) white-balanced sensor RGB -> XYZ D50; zeros where the camera has none"""
    illuminant_cct_k: Tensor
    """(B, 2) of the two calibration illuminants"""
    noise_profile: Tensor
    """(B, 3, 2) per R, G, B: variance = S x + O of the current signal x in [0, 1]; zeros if unknown"""
    noise_map: Tensor | None
    """(B, 1, H, W) gain g applied so far that differs per pixel: variance = g S x + g^2 O; None means 1"""
    baseline_exposure: Tensor
    """(B,) EV that the maker asks a converter to add"""
    iso: Tensor
    """(B,) 0 if unknown"""
    exposure_time_s: Tensor
    """(B,) 0 if unknown"""
    orientation: tuple[int, ...]
    """EXIF orientation 1..8 that is still to be applied"""
    view: tuple[View, ...]
    opcodes: tuple[tuple[Opcode, ...], ...]
    exif: tuple[Mapping[str, Any], ...] = field(compare=False)
    """free facts to be carried over to the written file: Make, Model, DateTimeOriginal, ..."""
    color_space: tuple[str, ...] = ("srgb",)
    """the color space that a DISPLAY_RGB frame is encoded for"""

    @staticmethod
    def make(
        cfa: str,
        size: Sequence[int],
        *,
        black_level: float | Sequence[float] = 0.0,
        white_level: float | Sequence[float] = 1.0,
        neutral: Sequence[float] = (1.0, 1.0, 1.0),
        color_matrices: Sequence[Any] = (XYZ_TO_SRGB,),
        forward_matrices: Sequence[Any] = (),
        illuminant_cct_k: Sequence[float] = (6504.0,),
        noise_profile: Sequence[Sequence[float]] = ((0.0, 0.0),),
        baseline_exposure: float = 0.0,
        iso: float = 0.0,
        exposure_time_s: float = 0.0,
        orientation: int = 1,
        view: View | None = None,
        opcodes: Sequence[Opcode] = (),
        exif: Mapping[str, Any] | None = None,
        cfa_cell: Cell | None = None,
    ) -> CameraMeta:
        """Facts of one frame of `size` = (..., H, W) from plain numbers; one value stands for all sites.

        `noise_profile` is one (S, O) or one per R, G, B; `color_matrices`, `forward_matrices` and
        `illuminant_cct_k` hold one or two entries. Raises `ParamError`, `ShapeError`.
        """
        cm, fm = _pair(color_matrices), _pair(forward_matrices or [((0.0,) * 3,) * 3])
        white = torch.tensor([list(neutral)], dtype=torch.float32)
        profile = torch.tensor([list(map(list, noise_profile))], dtype=torch.float32)
        return CameraMeta(
            cfa_pattern=check_cfa(cfa),
            cfa_cell=cfa_cell or Cell(),
            black_level=_sites(black_level),
            white_level=_sites(white_level),
            neutral=white / white.max(),
            wb_gains=torch.ones(1, 3),
            color_matrices=cm,
            forward_matrices=fm,
            illuminant_cct_k=_pair(illuminant_cct_k),
            noise_profile=profile.expand(1, 3, 2).clone(),
            noise_map=None,
            baseline_exposure=torch.tensor([float(baseline_exposure)]),
            iso=torch.tensor([float(iso)]),
            exposure_time_s=torch.tensor([float(exposure_time_s)]),
            orientation=(orientation,),
            view=(view or View((int(size[-2]), int(size[-1]))),),
            opcodes=(tuple(opcodes),),
            exif=(dict(exif or {}),),
        )

    @property
    def cfa(self) -> CfaPattern:
        """The Bayer pattern of the top-left 2x2 photosites. Raises `DomainError` where filters cover several."""
        if self.cfa_cell.size != 1:
            n = self.cfa_cell.size
            raise DomainError(
                f"this mosaic has one filter for {n}x{n} photosites (Quad Bayer), which is not a Bayer array; "
                "render it with the learned ISP 'anscombe', or average each cell to one photosite first"
            )
        return self.cfa_pattern

    @property
    def batch(self) -> int:
        """Number of frames that these facts describe."""
        return len(self.view)

    def tensors(self) -> dict[str, Any]:
        """The numeric fields by name."""
        return {f.name: v for f in fields(self) if isinstance(v := getattr(self, f.name), Tensor)}

    def map(self, change: Callable[[Tensor], Tensor]) -> CameraMeta:
        """The same facts with `change` applied to every numeric field."""
        changed: dict[str, Any] = {name: change(value) for name, value in self.tensors().items()}
        return replace(self, **changed)

    def select(self, rows: Sequence[int]) -> CameraMeta:
        """The facts of some frames of the batch, in this order; a repeated row is repeated."""
        index = list(rows)
        ragged: dict[str, Any] = {n: tuple(getattr(self, n)[i] for i in index) for n in RAGGED}
        return replace(self.map(lambda t: t[index]), **ragged)

    @staticmethod
    def cat(metas: Sequence[CameraMeta]) -> CameraMeta:
        """One batch from several; all must have the same CFA."""
        first = metas[0]
        arrays = {(m.cfa_pattern, m.cfa_cell) for m in metas}
        if len(arrays) > 1:
            found = sorted({word + ("" if cell == Cell() else f" in {cell}") for word, cell in arrays})
            raise ShapeError(f"one batch has one CFA, got {', '.join(found)}; crop by one pixel to align them")
        if any((m.noise_map is None) != (first.noise_map is None) for m in metas):
            raise ShapeError(
                "frames with and without a noise map cannot share a batch; apply lens shading to all or none"
            )
        numeric: dict[str, Any] = {n: torch.cat([m.tensors()[n] for m in metas]) for n in first.tensors()}
        ragged: dict[str, Any] = {n: tuple(x for m in metas for x in getattr(m, n)) for n in RAGGED}
        return replace(first, **numeric, **ragged)


RAGGED = ("orientation", "view", "opcodes", "exif", "color_space")


def _sites(level: float | Sequence[float]) -> Tensor:
    values = [float(level)] * 4 if isinstance(level, int | float) else [float(v) for v in level]
    if len(values) != 4:
        raise ShapeError(f"a level has 1 or 4 values (2x2 sites, row by row), got {len(values)}")
    return torch.tensor([values])


def _pair(entries: Sequence[Any]) -> Tensor:
    if not 1 <= len(entries) <= 2:
        raise ShapeError(f"a camera has one or two calibration illuminants here, got {len(entries)}")
    return torch.tensor([[entries[0], entries[-1]]], dtype=torch.float32)
