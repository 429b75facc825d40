"""Plain data into frozen dataclasses by their annotations; every message names the place and what would be right."""

from __future__ import annotations

import types
from collections.abc import Mapping
from dataclasses import MISSING, fields, is_dataclass
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from ispkit.core.errors import ParamError, RecipeError, nearest

Kind = TypeVar("Kind")


def build(kind: type[Kind], where: str, content: Any) -> Kind:
    """An instance of a frozen dataclass from a mapping; a class with its own `read(where, content)` reads itself.

    Understands bool, int, float, str, Literal, `| None`, tuples, mappings and dataclasses. A law of `__post_init__` is
    told with its place. Raises `RecipeError`.
    """
    if not isinstance(content, Mapping):
        raise RecipeError(f"{where}: {content!r} should be a mapping of {', '.join(f.name for f in fields(kind))}")  # type: ignore[arg-type]
    hints, known = get_type_hints(kind), [f.name for f in fields(kind)]  # type: ignore[arg-type]
    for key in content:
        if key not in known:
            raise RecipeError(f"{_joined(where, key)}: unknown name; {nearest(str(key), known)}")
    for field in fields(kind):  # type: ignore[arg-type]
        if field.name not in content and field.default is MISSING and field.default_factory is MISSING:
            raise RecipeError(f"{_joined(where, field.name)} is missing; {field.name} has no default")
    values = {key: _value(hints[key], _joined(where, key), value) for key, value in content.items()}
    try:
        return kind(**values)
    except (ParamError, RecipeError) as error:
        raise RecipeError(f"{where}: {error}" if where else str(error)) from error


def plain(value: Any) -> Any:
    """Dataclasses and tuples as mappings and lists, for YAML and JSON."""
    if is_dataclass(value) and not isinstance(value, type):
        return {f.name: plain(getattr(value, f.name)) for f in fields(value)}
    if isinstance(value, Mapping):
        return {str(k): plain(v) for k, v in value.items()}
    return [plain(v) for v in value] if isinstance(value, tuple | list) else value


def _value(hint: Any, where: str, value: Any) -> Any:
    origin, inner = get_origin(hint), get_args(hint)
    if origin in (Union, types.UnionType):
        kinds = [k for k in inner if k is not type(None)]
        kind = str if isinstance(value, str) and str in kinds else kinds[0]
        return None if value is None and len(kinds) < len(inner) else _value(kind, where, value)
    if origin is Literal:
        if value not in inner:
            raise RecipeError(f"{where}: {value!r} is unknown; {nearest(str(value), map(str, inner))}")
        return value
    if origin is tuple:
        return _tuple(inner, where, value)
    if isinstance(hint, type) and is_dataclass(hint):
        return hint.read(where, value) if hasattr(hint, "read") else build(hint, where, value)
    if hint is Any:
        return value
    return _mapping(where, value) if origin is not None else _scalar(hint, where, value)


def _tuple(inner: tuple[Any, ...], where: str, value: Any) -> tuple[Any, ...]:
    open_ended = len(inner) == 2 and inner[1] is Ellipsis
    items = value if isinstance(value, list | tuple) else [value]
    if not open_ended and len(items) != len(inner):
        raise RecipeError(f"{where}: {value!r} should be a list of {len(inner)}")
    kinds = inner[:1] * len(items) if open_ended else inner
    return tuple(_value(k, f"{where}[{i}]", v) for i, (k, v) in enumerate(zip(kinds, items, strict=True)))


def _mapping(where: str, value: Any) -> dict[str, Any]:
    if not isinstance(value, Mapping) or not all(isinstance(key, str) for key in value):
        raise RecipeError(f"{where}: {value!r} should be a mapping of names")
    return dict(value)


def _scalar(hint: type, where: str, value: Any) -> Any:
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if hint is float and isinstance(value, str) and _is_number(value):
        value, number = float(value), True  # YAML reads 1e-4 as a word
    good = {
        bool: isinstance(value, bool),
        int: number and float(value).is_integer(),
        float: number,
        str: isinstance(value, str) and bool(value.strip()),
    }
    if not good[hint]:
        law = {bool: "true or false", int: "a whole number", float: "a number", str: "a word"}[hint]
        raise RecipeError(f"{where}: {value!r} should be {law}")
    return hint(value)


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _joined(where: str, key: Any) -> str:
    return f"{where}.{key}" if where else str(key)
