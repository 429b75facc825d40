"""One training from recipe to weights, in a folder; the door for the command line and for `torchrun`."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from ispkit.core.errors import FileError, ParamError, nearest
from ispkit.isp.learned.weights import Card, save_learned
from ispkit.perceive.joint import JointModel
from ispkit.train.checkpoint import checkpoints
from ispkit.train.config import Recipe
from ispkit.train.fields import plain
from ispkit.train.journal import Hooks, measured
from ispkit.train.learnable import Model
from ispkit.train.loop import Sets, Sitting, Training
from ispkit.train.prepare import build_model, check_classes, fit_transform, head_options, untaught, wants_classes
from ispkit.train.ranks import Ranks, joined
from ispkit.train.recipe import identity, to_data
from ispkit.train.run_folder import TrainFolder, working_in
from ispkit.train.sources import open_sets, warn_of_pairs
from ispkit.train.stream import SampleSet

_FINISHED = "finished earlier, nothing is trained again; new data need another folder (-o)"
_DEVICES = ("auto", "cpu", "cuda")


@dataclass(frozen=True)
class Trained:
    """What a training gave."""

    weights: Path
    facts: dict[str, Any]
    """as in result.json: steps, seconds and held-out PSNR, in all and by phase"""


def run_job(
    recipe: Recipe,
    out: str | Path,
    *,
    device: str = "auto",
    sets: Sets | None = None,
    hooks: Hooks | None = None,
) -> Trained:
    """Train in the folder `out`, from where an earlier sitting stopped; a finished one is only read.

    `sets` are data in place of those that the recipe names; what they are must then be told by the recipe all the same,
    for that is how a folder is known again. With `start` the weights are those of the file, DeepISP's W with them:
    `w_init` is then not fitted.

    Raises `RecipeError`, `FileError`, `DivergedError`; `KeyboardInterrupt` where the hooks say stop.
    """
    hooks = hooks or Hooks()
    with joined(device_of(device)) as ranks, _room(Path(out), recipe, ranks) as room:
        finished = room.finished()
        if finished is not None:
            if ranks.first:
                hooks.warn(f"{room.path}: {_FINISHED}")
            return Trained(room.weights, finished)
        model = None if wants_classes(recipe) else build_model(recipe)  # a wrong one is told before the work
        if not ranks.first:
            ranks.wait()  # the first process renders what is to be mimicked
        found = sets or open_sets(recipe, room.targets, hooks.rendering if ranks.first else None)
        if ranks.first:
            ranks.wait()
        model = model or build_model(recipe, head_options(recipe, found.train))
        check_classes(model, found.train)
        training = Training(model, recipe, sets=found, sitting=Sitting(room, ranks, hooks))
        if not checkpoints(room.checkpoints):
            if ranks.first:
                _warn(recipe, None if sets else found.train, hooks)
            fit_transform(model, recipe, found.train)
        training.run()
        if ranks.first:
            _finish(room, model, recipe)
        ranks.wait()
        return Trained(room.weights, room.finished() or {})


def device_of(name: str) -> str:
    """`auto` is cuda where there is one. Raises `ParamError`."""
    if name not in _DEVICES:
        raise ParamError(f"device={name!r} is unknown; {nearest(name, _DEVICES)}")
    if name == "cuda" and not torch.cuda.is_available():
        raise ParamError("device='cuda': torch sees no GPU here; take cpu, or install torch for CUDA")
    return "cuda" if name == "auto" and torch.cuda.is_available() else "cpu" if name == "auto" else name


def _warn(recipe: Recipe, data: SampleSet | None, hooks: Hooks) -> None:
    """What is probably not meant, before the work."""
    if data is not None:
        warn_of_pairs(data, hooks.warn)
    if told := untaught(recipe):
        hooks.warn(told)


def _finish(room: TrainFolder, model: Model, recipe: Recipe) -> None:
    """Write the weights with their card, then the result, which says that all is done."""
    phases = {e["phase"]: e for e in room.events() if e.get("done")}
    facts: dict[str, Any] = {
        name: {"steps": e["steps"], "seconds": e["seconds"], **measured(e)} for name, e in phases.items()
    }
    last = facts.get(recipe.phases[-1].name, {})
    metrics = {f"held_out_{name}": value for name, value in measured(last).items()}
    card = Card(
        "" if recipe.isp is None else recipe.isp.name,
        {} if recipe.isp is None else plain(recipe.isp.options),
        _without_folders({"source": recipe.data.source, **plain(recipe.data.options)}),
        _without_folders(to_data(recipe)),
        metrics,
        recipe.doc,
        _without_folders(plain(model.head.spec)) if isinstance(model, JointModel) else None,
    )
    save_learned(room.weights, model, card)
    room.finish({"weights": room.weights.name, **metrics, "phases": facts})


def _without_folders(data: Any) -> Any:
    """Paths by their last name: weights are given away, a user's folders are not."""
    if isinstance(data, dict):
        return {key: _without_folders(value) for key, value in data.items()}
    if isinstance(data, list):
        return [_without_folders(value) for value in data]
    return Path(data).name if isinstance(data, str) and Path(data).is_absolute() else data


@contextmanager
def _room(path: Path, recipe: Recipe, ranks: Ranks) -> Iterator[TrainFolder]:
    """The folder, locked and claimed by the first process; the others come after it."""
    if not ranks.first:
        ranks.wait()
        room = TrainFolder(path)
        if identity(room.stated()) != identity(recipe):
            raise FileError(f"{path} holds a training by another recipe")
        yield room
        return
    with working_in(path) as room:
        room.claim(recipe, str(ranks.device))
        ranks.wait()
        yield room
