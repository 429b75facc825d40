"""The 24 patches of the ColorChecker under a light, and what a picture shows of them."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any

import torch
from torch import Tensor

from ispkit.charts.colorchecker import LAB_D50, reference_linear_srgb, reference_xyz
from ispkit.core.errors import ParamError, nearest
from ispkit.ops.color_spaces import D50_XY, D65_XY, adaptation, rgb_to_xyz
from ispkit.ops.lab import linear_srgb_to_lab

REFERENCE = "reference"
"""the maker's L*a*b* under D50, not spectra"""


@dataclass(frozen=True)
class PatchColors:
    """Colors of the patches, (24, 3) float64 each, in the order of `colorchecker.LAB_D50`."""

    light: str
    cct_k: float
    white_xy: tuple[float, float]
    xyz: Tensor
    """under the light itself; Y of a perfect diffuser = 1"""
    linear_srgb: Tensor
    """adapted from the light's white to D65 (Bradford): a perfect white balance; can be negative"""


def light_names() -> tuple[str, ...]:
    """The lights of the table, and `reference`."""
    return (REFERENCE, *_table()["lights"])


def patch_colors(light: str) -> PatchColors:
    """The patches under a light of the table, from spectra, or the maker's `reference` (D50).

    Source of the spectra and the integration: the `source` of colorchecker_lights.json; TL84 is taken for
    CIE FL11, which that lamp comes close to (HunterLab, "What is the difference between CIE F11 and TL84").
    Raises `ParamError`.

    >>> round(patch_colors("A").cct_k)
    2856
    """
    if light == REFERENCE:
        return PatchColors(light, 5003.0, D50_XY, reference_xyz(), reference_linear_srgb())
    lights = _table()["lights"]
    if light not in lights:
        raise ParamError(f"no light {light!r}; {nearest(str(light), light_names())}")
    row = lights[light]
    xyz = torch.tensor(row["xyz"], dtype=torch.float64)
    x, y = row["white_xy"]
    adapt = adaptation(_xy(x, y), _xy(*D65_XY))
    linear = torch.linalg.solve(rgb_to_xyz("srgb"), adapt @ xyz.T).T
    return PatchColors(light, row["cct_k"], (x, y), xyz, linear)


def patch_truth(colors: PatchColors, index: int) -> dict[str, Any]:
    """What a region of a ColorChecker patch states, but for `linear_srgb`.

    `xyz` is that of the patch under the light; `lab_d50` that of the color shown (out-of-gamut patches are
    clipped at 0 there); `lab_reference` that of a real chart by its maker; `in_gamut` tells whether they agree.
    """
    linear = colors.linear_srgb[index : index + 1]
    name = list(LAB_D50)[index]
    return {
        "name": name,
        "light": colors.light,
        "xyz": colors.xyz[index].tolist(),
        "lab_d50": linear_srgb_to_lab(linear.clamp(min=0))[0].tolist(),
        "lab_reference": list(LAB_D50[name]),
        "in_gamut": bool((linear >= 0).all()),
    }


@cache
def _table() -> dict[str, Any]:
    text = files("ispkit.charts").joinpath("colorchecker_lights.json").read_text(encoding="utf-8")
    table: dict[str, Any] = json.loads(text)
    return table


def _xy(x: float, y: float) -> Tensor:
    return torch.tensor([x, y], dtype=torch.float64)
