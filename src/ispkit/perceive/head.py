"""`Head`: a network that looks at pictures, with its loss and with what it says in plain words."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, ClassVar, Literal

from torch import Tensor, nn

from ispkit.data.boxes import Boxes
from ispkit.data.samples import Labels

Task = Literal["classify", "detect", "segment"]


@dataclass(frozen=True, eq=False)
class Seen:
    """What a head says of one picture; one of the three is filled, by its task."""

    classes: tuple[tuple[str, float], ...] = ()
    """(name, probability), the likeliest first"""
    boxes: Boxes | None = None
    """in pixels of the picture, with scores, the surest first"""
    regions: Tensor | None = None
    """(H, W) int64, the class of each pixel"""


class Head(nn.Module, ABC):
    """A network that looks at finished pictures: (B, 3, H, W) encoded sRGB in [0, 1] on its way in.

    What it was trained with (size, order of colors, range) is its own affair: `forward` resizes and normalizes.
    Gradients flow to the picture. Any `nn.Module` becomes a head by one of the subclasses of this folder.
    """

    task: ClassVar[Task]
    names: tuple[str, ...]
    """what the labels mean"""
    spec: Mapping[str, Any] = MappingProxyType({})
    """name and options by which `heads.open_head` builds the same network again, without its weights"""
    trained: bool = True
    """False: fresh weights, which see nothing yet"""

    @abstractmethod
    def forward(self, picture: Tensor) -> Tensor:
        """The network's raw output: logits (B, K), a detector's map, or logits (B, K, H, W)."""

    def features(self, picture: Tensor) -> Tensor:
        """What two pictures are compared by, where they should look the same to this head: here its raw output."""
        output: Tensor = self(picture)
        return output

    @abstractmethod
    def loss(self, output: Tensor, labels: Labels, size: tuple[int, int]) -> Tensor:
        """Scalar, the mean over pictures, of `forward`'s output; `size` is the pictures' (height, width).

        Raises `ShapeError` for labels of another task or number.
        """

    @abstractmethod
    def seen(self, output: Tensor, size: tuple[int, int]) -> Sequence[Seen]:
        """What the output says of each picture of `size` (height, width)."""
