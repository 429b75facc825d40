"""What the experiments on learned ISPs share: pictures, entrants of equal budget, trainings that resume."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ispkit.bench.curves import Curve
from ispkit.core.errors import ParamError
from ispkit.data.project_pictures import project_pictures
from ispkit.data.tuning_sets import read_pictures
from ispkit.isp.learned.learned_isp import LearnedISP
from ispkit.isp.learned.weights import load_learned
from ispkit.isp.pipeline import ISP
from ispkit.metrics.intervals import Interval, mean_interval
from ispkit.sensor.catalog import load_sensor
from ispkit.sensor.model import Sensor
from ispkit.sensor.unprocess import draw_camera
from ispkit.train.job import run_job
from ispkit.train.journal import Hooks
from ispkit.train.loop import Sets
from ispkit.train.recipe import to_recipe
from ispkit.train.run_folder import TrainFolder

Pictures = dict[str, Tensor]
Watch = Callable[[str], Hooks]
"""the progress of a training, by its title"""


CAMERAS = {"trained on": "sidd-google-pixel", "another": "sidd-lg-g4"}
"""whose noise and, the second with other colors, whose mosaics the experiments simulate"""
_OTHER_COLORS = 1  # seed of a mix of four published color matrices


def sensor_of(camera: str) -> Sensor:
    """One of `CAMERAS`. The noise tables bring no colors: the first has the toolkit's own, the second a drawn mix."""
    sensor = load_sensor(CAMERAS[camera])
    if camera == "trained on":
        return sensor
    drawn = draw_camera(1, torch.Generator().manual_seed(_OTHER_COLORS)).color_matrix[0]
    (a, b, c), (d, e, f), (g, h, i) = drawn.tolist()
    matrix = ((a, b, c), (d, e, f), (g, h, i))
    return replace(sensor, color_matrices=(matrix, matrix))


@dataclass(frozen=True, kw_only=True)
class LearnedBench:
    """Settings of an experiment in which networks are trained."""

    train: tuple[str, ...] = ()
    """folders of finished pictures to learn from; none: the toolkit's own"""
    test: tuple[str, ...] = ()
    """folders of pictures that no network ever sees; none: a quarter of the toolkit's own"""
    seconds: float = 1200.0
    """of processor time for the training of each network"""
    seeds: int = 3
    """trainings of each network"""
    seed: int = 0
    """of the first one, and of all that is tested on"""
    patch: int = 64
    batch: int = 8
    most: int = 12
    """pictures to test on"""
    window: int = 192
    """px, the side of what is tested of each"""

    def pictures(self) -> tuple[Pictures, Pictures]:
        """To learn from, and to test on. Raises `FileError`, `ParamError`."""
        if bool(self.train) != bool(self.test):
            raise ParamError("--train and --test go together: name folders for both, or for neither")
        if not self.train and not self.test:
            made = project_pictures(24, (256, 256), seed=self.seed)
            names = list(made)
            return ({n: made[n] for i, n in enumerate(names) if i % 4}, {n: made[n] for n in names[::4]})
        _check_apart(self.train, self.test)
        tested = [_read((folder,)) for folder in self.test]
        fitting = [[(n, p) for n, p in own.items() if min(p.shape[-2:]) >= self.window] for own in tested]
        turns = (own[k] for k in range(max(map(len, fitting), default=0)) for own in fitting if k < len(own))
        some = {name for name, _ in islice(turns, self.most)}
        return _read(self.train), {n: p for own in fitting for n, p in own if n in some}

    @property
    def data(self) -> str:
        """What the pictures are, for a table."""
        if not self.train and not self.test:
            return "pictures made by the toolkit, a quarter of them to test on"
        learned, tested = (" + ".join(Path(p).name for p in folders) for folders in (self.train, self.test))
        return f"trained on {learned}; tested on {tested}: windows of {self.window} px, never trained on"

    def synthetic(self, **settings: Any) -> dict[str, Any]:
        """Patches of the pictures to learn from, with these settings, as a recipe says it."""
        pictures = " + ".join(Path(p).name for p in self.train) or "project"
        return {"source": "synthetic", "pictures": pictures, "patch": [self.patch, self.patch], **settings}

    @property
    def budget(self) -> str:
        """What each network may use, for a table."""
        runs = f"{self.seeds} training{'s' if self.seeds > 1 else ''} each"
        return f"{self.seconds:g} s of processor time, {runs}, patches of {self.patch} px, {self.batch} a step"


@dataclass(frozen=True)
class PhasePlan:
    """A phase of a training: what learns by which loss, for which share of the time."""

    name: str
    parts: tuple[str, ...]
    loss: Any
    """as in a training recipe"""
    share: float = 1.0
    rate: float = 1e-3


@dataclass(frozen=True)
class Entrant:
    """A network and how it is trained."""

    name: str
    isp: Mapping[str, Any]
    """name and options of the catalog"""
    plans: tuple[PhasePlan, ...]
    w_init: str | None = None
    """DeepISP's first color transform"""
    after: str = ""
    """an entrant of the same seed that was trained before, with whose weights `kept` begins"""
    kept: tuple[str, ...] = ()


@dataclass(frozen=True)
class Run:
    """One trained network."""

    isp: LearnedISP
    curve: Curve
    """processor seconds, held-out PSNR in dB"""
    steps: int
    seconds: float

    @property
    def parameters(self) -> int:
        """Numbers that were learned."""
        return sum(p.numel() for p in self.isp.parameters())


@dataclass(frozen=True)
class Trainer:
    """Where networks are trained on the same data for the same time; what is finished there is taken as it is."""

    out: Path
    """a folder for each training goes into it"""
    bench: LearnedBench
    sets: Sets
    data: Mapping[str, Any]
    """what the sets are, as a recipe says it: a source and its options"""
    watch: Watch | None = None

    def train(self, entrant: Entrant, seed: int) -> Run:
        """One training, gone on with where it was stopped."""
        recipe = to_recipe({**_recipe(entrant, self.bench, self.data, seed), **self._begun(entrant, seed)})
        folder = folder_of(self.out, f"{entrant.name}, seed {seed}")
        hooks = None if self.watch is None else self.watch(f"{entrant.name}, seed {seed}")
        trained = run_job(recipe, folder, device="cpu", sets=self.sets, hooks=hooks)
        isp, _ = load_learned(trained.weights)
        return _run(isp.eval(), TrainFolder(folder).events())

    def train_all(self, entrant: Entrant) -> list[Run]:
        """One training a seed."""
        return [self.train(entrant, self.bench.seed + k) for k in range(self.bench.seeds)]

    def _begun(self, entrant: Entrant, seed: int) -> dict[str, Any]:
        """Which weights a training begins with, as a recipe says it."""
        if not entrant.after:
            return {}
        weights = TrainFolder(folder_of(self.out, f"{entrant.after}, seed {seed}")).weights
        return {"start": str(weights.absolute()), "start_parts": list(entrant.kept)}


def folder_of(room: Path, title: str) -> Path:
    """Where the training of that title lies."""
    return room / re.sub(r"[^a-z0-9]+", "-", title.lower())


def _run(isp: LearnedISP, events: Sequence[Mapping[str, Any]]) -> Run:
    """What the log of a training tells, over all its phases."""
    seconds, steps, at, quality = 0.0, 0, [], []
    for event in events:
        if event.get("done"):
            seconds, steps = seconds + event["seconds"], steps + event["steps"]
        elif event.get("psnr_db") is not None:
            at.append(seconds + event["seconds"])
            quality.append(event["psnr_db"])
    return Run(isp, (at, quality), steps, seconds)


def phases_of(plans: Sequence[PhasePlan], seconds: float, batch: int) -> list[dict[str, Any]]:
    """As a training recipe says them; `seconds` of processor time are shared out."""
    return [
        {
            "name": plan.name,
            "parts": list(plan.parts),
            "loss": plan.loss,
            "seconds": plan.share * seconds,
            "batch": batch,
            "optimizer": {"learning_rate": plan.rate, "clip": 1.0},
            "schedule": {"kind": "cosine", "factor": 0.02, "warm_up": 0.02},
            "evaluate_every": 200,
        }
        for plan in plans
    ]


def _recipe(entrant: Entrant, bench: LearnedBench, data: Mapping[str, Any], seed: int) -> dict[str, Any]:
    return {
        "version": 1,
        "doc": f"{entrant.name}, an entrant of an experiment",
        "isp": dict(entrant.isp),
        "data": dict(data),
        "phases": phases_of(entrant.plans, bench.seconds, bench.batch),
        "seed": seed,
        "clock": "cpu",
        "w_init": entrant.w_init,
        "save_every": 200,
    }


@dataclass(frozen=True)
class Entry:
    """A method in a table, with what each of its trainings scored on each picture."""

    name: str
    scores: Mapping[str, list[list[float]]]
    """measure -> one list of pictures a training; a single one for what is not trained"""
    runs: tuple[Run, ...] = ()

    def mean(self, measure: str) -> float:
        """Over pictures and trainings."""
        return float(np.mean(self.scores[measure]))

    def row(self, titles: Mapping[str, tuple[str, int]]) -> dict[str, Any]:
        """The method and its means; `titles` say what a measure is called, and its digits."""
        row: dict[str, Any] = {"method": self.name}
        for measure, (title, digits) in titles.items():
            runs = self.scores[measure]
            row[title] = f"{self.mean(measure):.{digits}f}"
            row[title] += f" ± {spread(runs):.{digits}f}" if len(runs) > 1 else ""
        return row

    def less(self, other: Entry, measure: str, *, seed: int) -> str:
        """This method less another one, paired by picture; empty for itself."""
        return "" if other is self else told(self.gap(other, measure, seed=seed))

    def gap(self, other: Entry, measure: str, *, seed: int) -> Interval:
        """This method less another one, paired by picture, the mean of trainings, with its 95 % interval."""
        mine, theirs = (over_seeds(e.scores[measure]) for e in (self, other))
        return mean_interval([a - b for a, b in zip(mine, theirs, strict=True)], seed=seed)


def entry(name: str, isps: Sequence[ISP], score: Callable[[ISP], Mapping[str, list[float]]]) -> Entry:
    """The scores of each training of a method, by measure."""
    found = [score(isp) for isp in isps]
    return Entry(name, {measure: [f[measure] for f in found] for measure in found[0]})


def steps_of(entries: Sequence[Entry]) -> list[dict[str, Any]]:
    """Parameters and steps of what was trained."""
    return [
        {"network": e.name, "parameters": e.runs[0].parameters, "steps": " / ".join(str(r.steps) for r in e.runs)}
        for e in entries
        if e.runs
    ]


def training_s(entries: Sequence[Entry]) -> float:
    """Processor seconds of all trainings."""
    return sum(r.seconds for e in entries for r in e.runs)


def beside(mine: Sequence[float], other: Sequence[float], *, seed: int) -> str:
    """The paired difference of two methods over the same pictures, with its 95 % interval."""
    return told(mean_interval([a - b for a, b in zip(mine, other, strict=True)], seed=seed))


def told(gap: Interval) -> str:
    """For a table."""
    return f"{gap.value:+.2f} [{gap.low:+.2f}, {gap.high:+.2f}]"


def over_seeds(runs: Sequence[Sequence[float]]) -> list[float]:
    """The mean of each picture's numbers over trainings."""
    means: list[float] = np.asarray(runs, dtype=np.float64).mean(0).tolist()
    return means


def spread(runs: Sequence[Sequence[float]]) -> float:
    """How much the mean over pictures differs between trainings, as a standard deviation; 0 for one."""
    return float(np.std([np.mean(r) for r in runs], ddof=1)) if len(runs) > 1 else 0.0


def _check_apart(train: Sequence[str], test: Sequence[str]) -> None:
    """Raise `ParamError` where a folder is given twice: pictures to test on are never learned from."""
    names = [Path(folder).resolve().name for folder in (*train, *test)]
    for folder in (*train, *test):
        if names.count(Path(folder).resolve().name) > 1:
            law = "each folder once, with a name of its own, either to learn from or to test on"
            raise ParamError(f"{folder}: given twice, or two folders of that name; {law}")


def _read(folders: Sequence[str]) -> Pictures:
    found: Pictures = {}
    for folder in folders:
        found |= {f"{Path(folder).name}-{name}": picture for name, picture in read_pictures(folder).items()}
    return found
