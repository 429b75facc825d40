"""`FunctionISP`: any Python callable as a black box."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

from ispkit.core.errors import BlackBoxError
from ispkit.core.frame import Domain, Frame
from ispkit.core.space import ParamSpace
from ispkit.isp.external.base import BlackBox, Plain

Function = Callable[[Frame, Plain], Frame | Tensor]
"""(one frame, all knobs as plain values) -> a frame, or pixels (1, C, H, W) or (C, H, W)"""


class FunctionISP(BlackBox):
    """A callable that renders one frame; whatever it raises or gives back wrongly is a `BlackBoxError`.

    >>> import torch
    >>> from ispkit.core.meta import CameraMeta
    >>> from ispkit.core.param import Param
    >>> space = ParamSpace({"tone.gain": Param(default=1.0, low=0.0, high=2.0)})
    >>> isp = FunctionISP(lambda f, v: f.data * v["tone.gain"], space, Domain.DISPLAY_RGB, Domain.DISPLAY_RGB)
    >>> frame = Frame(torch.full((1, 3, 2, 2), 0.25), Domain.DISPLAY_RGB, CameraMeta.make("RGGB", (2, 2)))
    >>> float(isp(frame, {"tone.gain": 2.0}).data[0, 0, 0, 0])
    0.5
    """

    def __init__(self, function: Function, space: ParamSpace, reads: Domain, writes: Domain) -> None:
        self.function, self.space, self.reads, self.writes = function, space, reads, writes

    def render_one(self, frame: Frame, values: Plain) -> Tensor:
        """Call the function and check what it gives: shape (C, H, W) of the frame's size, finite numbers."""
        name = getattr(self.function, "__name__", type(self.function).__name__)
        try:
            found = self.function(frame, values)
        except Exception as error:
            raise BlackBoxError(f"{name} raised {type(error).__name__}: {error}") from error
        pixels = found.data if isinstance(found, Frame) else found
        wanted = (self.writes.channels, *frame.size)
        if not isinstance(pixels, Tensor) or tuple(pixels.shape) not in (wanted, (1, *wanted)):
            shape = tuple(pixels.shape) if isinstance(pixels, Tensor) else type(pixels).__name__
            raise BlackBoxError(f"{name} gave {shape} where {wanted} was asked for")
        if isinstance(found, Frame) and found.domain is not self.writes:
            raise BlackBoxError(
                f"{name} gave a {found.domain.value} frame; it is declared to write {self.writes.value}"
            )
        if not bool(pixels.isfinite().all()):
            raise BlackBoxError(f"{name} gave values that are no finite numbers")
        return pixels.detach().reshape(wanted)
