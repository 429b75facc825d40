"""Where samples come from, by the name that a recipe gives: `pairs`, `synthetic`, `degraded`, ..."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ispkit.core.errors import RecipeError, nearest
from ispkit.data.pairs import PairSettings, RawPairs, pair_files
from ispkit.data.pairs_check import PairReport, check_pairs
from ispkit.data.pairs_files import EmptySplitError, chosen
from ispkit.data.pairs_read import Finish, Reading, Restore
from ispkit.train.config import Recipe
from ispkit.train.fields import build
from ispkit.train.labelled_source import Labelled
from ispkit.train.loop import Sets
from ispkit.train.mimic import Count, mimic_pairs, raw_files
from ispkit.train.picture_sources import Degraded, Synthetic
from ispkit.train.source import Opening, Source, Split, given, words_of
from ispkit.train.stream import SampleSet

_OTHER_WORDS = {"crop": "patch", "patch": "crop"}
"""what one source calls its windows, and another"""
_LOOKED_AT = 8  # pairs, before a training begins


@dataclass(frozen=True)
class PairWindows:
    """How windows are drawn from pairs of files."""

    crop: tuple[int, int] | None = None
    """height, width, even; None: whole pictures, one a batch"""
    cfa: str = "RGGB"
    turn: bool = True
    windows: int = 1
    """of each pair in an epoch"""
    keep_mb: float = 2000.0
    restore: Restore = "given"
    finish: Finish = "picture"
    denoise: float = 0.0
    method: str = "menon2007"
    border: int = 64

    def settings(self, *, learning: bool) -> PairSettings:
        """For the data set."""
        reading = Reading(self.restore, self.finish, self.denoise, self.method, self.border)
        windows = self.windows if learning else 1
        return PairSettings(self.crop, self.cfa, self.turn and learning, windows, self.keep_mb, reading)


@dataclass(frozen=True)
class Pairs(PairWindows):
    """RAW files with their pictures: a published data set, or any folder; options are those of `data.pairs`."""

    folder: str | None = None
    layout: str = "folder"
    """key of `data.pairs_layouts.LAYOUTS`"""
    split: Split = "train"
    layout_options: Mapping[str, Any] = field(default_factory=dict)
    """the layout's own, such as {pictures: DIR}, and held_out, the share for testing"""

    def open(self, opening: Opening) -> RawPairs:
        """Random windows to learn from, middle ones to judge on."""
        folder = given("folder", self.folder)
        files = pair_files(self.layout, folder, split=_split(self.split), options=self.layout_options)
        seed = opening.seed if opening.learning else None
        return RawPairs(files, self.settings(learning=opening.learning), seed=seed)


@dataclass(frozen=True)
class Mimic(PairWindows):
    """RAW files and what an ISP makes of them, rendered once into the run folder; the network learns to be that ISP."""

    folder: str | None = None
    """of RAW files"""
    isp: str = "neutral"
    """any name or file that `isp.catalog.open_isp` knows: rawtherapee, libraw, recipe.yaml, program.yaml, ..."""
    split: Split = "train"
    held_out: float = 0.1
    """share of the files for testing"""

    def open(self, opening: Opening) -> RawPairs:
        """Renders what is missing first, of this split only."""
        folder = given("folder", self.folder)
        files = chosen(raw_files(folder), _split(self.split), self.held_out)
        files = mimic_pairs(files, self.isp, opening.targets, progress=opening.progress)
        seed = opening.seed if opening.learning else None
        return RawPairs(files, self.settings(learning=opening.learning), seed=seed)


SOURCES: Mapping[str, Any] = {
    "pairs": Pairs,
    "synthetic": Synthetic,
    "degraded": Degraded,
    "mimic": Mimic,
    "labelled": Labelled,
}
"""name -> frozen dataclass of options that is a `Source`"""


def source_of(where: str, name: str, options: Mapping[str, Any]) -> Source:
    """A source with its options checked. Raises `RecipeError` naming the place."""
    if name not in SOURCES:
        raise RecipeError(f"{where}: no source {name!r}; {nearest(name, SOURCES)}")
    kind = SOURCES[name]
    for word, meant in _OTHER_WORDS.items():
        if word in options and word not in _words(kind) and meant in _words(kind):
            raise RecipeError(f"{where}.{word}: unknown name; did you mean {meant!r}? Source {name!r} calls it so")
    source: Source = kind.read(where, options) if hasattr(kind, "read") else build(kind, where, options)
    return source


def open_sets(recipe: Recipe, targets: Path, progress: Count | None = None) -> Sets:
    """The data that a recipe learns from and is judged on. Raises `RecipeError`, `FileError`, `ParamError`."""
    learn = source_of("data", recipe.data.source, recipe.data.options)
    if recipe.workers and str(recipe.data.options.get("device", "cpu")) != "cpu":
        raise RecipeError("workers: processes that read data cannot share a GPU; set workers=0, or data.device=cpu")
    judged = recipe.judged
    judge = None if judged is None else source_of("held_out", judged.source, judged.options)
    with _each_warning_once():
        train = learn.open(Opening(recipe.seed, targets, True, progress))
        try:
            held_out = None if judge is None else judge.open(Opening(recipe.seed, targets, False, progress))
        except EmptySplitError as error:
            remedy = "give more pairs, or train without judging: --set held_out=null"
            raise EmptySplitError(f"held_out: {error}; {remedy}") from error
    return Sets(train, held_out)


def check_data(recipe: Recipe, targets: Path, progress: Count | None = None) -> PairReport:
    """Every pair that a recipe learns from, looked at: damaged, of another size, shifted. Raises `RecipeError`."""
    learn = source_of("data", recipe.data.source, recipe.data.options).open(Opening(recipe.seed, targets))
    if not isinstance(learn, RawPairs):
        raise RecipeError(f"data: source {recipe.data.source!r} makes its pairs itself; there is nothing to check")
    return check_pairs(learn.files, learn.settings.reading, progress=progress)


def warn_of_pairs(data: SampleSet, warn: Callable[[str], None]) -> None:
    """Look at some pairs before a training begins: a shifted picture teaches blur, and nothing else tells it."""
    if not isinstance(data, RawPairs):
        return
    some = data.files[:: -(-len(data.files) // _LOOKED_AT)]
    for found in check_pairs(some, data.settings.reading).checks:
        if found.status in ("misaligned", "different"):
            warn(f"pair {found.name} is {found.status}: {found.detail}; --check looks at all pairs")


def folder_option(source: str) -> str:
    """The option that `--data DIR` fills."""
    return "pictures" if source in ("synthetic", "degraded", "labelled") else "folder"


def _words(kind: Any) -> list[str]:
    """The options of a source."""
    return words_of(kind, "settings" if kind in (Synthetic, Labelled) else None)


@contextmanager
def _each_warning_once() -> Iterator[None]:
    """Both sides of a split list the same files; what is wrong with these is told once."""
    told: set[str] = set()

    def first(record: logging.LogRecord) -> bool:
        new = record.getMessage() not in told
        told.add(record.getMessage())
        return new

    log = logging.getLogger(EmptySplitError.__module__)
    log.addFilter(first)
    try:
        yield
    finally:
        log.removeFilter(first)


def _split(split: Split) -> str | None:
    return None if split == "all" else split
