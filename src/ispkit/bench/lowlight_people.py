"""Low light for people: the Anscombe network with L1 beside U-Nets, a modern network and a tuned classical ISP.

After Diamond et al. 2021, section 6.4 (SID with an L1 loss), on simulated low light.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ispkit.bench.curves import draw_curves
from ispkit.bench.experiment import Claim, Experiment, Table
from ispkit.bench.learned_parts import (
    CAMERAS,
    Entrant,
    Entry,
    LearnedBench,
    PhasePlan,
    Pictures,
    Trainer,
    Watch,
    entry,
    sensor_of,
    steps_of,
    told,
    training_s,
)
from ispkit.bench.learned_rivals import CLASSICAL, tuned_classical
from ispkit.data.samples import Sample
from ispkit.data.synthetic_pairs import SyntheticPairs
from ispkit.data.synthetic_raw import SyntheticSettings
from ispkit.isp.pipeline import ISP
from ispkit.isp.recipe import preset
from ispkit.metrics.fidelity import psnr, ssim
from ispkit.train.loop import Sets

GAIN = (16.0, 128.0)
"""ISO 1600 to 12800: from noisy to hardly anything left"""
OURS = "Anscombe network"
_WHOLE = (PhasePlan("isp", ("isp",), "l1", 1.0, 2e-3),)
_OURS = {"name": "anscombe", "preset": "small"}
_UNET = {**_OURS, "stabilize": False, "project": False}
ENTRANTS: tuple[Entrant, ...] = (
    Entrant(OURS, _OURS, _WHOLE),
    Entrant("the same, projection follows the noise", {**_OURS, "fidelity": "noise"}, _WHOLE),
    Entrant("the same without Anscombe", {**_OURS, "stabilize": False}, _WHOLE),
    Entrant("the same without both: U-Nets", _UNET, _WHOLE),
    Entrant("See-in-the-Dark U-Net", {"name": "sid-unet", "preset": "small"}, _WHOLE),
    Entrant("NAFNet", {"name": "nafnet", "preset": "small"}, _WHOLE),
)
_MEASURES: Mapping[str, Callable[..., Tensor]] = {"psnr": psnr, "ssim": ssim}
_TITLES = {"psnr": ("PSNR, dB", 2), "ssim": ("SSIM", 3)}


def run_people(out: Path, bench: LearnedBench, *, command: str, watch: Watch | None = None) -> Experiment:
    """Train all for the same time, judge on the same windows; run folders lie under `out`, and can be gone on with."""
    began = time.monotonic()
    learned, tested = bench.pictures()
    data = bench.synthetic(sensor=CAMERAS["trained on"], colors="sensor", gain=list(GAIN))
    trainer = Trainer(out, bench, _sets(bench, learned, tested), data, watch)
    shots, known = (_shots(pictures, bench) for pictures in (tested, learned))
    tuned = tuned_classical(out / "classical", known[:12], seed=bench.seed)
    rivals: dict[str, ISP] = {f"{CLASSICAL}, as it comes": preset(CLASSICAL), f"{CLASSICAL}, tuned": tuned}
    found = [entry(name, [isp], partial(_scores, shots)) for name, isp in rivals.items()]
    for entrant in ENTRANTS:
        runs = trainer.train_all(entrant)
        found.append(replace(entry(entrant.name, [r.isp for r in runs], partial(_scores, shots)), runs=tuple(runs)))
    lines = {c.name: c.runs[0].curve for c in found if c.runs}
    draw_curves(out / "lowlight_people.png", lines, labels=("processor time, s", "PSNR of held-out pictures, dB"))
    return _experiment(found, bench, (command, max(training_s(found), time.monotonic() - began)))


def _settings(side: int, **more: Any) -> SyntheticSettings:
    return SyntheticSettings(
        patch=(side, side), sensor=sensor_of("trained on"), colors="sensor", gain=GAIN, exposure=(1.0, 1.0), **more
    )


def _sets(bench: LearnedBench, learned: Pictures, tested: Pictures) -> Sets:
    """What is learned from; the held-out set draws the curves and decides nothing."""
    train = SyntheticPairs(learned, _settings(bench.patch, windows=32), seed=bench.seed)
    return Sets(train, SyntheticPairs(tested, _settings(96, turn=False), seed=bench.seed + 1))


def _shots(pictures: Pictures, bench: LearnedBench) -> list[Sample]:
    """A window of each picture that is large enough; the same windows, gains and noise for every method."""
    fitting = {n: p for n, p in pictures.items() if min(p.shape[-2:]) >= bench.window}
    pairs = SyntheticPairs(fitting, _settings(bench.window, turn=False), seed=bench.seed + 1_000_003)
    return [pairs[i] for i in range(len(pairs))]


@torch.no_grad()
def _scores(shots: Sequence[Sample], isp: ISP) -> dict[str, list[float]]:
    found: dict[str, list[float]] = {name: [] for name in _MEASURES}
    for shot in shots:
        made = isp(shot.frame).data.clamp(0, 1)
        for name, measure in _MEASURES.items():
            found[name].append(float(measure(made, shot.target, data_range=1.0)))
    return found


def _experiment(found: Sequence[Entry], bench: LearnedBench, run: tuple[str, float]) -> Experiment:
    ours = next(e for e in found if e.name == OURS)
    versus = f"{OURS}'s PSNR less it"
    return Experiment(
        name="lowlight-people",
        title="Low light for people",
        question="Does the Anscombe network make better pictures in the dark than others in the same time?",
        command=run[0],
        data=f"{bench.data}; {CAMERAS['trained on']} at ISO {100 * GAIN[0]:g} to {100 * GAIN[1]:g}",
        seed=bench.seed,
        budget=bench.budget,
        seconds=run[1],
        tables=[
            Table(
                "Held-out pictures", [{**e.row(_TITLES), versus: ours.less(e, "psnr", seed=bench.seed)} for e in found]
            ),
            Table("Sizes and steps", steps_of(found)),
        ],
        claims=[
            Claim(
                f"{OURS} above {e.name} in PSNR",
                f"{told(gap)} dB",
                gap.low > 0,
            )
            for e, gap in ((e, ours.gap(e, "psnr", seed=bench.seed)) for e in found if e.name != OURS)
        ],
        notes=(
            "Knobs are tuned with a number of renders, not by the clock.",
            "![held-out PSNR of the first training of each](lowlight_people.png)",
            "The paper on SID, PSNR and SSIM: Darktable 8.94 and 0.03, Chen et al. 28.88 and 0.79, Anscombe network "
            "29.14 and 0.81.",
        ),
        details={"scores": {e.name: e.scores for e in found}},
    )
