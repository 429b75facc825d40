"""Experiment (g): an ISP tuned for a frozen detector by the detector's loss, against tuned for the eye.

After Tseng et al. 2019, section 5.3: pictures with boxes become low-light RAW of a calibrated sensor; the ISP is tuned
on some of them and judged on the others, by objects found and mAP with paired bootstrap intervals.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from itertools import combinations
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ispkit.bench.experiment import Claim, Experiment, Table, write_experiment
from ispkit.bench.rig_pictures import photographed
from ispkit.bench.rig_scenes import RigSetup, exposure_matching
from ispkit.core.errors import ParamError, nearest
from ispkit.core.param import Values
from ispkit.data.boxes import Boxes
from ispkit.data.labelled import Labelled, read_yolo
from ispkit.data.scenes import Scene
from ispkit.data.tuning_sets import Shooting, from_pictures, picture_of, split
from ispkit.isp.c71 import PAPER_EXPERT
from ispkit.isp.catalog import open_isp
from ispkit.isp.pipeline import ISP
from ispkit.metrics.intervals import Interval, mean_interval
from ispkit.ops.encode import srgb_decode, srgb_encode
from ispkit.perceive.detector import FrozenDetector
from ispkit.perceive.evaluate import Evaluation, map_difference
from ispkit.sensor.catalog import load_sensor
from ispkit.tune.objectives.base import Objective, Weighted
from ispkit.tune.objectives.reference import REFERENCE
from ispkit.tune.objectives.task import TaskObjective
from ispkit.tune.plan import Hooks, Plan, Progress
from ispkit.tune.problem import PictureProblem, as_picture
from ispkit.tune.result import Result
from ispkit.tune.study import tune

QUALITY: Objective = Weighted("l1+nlpd", ((1.0, REFERENCE["l1"]), (1.0, REFERENCE["nlpd"])))
TUNINGS = ("quality", "task", "task-score")
_GIVEN = ("default", "baseline")
_KEPT_FOR_MAP = 0.01  # COCO's precision is over all detections, unsure ones too
_SURE = 0.5
Say = Callable[[str], None]
Through = Literal["injection", "rig"]
_HOW: Mapping[Through, str] = {"injection": "", "rig": "; those to tune on photographed off a simulated screen"}
_RIG_SCREEN, _RIG_VIEW = (960, 1280), (480, 640)  # as wide to high as most photographs


@dataclass(frozen=True, kw_only=True)
class DetectorBench:
    """What is compared, and at what cost."""

    weights: Path
    """of FastestDet, a .pth file"""
    data: Path
    """a folder that `read_yolo` reads"""
    isp: str = "c71"
    """a name for `open_isp`"""
    gains: tuple[float, ...] = (64.0,)
    """of the sensor over ISO 100; each is tuned by itself"""
    sensor: str = "sidd-google-pixel"
    """the one that c71's baseline was made for"""
    cct_k: float = 6504.0
    tunings: tuple[str, ...] = ("quality", "task")
    """of `TUNINGS`: by L1 + NLPD to the clean picture, by the detector's loss, by its score"""
    method: str = "auto"
    budget: float = 100.0
    """renders of the tuning set, for each tuning"""
    seed: int = 0
    workers: int = 1
    pictures: int | None = None
    """only so many, for a quick look"""
    long_side: int = 352
    """px that larger pictures are made smaller to, in linear light; the detector looks at 352 x 352"""
    folds: int = 2
    """every picture is held out once, from a tuning on the pictures of the other folds"""
    repeats: int = 2000
    """of the bootstrap"""
    through: Through = "injection"
    """how pictures to tune on become RAW: as those to judge on, or photographed off a simulated screen"""

    @property
    def name(self) -> str:
        """Of the experiment's files."""
        return f"detector_{self.isp}" + ("_rig" if self.through == "rig" else "")


@dataclass(frozen=True)
class Judged:
    """What one setting gives on held-out pictures; one entry a picture everywhere."""

    found: tuple[Boxes, ...]
    truth: tuple[Boxes, ...]
    losses: tuple[float, ...]
    """of the detector"""
    distances: tuple[float, ...]
    """L1 + NLPD to the picture that the RAW was made of"""

    def __add__(self, other: Judged) -> Judged:
        """Those of other pictures as well."""
        found, truth = self.found + other.found, self.truth + other.truth
        return Judged(found, truth, self.losses + other.losses, self.distances + other.distances)

    @cached_property
    def evaluation(self) -> Evaluation:
        """The detections, matched."""
        return Evaluation(self.found, self.truth)

    def row(self, name: str) -> dict[str, Any]:
        """For a table."""
        summary, counts = self.evaluation.summary(), self.evaluation.counts(_SURE)
        return {
            "setting": name,
            "TP": counts.tp,
            "FN": counts.fn,
            "FP": counts.fp,
            "mAP@[.5:.95]": summary.map,
            "AP50": summary.ap50,
            "detector's loss": float(np.mean(self.losses)),
            "L1 + NLPD": float(np.mean(self.distances)),
        }


def run_detector(out: str | Path, bench: DetectorBench, *, command: str = "", say: Say = print) -> Experiment:
    """Run experiment (g), write detector_ISP.json and .md into `out`; studies in it go on where they stopped.

    The files of a tuning through the rig are called detector_ISP_rig. Compared on held-out pictures: the ISP as
    published, its baseline (the defaults of its space), each of `bench.tunings`, and the clean pictures. Raises
    `ParamError`, `FileError`.
    """
    start, room, searched = time.perf_counter(), Path(out), 0.0
    _check(bench)
    detector, isp = FrozenDetector.load(bench.weights), open_isp(bench.isp)
    tables: list[Table] = []
    claims: list[Claim] = []
    details: dict[str, Any] = {}
    for gain in bench.gains:
        judged: dict[str, Judged] = {}
        injected = shots(bench, gain, detector.names)
        seen_through = screen_shots(bench, gain, detector.names) if bench.through == "rig" else injected
        for fold, (_, kept) in enumerate(folds(injected, bench.folds)):
            settings = _given(isp, bench)
            tuned_on, _ = split(seen_through, [picture_of(s) for s in kept])
            for name in bench.tunings:
                problem = PictureProblem(isp, tuned_on, objective_of(name, detector))
                place = room / f"{bench.name}_{gain:g}x_{name}_{fold}"
                result = _tuned(problem, place, bench, say)
                settings[name], searched = result.best.values, searched + result.seconds
            seen = {name: judge(isp, values, kept, detector) for name, values in settings.items()}
            seen["clean pictures"] = judge_pictures([_target(s) for s in kept], kept, detector)
            judged = {name: judged[name] + one if judged else one for name, one in seen.items()}
            details[f"{gain:g}x, fold {fold}"] = {"held-out": [picture_of(s) for s in kept], **settings}
        tables += _tables(gain, judged, bench)
        if {"quality", "task"} <= judged.keys():
            claims.append(_claim(judged["quality"], judged["task"], bench, gain))
    run = command, max(searched, time.perf_counter() - start)
    experiment = _experiment(bench, (tables, claims), details, run)
    write_experiment(room, experiment)
    return experiment


def folds(scenes: Sequence[Scene], count: int) -> list[tuple[list[Scene], list[Scene]]]:
    """(tuning, held-out) scenes, `count` times; every picture is held out once. Raises `ParamError`."""
    names = list(dict.fromkeys(picture_of(s) for s in scenes))
    if not 2 <= count <= len(names):
        raise ParamError(f"folds={count} of {len(names)} pictures; take 2 or more, and no more than pictures")
    return [split(scenes, names[k::count]) for k in range(count)]


def shots(bench: DetectorBench, gain: float, names: Sequence[str]) -> list[Scene]:
    """The labelled pictures that show something, as RAW shots at a gain; targets are the pictures themselves."""
    pictures, labels = _pictures(bench, names)
    shooting = Shooting(gains=(gain,), cct_k=(bench.cct_k,), seed=bench.seed)
    return from_pictures(pictures, load_sensor(bench.sensor), shooting, labels=labels)


def screen_shots(bench: DetectorBench, gain: float, names: Sequence[str]) -> list[Scene]:
    """The same pictures photographed off the simulated screen, whose white reads like that of the injected shots."""
    setup = RigSetup(load_sensor(bench.sensor), screen=_RIG_SCREEN, view=_RIG_VIEW, seed=bench.seed)
    return photographed(*_pictures(bench, names), exposure_matching(setup), gain=gain)


def _pictures(bench: DetectorBench, names: Sequence[str]) -> tuple[dict[str, Tensor], dict[str, Boxes]]:
    pictures: dict[str, Tensor] = {}
    labels: dict[str, Boxes] = {}
    for one in _labelled(bench):
        picture = one.picture()
        height, width = (int(n) for n in picture.shape[-2:])
        factor = min(1.0, bench.long_side / max(height, width))
        size = (round(height * factor), round(width * factor))
        linear = F.interpolate(srgb_decode(picture), size, mode="bilinear", antialias=True, align_corners=False)
        pictures[one.path.stem] = srgb_encode(linear).clamp(0, 1) if factor < 1 else picture
        labels[one.path.stem] = one.boxes.renamed(one.names, names).scale(size[0] / height, size[1] / width)
    return pictures, labels


def _labelled(bench: DetectorBench) -> list[Labelled]:
    return [one for one in read_yolo(bench.data) if len(one.boxes)][: bench.pictures]


def judge(isp: ISP, values: Values, scenes: Sequence[Scene], detector: FrozenDetector) -> Judged:
    """Render scenes under a setting and see what the detector finds."""
    rendered = PictureProblem(isp, scenes, QUALITY).render(values, range(len(scenes)))
    return judge_pictures([as_picture(codes) for codes in rendered], scenes, detector)


def judge_pictures(pictures: Sequence[Tensor], scenes: Sequence[Scene], detector: FrozenDetector) -> Judged:
    """The same of pictures that are there already, (1, 3, H, W) each."""
    found = [detector.detect(p, least=_KEPT_FOR_MAP) for p in pictures]
    with torch.no_grad():
        losses = tuple(float(detector.loss(p, s.labels)) for p, s in zip(pictures, scenes, strict=True))
    distances = tuple(QUALITY.score(p, s) for p, s in zip(pictures, scenes, strict=True))
    return Judged(tuple(found), tuple(s.labels for s in scenes), losses, distances)


def objective_of(tuning: str, detector: FrozenDetector) -> Objective:
    """What one of `TUNINGS` minimizes."""
    if tuning == "quality":
        return QUALITY
    return TaskObjective(tuning, detector, "score" if tuning == "task-score" else "loss")


def _check(bench: DetectorBench) -> None:
    for name in bench.tunings:
        if name not in TUNINGS:
            raise ParamError(f"no tuning {name!r}; {nearest(name, TUNINGS)}")


def _given(isp: ISP, bench: DetectorBench) -> dict[str, Values]:
    """The settings that nobody tunes."""
    baseline: dict[str, Values] = {"baseline": isp.space.defaults()}
    if bench.isp != "c71" or baseline["baseline"] == PAPER_EXPERT:
        return baseline
    return {"default": PAPER_EXPERT, **baseline}


def _tuned(problem: PictureProblem, folder: Path, bench: DetectorBench, say: Say) -> Result:
    def on_progress(p: Progress) -> None:
        spent = f"{p.spent:g} of {p.budget:g} renders"
        say(f"{folder.name}: {spent}, best {p.best_score:.4f}, expert {p.expert_score:.4f}")

    plan = Plan(method=bench.method, budget=bench.budget, seed=bench.seed, workers=bench.workers)
    return tune(problem, folder, plan, hooks=Hooks(on_progress=on_progress))


def _target(scene: Scene) -> Tensor:
    if scene.target is None:
        raise ParamError(f"scene {scene.name!r} has no target; `shots` gives one")
    return scene.target


def _tables(gain: float, judged: Mapping[str, Judged], bench: DetectorBench) -> list[Table]:
    rows = [j.row(name) for name, j in judged.items()]
    note = f"TP, FN, FP at confidence {_SURE:g} and overlap 0.5; precision over all detections above {_KEPT_FOR_MAP:g}."
    pairs = _pairs({name: j for name, j in judged.items() if name in (*_GIVEN, *bench.tunings)}, bench)
    return [
        Table(f"{gain:g}x gain, held-out pictures", rows, note),
        Table(f"{gain:g}x gain, second less first", pairs, "Means with 95 % paired bootstrap intervals over pictures."),
    ]


def _pairs(judged: Mapping[str, Judged], bench: DetectorBench) -> list[dict[str, Any]]:
    rows = []
    for (first, a), (second, b) in combinations(judged.items(), 2):
        gaps = [y - x for x, y in zip(a.losses, b.losses, strict=True)]
        far = [y - x for x, y in zip(a.distances, b.distances, strict=True)]
        rows.append(
            {
                "first": first,
                "second": second,
                "mAP": str(_map_gap(a, b, bench)),
                "detector's loss": str(mean_interval(gaps, repeats=bench.repeats, seed=bench.seed)),
                "L1 + NLPD": str(mean_interval(far, repeats=bench.repeats, seed=bench.seed)),
            }
        )
    return rows


def _map_gap(a: Judged, b: Judged, bench: DetectorBench) -> Interval:
    return map_difference(a.evaluation, b.evaluation, repeats=bench.repeats, seed=bench.seed)


def _claim(quality: Judged, task: Judged, bench: DetectorBench, gain: float) -> Claim:
    gap = _map_gap(quality, task, bench)
    text = f"{gain:g}x: tuned for the detector it has a higher mAP than tuned for the eye, beyond chance"
    return Claim(text, f"{gap} mAP, task less quality", gap.low > 0)


def _experiment(
    bench: DetectorBench,
    shown: tuple[Sequence[Table], Sequence[Claim]],
    details: Mapping[str, Any],
    run: tuple[str, float],
) -> Experiment:
    plain = {k: str(v) if isinstance(v, Path) else v for k, v in asdict(bench).items()}
    data = f"{len(_labelled(bench))} pictures of {bench.data.name} as RAW of {bench.sensor} at {bench.cct_k:g} K"
    data += _HOW[bench.through]
    return Experiment(
        name=bench.name,
        title=f"{bench.isp} tuned for a detector" + (" through a screen" if bench.through == "rig" else ""),
        question="Does an ISP tuned by a frozen detector's loss find more than one tuned for the eye?",
        command=run[0],
        data=f"{data}, {bench.folds} folds: each is judged by settings that were tuned on the others",
        seed=bench.seed,
        budget=f"{bench.budget:g} renders of the tuning set for each tuning, method {bench.method}",
        seconds=run[1],
        tables=shown[0],
        claims=shown[1],
        notes=(
            "The detector was trained on COCO's training set; where these pictures are from it, all its numbers are "
            "higher than on new ones. What counts are differences between settings.",
            "mAP over few pictures moves in large steps; the detector's loss, one number a picture, tells finer.",
        ),
        details={"bench": plain, **details},
    )
