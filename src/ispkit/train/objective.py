"""What a phase makes small, as a module: a sample in, the summands of the loss out; and its PSNR on held-out data."""

from __future__ import annotations

from collections.abc import Iterable
from typing import cast

import torch
from torch import Tensor, nn

from ispkit.core.errors import DomainError, RecipeError, ShapeError, nearest
from ispkit.core.frame import Domain, Frame
from ispkit.data.samples import Sample
from ispkit.isp.learned.learned_isp import LearnedISP
from ispkit.isp.learned.part import Part
from ispkit.metrics.fidelity import psnr
from ispkit.nets.picture_net import PictureNet
from ispkit.train.config import Phase, Term

_MOST_DB = 120.0
"""what a picture without any error counts"""


class Objective(nn.Module):
    """The parts of an ISP that a phase needs, and its loss.

    Parts that do not learn are frozen and in evaluation mode. Adapters and losses run in fp32; the nets in `dtype`
    under autocast where it is given. Raises `RecipeError` for parts that the ISP does not have.
    """

    def __init__(self, isp: LearnedISP, phase: Phase, *, dtype: torch.dtype | None = None) -> None:
        super().__init__()
        self.isp, self.learning, self.dtype = isp, phase.parts, dtype
        parts = list(isp.named_parts)
        for name in (*phase.parts, *(t.part for t in phase.loss if t.part is not None)):
            if name not in parts:
                raise RecipeError(f"phase {phase.name!r}: the ISP has no part {name!r}; {nearest(name, parts)}")
        last = max(phase.parts, key=parts.index)
        self.terms = [(t, t.part or last) for t in phase.loss]
        self.losses = [t.loss() for t in phase.loss]
        for term, part in self.terms:
            self._check(phase, term, part)
        isp.requires_grad_(False)
        for name in phase.parts:
            isp.parts[name].requires_grad_(True)

    def train(self, mode: bool = True) -> Objective:
        """Only what learns is ever in training mode."""
        super().train(mode)
        for name, part in self.isp.parts.items():
            part.train(mode and name in self.learning)
        return self

    def trained(self) -> list[nn.Parameter]:
        """What learns."""
        return [p for p in self.isp.parameters() if p.requires_grad]

    def forward(self, sample: Sample) -> Tensor:
        """The weighted summands of the loss, (terms,)."""
        made = self._made(sample)
        values = []
        for (term, part), loss in zip(self.terms, self.losses, strict=True):
            frame = made[part, term.reads]
            values.append(term.weight * loss(frame.data.float(), _target(sample, frame, part).float()))
        return torch.stack(values)

    @torch.no_grad()
    def psnr_db(self, sample: Sample) -> float:
        """Of the last summand's picture against its target, both clipped to [0, 1], the mean over a batch."""
        term, part = self.terms[-1]
        frame = self._made(sample)[part, term.reads]
        wanted = _target(sample, frame, part)
        values = psnr(frame.data.float().clamp(0, 1), wanted.clamp(0, 1), data_range=1.0)
        return float(values.clamp(max=_MOST_DB).mean())

    def _made(self, sample: Sample) -> dict[tuple[str, str], Frame]:
        """The frames that the loss asks for, by part and by what it read."""
        made: dict[tuple[str, str], Frame] = {}
        wanted = [part for term, part in self.terms if term.reads == "frame"]
        frame = sample.frame
        for name, part in self.isp.named_parts.items() if wanted else ():
            frame = made[name, "frame"] = part(frame, self._run)
            if set(wanted) <= {n for n, _ in made}:
                break
        for name in {part for term, part in self.terms if term.reads == "restored"}:
            made[name, "restored"] = self._part(name)(_restored(sample), self._run)
        return made

    def _run(self, net: PictureNet, x: Tensor) -> Tensor:
        """The net in the phase's precision, its picture in fp32 again."""
        if self.dtype is None:
            return cast(Tensor, net(x))
        with torch.autocast(x.device.type, self.dtype):
            return cast(Tensor, net(x)).float()

    def _part(self, name: str) -> Part:
        return self.isp.named_parts[name]

    def _check(self, phase: Phase, term: Term, part: str) -> None:
        where, writes = f"phase {phase.name!r}, loss {term.name!r} of part {part!r}", self._part(part).writes
        if writes not in (Domain.LINEAR_RGB, Domain.DISPLAY_RGB):
            raise DomainError(f"{where}: it writes {writes.value}, for which samples have no target")
        if term.reads == "restored" and self._part(part).reads is not Domain.LINEAR_RGB:
            raise DomainError(f"{where}: it reads {self._part(part).reads.value}, a restored picture is linear_rgb")


def evaluate(objective: Objective, samples: Iterable[Sample], *, device: torch.device) -> tuple[float, float]:
    """The sum of the PSNRs in dB of samples of one picture each, in evaluation mode, and their number."""
    objective.eval()
    values = [objective.psnr_db(sample.to(device)) for sample in samples]
    objective.train()
    return sum(values), float(len(values))


def _restored(sample: Sample) -> Frame:
    """The true restored picture as the frame that a part would have made."""
    if sample.restored is None:
        raise ShapeError(f"{', '.join(sample.names)}: the loss needs a restored picture, these data bring none")
    ones = torch.ones_like(sample.frame.meta.neutral)
    silent = torch.zeros_like(sample.frame.meta.noise_profile)
    return sample.frame.with_data(
        sample.restored, Domain.LINEAR_RGB, neutral=ones, noise_profile=silent, noise_map=None
    )


def _target(sample: Sample, made: Frame, part: str) -> Tensor:
    if made.domain is Domain.DISPLAY_RGB:
        return sample.target
    if sample.restored is None:
        who = ", ".join(sample.names)
        raise ShapeError(f"{who}: part {part!r} makes restored pictures, these data bring none to compare with")
    return sample.restored
