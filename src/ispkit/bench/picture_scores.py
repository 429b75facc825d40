"""PSNR, SSIM and NLPD of several contestants on the same held-out pictures, and how sure their differences are."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from ispkit.core.param import Values
from ispkit.data.scenes import Scene
from ispkit.io.atomic import write_bytes
from ispkit.isp.pipeline import ISP
from ispkit.metrics import METRICS
from ispkit.metrics.intervals import Interval, mean_interval
from ispkit.tune.objectives.base import target_of
from ispkit.tune.objectives.reference import REFERENCE
from ispkit.tune.problem import PictureProblem, as_picture

NAMES = ("psnr", "ssim", "nlpd")
_HEADS = {"psnr": "PSNR, dB", "ssim": "SSIM", "nlpd": "NLPD"}
_SIGNS = {"psnr": "+.2f", "ssim": "+.4f", "nlpd": "+.4f"}


@dataclass(frozen=True)
class PictureScores:
    """What one contestant reaches; one number a picture, in the order of the scenes."""

    values: Mapping[str, Sequence[float]]
    """`NAMES` -> numbers; PSNR and SSIM higher is better, NLPD lower"""

    def mean(self, name: str) -> float:
        """Over the pictures."""
        return float(np.mean(self.values[name]))

    def row(self, contestant: str) -> dict[str, Any]:
        """For a table."""
        return {"contestant": contestant, **{_HEADS[n]: self._cell(n) for n in NAMES}}

    def _cell(self, name: str) -> str:
        return format(self.mean(name), _SIGNS[name][1:])


def score_pictures(pictures: Sequence[Tensor], scenes: Sequence[Scene]) -> PictureScores:
    """Encoded pictures (1, 3, H, W) in [0, 1] against the targets of their scenes. Raises `ParamError` without one."""
    pairs = [(p, target_of(s)) for p, s in zip(pictures, scenes, strict=True)]
    return PictureScores({n: [float(METRICS[n](p, t, data_range=1.0)) for p, t in pairs] for n in NAMES})


def score_setting(isp: ISP, values: Values, scenes: Sequence[Scene]) -> PictureScores:
    """The 8-bit pictures that an ISP gives under one setting."""
    return score_pictures(render_setting(isp, values, scenes), scenes)


def render_setting(isp: ISP, values: Values, scenes: Sequence[Scene]) -> list[Tensor]:
    """The pictures (1, 3, H, W) themselves."""
    codes = PictureProblem(isp, scenes, REFERENCE["psnr"]).render(values, range(len(scenes)))
    return [as_picture(c) for c in codes]


def best_of_sweep(
    problem: PictureProblem, knob: str, at: Sequence[float], *, keep: Path | None = None
) -> tuple[float, list[dict[str, float]]]:
    """One knob alone: the value with the lowest first objective on the problem's pictures, and all scores.

    `keep` is a JSON file that saves rendering the same sweep again.
    """
    name = problem.objectives[0]
    asked = {"knob": knob, "at": [float(v) for v in at], "pictures": list(problem.pictures)}
    kept = json.loads(keep.read_text("utf-8")) if keep is not None and keep.is_file() else {}
    if kept.get("asked") == asked:
        found = kept["found"]
    else:
        found = [{knob: float(v), name: problem.measure({knob: float(v)}).scores[name]} for v in at]
        if keep is not None:
            keep.parent.mkdir(parents=True, exist_ok=True)
            write_bytes(keep, json.dumps({"asked": asked, "found": found}).encode())
    return min(found, key=lambda row: float(row[name]))[knob], found


def gain_over(new: PictureScores, old: PictureScores, name: str, *, seed: int) -> Interval:
    """The mean of new - old over the pictures, with its paired bootstrap interval."""
    return mean_interval([b - a for a, b in zip(old.values[name], new.values[name], strict=True)], seed=seed)


def gap_rows(scores: Mapping[str, PictureScores], tuned: str, *, seed: int) -> list[dict[str, Any]]:
    """One row a rival: what `tuned` has more of each number, with 95 % intervals, and its worst picture."""
    rows = []
    for rival, own in scores.items():
        if rival == tuned:
            continue
        gaps = {f"{_HEADS[n]}": _shown(gain_over(scores[tuned], own, n, seed=seed), _SIGNS[n]) for n in NAMES}
        rows.append({f"{tuned} less": rival, **gaps, "worst picture, dB": f"{worst_gap(scores[tuned], own):+.2f}"})
    return rows


def worst_gap(new: PictureScores, old: PictureScores) -> float:
    """PSNR of the picture that gains least, or loses most, in dB."""
    return min(b - a for a, b in zip(old.values["psnr"], new.values["psnr"], strict=True))


def _shown(interval: Interval, sign: str) -> str:
    return f"{interval.value:{sign}} [{interval.low:{sign}}, {interval.high:{sign}}]"
