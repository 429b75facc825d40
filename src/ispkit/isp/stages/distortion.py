"""Distortion and lateral color, corrected in one resampling of camera RGB."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from functools import partial

import torch
from torch import Tensor

from ispkit.core.frame import Domain, Frame
from ispkit.core.opcodes import Opcode, WarpFisheye, WarpRectilinear
from ispkit.core.param import Choice, Number, Param, Value, Values
from ispkit.isp.stage import Stage
from ispkit.isp.stages.lens import gain_field, is_gain, shaded
from ispkit.ops import warp
from ispkit.ops.lens import centered

Knobs = Mapping[str, Number]


class Distortion(Stage):
    """Straighten lines and align colors: the file's OpcodeList3, a manual radial law, lateral color.

    The output pixel at distance r of the center (1 at the farthest corner) is sampled at
    r (1 + k1 r^2 + k2 r^4 + k3 r^6) / zoom, red and blue at that times their scale; file and manual warps
    are one bicubic resampling. Gains of OpcodeList3 are applied at their place in the list. Noise facts stay
    as they are: they describe pixels before resampling.
    """

    reads, writes = Domain.CAMERA_RGB, Domain.CAMERA_RGB
    source = Choice(default="file", options=("file", "off"), doc="apply the warps that the file carries")
    k1 = Param(default=0.0, low=-0.5, high=0.5, doc="manual radial law; negative corrects a barrel")
    k2 = Param(default=0.0, low=-0.5, high=0.5, doc="manual radial law at r^4")
    k3 = Param(default=0.0, low=-0.5, high=0.5, doc="manual radial law at r^6")
    zoom = Param(default=1.0, low=0.5, high=2.0, scale="log", doc="enlarge about the center")
    red_scale = Param(default=1.0, low=0.98, high=1.02, doc="lateral color: relative radius at which red is read")
    blue_scale = Param(default=1.0, low=0.98, high=1.02, doc="lateral color: relative radius at which blue is read")

    def apply(self, frame: Frame, *, source: str, **knobs: Number) -> Frame:
        """The resampled picture; without warps and with neutral knobs the frame itself."""
        manual = {} if _neutral(knobs) else knobs
        lists = [corrections(o) if source == "file" else () for o in frame.meta.opcodes]
        if not manual and not any(lists):
            return frame
        views = frame.meta.view
        if all(v == views[0] for v in views) and all(o == lists[0] for o in lists):
            return _corrected(frame, lists[0], manual)
        parts = []
        for i, opcodes in enumerate(lists):
            own = {n: k[i] if isinstance(k, Tensor) and k.ndim else k for n, k in manual.items()}
            parts.append(_corrected(frame.select([i]), opcodes, own))
        return Frame.cat([with_noise_map(p) for p in parts] if any(_has_gain(o) for o in lists) else parts)

    def support(self, values: Values, size: tuple[int, int]) -> int:
        """Reach of the manual warp; the whole picture where the file may bring its own."""
        file = bool((self.source.index(values["source"]) == 0).any())
        return max(size) if file else _manual_reach(values, size)

    def support_for(self, frame: Frame, values: Values, size: tuple[int, int]) -> int:
        """As `support`, but a frame without warps needs only the manual law's reach."""
        return self.support(values, size) if any(map(corrections, frame.meta.opcodes)) else _manual_reach(values, size)


def corrections(opcodes: Sequence[Opcode]) -> tuple[Opcode, ...]:
    """The warps and gains of OpcodeList3, in order."""
    return tuple(o for o in opcodes if o.stage == 3 and (is_gain(o) or isinstance(o, WarpRectilinear | WarpFisheye)))


def with_noise_map(frame: Frame) -> Frame:
    """The frame with a noise map of ones if it had none."""
    if frame.meta.noise_map is not None:
        return frame
    return frame.with_data(frame.data, noise_map=torch.ones_like(frame.data[:, :1]))


def _has_gain(opcodes: Sequence[Opcode]) -> bool:
    return any(is_gain(o) for o in opcodes)


def _neutral(knobs: Knobs) -> bool:
    neutral = {"zoom": 1.0, "red_scale": 1.0, "blue_scale": 1.0}
    return all(not isinstance(k, Tensor) and k == neutral.get(n, 0.0) for n, k in knobs.items())


def _corrected(frame: Frame, opcodes: Sequence[Opcode], knobs: Knobs) -> Frame:
    """One view, one list: warps between two gains are joined, the manual law comes last."""
    warps: list[Opcode] = []
    for opcode in opcodes:
        if is_gain(opcode):
            frame = shaded(_warped(frame, warps, {}), gain_field([opcode], frame.meta.view[0], frame.data))
            warps = []
        else:
            warps.append(opcode)
    return _warped(frame, warps, knobs)


def _warped(frame: Frame, opcodes: Sequence[Opcode], knobs: Knobs) -> Frame:
    if not opcodes and not knobs:
        return frame
    view = frame.meta.view[0]
    dy, dx, reach = centered(*view.coordinates(frame.size, frame.data), view.full_size)
    scale = (reach * view.step[0], reach * view.step[1])
    planes = []
    for i in range(3):
        laws = [_law(o, i, view.full_size) for o in opcodes] + _manual_laws(knobs, i)
        plane = frame.data[:, i : i + 1]
        planes.append(warp.resample(plane, dy, dx, scale, warp.chain(laws)) if laws else plane)
    return frame.with_data(torch.cat(planes, dim=1))


def _law(opcode: Opcode, plane: int, size: tuple[int, int]) -> warp.Warp:
    """The opcode as a law about the picture's center; a plane it does not list follows its last."""
    if isinstance(opcode, WarpRectilinear):
        k = opcode.planes[min(plane, len(opcode.planes) - 1)]
        return warp.about(opcode.center, size, partial(warp.rectilinear, radial=k[:4], tangential=k[4:]))
    if isinstance(opcode, WarpFisheye):
        own = opcode.planes[min(plane, len(opcode.planes) - 1)]
        return warp.about(opcode.center, size, partial(warp.fisheye, coefficients=own))
    raise TypeError(f"{type(opcode).__name__} is not a warp")


def _manual_laws(knobs: Knobs, plane: int) -> list[warp.Warp]:
    """The knobs' law for this plane; none where it would leave every pixel in place."""
    lateral = {0: "red_scale", 2: "blue_scale"}.get(plane)
    own = {n: k for n, k in knobs.items() if n in ("k1", "k2", "k3", "zoom", lateral)}
    if _neutral(own):
        return []
    scale = (own[lateral] if lateral else 1.0) / own["zoom"]
    return [partial(warp.radial, coefficients=[own["k1"], own["k2"], own["k3"]], scale=scale)]


def _manual_reach(values: Values, size: tuple[int, int]) -> int:
    """Largest displacement in px, and the two pixels that bicubic sampling adds."""
    bend = sum(_largest(values[k]) for k in ("k1", "k2", "k3"))
    zoom = torch.as_tensor(values["zoom"]).detach().double()
    lateral = max(_largest(values[k], 1.0) for k in ("red_scale", "blue_scale"))
    shift = (1 + bend) * float((1 / zoom).max()) * (1 + lateral) - 1
    shift = max(shift, bend, 1 - float((1 / zoom).min()) * (1 - bend) * (1 - lateral))
    return 0 if shift == 0 else math.ceil(shift * math.hypot(*size) / 2) + 2


def _largest(value: Value, neutral: float = 0.0) -> float:
    return float((torch.as_tensor(value).detach().double() - neutral).abs().max())
