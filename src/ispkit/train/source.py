"""What a source of samples is, and how the options of several dataclasses stand beside each other in a recipe."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Literal, Protocol, TypeVar

from ispkit.core.errors import RecipeError, nearest
from ispkit.train.fields import build
from ispkit.train.mimic import Count
from ispkit.train.stream import SampleSet

Split = Literal["train", "val", "test", "all"]
Kind = TypeVar("Kind")
_HELD_OUT_SEED = 1_000_003
"""added to the seed for held-out data, so that their noise is never that of training"""


@dataclass(frozen=True)
class Opening:
    """What a source is opened with."""

    seed: int
    targets: Path
    """folder for pictures that are rendered once"""
    learning: bool = True
    """False: to judge on; windows are then the middle, and always the same"""
    progress: Count | None = None

    @property
    def own_seed(self) -> int:
        """Of the noise: judging data have another one than what is learned from."""
        return self.seed + (0 if self.learning else _HELD_OUT_SEED)


class Source(Protocol):
    """The options of a source of samples."""

    def open(self, opening: Opening) -> SampleSet:
        """The data set. Raises `FileError`, `ParamError`, `RecipeError`."""


def given(name: str, value: str | None) -> str:
    """The value of an option that has no default. Raises `RecipeError`."""
    if value is None:
        raise RecipeError(f"data.{name} is missing; name it in the recipe or pass --data DIR")
    return value


def words_of(kind: type[Any], inner: str | None = None) -> list[str]:
    """The options of a source; `inner` is a field whose own options stand beside them."""
    own = [f.name for f in fields(kind) if f.name != inner]
    beside = [] if inner is None else [f.name for f in fields(_type_of(kind, inner))]
    return [*own, *beside]


def read_flat(kind: type[Kind], inner: str, where: str, content: Mapping[str, Any]) -> Kind:
    """A source whose field `inner` is a dataclass, from options that stand side by side. Raises `RecipeError`."""
    known = words_of(kind, inner)
    for key in content:
        if key not in known:
            raise RecipeError(f"{where}.{key}: unknown name; {nearest(str(key), known)}")
    own = {f.name for f in fields(kind)} - {inner}  # type: ignore[arg-type]
    settings = build(_type_of(kind, inner), where, {k: v for k, v in content.items() if k not in own})
    source = build(kind, where, {k: v for k, v in content.items() if k in own})
    return kind(**{**{n: getattr(source, n) for n in own}, inner: settings})


def _type_of(kind: type[Any], inner: str) -> type[Any]:
    factory: Any = next(f.default_factory for f in fields(kind) if f.name == inner)
    made: type[Any] = factory
    return made
