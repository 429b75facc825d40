"""Finished pictures as RAW samples made on the fly: another camera, light, noise and window each time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.utils.data import Dataset

from ispkit.core.errors import ShapeError
from ispkit.data.augment import Turn, draw_turn, item_seed, turned
from ispkit.data.samples import Sample
from ispkit.data.synthetic_raw import Maker, RawMaker, SyntheticSettings, checked_views, draw_views


class SyntheticPairs(Dataset[Sample]):
    """Patches of finished pictures as RAW, with the picture and its linear light as targets.

    `pictures` are (1, 3, H, W) encoded sRGB by name: floating point in [0, 1], or uint8, which takes a quarter of the
    memory. `targets` of the same names and sizes take their place as what is to be learned (enhanced pictures); the
    RAW is always of `pictures`. Item i of epoch n depends on (seed, n, i) only. `frame.meta.baseline_exposure` tells
    how many EV the RAW is too dark, and the noise profile what the noise is; `restored` is linear sRGB before noise,
    at the brightness of the picture. Raises `ParamError`, `ShapeError`.

    `maker` makes other frames than RAW (`data.degrade.Degrader`); of the settings, patch, turn and windows then count.
    With `views` a picture's window is shown so many times under conditions of their own, one after the other.

    ```python
    pairs = SyntheticPairs(read_pictures("photos"), SyntheticSettings(sensor="nexus-6p-rear", exposure=(0.25, 0.25)))
    sample = pairs.batch(range(16))
    ```
    """

    def __init__(
        self,
        pictures: Mapping[str, Tensor],
        settings: SyntheticSettings | None = None,
        *,
        targets: Mapping[str, Tensor] | None = None,
        maker: Maker[Any] | None = None,
        views: int = 1,
        seed: int = 0,
    ) -> None:
        self.settings = settings or SyntheticSettings()
        self.pictures, self.targets = dict(pictures), None if targets is None else dict(targets)
        self.seed, self.epoch = seed, 0
        self.maker: Maker[Any] = maker or RawMaker(self.settings)
        self.views = checked_views(views)
        self._names = list(self.pictures)
        _check_pictures(self.pictures, self.targets, self.settings.patch)

    def set_epoch(self, epoch: int) -> None:
        """Make other samples; call it before each epoch."""
        self.epoch = epoch

    def __len__(self) -> int:
        return len(self._names) * self.settings.windows

    def __getitem__(self, index: int) -> Sample:
        if not 0 <= index < len(self):  # ends a plain `for` loop
            raise IndexError(f"item {index} of {len(self)} samples")
        return self.batch([index])

    def batch(self, indices: Sequence[int]) -> Sample:
        """Several items at once, faster than one by one; equal to them but for the rounding of sums."""
        if not indices:
            raise ShapeError("a batch needs at least one index")
        drawn = [self._drawn(int(i)) for i in indices]
        conditions = [view for d in drawn for view in d.conditions]
        frame, truth = self.maker.make(torch.cat([d.picture for d in drawn]), conditions)
        target = torch.cat([d.target for d in drawn for _ in range(self.views)]).to(frame.data.device)
        names = tuple(d.name for d in drawn for _ in range(self.views))
        return Sample(names, frame, target, truth.linear, views=self.views)

    def _drawn(self, index: int) -> _Drawn:
        s = self.settings
        seed = item_seed(self.seed, self.epoch, index)
        chance = torch.Generator().manual_seed(seed)
        name = self._names[index % len(self._names)]
        source = self.pictures[name]
        room = [have - want for have, want in zip(source.shape[-2:], s.patch, strict=True)]
        y, x = (int(torch.randint(r + 1, (), generator=chance)) for r in room)
        turn = draw_turn(chance, square=s.patch[0] == s.patch[1]) if s.turn else Turn()
        window = (..., slice(y, y + s.patch[0]), slice(x, x + s.patch[1]))
        picture = turned(floating(source[window]), turn)
        target = picture if self.targets is None else turned(floating(self.targets[name][window]), turn)
        conditions = draw_views(self.maker, chance, seed, self.views)
        return _Drawn(f"{name.replace('@', '-')}@y={y},x={x}", picture, target, conditions)


class _Drawn(NamedTuple):
    """One item before its frames are made."""

    name: str
    picture: Tensor
    target: Tensor
    conditions: list[Any]
    """one a view"""


def floating(picture: Tensor) -> Tensor:
    """A picture of 8-bit codes, or of floating point clipped, as float32 in [0, 1]."""
    return picture.float() / 255 if picture.dtype == torch.uint8 else picture.float().clamp(0, 1)


def _check_pictures(pictures: Mapping[str, Tensor], targets: Mapping[str, Tensor] | None, patch: Sequence[int]) -> None:
    if not pictures:
        raise ShapeError("no pictures to make samples of; give at least one")
    for name, picture in pictures.items():
        if (
            picture.ndim != 4
            or picture.shape[:2] != (1, 3)
            or any(have < want for have, want in zip(picture.shape[-2:], patch, strict=True))
        ):
            want = f"(1, 3, H, W) of at least {patch[0]}x{patch[1]} pixels"
            raise ShapeError(f"picture {name!r} must be {want}, got {tuple(picture.shape)}")
        if targets is not None and (name not in targets or targets[name].shape != picture.shape):
            got = tuple(targets[name].shape) if name in targets else "none"
            raise ShapeError(f"picture {name!r}: its target must be {tuple(picture.shape)} as it is, got {got}")
