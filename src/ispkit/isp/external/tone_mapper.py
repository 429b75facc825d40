"""The local Laplacian tone mapper as a black box on finished pictures."""

from __future__ import annotations

from torch import Tensor

from ispkit.core.frame import Domain, Frame
from ispkit.core.param import Param
from ispkit.core.space import ParamSpace
from ispkit.isp.external.base import Plain
from ispkit.isp.external.function import FunctionISP
from ispkit.isp.stages.local_tone import LocalLaplacian
from ispkit.ops.encode import srgb_decode, srgb_encode
from ispkit.ops.local_laplacian import tone_map

_KNOBS = ("alpha", "beta", "sigma")


def local_laplacian_isp() -> FunctionISP:
    """DISPLAY_RGB -> DISPLAY_RGB: sRGB decoded, `ops.local_laplacian.tone_map`, sRGB encoded.

    Knobs alpha, beta, sigma with the ranges of the stage, 4 pyramid levels; 1, 1 is identity. One picture at a
    time and without gradients: what a tuner may know of a tone mapper that it cannot look into.
    """
    space = ParamSpace({f"local_laplacian.{k}": _black(LocalLaplacian.knobs[k]) for k in _KNOBS})
    return FunctionISP(_render, space, Domain.DISPLAY_RGB, Domain.DISPLAY_RGB)


def _black(knob: object) -> Param:
    if not isinstance(knob, Param):
        raise TypeError("the tone mapper's knobs are numbers")
    return Param(**{**vars(knob), "differentiable": False})


def _render(frame: Frame, values: Plain) -> Tensor:
    alpha, beta, sigma = (float(values[f"local_laplacian.{k}"]) for k in _KNOBS)
    linear = srgb_decode(frame.data.detach().clamp(0, 1))
    return srgb_encode(tone_map(linear, alpha=alpha, beta=beta, sigma=sigma))
