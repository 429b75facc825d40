"""Local Laplacian filter: detail and range of a picture changed apart, without halos.

Paris, Hasinoff, Kautz, "Local Laplacian Filters", ACM Trans. Graphics 30(4), 2011; computed on discrete
reference intensities as in Aubry et al., "Fast Local Laplacian Filters", ACM Trans. Graphics 33(5), 2014.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ispkit.ops import pyramid
from ispkit.ops.luma import luminance
from ispkit.ops.values import is_zero, per_image

TOE = 2.0**-10
"""added to the luminance before the logarithm: deep shadows are not taken for detail"""
DARKEST, BRIGHTEST = -10.0, 2.0
"""stops (white = 0) that the reference intensities span; pixels beyond take the nearest reference"""
SPACING = 0.25
"""stops between two reference intensities"""
PIVOT = math.log2(0.18 + TOE)
"""the log luminance that a change of range leaves where it is"""
SMALLEST = 0.2
"""stops; differences below are amplified as this one is, so that alpha < 1 does not blow up noise"""


def tone_map(
    rgb: Tensor, *, alpha: float | Tensor, beta: float | Tensor, sigma: float | Tensor = 1.3, levels: int = 4
) -> Tensor:
    """Apply `local_laplacian` to the log2 luminance of linear RGB; ratios between channels stay.

    Args:
        rgb: (B, 3, H, W) linear, white = 1.
        alpha: exponent of details: < 1 enhances, > 1 smooths, 1 leaves them; scalar or (B,), as the others.
        beta: slope of edges: < 1 compresses the range, > 1 expands it, 1 leaves it.
        sigma: stops; smaller differences are details, larger ones edges.
        levels: halvings of the pyramid; details are structures up to about 2^levels pixels.
    """
    if is_identity(alpha, beta):
        return rgb
    log_luma = torch.log2(luminance(rgb).clamp(min=0) + TOE)
    return rgb * torch.exp2(local_laplacian(log_luma, alpha=alpha, beta=beta, sigma=sigma, levels=levels))


def is_identity(alpha: float | Tensor, beta: float | Tensor) -> bool:
    """Whether plain knobs ask for no change."""
    return all(not isinstance(v, Tensor) and is_zero(v - 1) for v in (alpha, beta))


# tens of pyramids, unrolled, would take minutes to compile: a graph break instead
@torch.compiler.disable  # type: ignore[untyped-decorator]
def local_laplacian(
    image: Tensor, *, alpha: float | Tensor, beta: float | Tensor, sigma: float | Tensor, levels: int
) -> Tensor:
    """The change that the filter makes to `image` (B, 1, H, W) in stops; exactly 0 for alpha = beta = 1.

    Each coefficient of the Laplacian pyramid is that of the picture remapped around the local mean g:
    within sigma of g, `g +- sigma (|i - g| / sigma)^alpha`; beyond, `g +- (beta (|i - g| - sigma) + sigma)`.
    The coarse rest is scaled by beta around `PIVOT`: with few levels it still holds edges, which must
    shrink with the finer bands.
    """
    a, b, s = (per_image(v, image) for v in (alpha, beta, sigma))
    means = pyramid.gaussian_pyramid(image, levels)
    places = [m.clamp(DARKEST, BRIGHTEST) for m in means[:-1]]
    bands = [torch.zeros_like(m) for m in places]
    for reference in _references(places[0]):
        changed = pyramid.laplacian_pyramid(remap_change(image - reference, a, b, s), levels)
        for band, place, change in zip(bands, places, changed[:-1], strict=True):
            nearness = (place - reference).abs_().mul_(-1 / SPACING).add_(1).clamp_(min=0)
            band.addcmul_(nearness, change)
    return pyramid.collapse([*bands, (b - 1) * (means[-1] - PIVOT)])


def remap_change(difference: Tensor, alpha: Tensor, beta: Tensor, sigma: Tensor) -> Tensor:
    """What the remapping adds to a pixel that differs by `difference` (stops) from the local mean."""
    detail = difference.clamp(-sigma, sigma)
    relative = (detail.square() + SMALLEST**2) / (sigma.square() + SMALLEST**2)
    change = (relative ** ((alpha - 1) / 2) - beta) * detail
    return change.addcmul_(difference, beta - 1)


def _references(place: Tensor) -> list[float]:
    """The reference intensities; on a CPU only those that some pixel needs (the others weigh nothing)."""
    count = round((BRIGHTEST - DARKEST) / SPACING)
    references = [DARKEST + i * SPACING for i in range(count + 1)]
    if place.device.type != "cpu":
        return references
    low, high = (float(v) for v in place.detach().aminmax())
    return [r for r in references if low - SPACING < r < high + SPACING]
