"""What is sent back: numbers and names as plain data, pictures as JPEG or PNG."""

from __future__ import annotations

import base64
import math
from collections.abc import Mapping, Sequence
from io import BytesIO
from typing import Any

import numpy as np
from torch import Tensor

from ispkit.data.boxes import Boxes
from ispkit.io import icc
from ispkit.io.png import encode_png
from ispkit.isp.tiled import Codes
from ispkit.perceive.head import Head
from ispkit.serve.engine import Made

MOST_CLASSES = 5
MOST_BOXES = 100
NO_CLASS = 255
"""in the picture of regions: nothing that counts"""
_FULL_COLOR_QUALITY = 90


def seen_data(made: Made, head: Head | None) -> dict[str, Any]:
    """What the head says, for JSON: `classes`, `boxes` or `regions`, by its task."""
    if head is None or made.seen is None:
        return {}
    seen = made.seen
    if head.task == "classify":
        found = [{"name": name, "probability": number(p)} for name, p in seen.classes[:MOST_CLASSES]]
        return {"task": head.task, "classes": found}
    if head.task == "detect":
        return {"task": head.task, "boxes": _boxes(seen.boxes, head.names)}
    return {"task": head.task, "regions": _regions(seen.regions, head.names)}


def _boxes(boxes: Boxes | None, names: Sequence[str]) -> list[dict[str, Any]]:
    if boxes is None:
        return []
    scores = [None] * len(boxes) if boxes.scores is None else boxes.scores.tolist()
    rows = zip(boxes.boxes.tolist(), boxes.labels.tolist(), scores, strict=True)
    sides = ("left", "top", "right", "bottom")
    return [
        {"name": names[label], "score": number(score), **{k: number(v) for k, v in zip(sides, box, strict=True)}}
        for box, label, score in list(rows)[:MOST_BOXES]
    ]


def _regions(regions: Tensor | None, names: Sequence[str]) -> dict[str, Any]:
    """The classes with their share of the picture, and each pixel's class as a gray PNG."""
    if regions is None:
        return {"classes": [], "png": None}
    labels = regions.cpu().numpy()
    index, counts = np.unique(labels, return_counts=True)
    ranked = sorted(zip(counts.tolist(), index.tolist(), strict=True), reverse=True)
    classes = [
        {"name": names[i], "index": i, "share": number(count / labels.size)} for count, i in ranked if 0 <= i < NO_CLASS
    ]
    plane = np.where((labels >= 0) & (labels < NO_CLASS), labels, NO_CLASS).astype(np.uint8)
    return {"classes": classes, "png": base64.b64encode(b"".join(encode_png(plane, None, None))).decode()}


def number(value: float | None) -> float | None:
    """A number that JSON can say, with five digits."""
    return None if value is None or not math.isfinite(value) else float(f"{value:.5g}")


def picture_bytes(pixels: Codes, kind: str, quality: int = 90) -> bytes:
    """A picture (H, W, 3) uint8 as a `jpeg` or `png` file, marked as sRGB."""
    profile = icc.profile("srgb")
    if kind == "png":
        return b"".join(encode_png(pixels, profile, None))
    from PIL import Image

    stream = BytesIO()
    subsampling = 0 if quality >= _FULL_COLOR_QUALITY else 2  # 4:4:4, 4:2:0
    Image.fromarray(pixels).save(stream, "JPEG", quality=quality, subsampling=subsampling, icc_profile=profile)
    return stream.getvalue()


def data_url(jpeg: bytes) -> str:
    """A JPEG inside of JSON, as a page shows it."""
    return "data:image/jpeg;base64," + base64.b64encode(jpeg).decode()


def server_timing(latency_ms: Mapping[str, float | None]) -> str:
    """The header of that name, which browsers show beside a request."""
    return ", ".join(f"{name};dur={value:.2f}" for name, value in latency_ms.items() if value is not None)
