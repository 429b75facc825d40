"""What the low-light protocol works with: its settings, its data under each condition, one training of a method."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any, cast

from torch import Tensor
from torch.utils.data import Dataset

from ispkit.bench.learned_parts import Watch, phases_of
from ispkit.bench.learned_rivals import CLASSICAL, FREE, Turned
from ispkit.bench.lowlight_methods import HEAD, MaskedMosaic, Method
from ispkit.core.cfa import check_cfa
from ispkit.core.frame import Frame
from ispkit.core.param import Values
from ispkit.data.captured import CapturedPictures
from ispkit.data.labelled_pairs import Framing, LabelledPairs
from ispkit.data.labelled_set import LabelledPictures
from ispkit.data.rendered import Rendered
from ispkit.data.samples import Labels, Sample
from ispkit.data.scenes import Scene
from ispkit.data.synthetic_raw import Light, SyntheticSettings
from ispkit.io.atomic import write_bytes
from ispkit.isp.catalog import open_isp
from ispkit.isp.learned.weights import read_weights
from ispkit.isp.pipeline import ISP
from ispkit.isp.recipe import preset
from ispkit.ops.encode import srgb_decode
from ispkit.perceive.head import Head
from ispkit.perceive.heads import open_head
from ispkit.perceive.joint import JointModel
from ispkit.sensor.catalog import light_level, load_sensor
from ispkit.sensor.model import Sensor
from ispkit.train.job import run_job
from ispkit.train.loop import Sets
from ispkit.train.prepare import build_model
from ispkit.train.recipe import to_recipe
from ispkit.train.stream import SampleSet
from ispkit.tune.objectives.base import Called
from ispkit.tune.plan import Plan
from ispkit.tune.problem import PictureProblem
from ispkit.tune.study import tune

_SCENES = 48  # training pictures that knobs are tuned on
_KEPT = 2  # epochs of pictures of programs, which are slow, that come again and again
_JUDGED = 1_000_003  # added to the seed of what is judged on
_CLEAN = "clean pictures, learned"


@dataclass(frozen=True)
class Condition:
    """What pictures are taken under."""

    level: str
    """of light, as `sensor.catalog.light_level` knows it"""
    sensor: str = "nexus-6p-rear"
    cfa: str | None = None
    """None: the sensor's own"""
    blur_px: float = 0.0
    """sigma of the lens"""

    @property
    def name(self) -> str:
        """For tables and folders."""
        extra = [self.sensor] * (self.sensor != Condition.sensor) + [self.cfa or ""]
        extra += [f"blurred {self.blur_px:g} px"] * (self.blur_px > 0)
        return ", ".join([self.level, *(e for e in extra if e)])

    def sensor_of(self) -> Sensor:
        """The sensor with what is asked for. Raises `ParamError`."""
        own = load_sensor(self.sensor)
        cfa = own.cfa if self.cfa is None else check_cfa(self.cfa)
        return replace(own, cfa=cfa, blur_px=self.blur_px)


@dataclass(frozen=True, kw_only=True)
class LowLightBench:
    """Settings of the protocol."""

    pictures: LabelledPictures
    told: str
    """what the pictures are, for tables"""
    head: Mapping[str, Any]
    """name and options of `perceive.heads.open_head`; without weights it first learns from clean pictures"""
    other: Mapping[str, Any] | None = None
    """another network, for its row"""
    also: tuple[str, ...] = ()
    """other ISPs, such as rawtherapee, by the names of `isp.catalog.open_isp`"""
    captured: CapturedPictures | None = None
    """RAW files of the same classes that a camera took, to judge on as well"""
    levels: tuple[str, ...] = ("3 lux", "6 lux", "2-20 lux", "2-200 lux")
    light: Light = "linear"
    patch: tuple[int, int] = (32, 32)
    framing: Framing = field(
        default_factory=lambda: Framing(area=(0.6, 1.0), aspect=(0.8, 1.25), place="random", mirror=True)
    )
    judged_framing: Framing = field(default_factory=lambda: Framing(area=(1.0, 1.0)))
    seconds: float = 300.0
    """of processor time for the training of each method"""
    batch: int = 64
    seeds: int = 3
    """trainings of each method; each holds out another fold of the pictures"""
    folds: int = 5
    most: int = 1000
    """pictures to judge on, of each fold"""
    renders: int = 150
    """of the tuning pictures, where knobs are tuned"""
    seed: int = 0

    @property
    def budget(self) -> str:
        """For tables."""
        each = f"{self.seeds} training{'s' if self.seeds > 1 else ''} each, every one with another fold held out"
        return f"{self.seconds:g} s of processor time, {each}; batches of {self.batch}"

    def settings(self, condition: Condition) -> SyntheticSettings:
        """The RAW; without white balance, in the colors of sRGB, as Diamond et al. simulate."""
        light = light_level(condition.level)
        gain, sensor = (1 / light.high, 1 / light.low), condition.sensor_of()
        return SyntheticSettings(patch=self.patch, sensor=sensor, colors="srgb", gain=gain, light=self.light)


class Clean(Dataset[Sample]):
    """Samples whose frame is the clean picture itself."""

    def __init__(self, data: LabelledPairs) -> None:
        self.data = data

    def set_epoch(self, epoch: int) -> None:
        """Other windows."""
        self.data.set_epoch(epoch)

    def __len__(self) -> int:
        return len(self.data)

    def __getitem__(self, index: int) -> Sample:
        return self.batch([index])

    def batch(self, indices: list[int]) -> Sample:
        """Several at once."""
        return self.data.clean(indices)


class Undone:
    """An ISP for RAW whose light is encoded values: its picture without the curve that it put on them once more."""

    def __init__(self, isp: ISP) -> None:
        self._isp, self.space, self.reads, self.writes = isp, isp.space, isp.reads, isp.writes

    def __call__(self, frame: Frame, values: Values | None = None) -> Frame:
        """Render, and decode as sRGB."""
        made = self._isp(frame, values)
        return made.with_data(srgb_decode(made.data.clamp(0, 1)))


@dataclass(frozen=True)
class Trial:
    """One condition, one fold: what every method learns from and is judged on."""

    bench: LowLightBench
    condition: Condition
    seed: int
    out: Path
    watch: Watch | None = None

    @cached_property
    def sides(self) -> tuple[LabelledPictures, LabelledPictures]:
        """To learn from, and to judge on."""
        fold = self.seed - self.bench.seed
        learned, held = self.bench.pictures.folds(self.bench.folds, seed=self.bench.seed)[fold % self.bench.folds]
        return learned, held.split(self.bench.most / len(held), seed=0)[0] if self.bench.most < len(held) else held

    @cached_property
    def fold(self) -> str:
        """What tells the pictures that are learned from, for recipes: another fold is another training."""
        names = [item.name for item in self.sides[0]]
        return hashlib.sha256(json.dumps(names).encode()).hexdigest()[:12]

    def data(self, method: Method, *, learning: bool, isp: ISP | None = None) -> SampleSet:
        """Samples as the method sees them; `isp` is what is tuned, in place of `through`."""
        bench = self.bench
        framing = bench.framing if learning else bench.judged_framing
        seed = self.seed if learning else bench.seed + _JUDGED
        pairs = LabelledPairs(self.sides[0 if learning else 1], bench.settings(self.condition), framing, seed=seed)
        if method.sees == "clean":
            return Clean(pairs)
        fixed = self.isp_of(method, isp)
        if fixed is None:
            return pairs
        return Rendered(pairs, fixed, keep=_KEPT if learning and method.through in bench.also else 0)

    def isp_of(self, method: Method, isp: ISP | None = None) -> ISP | None:
        """The fixed ISP before everything else, if there is one; `isp` is what was tuned, in place of `through`."""
        if method.through is None:
            return None
        if method.through == "mosaic":
            return MaskedMosaic()
        fixed = isp or open_isp(method.through)
        return Undone(fixed) if self.bench.light == "encoded" else fixed

    def model(self, method: Method) -> JointModel:
        """The method as it ends: trained where it learns, with what finished earlier taken as it is."""
        head = self.head_of(method)
        if not method.plans:
            return cast(JointModel, build_model(_recipe(self, method, head))).eval()
        return self._trained(method, head)

    def tuned(self, method: Method) -> ISP:
        """The method's fixed ISP with its knobs tuned for the head, on training pictures."""
        head = self.model(method).head
        data = self.data(replace(method, through=None), learning=True)
        scenes = [_scene(data[i]) for i in range(min(_SCENES, len(data)))]
        isp = preset(CLASSICAL)
        seen: ISP = Undone(isp) if self.bench.light == "encoded" else isp
        problem = PictureProblem(seen, scenes, _of_head(head), space=isp.space.select(*FREE))
        plan = Plan(method="auto", budget=self.bench.renders, seed=self.seed, noisy=False)
        result = tune(problem, self._folder(method, self.condition.name), plan)
        return Turned(isp, result.best.values)

    def head_of(self, method: Method) -> dict[str, Any]:
        """What the head begins as: a spec for a recipe."""
        bench = self.bench
        given = dict(bench.other if method.head == "other" and bench.other else bench.head)
        if method.head != "pretrained":
            return self._fresh(given)
        return given if "weights" in given else {**given, "weights": str(self._clean_head())}

    def _fresh(self, given: dict[str, Any]) -> dict[str, Any]:
        """The same network with fresh weights and as many classes; another one as it is told."""
        known = self._settled
        if given["name"] != known["name"]:
            return {"names": known["names"], **{k: v for k, v in given.items() if k != "weights"}}
        return {**{k: v for k, v in known.items() if k != "classes"}, "norms": self.bench.head.get("norms", "batch")}

    @cached_property
    def _settled(self) -> dict[str, Any]:
        """What the bench's head is, weights aside."""
        given = dict(self.bench.head)
        if "weights" not in given:
            given = {"names": list(self.bench.pictures.names), **given}
        return dict(open_head(given.pop("name"), **given).spec)

    def _clean_head(self) -> Path:
        """The weights of a head that learned from this fold's clean pictures, once for all conditions."""
        clean = Method(_CLEAN, "clean", head="fresh", plans=(HEAD,))
        model = self._trained(clean, self._fresh(dict(self.bench.head)), under="")
        path = self._folder(clean, "") / "head.safetensors"
        if not path.is_file():
            from safetensors.torch import save

            write_bytes(
                path, save({k: v.contiguous() for k, v in model.head.get_submodule("net").state_dict().items()})
            )
        return path

    def _trained(self, method: Method, head: Mapping[str, Any], under: str | None = None) -> JointModel:
        where = self.condition.name if under is None else under
        folder = self._folder(method, where)
        recipe = _recipe(self, method, head)
        sets = Sets(self.data(method, learning=True), FirstFew(self.data(method, learning=False)))
        title = ", ".join(w for w in (where, method.name, f"seed {self.seed}") if w)
        hooks = None if self.watch is None else self.watch(title)
        weights = run_job(recipe, folder, device="cpu", sets=sets, hooks=hooks).weights
        model = cast(JointModel, build_model(recipe))
        model.load_state_dict(read_weights(weights)[0])
        return model.eval().requires_grad_(False)

    def _folder(self, method: Method, under: str) -> Path:
        word = f"{under} {method.same_as or method.name} seed {self.seed}".strip()
        return self.out / re.sub(r"[^a-z0-9]+", "-", word.lower())


class FirstFew(Dataset[Sample]):
    """The first samples of a set: enough for a learning curve."""

    def __init__(self, data: SampleSet, count: int = 100) -> None:
        self.data, self.count = data, min(count, len(data))

    def set_epoch(self, epoch: int) -> None:
        """As the whole set."""
        self.data.set_epoch(epoch)

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> Sample:
        return self.data[index]


def _recipe(trial: Trial, method: Method, head: Mapping[str, Any]) -> Any:
    bench, raw = trial.bench, trial.bench.settings(trial.condition)
    light = {"sensor": trial.condition.name, "colors": raw.colors, "gain": list(raw.gain), "light": raw.light}
    light = {} if method.sees == "clean" else light
    data = {"source": "labelled", "pictures": bench.told, "patch": list(bench.patch), "fold": trial.fold, **light}
    data |= {} if method.through is None else {"through": method.through}
    plans = method.plans or (HEAD,)  # nothing learns, but a recipe has a phase
    return to_recipe(
        {
            "version": 1,
            "doc": f"{method.name}, a method of the low-light protocol",
            "isp": None if method.isp is None else {**method.isp, **_formation(bench)},
            "head": dict(head),
            "data": data,
            "phases": phases_of(plans, bench.seconds, bench.batch),
            "seed": trial.seed,
            "clock": "cpu",
            "save_every": 200,
        }
    )


def _formation(bench: LowLightBench) -> dict[str, Any]:
    """What a learned ISP must know: whether its linear numbers are the picture already."""
    return {"curve": "none"} if bench.light == "encoded" else {}


def _scene(sample: Sample) -> Scene:
    return Scene(sample.names[0], sample.frame, sample.target, labels=sample.labels)


def _of_head(head: Head) -> Called:
    """The head's own loss as an objective of tuning."""
    head.eval().requires_grad_(False)

    def loss(picture: Tensor, scene: Scene) -> Tensor:
        size = (picture.shape[-2], picture.shape[-1])
        return head.loss(head(picture.clamp(0, 1)), cast(Labels, scene.labels), size)

    return Called("head", loss)
