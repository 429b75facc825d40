"""Two pictures, and perhaps the truth: what the metrics say about them, as plain data."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ispkit.core.errors import ParamError, ShapeError, nearest
from ispkit.metrics import METRICS, Metric

Picture = NDArray[np.float32]
"""(H, W, 3) encoded sRGB in [0, 1]"""


@dataclass(frozen=True)
class Options:
    """What to compute and how."""

    metrics: Sequence[str] | None = None
    """names out of `METRICS`; None means all that can be computed with what is given"""
    samples_per_degree: float = 60.0
    """viewing distance of S-CIELAB, pixels per degree"""
    models: Mapping[str, Any] = field(default_factory=dict)
    """the `model` of "lpips" and of "niqe", if there are any"""


def compare_pictures(
    a: Picture, b: Picture, ref: Picture | None = None, options: Options | None = None
) -> dict[str, Any]:
    """The metrics of B against A, or of A and of B against the reference, as data for JSON.

    Pictures are (H, W, 3) float in [0, 1], encoded sRGB, of one size; `ShapeError` otherwise. Each metric's
    `values` are keyed by the picture they judge. Infinite values (PSNR of identical pictures) are the word
    "inf", undefined ones None; what cannot be computed has a reason under `skipped`.
    """
    options = options or Options()
    pictures = {"A": a, "B": b} | ({} if ref is None else {"R": ref})
    check_sizes(pictures)
    base = "A" if ref is None else "R"
    tensors = {label: _tensor(picture) for label, picture in pictures.items()}
    with torch.inference_mode():
        rows = [_row(metric, tensors, base, options) for metric in _chosen(options)]
    return {
        "width": int(a.shape[1]),
        "height": int(a.shape[0]),
        "against": base,
        "samples_per_degree": options.samples_per_degree,
        "metrics": rows,
        "difference_8bit": {k: _difference(p, pictures[base]) for k, p in pictures.items() if k != base},
    }


def check_sizes(pictures: Mapping[str, Picture]) -> None:
    """Raise `ShapeError` unless all pictures are (H, W, 3) of one size; the message names each size."""
    for label, picture in pictures.items():
        if picture.ndim != 3 or picture.shape[2] != 3:
            raise ShapeError(f"picture {label} is {picture.shape}, should be (height, width, 3)")
    if len({p.shape for p in pictures.values()}) != 1:
        sizes = ", ".join(f"{label} is {p.shape[1]}x{p.shape[0]}" for label, p in pictures.items())
        raise ShapeError(f"pictures of different size cannot be compared: {sizes}; crop or resize one first")


def better_of(row: Mapping[str, Any]) -> str | None:
    """Whether a row of the result favors A or B; None where it does not judge both or they tie.

    >>> better_of({"higher_is_better": False, "values": {"A": 2.0, "B": 3.0}})
    'A'
    """
    values = {k: float(v) for k, v in row["values"].items() if k in ("A", "B") and v is not None}
    if len(values) < 2 or values["A"] == values["B"]:
        return None
    return "A" if (values["A"] > values["B"]) == row["higher_is_better"] else "B"


def format_value(value: float | str | None) -> str:
    """A value for people, with the digits that matter.

    >>> [format_value(v) for v in (34.07446, 0.99756, 0.000123, "inf", None)]
    ['34.07', '0.9976', '0.000123', '∞', '–']
    """
    if value is None or isinstance(value, str):
        return "–" if value is None else value.replace("inf", "∞")
    if abs(value) >= 10:
        return f"{value:.2f}"
    return f"{value:.4f}" if abs(value) >= 0.001 or value == 0 else f"{value:.3g}"


def codes(picture: Picture) -> NDArray[np.uint8]:
    """[0, 1] -> the nearest 8-bit codes, which the page shows."""
    return (np.clip(np.nan_to_num(picture), 0, 1) * 255 + 0.5).astype(np.uint8)


def _chosen(options: Options) -> list[Metric]:
    if options.metrics is None:
        return [m for m in METRICS.values() if not m.needs_model or m.name in options.models]
    for name in options.metrics:
        if name not in METRICS:
            raise ParamError(f"no metric {name!r}; {nearest(name, METRICS)}")
        if METRICS[name].needs_model and name not in options.models:
            raise ParamError(f"metric {name!r} needs weights that are not shipped; give their files")
    return [METRICS[name] for name in options.metrics]


def _row(metric: Metric, tensors: Mapping[str, Tensor], base: str, options: Options) -> dict[str, Any]:
    row: dict[str, Any] = {
        "name": metric.name,
        "title": metric.title,
        "unit": metric.unit,
        "range": metric.range_text,
        "higher_is_better": metric.higher_is_better,
        "doc": metric.doc,
        "values": {},
    }
    extra: dict[str, Any] = {"model": options.models[metric.name]} if metric.needs_model else {}
    if metric.name.startswith("scielab"):
        extra["samples_per_degree"] = options.samples_per_degree
    for label, picture in tensors.items():
        if metric.full_reference and label == base:
            continue
        try:
            row["values"][label] = _plain(float(metric(picture, tensors[base], data_range=1.0, **extra)))
        except ShapeError as error:  # a small picture has no MS-SSIM, but all the others
            row["values"][label], row["skipped"] = None, str(error)
    return row


def _plain(value: float) -> float | str | None:
    if math.isnan(value):
        return None
    return value if math.isfinite(value) else str(value)


def _difference(a: Picture, b: Picture) -> dict[str, float]:
    gap = np.abs(codes(a).astype(np.int16) - codes(b)).max(-1)
    return {"largest": int(gap.max()), "share_of_pixels": float((gap > 0).mean())}


def _tensor(picture: Picture) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(picture.transpose(2, 0, 1)[None], dtype=np.float32))
