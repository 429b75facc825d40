"""An ISP and the network that looks at its pictures, as one model."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from ispkit.core.errors import DomainError, FileError, IspkitError
from ispkit.core.frame import Domain, Frame
from ispkit.isp.learned.catalog import build
from ispkit.isp.learned.learned_isp import LearnedISP
from ispkit.isp.learned.part import Runner, whole
from ispkit.isp.learned.weights import Card, read_weights
from ispkit.perceive.head import Head, Seen
from ispkit.perceive.heads import open_head

_MOST = {"classes": 100_000, "width": 8.0, "size": 10_000, "stem_stride": 2}
HEAD = "head"
"""its name among the parts"""


class JointModel(nn.Module):
    """A learned ISP with a head behind it (Diamond et al. 2021, figure 2); without an ISP, a head for finished frames.

    The head sees the picture clipped to [0, 1], in training as in use. Raises `DomainError` for an ISP that does not
    end in DISPLAY_RGB, or that has a part called "head".
    """

    def __init__(self, isp: LearnedISP | None, head: Head) -> None:
        super().__init__()
        if isp is not None and isp.writes is not Domain.DISPLAY_RGB:
            raise DomainError(f"a head looks at display_rgb pictures; this ISP ends in {isp.writes.value}")
        if isp is not None and HEAD in isp.named_parts:
            raise DomainError(f"an ISP before a head must not have a part called {HEAD!r}")
        self.isp, self.head = isp, head

    @property
    def named_parts(self) -> dict[str, nn.Module]:
        """What can be trained alone: the ISP's parts in order, then the head."""
        parts: dict[str, nn.Module] = {} if self.isp is None else dict(self.isp.named_parts)
        return parts | {HEAD: self.head}

    def picture(self, frame: Frame, run: Runner = whole) -> Frame:
        """What the head will see, not yet clipped. Raises `DomainError`."""
        for part in {} if self.isp is None else self.isp.entered_at(frame).values():
            frame = part(frame, run)
        frame.expect(Domain.DISPLAY_RGB, "a head")
        return frame

    def forward(self, frame: Frame) -> Tensor:
        """The head's raw output. Raises `DomainError`."""
        return self.looked(self.picture(frame))

    def looked(self, picture: Frame) -> Tensor:
        """The head's raw output for what `picture` made."""
        output: Tensor = self.head(picture.data.clamp(0.0, 1.0))
        return output

    @staticmethod
    def load(path: str | Path, head: Head | None = None) -> JointModel:
        """What a training with a head wrote, in evaluation mode on the CPU.

        A head that is code of the user's is never loaded by what a file says: pass it as `head`. Raises `FileError`.
        """
        file = Path(path)
        tensors, card = read_weights(file)
        if card.head is None:
            raise FileError(f"{file}: an ISP without a head; pass it where an ISP is wanted")
        model = JointModel(_isp(file, card), head or _head(file, card.head))
        try:
            model.load_state_dict(tensors)
        except RuntimeError as error:
            reason = " ".join(str(error).split())[:160]
            raise FileError(f"{file}: its weights do not fit what its card says: {reason}") from error
        return model.eval().requires_grad_(False)

    def see(self, frame: Frame) -> tuple[Frame, list[Seen]]:
        """The picture, in [0, 1], and what is in each of the batch."""
        made = self.picture(frame)
        made = made.with_data(made.data.clamp(0.0, 1.0))
        return made, list(self.head.seen(self.looked(made), made.size))


def _isp(file: Path, card: Card) -> LearnedISP | None:
    try:
        return build(card.name, **card.options) if card.name else None
    except (IspkitError, TypeError) as error:
        raise FileError(f"{file}: its card names an ISP that cannot be built: {error}") from error


def _head(file: Path, spec: Mapping[str, Any]) -> Head:
    options = {k: v for k, v in spec.items() if k != "name"}
    name = str(spec.get("name"))
    if name.startswith("module:") or name.endswith((".yaml", ".yml")):
        raise FileError(f"{file}: its head is {name!r}, code of somebody's; open it yourself and pass it as `head`")
    names = options.get("names", [])
    plain = isinstance(names, list) and all(isinstance(word, str) for word in names)
    wild = [
        k for k, most in _MOST.items() if not (isinstance(options.get(k, 0), int | float) and options.get(k, 0) <= most)
    ]
    if "weights" in options or not plain or wild:  # a file that was not written here; it shall open no others
        raise FileError(
            f"{file}: its card describes no head: {', '.join(wild) or 'weights, or names that are no list'}"
        )
    try:
        return open_head(name, **options)
    except (IspkitError, TypeError) as error:
        raise FileError(f"{file}: its card names a head that cannot be built: {error}") from error
