"""Experiment h: c71 led to a look on purpose, "over-sharpened, high contrast" (Tseng et al. 2019, Fig. 11)."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ispkit.bench.c71_parts import C71Bench, baseline, natural_scenes, search
from ispkit.bench.experiment import Claim, Experiment, Table
from ispkit.bench.picture_scores import render_setting
from ispkit.core.errors import ParamError, nearest
from ispkit.data.scenes import Scene
from ispkit.io.pictures import write_picture
from ispkit.isp.c71 import C71
from ispkit.metrics.intervals import Interval, mean_interval
from ispkit.tune.objectives.base import target_of
from ispkit.tune.objectives.grammar import parse_objective
from ispkit.tune.objectives.reference import REFERENCE
from ispkit.tune.objectives.style import LOOKS, Styled
from ispkit.tune.plan import Hooks
from ispkit.tune.problem import PictureProblem
from ispkit.tune.result import Result

_PARTS = ("l1", "nlpd", "psnr", "delta_e00")
_GAP = 4  # px between the pictures of the strip


@dataclass(frozen=True, kw_only=True)
class StyleBench(C71Bench):
    """Settings of the experiment; those of c71's, and the look."""

    look: str = "sharp-contrast"
    """of `LOOKS`"""
    gains: tuple[float, ...] = (1.0,)
    """the first one counts"""
    budget: int = 150
    shown: int = 5
    """held-out pictures in the strip"""


@dataclass(frozen=True)
class _Change:
    """One number of the baseline and of the tuned setting on the same pictures, lower is better."""

    name: str
    old: float
    new: float
    change: Interval

    def row(self) -> dict[str, Any]:
        return {
            "distance to the style": self.name,
            "baseline": self.old,
            "tuned": self.new,
            "change": f"{self.change.value:+.3g}",
            "95 % of the change": f"[{self.change.low:+.3g}, {self.change.high:+.3g}]",
        }


def run_style(out: Path, bench: StyleBench, *, command: str, hooks: Callable[[str], Hooks] | None = None) -> Experiment:
    """Tune c71 from its baseline towards a look, judge both on held-out scenes, write a strip style.png into `out`.

    Can be gone on with. Raises `ParamError` for an unknown look, `FileError`.
    """
    began = time.monotonic()
    if bench.look not in LOOKS:
        raise ParamError(f"no look {bench.look!r}; {nearest(bench.look, LOOKS)}")
    isp, judge = C71(), parse_objective(f"style:{bench.look}")
    tuned_on, held = natural_scenes(bench, bench.gains[0])
    space = isp.space.with_defaults(baseline())
    problem = PictureProblem(isp, tuned_on, judge, space=space)
    held_out = PictureProblem(isp, held, judge, space=space)
    told = hooks(f"style {bench.look}") if hooks is not None else None
    result = search(problem, held_out, out / f"style-{bench.look}", bench, told)
    old, new = (render_setting(isp, values, held) for values in (baseline(), result.best.values))
    styled = [styled_scene(scene, bench.look) for scene in held]
    changes = [
        _change(
            "style objective",
            bench,
            [judge.score(p, s) for p, s in zip(old, held, strict=True)],
            [judge.score(p, s) for p, s in zip(new, held, strict=True)],
        )
    ]
    for name in _PARTS:
        before, after = (
            [REFERENCE[name].score(p, s) for p, s in zip(side, styled, strict=True)] for side in (old, new)
        )
        changes.append(_change(name if name != "psnr" else "-PSNR, dB", bench, before, after))
    rows = list(zip(old, new, [target_of(s) for s in styled], strict=True))
    write_picture(out / "style.png", strip(rows[: bench.shown]))
    return _experiment(changes, (result, len(held)), bench, (command, max(result.seconds, time.monotonic() - began)))


def styled_scene(scene: Scene, look: str) -> Scene:
    """The scene with its target in the look."""
    return Styled(look, LOOKS[look], REFERENCE["l1"]).styled(scene)


def strip(rows: Sequence[Sequence[Tensor]]) -> np.ndarray[Any, np.dtype[np.uint8]]:
    """Rows of pictures (1, 3, H, W) in [0, 1], beside and under each other on white, as codes (H', W', 3).

    Pictures of one row have one height; shorter rows are filled up.
    """
    lines = []
    for row in rows:
        white = torch.ones(1, 3, row[0].shape[-2], _GAP)
        lines.append(torch.cat([part for picture in row for part in (picture, white)][:-1], dim=-1))
    width = max(line.shape[-1] for line in lines)
    filled = [torch.nn.functional.pad(line, (0, width - line.shape[-1], 0, _GAP), value=1.0) for line in lines]
    whole = torch.cat(filled, dim=-2)[0, :, :-_GAP]
    codes: np.ndarray[Any, np.dtype[np.uint8]] = (whole * 255).round().byte().permute(1, 2, 0).contiguous().numpy()
    return codes


def _change(name: str, bench: StyleBench, old: Sequence[float], new: Sequence[float]) -> _Change:
    interval = mean_interval([b - a for a, b in zip(old, new, strict=True)], seed=bench.seed)
    return _Change(name, float(np.mean(old)), float(np.mean(new)), interval)


def _experiment(
    changes: Sequence[_Change], search_: tuple[Result, int], bench: StyleBench, run: tuple[str, float]
) -> Experiment:
    result, count = search_
    first = changes[0]
    share = 100 * (1 - first.new / first.old)
    knobs = [{"register": k.name, "baseline": k.old, "tuned": k.new} for k in result.changed]
    tables = [
        Table(
            f"{count} held-out scenes at gain {bench.gains[0]:g}",
            [c.row() for c in changes],
            f"Lower is nearer. {result.spent:.0f} renders of {len(result.pictures)} scenes, {result.seconds:.0f} s, "
            f"method {result.method}. style.png shows baseline, tuned and style target side by side.",
        )
    ]
    tables += [Table("Registers that were changed", knobs)] if knobs else []
    measured = (
        f"{share:.0f} % nearer; change {first.change.value:+.4f} [{first.change.low:+.4f}, {first.change.high:+.4f}]"
    )
    return Experiment(
        name="style",
        title=f"c71 in a look on purpose: {bench.look}",
        question="Do the registers find a look that is shown by pictures alone?",
        command=run[0],
        data=bench.data,
        seed=bench.seed,
        budget=f"{bench.budget} renders of the tuning set, all included, from the frozen baseline",
        seconds=run[1],
        tables=tables,
        claims=[
            Claim(
                "nearer to the style than the baseline on held-out scenes, beyond chance",
                measured,
                first.change.high < 0,
            )
        ],
        notes=(
            "The style target is the clean picture in the look: unsharp mask with halos and contrast on linear light. "
            "No setting need reach it: noise and blur of the shot stay, and c71's tone curve has few registers.",
        ),
        details={"values": dict(result.best.values), "look": bench.look, "warnings": list(result.warnings)},
    )
