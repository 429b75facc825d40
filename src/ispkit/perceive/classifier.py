"""A classifier as a head: any network that gives a number a class."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ispkit.core.errors import ParamError
from ispkit.data.samples import Labels
from ispkit.perceive.head import Seen, Task
from ispkit.perceive.net_head import NetHead, Norms, Reading, labels_like

_TOLD = 5


class Classifier(NetHead):
    """Names what a picture shows; learns by cross-entropy.

    Args:
        net: (B, 3, H, W) -> logits (B, skip + classes).
        names: of the classes.
        reading: how it wants its pictures.
        norms: see `NetHead`.
        skip: leading outputs that no label means, such as the "background" of the published MobileNets; left out.
        label_smoothing: share of the truth that is spread over all classes (Szegedy et al. 2016), in [0, 1).
    """

    task: ClassVar[Task] = "classify"

    def __init__(
        self,
        net: nn.Module,
        names: Sequence[str],
        *,
        reading: Reading | None = None,
        norms: Norms = "batch",
        skip: int = 0,
        label_smoothing: float = 0.0,
    ) -> None:
        super().__init__(net, names, reading=reading, norms=norms)
        if not 0 <= label_smoothing < 1 or skip < 0:
            raise ParamError(f"label_smoothing={label_smoothing:g} must be in [0, 1) and skip={skip} at least 0")
        self.skip, self.label_smoothing = skip, label_smoothing

    def forward(self, picture: Tensor) -> Tensor:
        """Logits (B, classes). Raises `ShapeError` where the network gives another number."""
        return self.check_outputs(super().forward(picture)[:, self.skip :])

    def loss(self, output: Tensor, labels: Labels, size: tuple[int, int]) -> Tensor:
        """Mean cross-entropy with labels (B,); `size` does not matter. Raises `ShapeError`."""
        wanted = labels_like(labels, (len(output),), "classifies")
        return F.cross_entropy(output, wanted.to(output.device), label_smoothing=self.label_smoothing)

    @torch.no_grad()
    def seen(self, output: Tensor, size: tuple[int, int]) -> Sequence[Seen]:
        """The five likeliest classes of each picture with their probabilities."""
        top = output.float().softmax(-1).topk(min(_TOLD, output.shape[-1]))
        rows = zip(top.indices.tolist(), top.values.tolist(), strict=True)
        return [Seen(classes=tuple((self.names[i], p) for i, p in zip(*row, strict=True))) for row in rows]
