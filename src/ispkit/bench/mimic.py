"""Learn to be another ISP from its pictures of 200 RAW files, beside the best that turning knobs reaches."""

from __future__ import annotations

import itertools
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ispkit.bench.curves import draw_curves
from ispkit.bench.experiment import Claim, Experiment, Table
from ispkit.bench.learned_parts import (
    CAMERAS,
    Entrant,
    LearnedBench,
    Pictures,
    Run,
    School,
    Stint,
    Watch,
    beside,
    over_seeds,
    sensor_of,
    spread,
)
from ispkit.bench.learned_rivals import Turned
from ispkit.core.frame import Frame
from ispkit.data.pairs import PairSettings, RawPairs
from ispkit.data.pairs_files import PairFiles
from ispkit.data.scenes import Scene
from ispkit.data.synthetic_pairs import SyntheticPairs, SyntheticSettings
from ispkit.io.dng_writer import write_dng
from ispkit.io.load import load
from ispkit.io.pictures import read_picture
from ispkit.isp.pipeline import ISP
from ispkit.isp.recipe import preset
from ispkit.metrics.fidelity import psnr, ssim
from ispkit.metrics.scielab import scielab
from ispkit.train.loop import Sets
from ispkit.train.mimic import mimic_pairs, raw_files
from ispkit.tune.objectives.reference import REFERENCE
from ispkit.tune.plan import Plan
from ispkit.tune.problem import PictureProblem
from ispkit.tune.study import tune

_STINT = (Stint("isp", ("isp",), "l1"),)
STUDENTS: tuple[Entrant, ...] = (
    Entrant("NAFNet", {"name": "nafnet", "preset": "small"}, _STINT),
    Entrant("DeepISP", {"name": "deepisp", "preset": "small"}, (Stint("isp", ("isp",), "l1", 1.0, 5e-4),), "mean"),
)
_PIPELINES = ("neutral", "camera-like")
"""presets whose knobs are tuned, all of them; the one that is better on training pictures counts"""
_GAIN = (1.0, 4.0)


@dataclass(frozen=True, kw_only=True)
class MimicBench(LearnedBench):
    """Settings of the experiment; those of all trainings, and the ISP to learn from."""

    teacher: str = "libraw"
    """any name or file that `open_isp` knows"""
    pairs: int = 200
    """RAW files to learn from"""
    unseen: int = 24
    """RAW files to judge on, of pictures that were never seen"""
    renders: int = 200
    """for tuning each pipeline"""


@dataclass(frozen=True)
class Contestant:
    """A method with the scores of each unseen RAW file; one list a training."""

    name: str
    scores: list[list[tuple[float, float, float]]]
    """PSNR in dB, SSIM, S-CIELAB against the teacher's picture"""
    runs: tuple[Run, ...] = ()

    def values(self, measure: int) -> list[list[float]]:
        """One list of pictures a training."""
        return [[s[measure] for s in scores] for scores in self.scores]


def run_mimic(out: Path, bench: MimicBench, *, command: str, watch: Watch | None = None) -> Experiment:
    """Write the RAW files, have the teacher render them, train and tune, judge on unseen files. Resumes."""
    began = time.monotonic()
    learned, tested = bench.pictures()
    known = _rendered(out, "known", learned, bench.pairs, bench)
    unseen = _rendered(out, "unseen", tested, bench.unseen, bench)
    shots = [(load(pair.raws[0]), _picture(pair)) for pair in unseen]
    found = [_contestant(name, [isp], shots) for name, isp in _turned(out, known, bench).items()]
    room = out / bench.teacher
    school = School(room, bench, _sets(known, unseen, bench), watch)
    for entrant in STUDENTS:
        runs = school.train_all(entrant)
        made = _contestant(entrant.name, [r.isp for r in runs], shots)
        found.append(Contestant(entrant.name, made.scores, tuple(runs)))
    name = f"mimic_{bench.teacher}"
    lines = {f"{c.name}, seed {bench.seed + k}": r.curve for c in found for k, r in enumerate(c.runs)}
    draw_curves(out / f"{name}.png", lines, labels=("processor time, s", "PSNR of unseen pictures, dB"))
    seconds = max(sum(r.seconds for c in found for r in c.runs), time.monotonic() - began)
    return _experiment(found, bench, name, (command, seconds))


def _rendered(out: Path, side: str, pictures: Pictures, count: int, bench: MimicBench) -> list[PairFiles]:
    """RAW files, written once, with the teacher's pictures, rendered once."""
    raws = out / "raws" / side
    raws.mkdir(parents=True, exist_ok=True)
    settings = SyntheticSettings(
        patch=(bench.window, bench.window), sensor=sensor_of("trained on"), colors="sensor", gain=_GAIN, turn=False,
        windows=-(-count // len(pictures)),
    )  # fmt: skip
    fitting = {n: p for n, p in pictures.items() if min(p.shape[-2:]) >= bench.window}
    pairs = SyntheticPairs(fitting, settings, seed=bench.seed + (side == "unseen"))
    for index in range(count):
        path = raws / f"{index:04d}.dng"
        if not path.is_file():
            write_dng(path, pairs[index].frame)
    return mimic_pairs(raw_files(raws)[:count], bench.teacher, out / "targets" / bench.teacher)


def _sets(known: Sequence[PairFiles], unseen: Sequence[PairFiles], bench: MimicBench) -> Sets:
    """Windows of the pairs; the unseen ones draw the curves and decide nothing."""
    settings = PairSettings(crop=(bench.patch, bench.patch), turn=True, windows=2)
    learn = RawPairs(known, settings, seed=bench.seed)
    return Sets(learn, RawPairs(unseen, PairSettings(crop=(bench.window, bench.window))))


def _picture(pair: PairFiles) -> Tensor:
    """(1, 3, H, W) what the teacher made."""
    if pair.picture is None:
        raise ValueError(f"{pair.name} has no picture")
    return torch.from_numpy(read_picture(pair.picture).pixels).permute(2, 0, 1)[None].contiguous()


def _turned(out: Path, known: Sequence[PairFiles], bench: MimicBench) -> dict[str, ISP]:
    """The presets as they come, and the better one after all its knobs were tuned to the teacher's pictures."""
    every = max(1, len(known) // 16)
    scenes = [Scene(pair.name, load(pair.raws[0]), _picture(pair)) for pair in itertools.islice(known, 0, None, every)]
    found: dict[str, ISP] = {f"{name}, as it comes": preset(name) for name in _PIPELINES}
    results = {}
    for name in _PIPELINES:
        plan = Plan(method="auto", budget=bench.renders, seed=bench.seed, noisy=False)
        folder = out / bench.teacher / f"pipeline-{name}"
        results[name] = tune(PictureProblem(preset(name), scenes, REFERENCE["psnr"]), folder, plan)
    best = min(results, key=lambda n: results[n].best.scores["psnr"])
    return found | {f"{best}, tuned": Turned(preset(best), results[best].best.values)}


def _contestant(name: str, isps: Sequence[ISP], shots: Sequence[tuple[Frame, Tensor]]) -> Contestant:
    return Contestant(name, [[_score(isp, frame, target) for frame, target in shots] for isp in isps])


@torch.no_grad()
def _score(isp: ISP, frame: Frame, target: Tensor) -> tuple[float, float, float]:
    made = isp(frame).data.clamp(0, 1)
    fidelity, structure, color = (float(f(made, target, data_range=1.0)) for f in (psnr, ssim, scielab))
    return fidelity, structure, color


def _experiment(found: Sequence[Contestant], bench: MimicBench, name: str, run: tuple[str, float]) -> Experiment:
    mean = {c.name: float(np.mean(c.values(0))) for c in found}
    student = max((c.name for c in found if c.runs), key=lambda n: mean[n])
    turned = max((c.name for c in found if not c.runs), key=lambda n: mean[n])
    ours = next(c for c in found if c.name == student)
    rows = [_row(c, ours, bench) for c in found]
    return Experiment(
        name=name,
        title=f"Learning to be another ISP: {bench.teacher}",
        question="Does a network that saw 200 pictures of an ISP come nearer to it than a tuned pipeline?",
        command=run[0],
        data=f"{bench.data}; {bench.pairs} RAW files to learn from, {bench.unseen} unseen, {CAMERAS['trained on']} "
        f"at gain {_GAIN[0]:g} to {_GAIN[1]:g}",
        seed=bench.seed,
        budget=f"{bench.budget}; {bench.renders} renders of 16 RAW files for each pipeline",
        seconds=run[1],
        tables=[Table(f"{bench.unseen} unseen RAW files against the pictures of {bench.teacher}", rows)],
        claims=[
            Claim(
                "the network is nearer than the best pipeline",
                f"{student} {mean[student]:.2f} dB, {turned} {mean[turned]:.2f} dB",
                mean[student] > mean[turned],
            )
        ],
        notes=(f"![PSNR of unseen pictures while learning]({name}.png)",),
        details={"scores": {c.name: c.scores for c in found}},
    )


def _row(contestant: Contestant, ours: Contestant, bench: MimicBench) -> dict[str, Any]:
    row: dict[str, Any] = {"method": contestant.name}
    for measure, (title, digits) in enumerate((("PSNR, dB", 2), ("SSIM", 4), ("S-CIELAB", 3))):
        runs = contestant.values(measure)
        row[title] = f"{np.mean(runs):.{digits}f}" + (f" ± {spread(runs):.{digits}f}" if len(runs) > 1 else "")
    both = [over_seeds(c.values(0)) for c in (ours, contestant)]
    row["the best network's PSNR less it"] = "" if contestant is ours else beside(*both, seed=bench.seed)
    row["parameters"] = contestant.runs[0].parameters if contestant.runs else ""
    return row
