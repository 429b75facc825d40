"""What the picture networks share: convolutions with mirrored edges, first weights, checks of shapes."""

from __future__ import annotations

import math
import types
from collections.abc import Mapping
from dataclasses import fields, replace
from typing import TYPE_CHECKING, Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ispkit.core.errors import ParamError, ShapeError, nearest
from ispkit.ops.blur import pad_reflect

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

    from ispkit.nets.picture_net import PictureNet

Shape = TypeVar("Shape", bound="DataclassInstance")
Edge = Literal["reflect", "zeros", "valid"]
"""what a convolution sees past the picture: its mirror image, zeros; "valid": nothing, and the result is smaller"""


class Conv(nn.Conv2d):
    """A square convolution of (B, C, H, W) that keeps the size; reflection works at any size, dilation included.

    With `stride` s the result has ceil(side / s) pixels a side, the i-th centered on pixel s i. With `edge="valid"`
    it has only the pixels whose whole neighborhood is there.
    """

    def __init__(
        self, before: int, after: int, size: int = 3, *, stride: int = 1, rate: int = 1, edge: Edge = "reflect"
    ) -> None:
        reach = rate * (size // 2)
        super().__init__(before, after, size, stride, reach if edge == "zeros" else 0, rate)
        self.reach = reach if edge == "reflect" else 0

    def forward(self, input: Tensor) -> Tensor:
        """(B, before, H, W) -> (B, after, H', W')."""
        return super().forward(pad_reflect(input, self.reach) if self.reach else input)


def start(net: nn.Module, *, slope: float = 0.0) -> None:
    """First weights that keep the signal's size through rectifiers of this slope; biases 0 (He et al. 2015).

    Source: "Delving Deep into Rectifiers", ICCV 2015, equation 15. A transposed 2x2 convolution of stride 2 counts one
    tap, as each of its outputs sees.
    """
    for layer in net.modules():
        if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d | nn.Linear):
            fan = layer.in_features if isinstance(layer, nn.Linear) else layer.in_channels // layer.groups
            taps = math.prod(layer.kernel_size) if isinstance(layer, nn.Conv2d) else 1
            nn.init.normal_(layer.weight, std=math.sqrt(2 / (1 + slope**2) / (fan * taps)))
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)


def start_linear(layer: nn.Conv2d, gain: float = 1.0) -> None:
    """First weights of a layer that no rectifier follows: variance gain^2 / fan-in."""
    nn.init.normal_(layer.weight, std=gain / math.sqrt(layer.in_channels * math.prod(layer.kernel_size)))


def mean_of(features: Tensor) -> Tensor:
    """(B, C, h, w) -> (B, C), the mean over the picture. Raises `ShapeError` where there is not one feature."""
    if not _followed() and 0 in features.shape[-2:]:
        raise ShapeError("the picture is too small: it gives no feature whose mean could be taken")
    return features.mean((-2, -1))


def expect(net: PictureNet, x: Tensor, *, least: int = 2) -> None:
    """Raise `ShapeError` unless x is (B, net.inputs, H, W), sides multiples of `net.multiple`, at least `least`."""
    if _followed():
        return
    sides = x.shape[-2:]
    if x.ndim == 4 and x.shape[1] == net.inputs and not any(n % net.multiple for n in sides) and min(sides) >= least:
        return
    law = f"(B, {net.inputs}, H, W) with sides in multiples of {net.multiple}, at least {least}"
    raise ShapeError(f"{type(net).__name__}: input {tuple(x.shape)} must be {law}")


def expect_pooled(net: PictureNet, pooled: Tensor, x: Tensor, channels: int) -> None:
    """Raise `ShapeError` unless `pooled` is (B, channels) for the pictures x."""
    if not _followed() and tuple(pooled.shape) != (len(x), channels):
        raise ShapeError(f"{type(net).__name__}: pooled {tuple(pooled.shape)} must be {(len(x), channels)}")


def chosen(presets: Mapping[str, Shape], name: str, **changes: Any) -> Shape:
    """The preset of a net with some of its fields changed.

    Raises `ParamError` for an unknown name or field, and for a value that is not what the field is declared as.
    """
    if name not in presets:
        raise ParamError(f"preset={name!r} is unknown; {nearest(name, presets)}")
    known = [f.name for f in fields(presets[name])]
    for field in changes:
        if field not in known:
            raise ParamError(f"no option {field!r}; {nearest(field, known)}")
    hints = get_type_hints(type(presets[name]))
    return replace(presets[name], **{field: typed(field, hints[field], value) for field, value in changes.items()})


def typed(name: str, hint: Any, value: Any) -> Any:
    """An option's value as its annotation says: bool, int, float, str, a Literal, a tuple, a mapping, or None.

    Whole floats stand for int, int for float. Raises `ParamError` naming the option, its value and what it should be.
    """
    origin, inner = get_origin(hint), get_args(hint)
    if hint is Any:
        return value
    if origin in (Union, types.UnionType):
        kinds = [kind for kind in inner if kind is not type(None)]
        return None if value is None and len(kinds) < len(inner) else typed(name, kinds[0], value)
    if origin is Literal:
        if value not in inner:
            raise ParamError(f"{name}={value!r} is unknown; {nearest(str(value), map(str, inner))}")
        return value
    if origin is tuple:
        return _tuple(name, inner, value)
    number = isinstance(value, int | float) and not isinstance(value, bool)
    fits, law = {
        bool: (isinstance(value, bool), "true or false"),
        int: (number and float(value).is_integer(), "a whole number"),
        float: (number, "a number, such as 0.001"),
        str: (isinstance(value, str), "a word"),
        Mapping: (isinstance(value, Mapping), "a mapping of names"),
    }[origin or hint]
    if not fits:
        raise ParamError(f"{name}={value!r} should be {law}")
    return value if origin is Mapping else hint(value)


def _tuple(name: str, inner: tuple[Any, ...], value: Any) -> tuple[Any, ...]:
    open_ended = inner[1:] == (Ellipsis,)
    if not isinstance(value, list | tuple) or (not open_ended and len(value) != len(inner)):
        raise ParamError(f"{name}={value!r} should be a list" + ("" if open_ended else f" of {len(inner)}"))
    kinds = inner[:1] * len(value) if open_ended else inner
    return tuple(typed(f"{name}[{i}]", kind, item) for i, (kind, item) in enumerate(zip(kinds, value, strict=True)))


def at_least(where: str, least: int, **values: int) -> None:
    """Raise `ParamError` for a value below `least`."""
    for name, value in values.items():
        if value < least:
            raise ParamError(f"{where}: {name}={value} must be at least {least}")


def unpacked(x: Tensor) -> Tensor:
    """Twelve planes of half size -> (B, 3, H, W): the sub-pixel convolution's last step (Shi et al. 2016)."""
    return F.pixel_shuffle(x, 2)


def _followed() -> bool:
    """Whether a compiler or exporter runs the net, for which a check of shapes would fix them."""
    return torch.compiler.is_compiling() or bool(torch.jit.is_tracing())  # type: ignore[attr-defined, no-untyped-call]
