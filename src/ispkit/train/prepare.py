"""A model before its first step: built from a recipe, with chosen weights, DeepISP's color transform fitted."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

import torch
from torch import Tensor

from ispkit.core.errors import FileError, ParamError, RecipeError
from ispkit.core.frame import Domain
from ispkit.data.pairs import RawPairs
from ispkit.data.synthetic_pairs import SyntheticPairs
from ispkit.isp.learned.catalog import build
from ispkit.isp.learned.learned_isp import LearnedISP
from ispkit.isp.learned.part import Part
from ispkit.isp.learned.weights import load_learned
from ispkit.nets.deepisp import DeepISP, fit_affine
from ispkit.perceive.heads import open_head
from ispkit.perceive.joint import HEAD, JointModel
from ispkit.train.config import Recipe
from ispkit.train.learnable import Model, learnable
from ispkit.train.stream import SampleSet

_OWN_HEADS = ("mobilenet-v1", "mobilenet-v2", "deeplab", "fastestdet")
"""whose weights come from a file; others bring theirs"""


def wants_classes(recipe: Recipe) -> bool:
    """Whether it has a head that is not told its classes: they are those of the data."""
    return recipe.head is not None and not any(recipe.head.options.get(key) for key in ("names", "classes"))


def head_options(recipe: Recipe, data: SampleSet) -> dict[str, Any]:
    """The options of the recipe's head; where they say no classes, with those of the data.

    Weights then get a fresh last layer; but labels that are numbers of a longer list, such as ImageNet's, are taken
    for those of the weights.
    """
    options = {} if recipe.head is None else dict(recipe.head.options)
    names: tuple[str, ...] = getattr(data, "names", ())
    own = options.get("weights") and getattr(data, "sparse", False)
    return {**options, "names": list(names)} if names and wants_classes(recipe) and not own else options


def untaught(recipe: Recipe) -> str:
    """A sentence where a head of ours neither learns here nor has weights, so that it says nothing; else empty."""
    head = recipe.head
    learns = any(HEAD in phase.parts for phase in recipe.phases)
    if head is None or learns or head.name not in _OWN_HEADS or head.options.get("weights"):
        return ""
    return (
        f"head {head.name} does not learn here and has fresh weights, which say nothing; name a file: head.weights=FILE"
    )


def check_classes(model: Model, data: SampleSet) -> None:
    """Raise `RecipeError` for labels that the head has no class for."""
    if not isinstance(model, JointModel):
        return
    needed, known = getattr(data, "classes", 0), model.head.names
    if model.head.task == "classify" and needed > len(known):
        told = ", ".join(known[:3])
        raise RecipeError(f"head: knows {len(known)} classes ({told}, ...), the pictures have {needed}; see head.names")


def build_model(recipe: Recipe, options: Mapping[str, Any] | None = None) -> Model:
    """The recipe's ISP, head, or both, with fresh weights of its seed, or those of `start` for the ISP.

    `options` are the head's, in place of the recipe's own (`head_options`). Raises `RecipeError`, `FileError`.
    """
    with torch.random.fork_rng([]):
        torch.manual_seed(recipe.seed)
        isp = _isp(recipe)
        if recipe.head is None:
            return cast(LearnedISP, isp)  # a recipe has at least one of the two
        try:
            head = open_head(recipe.head.name, **(recipe.head.options if options is None else options))
        except ParamError as error:
            raise RecipeError(f"head: {error}") from error
    return JointModel(isp, head)


def _isp(recipe: Recipe) -> LearnedISP | None:
    if recipe.isp is None:
        return None
    try:
        isp = build(recipe.isp.name, **recipe.isp.options)
    except ParamError as error:
        raise RecipeError(f"isp: {error}") from error
    if recipe.start is not None:
        _begin(isp, recipe)
    return isp


def _begin(isp: LearnedISP, recipe: Recipe) -> None:
    """The weights of `recipe.start`, or those of some of its parts."""
    begun, card = load_learned(str(recipe.start))
    names = recipe.start_parts or tuple(isp.named_parts)
    try:
        for name in names:
            learnable(isp, name).load_state_dict(learnable(begun, name).state_dict())
    except (RuntimeError, RecipeError) as error:
        mine, theirs = f"{recipe.isp}", f"{card.name} {dict(card.options)}"
        raise FileError(f"start: {recipe.start} holds {theirs}; that does not begin {mine}: {error}") from error


def fit_transform(model: Model, recipe: Recipe, data: SampleSet) -> None:
    """Start DeepISP's W at the mean or median of the affine maps that fit each training picture; section IV-C.

    One window of each of `recipe.w_init_pictures` pictures is looked at. Nothing without `recipe.w_init`, and nothing
    with `recipe.start`: those weights have learned what to add to the W that came with them, and keep it. Raises
    `RecipeError` for an ISP without a part that is a DeepISP.
    """
    if recipe.w_init is None:
        return
    nets = [p for p in model.named_parts.values() if isinstance(p, Part)]
    parts = [p for p in nets if isinstance(p.net, DeepISP) and not p.net.shape.low_only]
    if not parts:
        name = recipe.isp.name if recipe.isp else "a head"
        raise RecipeError(f"w_init: {name!r} has no color transform to fit; leave w_init out")
    if recipe.start is not None:
        return
    part = parts[0]
    data.set_epoch(0)
    fits = [_fit(part, data, i) for i in _one_of_each(data)[: recipe.w_init_pictures]]
    stack = torch.cat(fits)
    average = stack.mean(0) if recipe.w_init == "mean" else stack.median(0).values
    cast(DeepISP, part.net).set_initial_transform(average)


def _one_of_each(data: SampleSet) -> range:
    """Indices of one window of each picture."""
    if isinstance(data, RawPairs):  # windows of a pair follow each other
        return range(0, len(data), data.settings.windows)
    if isinstance(data, SyntheticPairs):  # every picture comes once before the first comes again
        return range(len(data.pictures))
    return range(len(data))


@torch.no_grad()
def _fit(part: Part, data: SampleSet, index: int) -> Tensor:
    """The affine map (1, 3, 4) from what the net reads to what it should give, one picture."""
    sample = data[index]
    height, width = sample.frame.size
    read = part.prepared(sample.frame)[..., :height, :width]
    wanted = sample.target if part.writes is Domain.DISPLAY_RGB else sample.restored
    if wanted is None:
        raise RecipeError("w_init: these data bring no picture to fit to")
    return fit_affine(read, (wanted - 0.5).to(read))
