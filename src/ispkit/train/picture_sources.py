"""Finished pictures as sources of training: made RAW on the fly, or spoiled by a badly set ISP."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from torch import Tensor

from ispkit.data.pairs_files import EmptySplitError, held_out_names
from ispkit.data.project_pictures import project_pictures
from ispkit.data.synthetic_pairs import SyntheticPairs
from ispkit.data.synthetic_raw import SyntheticSettings, checked_views
from ispkit.data.targets import finished_pictures
from ispkit.data.tuning_sets import read_pictures
from ispkit.train.degradations import Given, degrader_of, read_degradation
from ispkit.train.source import Opening, Split, given, read_flat


@dataclass(frozen=True)
class Pictures:
    """Which finished pictures."""

    pictures: str | None = None
    """a folder, or "project" for pictures that the toolkit makes itself"""
    count: int = 24
    """of the project's pictures"""
    size: tuple[int, int] = (512, 512)
    """of the project's pictures"""
    split: Split = "train"
    held_out: float = 0.1
    """share of the pictures for testing"""

    def pick(self) -> dict[str, Tensor]:
        """One side of the split by name. Raises `FileError`, `RecipeError`."""
        name = given("pictures", self.pictures)
        pictures = project_pictures(self.count, self.size) if name == "project" else read_pictures(name)
        return {n: pictures[n] for n in _share(list(pictures), self.split, self.held_out)}


@dataclass(frozen=True)
class Synthetic(Pictures):
    """Finished pictures turned into RAW on the fly; the other options are those of `data.SyntheticSettings`."""

    finish: Literal["picture", "auto"] = "picture"
    """auto: what is to be learned is the picture after `data.targets.auto_enhance`, so that there is a look to learn"""
    settings: SyntheticSettings = field(default_factory=SyntheticSettings)

    def open(self, opening: Opening) -> SyntheticPairs:
        """Judging data have a seed of their own."""
        shown = self.pick()
        looks = finished_pictures(shown) if self.finish == "auto" else None
        return SyntheticPairs(shown, self.settings, targets=looks, seed=opening.own_seed)

    @staticmethod
    def read(where: str, content: Mapping[str, Any]) -> Synthetic:
        """The fields of the settings stand beside the source's own."""
        return read_flat(Synthetic, "settings", where, content)


@dataclass(frozen=True)
class Degraded(Pictures):
    """Finished pictures as a badly set ISP shows them, made on the fly: DISPLAY_RGB frames, the picture as target."""

    degradation: Given = "paper"
    """a name of `data.degrade.DEGRADATIONS`, or a mapping as `train.degradations` reads it"""
    patch: tuple[int, int] = (128, 128)
    """height, width, even"""
    turn: bool = True
    """mirror and (square patches) rotate the picture"""
    windows: int = 1
    """of each picture in an epoch"""
    views: int = 1
    """degradations of each window; judged is one"""
    device: str = "cpu"
    """where the ISP and JPEG run; a GPU needs `workers: 0`"""

    def __post_init__(self) -> None:
        read_degradation(self.degradation)
        checked_views(self.views)

    def open(self, opening: Opening) -> SyntheticPairs:
        """Judging data have a seed of their own."""
        settings = SyntheticSettings(patch=self.patch, turn=self.turn, windows=self.windows)
        maker = degrader_of(self.degradation, self.device)
        views = self.views if opening.learning else 1
        return SyntheticPairs(self.pick(), settings, maker=maker, views=views, seed=opening.own_seed)


def _share(names: list[str], split: Split, held_out: float) -> list[str]:
    """The names of one side of a split; "val" is "test"."""
    kept = held_out_names(names, held_out)
    if split == "all" or (split == "train" and not kept):
        return names
    found = [n for n in names if (n in kept) == (split != "train")]
    if not found:
        raise EmptySplitError(f"held_out={held_out:g} of {len(names)} leaves no picture for split {split!r}")
    return found
