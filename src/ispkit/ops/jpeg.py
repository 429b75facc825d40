"""JPEG compression as a picture-to-picture map: everything that loses something, nothing of the file.

ITU-T T.81 with the JFIF conversion, the example tables of its annex K, and the quality scaling and
chroma interpolation of the Independent JPEG Group's library.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor

from ispkit.ops.values import per_image

Subsampling = Literal["4:4:4", "4:2:0"]
Rounding = Literal["straight_through", "soft"]

# fmt: off
LUMA_TABLE = (
    16, 11, 10, 16,  24,  40,  51,  61,
    12, 12, 14, 19,  26,  58,  60,  55,
    14, 13, 16, 24,  40,  57,  69,  56,
    14, 17, 22, 29,  51,  87,  80,  62,
    18, 22, 37, 56,  68, 109, 103,  77,
    24, 35, 55, 64,  81, 104, 113,  92,
    49, 64, 78, 87, 103, 121, 120, 101,
    72, 92, 95, 98, 112, 100, 103,  99,
)
CHROMA_TABLE = (
    17, 18, 24, 47, 99, 99, 99, 99,
    18, 21, 26, 66, 99, 99, 99, 99,
    24, 26, 56, 99, 99, 99, 99, 99,
    47, 66, 99, 99, 99, 99, 99, 99,
) + (99,) * 32
# fmt: on
"""T.81 tables K.1 and K.2, row by row"""


def jpeg(
    encoded: Tensor,
    quality: float | Tensor,
    *,
    subsampling: Subsampling = "4:2:0",
    rounding: Rounding = "straight_through",
) -> Tensor:
    """Compress and decompress (B, 3, H, W) encoded RGB in [0, 1] -> 8-bit codes / 255, same shape.

    Args:
        encoded: values outside [0, 1] are clipped.
        quality: 1..100 of the IJG scale; scalar or (B,); 50 takes the tables as they are.
        subsampling: of the chroma; "4:2:0" averages 2x2 pixels and interpolates with the weights 3:1.
        rounding: how gradients pass the rounding. "straight_through": real rounding, gradient 1.
            "soft": round(x) + (x - round(x))^3 (Shin, Song 2017), smooth but not what a codec gives.
    """
    height, width = encoded.shape[-2:]
    snap = straight_through if rounding == "straight_through" else soft_round
    ratio = 2 if subsampling == "4:2:0" else 1
    codes = _pad_to(snap(encoded.clamp(0, 1) * 255), 8 * ratio)
    planes = snap(_to_ycc(codes))
    luma, chroma = planes[:, :1], planes[:, 1:]
    if ratio == 2:
        chroma = snap(torch.nn.functional.avg_pool2d(chroma, 2))
    luma = _through_blocks(luma, quantization_table(LUMA_TABLE, quality, encoded), snap)
    chroma = _through_blocks(chroma, quantization_table(CHROMA_TABLE, quality, encoded), snap)
    if ratio == 2:
        chroma = snap(_interpolate(_interpolate(chroma[..., : -(-height // 2), : -(-width // 2)], -2), -1))
    both = torch.cat((luma[..., :height, :width], chroma[..., :height, :width]), dim=-3)
    return snap(_to_rgb(both)).clamp(0, 255) / 255


def straight_through(x: Tensor) -> Tensor:
    """Round; the gradient passes as if nothing had happened (Bengio et al. 2013)."""
    return x + (torch.round(x) - x).detach()


def soft_round(x: Tensor) -> Tensor:
    """Round(x) + (x - round(x))^3: near the integers flat, continuous between them."""
    whole = torch.round(x).detach()
    return whole + (x - whole) ** 3


def quantization_table(base: tuple[int, ...], quality: float | Tensor, like: Tensor) -> Tensor:
    """The IJG library's table at this quality -> (1 or B, 1, 8, 8) of integers 1..255.

    >>> quantization_table(LUMA_TABLE, 75.0, torch.zeros(()))[..., 0, :4]
    tensor([[[8., 6., 5., 8.]]])
    """
    q = torch.round(per_image(quality, like)).clamp(1, 100)
    percent = torch.where(q < 50, torch.floor(5000 / q), 200 - 2 * q)
    table = torch.tensor(base, device=like.device, dtype=like.dtype).reshape(1, 1, 8, 8)
    return torch.floor((table * percent + 50) / 100).clamp(1, 255)


def _through_blocks(plane: Tensor, table: Tensor, snap: Callable[[Tensor], Tensor]) -> Tensor:
    """DCT of 8x8 blocks, quantize, back; plane in 0..255 of a size divisible by 8."""
    batch, channels, height, width = plane.shape
    blocks = (plane - 128).reshape(batch, channels, height // 8, 8, width // 8, 8)
    dct = _dct_matrix(plane)
    table = table.reshape(-1, 1, 1, 8, 1, 8)
    levels = snap(_both_sides(blocks, dct) / table)
    return (snap(_both_sides(levels * table, dct.T)) + 128).reshape(plane.shape).clamp(0, 255)


def _both_sides(blocks: Tensor, matrix: Tensor) -> Tensor:
    """Matrix @ block @ matrix.T for (B, C, rows, 8, columns, 8); in full precision under autocast."""
    with torch.autocast(blocks.device.type, enabled=False):
        return torch.einsum("ij,bcrjsk,lk->bcrisl", matrix, blocks, matrix)


def _dct_matrix(like: Tensor) -> Tensor:
    """Orthonormal DCT-II, (8, 8): row = frequency."""
    n = torch.arange(8, device=like.device, dtype=like.dtype)
    matrix = torch.cos((2 * n + 1) * n.reshape(8, 1) * (math.pi / 16)) / 2
    return torch.cat((matrix[:1] * math.sqrt(0.5), matrix[1:]))


def _to_ycc(codes: Tensor) -> Tensor:
    red, green, blue = codes.unbind(dim=-3)
    luma = 0.299 * red + 0.587 * green + 0.114 * blue
    return torch.stack((luma, 128 + (blue - luma) / 1.772, 128 + (red - luma) / 1.402), dim=-3)


def _to_rgb(planes: Tensor) -> Tensor:
    luma, cb, cr = planes.unbind(dim=-3)
    cb, cr = cb - 128, cr - 128
    green = luma - (0.114 * 1.772 * cb + 0.299 * 1.402 * cr) / 0.587
    return torch.stack((luma + 1.402 * cr, green, luma + 1.772 * cb), dim=-3)


def _pad_to(image: Tensor, multiple: int) -> Tensor:
    height, width = image.shape[-2:]
    border = (0, -width % multiple, 0, -height % multiple)
    return torch.nn.functional.pad(image, border, mode="replicate")


def _interpolate(plane: Tensor, dim: int) -> Tensor:
    """Twice as many samples, each 3/4 of the nearest and 1/4 of the next one."""
    border = (0, 0, 1, 1) if dim == -2 else (1, 1, 0, 0)
    padded = torch.nn.functional.pad(plane, border, mode="replicate")
    count = plane.shape[dim]
    near = plane * 0.75
    even, odd = near + padded.narrow(dim, 0, count) / 4, near + padded.narrow(dim, 2, count) / 4
    return torch.stack((even, odd), dim=dim if dim == -1 else -2).flatten(dim - 1, dim)
