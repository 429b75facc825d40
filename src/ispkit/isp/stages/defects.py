"""Defect pixels: those that the file lists, and those that stick out."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from ispkit.core.frame import Domain, Frame
from ispkit.core.meta import View
from ispkit.core.opcodes import BadPixelsConstant, BadPixelsList, Opcode
from ispkit.core.param import Choice, Number, Param, Values
from ispkit.isp.stage import Stage
from ispkit.ops import defects, noise
from ispkit.ops.cfa import spread_sites
from ispkit.ops.lens import axis_slice


class DefectPixels(Stage):
    """Replace defect photosites from same-color neighbors; place it right after `Linearize`.

    `source="file"` corrects what `FixBadPixelsConstant` and `FixBadPixelsList` of the file name. `detect`
    looks for photosites that exceed all eight same-color neighbors by floor + sigmas x noise, the noise being
    that of the local level by `meta.noise_profile` (0 where that is unknown). The noise facts stay.
    """

    reads, writes = Domain.MOSAIC, Domain.MOSAIC
    source = Choice(default="file", options=("file", "off"), doc="correct the pixels that the file lists as bad")
    detect = Choice(default="off", options=("off", "hot", "both"), doc="look for bright, or bright and dark, defects")
    sigmas = Param(
        default=5.0, low=0.0, high=20.0, unit="noise sigma", when=("detect", ("hot", "both")),
        doc="how far a good pixel may stick out, by the noise profile",
    )  # fmt: skip
    floor = Param(
        default=0.02, low=0.001, high=0.5, scale="log", when=("detect", ("hot", "both")),
        doc="and how far in any case, of the full scale",
    )  # fmt: skip

    def apply(self, frame: Frame, source: str, detect: str, sigmas: Number, floor: Number) -> Frame:
        """The mosaic without the defects; the frame itself where there is nothing to do."""
        if source == "file":
            frame = _listed(frame)
        if detect == "off":
            return frame
        m = frame.meta
        around = defects.surroundings(frame.data)
        spread = noise.variance(around[2], m.noise_profile, cfa=m.cfa, noise_map=m.noise_map)
        limit = defects.tolerance(spread, sigmas, floor)
        return frame.with_data(defects.correct(frame.data, around, limit, cold=detect == "both"))

    def support(self, values: Values, size: tuple[int, int]) -> int:
        """Neighbors of listed pixels, and of detected ones after them."""
        listed = bool((self.source.index(values["source"]) == 0).any())
        detected = bool((self.detect.index(values["detect"]) > 0).any())
        return 4 * listed + defects.REACH * detected


def _listed(frame: Frame) -> Frame:
    """Correct what the opcodes of each frame name."""
    wanted = [[o for o in ops if isinstance(o, BadPixelsList | BadPixelsConstant)] for ops in frame.meta.opcodes]
    if not any(wanted):
        return frame
    if len(wanted) == 1 < frame.batch:
        frame = Frame(frame.data, frame.domain, frame.meta.select([0] * frame.batch))
        wanted = wanted * frame.batch
    parts = []
    for i, opcodes in enumerate(wanted):
        one = frame.select([i])
        parts.append(defects.correct_listed(one.data, bad_points(one, opcodes)))
    return frame.with_data(torch.cat(parts))


def bad_points(frame: Frame, opcodes: Sequence[Opcode]) -> Tensor:
    """Rows and columns, (N, 2), of what the opcodes name in a frame of one picture, each once."""
    height, width = frame.size
    bad = torch.zeros(height, width, dtype=torch.bool, device=frame.data.device)
    for opcode in opcodes:
        if isinstance(opcode, BadPixelsList):
            _mark(bad, opcode, frame.meta.view[0])
        elif isinstance(opcode, BadPixelsConstant):
            bad |= _constant(frame, opcode.value)
    return bad.nonzero()


def _mark(bad: Tensor, opcode: BadPixelsList, view: View) -> None:
    if opcode.points:
        at = torch.tensor(opcode.points, device=bad.device)
        rows, columns = ((at[:, a] - view.origin[a]) * view.step[a] for a in (0, 1))
        inside = (rows >= 0) & (rows < bad.shape[0]) & (columns >= 0) & (columns < bad.shape[1])
        bad[rows[inside], columns[inside]] = True
    for top, left, bottom, right in opcode.rectangles:
        ys, xs = (
            axis_slice(view.origin[a], view.step[a], int(bad.shape[a]), range(*ends))
            for a, ends in ((0, (top, bottom)), (1, (left, right)))
        )
        bad[ys, xs] = True


def _constant(frame: Frame, value: int) -> Tensor:
    """Where the stored DN was `value`; holds for a freshly linearised mosaic."""
    levels = (frame.meta.black_level, frame.meta.white_level)
    black, white = (spread_sites(level.to(frame.data), frame.size) for level in levels)
    return ((frame.data * (white - black) + black - value).abs() < 0.25)[0, 0]
