"""Pictures and residuals of a study, named by their content: written once, whole, and checked when read."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ispkit.core.errors import FileError
from ispkit.io.atomic import write_bytes
from ispkit.io.png import encode_png, read_png
from ispkit.tune.contracts import Residual

Picture = NDArray[np.uint8]


class ArtifactStore:
    """`pictures/<sha256>.png` and `residuals/<sha256>.npy` under one folder; the digest is of the file's bytes."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def keep_picture(self, picture: Picture) -> str:
        """Store uint8 (H, W, 3) without loss and give its digest. Raises `FileError`."""
        if picture.dtype != np.uint8 or picture.ndim != 3 or picture.shape[2] != 3:
            raise FileError(f"a picture to keep is uint8 (H, W, 3), got {picture.dtype} {picture.shape}")
        return self._keep("pictures", b"".join(encode_png(np.ascontiguousarray(picture), None, None)), ".png")

    def keep_residual(self, residual: Residual) -> str:
        """Store a float32 vector (m,) and give its digest. Raises `FileError`."""
        buffer = io.BytesIO()
        np.save(buffer, np.ascontiguousarray(residual, dtype=np.float32), allow_pickle=False)
        return self._keep("residuals", buffer.getvalue(), ".npy")

    def picture(self, digest: str) -> Picture:
        """Read a picture back. Raises `FileError` if it is missing or was changed."""
        return np.asarray(read_png(self._read(self.picture_path(digest))).samples, dtype=np.uint8)

    def pictures(self, digests: Sequence[str]) -> tuple[Picture, ...]:
        """Several pictures, in order."""
        return tuple(self.picture(d) for d in digests)

    def residual(self, digest: str) -> Residual:
        """Read a residual back. Raises `FileError` if it is missing or was changed."""
        loaded: NDArray[Any] = np.load(io.BytesIO(self._read(self.residual_path(digest))), allow_pickle=False)
        return loaded.astype(np.float32, copy=False)

    def picture_path(self, digest: str) -> Path:
        """Where the picture of this digest lies."""
        return self.folder / "pictures" / f"{digest}.png"

    def residual_path(self, digest: str) -> Path:
        """Where the residual of this digest lies."""
        return self.folder / "residuals" / f"{digest}.npy"

    def adopt(self, other: ArtifactStore, *, pictures: Sequence[str], residual: str | None) -> None:
        """Copy artifacts of another run folder into this one, those that are still there."""
        paths = [other.picture_path(d) for d in pictures] + ([other.residual_path(residual)] if residual else [])
        for path in paths:
            if path.is_file():
                self._keep(path.parent.name, path.read_bytes(), path.suffix)

    def _keep(self, kind: str, data: bytes, ending: str) -> str:
        digest = hashlib.sha256(data).hexdigest()
        path = self.folder / kind / f"{digest}{ending}"
        if not path.is_file():
            path.parent.mkdir(parents=True, exist_ok=True)
            write_bytes(path, data)
        return digest

    @staticmethod
    def _read(path: Path) -> bytes:
        try:
            data = path.read_bytes()
        except OSError as error:
            raise FileError(f"{path}: cannot be read ({error.strerror}); the run folder is not complete") from error
        if hashlib.sha256(data).hexdigest() != path.stem:
            raise FileError(f"{path}: its content does not fit its name; the file was changed, delete it")
        return data
