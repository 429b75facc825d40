"""A segmenter as a head: any network that gives numbers a class and pixel."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ispkit.data.samples import Labels
from ispkit.perceive.head import Seen, Task
from ispkit.perceive.net_head import NetHead, Norms, Reading, labels_like

IGNORED = -1
"""the label of pixels that do not count"""


class Segmenter(NetHead):
    """Says of each pixel what it belongs to; learns by cross-entropy over the pixels.

    The network gives logits (B, classes, h, w) at a size of its own; they are resized bilinearly to the picture's.

    Args:
        net: (B, 3, H, W) -> logits.
        names: of the classes.
        reading: how it wants its pictures.
        norms: see `NetHead`.
        align_corners: the outer logits belong to the centers of the outer pixels, not to blocks of pixels.
    """

    task: ClassVar[Task] = "segment"

    def __init__(
        self,
        net: nn.Module,
        names: Sequence[str],
        *,
        reading: Reading | None = None,
        norms: Norms = "batch",
        align_corners: bool = False,
    ) -> None:
        super().__init__(net, names, reading=reading, norms=norms)
        self.align_corners = align_corners

    def forward(self, picture: Tensor) -> Tensor:
        """Logits (B, classes, h, w) of the whole picture, at the network's own resolution. Raises `ShapeError`."""
        return self.check_outputs(super().forward(picture))

    def loss(self, output: Tensor, labels: Labels, size: tuple[int, int]) -> Tensor:
        """Cross-entropy with labels (B, H, W), a mean over each picture's pixels that count, then over pictures.

        Pixels labelled -1 do not count; a picture without any other counts 0. Raises `ShapeError`.
        """
        wanted = labels_like(labels, (len(output), *size), "segments").to(output.device)
        each = F.cross_entropy(self._at(output, size), wanted, ignore_index=IGNORED, reduction="none")
        counted = (wanted != IGNORED).sum((1, 2)).clamp(min=1)
        return (each.sum((1, 2)) / counted).mean()

    @torch.no_grad()
    def seen(self, output: Tensor, size: tuple[int, int]) -> Sequence[Seen]:
        """The likeliest class of each pixel of the picture."""
        return [Seen(regions=self._at(each[None], size)[0].argmax(0)) for each in output]

    def _at(self, output: Tensor, size: tuple[int, int]) -> Tensor:
        """The logits at the picture's size."""
        if tuple(output.shape[-2:]) == tuple(size):
            return output
        return F.interpolate(output, size=size, mode="bilinear", align_corners=self.align_corners)
