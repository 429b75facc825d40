"""A finished picture to a RAW shot of it by a given sensor in given light, and everything that is true of it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from ispkit.core.errors import ParamError, nearest
from ispkit.core.frame import Frame
from ispkit.sensor.catalog import LUX_PER_LIGHT_LEVEL, light_level, lux_to_iso
from ispkit.sensor.kim import draw_look, unprocess_kim
from ispkit.sensor.model import LINEAR_SRGB, Sensor
from ispkit.sensor.simulate import Shot, expose
from ispkit.sensor.unprocess import Camera, Truth, camera_of, draw_camera, sensed, unprocess

Method = Literal["unprocess", "kim", "linear"]
METHODS: tuple[Method, ...] = ("unprocess", "kim", "linear")


@dataclass(frozen=True)
class Settings:
    """How a picture is turned into a RAW shot."""

    method: Method = "unprocess"
    """unprocess: Brooks et al. 2019; kim: Kim et al. 2012; linear: its numbers are the sensor's light (Dirty Pixels)"""
    lux: str | None = None
    """"6" or a range "2-20", drawn log-uniformly; the gain makes up for what is missing (lux = 200000 / ISO)"""
    iso: float | None = None
    """fixes the gain: with `lux` the picture is then as dark as that light makes it"""
    cct_k: float | None = None
    """the sensor's own colors under this light; None: a random camera"""
    seed: int = 0
    exposure_time_s: float = 0.01


@dataclass(frozen=True)
class Synthetic:
    """One RAW shot and its truth."""

    raw: Frame
    clean: Tensor
    """(1, 3, H, W) linear: sRGB as a perfect camera would develop it; for "linear" the sensor's RGB"""
    facts: dict[str, Any]
    """for JSON: light, gain, noise, levels, colors, seed"""


def check_settings(settings: Settings) -> None:
    """Raise `ParamError` for settings that make no sense."""
    if settings.method not in METHODS:
        raise ParamError(f"method {settings.method!r} is not known; {nearest(settings.method, METHODS)}")
    if settings.method == "linear" and settings.cct_k is not None:
        raise ParamError("method 'linear' has no light of a color; leave --cct out, or use unprocess or kim")
    if settings.lux is not None:
        light_level(f"{settings.lux} lux")
    for name, value, low, high in (("iso", settings.iso, 1.0, 1e7), ("cct", settings.cct_k, 1667.0, 25000.0)):
        if value is not None and not low <= value <= high:
            raise ParamError(f"{name}={value:g} is outside [{low:g}, {high:g}]")


def synthesize(picture: Tensor, sensor: Sensor, settings: Settings) -> Synthetic:
    """The shot that `sensor` takes of an encoded sRGB picture (1, 3, H, W) in [0, 1]. Same seed, same shot."""
    check_settings(settings)
    chance = torch.Generator(picture.device).manual_seed(settings.seed)
    truth, look = _truth(picture, sensor, settings, chance)
    lux, iso, exposure = _light(settings, chance)
    shot = Shot(sensor, truth.camera.response(), torch.tensor([iso], dtype=torch.float64), settings.exposure_time_s)
    raw = expose(truth.sensor_rgb * exposure, shot, chance)
    raw = raw.with_data(raw.data, baseline_exposure=truth.camera.exposure_ev.float().to(picture.device))
    facts = {
        "method": settings.method,
        "sensor": sensor.name,
        "source": sensor.source,
        "lux": lux,
        "iso": iso,
        "exposure": exposure,
        "exposure_time_s": settings.exposure_time_s,
        "cct_k": settings.cct_k,
        "seed": settings.seed,
        "noise_profile": raw.meta.noise_profile[0].tolist(),
        "black_level": raw.meta.black_level[0].tolist(),
        "white_level": sensor.white_level,
        "cfa": sensor.cfa,
        **truth.facts(),
        **look,
    }
    return Synthetic(raw, truth.linear, facts)


def _light(settings: Settings, chance: torch.Generator) -> tuple[float | None, float, float]:
    """Lux (None if not asked for), ISO, and the exposure relative to a full sensor."""
    if settings.lux is None:
        return None, settings.iso or 100.0, 1.0
    lux = float(light_level(f"{settings.lux} lux").draw(1, chance)) * LUX_PER_LIGHT_LEVEL
    filling = lux_to_iso(lux)
    iso = settings.iso or filling
    return lux, iso, iso / filling


def _truth(
    picture: Tensor, sensor: Sensor, settings: Settings, chance: torch.Generator
) -> tuple[Truth, dict[str, Any]]:
    if settings.method == "linear":
        return sensed(picture, _plain_camera(), sensor.cfa)[1], {}
    camera = draw_camera(1, chance) if settings.cct_k is None else camera_of(sensor, settings.cct_k)
    if settings.method == "unprocess":
        return unprocess(picture, camera, cfa=sensor.cfa)[1], {}
    look = draw_look(1, chance)
    facts = {"response_exponents": look.exponents[0].tolist(), "gamut": float(look.gamut)}
    return unprocess_kim(picture, camera, look, cfa=sensor.cfa)[1], facts


def _plain_camera() -> Camera:
    """A camera whose colors are those of linear sRGB."""
    own, matrix = torch.eye(3, dtype=torch.float64), torch.tensor(LINEAR_SRGB, dtype=torch.float64)
    zero = torch.zeros(1, dtype=torch.float64)
    return Camera(own[None], matrix[None], zero, zero + 6504.0)


def iso_span(sensor: Sensor) -> str:
    """The ISO that a sensor's noise was measured at, for a table."""
    measured = sorted({p.iso for p in sensor.noise}) or [100.0]
    low, high = (f"{math.floor(i + 0.5)}" for i in (measured[0], measured[-1]))
    return low if low == high else f"{low}-{high}"
