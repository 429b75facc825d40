"""Tuning scenes from a screen and a camera: the chart as the camera saw it, and as it should look there."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray

from ispkit.charts.catalog import build
from ispkit.charts.chart import Chart
from ispkit.core.errors import ShapeError
from ispkit.core.frame import Frame
from ispkit.data.scenes import Scene
from ispkit.ops.encode import srgb_encode
from ispkit.ops.temperature import cct_to_xy
from ispkit.rig.align import align, capture_of
from ispkit.rig.display_color import DisplayColor, characterize, emulate, measure, render
from ispkit.rig.simulated import Lens, Pose, SimulatedCamera, SimulatedDisplay
from ispkit.sensor.simulate import Sensor

LIGHTS_K = {"A": 2856.0, "TL84": 4000.0, "D65": 6504.0}
"""what the screen pretends to be lit by, with correlated color temperature; daylight as `_white` says"""
_DAYLIGHT = "D65"
_ROOM_EV = -0.5  # while the screen is characterized, so that its white does not clip


@dataclass(frozen=True)
class RigSetup:
    """A simulated screen with a camera before it, nearly frontal; its whole view lies on the screen."""

    sensor: Sensor
    screen: tuple[int, int] = (720, 1280)
    view: tuple[int, int] = (288, 512)
    """height, width of the camera's picture"""
    exposure_ev: float = 0.0
    seed: int = 0

    def camera(self, iso: float) -> SimulatedCamera:
        """The camera at one gain. Its screen is its own: show pictures on `camera.display`."""
        pose = Pose(yaw_deg=2.0, pitch_deg=-1.5, roll_deg=0.7, distance=0.86)
        lens = Lens(focal=0.95, radial=(-0.04, 0.0, 0.0))
        return SimulatedCamera(
            SimulatedDisplay(self.screen),
            self.view,
            pose,
            lens,
            sensor=self.sensor,
            exposure_ev=self.exposure_ev,
            iso=iso,
            seed=self.seed,
        )


def rig_scenes(
    setup: RigSetup, *, gains: Sequence[float], lights: Sequence[str] = tuple(LIGHTS_K), chart_seed: int = 0
) -> list[Scene]:
    """The rainbow chart under each light at each gain (1 = ISO 100), through the calibrated rig.

    The camera sees Gray codes first, then the screen's colors, both at base gain, then the charts. A target is the
    chart itself, D65 white, resampled to the camera's pixels: what a perfect white balance and a clean sensor would
    give. Scenes are cut to the largest middle window in which every pixel sees the screen.
    """
    chart = build("rainbow", height=setup.screen[0], width=setup.screen[1], seed=chart_seed)
    base = setup.camera(100.0)
    transport = align(base.display, base).transport
    window = window_of(transport.mask)
    target = srgb_encode(transport.target_on_camera(chart.picture).clamp(0, 1))[None]
    y, x, h, w = window
    scenes = []
    color = characterized(base)
    for gain in gains:
        camera = replace(base, iso=100.0 * gain)
        for light in lights:
            scene = _shot(camera, chart, color, light)
            facts = {"gain": float(gain), "cct_k": LIGHTS_K[light]}
            name = f"rainbow {chart_seed} {light} gain {gain:g}"
            cut = target[..., y : y + h, x : x + w]
            scenes.append(Scene(name, scene.crop(y, x, h, w), target=cut, conditions=facts))
    return scenes


def _shot(camera: SimulatedCamera, chart: Chart, color: DisplayColor, light: str) -> Frame:
    shown = render(color, emulate(color, _white(light)), chart.picture)
    return capture_of(camera.display, camera, shown.encoded)


def _white(light: str) -> str | tuple[float, float]:
    """Daylight is that of the injected shots, on the Planckian locus, so that rig and injection tell of one light."""
    if light != _DAYLIGHT:
        return light
    kelvin = torch.tensor(LIGHTS_K[light], dtype=torch.float64)
    x, y = cct_to_xy(kelvin, torch.zeros_like(kelvin)).tolist()
    return x, y


def characterized(camera: SimulatedCamera) -> DisplayColor:
    """The screen's colors as the camera measures them, exposed so that its white does not clip."""
    careful = replace(camera, exposure_ev=min(camera.exposure_ev, _ROOM_EV))
    return characterize(measure(careful.display, careful))


def window_of(mask: NDArray[np.bool_]) -> tuple[int, int, int, int]:
    """y, x, height, width (all even) of the largest window about the middle without a masked pixel."""
    height, width = mask.shape
    inset = next((k for k in range(0, min(height, width) // 2 - 8, 2) if mask[k : height - k, k : width - k].all()), -1)
    if inset < 0:
        raise ShapeError("the camera sees too little of the screen; come nearer or aim at its middle")
    return inset, inset, height - 2 * inset, width - 2 * inset


def exposure_matching(setup: RigSetup, light: str | None = None) -> RigSetup:
    """The same setup, exposed so that the screen's white just fills green sites, as that of an injected shot does.

    The white is the screen's own, or that of a light which it pretends to.
    """
    white_dn = setup.sensor.white_level - float(np.mean(setup.sensor.black_level))
    camera = setup.camera(100.0)
    half = torch.full((3, *setup.screen), 0.5)
    at_half = 0.5**camera.display.gamma
    if light is not None:
        color = characterized(camera)
        half, at_half = render(color, emulate(color, _white(light)), half).encoded, 0.5
    frame = capture_of(camera.display, camera, half)
    green = frame.meta.cfa.index("G")
    site = frame.data[0, 0, green // 2 :: 2, green % 2 :: 2]
    at_white = float(site.mean() - frame.meta.black_level[0, green]) / at_half
    return replace(setup, exposure_ev=setup.exposure_ev + float(np.log2(white_dn / at_white)))
