"""False-color suppression: median of the color differences against green."""

from __future__ import annotations

import torch
from torch import Tensor

from ispkit.ops.blur import pad_reflect
from ispkit.ops.values import is_zero, per_image

MAX_PASSES = 5


def suppress_false_color(image: Tensor, strength: float | Tensor, *, passes: float | Tensor = 1) -> Tensor:
    """Take the 3x3 median of R - G and B - G, and add green back: (B, 3, H, W) -> (B, 3, H, W).

    Removes single-pixel color errors of demosaicing along edges and in fine texture; green, grays and
    everything whose color changes over more than 2 px stay. White balance first: the differences of a
    gray must be small.

    Args:
        image: (B, 3, H, W), linear sensor RGB in any scale; negative values are fine.
        strength: 0 (unchanged) to 1 (the full median); scalar or (B,), differentiable.
        passes: how often the median is taken, 1 to 5; scalar or (B,).

    Reference: Freeman, "Median filter for reconstructing missing color samples", US patent 4,724,395
    (1988). Unlike there, measured samples are filtered too.
    """
    if is_zero(strength):
        return image
    green, weight = image[:, 1:2], per_image(strength, image)
    colors = []
    for channel in (0, 2):
        difference = image[:, channel : channel + 1] - green
        colors.append(green + torch.lerp(difference, _repeated(difference, passes), weight))
    return torch.cat([colors[0], green.expand_as(colors[0]), colors[1]], dim=1)


def median3x3(image: Tensor) -> Tensor:
    """Median of each 3x3 window of every channel, (B, C, H, W); the border is mirrored.

    >>> median3x3(torch.tensor([[[[1.0, 2.0, 9.0], [4.0, 8.0, 6.0], [7.0, 5.0, 3.0]]]]))[0, 0, 1, 1]
    tensor(5.)
    """
    padded = pad_reflect(image, 1)
    height, width = image.shape[-2:]
    low, middle, high = _sorted3(*(padded.narrow(-2, i, height) for i in range(3)))
    lows, middles, highs = ([p.narrow(-1, i, width) for i in range(3)] for p in (low, middle, high))
    largest_low = torch.maximum(torch.maximum(lows[0], lows[1]), lows[2])
    smallest_high = torch.minimum(torch.minimum(highs[0], highs[1]), highs[2])
    return _sorted3(largest_low, _sorted3(*middles)[1], smallest_high)[1]


def _repeated(difference: Tensor, passes: float | Tensor) -> Tensor:
    """A tensor of passes runs them all and keeps each picture's own, so that nothing waits for a GPU."""
    if not isinstance(passes, Tensor):
        for _ in range(round(passes)):
            difference = median3x3(difference)
        return difference
    for done in range(MAX_PASSES):
        difference = torch.where(per_image(passes, difference) > done + 0.5, median3x3(difference), difference)
    return difference


def _sorted3(a: Tensor, b: Tensor, c: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Smallest, middle, largest of three."""
    small, large = torch.minimum(a, b), torch.maximum(a, b)
    rest = torch.maximum(small, c)
    return torch.minimum(small, c), torch.minimum(large, rest), torch.maximum(large, rest)
