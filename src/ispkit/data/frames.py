"""RAW files as a PyTorch data set, and how frames make a batch."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from torch.utils.data import Dataset

from ispkit.core.errors import ShapeError
from ispkit.core.frame import Domain, Frame
from ispkit.io.load import load


class RawFrames(Dataset[Frame]):
    """Frames of RAW files, cropped to one size so that they can be batched.

    `crop` is (height, width), even numbers; a window is drawn at random from `seed`, epoch and index (the
    same every time), or is the middle where `seed` is None. It starts where the CFA reads `cfa`, so that files
    of different cameras share a batch. Without `crop` whole files come.

    ```python
    loader = DataLoader(RawFrames(paths, crop=(256, 256), seed=0), batch_size=8, collate_fn=collate_frames)
    ```
    """

    def __init__(
        self,
        paths: Sequence[str | Path],
        *,
        crop: tuple[int, int] | None = None,
        cfa: str = "RGGB",
        seed: int | None = None,
    ) -> None:
        self.paths = [Path(p) for p in paths]
        self.crop, self.cfa, self.seed, self.epoch = crop, cfa, seed, 0
        if crop is not None and (crop[0] % 2 or crop[1] % 2 or min(crop) < 2):
            raise ShapeError(f"crop={crop} must be even numbers of at least 2, so that windows keep their CFA")

    def set_epoch(self, epoch: int) -> None:
        """Draw other windows; call it before each epoch, as with a `DistributedSampler`."""
        self.epoch = epoch

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> Frame:
        frame = load(self.paths[index])
        return frame if self.crop is None else self._window(frame, index)

    def _window(self, frame: Frame, index: int) -> Frame:
        height, width = self.crop or frame.size
        if frame.domain is Domain.RAW:
            frame = aligned(frame, self.cfa)
        room = [(have - want) // 2 for have, want in zip(frame.size, (height, width), strict=True)]
        if min(room) < 0:
            raise ShapeError(f"{self.paths[index]}: {frame.size[0]}x{frame.size[1]} is less than {height}x{width}")
        if self.seed is None:
            y, x = (r // 2 for r in room)
        else:
            draw = (self.seed * 1_000_003 + self.epoch) * 1_000_003 + index
            generator = torch.Generator().manual_seed(draw % 2**63)
            y, x = (int(torch.randint(r + 1, (), generator=generator)) for r in room)
        return frame.crop(2 * y, 2 * x, height, width)


def aligned(frame: Frame, cfa: str) -> Frame:
    """The frame less its first row or column, so that its CFA reads `cfa`."""
    height, width = frame.size
    for y in (0, 1):
        for x in (0, 1):
            moved = frame.crop(y, x, (height - y) // 2 * 2, (width - x) // 2 * 2)
            if moved.meta.cfa == cfa:
                return moved
    raise ShapeError(f"cfa={cfa!r} cannot be reached from {frame.meta.cfa!r}; use RGGB, BGGR, GRBG or GBRG")


def collate_frames(frames: Sequence[Frame]) -> Frame:
    """`Frame.cat` under the name that a DataLoader asks for."""
    return Frame.cat(frames)
