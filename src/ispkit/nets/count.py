"""Parameters and operations of a network, counted from shapes alone: no memory, no time, any size of picture.

Three conventions are in use, and papers rarely say which. `macs`: one a multiply-add of convolutions and matrix
products. `flops`: two a multiply-add. `profiler_flops`: as TensorFlow's profiler counts, from which CameraNet's
table IV seems to come: flops, one an element for each bias and each sum, difference, product or quotient, two for a
leaky ReLU (a product and a maximum), the window's size for a pooled one; ReLU and tanh are free.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode, conv_flop_count

from ispkit.core.errors import ShapeError
from ispkit.nets.picture_net import PictureNet

CONVENTIONS: Mapping[str, str] = {
    "macs": "one a multiply-add of convolutions and matrix products",
    "flops": "two a multiply-add, nothing else",
    "profiler_flops": "as TensorFlow's profiler: flops, and biases, element-wise steps and maxima",
}


@dataclass(frozen=True)
class Counts:
    """What a network is made of and what one forward pass costs."""

    parameters: int
    macs: int
    flops: int
    profiler_flops: int

    def __add__(self, other: Counts) -> Counts:
        """Both, one after the other."""
        return Counts(
            self.parameters + other.parameters,
            self.macs + other.macs,
            self.flops + other.flops,
            self.profiler_flops + other.profiler_flops,
        )


def count(net: nn.Module, *shapes: Sequence[int]) -> Counts:
    """Count one forward pass on inputs of these shapes; weights and device of `net` are left alone.

    Raises what the net raises for such shapes. Operations whose number depends on the values are not counted.
    """
    flops = _measured(net, shapes, FlopCounterMode(display=False))
    profiler = _measured(net, shapes, FlopCounterMode(display=False, custom_mapping=dict(_PROFILER)))
    return Counts(sum(p.numel() for p in net.parameters()), flops // 2, flops, profiler)


def picture_shape(net: PictureNet, height: int, width: int) -> tuple[int, int, int, int]:
    """The input (1, C, h, w) from which a net makes a picture of this size, rounded up to its multiple.

    Raises `ShapeError` for a size below 1.
    """
    if min(height, width) < 1:
        raise ShapeError(f"a picture of {width}x{height} px has nothing to count")
    step = net.multiple
    rows, columns = (-(-side // (net.scale * step)) * step for side in (height, width))
    return 1, net.inputs, rows, columns


def _measured(net: nn.Module, shapes: Sequence[Sequence[int]], counter: FlopCounterMode) -> int:
    """The count on the meta device, where tensors have shapes and no memory."""
    state = {k: v.detach().to("meta") for k, v in (*net.named_parameters(), *net.named_buffers())}
    kind = next((v.dtype for v in state.values() if v.is_floating_point()), torch.float32)
    inputs = tuple(torch.empty(tuple(s), device="meta", dtype=kind) for s in shapes)
    with counter, torch.no_grad():
        torch.func.functional_call(net, state, inputs)
    return int(counter.get_total_flops())


def _convolution(x: Sequence[int], w: Sequence[int], bias: Any, *rest: Any, out_shape: Any, **_: Any) -> int:
    """Two a multiply-add and one a bias."""
    transposed = bool(rest[3])
    products: int = conv_flop_count(list(x), list(w), list(out_shape), transposed)
    return products + (math.prod(out_shape) if bias else 0)


def _with_bias(bias: Any, a: Sequence[int], b: Sequence[int], *_: Any, out_shape: Any, **__: Any) -> int:
    return int(2 * a[0] * a[1] * b[1] + math.prod(out_shape))


def _each(times: int) -> Callable[..., int]:
    """So many an element of the output."""

    def elements(*_: Any, out_shape: Any, **__: Any) -> int:
        return int(times * math.prod(out_shape))

    return elements


def _each_input(x: Sequence[int], *_: Any, **__: Any) -> int:
    return math.prod(x)


def _window(x: Any, window: Sequence[int], *_: Any, out_shape: Any, **__: Any) -> int:
    """The window's size an element of the (first) output."""
    first = out_shape[0] if isinstance(out_shape[0], torch.Size | tuple | list) else out_shape
    return math.prod(window) * (window[0] if len(window) == 1 else 1) * math.prod(first)


_ATEN = torch.ops.aten
_PROFILER: Mapping[Any, Callable[..., int]] = {
    _ATEN.convolution: _convolution,
    _ATEN.addmm: _with_bias,
    _ATEN.leaky_relu: _each(2),
    _ATEN._prelu_kernel: _each(2),
    _ATEN.add: _each(1),
    _ATEN.sub: _each(1),
    _ATEN.mul: _each(1),
    _ATEN.div: _each(1),
    _ATEN.max_pool2d_with_indices: _window,
    _ATEN.avg_pool2d: _window,
    _ATEN.mean: _each_input,
}
