"""Learn to be another ISP from its pictures of 200 RAW files, beside the best that turning knobs reaches."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
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
    training_s,
)
from ispkit.bench.learned_rivals import Turned
from ispkit.core.errors import FileError
from ispkit.core.frame import Frame
from ispkit.data.pairs import PairSettings, RawPairs
from ispkit.data.pairs_files import PairFiles
from ispkit.data.scenes import Scene
from ispkit.data.synthetic_pairs import SyntheticPairs
from ispkit.data.synthetic_raw import SyntheticSettings
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

_WHOLE = (PhasePlan("isp", ("isp",), "l1"),)
STUDENTS: tuple[Entrant, ...] = (
    Entrant("NAFNet", {"name": "nafnet", "preset": "small"}, _WHOLE),
    Entrant("DeepISP", {"name": "deepisp", "preset": "small"}, (PhasePlan("isp", ("isp",), "l1", 1.0, 5e-4),), "mean"),
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

    @property
    def name(self) -> str:
        """Of the teacher, for files and folders."""
        return Path(self.teacher).stem.replace(":", "-")


def run_mimic(out: Path, bench: MimicBench, *, command: str, watch: Watch | None = None) -> Experiment:
    """Write the RAW files, have the teacher render them, train and tune, judge on unseen files. Resumes."""
    began = time.monotonic()
    learned, tested = bench.pictures()
    known = _rendered(out, "known", learned, bench.pairs, bench)
    unseen = _rendered(out, "unseen", tested, bench.unseen, bench)
    shots = [(load(pair.raws[0]), _picture(pair)) for pair in unseen]
    found = [entry(name, [isp], partial(_scores, shots)) for name, isp in _turned(out, known, bench).items()]
    trainer = Trainer(out / bench.name, bench, _sets(known, unseen, bench), _told(bench), watch)
    for entrant in STUDENTS:
        runs = trainer.train_all(entrant)
        found.append(replace(entry(entrant.name, [r.isp for r in runs], partial(_scores, shots)), runs=tuple(runs)))
    name = f"mimic_{bench.name}"
    lines = {f"{c.name}, seed {bench.seed + k}": r.curve for c in found for k, r in enumerate(c.runs)}
    draw_curves(out / f"{name}.png", lines, labels=("processor time, s", "PSNR of unseen pictures, dB"))
    seconds = max(training_s(found), time.monotonic() - began)
    return _experiment(found, bench, name, (command, seconds))


def _rendered(out: Path, side: str, pictures: Pictures, count: int, bench: MimicBench) -> list[PairFiles]:
    """RAW files, written once, with the teacher's pictures, rendered once."""
    raws = out / "raws" / side
    raws.mkdir(parents=True, exist_ok=True)
    fitting = {n: p for n, p in pictures.items() if min(p.shape[-2:]) >= bench.window}
    settings = SyntheticSettings(
        patch=(bench.window, bench.window), sensor=sensor_of("trained on"), colors="sensor", gain=_GAIN, turn=False,
        windows=-(-count // max(1, len(fitting))),
    )  # fmt: skip
    pairs = SyntheticPairs(fitting, settings, seed=bench.seed + (side == "unseen"))
    for index in range(count):
        path = raws / f"{index:04d}.dng"
        if not path.is_file():
            write_dng(path, pairs[index].frame)
    return mimic_pairs(raw_files(raws)[:count], bench.teacher, out / "targets" / bench.name)


def _sets(known: Sequence[PairFiles], unseen: Sequence[PairFiles], bench: MimicBench) -> Sets:
    """Windows of the pairs; the unseen ones draw the curves and decide nothing."""
    settings = PairSettings(crop=(bench.patch, bench.patch), turn=True, windows=2)
    learn = RawPairs(known, settings, seed=bench.seed)
    return Sets(learn, RawPairs(unseen, PairSettings(crop=(bench.window, bench.window))))


def _told(bench: MimicBench) -> dict[str, Any]:
    """What is learned from, as a recipe says it."""
    side = [bench.patch, bench.patch]
    return {"source": "mimic", "folder": "raws/known", "isp": bench.teacher, "split": "all", "crop": side, "windows": 2}


def _picture(pair: PairFiles) -> Tensor:
    """(1, 3, H, W) what the teacher made."""
    if pair.picture is None:
        raise FileError(f"{pair.raws[0]}: the teacher made no picture of it")
    return torch.from_numpy(read_picture(pair.picture).pixels).permute(2, 0, 1)[None].contiguous()


def _turned(out: Path, known: Sequence[PairFiles], bench: MimicBench) -> dict[str, ISP]:
    """The presets as they come, and the better one after all its knobs were tuned to the teacher's pictures."""
    every = max(1, len(known) // 16)
    scenes = [Scene(pair.name, load(pair.raws[0]), _picture(pair)) for pair in itertools.islice(known, 0, None, every)]
    found: dict[str, ISP] = {f"{name}, as it comes": preset(name) for name in _PIPELINES}
    results = {}
    for name in _PIPELINES:
        plan = Plan(method="auto", budget=bench.renders, seed=bench.seed, noisy=False)
        folder = out / bench.name / f"pipeline-{name}"
        results[name] = tune(PictureProblem(preset(name), scenes, REFERENCE["psnr"]), folder, plan)
    best = min(results, key=lambda n: results[n].best.scores["psnr"])
    return found | {f"{best}, tuned": Turned(preset(best), results[best].best.values)}


@torch.no_grad()
def _scores(shots: Sequence[tuple[Frame, Tensor]], isp: ISP) -> dict[str, list[float]]:
    found: dict[str, list[float]] = {name: [] for name in _MEASURES}
    for frame, target in shots:
        made = isp(frame).data.clamp(0, 1)
        for name, measure in _MEASURES.items():
            found[name].append(float(measure(made, target, data_range=1.0)))
    return found


_MEASURES: Mapping[str, Callable[..., Tensor]] = {"psnr": psnr, "ssim": ssim, "scielab": scielab}
_TITLES = {"psnr": ("PSNR, dB", 2), "ssim": ("SSIM", 4), "scielab": ("S-CIELAB", 3)}


def _experiment(found: Sequence[Entry], bench: MimicBench, name: str, run: tuple[str, float]) -> Experiment:
    student = max((e for e in found if e.runs), key=lambda e: e.mean("psnr"))
    turned = max((e for e in found if not e.runs), key=lambda e: e.mean("psnr"))
    versus = "the best network's PSNR less it"
    rows = [{**e.row(_TITLES), versus: student.less(e, "psnr", seed=bench.seed)} for e in found]
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
        tables=[
            Table(f"{bench.unseen} unseen RAW files against the pictures of {bench.teacher}", rows),
            Table("Sizes and steps", steps_of(found)),
        ],
        claims=[
            Claim(
                "the network is nearer than the best pipeline",
                f"{student.name} {student.mean('psnr'):.2f} dB, {turned.name} {turned.mean('psnr'):.2f} dB",
                student.mean("psnr") > turned.mean("psnr"),
            )
        ],
        notes=(f"![PSNR of unseen pictures while learning]({name}.png)",),
        details={"scores": {e.name: e.scores for e in found}},
    )
