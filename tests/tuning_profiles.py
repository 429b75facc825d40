"""A small calibrated camera for the tests of tuning files."""

from __future__ import annotations

import numpy as np

from ispkit.core.profile import BlackPoint, CameraProfile, NoisePoint, ShadingMap
from ispkit.io.tuning.rpi_import import light_color, radial_fit

SIZE = (48, 64)
CCM = np.array([[1.8, -0.6, -0.2], [-0.3, 1.6, -0.3], [0.0, -0.7, 1.7]])


def plane(corner: float, shape: tuple[int, int] = (9, 13)) -> np.ndarray:
    """Gains 1 in the middle and `corner` in the corners."""
    y, x = (np.linspace(-1, 1, n) for n in shape)
    return 1 + (corner - 1) * (y[:, None] ** 2 + x[None, :] ** 2) / 2


def camera(cfa: str = "GRBG") -> CameraProfile:
    """14 bits, black 1024 (greens 1028), two lights, color shading, two gains, three defects."""
    level = tuple(1028.0 if c == "G" else 1024.0 for c in cfa)
    corners = {2856: {"R": 1.7, "G": 1.5, "B": 1.45}, 6504: {"R": 1.6, "G": 1.5, "B": 1.52}}
    maps = []
    for cct, by_color in corners.items():
        planes = [tuple(map(tuple, plane(by_color[c]).tolist())) for c in cfa]
        maps.append(ShadingMap(float(cct), tuple(planes), radial_fit(plane(1.5), SIZE), (0.5, 0.5)))
    warm = light_color("A", 2856.0, np.array([0.95, 1.0, 0.4]), CCM)
    cool = light_color("D65", 6504.0, np.array([0.5, 1.0, 0.75]), CCM.T / CCM.T.sum(1, keepdims=True))
    return CameraProfile(
        name="Test Camera",
        cfa=cfa,
        size=SIZE,
        white_level=16383.0,
        black=(
            BlackPoint(100.0, 0.01, level, (1.0,) * 4),
            BlackPoint(800.0, 0.01, tuple(v + 8 for v in level), (3.0,) * 4),
        ),
        noise=(
            NoisePoint(100.0, (1e-4, 1.1e-4, 1.2e-4), (1e-7, 2e-7, 3e-7), "flat_pairs"),
            NoisePoint(800.0, (8e-4, 8.8e-4, 9.6e-4), (4e-6, 8e-6, 1.2e-5), "flat_pairs"),
        ),
        defects=((3, 5), (10, 11), (47, 63)),
        shading=tuple(maps),
        colors=(warm, cool),
    )
