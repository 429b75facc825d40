"""What a phase makes small, as a module: a sample in, the summands of the loss out; and its score on held-out data."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ispkit.core.errors import DomainError, RecipeError, ShapeError, nearest
from ispkit.core.frame import Domain, Frame
from ispkit.data.samples import Labels, Sample
from ispkit.isp.learned.part import Part
from ispkit.metrics.fidelity import psnr
from ispkit.nets.dir import DirNet
from ispkit.nets.picture_net import PictureNet
from ispkit.perceive.head import Head
from ispkit.perceive.joint import HEAD, JointModel
from ispkit.perceive.scores import MEASURES, scores
from ispkit.train.config import TASK, Phase, Term
from ispkit.train.learnable import Model, learnable, learnable_names, part_of
from ispkit.train.net_losses import net_loss
from ispkit.train.representation import Alignment, Reference, full

PSNR = "psnr_db"
_MOST_DB = 120.0
"""what a picture without any error counts"""


class Objective(nn.Module):
    """The parts of a model that a phase needs, and its loss, with the networks that only the loss has.

    Parts that do not learn are frozen and in evaluation mode. Adapters and losses run in fp32; the nets in `dtype`
    under autocast where it is given. Raises `RecipeError` for parts that the model does not have.
    """

    def __init__(self, model: Model, phase: Phase, *, dtype: torch.dtype | None = None) -> None:
        super().__init__()
        self.model, self.learning, self.dtype = model, phase.parts, dtype
        parts, known = list(model.named_parts), learnable_names(model)
        for name, words in (*((p, known) for p in phase.parts), *((t.part, parts) for t in phase.loss)):
            if name is not None and name not in words:
                raise RecipeError(f"phase {phase.name!r}: the model has no part {name!r}; {nearest(name, words)}")
        of_isp = [p for p in parts if p != HEAD]
        learning = [part_of(p) for p in phase.parts if p != HEAD]
        last = max(learning, key=parts.index, default=of_isp[-1] if of_isp else HEAD)
        self.terms = [(t, HEAD if t.of_head else t.part or last) for t in phase.loss]
        self.losses = [t.loss() for t in phase.loss]
        for term, part in self.terms:
            self._check(phase, term, part)
        self.of_nets = nn.ModuleDict(
            {
                str(i): net_loss(f"phase {phase.name!r}", term.name, self._isp_parts[part].net, term.options)
                for i, (term, part) in enumerate(self.terms)
                if term.of_net
            }
        )
        self._refined: Tensor | None = None
        model.requires_grad_(False)
        for name in phase.parts:
            learnable(model, name).requires_grad_(True)

    def train(self, mode: bool = True) -> Objective:
        """Only what learns is ever in training mode, and the parts that it lies in."""
        super().train(mode)
        self.model.eval()
        for part in {part_of(name) for name in self.learning} if mode else ():
            self.model.named_parts[part].training = True
        for name in self.learning:
            learnable(self.model, name).train(mode)
        return self

    def trained(self) -> list[nn.Parameter]:
        """What learns, the networks of the loss included."""
        return [p for p in self.parameters() if p.requires_grad]

    def forward(self, sample: Sample) -> Tensor:
        """The weighted summands of the loss, (terms,)."""
        self._refined = None
        made = self._made(sample)
        values = []
        for i, ((term, part), loss) in enumerate(zip(self.terms, self.losses, strict=True)):
            if term.of_net:
                values.append(term.weight * self._of_net(i, part, sample))
                continue
            frame = made[part, term.reads]
            if loss is None:
                values.append(term.weight * self._of_head(term, frame, sample))
            else:
                values.append(term.weight * loss(frame.data.float(), _target(sample, frame, part).float()))
        return torch.stack(values)

    @property
    def measure(self) -> str:
        """What `score` is: "psnr_db", or a head's where its own loss is among the summands."""
        tasks = any(term.name == TASK for term, _ in self.terms)
        return MEASURES[self._head.task] if tasks else PSNR

    @torch.no_grad()
    def score(self, sample: Sample) -> float:
        """The mean over a batch, higher is better.

        Where the head learns its task, the head's score; else the PSNR of the last summand's picture against its
        target, both clipped to [0, 1]; where all summands are about what a net has inside, of the picture that the
        last of them decodes.
        """
        made = self._made(sample)
        if self.measure != PSNR:
            frame, head = made[HEAD, "frame"], self._head
            return float(scores(head, self._looked(frame), _labels(sample), frame.size).mean())
        pictures = [(term, part) for term, part in self.terms if not term.of_net]
        if not pictures:
            return _closeness(self._decoded(sample), sample.target)
        term, part = pictures[-1]
        frame = made[part, term.reads]
        return _closeness(frame.data, sample.target if part == HEAD else _target(sample, frame, part))

    def _made(self, sample: Sample) -> dict[tuple[str, str], Frame]:
        """The frames that the loss asks for, by part and by what it read; at the head, what it looks at."""
        made: dict[tuple[str, str], Frame] = {}
        wanted = {part for term, part in self.terms if term.reads == "frame" and not term.of_net}
        frame = sample.frame
        for name, part in self._isp_parts.items() if wanted else ():
            frame = made[name, "frame"] = part(frame, self._run)
            if wanted <= {n for n, _ in made}:
                break
        if HEAD in wanted:
            made[HEAD, "frame"] = frame
        for name in {part for term, part in self.terms if term.reads == "restored"}:
            made[name, "restored"] = self._isp_parts[name](_restored(sample), self._run)
        return made

    def _of_net(self, index: int, part: str, sample: Sample) -> Tensor:
        """What the representations of a part's net lack."""
        loss, net = self.of_nets[str(index)], self._isp_parts[part].net
        if any(side % net.multiple for side in sample.frame.size):
            size = "x".join(map(str, sample.frame.size))
            raise ShapeError(
                f"loss {self.terms[index][0].name!r}: frames of {size} px are no multiples of {net.multiple}; "
                "set data.patch to such"
            )
        with torch.autocast(sample.target.device.type, self.dtype, enabled=self.dtype is not None):
            if isinstance(loss, Alignment) and self._refined is not None:
                return loss.apart(net, self._refined, sample.target, sample.views)
            value: Tensor = loss(net, sample.frame.data, sample.target, sample.views)
        return value

    def _decoded(self, sample: Sample) -> Tensor:
        """The picture of the last summand; without one, that of its part."""
        index, (_, part) = len(self.terms) - 1, self.terms[-1]
        loss, net = self.of_nets[str(index)], self._isp_parts[part].net
        if isinstance(loss, Reference):
            return loss.picture(net, sample.target)
        made: Frame = self._isp_parts[part](sample.frame, self._run)
        return made.data

    def _of_head(self, term: Term, frame: Frame, sample: Sample) -> Tensor:
        """The head's loss of the labels, or how different the picture and its target look to it."""
        if term.name == TASK:
            return self._head.loss(self._looked(frame), _labels(sample), frame.size)
        with torch.no_grad():
            wanted = self._head.features(sample.target)
        return F.mse_loss(self._head.features(frame.data.clamp(0, 1)), wanted)

    def _looked(self, frame: Frame) -> Tensor:
        with torch.autocast(frame.data.device.type, self.dtype, enabled=self.dtype is not None):
            output: Tensor = self._head(frame.data.clamp(0, 1))
        return output.float()

    def _run(self, net: PictureNet, x: Tensor) -> Tensor:
        """The net in the phase's precision, its picture in fp32 again."""
        with torch.autocast(x.device.type, self.dtype, enabled=self.dtype is not None):
            if isinstance(net, DirNet):  # what a loss looks at as well is not made twice
                self._refined = net.refined(x)
                return full(net.decoded(self._refined))
            return full(cast(Tensor, net(x)))

    @property
    def _isp_parts(self) -> Mapping[str, Part]:
        isp = self.model.isp if isinstance(self.model, JointModel) else self.model
        return {} if isp is None else isp.named_parts

    @property
    def _head(self) -> Head:
        return cast(JointModel, self.model).head

    def _check(self, phase: Phase, term: Term, part: str) -> None:
        where = f"phase {phase.name!r}, loss {term.name!r} of part {part!r}"
        if term.of_head:
            if HEAD not in self.model.named_parts:
                raise RecipeError(f"{where}: the recipe names no head; add `head: mobilenet-v1`, for example")
            return
        if part == HEAD:
            raise RecipeError(f"{where}: it compares pictures, a head makes none; write `{TASK}` for the head's loss")
        reads, writes = self._isp_parts[part].reads, self._isp_parts[part].writes
        if term.of_net and reads is not Domain.DISPLAY_RGB:
            raise DomainError(
                f"{where}: the part reads {reads.value}; only finished pictures have representations here"
            )
        if writes not in (Domain.LINEAR_RGB, Domain.DISPLAY_RGB):
            raise DomainError(f"{where}: it writes {writes.value}, for which samples have no target")
        if term.reads == "restored" and reads is not Domain.LINEAR_RGB:
            raise DomainError(f"{where}: it reads {reads.value}, a restored picture is linear_rgb")


def evaluate(objective: Objective, samples: Iterable[Sample], *, device: torch.device) -> tuple[float, float]:
    """The sum of the scores of samples of one picture each, in evaluation mode, and their number.

    A picture without any label that counts has none for a head.
    """
    objective.eval()
    scored = [objective.score(sample.to(device)) for sample in samples]
    objective.train()
    empty = objective.measure != PSNR and not all(map(math.isnan, scored))
    values = [value for value in scored if not (empty and math.isnan(value))]
    return sum(values), float(len(values))


def _closeness(made: Tensor, wanted: Tensor) -> float:
    values = psnr(made.float().clamp(0, 1), wanted.clamp(0, 1), data_range=1.0)
    return float(values.clamp(max=_MOST_DB).mean())


def _labels(sample: Sample) -> Labels:
    if sample.labels is None:
        raise ShapeError(f"{', '.join(sample.names)}: the loss needs labels, these data bring none")
    return sample.labels


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
