"""A classifier of two weights, for tests of how heads are trained."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ispkit.perceive.head import Head, Seen, Task


class BrightOrDark(Head):
    """Tells bright pictures from dark ones by their mean."""

    task: ClassVar[Task] = "classify"
    names = ("dark", "bright")

    def __init__(self) -> None:
        super().__init__()
        self.score = nn.Linear(1, 2)

    def forward(self, picture: Tensor) -> Tensor:
        return self.score(picture.mean((1, 2, 3))[:, None])

    def loss(self, output: Tensor, labels: Tensor, size: tuple[int, int]) -> Tensor:
        return F.cross_entropy(output, labels)

    def seen(self, output: Tensor, size: tuple[int, int]) -> Sequence[Seen]:
        shares = torch.softmax(output, 1)
        return [Seen(classes=tuple(zip(self.names, p.tolist(), strict=True))) for p in shares]
