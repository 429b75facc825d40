"""Tiny pairs of RAW and picture files for the tests of their readers."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from ispkit.data.project_pictures import project_pictures
from ispkit.data.samples import Sample
from ispkit.data.synthetic_pairs import SyntheticPairs
from ispkit.data.synthetic_raw import SyntheticSettings
from ispkit.io.dng_writer import write_dng
from ispkit.io.pictures import write_picture
from ispkit.isp.recipe import preset
from ispkit.metrics import METRICS
from ispkit.sensor.model import Sensor

SIZE = (192, 256)


def pixels(picture: torch.Tensor) -> np.ndarray:
    return picture[0].permute(1, 2, 0).numpy()


def put_picture(path: Path, picture: torch.Tensor, **how) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    write_picture(path, pixels(picture), **how)
    return path


def put_raw(path: Path, frame) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    write_dng(path, frame)
    return path


def put_mosaic(path: Path, frame, white: int) -> Path:
    """A bare mosaic as gray PNG of 16 bits, black 0."""
    path.parent.mkdir(parents=True, exist_ok=True)
    codes = (frame.data[0, 0].clamp(0, 1) * white).round().numpy().astype(np.uint16)
    write_picture(path, codes)
    return path


def shots(count: int, *, cfa="RGGB", exposure=1.0, gain=1.0, sigma=None) -> list[Sample]:
    settings = SyntheticSettings(
        patch=SIZE,
        sensor=None if sigma else Sensor(cfa=cfa, blur_px=0.0),
        colors="srgb" if sigma else "sensor",
        gain=(gain, gain),
        exposure=(exposure, exposure),
        sigma=(sigma, sigma) if sigma else None,
        turn=False,
    )
    pairs = SyntheticPairs(project_pictures(count, SIZE, seed=9), settings, seed=1)
    return [pairs[i] for i in range(count)]


def fits(sample: Sample, least_db: float = 22.0) -> bool:
    """Whether the RAW develops to its target."""
    developed = preset("neutral")(sample.frame.with_data(sample.frame.data)).data
    return float(METRICS["psnr"](developed, sample.target, data_range=1.0)[0]) > least_db
