"""Labelled pictures as RAW samples made on the fly: what is in a picture stays known while its light is taken away."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, cast, get_args

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.data import Dataset

from ispkit.core.errors import ParamError, ShapeError, nearest
from ispkit.core.frame import Domain, Frame
from ispkit.core.meta import CameraMeta
from ispkit.data.augment import item_seed
from ispkit.data.boxes import Boxes
from ispkit.data.labelled_set import Label, LabelledPictures
from ispkit.data.samples import Labels, Sample
from ispkit.data.synthetic_raw import Maker, RawMaker, Span, SyntheticSettings, checked_views, draw_views

Place = Literal["center", "random"]
Resize = Literal["nearest", "bilinear"]
_TRIES = 10  # windows of the drawn shape that do not fit, before the whole picture is taken


@dataclass(frozen=True)
class Framing:
    """Which part of a picture is seen; it is stretched to the patch of the RAW.

    The default is the middle 87.5 % of each side, as ImageNet's classifiers are judged; Diamond et al. 2021 learn with
    `area=(0.05, 1), aspect=(0.75, 1.33), place="random", mirror=True, resize="nearest"`.
    """

    area: Span = (0.765625, 0.765625)
    """share of the picture's area, uniform"""
    aspect: Span = (1.0, 1.0)
    """width / height of the part in units of the picture's own, log-uniform"""
    place: Place = "center"
    mirror: bool = False
    """half of the pictures run from right to left"""
    resize: Resize = "bilinear"
    """bilinear with a low-pass where pictures get smaller, or the nearest pixel, which aliases"""

    def __post_init__(self) -> None:
        low, high = self.area
        if not 0 < low <= high <= 1:
            raise ParamError(f"area={list(self.area)} must be 0 < low <= high <= 1")
        if not 0 < self.aspect[0] <= self.aspect[1] < math.inf:
            raise ParamError(f"aspect={list(self.aspect)} must be 0 < low <= high")
        words = (("place", self.place, get_args(Place)), ("resize", self.resize, get_args(Resize)))
        for name, value, known in words:
            if value not in known:
                raise ParamError(f"{name}={value!r} is not known; {nearest(str(value), known)}")


class Window(NamedTuple):
    """A part of a picture."""

    y: int
    x: int
    height: int
    width: int
    mirrored: bool = False


class LabelledPairs(Dataset[Sample]):
    """Labelled pictures as RAW of `settings.patch`, with the picture as target and its label, which follows the window.

    Item i of epoch n depends on (seed, n, i) only. `settings.turn` and `settings.windows` do not count here. `maker`
    and `views` are those of `SyntheticPairs`. Raises `ShapeError` where there are no pictures, `ParamError`.
    """

    def __init__(
        self,
        pictures: LabelledPictures,
        settings: SyntheticSettings,
        framing: Framing | None = None,
        *,
        maker: Maker[Any] | None = None,
        views: int = 1,
        seed: int = 0,
    ) -> None:
        if not len(pictures):
            raise ShapeError("no labelled pictures to make samples of; give at least one")
        self.pictures, self.settings, self.framing = pictures, settings, framing or Framing()
        self.maker: Maker[Any] = maker or RawMaker(settings)
        self.views = checked_views(views)
        self.seed, self.epoch = seed, 0

    @property
    def names(self) -> tuple[str, ...]:
        """What the labels mean."""
        return self.pictures.names

    @property
    def classes(self) -> int:
        """How many classes a head must know; 0 where labels are no classes."""
        return self.pictures.classes

    @property
    def sparse(self) -> bool:
        """Whether labels are numbers of somebody's longer list."""
        return self.pictures.sparse

    def set_epoch(self, epoch: int) -> None:
        """Make other windows, light and noise; call it before each epoch."""
        self.epoch = epoch

    def __len__(self) -> int:
        return len(self.pictures)

    def __getitem__(self, index: int) -> Sample:
        if not 0 <= index < len(self):  # ends a plain `for` loop
            raise IndexError(f"item {index} of {len(self)} samples")
        return self.batch([index])

    def batch(self, indices: Sequence[int]) -> Sample:
        """Several items at once, faster than one by one; equal to them but for the rounding of sums."""
        drawn = self._all_drawn(indices)
        conditions = [view for d in drawn for view in d.conditions]
        frame, truth = self.maker.make(torch.cat([d.picture for d in drawn]), conditions)
        shown = [d for d in drawn for _ in range(self.views)]
        target = torch.cat([d.picture for d in shown]).to(frame.data.device)
        names, labels = tuple(d.name for d in shown), _batched([d.label for d in shown])
        return Sample(names, frame, target, truth.linear, labels, self.views)

    def clean(self, indices: Sequence[int]) -> Sample:
        """The same items in the light: the frame is the finished picture, DISPLAY_RGB; views are all the same."""
        drawn = [d for d in self._all_drawn(indices) for _ in range(self.views)]
        frames = [Frame(d.picture, Domain.DISPLAY_RGB, CameraMeta.make("RGGB", self.settings.patch)) for d in drawn]
        names, labels = tuple(d.name for d in drawn), _batched([d.label for d in drawn])
        target = torch.cat([d.picture for d in drawn])
        return Sample(names, Frame.cat(frames), target, labels=labels, views=self.views)

    def _all_drawn(self, indices: Sequence[int]) -> list[_Drawn]:
        if not indices:
            raise ShapeError("a batch needs at least one index")
        return [self._drawn(int(i)) for i in indices]

    def _drawn(self, index: int) -> _Drawn:
        seed = item_seed(self.seed, self.epoch, index)
        chance = torch.Generator().manual_seed(seed)
        item = self.pictures[index]
        picture = item.picture()
        window = draw_window(picture.shape[-2:], self.framing, chance)
        size = self.settings.patch
        label = framed_label(item.label, window, size)
        conditions = draw_views(self.maker, chance, seed, self.views)
        return _Drawn(item.name, framed(picture, window, size, self.framing.resize), label, conditions)


class _Drawn(NamedTuple):
    """One item before its frames are made."""

    name: str
    picture: Tensor
    label: Label
    conditions: list[Any]
    """one a view"""


def draw_window(size: Sequence[int], framing: Framing, chance: torch.Generator) -> Window:
    """A window of a picture of `size` (height, width) as `framing` says; the whole where none fits."""
    height, width = size
    for _ in range(_TRIES):
        u = torch.rand(5, generator=chance, dtype=torch.float64).tolist()
        (low, high), (flat, wide) = framing.area, framing.aspect
        share, aspect = low + (high - low) * u[0], flat * (wide / flat) ** u[1]
        h, w = round(height * math.sqrt(share / aspect)), round(width * math.sqrt(share * aspect))
        if not (1 <= h <= height and 1 <= w <= width):
            continue
        y, x = (height - h) // 2, (width - w) // 2
        if framing.place == "random":
            y, x = int(u[2] * (height - h + 1)), int(u[3] * (width - w + 1))
        return Window(y, x, h, w, framing.mirror and u[4] < 0.5)
    return Window(0, 0, height, width)


def framed(picture: Tensor, window: Window, size: tuple[int, int], resize: Resize = "bilinear") -> Tensor:
    """The window of (1, C, H, W) stretched to `size` (height, width), in [0, 1]."""
    y, x, height, width, mirrored = window
    part = picture[..., y : y + height, x : x + width]
    part = part.flip(-1) if mirrored else part
    if tuple(part.shape[-2:]) == size:
        return part
    if resize == "nearest":
        return F.interpolate(part, size=size, mode="nearest")
    return F.interpolate(part, size=size, mode="bilinear", align_corners=False, antialias=True).clamp(0, 1)


def framed_label(label: Label, window: Window, size: tuple[int, int]) -> Label:
    """A label as the framed picture has it: boxes cut, moved and stretched, regions by the nearest pixel."""
    y, x, height, width, mirrored = window
    if isinstance(label, Boxes):
        cut = label.crop(y, x, height, width).scale(size[0] / height, size[1] / width)
        return cut.flip(size, columns=True) if mirrored else cut
    if isinstance(label, Tensor):
        return framed(label[None, None].float(), window, size, "nearest")[0, 0].long()
    return label


def _batched(labels: Sequence[Label]) -> Labels:
    if all(isinstance(label, Boxes) for label in labels):
        return tuple(cast(Sequence[Boxes], labels))
    if all(isinstance(label, Tensor) for label in labels):
        return torch.stack(cast(list[Tensor], list(labels)))
    return torch.tensor(cast(Sequence[int], labels))
