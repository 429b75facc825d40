"""YAML <-> Pipeline. A recipe is data; this file is the only place that knows its grammar.

```yaml
version: 1
stages:
  - linearize
  - white_balance: {mode: cct, cct_k: 5200}
  - denoise@fine: {luma: 0.5}        # a stage may come twice under a label
```
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path
from typing import Any

import yaml

from ispkit.core.errors import DomainError, IspkitError, ParamError, RecipeError, nearest
from ispkit.core.param import Value, Values
from ispkit.isp.pipeline import Pipeline
from ispkit.isp.stage import Stage
from ispkit.isp.stages import STAGES

VERSION = 1
_SWITCH = {True: "on", False: "off"}  # YAML reads the bare words as booleans
PRESETS = ("neutral", "camera-like", "low-light", "machine-vision")


def preset(name: str) -> Pipeline:
    """One of the pipelines that ship with the toolkit. Raises `RecipeError` for an unknown name."""
    if name not in PRESETS:
        raise RecipeError(f"no preset {name!r}; {nearest(name, PRESETS)}")
    text = files("ispkit.isp").joinpath("presets", f"{name}.yaml").read_text(encoding="utf-8")
    return from_recipe(yaml.safe_load(text), where=f"preset {name}")


def load_recipe(path: str | Path) -> Pipeline:
    """The pipeline of a YAML recipe file. Raises `RecipeError` with the file's name and the place."""
    try:
        recipe = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        reason = " ".join(str(error).split())
        raise RecipeError(f"{path}: cannot be read as a YAML recipe ({reason})") from error
    return from_recipe(recipe, where=str(path))


def from_recipe(recipe: Any, *, where: str = "recipe") -> Pipeline:
    """Build the pipeline that a parsed recipe describes; its values become the knobs' defaults."""
    if not isinstance(recipe, Mapping) or not isinstance(recipe.get("stages"), list):
        raise RecipeError(f"{where}: a recipe is a mapping with 'version: {VERSION}' and a list 'stages'")
    for key in recipe:
        if key not in ("version", "stages", "doc"):
            raise RecipeError(f"{where}: unknown key {key!r}; {nearest(str(key), ('version', 'stages', 'doc'))}")
    if recipe.get("version") != VERSION:
        raise RecipeError(f"{where}: version is {recipe.get('version')!r}; this toolkit reads version {VERSION}")
    stages: dict[str, Stage] = {}
    values: dict[str, Value] = {}
    for i, entry in enumerate(recipe["stages"]):
        place = f"{where}: stages[{i}]"
        label, settings = _entry(place, entry)
        if label in stages:
            raise RecipeError(f"{place}: {label!r} comes twice; give the second a label, as in '{label}@second'")
        stages[label] = _stage(place, label, settings)
        values |= {f"{label}.{k}": v for k, v in settings.items() if k not in stages[label].options}
    try:
        return Pipeline(stages, values)
    except (DomainError, ParamError) as error:
        raise type(error)(f"{where}: {error}") from error


def to_recipe(pipeline: Pipeline, values: Values | None = None) -> dict[str, Any]:
    """The recipe of a pipeline under `values`, every knob written out; `from_recipe` reads it back."""
    pipeline.space.check(values or {})
    merged = pipeline.space.readable({**pipeline.space.defaults(), **(values or {})})
    stages = []
    for label, stage in pipeline.stages.items():
        files_used = {o: getattr(stage, o) for o in stage.options if getattr(stage, o) is not None}
        knobs = {k: merged[f"{label}.{k}"] for k in stage.knobs}
        stages.append({label: files_used | knobs})
    return {"version": VERSION, "stages": stages}


def _entry(place: str, entry: Any) -> tuple[str, dict[str, Any]]:
    if isinstance(entry, str):
        return entry, {}
    if isinstance(entry, Mapping) and len(entry) == 1:
        ((label, settings),) = entry.items()
        if isinstance(label, str) and (settings is None or isinstance(settings, Mapping)):
            return label, {k: _SWITCH.get(v, v) if isinstance(v, bool) else v for k, v in (settings or {}).items()}
    raise RecipeError(f"{place}: {entry!r} is neither a stage name nor 'name: {{knob: value}}'")


def _stage(place: str, label: str, settings: Mapping[str, Any]) -> Stage:
    name = label.split("@", maxsplit=1)[0]
    if name not in STAGES:
        raise RecipeError(f"{place}: no stage {name!r}; {nearest(name, STAGES)}")
    kind = STAGES[name]
    for key in settings:
        if key not in kind.knobs and key not in kind.options:
            known = [*kind.knobs, *kind.options]
            raise RecipeError(f"{place}: no parameter '{label}.{key}'; {nearest(str(key), known)}")
    try:
        return kind(**{k: v for k, v in settings.items() if k in kind.options})
    except IspkitError as error:
        raise type(error)(f"{place}: {error}") from error
