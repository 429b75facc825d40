"""The low-light protocol: every way from a dark RAW to an answer, on the same pictures, light, noise and budget.

After Diamond et al. 2021, section 6, tables 1 and 2: accuracy by light level for no ISP, classical ISPs, learned ISPs
and a joint one, their ablations, and the front of picture quality against task score.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ispkit.bench.experiment import Claim, Experiment, Table
from ispkit.bench.learned_parts import Watch
from ispkit.bench.lowlight_captured import look_at_captured
from ispkit.bench.lowlight_methods import ABLATIONS, BLUR_PX, BLURRED, CLEAN, OURS, PLAIN, Method, methods
from ispkit.bench.lowlight_parts import Condition, LowLightBench, Trial
from ispkit.bench.lowlight_pictures import draw_front, draw_pictures
from ispkit.core.errors import ShapeError
from ispkit.core.frame import Domain, Frame
from ispkit.data.captured import CapturedPictures
from ispkit.data.samples import Sample
from ispkit.metrics.fidelity import psnr, ssim
from ispkit.perceive.joint import JointModel
from ispkit.perceive.judge import MAIN, Judged, Looked, look
from ispkit.train.stream import SampleSet

_BATCH = 50
_SHOWN = 6
Say = Callable[[str], None]


@dataclass
class Outcome:
    """A method under one light, over all its trainings; each has judged the pictures of its own fold."""

    method: Method
    pictures: list[Looked] = field(default_factory=list)
    by_seed: list[float] = field(default_factory=list)
    """the main measure of each training"""
    psnr: list[float] = field(default_factory=list)
    ssim: list[float] = field(default_factory=list)
    shown: list[Tensor] = field(default_factory=list)
    """the first pictures of the first fold, (3, H, W), as the head saw them"""


def run_lowlight(
    out: Path,
    bench: LowLightBench,
    *,
    command: str,
    ablations: bool = True,
    watch: Watch | None = None,
    say: Say | None = None,
) -> Experiment:
    """Train and judge every method under every light; run folders lie under `out`, and can be gone on with.

    `ablations`: also the changed networks under the first light, the conditions that they never saw, and a lens that
    blurs.
    """
    began = time.monotonic()
    judge = Judging(out, bench, watch, say or (lambda _: None))
    found = {
        level: judge.all_of(methods(bench.also, other=bench.other is not None), Condition(level))
        for level in bench.levels
    }
    for level, rows in found.items():
        draw_pictures(out / f"{_word(level)}.png", {n: o.shown for n, o in rows.items()})
    main = MAIN[judged(found[bench.levels[0]][OURS]).task]
    fronts = {level: [(n, _mean(o.psnr), judged(o).main) for n, o in rows.items()] for level, rows in found.items()}
    draw_front(out / "lowlight_front.png", fronts, main)
    tables = [Table(f"Light: {level}", _rows(rows, bench.seed), _NOTE) for level, rows in found.items()]
    if ablations:
        tables += _further(judge, found)
    if bench.captured is not None:
        tables.append(_captured(judge, found, bench.captured))
    return _experiment(found, tables, bench, (command, time.monotonic() - began))


def judged(outcome: Outcome) -> Judged:
    """All trainings together."""
    first = outcome.pictures[0]
    task = "detect" if first.boxes is not None else "segment" if first.table is not None else "classify"
    return Judged(task, outcome.pictures)  # type: ignore[arg-type]


@dataclass(frozen=True)
class Judging:
    """Methods trained under conditions, and judged there or elsewhere."""

    out: Path
    bench: LowLightBench
    watch: Watch | None
    say: Say

    def all_of(self, methods: Sequence[Method], condition: Condition) -> dict[str, Outcome]:
        """Each method by its name."""
        return {m.name: self.outcome(m, condition) for m in methods}

    def outcome(self, method: Method, condition: Condition, elsewhere: Condition | None = None) -> Outcome:
        """A method's trainings under one condition, judged there or `elsewhere`, each on its own fold."""
        found = Outcome(method)
        for k in range(self.bench.seeds):
            trial = Trial(self.bench, condition, self.bench.seed + k, self.out, self.watch)
            isp = trial.tuned(method) if method.tuned else None
            there = trial if elsewhere is None else replace(trial, condition=elsewhere)
            before = len(found.pictures)
            _judge(trial.model(method), there.data(method, learning=False, isp=isp), found)
            found.by_seed.append(Judged(judged(found).task, found.pictures[before:]).main)
        where = condition.name if elsewhere is None else f"{condition.name}, judged at {elsewhere.name}"
        self.say(f"{where}: {method.name}: {_mean(found.by_seed):.3f}")
        return found


@torch.no_grad()
def _judge(model: JointModel, data: SampleSet, found: Outcome) -> None:
    data.set_epoch(0)
    apart = max(1, len(data) // _SHOWN)
    for start in range(0, len(data), _BATCH):
        some = range(start, min(start + _BATCH, len(data)))
        batch = Sample.cat([data[i] for i in some])
        picture = model.picture(_told(batch.frame, found.method.noise_factor)).data.clamp(0, 1)
        if batch.labels is None:
            raise ShapeError(f"{', '.join(batch.names)}: pictures to judge on need labels")
        found.pictures += look(model.head, picture, batch.labels)
        found.psnr += psnr(picture, batch.target, data_range=1.0).clamp(max=99.0).tolist()
        found.ssim += ssim(picture, batch.target, data_range=1.0).tolist()
        shown = [p.clone() for i, p in zip(some, picture, strict=True) if i % apart == 0]
        found.shown += shown[: max(0, _SHOWN - len(found.shown))]


def _told(frame: Frame, factor: float) -> Frame:
    """The frame with another noise profile than it has."""
    if factor == 1 or frame.domain is Domain.DISPLAY_RGB:
        return frame
    return frame.with_data(frame.data, noise_profile=frame.meta.noise_profile * factor)


def _further(judge: Judging, found: Mapping[str, Mapping[str, Outcome]]) -> list[Table]:
    """Ablations, conditions that were never learned from, and blur, each for the first light."""
    bench, level = judge.bench, judge.bench.levels[0]
    here, seed = Condition(level), bench.seed
    changed = {OURS: found[level][OURS], **judge.all_of(ABLATIONS, here)}
    rows = [_short(changed, name, seed) for name in changed]
    tables = [Table(f"Changed networks, light: {level}", rows, "Percent; difference as above.")]
    plain = next(m for m in ABLATIONS if m.name == PLAIN)
    moved = []
    for other in (None, *_elsewhere(level)):
        ours, theirs = (judge.outcome(m, here, other) for m in (found[level][OURS].method, plain))
        gap = _points(judged(ours), judged(theirs), seed)
        values = {o.method.name: f"{100 * judged(o).main:.1f}" for o in (ours, theirs)}
        moved.append(
            {"judged at": f"{level}, learned here" if other is None else other.name, **values, "difference": gap}
        )
    note = f"Both learned from {here.name} alone; percent."
    tables.append(Table("Conditions that were never learned from", moved, note))
    blurred = judge.all_of(BLURRED, Condition(level, blur_px=BLUR_PX))
    rows = [_short(blurred, name, seed) for name in blurred]
    return [*tables, Table(f"A lens that blurs, sigma {BLUR_PX:g} px; light: {level}", rows, "Percent.")]


def _captured(judge: Judging, found: Mapping[str, Mapping[str, Outcome]], files: CapturedPictures) -> Table:
    """Every method as it was trained under the last light, on RAW files of a camera."""
    bench, level = judge.bench, judge.bench.levels[-1]
    seen: dict[str, list[Looked]] = {}
    for name, outcome in found[level].items():
        if name != CLEAN and not outcome.method.tuned:
            trials = (
                Trial(bench, Condition(level), bench.seed + k, judge.out, judge.watch) for k in range(bench.seeds)
            )
            seen[name] = [one for trial in trials for one in look_at_captured(trial, outcome.method, files)]
    own = {name: Judged("classify", looked) for name, looked in seen.items()}
    rows = [
        {
            "method": name,
            **{k: f"{100 * v:.1f}" for k, v in each.measures().items()},
            "Anscombe network less it": "" if name == OURS else _points(own[OURS], each, bench.seed),
        }
        for name, each in own.items()
    ]
    note = (
        f"Percent; learned from simulated {level}. All trainings look at the same files, so intervals are too narrow."
    )
    return Table(f"{len(files)} captured RAW files", rows, note if bench.seeds > 1 else note.partition(" All")[0])


def _elsewhere(level: str) -> list[Condition]:
    """Other filter arrays, other sensors, and less and more light than any level of the protocol."""
    others = [*(Condition(level, cfa=cfa) for cfa in ("RGGB", "GRBG"))]
    others += [Condition(level, sensor=name) for name in ("semco", "ov2740", "sidd-google-pixel")]
    return others + [Condition(other) for other in ("0.5-1 lux", "200-2000 lux")]


def _short(rows: Mapping[str, Outcome], name: str, seed: int) -> dict[str, Any]:
    own = judged(rows[name])
    row: dict[str, Any] = {"method": name} | {k: f"{100 * v:.1f}" for k, v in own.measures().items()}
    row["Anscombe network less it"] = "" if name == OURS else _points(judged(rows[OURS]), own, seed)
    return row | {"PSNR, dB": f"{_mean(rows[name].psnr):.2f}"}


def _experiment(
    found: Mapping[str, Mapping[str, Outcome]], tables: Sequence[Table], bench: LowLightBench, run: tuple[str, float]
) -> Experiment:
    notes = ["![picture quality and task score](lowlight_front.png)"]
    notes += [f"What the heads saw at {level}: ![{level}]({_word(level)}.png)" for level in found]
    formation = "encoded values taken for light, as in the paper" if bench.light == "encoded" else "linear light"
    main = MAIN[judged(found[bench.levels[0]][OURS]).task]
    return Experiment(
        name="lowlight",
        title="Seeing in the dark",
        question="Which way from a dark RAW to an answer is best, at equal pictures, light, noise and budget?",
        command=run[0],
        data=f"{bench.told}; {bench.most} of each fold to judge on; noise of {Condition.sensor}; {formation}",
        seed=bench.seed,
        budget=bench.budget,
        seconds=run[1],
        tables=tables,
        claims=[claim for level, rows in found.items() for claim in _claims(level, rows, bench.seed, main)],
        notes=(*notes, *_FAIR, _PAPER),
        details={
            level: {n: {"by_seed": o.by_seed, "psnr": _mean(o.psnr)} for n, o in rows.items()}
            for level, rows in found.items()
        },
    )


def _rows(rows: Mapping[str, Outcome], seed: int) -> list[dict[str, Any]]:
    ours, clean = judged(rows[OURS]), judged(rows[CLEAN]).main
    worst = judged(rows["preset neutral"]).main
    table = []
    for name, outcome in rows.items():
        own = judged(outcome)
        spread = float(np.std(outcome.by_seed, ddof=1)) if len(outcome.by_seed) > 1 else 0.0
        row: dict[str, Any] = {"method": name}
        row |= {k: f"{100 * v:.1f}" for k, v in own.measures().items()}
        row["± by training"] = f"{100 * spread:.1f}"
        row["won back"] = f"{100 * (own.main - worst) / (clean - worst):.0f} %" if clean > worst else "-"
        row["Anscombe network less it"] = "" if name == OURS else _points(ours, own, seed)
        row |= {"PSNR, dB": f"{_mean(outcome.psnr):.2f}", "SSIM": f"{_mean(outcome.ssim):.3f}"}
        table.append(row)
    return table


def _points(ours: Judged, other: Judged, seed: int) -> str:
    gap = ours.above(other, seed=seed)
    return f"{100 * gap.value:+.1f} [{100 * gap.low:+.1f}, {100 * gap.high:+.1f}]"


def _claims(level: str, rows: Mapping[str, Outcome], seed: int, main: str) -> list[Claim]:
    """What a joint network should be above; met where the paired interval lies above zero."""
    ours = judged(rows[OURS])
    claims = []
    for name in (n for n in _BEATEN if n in rows):
        gap = ours.above(judged(rows[name]), seed=seed)
        told = f"{main} {100 * gap.value:+.1f} points [{100 * gap.low:+.1f}, {100 * gap.high:+.1f}]"
        claims.append(Claim(f"{level}: {OURS} above {name}", told, gap.low > 0))
    return claims


_BEATEN = (
    "RAW, from scratch",
    "RAW, from scratch, twice the time",
    "RAW, another network from scratch",
    "preset low-light, head fine-tuned",
    "prior's U-Net, then the head",
    "prior's U-Net + head's features, then the head",
    "prior's U-Net with Anscombe layers, jointly",
)
_FAIR = (
    "A head that is not given with weights learned from clean pictures before, once for all rows, for the time of one "
    "training; from scratch there is a row with twice the time. Knobs are tuned with a number of renders of 48 "
    "pictures, not by the clock. Rates: 1e-3 for a head alone, 2e-3 for an ISP, then 2e-4 for the head behind it or "
    "5e-4 for both.",
    "U-Nets here are the Anscombe network's own prior of 47 thousand parameters without the rest; the paper's are "
    "that of Chen et al. 2018, 12 million with the head. Its perceptual loss is VGG's, here the head's own features.",
    "Intervals are over pictures: that another training would end elsewhere is told by the column of spreads alone.",
)
_NOTE = (
    "Percent. Difference: paired over all pictures of all folds, 95 % bootstrap. Won back: share of what the untuned "
    "preset neutral loses against clean pictures."
)
_PAPER = (
    "The paper, top-1 on ImageNet at 3 lux, 6 lux, 2 to 20 and 2 to 200 lux: from scratch 23.5, 32.7, 35.2, 42.7 "
    "(MobileNet-v2 27.9, 36.8, 36.3, 38.6); Darktable and fine-tuned 20.0, 34.7, 16.5, 23.5; U-Net and fine-tuned "
    "29.9, 36.2, 14.4, 20.2; with a perceptual loss 9.5, 25.7, 19.1, 26.2; joint Anscombe network 30.5, 43.6, 40.9, "
    "48.5."
)


def _mean(values: Sequence[float]) -> float:
    return float(np.mean(values))


def _word(level: str) -> str:
    return "lowlight_" + level.replace(" ", "_").replace("-", "_")
