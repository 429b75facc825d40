"""A black box small enough for tests of the tuning commands: three knobs, one of them dead."""

from __future__ import annotations

import torch

from ispkit.core.frame import Domain
from ispkit.core.param import Param
from ispkit.core.space import ParamSpace
from ispkit.isp.external.function import FunctionISP


def _develop(frame, values):
    meta = frame.meta
    raw = (frame.data - meta.black_level.mean()) / (meta.white_level.mean() - meta.black_level.mean())
    half = torch.nn.functional.avg_pool2d(raw, 2)
    rgb = torch.nn.functional.interpolate(half, size=raw.shape[-2:], mode="bilinear").expand(-1, 3, -1, -1)
    return (rgb.clamp(0, 1) * values["tone.gain"]).clamp(0, 1) ** values["tone.gamma"]


def build() -> FunctionISP:
    knobs = {
        "tone.gain": Param(default=4.0, low=0.5, high=8.0, differentiable=False),
        "tone.gamma": Param(default=1.8, low=0.3, high=2.0, differentiable=False),
        "tone.idle": Param(default=1.0, low=0.0, high=2.0, differentiable=False),
    }
    return FunctionISP(_develop, ParamSpace(knobs), Domain.RAW, Domain.DISPLAY_RGB)


JOB = """version: 1
isp: tuning_cli:build
data: {project: 3, size: [64, 64], gains: [4]}
held_out: 0.34
objective: psnr; l1
method: cma
budget: 24
"""
