"""What `bench.dir_tasks` compares: ways from a badly processed picture to a frozen head, and how they learn."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, cast

from torch import Tensor

from ispkit.bench.dir import AUTO_LARGE, FIRST, LEARNED_RIVALS, PLAIN, VARIANTS
from ispkit.bench.dir import OURS as DIR
from ispkit.bench.dir_parts import DirBench, data_of, sets_of
from ispkit.bench.dir_rivals import as_it_is
from ispkit.bench.learned_parts import PhasePlan, Run, Trainer, Watch, folder_of, phases_of
from ispkit.bench.learned_rivals import Turned
from ispkit.core.errors import FileError, ParamError
from ispkit.core.frame import Frame
from ispkit.core.param import Param
from ispkit.data.degrade import DEGRADATIONS, Degraded, Degrader, degradation
from ispkit.data.labelled_pairs import Framing, LabelledPairs
from ispkit.data.labelled_set import LabelledPictures
from ispkit.data.samples import Labels, Sample
from ispkit.data.scenes import Scene
from ispkit.data.synthetic_raw import SyntheticSettings
from ispkit.io.atomic import write_bytes
from ispkit.isp.learned.weights import load_learned, read_card
from ispkit.nets.knob_predictor import KnobPredictor
from ispkit.perceive.head import Head, Task
from ispkit.perceive.heads import open_head
from ispkit.sensor.unprocess import Truth
from ispkit.train.job import run_job
from ispkit.train.loop import Sets
from ispkit.train.recipe import to_recipe
from ispkit.train.run_folder import TrainFolder
from ispkit.tune.objectives.base import Called
from ispkit.tune.plan import Plan
from ispkit.tune.predictor import PredictedISP, PredictorConfig, SceneLoss, new_predictor, train_predictor
from ispkit.tune.problem import PictureProblem
from ispkit.tune.study import tune

Sees = Literal["display", "clean", "raw"]
KNOBS = tuple(DEGRADATIONS["paper"].knobs)
"""of the degrading ISP: what is tuned, and what is predicted where it has a gradient"""
GAMMA: Mapping[Task, float] = {"detect": 2.0, "segment": 5.0}
"""gamma1 of eq. 8, the weight of the head's loss (section 4.1); gamma2 is 1"""
CLEAN, AS_IS, BEFORE = "clean pictures", "as it is", f"{DIR}, as it began"
ALONE, OURS = f"{DIR}, for restoration alone", f"{DIR}, jointly"
JOINT_AUTO, JOINT_PLAIN = f"{AUTO_LARGE}, jointly", f"{PLAIN}, jointly"
TUNED, PREDICTED = "RAW, classical ISP tuned", "RAW, knobs by frame"
_RATE = 5e-4
_JUDGED = 1_000_003  # added to the seed of what is judged on


@dataclass(frozen=True, kw_only=True)
class TasksBench:
    """Settings of the experiment."""

    pictures: LabelledPictures
    """with the head's labels"""
    told: str
    """what the pictures are, for tables"""
    head: Mapping[str, Any]
    """name and options of `perceive.heads.open_head`, weights with them"""
    conditions: tuple[str, ...] = ("default", "dark")
    """of `data.degrade.DEGRADATIONS`"""
    start: Path | None = None
    """the run folders of `ispkit bench dir`, with whose networks all begin; None: these are trained first"""
    train: tuple[str, ...] = ()
    """folders of clean pictures for the training before, without `start`; none: the toolkit's own"""
    size: int = 256
    """px, the side that pictures are stretched to before they are spoiled"""
    framing: Framing = field(
        default_factory=lambda: Framing(area=(0.35, 1.0), aspect=(0.75, 1.33), place="random", mirror=True)
    )
    """of what is learned from; judged is the whole picture"""
    seconds: float = 600.0
    """of processor time for the training of each network under each condition"""
    batch: int = 4
    seeds: int = 3
    """trainings of each network on each fold"""
    folds: int = 2
    """every picture is held out once"""
    renders: int = 100
    """of the pictures of a fold, where knobs are tuned; also steps of the predictor, of four pictures each"""
    seed: int = 0

    def __post_init__(self) -> None:
        for name in self.conditions:
            degradation(name)
        if self.size % 16:
            raise ParamError(f"size={self.size} must be a multiple of 16")

    @property
    def before(self) -> DirBench:
        """The training before, where it is not taken from a folder: as long, on the degradations "paper"."""
        return DirBench(train=self.train, seconds=self.seconds, seeds=self.seeds, seed=self.seed)

    @property
    def budget(self) -> str:
        """For tables."""
        runs = f"{self.seeds} training{'s' if self.seeds > 1 else ''} on each fold"
        return f"{self.seconds:g} s of processor time, {runs}, windows of {self.size} px, {self.batch} a step"


@dataclass(frozen=True)
class Method:
    """One row."""

    name: str
    sees: Sees = "display"
    """the picture as the bad ISP made it, before it was spoiled, or the RAW that the bad ISP read"""
    begins: str = ""
    """an entrant of `bench.dir`, whose weights it begins with; empty: no network"""
    plan: PhasePlan | None = None
    """how these go on; None: not at all"""
    knobs: Literal["", "tuned", "predicted"] = ""
    """of the classical ISP"""


def methods(task: Task) -> tuple[Method, ...]:
    """The rows in order. Raises `ParamError` for a task of which the paper gives no weight."""
    if task not in GAMMA:
        raise ParamError(f"a head that can {task} has no weight in the joint loss; give one that can detect or segment")
    look = {"name": "task", "weight": GAMMA[task]}
    alone = PhasePlan("alignment", ("isp.align",), ["alignment", "l1"], 1.0, _RATE)
    aligned = PhasePlan("joint", ("isp.align",), ["alignment", look, "l1"], 1.0, _RATE)
    whole = PhasePlan("joint", ("isp",), [look, "l1"], 1.0, _RATE)
    return (
        Method(CLEAN, "clean"),
        Method(AS_IS),
        Method(BEFORE, begins=DIR),
        Method(ALONE, begins=DIR, plan=alone),
        Method(OURS, begins=DIR, plan=aligned),
        Method(JOINT_AUTO, begins=AUTO_LARGE, plan=whole),
        Method(JOINT_PLAIN, begins=PLAIN, plan=whole),
        Method(TUNED, "raw", knobs="tuned"),
        Method(PREDICTED, "raw", knobs="predicted"),
    )


def begun(out: Path, bench: TasksBench, watch: Watch | None = None) -> Path:
    """The folder with the networks that all begin with; without `bench.start` trained here, as `bench.dir` does."""
    if bench.start is not None:
        return bench.start
    before, room = bench.before, out / "before"
    learned, _ = before.pictures()
    for views, entrants in ((before.views, (FIRST,)), (1, (*VARIANTS, *LEARNED_RIVALS))):
        sets = Sets(sets_of(before, (learned, learned), views=views).train)
        trainer = Trainer(room, before, sets, data_of(before, views=views), watch)
        for entrant in entrants:
            if entrant.name in (FIRST.name, DIR, AUTO_LARGE, PLAIN):
                trainer.train_all(entrant)
    return room


def weights_in(room: Path, name: str, seed: int) -> Path:
    """What an entrant of `bench.dir` left there. Raises `FileError`."""
    path = TrainFolder(folder_of(room, f"{name}, seed {seed}")).weights
    if not path.is_file():
        raise FileError(
            f"{path}: {name!r} of seed {seed} was not trained there; run `ispkit bench dir` to its end first"
        )
    return path


class BeforeIsp:
    """A `Maker` of the RAW that a `Degrader` makes its pictures of: the same conditions, the same noise."""

    def __init__(self, degrader: Degrader) -> None:
        self._degrader = degrader
        self.draw = degrader.draw

    def make(self, picture: Tensor, drawn: Sequence[Degraded]) -> tuple[Frame, Truth]:
        """(B, 3, H, W) encoded sRGB in [0, 1] -> RAW or MOSAIC, and what is behind it."""
        return self._degrader.raw.make(picture, [d.raw for d in drawn])


def head_loss(head: Head) -> SceneLoss:
    """The head's own loss of a picture (1, 3, H, W) of a scene with labels; the head is frozen."""
    head.eval().requires_grad_(False)

    def loss(picture: Tensor, scene: Scene) -> Tensor:
        size = (picture.shape[-2], picture.shape[-1])
        return head.loss(head(picture.clamp(0, 1)), cast(Labels, scene.labels), size)

    return loss


@dataclass(frozen=True)
class Fold:
    """One condition, one division of the pictures: what every method learns from and is judged on."""

    bench: TasksBench
    condition: str
    index: int
    out: Path
    begun: Path
    """the folder of what networks begin with"""
    watch: Watch | None = None

    @cached_property
    def head(self) -> Head:
        """Frozen."""
        options = {k: v for k, v in self.bench.head.items() if k != "name"}
        return open_head(self.bench.head["name"], **options).eval().requires_grad_(False)

    def held(self, sees: Sees) -> list[Sample]:
        """The pictures to judge on as a method is given them: the same windows, conditions and noise for each."""
        return self._held[sees]

    def run(self, method: Method, seed: int) -> Run:
        """The method as it ends; what was trained before is taken as it is, what was stopped goes on."""
        if not method.begins:
            isp = {"": as_it_is, "tuned": lambda: self._tuned, "predicted": self._predicted}[method.knobs]()
            return Run(cast(Any, isp), ([], []), 0, 0.0)
        weights = weights_in(self.begun, method.begins, seed)
        if method.plan is None:
            return Run(load_learned(weights)[0], ([], []), 0, 0.0)
        title = f"{self.name}, {method.name}, seed {seed}"
        hooks = None if self.watch is None else self.watch(title)
        sets = Sets(self._pairs(self._sides[0], self.bench.framing, seed=seed))
        recipe = to_recipe(self._recipe(method, weights, seed))
        done = run_job(recipe, folder_of(self.out, title), device="cpu", sets=sets, hooks=hooks)
        facts = done.facts["phases"][method.plan.name]
        return Run(load_learned(done.weights)[0], ([], []), facts["steps"], facts["seconds"])

    @property
    def name(self) -> str:
        """For folders."""
        return f"{self.condition}, fold {self.index}"

    @cached_property
    def _sides(self) -> tuple[LabelledPictures, LabelledPictures]:
        """To learn from, and to judge on."""
        return self.bench.pictures.folds(self.bench.folds, seed=self.bench.seed)[self.index]

    @cached_property
    def _held(self) -> Mapping[Sees, list[Sample]]:
        whole, seed = Framing(area=(1.0, 1.0)), self.bench.seed + _JUDGED
        shown, raw = (self._pairs(self._sides[1], whole, seed=seed, raw=raw) for raw in (False, True))
        every = range(len(shown))
        return {
            "display": [shown[i] for i in every],
            "clean": [shown.clean([i]) for i in every],
            "raw": [raw[i] for i in every],
        }

    def _pairs(self, pictures: LabelledPictures, framing: Framing, *, seed: int, raw: bool = False) -> LabelledPairs:
        degrader = Degrader(degradation(self.condition))
        size = SyntheticSettings(patch=(self.bench.size, self.bench.size))
        return LabelledPairs(pictures, size, framing, maker=BeforeIsp(degrader) if raw else degrader, seed=seed)

    def _recipe(self, method: Method, weights: Path, seed: int) -> dict[str, Any]:
        bench, card = self.bench, read_card(weights)
        side = [bench.size, bench.size]
        return {
            "version": 1,
            "doc": f"{method.name}, a method of an experiment",
            "isp": {"name": card.name, **card.options},
            "head": dict(bench.head),
            "data": {"source": "labelled", "pictures": bench.told, "patch": side, **self._facts},
            "phases": phases_of([cast(PhasePlan, method.plan)], bench.seconds, bench.batch),
            "seed": seed,
            "clock": "cpu",
            "start": str(weights.absolute()),
            "save_every": 100,
        }

    @property
    def _facts(self) -> dict[str, Any]:
        """What is learned from: another division of the pictures is another training."""
        names = json.dumps([item.name for item in self._sides[0]])
        return {"degradation": self.condition, "fold": hashlib.sha256(names.encode()).hexdigest()[:12]}

    @cached_property
    def _scenes(self) -> list[Scene]:
        """The RAWs of what is learned from, whole, one each."""
        pairs = self._pairs(self._sides[0], Framing(area=(1.0, 1.0)), seed=self.bench.seed, raw=True)
        shots = (pairs[i] for i in range(len(pairs)))
        return [Scene(s.names[0], s.frame, s.target, labels=s.labels) for s in shots]

    @cached_property
    def _tuned(self) -> Turned:
        """The degrading ISP, from the knobs that the condition fixes, tuned for the head on what is learned from."""
        isp = Degrader(degradation(self.condition)).isp
        problem = PictureProblem(
            isp, self._scenes, Called("head", head_loss(self.head)), space=isp.space.select(*KNOBS)
        )
        plan = Plan(method="auto", budget=float(self.bench.renders), seed=self.bench.seed, noisy=False)
        return Turned(isp, tune(problem, folder_of(self.out, f"{self.name}, tuned"), plan).best.values)

    def _predicted(self) -> PredictedISP:
        """The tuned one, whose knobs with a gradient a predictor sets anew for each frame."""
        isp = self._tuned
        knobs = isp.space.select(*(k for k in KNOBS if isinstance(p := isp.space[k], Param) and p.differentiable))
        predictor = new_predictor(isp, knobs, seed=self.bench.seed)
        config = PredictorConfig(steps=self.bench.renders)
        told = {
            **asdict(config),
            **self._facts,
            "size": self.bench.size,
            "seed": self.bench.seed,
            "head": self.head.spec,
        }
        digest = hashlib.sha256(json.dumps([told, isp.space.defaults()], default=str).encode()).hexdigest()[:12]
        path = self.out / f"predictor-{digest}.safetensors"
        if path.is_file():
            return PredictedISP(isp, _loaded(predictor, path))
        train_predictor(predictor, isp, self._scenes, head_loss(self.head), config=config, seed=self.bench.seed)
        _kept(predictor, path)
        return PredictedISP(isp, predictor.eval())


def _loaded(predictor: KnobPredictor, path: Path) -> KnobPredictor:
    from safetensors.torch import load_file

    predictor.load_state_dict(load_file(path))
    return predictor.eval()


def _kept(predictor: KnobPredictor, path: Path) -> None:
    from safetensors.torch import save

    write_bytes(path, save({k: v.contiguous() for k, v in predictor.state_dict().items()}))
