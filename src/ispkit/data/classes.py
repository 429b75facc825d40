"""`LabelledPictures`: pictures with what is in them, read lazily, split reproducibly; and readers of classes.

Layouts: a folder a class (ImageNet, CIFAR-10 as pictures; a folder or a zip), a flat folder with a table, and the
binary batches of CIFAR-10.
"""

from __future__ import annotations

import csv
import zipfile
from collections.abc import Iterable, Sequence
from functools import partial
from io import BytesIO
from pathlib import Path, PurePosixPath

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ispkit.core.errors import FileError, ParamError
from ispkit.data.labelled_set import LabelledPicture, LabelledPictures
from ispkit.data.pairs_files import folder_of
from ispkit.io.binary import read_bytes
from ispkit.io.read_pictures import read_picture

PICTURES = (".jpg", ".jpeg", ".png", ".tif", ".tiff")
TABLE = "labels.tsv"
CIFAR10 = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
_SIDE = 32
_RECORD = 1 + 3 * _SIDE * _SIDE
_MAX_ZIPPED = 1 << 30
_TRAIN, _TEST = "data_batch_*.bin", "test_batch.bin"


def read_classes(source: str | Path, *, split: str = "") -> LabelledPictures:
    """Pictures with a class each, whatever the layout: told by what is there.

    A zip or a folder with a folder of pictures a class (`split` names a folder above, such as "train"), a folder with
    `labels.tsv`, or one with the binary batches of CIFAR-10 (`split` "train" or "test"). Raises `FileError`.
    """
    path = Path(source)
    if path.suffix.lower() == ".zip":
        return read_class_zip(path)
    folder = folder_of(path, "pictures with classes")
    if (folder / TABLE).is_file():
        return read_class_table(folder)
    if any(folder.glob(_TRAIN)) or (folder / _TEST).is_file():
        return read_cifar_batches(folder, test=split == "test")
    return read_class_folders(folder / split if split else folder)


def read_class_folders(folder: str | Path, *, names: Sequence[str] | None = None) -> LabelledPictures:
    """A folder of pictures a class, as ImageNet is: `folder/n01440764/n01440764_18.JPEG`, at any depth below.

    Classes are numbered in the order of their folders' names, which for ImageNet is the usual one, or as `names` (of
    folders) tells. Raises `FileError`.
    """
    room = folder_of(folder, "a folder of pictures a class")
    files = [(path.relative_to(room).parts[0], path) for path in files_below(room, PICTURES) if path.parent != room]
    order = class_order(room, [word for word, _ in files], names)
    return LabelledPictures([_of_file(path, room, order[word]) for word, path in files], tuple(order))


def read_class_table(folder: str | Path, *, table: str = TABLE, classes: int | None = None) -> LabelledPictures:
    """A folder of pictures with a table of tab-separated columns `file`, `class_index_0based` and perhaps `name`.

    Classes that no picture has are called "class 17"; `classes` says how many there are (default: as many as the
    table needs). Raises `FileError`.
    """
    room = folder_of(folder, "pictures with a table of their classes")
    rows = table_rows(room / table, classes)
    names = [f"class {i}" for i in range(classes or 1 + max(index for _, index, _ in rows))]
    for _, index, name in rows:
        names[index] = name or names[index]
    items = [LabelledPicture(file, partial(picture_of, str(room / file)), index) for file, index, _ in rows]
    return LabelledPictures(items, tuple(names))


def read_class_zip(path: str | Path) -> LabelledPictures:
    """A zip with a folder of pictures a class, such as CIFAR-10 as pictures; it is held in memory, still packed.

    The class is the name of the folder that a picture is in. Raises `FileError`.
    """
    file = Path(path)
    try:
        with zipfile.ZipFile(file) as packed:
            inside = [i for i in packed.infolist() if PurePosixPath(i.filename).suffix.lower() in PICTURES]
            if sum(i.file_size for i in inside) > _MAX_ZIPPED:
                raise FileError(f"{file}: more than {_MAX_ZIPPED >> 30} GiB of pictures; unpack it and give the folder")
            content = {i.filename: packed.read(i) for i in sorted(inside, key=lambda i: i.filename)}
    except (OSError, zipfile.BadZipFile, zipfile.LargeZipFile, RuntimeError, NotImplementedError, EOFError) as error:
        raise FileError(f"{file}: cannot be read as a zip of pictures ({error})") from error
    words = {name: PurePosixPath(name).parent.name for name in content}
    order = class_order(file, [word for word in words.values() if word], None)
    items = [
        LabelledPicture(name, partial(picture_of, data), order[words[name]])
        for name, data in content.items()
        if words[name]
    ]
    return LabelledPictures(items, tuple(order))


def read_cifar_batches(folder: str | Path, *, test: bool = False) -> LabelledPictures:
    """CIFAR-10 as cs.toronto.edu/~kriz/cifar.html packs it for C: `data_batch_1.bin` ..., or `test_batch.bin`.

    A record is a byte of label and 3072 of pixels: red, green, blue, each row by row. Raises `FileError`.
    """
    room = folder_of(folder, "the binary version of CIFAR-10 (cifar-10-batches-bin)")
    files = sorted(room.glob(_TEST if test else _TRAIN))
    if not files:
        raise FileError(f"{room}: no {_TEST if test else _TRAIN}; unpack cifar-10-binary.tar.gz and give its folder")
    items: list[LabelledPicture] = []
    for file in files:
        data = np.frombuffer(read_bytes(file), np.uint8)
        if len(data) % _RECORD or not len(data):
            raise FileError(f"{file}: {len(data)} bytes are no whole number of records of {_RECORD}: truncated")
        table = data.reshape(-1, _RECORD)
        if table[:, 0].max() >= len(CIFAR10):
            raise FileError(f"{file}: a label of {table[:, 0].max()}; CIFAR-10 has 0 to 9")
        pixels = torch.from_numpy(table[:, 1:].copy()).reshape(-1, 3, _SIDE, _SIDE)
        items += [
            LabelledPicture(f"{file.stem}/{i:05d}", partial(_scaled, pixels[i]), int(table[i, 0]))
            for i in range(len(table))
        ]
    return LabelledPictures(items, CIFAR10)


def central(picture: Tensor, side: int, *, share: float = 0.875) -> Tensor:
    """The square in the middle, `share` of the shorter side, resized: how ImageNet's classifiers are judged.

    (B, 3, H, W) -> (B, 3, side, side), bilinear, with a low-pass where the picture gets smaller. Raises `ParamError`.
    """
    if not 0 < share <= 1 or side < 1:
        raise ParamError(f"share={share:g} must be in (0, 1] and side={side} at least 1")
    height, width = picture.shape[-2:]
    edge = max(1, round(min(height, width) * share))
    top, left = (height - edge) // 2, (width - edge) // 2
    middle = picture[..., top : top + edge, left : left + edge]
    size = (side, side)
    return F.interpolate(middle, size=size, mode="bilinear", align_corners=False, antialias=True).clamp(0, 1)


def picture_of(source: str | bytes) -> Tensor:
    """(1, 3, H, W) encoded, in [0, 1], of a picture's file or its bytes. Raises `FileError`."""
    pixels = read_picture(BytesIO(source) if isinstance(source, bytes) else source).pixels
    return torch.from_numpy(pixels).permute(2, 0, 1)[None]


def files_below(room: Path, endings: Sequence[str]) -> list[Path]:
    """The files below a folder, at any depth, that end so, in the order of their names; hidden ones left out."""
    found = (p for p in room.rglob("*") if p.suffix.lower() in endings and not p.name.startswith("."))
    return sorted(p for p in found if p.is_file())


def class_order(place: Path, words: Iterable[str], names: Sequence[str] | None) -> dict[str, int]:
    """Class word -> number, sorted, or as `names` tells. Raises `FileError` without any, or for one not in `names`."""
    found = sorted(set(words))
    if not found:
        raise FileError(f"{place}: no folders with files of a class; it needs one folder a class")
    strange = [word for word in found if names is not None and word not in names]
    if strange:
        raise FileError(f"{place}: the class {strange[0]!r} is not in the list of names")
    return {word: i for i, word in enumerate(found if names is None else names)}


def table_rows(path: Path, classes: int | None) -> list[tuple[str, int, str]]:
    """(file, class, name) of every line of a table. Raises `FileError` with the line."""
    try:
        with path.open(encoding="utf-8", newline="") as file:
            rows = list(csv.DictReader(file, delimiter="\t"))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise FileError(f"{path}: cannot be read as a table of classes ({error})") from error
    if not rows or not {"file", "class_index_0based"} <= set(rows[0]):
        raise FileError(f"{path}: needs the columns file and class_index_0based, separated by tabs, and a line a file")
    found = []
    for line, row in enumerate(rows, 2):
        word = str(row["class_index_0based"])
        if not row["file"] or not word.isdecimal() or (classes is not None and int(word) >= classes):
            law = "0 and above" if classes is None else f"0 to {classes - 1}"
            raise FileError(f"{path}:{line}: class {word!r} of file {row['file']!r} should be a number of {law}")
        found.append((str(row["file"]), int(word), str(row.get("name") or "")))
    return found


def _of_file(path: Path, room: Path, label: int) -> LabelledPicture:
    return LabelledPicture(path.relative_to(room).as_posix(), partial(picture_of, str(path)), label)


def _scaled(pixels: Tensor) -> Tensor:
    return pixels[None].float() / 255
