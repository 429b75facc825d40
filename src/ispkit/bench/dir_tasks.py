"""DiR for machines: does a frozen, pretrained head gain on badly processed pictures, dark ones included?

After Guo et al. 2024, sections 4.3 and 4.4, tables 2 to 4: the alignment network learns by the joint loss of eq. 8 with
a head behind it. Beside it stand doing nothing, DiR for restoration alone, networks without its parts that learn by the
same loss for the same time, and the classical ISP with its knobs set for the head.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ispkit.bench.dir_tasks_methods import (
    AS_IS,
    GAMMA,
    JOINT_AUTO,
    OURS,
    TUNED,
    Fold,
    Method,
    TasksBench,
    begun,
    methods,
)
from ispkit.bench.experiment import Claim, Experiment, Table
from ispkit.bench.learned_parts import Entry, Run, Watch, beside, over_seeds, spread, steps_of, training_s
from ispkit.bench.lowlight_pictures import draw_pictures
from ispkit.core.errors import ShapeError
from ispkit.metrics.fidelity import psnr
from ispkit.metrics.intervals import Interval
from ispkit.perceive.evaluate import Evaluation, Floats, paired_bootstrap
from ispkit.perceive.head import Task
from ispkit.perceive.judge import MAIN, Judged, Looked, look
from ispkit.perceive.segment import Segmented

_TITLES = {"mAP": "mAP@[.5:.95]", "AP50": "mAP@.5", "mIoU": "mIoU", "pixels": "pixel accuracy"}
_SHOWN = 4
_REPEATS = 500
Say = Callable[[str], None]


@dataclass
class Seen:
    """What one training of a method, on all folds, gave; one entry a picture."""

    looked: list[Looked] = field(default_factory=list)
    losses: list[float] = field(default_factory=list)
    """of the head"""
    psnr: list[float] = field(default_factory=list)


@dataclass(eq=False)
class Outcome:
    """A method under one condition."""

    name: str
    task: Task
    seen: list[Seen]
    """one a training; a single one for what is not trained"""
    runs: list[Run] = field(default_factory=list)
    """of all trainings and folds"""
    shown: list[Tensor] = field(default_factory=list)
    """the first pictures of the first fold, (3, H, W), as the head saw them"""

    def __post_init__(self) -> None:
        self.counted = OverTrainings([Judged(self.task, one.looked) for one in self.seen])

    def measures(self) -> dict[str, float]:
        """The head's scores in [0, 1], the mean over trainings, the main one first."""
        found = [Judged(self.task, one.looked).measures() for one in self.seen]
        return {name: float(np.mean([f[name] for f in found])) for name in found[0]}

    def above(self, other: Outcome, *, seed: int) -> Interval:
        """This less the other in the main measure, paired by picture, the mean of trainings; 95 % interval."""
        gap = paired_bootstrap(other.counted, self.counted, of=float, repeats=_REPEATS, seed=seed)
        return Interval(100 * gap.value, 100 * gap.low, 100 * gap.high)


class OverTrainings:
    """The main measure of several trainings that looked at the same pictures, their mean, for `paired_bootstrap`.

    Pictures are drawn again, with all trainings of each: a picture that was looked at three times is one picture.
    """

    def __init__(self, judged: Sequence[Judged]) -> None:
        self._each = [_counted(one) for one in judged]
        self._known: dict[bytes, float] = {}

    @property
    def pictures(self) -> int:
        """How many."""
        return self._each[0].pictures

    def summary(self, weights: Floats | None = None) -> float:
        """In [0, 1]; with `weights` (pictures,), of a set that holds each so many times."""
        key = b"" if weights is None else weights.tobytes()
        if key not in self._known:  # every other method is compared on the same draws
            self._known[key] = float(np.mean([_main(one, weights) for one in self._each]))
        return self._known[key]


def run_dir_tasks(
    out: Path, bench: TasksBench, *, command: str, watch: Watch | None = None, say: Say | None = None
) -> Experiment:
    """Train and judge every method under every condition; run folders lie under `out`, and can be gone on with."""
    began, tell = time.monotonic(), say or (lambda _: None)
    room = begun(out, bench, watch)
    found: dict[str, dict[str, Outcome]] = {}
    for condition in bench.conditions:
        folds = [Fold(bench, condition, k, out, room, watch) for k in range(bench.folds)]
        found[condition] = {}
        for method in methods(folds[0].head.task):
            outcome = found[condition][method.name] = _outcome(method, folds)
            tell(f"{condition}: {method.name}: {100 * outcome.counted.summary():.1f}")
        shown = {name: o.shown for name, o in found[condition].items()}
        draw_pictures(out / f"{_name(found, condition)}.png", shown)
    return _experiment(found, bench, (command, time.monotonic() - began))


def _outcome(method: Method, folds: Sequence[Fold]) -> Outcome:
    bench = folds[0].bench
    seeds = [bench.seed + k for k in range(bench.seeds if method.begins else 1)]
    seen, runs, shown = [], [], []
    for seed in seeds:
        one = Seen()
        for fold in folds:
            run = fold.run(method, seed)
            runs.append(run)
            shown += _judge(fold, method, run, one)
        seen.append(one)
    trained = [run for run in runs if run.steps]
    return Outcome(method.name, folds[0].head.task, seen, trained, shown[:_SHOWN])


@torch.no_grad()
def _judge(fold: Fold, method: Method, run: Run, found: Seen) -> list[Tensor]:
    """Adds to `found`; gives some of the pictures."""
    shown, samples = [], fold.held(method.sees)
    apart = max(1, len(samples) // _SHOWN)
    for i, sample in enumerate(samples):
        picture = run.isp(sample.frame).data.clamp(0, 1)
        if sample.labels is None:
            raise ShapeError(f"{', '.join(sample.names)}: pictures to judge on need labels")
        size = (picture.shape[-2], picture.shape[-1])
        found.looked += look(fold.head, picture, sample.labels)
        found.losses.append(float(fold.head.loss(fold.head(picture), sample.labels, size)))
        found.psnr.append(float(psnr(picture, sample.target, data_range=1.0).clamp(max=99.0)))
        shown += [picture[0].clone()] if i % apart == 0 else []
    return shown


def _counted(judged: Judged) -> Evaluation | Segmented:
    return judged.found if judged.task == "detect" else judged.segmented


def _main(counted: Evaluation | Segmented, weights: Floats | None) -> float:
    if isinstance(counted, Evaluation):
        return counted.summary(weights).map
    return counted.summary(weights).miou


def _experiment(found: Mapping[str, Mapping[str, Outcome]], bench: TasksBench, run: tuple[str, float]) -> Experiment:
    task = _task(found)
    entries = [Entry(f"{c}: {o.name}", {}, tuple(o.runs)) for c, rows in found.items() for o in rows.values()]
    word = {"detect": "detection", "segment": "segmentation"}[task]
    begins = "trained for the same time before" if bench.start is None else f"of the run in {bench.start.name}"
    pictures = [f"What the head saw, {c}: ![{c}]({_name(found, c)}.png)" for c in found]
    return Experiment(
        name=f"dir_tasks_{task}",
        title=f"DiR for {word}",
        question="Does a frozen head gain from DiR on badly processed pictures, and more than from its rivals?",
        command=run[0],
        data=f"{len(bench.pictures)} pictures of {bench.told}, {bench.size} px, {bench.folds} folds: each picture is "
        f"judged by what learned from the others; head {bench.head['name']}, frozen",
        seed=bench.seed,
        budget=f"{bench.budget}; all begin with networks {begins}; {bench.renders} renders of a fold for knobs",
        seconds=max(run[1], training_s(entries)),
        claims=[claim for c, rows in found.items() for claim in _claims(c, rows, bench.seed)],
        tables=[
            *(Table(f"Degradations {c!r}", _rows(rows, bench.seed), _NOTE) for c, rows in found.items()),
            Table("Sizes", steps_of(entries), "Steps of each training on each fold."),
        ],
        notes=(*pictures, f"Weight of the head's loss in eq. 8: {GAMMA[task]:g}.", *_NOTES, _PAPER[task]),
        details={
            c: {n: {"by_training": _by_training(o), "losses": [s.losses for s in o.seen]} for n, o in rows.items()}
            for c, rows in found.items()
        },
    )


def _rows(rows: Mapping[str, Outcome], seed: int) -> list[dict[str, Any]]:
    ours, table = rows[OURS], []
    main = _TITLES[MAIN[ours.task]]
    for name, outcome in rows.items():
        row: dict[str, Any] = {"method": name}
        row |= {_TITLES[k]: f"{100 * v:.1f}" for k, v in outcome.measures().items()}
        row["± by training"] = f"{100 * spread([[m] for m in _by_training(outcome)]):.1f}" if outcome.seen[1:] else ""
        row[f"{OURS}, less it: {main}"] = "" if outcome is ours else _told(ours.above(outcome, seed=seed))
        mine, theirs = (over_seeds([s.losses for s in o.seen]) for o in (ours, outcome))
        row["head's loss"] = f"{np.mean(theirs):.2f}"
        row[f"{OURS}, less it: loss"] = "" if outcome is ours else beside(mine, theirs, seed=seed)
        row["PSNR, dB"] = f"{np.mean([s.psnr for s in outcome.seen]):.2f}"
        table.append(row)
    return table


def _claims(condition: str, rows: Mapping[str, Outcome], seed: int) -> list[Claim]:
    """Met where the paired interval lies above zero."""
    claims = []
    for text, other in (
        (f"a pretrained head gains: {OURS} above {AS_IS}", AS_IS),
        (f"{OURS} above {JOINT_AUTO}", JOINT_AUTO),
        (f"{OURS} above {TUNED}", TUNED),
    ):
        gap = rows[OURS].above(rows[other], seed=seed)
        claims.append(
            Claim(f"{condition}: {text}", f"{_TITLES[MAIN[rows[OURS].task]]} {_told(gap)} points", gap.low > 0)
        )
    return claims


def _by_training(outcome: Outcome) -> list[float]:
    return [Judged(outcome.task, one.looked).main for one in outcome.seen]


def _told(gap: Interval) -> str:
    return f"{gap.value:+.1f} [{gap.low:+.1f}, {gap.high:+.1f}]"


def _task(found: Mapping[str, Mapping[str, Outcome]]) -> Task:
    return next(iter(next(iter(found.values())).values())).task


def _name(found: Mapping[str, Mapping[str, Outcome]], condition: str) -> str:
    """Of a condition's picture."""
    return f"dir_tasks_{_task(found)}_{condition}"


_NOTE = (
    "Percent. Differences: paired by picture over the mean of trainings, 95 % bootstrap over pictures. PSNR is against "
    "the clean picture, which the joint loss does not have to come near to."
)
_NOTES = (
    "The classical ISP is the one that made the pictures, but it is given the RAW, which nothing else sees: knobs that "
    "degradations turn are tuned for the head's loss on the pictures learned from, and its picture is not compressed. "
    "The predictor begins with these knobs and sets those with a gradient anew for each frame. Knobs are tuned with a "
    "number of renders, not by the clock.",
    "Networks begin with weights for restoration, trained for equal times on other pictures under the degradations "
    "'paper', and go on for equal times on the pictures of each fold. DiR trains its alignment network alone.",
    "The head was trained on clean pictures of the same kind, perhaps on these: its numbers are higher than on new "
    "ones. What counts are differences. Measured over few pictures they move in large steps; the head's loss, one "
    "number a picture, tells finer.",
)
_PAPER: Mapping[Task, str] = {
    "detect": "The paper, mAP@.5 and @[.5:.95] on COCO behind an ISP at its defaults: as it is 34.1 and 21.4, DiR 63.9 "
    "and 43.3, the attention-aware predictor of Qin et al. 61.0 and 41.0.",
    "segment": "The paper, mIoU and pixel accuracy of DeepLabv3 on dark ADE20k: as it is 22.6 and 64.8, DiR 34.6 and "
    "75.5.",
}
