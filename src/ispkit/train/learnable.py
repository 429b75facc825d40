"""What of a model can learn alone: its parts, and the stages of a part's network."""

from __future__ import annotations

from torch import nn

from ispkit.core.errors import RecipeError, nearest
from ispkit.isp.learned.learned_isp import LearnedISP
from ispkit.isp.learned.part import Part
from ispkit.perceive.joint import JointModel

Model = LearnedISP | JointModel
"""what a training trains"""


def learnable_names(model: Model) -> list[str]:
    """Parts in order, each followed by its stages: "isp", "isp.dir", "isp.align", ...

    >>> from ispkit.isp.learned.catalog import build
    >>> learnable_names(build("auto-encoder", preset="small"))
    ['isp', 'isp.encoder', 'isp.decoder']
    """
    found: list[str] = []
    for name, part in model.named_parts.items():
        stages = part.net.stages if isinstance(part, Part) else ()
        found += [name, *(f"{name}.{stage}" for stage in stages)]
    return found


def learnable(model: Model, name: str) -> nn.Module:
    """The part or stage of that name. Raises `RecipeError`."""
    known = learnable_names(model)
    if name not in known:
        raise RecipeError(f"the model has no part {name!r}; {nearest(name, known)}")
    part, _, stage = name.partition(".")
    module = model.named_parts[part]
    return module.net.get_submodule(stage) if stage and isinstance(module, Part) else module


def part_of(name: str) -> str:
    """The part that a name is of or in: "isp" of "isp.align"."""
    return name.partition(".")[0]
