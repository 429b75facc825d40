"""A network in a black box's place: the same knobs and domains, and gradients for all of them."""

from __future__ import annotations

import io
import os
import pickle
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ispkit.core.errors import DomainError, FileError, ParamError, ShapeError
from ispkit.core.frame import Domain, Frame
from ispkit.core.param import Choice, Knob, Values
from ispkit.core.space import ParamSpace
from ispkit.io.atomic import write_bytes
from ispkit.isp.pipeline import ISP
from ispkit.nets.unet import ProxyUNet
from ispkit.ops import cfa
from ispkit.ops.levels import linearize

_FORMAT = 1


class ProxyISP(nn.Module):
    """`net` imitates `teacher`: it reads what the teacher reads and gives encoded RGB.

    A mosaic is normalized to black 0 and white 1 and read as RGGB sites whatever its phase; the camera's
    other facts are not seen, so one proxy stands for one camera under one light. In evaluation mode the
    picture is clipped to [0, 1], in training mode it is not. `space` may leave out knobs of the teacher
    that stay where they were when the net was trained. Raises `DomainError`, `ShapeError`.
    """

    def __init__(self, teacher: ISP, net: ProxyUNet, space: ParamSpace | None = None) -> None:
        super().__init__()
        self.space, self.reads, self.writes = space or teacher.space, teacher.reads, teacher.writes
        if self.writes is not Domain.DISPLAY_RGB:
            raise DomainError(f"a proxy imitates pictures (display_rgb), this ISP writes {self.writes.value}")
        pixels = input_channels(self.reads)
        if (net.knobs, net.pixels) != (self.space.dim, pixels):
            have = f"{net.knobs} knobs and {net.pixels} channels"
            raise ShapeError(f"the net takes {have}, this ISP has {self.space.dim} knobs and gives {pixels} channels")
        self.net = net

    def forward(self, frame: Frame, values: Values | None = None) -> Frame:
        """Imitate; a knob left out has its default. Gradients reach tensors in `values`.

        Between two options a `Choice` may have a fraction as a floating-point tensor: 0.5 lies halfway
        between the first and the second. Raises `ParamError` for a knob that the proxy does not know.
        """
        return self.render(frame, self.units(values or {}))

    def units(self, values: Values) -> Tensor:
        """Values -> (P,) or (B, P) in the unit cube, differentiable. Raises `ParamError`."""
        known = {n: v for n, v in values.items() if not _is_relaxed(self.space[n], v)}
        self.space.check(known, tensors=False)
        columns = [_unit(knob, values.get(name, knob.default)) for name, knob in self.space.items()]
        if not columns:
            return torch.zeros(0)
        weights = next(self.net.parameters())
        columns = [c.to(weights) for c in columns]
        return torch.stack(torch.broadcast_tensors(*columns), dim=-1)  # type: ignore[no-untyped-call]

    def render(self, frame: Frame, units: Tensor) -> Frame:
        """Imitate at points of the unit cube, (P,) or (B, P); the door for methods that need gradients."""
        frame.expect(self.reads, "proxy")
        settings = units if units.ndim == 2 else units[None]
        if frame.batch not in (1, len(settings)) and len(settings) != 1:
            raise ShapeError(f"{len(settings)} settings do not fit a batch of {frame.batch} frames")
        pixels, corner = padded(sites(frame) if self.net.pixels == 4 else (frame.data, (0, 0)), self.net.multiple)
        weights = next(self.net.parameters())
        picture = self.net(pixels.to(weights), settings.to(weights))
        (y, x), (height, width) = corner, frame.size
        picture = picture[..., y : y + height, x : x + width]
        whole = frame if frame.batch == len(picture) else frame.repeat(len(picture))
        return whole.with_data(picture if self.training else picture.clamp(0.0, 1.0), Domain.DISPLAY_RGB)


def input_channels(domain: Domain) -> int:
    """Channels that a proxy's net reads: 4 sites of a mosaic, or 3 colors."""
    return 4 if domain.channels == 1 else 3


def sites(frame: Frame) -> tuple[Tensor, tuple[int, int]]:
    """The R, G, G, B sites (B, 4, h, w), black 0 and white 1, and where the frame's first pixel sits (y, x).

    A mosaic of another phase, or of an odd size, is continued by reflection, which keeps its colors in place.
    """
    mosaic = frame.data
    if frame.domain is Domain.RAW:
        mosaic = linearize(mosaic, frame.meta.black_level, frame.meta.white_level)
    y, x = divmod(frame.meta.cfa.index("R"), 2)
    height, width = frame.size
    return cfa.planes(_reflect(mosaic, (x, (width + x) % 2, y, (height + y) % 2))), (y, x)


def padded(pixels: tuple[Tensor, tuple[int, int]], multiple: int) -> tuple[Tensor, tuple[int, int]]:
    """Continue (B, C, H, W) below and to the right to sides in multiples of `multiple`."""
    data, corner = pixels
    height, width = data.shape[-2:]
    return _reflect(data, (0, -width % multiple, 0, -height % multiple)), corner


def _reflect(data: Tensor, pad: tuple[int, int, int, int]) -> Tensor:
    """Mirror without repeating the edge, as often as needed (F.pad does it once)."""
    left, right, top, bottom = pad
    if not any(pad):
        return data
    if min(data.shape[-2:]) < 2:
        raise ShapeError(f"a picture of {tuple(data.shape[-2:])} pixels is too small for a proxy")
    while right or bottom or left or top:
        height, width = data.shape[-2:]
        step = (left, min(right, width - 1), top, min(bottom, height - 1))
        data = F.pad(data, step, mode="reflect")
        left, right, top, bottom = 0, right - step[1], 0, bottom - step[3]
    return data


def _is_relaxed(knob: Knob, value: object) -> bool:
    return isinstance(knob, Choice) and isinstance(value, Tensor) and value.is_floating_point()


def _unit(knob: Knob, value: Any) -> Tensor:
    if isinstance(knob, Choice):
        index = value if _is_relaxed(knob, value) else knob.index(value).float()
        return torch.as_tensor((index + 0.5) / len(knob.options))
    if isinstance(value, str):
        raise ParamError(f"{value!r} must be a number")
    return knob.to_unit(value)


def _signature(space: ParamSpace) -> dict[str, str]:
    """What decides where a value lies in the unit cube; defaults and explanations may differ."""
    marks = {}
    for name, knob in space.items():
        marks[name] = (
            "|".join(knob.options) if isinstance(knob, Choice) else f"{knob.low:.9g}..{knob.high:.9g} {knob.scale}"
        )
    return marks


def save_proxy(path: str | os.PathLike[str], proxy: ProxyISP, **facts: float | str) -> None:
    """Write weights and what they belong to, whole or not at all; `facts` are kept, e.g. the held-out PSNR."""
    net = proxy.net
    content = {
        "format": _FORMAT,
        "knobs": _signature(proxy.space),
        "reads": proxy.reads.value,
        "channels": list(net.channels),
        "residual": net.residual,
        "activation": net.activation,
        "facts": dict(facts),
        "weights": {k: v.detach().cpu() for k, v in net.state_dict().items()},
    }
    buffer = io.BytesIO()
    torch.save(content, buffer)
    write_bytes(path, buffer.getbuffer())


def load_proxy(path: str | os.PathLike[str], teacher: ISP, space: ParamSpace | None = None) -> ProxyISP:
    """The proxy of `teacher` from a file, in evaluation mode. Raises `FileError` where it is another ISP's."""
    content = _read(Path(path))
    wanted = space or teacher.space
    for what, have, want in (
        ("format", content["format"], _FORMAT),
        ("knobs", content["knobs"], _signature(wanted)),
        ("domain", content["reads"], teacher.reads.value),
    ):
        if have != want:
            raise FileError(f"{path}: {what} of this proxy: {have}; of this ISP: {want}; train a proxy of its own")
    net = ProxyUNet(
        wanted.dim,
        pixels=input_channels(teacher.reads),
        channels=content["channels"],
        residual=content["residual"],
        activation=content["activation"],
    )
    try:
        net.load_state_dict(content["weights"])
    except RuntimeError as error:
        raise FileError(f"{path}: the weights do not fit a net of {content['channels']} channels") from error
    return ProxyISP(teacher, net, space).eval()


def _read(path: Path) -> dict[str, Any]:
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, RuntimeError, EOFError, pickle.UnpicklingError) as error:
        raise FileError(f"{path}: not a proxy: {str(error).splitlines()[0] if str(error) else error!r}") from error
    keys = {"format", "knobs", "reads", "channels", "residual", "activation", "weights"}
    if not isinstance(content, dict) or not keys <= set(content):
        raise FileError(f"{path}: not a proxy; write one with `save_proxy`")
    return content
