"""Does a pipeline with these knobs fit the fused renderer? `plan` answers with its steps, or why not.

No formula is written twice where it can be asked for: a linear stage is run on unit vectors, a tone
curve on a ramp, a demosaicing filter and a blur on impulses, all by the torch stage itself.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cache

import numpy as np
import torch
from torch import Tensor

from ispkit.core.frame import Domain, Frame
from ispkit.core.opcodes import BadPixelsConstant, BadPixelsList
from ispkit.core.param import Value, Values
from ispkit.isp.fused import shading
from ispkit.isp.fused.steps import (
    Array,
    Ceiling,
    Contrast,
    Curve,
    DoesNotFitError,
    LinearDemosaic,
    Matrix,
    Sites,
    Step,
    Taps,
    Unsharp,
    Vibrance,
    merge,
    one_torch_thread,
)
from ispkit.isp.pipeline import Pipeline
from ispkit.isp.stage import Stage
from ispkit.isp.stages.color import ColorAdjust, ColorMatrix
from ispkit.isp.stages.defects import DefectPixels
from ispkit.isp.stages.demosaic import Demosaic
from ispkit.isp.stages.encode import Encode
from ispkit.isp.stages.highlights import Highlights
from ispkit.isp.stages.lens import LensShading
from ispkit.isp.stages.levels import Exposure, Linearize
from ispkit.isp.stages.sharpen import Sharpen
from ispkit.isp.stages.tone import ToneCurve
from ispkit.isp.stages.white_balance import WhiteBalance
from ispkit.isp.tiled import statistics
from ispkit.ops import sharpen, tone
from ispkit.ops.blur import gaussian_blur
from ispkit.ops.color_spaces import linear_srgb_to
from ispkit.ops.demosaic import SUPPORT, demosaic
from ispkit.ops.encode import encode_for, gamma_encode

RED_AT = {"RGGB": (0, 0), "GRBG": (0, 1), "GBRG": (1, 0), "BGGR": (1, 1)}
BAD_PIXELS = (BadPixelsConstant, BadPixelsList)
LINEAR_METHODS = ("bilinear", "malvar2004")
_CORNER = 32  # of the picture, to see what stages do to its facts
_PIVOT = 0.18  # the default of ops.adjust.contrast; a test compares


@dataclass(frozen=True)
class Plan:
    """A chain ready to be compiled."""

    steps: tuple[Step, ...]
    red_at: tuple[int, int]
    """row and column of the mosaic's first red site"""
    head: Pipeline | None = None
    """stages on the mosaic that torch has to run before (listed defects, denoising), with their knobs"""


@dataclass(frozen=True)
class Part:
    """One stage with its plain knobs, and a corner of the frame that reaches it."""

    stage: Stage
    knobs: Mapping[str, Value]
    probe: Frame
    size: tuple[int, int]
    measured: Tensor | None = None
    answers: list[Frame] = field(default_factory=list)

    def run(self, data: Tensor, **knobs: Value) -> Tensor:
        """What the torch stage makes of `data`, with some knobs replaced."""
        answer = self.stage(self.probe.with_data(data), {**self.knobs, **knobs}, self.measured)
        if not knobs:
            self.answers.append(answer)
        return answer.data

    def after(self) -> Frame:
        """The same corner of the frame that leaves the stage: its facts, no pixels."""
        if not self.answers:
            self.run(self.probe.data)
        frame = self.answers[-1]
        return frame.with_data(torch.zeros(1, frame.domain.channels, *self.probe.size))

    def number(self, knob: str) -> float:
        """A numeric knob as a plain number."""
        value = self.knobs[knob]
        return float(value) if not isinstance(value, str) else float("nan")

    def option(self, knob: str) -> str:
        """A choice as its option's name."""
        declared = self.stage.knobs[knob]
        return declared.name(self.knobs[knob]) if hasattr(declared, "name") else str(self.knobs[knob])


@torch.no_grad()
def plan(pipeline: Pipeline, frame: Frame, values: Values | None = None) -> Plan:
    """What renders `frame`: fused steps, behind a head of torch stages up to the last that is not fused.

    Raises `DoesNotFitError` with the reason where a stage behind the demosaicing does not fit, `ParamError`.
    """
    names = pipeline.entered_at(frame)
    _check_frame(pipeline, frame, names)
    measured = statistics(pipeline, frame, values)
    with one_torch_thread():
        steps, head = _steps(pipeline, frame, values, measured)
    return Plan(tuple(merge(steps)), RED_AT[frame.meta.cfa], _head(pipeline, names[:head], values))


def _steps(
    pipeline: Pipeline, frame: Frame, values: Values | None, measured: Mapping[str, Tensor]
) -> tuple[list[Step], int]:
    """The fused steps, and how many stages have to run before them."""
    settings = pipeline.settings(values)
    probe = frame.crop(0, 0, min(_CORNER, frame.size[0]), min(_CORNER, frame.size[1]))
    steps: list[Step] = []
    head = 0
    for i, name in enumerate(pipeline.entered_at(frame)):
        part = Part(pipeline.stages[name], _plain(name, settings[name]), probe, frame.size, measured.get(name))
        try:
            steps += _lowered(name, part)
        except DoesNotFitError:
            if part.stage.writes is not Domain.MOSAIC:
                raise
            steps, head = [], i + 1
        probe = part.after()
    return steps, head


def _head(pipeline: Pipeline, names: list[str], values: Values | None) -> Pipeline | None:
    if not names:
        return None
    settings = pipeline.settings(values)
    plain = {f"{n}.{k}": v for n in names for k, v in _plain(n, settings[n]).items()}
    return Pipeline({n: pipeline.stages[n] for n in names}, plain)


def _check_frame(pipeline: Pipeline, frame: Frame, names: list[str]) -> None:
    if frame.batch != 1 or frame.data.dtype != torch.float32 or frame.data.device.type != "cpu":
        raise DoesNotFitError("the fused renderer takes one float32 frame on the CPU")
    if frame.domain.channels != 1 or pipeline.writes is not Domain.DISPLAY_RGB or min(frame.size) < 2:
        raise DoesNotFitError("the fused renderer goes from a mosaic of at least 2x2 to display values")
    if sum(isinstance(pipeline.stages[n], Demosaic) for n in names) != 1:
        raise DoesNotFitError("the fused renderer needs one 'demosaic' stage")


def _plain(name: str, knobs: Mapping[str, Value]) -> dict[str, Value]:
    """Knobs as floats and names: the fused renderer has no gradients and no batches."""
    for knob, value in knobs.items():
        if isinstance(value, Tensor) and value.numel() != 1:
            raise DoesNotFitError(f"{name}.{knob} holds {value.numel()} settings; the fused renderer takes one")
    return {k: v.item() if isinstance(v, Tensor) else v for k, v in knobs.items()}


def _lowered(name: str, part: Part) -> list[Step]:
    lower = LOWERINGS.get(type(part.stage))
    if lower is not None:
        try:
            return lower(part)
        except DoesNotFitError as error:
            raise DoesNotFitError(f"stage {name!r}: {error}") from None
    untouched = part.stage(part.probe, part.knobs).data is part.probe.data
    if untouched and part.stage.support_for(part.probe, part.knobs, part.size) == 0:
        return []
    raise DoesNotFitError(f"stage {name!r} is not one that the fused renderer knows")


def _sites(part: Part) -> list[Step]:
    """An affine stage on the mosaic, seen on black and on one."""
    black, one = (part.run(torch.full((1, 1, 2, 2), level, dtype=torch.float64))[0, 0] for level in (0.0, 1.0))
    dy, dx = RED_AT[part.probe.meta.cfa]
    factors = torch.stack([one - black, black]).roll((dy, dx), (1, 2)).reshape(2, 4)
    return [Sites(_array(factors))]


def _defects(part: Part) -> list[Step]:
    listed = part.option("source") == "file" and any(isinstance(o, BAD_PIXELS) for o in part.probe.meta.opcodes[0])
    if listed or part.option("detect") != "off":
        raise DoesNotFitError("defects are corrected by torch")
    return []


def _ceiling(part: Part) -> list[Step]:
    if (mode := part.option("mode")) != "clip":
        raise DoesNotFitError(f"mode={mode!r} is not fused; 'clip' is")
    return [Ceiling(_array(part.run(torch.full((1, 1, 2, 2), 1e9))[0, 0, 0, :1]))]


def _demosaic(part: Part) -> list[Step]:
    if (method := part.option("method")) not in LINEAR_METHODS:
        raise DoesNotFitError(f"method={method!r} is not fused; {', '.join(LINEAR_METHODS)} are")
    return [LinearDemosaic(impulse_taps(method))]


@cache
def impulse_taps(method: str) -> tuple[tuple[Taps, Taps, Taps], ...]:
    """The filters of a linear method, per site from red on and per color, from its answer to impulses."""
    reach = SUPPORT[method]
    edge = 2 * (2 * reach + 3)
    middle = edge // 2 // 2 * 2
    picture = torch.zeros(edge * edge, 1, edge, edge, dtype=torch.float64)
    picture.view(edge * edge, -1).fill_diagonal_(1.0)
    answer = demosaic(picture, "RGGB", method).reshape(edge, edge, 3, edge, edge)
    sites = [(middle + dy, middle + dx) for dy in (0, 1) for dx in (0, 1)]
    return tuple((_taps(answer, y, x, 0), _taps(answer, y, x, 1), _taps(answer, y, x, 2)) for y, x in sites)


def _taps(answer: Tensor, y: int, x: int, color: int) -> Taps:
    weights = answer[:, :, color, y, x]
    return tuple((int(i) - y, int(j) - x, float(weights[i, j])) for i, j in weights.nonzero())


def _matrix(part: Part, **knobs: Value) -> list[Step]:
    """A linear stage on colors, seen on the unit vectors."""
    answer = part.run(torch.eye(3, dtype=torch.float64)[None, :, None, :], **knobs)
    return [Matrix(_array(answer[0, :, 0, :]))]


def _tone(part: Part) -> list[Step]:
    share = part.number("hue_preservation")
    if part.option("style") == "none" and part.number("shadow") == 0:
        return []
    if part.option("style") == "none" or share == 0:
        return [Curve(lambda x: part.run(x, hue_preservation=0.0))]
    shadow = part.number("shadow")
    lifted: list[Step] = [Curve(lambda x: tone.lift_shadows(x, shadow))] if shadow else []
    return [*lifted, Curve(lambda x: part.run(x, hue_preservation=0.0, shadow=0.0), share)]


def _adjust(part: Part) -> list[Step]:
    steps: list[Step] = []
    if (amount := part.number("contrast")) != 1:
        steps.append(Contrast(np.array([amount - 1, 1 / _PIVOT], np.float32)))
    if vibrance := part.number("vibrance"):
        steps.append(Vibrance(np.array([part.number("saturation"), vibrance], np.float32)))
        return steps + _matrix(part, contrast=1.0, saturation=1.0, vibrance=0.0)
    return steps + _matrix(part, contrast=1.0)


def _unsharp(part: Part) -> list[Step]:
    if part.number("amount") == 0:
        return []
    line = torch.zeros(1, 1, 1, 4 * sharpen.RADIUS + 1)
    line[..., 2 * sharpen.RADIUS] = 1.0
    answer = gaussian_blur(line, part.number("sigma"), radius=sharpen.RADIUS)
    weights = answer[0, 0, 0, sharpen.RADIUS : 3 * sharpen.RADIUS + 1]
    knobs = torch.tensor([part.number(k) for k in ("amount", "threshold", "halo_limit")])
    return [Unsharp(_array(weights), _array(knobs), sharpen.RADIUS)]


def _encode(part: Part) -> list[Step]:
    space, gamma = part.option("space"), part.number("gamma")
    plain = space in ("srgb", "linear-srgb")
    steps: list[Step] = [] if plain else [Matrix(_array(linear_srgb_to(space)))]
    if part.option("transfer") == "gamma":
        return [*steps, Curve(lambda x: gamma_encode(x, gamma))]
    return [*steps, Curve(lambda x: encode_for(x, space))]


def _array(values: Tensor) -> Array:
    return np.ascontiguousarray(values.detach().to(torch.float32).numpy())


LOWERINGS: dict[type[Stage], Callable[[Part], list[Step]]] = {
    Linearize: _sites,
    WhiteBalance: _sites,
    DefectPixels: _defects,
    LensShading: lambda part: shading.lowered(part.probe, part.knobs, part.size, RED_AT[part.probe.meta.cfa]),
    Highlights: _ceiling,
    Demosaic: _demosaic,
    ColorMatrix: _matrix,
    Exposure: _matrix,
    ColorAdjust: _adjust,
    ToneCurve: _tone,
    Sharpen: _unsharp,
    Encode: _encode,
}
"""stage -> how it becomes steps; a stage that is not here fits only while it is off"""
