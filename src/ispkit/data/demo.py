"""RAW files for a first look where no camera's files are at hand: a simulated sensor in a studio."""

from __future__ import annotations

from pathlib import Path

from ispkit.charts.scene import studio_scene
from ispkit.core.cfa import CfaPattern
from ispkit.io.dng_writer import write_dng
from ispkit.sensor.simulate import Sensor, capture

# name, light in K, ISO, exposure relative to ISO 100, pattern of the filter array
SHOTS: tuple[tuple[str, float, float, float, CfaPattern], ...] = (
    ("studio_daylight_iso100", 6504.0, 100.0, 0.0, "RGGB"),
    ("studio_tungsten_iso400", 2856.0, 400.0, 0.0, "GRBG"),
    ("studio_dim_iso6400", 4000.0, 6400.0, -0.5, "BGGR"),
)


def write_demo_raws(folder: Path, *, height: int = 1024, width: int = 1536, seed: int = 0) -> list[Path]:
    """Write three DNG files of a generated scene into `folder` and return their paths. Same seed, same files."""
    scene = studio_scene(height, width, seed=seed)
    paths = []
    for name, cct_k, iso, exposure_ev, cfa in SHOTS:
        sensor = Sensor(cfa=cfa)
        frame = capture(scene, sensor, cct_k=cct_k, iso=iso, exposure_ev=exposure_ev, seed=seed)
        paths.append(folder / f"{name}.dng")
        write_dng(paths[-1], frame)
    return paths
