"""One door to every ISP by name, and the way back: values in the file that the ISP itself reads."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import yaml

from ispkit.core.errors import ParamError, RecipeError, nearest
from ispkit.core.imports import imported
from ispkit.core.param import Values
from ispkit.io.atomic import write_bytes
from ispkit.io.tuning.pp3 import read_pp3
from ispkit.isp.external.bm3d import Bm3dISP
from ispkit.isp.external.command import CommandISP, SpecISP
from ispkit.isp.external.http import HttpISP
from ispkit.isp.external.libraw import LibRawISP
from ispkit.isp.external.spec import PRESETS as COMMANDS
from ispkit.isp.external.spec import BlackBoxSpec, is_spec, load_spec
from ispkit.isp.external.tone_mapper import local_laplacian_isp
from ispkit.isp.pipeline import ISP, Pipeline
from ispkit.isp.recipe import PRESETS as PIPELINES
from ispkit.isp.recipe import load_recipe, preset, to_recipe


def _c71() -> ISP:
    from ispkit.isp.c71 import C71

    return C71()


BUILDERS: Mapping[str, Callable[[], ISP]] = {
    "c71": _c71,
    "libraw": LibRawISP,
    "bm3d": Bm3dISP,
    "local-laplacian": local_laplacian_isp,
}
"""black boxes of our own process"""


def isp_names() -> tuple[str, ...]:
    """Every name that `open_isp` knows, besides files and `package.module:attribute`."""
    return (*BUILDERS, *COMMANDS, *PIPELINES)


def open_isp(
    name: str | os.PathLike[str],
    *,
    start: str | os.PathLike[str] | None = None,
    cache: str | os.PathLike[str] | None = None,
    workers: int | None = None,
) -> ISP:
    """An ISP by name: c71, rawtherapee, libraw, bm3d, darktable, local-laplacian, or a pipeline's preset.

    A YAML file is a recipe or the spec of a command or an address, a .safetensors file a learned ISP;
    `package.module:attribute` is an ISP, or a callable without arguments that gives one.

    Args:
        name: see above.
        start: a parameter file of the program's own (a .pp3): its values become the defaults.
        cache: a folder for finished renders (commands and addresses only).
        workers: renders at a time (commands and addresses only).

    Raises `ParamError` for an unknown name, `RecipeError`, `FileError`, `BlackBoxError` if a program is not installed.

    >>> open_isp("neutral").writes.value
    'display_rgb'
    """
    text = os.fspath(name)
    spec = _spec(text)
    if spec is not None:
        return _external(spec, start, None if cache is None else Path(cache), workers)
    if cache is not None:
        raise ParamError(f"cache {os.fspath(cache)!r}: {text!r} renders in this process and keeps no renders")
    if start is not None:
        raise ParamError(f"{text!r} has no parameter file to start from; leave out start={os.fspath(start)!r}")
    if text in BUILDERS:
        return BUILDERS[text]()
    if text in PIPELINES:
        return preset(text)
    if _is_yaml(text):
        return load_recipe(text)
    if text.lower().endswith(".safetensors"):
        return _learned(text)
    if ":" in text:
        return _imported(text)
    known = ", ".join(isp_names())
    files = "a .yaml or .safetensors file, package.module:name"
    raise ParamError(f"no ISP {text!r}; {nearest(text, isp_names())} ({known}, {files})")


def export_values(isp: ISP, values: Values, path: str | os.PathLike[str]) -> Path:
    """Write the values, all others at their default, as the ISP's own file; its ending is added where missing.

    A command's parameter file (.pp3), a pipeline's recipe, c71's registers (YAML, or a C header where the name ends in
    .h), a YAML mapping of knobs for any other ISP. Raises `ParamError`, `FileError`.
    """
    target = Path(path)
    if not target.suffix:
        target = target.with_suffix(export_suffix(isp))
    kind = _kind(isp)
    if target.suffix == ".h":
        if kind != "registers":
            raise ParamError(f"{target}: a C header holds registers; write {export_suffix(isp)} for this ISP")
        kind = "header"
    write_bytes(target, _EXPORTS[kind](isp, values).encode("utf-8"))
    return target


def export_suffix(isp: ISP) -> str:
    """The ending of the ISP's own file, with its dot."""
    return (isp.spec.params.suffix or ".txt") if isinstance(isp, SpecISP) else ".yaml"


def _kind(isp: ISP) -> str:
    if isinstance(isp, SpecISP):
        return "parameters"
    if isinstance(isp, Pipeline):
        return "recipe"
    knobs = isp.space.values()
    registers = all(not hasattr(k, "options") and k.step == 1 and float(k.low).is_integer() for k in knobs)
    return "registers" if registers and knobs else "values"


def _learned(path: str) -> ISP:
    from ispkit.isp.learned.weights import load_learned

    return load_learned(path)[0]


def _merged(isp: ISP, values: Values) -> dict[str, Any]:
    isp.space.check(values)
    return isp.space.readable({**isp.space.defaults(), **values})


def _registers(isp: ISP, values: Values) -> dict[str, int]:
    return {name: round(float(value)) for name, value in _merged(isp, values).items()}


def _header(isp: ISP, values: Values) -> str:
    lines = ["#ifndef ISP_REGISTERS_H", "#define ISP_REGISTERS_H"]
    for name, value in _registers(isp, values).items():
        word = "".join(c if c.isalnum() else "_" for c in name).upper()
        lines.append(f"#define ISP_{word} {value}")
    return "\n".join([*lines, "#endif", ""])


def _as_yaml(content: Mapping[str, Any]) -> str:
    return str(yaml.safe_dump(content, sort_keys=False))


_EXPORTS: Mapping[str, Callable[[Any, Values], str]] = {
    "parameters": lambda isp, values: isp.parameters(values),
    "recipe": lambda isp, values: _as_yaml(to_recipe(isp, values)),
    "registers": lambda isp, values: _as_yaml({"version": 1, "registers": _registers(isp, values)}),
    "header": _header,
    "values": lambda isp, values: _as_yaml({"version": 1, "values": _merged(isp, values)}),
}


def _is_yaml(text: str) -> bool:
    return text.lower().endswith((".yaml", ".yml"))


def _spec(text: str) -> BlackBoxSpec | None:
    """The spec that a name or a file stands for; None if it is something else."""
    if text in COMMANDS:
        return load_spec(text)
    if not _is_yaml(text):
        return None
    try:
        content = yaml.safe_load(Path(text).read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise RecipeError(f"{text}: cannot be read as YAML ({' '.join(str(error).split())})") from error
    return load_spec(text) if is_spec(content) else None


def _external(
    spec: BlackBoxSpec, start: str | os.PathLike[str] | None, cache: Path | None, workers: int | None
) -> SpecISP:
    if start is not None:
        spec = spec.started_from(read_pp3(start).text if spec.params.format == "ini" else _text(start))
    if cache is not None:
        _make(cache)
    kind = CommandISP if spec.command else HttpISP
    isp = kind(spec, cache=cache, workers=workers)
    isp.check()
    return isp


def _make(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise RecipeError(f"cache {folder}: cannot be made ({error.strerror}); name another folder") from error


def _text(path: str | os.PathLike[str]) -> str:
    try:
        return Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise RecipeError(f"{path}: cannot be read as a parameter file ({error})") from error


def _imported(text: str) -> ISP:
    """`package.module:attribute`, looked for in the current folder, too."""
    found = imported(text)
    if isinstance(found, type) or not hasattr(found, "space"):
        if not callable(found):
            raise ParamError(f"{text!r} is {type(found).__name__}; it should be an ISP, or a function that gives one")
        found = found()
    missing = [word for word in ("space", "reads", "writes") if not hasattr(found, word)]
    if missing or not callable(found):
        raise ParamError(f"{text!r} gives {type(found).__name__}, which has no {', '.join(missing) or '__call__'}")
    isp: ISP = found
    return isp
