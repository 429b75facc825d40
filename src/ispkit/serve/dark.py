"""A finished picture as the RAW frame that a sensor would have taken of it in little light."""

from __future__ import annotations

from dataclasses import dataclass

from ispkit.core.errors import ShapeError
from ispkit.core.frame import Frame
from ispkit.data.synthetic_pairs import SyntheticPairs
from ispkit.data.synthetic_raw import Colors, SyntheticSettings
from ispkit.sensor.catalog import load_sensor, lux_to_iso

_LEAST = 2  # px a side, one cell of the filter array


@dataclass(frozen=True)
class Darkness:
    """How finished pictures are made RAW: by `data.SyntheticPairs`, as for training. Raises `ParamError`."""

    sensor: str = "nexus-6p-rear"
    """of `sensor.catalog`, whose calibrated noise it is, or a YAML file"""
    colors: Colors = "srgb"
    """of the sensor: those of linear sRGB, its own, or a random camera's"""

    def __post_init__(self) -> None:
        load_sensor(self.sensor)
        SyntheticSettings(sensor=self.sensor, colors=self.colors)

    def shot(self, picture: Frame, lux: float, seed: int = 0) -> Frame:
        """The RAW frame of a DISPLAY_RGB frame of one picture; an odd last line is cut off. Same seed, same noise.

        The gain makes up for the missing light, as in Dirty Pixels: ISO = 200000 / lux. Raises `ShapeError`.
        """
        height, width = (side // 2 * 2 for side in picture.size)
        if min(height, width) < _LEAST:
            raise ShapeError(f"a picture of {picture.size} pixels is too small for a mosaic; 2x2 at least")
        gain = lux_to_iso(lux) / 100
        settings = SyntheticSettings(
            patch=(height, width), sensor=self.sensor, colors=self.colors, gain=(gain, gain), turn=False
        )
        data = picture.data[..., :height, :width]
        return SyntheticPairs({"picture": data}, settings, seed=seed).batch([0]).frame
