"""What a set of labelled pictures is: items that are read when they are asked for, names of labels, splits by seed."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Generic, Protocol, Self, TypeVar, overload

import numpy as np
import torch
from torch import Tensor

from ispkit.core.errors import ParamError, ShapeError
from ispkit.data.boxes import Boxes
from ispkit.data.labelled import Labelled

Label = int | Boxes | Tensor
"""a class; objects in pixels; or (H, W) int64, the class of each pixel, -1 for what does not count"""


class Item(Protocol):
    """What splits ask of a labelled picture."""

    @property
    def name(self) -> str:
        """Its own in its set."""

    @property
    def marked(self) -> object:
        """The class as a number, or whatever else it is labelled with."""


Kind = TypeVar("Kind", bound=Item)


class LabelledSet(Sequence[Kind], Generic[Kind]):
    """Labelled items of one kind, and what the labels mean."""

    def __init__(self, items: Sequence[Kind], names: Sequence[str]) -> None:
        self._items, self.names = tuple(items), tuple(names)

    def __len__(self) -> int:
        return len(self._items)

    @overload
    def __getitem__(self, index: int) -> Kind: ...
    @overload
    def __getitem__(self, index: slice) -> Self: ...
    def __getitem__(self, index: int | slice) -> Kind | Self:
        if isinstance(index, slice):
            return type(self)(self._items[index], self.names)
        return self._items[index]

    def __iter__(self) -> Iterator[Kind]:
        return iter(self._items)

    @property
    def classes(self) -> int:
        """One more than the largest class of an item; 0 where labels are no classes."""
        marked = [item.marked for item in self._items if isinstance(item.marked, int)]
        return 1 + max(marked) if marked else 0

    @property
    def sparse(self) -> bool:
        """Whether there are classes without an item, as where labels are numbers of somebody's longer list."""
        return len({item.marked for item in self._items if isinstance(item.marked, int)}) < len(self.names)

    def select(self, indices: Sequence[int]) -> Self:
        """Some of them, in this order."""
        return type(self)([self._items[i] for i in indices], self.names)

    def split(self, share: float, *, seed: int = 0) -> tuple[Self, Self]:
        """Two parts, the first with `share` of the items; each class has its share in both, up to one item.

        The same seed gives the same parts. Raises `ParamError` for a share outside (0, 1).
        """
        if not 0 < share < 1:
            raise ParamError(f"share={share:g} must be in (0, 1)")
        # an item goes to the first part where the rounded number of those before it steps
        dealt = enumerate(self._dealt(seed))
        first = {i for place, i in dealt if int((place + 1) * share + 0.5) > int(place * share + 0.5)}
        everything = range(len(self))
        return self.select(sorted(first)), self.select([i for i in everything if i not in first])

    def folds(self, count: int, *, seed: int = 0) -> list[tuple[Self, Self]]:
        """(to learn from, held out) `count` times; each item is held out once, classes evenly (stratified).

        The same seed gives the same folds. Raises `ParamError` for fewer than 2, or more than there are items.
        """
        if not 2 <= count <= len(self):
            raise ParamError(f"count={count} folds of {len(self)} items; it must be 2 to that number")
        fold = np.zeros(len(self), dtype=int)
        fold[self._dealt(seed)] = np.arange(len(self)) % count
        return [
            (self.select(np.flatnonzero(fold != k).tolist()), self.select(np.flatnonzero(fold == k).tolist()))
            for k in range(count)
        ]

    def _dealt(self, seed: int) -> list[int]:
        """Every item once: classes in an order drawn by chance, one after the other, and so the items of each."""
        chance = np.random.default_rng(seed)
        order: list[int] = chance.permutation(len(self)).tolist()
        of_item = [_class(item) for item in self._items]
        classes = sorted(set(of_item))
        rank = dict(zip(classes, chance.permutation(len(classes)).tolist(), strict=True))
        order.sort(key=lambda i: rank[of_item[i]])  # stable: chance within a class
        return order


@dataclass(frozen=True, eq=False)
class LabelledPicture:
    """One picture and what is in it; files are read at each call, so a set of many costs no memory."""

    name: str
    read: Callable[[], Tensor] = field(repr=False)
    """makes `picture()`; can be pickled, for worker processes"""
    marked: int | Boxes | Callable[[], Tensor]
    """the label, or what reads it"""

    def picture(self) -> Tensor:
        """(1, 3, H, W) encoded, in [0, 1]. Raises `FileError`."""
        return self.read()

    @property
    def label(self) -> Label:
        """A class, `Boxes` or regions (H, W) int64. Raises `FileError`."""
        return self.marked() if callable(self.marked) else self.marked


class LabelledPictures(LabelledSet[LabelledPicture]):
    """Pictures with labels of one kind, and what the labels mean."""

    @staticmethod
    def of_boxes(items: Sequence[Labelled]) -> LabelledPictures:
        """What `read_yolo` and `read_kitti` give."""
        names = items[0].names if items else ()
        return LabelledPictures([LabelledPicture(i.path.name, i.picture, i.boxes) for i in items], names)

    def stacked(self) -> tuple[Tensor, Tensor]:
        """All pictures (N, 3, H, W) uint8 and their classes (N,) int64, in memory.

        Raises `ShapeError` for pictures of several sizes, or labels that are no classes.
        """
        classes = [item.marked for item in self if isinstance(item.marked, int)]
        if not classes or len(classes) < len(self):
            raise ShapeError("only pictures with a class each make one tensor of labels")
        first = self[0].picture()
        pictures = torch.empty(len(self), *first.shape[1:], dtype=torch.uint8)
        for i, item in enumerate(self):
            one = item.picture()
            if one.shape != first.shape:
                sizes = f"{tuple(one.shape[-2:])} and {tuple(first.shape[-2:])}"
                raise ShapeError(f"{item.name}: pictures of {sizes} cannot be stacked")
            pictures[i] = (one[0] * 255).round().to(torch.uint8)
        return pictures, torch.tensor(classes)

    def renamed(
        self, to: Sequence[str], *, same: Mapping[str, str] | None = None, other: int | None = None
    ) -> LabelledPictures:
        """With labels as numbers of the list `to`, by name; letter case does not count; `same` translates names first.

        What has no counterpart: pictures of such a class and such boxes are dropped, such regions become `other`
        (default -1, they do not count).
        """
        table = {name.lower(): i for i, name in enumerate(to)}
        words = [(same or {}).get(name, name).lower() for name in self.names]
        lookup = tuple(table.get(word, -1) for word in words)
        items = []
        for item in self:
            marked = item.marked
            if isinstance(marked, Boxes):
                marked = marked.renamed(self.names, to, same)
            elif isinstance(marked, int):
                marked = lookup[marked]
            else:
                marked = _Relabelled(marked, tuple(other if i < 0 and other is not None else i for i in lookup))
            if not isinstance(marked, int) or marked >= 0:
                items.append(replace(item, marked=marked))
        return LabelledPictures(items, tuple(to))


@dataclass(frozen=True)
class _Relabelled:
    """Regions with other numbers; what did not count still does not."""

    read: Callable[[], Tensor]
    lookup: tuple[int, ...]

    def __call__(self) -> Tensor:
        regions = self.read()
        table = torch.tensor([*self.lookup, -1])
        return table[torch.where(regions < 0, len(self.lookup), regions)]


def _class(item: Item) -> int:
    return item.marked if isinstance(item.marked, int) else 0
