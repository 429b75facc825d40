"""Reader for Adobe/IRIDAS .cube 3D lookup tables (Cube LUT Specification 1.0)."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from ispkit.core.errors import FileError

_MAX_SIZE = 256  # the specification's limit


def read_cube(path: str | Path) -> Tensor:
    """The table (N, N, N, 3) float32, indexed [blue, green, red]. Raises `FileError`.

    Only the default domain [0, 1] is supported; another one is refused rather than ignored.
    """
    try:
        lines = Path(path).read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise FileError(f"{path}: cannot be read as a .cube text file ({error})") from error
    size, rows = 0, []
    for number, line in enumerate(lines, 1):
        words = line.split("#")[0].split()
        if not words:
            continue
        if words[0][0].isalpha():
            size = _keyword(f"{path}:{number}", words, size)
        else:
            rows.append(_entry(f"{path}:{number}", words))
    if size == 0 or len(rows) != size**3:
        raise FileError(f"{path}: a 3D .cube of LUT_3D_SIZE {size} needs {size**3} rows, found {len(rows)}")
    return torch.tensor(rows, dtype=torch.float32).reshape(size, size, size, 3)


def _keyword(where: str, words: list[str], size: int) -> int:
    if words[0] == "LUT_3D_SIZE":
        if len(words) != 2 or not words[1].isdigit() or not 2 <= int(words[1]) <= _MAX_SIZE:
            raise FileError(f"{where}: LUT_3D_SIZE needs one number from 2 to {_MAX_SIZE}, got {' '.join(words[1:])!r}")
        return int(words[1])
    if words[0] == "LUT_1D_SIZE":
        raise FileError(f"{where}: this is a 1D .cube; a 3D one is needed")
    wanted = {"DOMAIN_MIN": [0.0] * 3, "DOMAIN_MAX": [1.0] * 3}.get(words[0])
    if wanted is not None and _entry(where, words[1:]) != wanted:
        raise FileError(f"{where}: {' '.join(words)} is not supported; the domain must be 0 to 1")
    return size


def _entry(where: str, words: list[str]) -> list[float]:
    try:
        values = [float(w) for w in words]
    except ValueError:
        values = []
    if len(values) != 3:
        raise FileError(f"{where}: expected three numbers, got {' '.join(words)!r}")
    return values
