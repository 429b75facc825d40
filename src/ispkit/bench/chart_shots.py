"""Chart shots for experiments: simulated ones of a known chart, or the user's own RAW files of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from ispkit.charts.chart import Chart
from ispkit.core.errors import FileError
from ispkit.core.frame import Domain, Frame
from ispkit.core.param import Values
from ispkit.io.containers import RAW_SUFFIXES
from ispkit.io.load import load
from ispkit.isp.develop import develop_frame
from ispkit.isp.pipeline import Pipeline
from ispkit.sensor.simulate import Sensor, capture


@dataclass(frozen=True)
class ChartShot:
    """A RAW frame of a chart."""

    name: str
    frame: Frame
    chart: Chart
    cct_k: float | None = None
    """of the light, if it is known"""


def simulated_shots(
    charts: Sequence[Chart], sensor: Sensor, *, isos: Sequence[float], cct_k: float = 5500.0, seed: int = 0
) -> list[ChartShot]:
    """Each chart at each ISO, in front of `sensor` under a light of `cct_k`; same seed, same noise."""
    return [
        ChartShot(
            name=f"{chart.name} ISO {iso:g}",
            frame=capture(chart.picture[None], sensor, cct_k=cct_k, iso=iso, seed=seed),
            chart=chart,
            cct_k=cct_k,
        )
        for chart in charts
        for iso in isos
    ]


def shots_in(folder: str | Path, chart: Chart) -> list[ChartShot]:
    """The RAW files of a folder, all of one chart. Raises `FileError` if there is none."""
    room = Path(folder)
    if not room.is_dir():
        raise FileError(f"{folder}: no such folder; give a folder of RAW shots of the chart")
    paths = sorted(p for p in room.iterdir() if RAW_SUFFIXES.fullmatch(p.suffix))
    if not paths:
        raise FileError(f"{folder}: no RAW file in this folder; put the shots of the chart there")
    return [ChartShot(path.name, load(path), chart) for path in paths]


def developed(frame: Frame, pipeline: Pipeline, values: Values | None = None) -> Tensor:
    """The upright encoded picture (3, H, W) in [0, 1] that the pipeline makes of one frame, 16 bits deep.

    Raises `FileError` if the pipeline does not end with an encoded picture.
    """
    if pipeline.writes is not Domain.DISPLAY_RGB:
        raise FileError(f"a picture ends with 'encode', this recipe ends with {pipeline.writes.value}; add 'encode'")
    codes = develop_frame(frame, pipeline, values, bits=16)
    return torch.from_numpy(codes.astype("float32") / 65535).permute(2, 0, 1).contiguous()
