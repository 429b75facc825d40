"""`TuneSpec`: a tuning job as data, and the problems that it describes.

```yaml
version: 1
isp: c71
data: {pictures: photos/, sensor: default, gains: [1, 16], crop: [128, 128]}
held_out: 0.25
objective: l1+0.5*nlpd
method: auto
budget: 200
```
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import yaml

from ispkit.core.errors import RecipeError
from ispkit.core.frame import Domain
from ispkit.core.param import Value
from ispkit.data import tuning_sets
from ispkit.data.scenes import Scene
from ispkit.io.atomic import write_bytes
from ispkit.isp.anchored import AnchoredISP
from ispkit.isp.pipeline import ISP
from ispkit.tune.objectives.constraints import parse_constraint
from ispkit.tune.objectives.grammar import parse_objectives
from ispkit.tune.plan import Guard, Plan
from ispkit.tune.problem import PictureProblem, Settings
from ispkit.tune.spec_data import DataSpec, read_data, scenes_from
from ispkit.tune.spec_fields import (
    Reader,
    check_known,
    file,
    mapping,
    number,
    numbers,
    place,
    stated,
    switch,
    text,
    texts,
    whole,
)

__all__ = [
    "AnchorSpec",
    "DataSpec",
    "TuneSpec",
    "build",
    "from_dict",
    "load_spec",
    "open_start",
    "save_spec",
    "scenes_of",
    "to_dict",
]

VERSION = 1


@dataclass(frozen=True)
class AnchorSpec:
    """Which knobs follow the conditions."""

    knobs: tuple[str, ...] = ("*",)
    gain: tuple[float, ...] = ()
    cct_k: tuple[float, ...] = ()
    smoothness: float = 0.0
    """weight of the settings' bends beside the first objective"""

    def axes(self) -> dict[str, tuple[float, ...]]:
        """Those that are given."""
        return {name: at for name, at in (("gain", self.gain), ("cct_k", self.cct_k)) if at}


@dataclass(frozen=True, kw_only=True)
class TuneSpec:
    """A tuning job; plain data that a worker process can build its problem from."""

    isp: str
    """a name or file that `isp.catalog.open_isp` knows"""
    data: DataSpec
    start: str | None = None
    """the expert's setting: a YAML file of knob: value, or a parameter file of the ISP's own, such as a .pp3"""
    held_out: float | DataSpec | tuple[str, ...] = 0.25
    """a share of the pictures, their names, or other data"""
    objective: str = "psnr"
    """as `objectives.grammar.FORMS` says; several with ';'"""
    constraints: tuple[str, ...] = ()
    method: str = "auto"
    options: Mapping[str, Any] = field(default_factory=dict)
    budget: float = 200.0
    """renders of the tuning set"""
    lock: tuple[str, ...] = ()
    unlock: tuple[str, ...] = ()
    anchors: AnchorSpec | None = None
    register: bool = False
    """lay pictures on their targets by whole pixels first"""
    seed: int = 0
    workers: int = 1
    guard: float | None = None
    """no picture may lose more than this share of the expert's score"""
    prune: bool = False
    """end a trial after some pictures where a Wilcoxon test says it is worse"""
    leaders: int = 3
    """candidates that are measured again before one is declared, if the black box is noisy"""
    repeats: int = 3
    """how often"""
    max_failures: int = 10
    """failed trials in a row after which the study gives up"""
    timeout_s: float | None = None
    """of one measurement"""
    cache: str | None = None
    """a folder that keeps the renders of a program or an address, for other studies too"""

    def plan(self) -> Plan:
        """How its study is run."""
        return Plan(
            method=self.method,
            budget=self.budget,
            seed=self.seed,
            workers=self.workers,
            options=self.options,
            lock=self.lock,
            unlock=self.unlock,
            guard=None if self.guard is None else Guard(self.guard),
            prune=self.prune,
            leaders=self.leaders,
            repeats=self.repeats,
            max_failures=self.max_failures,
            trial_timeout_s=self.timeout_s,
            spec=to_dict(self),
        )


def build(spec: TuneSpec) -> tuple[PictureProblem, PictureProblem | None]:
    """The problem to tune and the one held out, if there is one. Same spec, same problems.

    Raises `ParamError`, `RecipeError`, `FileError`, `ShapeError` that say what of the spec is wrong.
    """
    isp = open_start(spec)
    scenes, held = scenes_of(spec, isp.reads)
    judges = parse_objectives(spec.objective)
    settings = Settings(
        constraints=tuple(parse_constraint(c) for c in spec.constraints),
        register=spec.register,
        smoothness=spec.anchors.smoothness if spec.anchors is not None else 0.0,
    )
    space = isp.space
    if spec.start is not None and _is_yaml(spec.start):
        space = space.with_defaults(_start_values(isp, spec.start))
    tuned = PictureProblem(isp, scenes, judges, space=space, settings=settings)
    if not held:
        return tuned, None
    return tuned, PictureProblem(isp, held, judges, space=space, settings=replace(settings, smoothness=0.0))


def open_start(spec: TuneSpec) -> ISP:
    """The ISP, with its knobs at anchors where the spec has some."""
    from ispkit.isp.catalog import open_isp

    own = spec.start is not None and not _is_yaml(spec.start)
    isp: ISP = open_isp(spec.isp, start=spec.start if own else None, cache=spec.cache)
    if spec.anchors is None:
        return isp
    if not spec.anchors.axes():
        raise RecipeError("anchors: give gain or cct_k, such as gain: [1, 4, 16]")
    return AnchoredISP(isp, knobs=spec.anchors.knobs, anchors=spec.anchors.axes())


def scenes_of(spec: TuneSpec, reads: Domain) -> tuple[list[Scene], list[Scene]]:
    """Scenes to tune on and held out, in the domain that the ISP reads."""
    scenes = scenes_from(spec.data, reads)
    if isinstance(spec.held_out, DataSpec):
        return scenes, scenes_from(spec.held_out, reads)
    return tuning_sets.split(scenes, spec.held_out)


def load_spec(path: str | Path) -> TuneSpec:
    """From a YAML file; folders and files are relative to it. Raises `RecipeError` with the file's name."""
    try:
        content = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise RecipeError(f"{path}: cannot be read as YAML ({' '.join(str(error).split())})") from error
    try:
        return from_dict(content, base=Path(path).parent)
    except RecipeError as error:
        raise RecipeError(f"{path}: {error}") from error


def save_spec(path: str | Path, spec: TuneSpec) -> None:
    """As YAML, whole or not at all."""
    write_bytes(path, yaml.safe_dump(to_dict(spec), sort_keys=False, allow_unicode=True).encode())


def to_dict(spec: TuneSpec) -> dict[str, Any]:
    """Plain data; `from_dict` gives the same spec again. What is left at its default is left out."""
    return {"version": VERSION, **stated(spec)}


def from_dict(content: Any, *, base: Path | None = None) -> TuneSpec:
    """From parsed YAML; with `base` relative paths are taken from there. Raises `RecipeError`."""
    if not isinstance(content, Mapping) or content.get("version") != VERSION:
        got = content.get("version") if isinstance(content, Mapping) else content
        raise RecipeError(f"a tuning job is a mapping with 'version: {VERSION}', got version {got!r}")
    known = {k: v for k, v in content.items() if k != "version"}
    check_known("", known, TuneSpec)
    for key in ("isp", "data"):
        if key not in known:
            raise RecipeError(f"{key} is missing; a tuning job needs isp, data and an objective")
    read: dict[str, Reader] = {**_PLAIN, "data": partial(read_data, base=base), "start": partial(file, base=base)}
    read |= {"isp": partial(_isp, base=base), "cache": partial(place, base=base)}
    read["held_out"] = partial(_held_out, base=base)
    return TuneSpec(**{name: read[name](name, value) for name, value in known.items() if value is not None})


def _isp(where: str, value: Any, base: Path | None) -> str:
    """A name, or a file: beside the spec if there is one."""
    name = text(where, value)
    beside = name if base is None else str(base / name)
    return beside if Path(beside).is_file() else name


def _held_out(where: str, value: Any, base: Path | None) -> float | DataSpec | tuple[str, ...]:
    if isinstance(value, Mapping):
        return read_data(where, value, base)
    if isinstance(value, list | tuple):
        return texts(where, value)
    if isinstance(value, str):
        return read_data(where, value, base)
    return number(where, value, 0.0, 0.9)


def _anchors(where: str, value: Any) -> AnchorSpec:
    content = mapping(where, value)
    check_known(where, content, AnchorSpec)
    return AnchorSpec(**{k: _ANCHORS[k](f"{where}.{k}", v) for k, v in content.items()})


def _objective(where: str, value: Any) -> str:
    return "; ".join(texts(where, value))


_PLAIN: dict[str, Reader] = {
    "objective": _objective,
    "constraints": texts,
    "method": text,
    "options": mapping,
    "budget": partial(number, low=1.0),
    "lock": texts,
    "unlock": texts,
    "anchors": _anchors,
    "register": switch,
    "seed": partial(whole, low=0),
    "workers": partial(whole, low=1),
    "guard": partial(number, low=0.0),
    "prune": switch,
    "leaders": partial(whole, low=1),
    "repeats": partial(whole, low=1),
    "max_failures": partial(whole, low=1),
    "timeout_s": partial(number, low=1e-3),
}
_ANCHORS: dict[str, Reader] = {
    "knobs": texts,
    "gain": numbers,
    "cct_k": numbers,
    "smoothness": partial(number, low=0.0),
}


def _is_yaml(path: str) -> bool:
    return path.endswith((".yaml", ".yml"))


def _start_values(isp: ISP, path: str) -> dict[str, Value]:
    """A mapping of knobs; those of an anchored ISP may be given once for all anchors."""
    try:
        content = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise RecipeError(f"start: {path} cannot be read as YAML ({' '.join(str(error).split())})") from error
    values: dict[str, Value] = mapping(f"start: {path}", content)
    if "version" in values:  # what an earlier study exported
        values = mapping(f"start: {path}", values.get("registers", values.get("values")))
    if not isinstance(isp, AnchoredISP):
        return values
    single = {name: value for name, value in values.items() if name not in isp.space}
    return {**isp.spread(single), **{n: v for n, v in values.items() if n in isp.space}}
