"""Checks of the fields of a tuning job: each names the field, what it holds and what would be right."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import MISSING, fields, is_dataclass
from pathlib import Path
from typing import Any

from ispkit.core.errors import RecipeError, nearest

Reader = Callable[[str, Any], Any]
"""(where it stands, what it holds) -> the checked value"""


def check_known(where: str, content: Mapping[Any, Any], kind: type[Any]) -> None:
    """Raise `RecipeError` for a key that is no field of a dataclass."""
    names = [f.name for f in fields(kind)]
    for key in content:
        if key not in names:
            raise RecipeError(f"{where or 'tuning job'}: unknown key {key!r}; {nearest(str(key), names)}")


def text(where: str, value: Any) -> str:
    """A word."""
    if not isinstance(value, str) or not value.strip():
        raise RecipeError(f"{where}: {value!r} should be a word")
    return value


def texts(where: str, value: Any) -> tuple[str, ...]:
    """One word or a list of them."""
    items = [value] if isinstance(value, str) else value
    if not isinstance(items, list | tuple):
        raise RecipeError(f"{where}: {value!r} should be a list of words")
    return tuple(text(f"{where}[{i}]", item) for i, item in enumerate(items))


def number(where: str, value: Any, low: float, high: float = math.inf) -> float:
    """A finite number in [low, high]."""
    if (
        isinstance(value, bool)
        or not isinstance(value, int | float)
        or not (math.isfinite(value) and low <= value <= high)
    ):
        law = f"of at least {low:g}" if math.isinf(high) else f"in [{low:g}, {high:g}]"
        raise RecipeError(f"{where}: {value!r} should be a number {law}")
    return float(value)


def whole(where: str, value: Any, low: int) -> int:
    """A whole number of at least `low`."""
    if isinstance(value, bool) or not isinstance(value, int) or value < low:
        raise RecipeError(f"{where}: {value!r} should be a whole number of at least {low}")
    return value


def switch(where: str, value: Any) -> bool:
    """True or false."""
    if not isinstance(value, bool):
        raise RecipeError(f"{where}: {value!r} should be true or false")
    return value


def numbers(where: str, value: Any) -> tuple[float, ...]:
    """One positive number or a list of them."""
    items = value if isinstance(value, list | tuple) else [value]
    if not items:
        raise RecipeError(f"{where}: the list is empty; give at least one number")
    return tuple(number(f"{where}[{i}]", item, 1e-9) for i, item in enumerate(items))


def size(where: str, value: Any) -> tuple[int, int]:
    """[height, width] in pixels."""
    if not isinstance(value, list | tuple) or len(value) != 2:
        raise RecipeError(f"{where}: {value!r} should be [height, width] in pixels, such as [128, 128]")
    return whole(f"{where}[0]", value[0], 2), whole(f"{where}[1]", value[1], 2)


def mapping(where: str, value: Any) -> dict[str, Any]:
    """Names and what they hold."""
    if not isinstance(value, Mapping) or not all(isinstance(key, str) for key in value):
        raise RecipeError(f"{where}: {value!r} should be a mapping of names")
    return dict(value)


def folder(where: str, value: Any, base: Path | None) -> str:
    """A folder that is there. Relative ones are taken from `base`, if it is given."""
    path = _placed(where, value, base)
    if not path.is_dir():
        raise RecipeError(f"{where}: no such folder: {path}")
    return str(path)


def file(where: str, value: Any, base: Path | None) -> str:
    """A file that is there."""
    path = _placed(where, value, base)
    if not path.is_file():
        raise RecipeError(f"{where}: no such file: {path}")
    return str(path)


def place(where: str, value: Any, base: Path | None) -> str:
    """A folder that need not be there yet."""
    path = _placed(where, value, base)
    if path.exists() and not path.is_dir():
        raise RecipeError(f"{where}: {path} is a file and should be a folder")
    return str(path)


def _placed(where: str, value: Any, base: Path | None) -> Path:
    path = Path(text(where, value)).expanduser()
    return path if base is None or path.is_absolute() else base / path


def stated(part: Any) -> dict[str, Any]:
    """The fields of a dataclass that are not at their default, as plain data."""
    found: dict[str, Any] = {}
    for entry in fields(part):
        value = getattr(part, entry.name)
        default = entry.default_factory() if entry.default_factory is not MISSING else entry.default
        if value != default:
            found[entry.name] = _plain(value)
    return found


def _plain(value: Any) -> Any:
    if is_dataclass(value):
        return stated(value)
    if isinstance(value, tuple | list):
        return [_plain(v) for v in value]
    return dict(value) if isinstance(value, Mapping) else value
