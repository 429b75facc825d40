"""Pictures with boxes, as two kinds of data sets store them: YOLO text files and KITTI labels."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import yaml
from torch import Tensor

from ispkit.core.errors import FileError
from ispkit.data.boxes import Boxes
from ispkit.io.read_pictures import read_picture

KITTI = ("Car", "Van", "Truck", "Pedestrian", "Person_sitting", "Cyclist", "Tram", "Misc")
"""its classes; DontCare regions are left out"""
KITTI_AS_COCO: Mapping[str, str] = {
    "Van": "car",
    "Pedestrian": "person",
    "Person_sitting": "person",
    "Cyclist": "person",
    "Tram": "train",
}
"""for `Boxes.renamed`; a cyclist's box goes round rider and bicycle, COCO labels the two apart"""
_PICTURES = (".jpg", ".jpeg", ".png", ".tif", ".tiff")
_YOLO_FIELDS, _KITTI_FIELDS = 5, 8


@dataclass(frozen=True)
class Labelled:
    """One picture's file and what is in it."""

    path: Path
    boxes: Boxes
    """in pixels of the upright picture"""
    names: tuple[str, ...]
    """what the labels mean"""

    def picture(self) -> Tensor:
        """(1, 3, H, W) encoded, in [0, 1], read anew at each call."""
        return torch.from_numpy(read_picture(self.path).pixels).permute(2, 0, 1)[None]


def read_yolo(folder: str | Path, *, labels: str = "boxes_yolo", names: Sequence[str] | None = None) -> list[Labelled]:
    """The pictures of `folder/images` with the boxes of `folder/LABELS`, by name.

    A label file has a line "class x y width height" an object, center and size in units of the picture, class
    counted from 0. A picture without a label file has no objects. Without `names` they are those of a YAML file in
    the folder that has a `names:` list or mapping. Raises `FileError`.
    """
    room = Path(folder)
    known = tuple(names) if names is not None else _yolo_names(room)
    found = []
    for path in _pictures(room / "images"):
        height, width = read_picture(path).pixels.shape[:2]
        rows = _rows(room / labels / f"{path.stem}.txt", _YOLO_FIELDS, may_miss=True)
        boxes = [_yolo_box(at, v, height, width) for at, v in rows]
        found.append(Labelled(path, Boxes.make(boxes, [_class(at, v[0], known) for at, v in rows]), known))
    return found


def read_kitti(folder: str | Path) -> list[Labelled]:
    """The pictures of `folder/image_2` with the objects of `folder/label_2`, DontCare left out; labels are `KITTI`'s.

    Format: Geiger, Lenz, Urtasun, "Are we ready for autonomous driving?", CVPR 2012, and its development kit: type,
    truncation, occlusion, angle, then left, top, right, bottom of the box in pixels counted from 0. Raises `FileError`.
    """
    room = Path(folder)
    found = []
    for path in _pictures(room / "image_2"):
        rows = [r for r in _rows(room / "label_2" / f"{path.stem}.txt", _KITTI_FIELDS) if r[1][0] != "DontCare"]
        boxes = [[_number(at, word) for word in words[4:8]] for at, words in rows]
        labels = [_named(at, words[0]) for at, words in rows]
        found.append(Labelled(path, _ordered(path, boxes, labels), KITTI))
    return found


def _yolo_names(room: Path) -> tuple[str, ...]:
    for path in sorted([*room.glob("*.yaml"), *room.glob("*.yml")]):
        try:
            content: Any = yaml.safe_load(path.read_text(encoding="utf-8"))
        except (OSError, UnicodeDecodeError, yaml.YAMLError):
            continue
        names = content.get("names") if isinstance(content, Mapping) else None
        if isinstance(names, Mapping) and sorted(names) == list(range(len(names))):
            return tuple(str(names[i]) for i in range(len(names)))
        if isinstance(names, list):
            return tuple(str(name) for name in names)
    raise FileError(f"{room}: no YAML file with the classes' `names:`; add one, or pass names=[...]")


def _pictures(folder: Path) -> list[Path]:
    found = sorted(p for p in folder.glob("*") if p.suffix.lower() in _PICTURES)
    if not found:
        raise FileError(f"{folder}: no pictures ({', '.join(_PICTURES)}) in this folder")
    return found


def _rows(path: Path, fields: int, *, may_miss: bool = False) -> list[tuple[str, list[str]]]:
    """(place, words) of every line that is not empty."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        if may_miss:
            return []
        raise FileError(f"{path}: no such file; every picture needs its labels, an empty file if it has none") from None
    except (OSError, UnicodeDecodeError) as error:
        raise FileError(f"{path}: cannot be read as text ({error})") from error
    rows = [(f"{path}:{i}", line.split()) for i, line in enumerate(lines, 1) if line.strip()]
    for place, words in rows:
        if len(words) < fields:
            raise FileError(f"{place}: {len(words)} values; an object has at least {fields}")
    return rows


def _yolo_box(place: str, words: Sequence[str], height: int, width: int) -> list[float]:
    x, y, w, h = (_number(place, word) for word in words[1:_YOLO_FIELDS])
    if not (0 <= x <= 1 and 0 <= y <= 1 and 0 <= w <= 1 and 0 <= h <= 1):
        raise FileError(f"{place}: center and size of a YOLO box are in [0, 1], in units of the picture")
    return [(x - w / 2) * width, (y - h / 2) * height, (x + w / 2) * width, (y + h / 2) * height]


def _class(place: str, word: str, names: Sequence[str]) -> int:
    if not word.isdigit() or int(word) >= len(names):
        raise FileError(f"{place}: class {word!r} is not one of 0..{len(names) - 1}; check the list of names")
    return int(word)


def _named(place: str, word: str) -> int:
    if word not in KITTI:
        raise FileError(f"{place}: {word!r} is no class of KITTI ({', '.join(KITTI)}, DontCare)")
    return KITTI.index(word)


def _number(place: str, word: str) -> float:
    try:
        value = float(word)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise FileError(f"{place}: {word!r} is not a number")
    return value


def _ordered(path: Path, boxes: Sequence[Sequence[float]], labels: Sequence[int]) -> Boxes:
    for left, top, right, bottom in boxes:
        if right < left or bottom < top:
            raise FileError(f"{path.stem}.txt: box {left:g} {top:g} {right:g} {bottom:g} has its corners mixed up")
    return Boxes.make(boxes, labels)
