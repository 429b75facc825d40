"""Pictures with regions: a label picture each, whose values are the classes of the pixels.

Layouts, told by the folders that are there: CamVid as SegNet packs it (`images`, `labels12`), Pascal VOC
(`JPEGImages`, `SegmentationClass`), COCO as pictures (`images`, `semantic` with a YAML file of `classes:`), or any
two folders of one's own.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from numpy.typing import NDArray
from torch import Tensor

from ispkit.core.errors import FileError
from ispkit.data.classes import PICTURES, picture_of
from ispkit.data.labelled_set import LabelledPicture, LabelledPictures
from ispkit.data.pairs_files import folder_of, lines
from ispkit.io.binary import read_bytes

CAMVID = (
    "sky", "building", "pole", "road", "pavement", "tree", "sign symbol", "fence", "car", "pedestrian", "bicyclist",
)  # fmt: skip
"""the eleven classes that count; value 11 is "unlabelled" """
VOC = (
    "background", "aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow", "diningtable",
    "dog", "horse", "motorbike", "person", "pottedplant", "sheep", "sofa", "train", "tvmonitor",
)  # fmt: skip
COCO_AS_VOC: Mapping[str, str] = {
    "airplane": "aeroplane",
    "motorcycle": "motorbike",
    "couch": "sofa",
    "potted plant": "pottedplant",
    "dining table": "diningtable",
    "tv": "tvmonitor",
}
"""for `LabelledPictures.renamed`; everything that VOC does not name is its background"""
_VALUES = 256


@dataclass(frozen=True)
class RegionLayout:
    """Where the files of a set of regions are and what the values of a label picture mean."""

    pictures: str
    """folder"""
    labels: str
    """folder of PNG files of the same names: gray of 8 bits, or with a palette, whose indices count"""
    names: tuple[str, ...] = ()
    """of the values 0, 1, ...; other values do not count. Empty: those of a YAML file with `classes:`"""


LAYOUTS = (
    RegionLayout("images", "labels12", CAMVID),
    RegionLayout("JPEGImages", "SegmentationClass", VOC),
    RegionLayout("images", "semantic"),
    RegionLayout("images", "labels"),
    RegionLayout("images", "masks"),
)


def read_regions(folder: str | Path, *, layout: RegionLayout | None = None, split: str = "") -> LabelledPictures:
    """Pictures with the class of each pixel: labels (H, W) int64, -1 where a pixel does not count.

    Without `layout` it is the first of `LAYOUTS` whose two folders are there. `split` names a list of names in
    `ImageSets/Segmentation`, as VOC has them ("train", "val"). A YAML file's `classes:` is a list of names, or a
    mapping of value to name, which need not be without gaps; one called "unlabeled" does not count. Every picture
    needs its labels. Raises `FileError`.
    """
    room = folder_of(folder, "pictures with regions")
    where = layout or _found(room)
    values = dict(enumerate(where.names)) if where.names else _classes(room)
    order = {value: i for i, value in enumerate(sorted(values))}
    lookup = tuple(order.get(value, -1) for value in range(_VALUES))
    pictures = {p.stem: p for p in sorted((room / where.pictures).glob("*")) if p.suffix.lower() in PICTURES}
    chosen = lines(room / "ImageSets" / "Segmentation" / f"{split}.txt") if split else list(pictures)
    if not chosen:
        raise FileError(f"{room / where.pictures}: no pictures ({', '.join(PICTURES)}) in this folder")
    items = []
    for stem in chosen:
        label = room / where.labels / f"{stem}.png"
        if stem not in pictures or not label.is_file():
            raise FileError(f"{room}: {stem!r} has no picture in {where.pictures}/ or no {where.labels}/{stem}.png")
        path = pictures[stem]
        items.append(
            LabelledPicture(path.name, partial(picture_of, str(path)), partial(regions_of, str(label), lookup))
        )
    return LabelledPictures(items, tuple(values[v] for v in sorted(values)))


def regions_of(path: str, lookup: Sequence[int]) -> Tensor:
    """(H, W) int64: the values of a label picture, translated by `lookup` (256 numbers). Raises `FileError`."""
    return torch.from_numpy(np.asarray(lookup, dtype=np.int64)[_indices(path)])


def _found(room: Path) -> RegionLayout:
    for layout in LAYOUTS:
        if (room / layout.pictures).is_dir() and (room / layout.labels).is_dir():
            return layout
    known = "; ".join(f"{one.pictures} and {one.labels}" for one in LAYOUTS)
    raise FileError(f"{room}: none of the known pairs of folders is here ({known}); pass layout=RegionLayout(...)")


def _classes(room: Path) -> dict[int, str]:
    """Value -> name of the first YAML file that tells."""
    for path in sorted([*room.glob("*.yaml"), *room.glob("*.yml")]):
        try:
            content: Any = yaml.safe_load(path.read_text(encoding="utf-8"))
        except (OSError, UnicodeDecodeError, yaml.YAMLError):
            continue
        classes = content.get("classes") if isinstance(content, Mapping) else None
        if isinstance(classes, list):
            classes = dict(enumerate(classes))
        if isinstance(classes, Mapping) and all(isinstance(k, int) and 0 <= k < _VALUES for k in classes):
            return {k: str(name) for k, name in classes.items() if str(name).lower() not in ("unlabeled", "unlabelled")}
    raise FileError(
        f"{room}: no YAML file with the `classes:` of the labels; add one, or pass layout=RegionLayout(...)"
    )


def _indices(path: str) -> NDArray[np.uint8]:
    from PIL import Image

    try:
        # Pillow, for it alone tells the indices of a palette
        with Image.open(BytesIO(read_bytes(path)), formats=["PNG"]) as picture:
            mode, values = picture.mode, np.asarray(picture)
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        if isinstance(error, FileError):
            raise
        raise FileError(f"{path}: cannot be read as a PNG of labels ({error})") from error
    if mode not in ("L", "P") or values.dtype != np.uint8:
        raise FileError(f"{path}: a label picture is gray of 8 bits or has a palette; this one is {mode}")
    return values
