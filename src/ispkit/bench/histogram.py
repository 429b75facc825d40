"""Why two stages: how much restoring and enhancing a picture change its histogram (Liang et al. 2021, Fig. 2)."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from ispkit.bench.curves import draw_curves
from ispkit.bench.experiment import Claim, Experiment, Table
from ispkit.data.project_pictures import project_pictures
from ispkit.data.tuning_sets import read_pictures
from ispkit.metrics.intervals import mean_interval
from ispkit.ops.cfa import planes
from ispkit.ops.luma import luminance
from ispkit.ops.tone import sigmoid

_BINS = 256
_GAMMA = 2.4  # of the paper's reverse conversion
_KEY = 0.18
Pair = tuple[list[Tensor], list[Tensor]]
"""samples of each channel before and after an operation, encoded or linear, in [0, 1]"""


def run_histogram(out: Path, *, pictures: Sequence[str] = (), seed: int = 0, command: str = "") -> Experiment:
    """Measure every operation on every picture and write histogram.png into `out`."""
    began = time.monotonic()
    found: dict[str, Tensor] = {}
    for folder in pictures:
        found |= read_pictures(folder)
    shown = found or project_pictures(16, (256, 256), seed=seed)
    changes = {
        name: [histogram_change(*operate(picture, seed + i)) for i, picture in enumerate(shown.values())]
        for name, (_, operate) in OPERATIONS.items()
    }
    draw_curves(
        out / "histogram.png",
        {name: (list(range(len(shown))), values) for name, values in changes.items()},
        labels=("picture", "L1 change of the histogram"),
        dashed=[n for n, (kind, _) in OPERATIONS.items() if kind == "restoration"],
    )
    where = " + ".join(Path(p).name for p in pictures) or "pictures made by the toolkit"
    return _experiment(changes, f"{where}, {len(shown)} pictures", command, (seed, time.monotonic() - began))


def histogram_change(before: Sequence[Tensor], after: Sequence[Tensor]) -> float:
    """L1 distance of the histograms, 256 bins in [0, 1], each of sum 1; the mean over channels, in [0, 2]."""
    distances = [np.abs(_histogram(a) - _histogram(b)).sum() for a, b in zip(before, after, strict=True)]
    return float(np.mean(distances))


def _histogram(samples: Tensor) -> NDArray[np.float64]:
    codes = (samples.clamp(0, 1) * (_BINS - 1)).round().long().flatten()
    counts = torch.bincount(codes, minlength=_BINS).double().numpy()
    shares: NDArray[np.float64] = counts / counts.sum()
    return shares


def _channels(picture: Tensor) -> list[Tensor]:
    return list(picture[0])


def _demosaiced(picture: Tensor, seed: int) -> Pair:
    even = picture[..., : picture.shape[-2] // 2 * 2, : picture.shape[-1] // 2 * 2]
    red, green, blue = (planes(even[:, i : i + 1])[0] for i in range(3))
    return [red[0], green[1:3], blue[3]], _channels(even)


def _denoised(sigma: float) -> Callable[[Tensor, int], Pair]:
    def operate(picture: Tensor, seed: int) -> Pair:
        noise = torch.randn(picture.shape, generator=torch.Generator().manual_seed(seed))
        return _channels(picture + sigma / 255 * noise), _channels(picture)

    return operate


def _super_resolved(picture: Tensor, seed: int) -> Pair:
    small = F.interpolate(picture, scale_factor=0.25, mode="bicubic", antialias=True)
    return _channels(small), _channels(picture)


def _locally_enhanced(picture: Tensor, seed: int) -> Pair:
    """CLAHE on the lightness of CIE Lab, where the paper took an operator of 2013."""
    lab = cv2.cvtColor((picture[0].permute(1, 2, 0).numpy() * 255).round().astype(np.uint8), cv2.COLOR_RGB2LAB)
    lab[..., 0] = cv2.createCLAHE(clipLimit=4.0, tileGridSize=(8, 8)).apply(lab[..., 0])
    enhanced = torch.from_numpy(cv2.cvtColor(lab, cv2.COLOR_LAB2RGB)).permute(2, 0, 1)[None] / 255
    return _channels(picture), _channels(enhanced)


def reinhard(linear: Tensor) -> Tensor:
    """Global tone mapping of linear RGB (1, 3, H, W), display-linear in [0, 1].

    L = key Y / exp(mean log Y); L (1 + L / L_white^2) / (1 + L) with L_white the largest L. Reinhard, Stark, Shirley,
    Ferwerda, "Photographic Tone Reproduction for Digital Images", ACM Trans. Graphics 21(3), 2002, eq. 1 to 4.
    """
    light = luminance(linear).clamp(min=1e-6)
    scaled = _KEY * light / light.log().mean().exp()
    mapped = scaled * (1 + scaled / scaled.max().square()) / (1 + scaled)
    return (linear * mapped / light).clamp(0, 1)


def _globally_mapped(picture: Tensor, seed: int) -> Pair:
    """As the paper: from the linear picture to the mapped one, which is encoded for display."""
    linear = picture**_GAMMA
    return _channels(linear), _channels(reinhard(linear) ** (1 / _GAMMA))


def _mapped_alone(picture: Tensor, seed: int) -> Pair:
    """What is left of it where both pictures are encoded: the gamma is no enhancement."""
    return _channels(picture), _channels(reinhard(picture**_GAMMA) ** (1 / _GAMMA))


def _contrasted(picture: Tensor, seed: int) -> Pair:
    """A photographer's mild curve: contrast 1.3 about middle gray."""
    curved = sigmoid(picture**_GAMMA, 1.3, _KEY, 1.0) ** (1 / _GAMMA)
    return _channels(picture), _channels(curved)


OPERATIONS: Mapping[str, tuple[str, Callable[[Tensor, int], Pair]]] = {
    "demosaicing": ("restoration", _demosaiced),
    "denoising, sigma 15": ("restoration", _denoised(15)),
    "denoising, sigma 25": ("restoration", _denoised(25)),
    "super-resolution x4": ("restoration", _super_resolved),
    "local contrast (CLAHE)": ("enhancement", _locally_enhanced),
    "global tone mapping, from linear light": ("enhancement", _globally_mapped),
    "global tone mapping, encoding apart": ("enhancement", _mapped_alone),
    "contrast 1.3, encoding apart": ("enhancement", _contrasted),
}
"""name -> kind, operation; of a restoration the finished picture is the outcome and its degraded self the input"""


def _experiment(changes: Mapping[str, Sequence[float]], data: str, command: str, run: tuple[int, float]) -> Experiment:
    seed, seconds = run
    rows = [_row(name, values, seed) for name, values in changes.items()]
    kinds = {kind: [n for n in changes if OPERATIONS[n][0] == kind] for kind in ("restoration", "enhancement")}
    largest = np.max([changes[n] for n in kinds["restoration"]], axis=0)
    claims = []
    for name in kinds["enhancement"]:
        share = float(np.mean(np.asarray(changes[name]) > largest))
        claims.append(
            Claim(f"{name} changes more than every restoration", f"in {share:.0%} of the pictures", share > 0.5)
        )
    return Experiment(
        name="histogram",
        title="Why two stages: what restoring and enhancing do to the histogram",
        question="Do enhancing operations change a picture's distribution more than restoring ones?",
        command=command,
        data=data,
        seed=seed,
        budget="one pass",
        seconds=seconds,
        tables=[Table("L1 distance of histograms with 256 bins, mean of the channels, in [0, 2]", rows)],
        claims=claims,
        notes=_NOTES,
        details={"changes": {n: [round(v, 5) for v in values] for n, values in changes.items()}},
    )


def _row(name: str, values: Sequence[float], seed: int) -> dict[str, Any]:
    mean = mean_interval(values, seed=seed)
    return {
        "operation": name,
        "kind": OPERATIONS[name][0],
        "mean": mean.value,
        "95 %": f"[{mean.low:.3f}, {mean.high:.3f}]",
        "median": float(np.median(values)),
    }


_NOTES = (
    "![L1 change of each picture's histogram](histogram.png) Restorations are dashed.",
    "Liang et al. 2021, section III-B: the restored picture is the original, the input is made from it.",
    "Local contrast: CLAHE of OpenCV (clip limit 4, 8x8 tiles) in place of the paper's operator of 2013.",
    "The paper tone-maps a picture whose gamma of 2.4 was taken off, so that the encoding counts as enhancement; "
    "the rows 'encoding apart' compare encoded with encoded.",
)
