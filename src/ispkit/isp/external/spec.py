"""A black box in a small YAML file: how it is called, what it reads and writes, and its knobs.

```yaml
version: 1
command: my-isp --in {raw} --out {out} --config {params}
params: {format: json}
knobs:
  denoise.luma: {key: nr/luma, default: 20, bits: 8, doc: strength}
```
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from importlib.resources import files
from pathlib import Path
from typing import Any, Literal, get_args

import yaml

from ispkit.core.errors import ParamError, RecipeError, nearest
from ispkit.core.frame import UPRIGHT, Domain
from ispkit.core.space import ParamSpace
from ispkit.isp.external.knobs import BoxKnob, Written, check_conditions, parse_knobs
from ispkit.isp.external.parameter_file import FORMATS
from ispkit.isp.external.start import completed, started

VERSION = 1
PRESETS = ("rawtherapee", "darktable")

InputFormat = Literal["dng", "raw16", "png", "tif"]
Inactive = Literal["default", "omit"]
_KEYS = (
    "version", "doc", "command", "url", "program_version", "environment", "worker_files", "timeout_s", "retries",
    "workers", "input", "output", "writes", "params", "knobs", "orderings",
)  # fmt: skip


@dataclass(frozen=True)
class InputRule:
    """How a frame becomes the program's input file."""

    format: InputFormat = "dng"
    """dng, raw16 (bare little-endian samples), or a picture for programs that read finished colors"""
    crop_px: int = 0
    """what the program cuts off at each border; the mosaic is mirrored outwards by that much before"""

    least_bytes: int = 0
    """zeros are appended up to this size, for programs that take a small file for a damaged one"""

    @property
    def reads(self) -> Domain:
        """The domain of the frames that can be written so."""
        return Domain.RAW if self.format in ("dng", "raw16") else Domain.DISPLAY_RGB


@dataclass(frozen=True)
class OutputRule:
    """How the program's picture becomes a frame."""

    suffix: str = ".png"
    orientation: int = 1
    """EXIF orientation that makes the picture lie as the frame does, for programs that turn or mirror it"""


@dataclass(frozen=True)
class ParamsRule:
    """How the knobs' values are handed over."""

    format: str = "flags"
    suffix: str = ""
    template: str = ""
    force: Mapping[str, Written] = field(default_factory=dict)
    """keys written in every render, whatever the template says; not part of an export"""
    inactive: Inactive = "default"
    """what becomes of a knob that does not act: its default is written, or its key is left out"""


@dataclass(frozen=True)
class BlackBoxSpec:
    """A parsed spec; `load_spec` reads one."""

    name: str
    knobs: Mapping[str, BoxKnob]
    space: ParamSpace
    command: str = ""
    url: str = ""
    doc: str = ""
    program_version: str = ""
    """a command whose output is part of the cache's key"""
    environment: Mapping[str, str] = field(default_factory=dict)
    worker_files: Mapping[str, str] = field(default_factory=dict)
    """name -> text of files that lie in each worker's own folder, `{worker}`"""
    timeout_s: float = 60.0
    retries: int = 0
    workers: int = 1
    input: InputRule = field(default_factory=InputRule)
    output: OutputRule = field(default_factory=OutputRule)
    writes: Domain = Domain.DISPLAY_RGB
    params: ParamsRule = field(default_factory=ParamsRule)
    folder: str = "."
    """where the spec's file lies, `{here}` in the command"""

    def started_from(self, text: str) -> BlackBoxSpec:
        """The same black box with a user's parameter file as template and its values as defaults.

        A value outside a knob's range widens the range. Raises `RecipeError`, `FileError`.
        """
        knobs = started(self.knobs, self.params.format, text)
        text = completed(knobs, self.params.format, text, self.params.template)
        orderings = [pair for pair in self.space.orderings if set(pair) <= set(knobs)]
        space = ParamSpace({n: k.knob for n, k in knobs.items()}, orderings)
        try:
            space.check(space.defaults())
        except ParamError as error:
            raise RecipeError(f"{self.name}: the file to start from breaks a rule of this spec: {error}") from error
        return replace(self, knobs=knobs, space=space, params=replace(self.params, template=text))

    def digest(self) -> str:
        """A hash of all that changes a render, but for the knobs' values."""
        parts = [self.command, self.url, self.environment, self.worker_files, self.writes.value]
        parts += [vars(self.input), vars(self.output), vars(self.params)]
        return hashlib.sha256(json.dumps(parts, sort_keys=True, default=dict).encode()).hexdigest()


def load_spec(name_or_path: str | Path) -> BlackBoxSpec:
    """A preset by its name, or the spec in a YAML file. Raises `RecipeError` with the place."""
    text = str(name_or_path)
    if text in PRESETS:
        content = files("ispkit.isp.external").joinpath("presets", f"{text}.yaml").read_text(encoding="utf-8")
        return parse_spec(yaml.safe_load(content), text)
    if Path(text).suffix.lower() not in (".yaml", ".yml"):
        raise RecipeError(f"no black box {text!r}; {nearest(text, PRESETS)}, or a YAML file of your own")
    try:
        content = yaml.safe_load(Path(text).read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise RecipeError(f"{text}: cannot be read as a YAML spec ({' '.join(str(error).split())})") from error
    return parse_spec(content, text, folder=Path(text).parent)


def is_spec(content: Any) -> bool:
    """Whether a YAML document is a black box's spec (a recipe has neither key)."""
    return isinstance(content, Mapping) and ("command" in content or "url" in content)


def parse_spec(content: Any, where: str, *, folder: Path | None = None) -> BlackBoxSpec:
    """Check a parsed YAML document; a template's file is looked for in `folder`. Raises `RecipeError`."""
    if not isinstance(content, Mapping):
        raise RecipeError(f"{where}: a spec is a mapping with 'version', 'command' or 'url', and 'knobs'")
    _known(content, _KEYS, where)
    if content.get("version") != VERSION:
        raise RecipeError(f"{where}: version is {content.get('version')!r}; this toolkit reads version {VERSION}")
    if bool(content.get("command")) == bool(content.get("url")):
        raise RecipeError(f"{where}: give either 'command' or 'url'")
    knobs = parse_knobs(content.get("knobs"), where)
    return BlackBoxSpec(
        name=Path(where).stem if where.endswith((".yaml", ".yml")) else where,
        knobs=knobs,
        space=_space(knobs, content.get("orderings"), where),
        command=" ".join(str(content.get("command") or "").split()),
        url=str(content.get("url") or ""),
        doc=str(content.get("doc", "")),
        program_version=str(content.get("program_version", "")),
        environment=_texts(content, "environment", where),
        worker_files=_texts(content, "worker_files", where),
        timeout_s=_number(content, "timeout_s", 60.0, where),
        retries=round(_number(content, "retries", 0, where)),
        workers=max(1, round(_number(content, "workers", 1, where))),
        input=_input(content.get("input") or {}, where),
        output=_output(content.get("output") or {}, where),
        writes=_domain(content.get("writes", "display_rgb"), where),
        params=_params(content.get("params") or {}, where, folder),
        folder=str((folder or Path()).resolve()),
    )


def _space(knobs: Mapping[str, BoxKnob], orderings: Any, where: str) -> ParamSpace:
    pairs = orderings or []
    if not isinstance(pairs, list) or not all(isinstance(p, list) and len(p) == 2 for p in pairs):
        raise RecipeError(f"{where}: orderings={pairs!r} is a list of pairs, [lower knob, higher knob]")
    try:
        space = ParamSpace({n: k.knob for n, k in knobs.items()}, [(str(a), str(b)) for a, b in pairs])
        space.check(space.defaults())
    except ParamError as error:
        raise RecipeError(f"{where}: {error}") from error
    check_conditions(space, where)
    return space


def _input(facts: Any, where: str) -> InputRule:
    _known(facts, [f.name for f in fields(InputRule)], f"{where}: input")
    kind = facts.get("format", "dng")
    if kind not in get_args(InputFormat):
        raise RecipeError(f"{where}: input.format={kind!r}; {nearest(str(kind), get_args(InputFormat))}")
    sizes = {"crop_px": 1024, "least_bytes": 1 << 24}
    for key, most in sizes.items():
        value = facts.get(key, 0)
        if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= most:
            raise RecipeError(f"{where}: input.{key}={value!r} is a whole number from 0 to {most}")
    return InputRule(kind, **{key: facts.get(key, 0) for key in sizes})


def _output(facts: Any, where: str) -> OutputRule:
    _known(facts, [f.name for f in fields(OutputRule)], f"{where}: output")
    if facts.get("orientation", 1) not in UPRIGHT:
        raise RecipeError(f"{where}: output.orientation={facts['orientation']!r} is an EXIF orientation, 1 to 8")
    return OutputRule(str(facts.get("suffix", ".png")), int(facts.get("orientation", 1)))


def _params(facts: Any, where: str, folder: Path | None) -> ParamsRule:
    known = ("format", "suffix", "template", "file", "force", "inactive")
    _known(facts, known, f"{where}: params")
    kind = facts.get("format", "flags")
    if kind not in FORMATS:
        raise RecipeError(f"{where}: params.format={kind!r}; {nearest(str(kind), FORMATS)}")
    inactive = facts.get("inactive", "default")
    if inactive not in get_args(Inactive):
        raise RecipeError(f"{where}: params.inactive={inactive!r}; {nearest(str(inactive), get_args(Inactive))}")
    template = facts.get("template", "")
    if "file" in facts:
        template = _read((folder or Path()) / str(facts["file"]), where)
    elif not isinstance(template, str):  # written out as YAML
        template = json.dumps(template) if kind == "json" else yaml.safe_dump(template, sort_keys=False)
    suffix = str(facts.get("suffix", FORMATS[kind].suffix))
    return ParamsRule(kind, suffix, template, _mapping(facts, "force", where), inactive)


def _read(path: Path, where: str) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise RecipeError(f"{where}: params.file cannot be read ({error})") from error


def _known(facts: Any, known: Any, place: str) -> None:
    if not isinstance(facts, Mapping):
        raise RecipeError(f"{place} is a mapping, got {facts!r}")
    for key in facts:
        if key not in known:
            raise RecipeError(f"{place}: unknown key {key!r}; {nearest(str(key), known)}")


def _mapping(content: Mapping[str, Any], key: str, where: str) -> Mapping[str, Any]:
    found = content.get(key) or {}
    if not isinstance(found, Mapping):
        raise RecipeError(f"{where}: {key}={found!r} maps names to values")
    return {str(k): v for k, v in found.items()}


def _texts(content: Mapping[str, Any], key: str, where: str) -> dict[str, str]:
    return {k: str(v) for k, v in _mapping(content, key, where).items()}


def _number(content: Mapping[str, Any], key: str, default: float, where: str) -> float:
    found = content.get(key, default)
    if isinstance(found, bool) or not isinstance(found, int | float) or not 0 <= found < math.inf:
        raise RecipeError(f"{where}: {key}={found!r} is a number from 0 on")
    if key == "timeout_s" and found == 0:
        raise RecipeError(f"{where}: timeout_s is a number of seconds above 0, such as 60")
    return float(found)


def _domain(name: Any, where: str) -> Domain:
    known = {d.value: d for d in (Domain.DISPLAY_RGB, Domain.LINEAR_RGB)}
    if name not in known:
        raise RecipeError(f"{where}: writes={name!r}; {nearest(str(name), known)}")
    return known[name]
