"""`CameraProfile` -> the facts of a RAW frame, which `io.dng_writer` writes as DNG tags and opcodes.

Source: Adobe, Digital Negative Specification 1.7.1: BlackLevel, NoiseProfile, ColorMatrix1 and 2,
ForwardMatrix1 and 2 (chapters 4 and 6), GainMap, FixVignetteRadial, FixBadPixelsList (chapter 7).
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from ispkit.core.errors import DomainError, ParamError, ShapeError
from ispkit.core.frame import Domain, Frame
from ispkit.core.meta import CameraMeta
from ispkit.core.opcodes import BadPixelsList, GainMap, Opcode, VignetteRadial
from ispkit.core.profile import CameraProfile, LightColor, ShadingMap
from ispkit.io.tuning.base import depth_scale, lights

Shading = Literal["mesh", "radial", "off"]

_PHASES = {"RGGB": 0, "GRBG": 1, "GBRG": 2, "BGGR": 3}
_USUAL_LIGHTS_K = (2856.0, 6504.0)
_LEAST = 1e-15


def apply_profile(
    frame: Frame,
    profile: CameraProfile,
    *,
    iso: float | None = None,
    cct_k: float | None = None,
    shading: Shading = "mesh",
) -> Frame:
    """The RAW frame with what the profile knows in place of its own facts; the samples stay.

    `iso` (the frame's) picks black level and noise; unknown, it is the lowest calibrated one. `cct_k`
    sets the neutral, picks the pair of lights around it and the shading; without it the neutral stays, the
    lights are those nearest to A and D65, the shading that of the most similar white. Shading and defect
    opcodes of the frame are replaced, levels are rescaled to the frame's bit depth. Raises `DomainError`,
    `ShapeError` (another filter array or size), `ParamError`.
    """
    _check(frame, profile)
    meta = frame.meta
    at = _iso(meta, iso)
    facts = {**_levels(meta, profile, at), **_noise(meta, profile, at), **_colors(meta, profile, cct_k)}
    changed: dict[str, Any] = {k: v.to(meta.black_level.device) for k, v in facts.items()}
    meta = replace(meta, **changed)
    lists = tuple(
        _opcodes(ops, profile, shading, _shading_for(profile, neutral, cct_k))
        for ops, neutral in zip(meta.opcodes, meta.neutral.tolist(), strict=True)
    )
    return Frame(frame.data, frame.domain, replace(meta, opcodes=lists))


def _check(frame: Frame, profile: CameraProfile) -> None:
    if frame.domain is not Domain.RAW:
        raise DomainError(f"a profile is applied to raw frames, got {frame.domain.value}; apply it before linearize")
    if frame.meta.cfa != profile.cfa:
        raise ShapeError(f"the frame's filter array is {frame.meta.cfa}, that of profile {profile.name} {profile.cfa}")
    sizes = {view.full_size for view in frame.meta.view}
    if profile.defects and sizes != {profile.size}:
        raise ShapeError(
            f"the defects of profile {profile.name} belong to {profile.size} (height, width), the frame is "
            f"{sorted(sizes)}; use a profile of this mode or drop its defects"
        )


def _iso(meta: CameraMeta, iso: float | None) -> float:
    if iso is not None and not iso > 0:
        raise ParamError(f"iso={iso} must be positive")
    return float(meta.iso.max()) if iso is None else iso


def _levels(meta: CameraMeta, profile: CameraProfile, iso: float) -> dict[str, Tensor]:
    if not profile.black:
        return {}
    isos = sorted({p.iso for p in profile.black})
    nearest = min(isos, key=lambda v: abs(np.log(max(v, 1.0) / max(iso, 1.0)))) if iso > 0 else isos[0]
    own_white = float(meta.white_level.max())
    scale = depth_scale(profile.white_level) / depth_scale(own_white)
    black = np.mean([p.level_dn for p in profile.black if p.iso == nearest], axis=0) * scale
    white = profile.white_level if scale == 1 else own_white
    return {
        "black_level": torch.tensor(np.array([black]), dtype=torch.float32).expand_as(meta.black_level).clone(),
        "white_level": torch.full_like(meta.white_level, white),
    }


def _noise(meta: CameraMeta, profile: CameraProfile, iso: float) -> dict[str, Tensor]:
    """S and O at the ISO: power laws between two calibrated ones, S in proportion and O with the square beyond."""
    if not profile.noise:
        return {}
    points = {p.iso: p for p in sorted(profile.noise, key=lambda p: p.method == "flat_pairs")}
    isos = np.array(sorted(points))
    table = np.array([[points[i].shot, points[i].read] for i in isos]).clip(min=_LEAST)
    if iso <= 0 or isos.min() <= 0:
        laws = table[0]
    else:
        inside = np.clip(np.log(iso), np.log(isos[0]), np.log(isos[-1]))
        rows = [[np.interp(inside, np.log(isos), np.log(table[:, k, c])) for c in range(3)] for k in range(2)]
        beyond = iso / np.exp(inside)
        laws = np.exp(np.array(rows)) * np.array([[beyond], [beyond**2]])
    profile_rgb = torch.tensor(laws.T[None], dtype=torch.float32)
    return {"noise_profile": profile_rgb.expand_as(meta.noise_profile).clone()}


def _colors(meta: CameraMeta, profile: CameraProfile, cct_k: float | None) -> dict[str, Tensor]:
    known = lights(profile)
    if not known:
        return {}
    pair = _around(known, cct_k) if cct_k is not None else _usual(known)

    def stacked(values: list[Any]) -> Tensor:
        tensor = torch.tensor([values], dtype=torch.float32)
        return tensor.expand(meta.batch, *tensor.shape[1:]).clone()

    changed = {
        "color_matrices": stacked([c.color_matrix for c in pair]),
        "forward_matrices": stacked([c.forward_matrix for c in pair]),
        "illuminant_cct_k": stacked([c.cct_k for c in pair]),
    }
    if cct_k is not None:
        mireds = [1e6 / c.cct_k for c in reversed(known)]
        white = np.array([np.interp(1e6 / cct_k, mireds, [c.neutral[i] for c in reversed(known)]) for i in range(3)])
        changed["neutral"] = stacked((white / white.max()).tolist())
    return changed


def _usual(known: list[LightColor]) -> tuple[LightColor, LightColor]:
    low, high = (min(known, key=lambda c: abs(1 / c.cct_k - 1 / usual)) for usual in _USUAL_LIGHTS_K)
    return (low, high) if low.cct_k != high.cct_k else (known[0], known[-1])


def _around(known: list[LightColor], cct_k: float) -> tuple[LightColor, LightColor]:
    low = max((c for c in known if c.cct_k <= cct_k), key=lambda c: c.cct_k, default=known[0])
    high = min((c for c in known if c.cct_k >= cct_k), key=lambda c: c.cct_k, default=known[-1])
    return low, high


def _shading_for(profile: CameraProfile, neutral: list[float], cct_k: float | None) -> ShadingMap | None:
    """The shading of the light nearest to `cct_k`, or of the calibrated light whose white is most similar."""
    if not profile.shading:
        return None
    if cct_k is None:
        red, _, blue = neutral
        known = lights(profile) if min(neutral) > 0 else []
        similar = min(known, key=lambda c: abs(np.log(c.neutral[0] / c.neutral[2] * blue / red)), default=None)
        cct_k = similar.cct_k if similar is not None else _USUAL_LIGHTS_K[1]
    target = 1 / cct_k
    return min(profile.shading, key=lambda s: abs(1 / s.cct_k - target) if s.cct_k > 0 else 1.0)


def _opcodes(
    old: tuple[Opcode, ...], profile: CameraProfile, shading: Shading, chosen: ShadingMap | None
) -> tuple[Opcode, ...]:
    replaced: tuple[type[Opcode], ...] = (BadPixelsList,) if profile.defects else ()
    new: list[Opcode] = []
    if profile.defects:
        new.append(BadPixelsList(stage=1, phase=_PHASES[profile.cfa], points=profile.defects, rectangles=()))
    if chosen is not None or shading == "off":
        replaced = (*replaced, GainMap, VignetteRadial)
    if chosen is not None and shading == "mesh":
        new += gain_maps(chosen, profile.size)
    elif chosen is not None and shading == "radial":
        row, column = chosen.center
        new.append(VignetteRadial(stage=2, k=chosen.radial, center=(column, row)))
    return (*(op for op in old if not isinstance(op, replaced)), *new)


def gain_maps(shading: ShadingMap, size: tuple[int, int]) -> list[GainMap]:
    """One GainMap a site of the 2x2, for OpcodeList2."""
    maps = []
    for site, plane in enumerate(shading.gains):
        rows, columns = len(plane), len(plane[0])
        maps.append(
            GainMap(
                stage=2,
                area=(site // 2, site % 2, size[0], size[1]),
                plane=0,
                planes=1,
                row_pitch=2,
                col_pitch=2,
                spacing_v=1 / max(rows - 1, 1),
                spacing_h=1 / max(columns - 1, 1),
                origin_v=0.0,
                origin_h=0.0,
                gains=tuple(tuple((gain,) for gain in row) for row in plane),
            )
        )
    return maps
