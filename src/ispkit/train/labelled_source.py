"""Labelled pictures as a source of training: read, split, made dark or rendered by an ISP, or spoiled by a bad one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from ispkit.core.errors import RecipeError
from ispkit.data.classes import read_classes
from ispkit.data.degrade import Degrader
from ispkit.data.labelled import read_yolo
from ispkit.data.labelled_pairs import Framing, LabelledPairs
from ispkit.data.labelled_set import LabelledPictures
from ispkit.data.regions import read_regions
from ispkit.data.rendered import Rendered
from ispkit.data.synthetic_raw import SyntheticSettings, checked_views
from ispkit.isp.catalog import open_isp
from ispkit.sensor.catalog import light_level
from ispkit.train.degradations import Given, degrader_of, read_degradation
from ispkit.train.source import Opening, Split, given, read_flat

_SPLIT_SEED = 0
"""of who is held out: the same pictures for every seed of a training"""


@dataclass(frozen=True)
class Labelled:
    """Pictures with labels, turned into RAW on the fly; the other options are those of `data.SyntheticSettings`."""

    pictures: str | None = None
    """a folder or zip, in a layout of `data.classes`, `data.labelled` (YOLO) or `data.regions`"""
    kind: Literal["classes", "boxes", "regions"] = "classes"
    names: tuple[str, ...] = ()
    """of the head's classes, by which labels are numbered; empty: as the pictures come"""
    split: Split = "train"
    held_out: float = 0.2
    """share of the pictures for testing, evenly over classes; 0 where the pictures have folders train and val"""
    level: str | None = None
    """the light, such as "2-20 lux": with it the sensor is that of Diamond et al. 2021, and the gain follows"""
    through: str | None = None
    """an ISP that `isp.catalog.open_isp` knows, which renders the frames before anything learns from them"""
    keep: int = 0
    """epochs whose rendered pictures are kept and come again, for slow ISPs; 0: each epoch is rendered anew"""
    degradation: Given | None = None
    """a badly set ISP in place of `level` and `through`, as source `degraded` has it; of the settings, patch counts"""
    views: int = 1
    """so many frames of each window, each with noise (and degradation) of its own; judged is one"""
    device: str = "cpu"
    """where a degradation's ISP and JPEG run; a GPU needs `workers: 0`"""
    framing: Framing = field(
        default_factory=lambda: Framing(area=(0.35, 1.0), aspect=(0.75, 1.33), place="random", mirror=True)
    )
    """of what is learned from; judged is the middle"""
    settings: SyntheticSettings = field(default_factory=SyntheticSettings)

    def __post_init__(self) -> None:
        checked_views(self.views)
        if self.degradation is None:
            return
        read_degradation(self.degradation)
        if self.level is not None or self.through is not None:
            raise RecipeError("degradation says light, noise and ISP; leave out level and through, or degradation")
        if self.settings != SyntheticSettings(patch=self.settings.patch):
            raise RecipeError("data.degradation says camera and noise; write them into it, or leave it out")

    def open(self, opening: Opening) -> LabelledPairs | Rendered:
        """Random windows to learn from, the middle to judge on."""
        pictures = self._split(given("pictures", self.pictures))
        if self.names:
            pictures = pictures.renamed(self.names)
        framing = self.framing if opening.learning else Framing(resize=self.framing.resize)
        views = self.views if opening.learning else 1
        data = LabelledPairs(
            pictures, self._settings(), framing, maker=self._maker(), views=views, seed=opening.own_seed
        )
        return data if self.through is None else Rendered(data, open_isp(self.through), keep=self.keep)

    @staticmethod
    def read(where: str, content: Mapping[str, Any]) -> Labelled:
        """The fields of the settings stand beside the source's own."""
        return read_flat(Labelled, "settings", where, content)

    def _split(self, path: str) -> LabelledPictures:
        if self.held_out == 0:
            return read_labelled(path, self.kind, "" if self.split == "all" else self.split)
        everything = read_labelled(path, self.kind)
        if self.split == "all":
            return everything
        kept, learned = everything.split(self.held_out, seed=_SPLIT_SEED)
        return learned if self.split == "train" else kept

    def _maker(self) -> Degrader | None:
        if self.degradation is None:
            return None
        return degrader_of(self.degradation, self.device)

    def _settings(self) -> SyntheticSettings:
        if self.level is None:
            return self.settings
        if self.settings.sensor is not None or self.settings.gain != SyntheticSettings.gain:
            raise RecipeError("data.level says sensor and gain; leave these two out, or level")
        light = light_level(self.level)
        return replace(self.settings, sensor="nexus-6p-rear", gain=(1 / light.high, 1 / light.low))


def read_labelled(path: str, kind: str, split: str = "") -> LabelledPictures:
    """Pictures with labels of a kind: "classes", "boxes" (YOLO) or "regions"; `split` is a folder of theirs.

    Raises `FileError`, `RecipeError` for a split of boxes.
    """
    return _READERS[kind](path, split)


def _classes(path: str, split: str) -> LabelledPictures:
    return read_classes(path, split=split)


def _boxes(path: str, split: str) -> LabelledPictures:
    if split:
        raise RecipeError("data.held_out: pictures with boxes have no folders of splits; give the share to hold out")
    return LabelledPictures.of_boxes(read_yolo(path))


def _regions(path: str, split: str) -> LabelledPictures:
    return read_regions(path, split=split)


_READERS = {"classes": _classes, "boxes": _boxes, "regions": _regions}
