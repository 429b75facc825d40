"""Rivals of learned ISPs that no gradient trains: a tuned pipeline, LibRaw, and tables in closed form."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import cast

import torch

from ispkit.core.frame import Frame
from ispkit.core.param import Values
from ispkit.core.space import ParamSpace
from ispkit.data.samples import Sample
from ispkit.data.scenes import Scene
from ispkit.data.synthetic_pairs import SyntheticPairs
from ispkit.isp.external.libraw import LibRawISP
from ispkit.isp.learned.catalog import build
from ispkit.isp.learned.learned_isp import LearnedISP
from ispkit.isp.pipeline import ISP
from ispkit.isp.recipe import preset
from ispkit.nets.l3 import L3Net
from ispkit.train.stream import SampleSet
from ispkit.tune.objectives.reference import REFERENCE
from ispkit.tune.plan import Plan
from ispkit.tune.problem import PictureProblem
from ispkit.tune.study import tune

CLASSICAL = "low-light"
"""the preset that is tuned"""
FREE = ("raw_denoise.*", "exposure.*", "denoise.*", "tone_curve.*", "false_color.*")
"""its knobs that are tuned"""
_BUDGET = 150.0
_FITTED = 64  # batches of 8 windows for the closed form


class Turned:
    """An ISP with some of its knobs turned: those are its defaults."""

    def __init__(self, isp: ISP, values: Values) -> None:
        self._isp, self._values = isp, dict(values)
        self.reads, self.writes = isp.reads, isp.writes
        self.space: ParamSpace = isp.space.with_defaults(values)

    def __call__(self, frame: Frame, values: Values | None = None) -> Frame:
        """Render; `values` over those that were set."""
        return self._isp(frame, {**self._values, **(values or {})})


def tuned_classical(folder: Path, known: Sequence[Sample], *, seed: int) -> ISP:
    """The low-light preset with its denoising, exposure and tone tuned for PSNR on training windows."""
    isp = preset(CLASSICAL)
    scenes = [Scene(f"{s.names[0]}-{i}", s.frame, s.target) for i, s in enumerate(known)]
    problem = PictureProblem(isp, scenes, REFERENCE["psnr"], space=isp.space.select(*FREE))
    result = tune(problem, folder, Plan(method="auto", budget=_BUDGET, seed=seed, noisy=False))
    return Turned(isp, result.best.values)


class LibRawAuto:
    """LibRaw with the brightness that the frame asks for; everything else as it comes."""

    def __init__(self) -> None:
        self._isp = LibRawISP()
        self.space, self.reads, self.writes = self._isp.space, self._isp.reads, self._isp.writes

    def __call__(self, frame: Frame, values: Values | None = None) -> Frame:
        """Render one frame."""
        low, high = self.space["exposure.bright"].low, self.space["exposure.bright"].high  # type: ignore[union-attr]
        bright = min(max(float(frame.meta.baseline_exposure[0].exp2()), low), high)
        return self._isp(frame, {"exposure.bright": bright, **(values or {})})


@torch.no_grad()
def fitted_l3(data: SampleSet) -> LearnedISP:
    """L3's tables, solved on windows of the training set."""
    isp = build("l3", preset="small", exposure="baseline")
    part = isp.named_parts["isp"]
    pairs = cast(SyntheticPairs, data)
    batches = (pairs.batch(range(8 * k, 8 * k + 8)) for k in range(min(_FITTED, len(pairs) // 8)))
    cast(L3Net, part.net).fit((part.adapter.enter(part.adapter.gather(b.frame)), b.target) for b in batches)
    return isp.eval()
