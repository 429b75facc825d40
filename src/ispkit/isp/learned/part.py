"""`Part`: one network of an ISP with its adapter, a frame in and a frame out."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor, nn

from ispkit.core.errors import ShapeError
from ispkit.core.frame import Domain, Frame
from ispkit.isp.learned.adapters import Adapter
from ispkit.isp.proxy import padded
from ispkit.nets.picture_net import PictureNet

Runner = Callable[[PictureNet, Tensor], Tensor]
"""how a net is applied to (B, C, h, w): whole, or in tiles"""


def whole(net: PictureNet, x: Tensor) -> Tensor:
    """The net on the whole picture at once."""
    picture: Tensor = net(x)
    return picture


class Part(nn.Module):
    """A network of pictures between an adapter's two sides.

    In evaluation mode a DISPLAY_RGB frame is clipped to [0, 1], in training mode it is not. Raises `ShapeError` if net
    and adapter do not fit.
    """

    def __init__(self, net: PictureNet, adapter: Adapter) -> None:
        super().__init__()
        if net.inputs != adapter.channels:
            who = type(adapter).__name__
            raise ShapeError(f"{type(net).__name__} reads {net.inputs} channels, {who} gives {adapter.channels}")
        self.net, self.adapter = net, adapter

    @property
    def reads(self) -> Domain:
        """The domain of the frames it takes; MOSAIC means RAW as well."""
        return self.adapter.reads

    @property
    def writes(self) -> Domain:
        """The domain of the frames it gives."""
        return self.adapter.writes

    def takes(self, domain: Domain) -> bool:
        """Whether frames of this domain can enter here."""
        return domain is self.reads or (domain is Domain.RAW and self.reads is Domain.MOSAIC)

    def forward(self, frame: Frame, run: Runner = whole) -> Frame:
        """Make the picture; `run` applies the net. Raises `DomainError`, `ShapeError`."""
        return self.finished(run(self.net, self.prepared(frame)), frame)

    def prepared(self, frame: Frame) -> Tensor:
        """What the net reads of a frame, (B, C, h, w) continued by reflection to its multiple, in its own dtype."""
        x = self.adapter.enter(self.adapter.gather(frame))
        return padded((x, (0, 0)), self.net.multiple)[0].to(next(self.net.parameters()))

    def finished(self, out: Tensor, frame: Frame) -> Frame:
        """The frame of what the net made of `prepared(frame)`."""
        made = self.adapter.place(self.adapter.leave(out), frame)
        if self.training or made.domain is not Domain.DISPLAY_RGB:
            return made
        return made.with_data(made.data.clamp(0.0, 1.0))
