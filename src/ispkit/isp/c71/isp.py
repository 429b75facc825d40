"""`C71` itself: a frame and codes in, a picture out; stages in the order that hardware runs them."""

from __future__ import annotations

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ispkit.core.errors import ShapeError
from ispkit.core.frame import Domain, Frame
from ispkit.core.param import Value, Values
from ispkit.core.space import ParamSpace
from ispkit.isp.c71 import detail
from ispkit.isp.c71.baseline import read_baseline
from ispkit.isp.c71.demosaic import color_differences, directions, green
from ispkit.isp.c71.denoise import denoise
from ispkit.isp.c71.fixed import FLOOR, WHITE, Plane, binomial, saturate
from ispkit.isp.c71.registers import REGISTERS, Codes, check_codes
from ispkit.isp.c71.tone import balance, convert, tone_table

_LEAST = 4


class C71:
    """A stand-in for the ARM Mali-C71 of Tseng et al. 2019: 32 registers, whole numbers, no gradients.

    RAW frames (B, 1, H, W) in DN of any levels and any Bayer pattern -> sRGB (B, 3, H, W), 8-bit codes / 255. Of the
    frame's facts it takes the pattern and the levels alone: gains, matrix and noise are registers and fixed tables.
    A batch of settings, of frames, or of both is rendered one by one; the same input always gives the same picture.

    `defaults` replace those of the space, which are the frozen baseline (`read_baseline`); `PAPER_EXPERT` holds the
    paper's. Names and ranges are from the paper, what the registers do is our reading: see docs/guide/c71.md.

    >>> C71().space["denoise.strength_4"].high
    255
    """

    reads = Domain.RAW
    writes = Domain.DISPLAY_RGB

    def __init__(self, defaults: Values | None = None) -> None:
        frozen = read_baseline().values
        space = ParamSpace({r.name: r.param(int(frozen[r.name])) for r in REGISTERS})
        self.space = space.with_defaults(defaults or {})

    def __call__(self, frame: Frame, values: Values | None = None) -> Frame:
        """Render. Raises `ParamError` for unknown names and codes out of range, `DomainError`, `ShapeError`."""
        frame.expect(self.reads, "c71")
        if min(frame.size) < _LEAST:
            raise ShapeError(f"c71 needs {_LEAST}x{_LEAST} pixels or more, got {frame.size[0]}x{frame.size[1]}")
        self.space.check(values or {})
        settings = _settings({**self.space.defaults(), **(values or {})})
        frame = frame.repeat(len(settings)) if len(settings) > 1 else frame
        settings = settings if len(settings) == frame.batch else settings * frame.batch
        planes = _sensor_codes(frame)
        pictures = [develop(plane, frame.meta.cfa, codes) for plane, codes in zip(planes, settings, strict=True)]
        rgb = torch.from_numpy(np.stack(pictures)).permute(0, 3, 1, 2)
        data = rgb.to(frame.data.device, torch.float32).contiguous() / 255
        return frame.with_data(data, self.writes, color_space=("srgb",) * frame.meta.batch)


def develop(mosaic: Plane, cfa: str, codes: Codes) -> NDArray[np.uint8]:
    """(H, W) sensor codes, black 0, white `WHITE` -> (H, W, 3) codes of 8 bits."""
    dy, dx = divmod(cfa.index("R"), 2)
    framed = np.asarray(cv2.copyMakeBorder(mosaic, dy, 0, dx, 0, cv2.BORDER_REFLECT_101))  # now RGGB
    sites = balance(framed, codes)
    found = directions(sites, codes)
    g = green(sites, found)
    red, blue = color_differences(sites, g)
    light = detail.luma(g, red, blue)
    smooth = binomial(binomial(light))
    alias = detail.aliasing(light, smooth)
    red, blue = (detail.correct_colors(c, alias, found.sigma, codes) for c in (red, blue))
    g = g + detail.sharpening(light, smooth, found, codes)
    rgb = denoise((saturate(g + red), saturate(g), saturate(g + blue)), codes)
    table = tone_table(codes["lut_knee"], codes["lut_power"], codes["lut_shadow"])
    return np.stack([table[plane[dy:, dx:]] for plane in convert(rgb, codes)], axis=-1)


def _settings(values: Values) -> list[Codes]:
    """One set of codes a picture; numbers between two codes are rounded, as when a register is written."""
    columns = {name: _codes(value) for name, value in values.items()}
    counts = {len(c) for c in columns.values()} - {1}
    if len(counts) > 1:
        raise ShapeError(f"settings of one batch have one length, got {sorted(counts)}")
    count = counts.pop() if counts else 1
    spread = {name: c if len(c) == count else c * count for name, c in columns.items()}
    return [check_codes({name: c[i] for name, c in spread.items()}) for i in range(count)]


def _codes(value: Value) -> list[int]:
    items = torch.as_tensor(value).detach().cpu() if not isinstance(value, str) else torch.zeros(0)
    return [round(float(v)) for v in items.reshape(-1)]


def _sensor_codes(frame: Frame) -> NDArray[np.int32]:
    """(B, H, W) whole codes above black: the interface to the sensor, the last place with fractions."""
    count, size = frame.batch, frame.size
    black, white = (_sites(level, count, size) for level in (frame.meta.black_level, frame.meta.white_level))
    dn = frame.data[:, 0].detach().cpu().double().numpy()
    codes = np.rint((dn - black) * (WHITE / np.maximum(white - black, 1e-9)))
    return np.clip(codes, FLOOR, WHITE).astype(np.int32)


def _sites(level: Tensor, count: int, size: tuple[int, int]) -> NDArray[np.float64]:
    tile = level.detach().cpu().double().reshape(-1, 2, 2).expand(count, 2, 2).numpy()
    return np.tile(tile, (1, -(-size[0] // 2), -(-size[1] // 2)))[:, : size[0], : size[1]]
