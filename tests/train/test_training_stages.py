"""Trainings of stages of a network, with losses that have networks of their own."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from ispkit.core.errors import FileError, ParamError, RecipeError, ShapeError
from ispkit.data.samples import Sample
from ispkit.isp.learned.catalog import build
from ispkit.isp.learned.weights import load_learned
from ispkit.train.checkpoint import load_checkpoint
from ispkit.train.fields import plain
from ispkit.train.job import run_job
from ispkit.train.journal import Hooks
from ispkit.train.learnable import learnable, learnable_names
from ispkit.train.objective import Objective
from ispkit.train.recipe import identity, load_recipe, to_recipe
from ispkit.train.sources import open_sets

SHAPE = {"name": "dir", "preset": "small", "width": 8, "latent": 8, "features": 8}
FIRST = {
    "name": "representations",
    "parts": ["isp.dir", "isp.dfr", "isp.decoder"],
    "loss": ["mutual-information", {"name": "reference", "beta": 0.01}],
    "steps": 4,
    "batch": 2,
    "evaluate_every": 4,
}
SECOND = {
    "name": "alignment",
    "parts": "isp.align",
    "loss": ["alignment", "l1"],
    "steps": 4,
    "batch": 2,
    "evaluate_every": 4,
}


def recipe_of(*phases: Mapping[str, Any], **more: Any) -> Any:
    data = {
        "source": "degraded",
        "pictures": "project",
        "count": 4,
        "size": [96, 96],
        "patch": [32, 32],
        "views": 2,
    }
    steps = [dict(p) for p in phases]
    content = {"version": 1, "isp": SHAPE, "data": data, "phases": steps, "log_every": 1, **more}
    return to_recipe(content)


def weights(path: Path) -> dict[str, torch.Tensor]:
    return load_learned(path)[0].state_dict()


def sample_of(recipe: Any, tmp_path: Path) -> Sample:
    train = open_sets(recipe, tmp_path).train
    return Sample.cat([train[0], train[1]])


@pytest.mark.slow
def test_each_phase_changes_its_own_stages_alone(tmp_path: Path) -> None:
    """And the file holds nothing of the networks that only the loss has."""
    first = run_job(recipe_of(FIRST), tmp_path / "one", device="cpu")
    both = run_job(recipe_of(FIRST, SECOND), tmp_path / "both", device="cpu")
    after_one, after_both = weights(first.weights), weights(both.weights)
    fresh = build(**SHAPE).state_dict()
    assert list(after_both) == list(fresh)
    for name, value in after_one.items():
        changed = not torch.equal(value, after_both[name])
        assert changed == name.startswith("parts.isp.net.align."), name


@pytest.mark.slow
def test_killed_and_gone_on_with_ends_in_the_same_weights(tmp_path: Path) -> None:
    """The critics go on from where they were, too."""
    whole = run_job(recipe_of(FIRST, SECOND), tmp_path / "whole", device="cpu")
    steps = 0

    def stop() -> bool:
        nonlocal steps
        steps += 1
        return steps == 2

    recipe = recipe_of(FIRST, SECOND)
    with pytest.raises(KeyboardInterrupt):
        run_job(recipe, tmp_path / "cut", device="cpu", hooks=Hooks(stop=stop))
    kept = load_checkpoint(tmp_path / "cut" / "checkpoints", of=identity(recipe), warn=print)
    assert kept is not None
    assert any("critic" in name for name in kept.states["of_nets"])
    cut = run_job(recipe, tmp_path / "cut", device="cpu")
    for name, value in weights(whole.weights).items():
        assert torch.equal(value, weights(cut.weights)[name]), name


@pytest.mark.slow
def test_a_second_stage_begins_with_the_parts_of_a_first(tmp_path: Path) -> None:
    """Also where its other parts are of another shape."""
    first = run_job(recipe_of(FIRST), tmp_path / "one", device="cpu")
    kept = ["isp.dir", "isp.dfr", "isp.decoder"]
    begun = {"start": str(first.weights), "start_parts": kept, "isp": {**SHAPE, "align": "alone"}}
    second = run_job(recipe_of(SECOND, **begun), tmp_path / "two", device="cpu")
    before, after = load_learned(first.weights)[0], load_learned(second.weights)[0]
    for name in kept:
        mine, theirs = (learnable(isp, name).state_dict() for isp in (before, after))
        assert all(torch.equal(mine[key], theirs[key]) for key in mine)
    with pytest.raises(FileError, match="that does not begin"):
        run_job(recipe_of(SECOND, **{**begun, "start_parts": []}), tmp_path / "three", device="cpu")


def test_the_score_of_stage_one_is_how_well_clean_pictures_are_decoded(tmp_path: Path) -> None:
    recipe = recipe_of(FIRST)
    isp = build(**SHAPE)
    objective = Objective(isp, recipe.phases[0]).eval()
    sample = sample_of(recipe, tmp_path)
    net = isp.parts["isp"].net
    with torch.no_grad():
        wanted = net.decoder(net.dfr(sample.target)[0]).clamp(0, 1)
    mse = (wanted - sample.target).square().flatten(1).mean(1)
    assert objective.score(sample) == pytest.approx(float((-10 * mse.log10()).mean()), abs=1e-4)


def test_only_what_learns_has_gradients_and_is_in_training(tmp_path: Path) -> None:
    recipe = recipe_of(SECOND)
    isp = build(**SHAPE)
    objective = Objective(isp, recipe.phases[0]).train()
    assert objective(sample_of(recipe, tmp_path)).shape == (2,)
    learning = {name for name, p in isp.named_parameters() if p.requires_grad}
    assert learning == {name for name, _ in isp.named_parameters() if ".align." in name}
    assert isp.parts["isp"].net.align.training
    assert not isp.parts["isp"].net.dir.training


def test_names_of_stages() -> None:
    isp = build(**SHAPE)
    assert learnable_names(isp) == ["isp", "isp.dir", "isp.dfr", "isp.decoder", "isp.align"]
    with pytest.raises(RecipeError, match=r"no part 'isp.aling'; did you mean 'isp.align'"):
        learnable(isp, "isp.aling")


@pytest.mark.parametrize(
    ("phase", "more", "message"),
    [
        ({**FIRST, "parts": ["isp.dri"]}, {}, "no part 'isp.dri'; did you mean 'isp.dir'"),
        ({**FIRST, "loss": {"name": "reference", "bta": 1}}, {}, "reference has no option 'bta'; did you mean 'beta'"),
        ({**FIRST, "loss": {"name": "reference", "beta": "much"}}, {}, "beta"),
        ({**SECOND, "loss": {"name": "alignment", "beta": 1}}, {}, "alignment has no option 'beta'; it has none"),
        (
            {**SECOND, "loss": "alignment", "parts": "isp"},
            {"isp": {"name": "auto-encoder", "preset": "small"}},
            "AutoEncoder has no representations",
        ),
        ({**SECOND}, {"start_parts": ["isp.dir"]}, "start_parts says what begins with the weights of start"),
    ],
)
def test_what_is_wrong_is_told(phase: Any, more: Any, message: str, tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=message):
        run_job(recipe_of(phase, **more), tmp_path / "run", device="cpu")


@pytest.mark.parametrize("phase", [FIRST, SECOND])
@pytest.mark.parametrize("linear", [True, False])
def test_every_learning_parameter_has_a_gradient(phase: Any, linear: bool, tmp_path: Path) -> None:
    """Those of the networks of the loss as well; several processes cannot share a step otherwise."""
    recipe = recipe_of(phase, isp={**SHAPE, "linear": linear})
    objective = Objective(build(**{**SHAPE, "linear": linear}), recipe.phases[0]).train()
    objective(sample_of(recipe, tmp_path)).sum().backward()
    assert [name for name, p in objective.named_parameters() if p.requires_grad and p.grad is None] == []


@pytest.mark.slow
def test_two_processes_share_a_training_whose_losses_have_networks(tmp_path: Path) -> None:
    """`torchrun` with gloo."""
    content = plain(recipe_of({**FIRST, "batch": 4}, SECOND))
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(content))
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m", "ispkit"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    whole = [*command, "train", str(tmp_path / "recipe.yaml"), "-o", str(tmp_path / "run"), "--device", "cpu"]
    done = subprocess.run(whole, check=False, timeout=180, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    assert (tmp_path / "run" / "weights.safetensors").is_file()


def test_the_picture_is_not_made_twice_for_the_loss_of_its_representation(tmp_path: Path) -> None:
    """Both summands are those of the net called anew, and the alignment network ran once."""
    recipe = recipe_of(SECOND)
    isp = build(**SHAPE)
    objective, net, runs = Objective(isp, recipe.phases[0]).train(), isp.parts["isp"].net, []
    handle = net.align.register_forward_hook(lambda *_: runs.append(1))
    sample = sample_of(recipe, tmp_path)
    found = objective(sample)
    handle.remove()
    assert len(runs) == 1
    wanted = net.dfr(sample.target)[0]
    apart = (net.aligned(*net.represent(sample.frame.data)) - wanted).abs().mean()
    distance = (net(sample.frame.data) - sample.target).abs().mean()
    torch.testing.assert_close(found, torch.stack([apart, distance]))


def test_frames_that_are_no_whole_cells_are_told(tmp_path: Path) -> None:
    recipe = recipe_of(FIRST)
    odd = sample_of(recipe, tmp_path).crop(0, 0, 28, 32)
    with pytest.raises(ShapeError, match=r"frames of 28x32 px are no multiples of 8; set data\.patch to such"):
        Objective(build(**SHAPE), recipe.phases[0])(odd)


def test_a_recipe_says_the_weights_of_its_losses() -> None:
    """Also those that it leaves at their defaults, so that a run tells what it was."""
    options = recipe_of(FIRST).phases[0].loss[0].options
    assert options == {"weight_kl_views": 1.0, "beta": 1e-3, "prior": "marginal", "views": 2}


@pytest.mark.parametrize("source", ["degraded"])
def test_a_device_that_is_not_there_is_told(source: str, tmp_path: Path) -> None:
    recipe = recipe_of(FIRST, data={"source": source, "pictures": "project", "count": 4, "device": "cuda:7"})
    with pytest.raises(ParamError, match=r"data\.device='cuda:7': torch cannot use it here"):
        open_sets(recipe, tmp_path)
    busy = recipe_of(FIRST, data={"source": source, "pictures": "project", "device": "cuda"}, workers=2)
    with pytest.raises(RecipeError, match=r"set workers=0, or data\.device=cpu"):
        open_sets(busy, tmp_path)


def test_one_view_shares_with_nothing(tmp_path: Path) -> None:
    recipe = recipe_of(FIRST)
    sample = sample_of(recipe, tmp_path)
    single = Sample(sample.names, sample.frame, sample.target)
    with pytest.raises(ShapeError, match="views"):
        Objective(build(**SHAPE), recipe.phases[0])(single)


@pytest.mark.parametrize("name", ["dir", "dir-paper", "auto-encoder"])
def test_shipped_recipes_learn(name: str, tmp_path: Path) -> None:
    """Each phase takes a step on a tiny net."""
    small = ["isp.width=8", "isp.latent=8", "data.pictures=project", "data.count=4", "data.size=[96,96]"]
    if name != "auto-encoder":
        small.append("isp.features=8")
    sizes = ["data.patch=[32,32]", "workers=0", "held_out=null"]
    count = 2 if name != "auto-encoder" else 1
    steps = [f"phases.{i}.{what}" for i in range(count) for what in ("steps=1", "batch=2", "accumulate=1")]
    done = run_job(load_recipe(name, [*small, *sizes, *steps]), tmp_path, device="cpu")
    assert done.weights.is_file()
