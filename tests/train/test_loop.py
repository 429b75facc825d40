"""The loop: resuming bit for bit, damaged files, full disks, NaN, phases, schedules, early stop."""

from __future__ import annotations

import errno
import json
import math
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from stand_ins import Pictures, equal, recipe_data, started, two_parts

from ispkit.core.errors import DomainError, FileError, RecipeError, ShapeError
from ispkit.train.checkpoint import checkpoints
from ispkit.train.config import Schedule
from ispkit.train.journal import Hooks, write_curves
from ispkit.train.learner import Learner
from ispkit.train.loop import DivergedError, Sets
from ispkit.train.ranks import Ranks
from ispkit.train.recipe import changed, to_recipe
from ispkit.train.stream import Share, Stream


class Killed(BaseException):
    """As sudden as a signal: nothing is saved on the way out."""


def killed_after(steps: int) -> Hooks:
    done = iter(range(steps))

    def progress(_) -> None:
        if next(done, None) is None:
            raise Killed

    return Hooks(progress=progress)


@pytest.fixture(autouse=True)
def no_curves(monkeypatch, request):
    """Drawing takes longer than these trainings; one test looks at it."""
    if "curves" not in request.node.name:
        monkeypatch.setattr("ispkit.train.journal.write_curves", lambda room: None)


@pytest.fixture(scope="module")
def recipe():
    return to_recipe(recipe_data())


@pytest.fixture(scope="module")
def uninterrupted(recipe, tmp_path_factory):
    training = started(tmp_path_factory.mktemp("whole"), recipe)
    training.run()
    return training


@pytest.mark.parametrize("steps", [1, 6, 11, 15])
def test_killed_and_resumed_ends_with_the_same_weights(recipe, uninterrupted, tmp_path, steps):
    """Killed within each phase, between checkpoints and at them; dropout, Adam and the moving average included."""
    with pytest.raises(Killed):
        started(tmp_path, recipe, hooks=killed_after(steps)).run()
    torch.rand(3)  # whatever else this process drew
    again = started(tmp_path, recipe)
    again.run()
    assert equal(again.model, uninterrupted.model)
    losses = [[e["loss"] for e in t.room.events() if "loss" in e] for t in (again, uninterrupted)]
    assert losses[0] == losses[1]


def test_two_kills_and_a_stop_on_request(recipe, uninterrupted, tmp_path):
    with pytest.raises(Killed):
        started(tmp_path, recipe, hooks=killed_after(7)).run()
    with pytest.raises(KeyboardInterrupt):
        started(tmp_path, recipe, hooks=Hooks(stop=lambda: True)).run()
    again = started(tmp_path, recipe)
    again.run()
    assert equal(again.model, uninterrupted.model)


@pytest.mark.slow
def test_kill_9(recipe, uninterrupted, tmp_path):
    """A real process and a real signal, in the middle of its second phase."""
    driver = Path(__file__).with_name("driver.py")
    command = [sys.executable, str(driver), str(tmp_path)]
    dead = subprocess.run([*command, "9"], check=False, timeout=120)
    assert dead.returncode == -signal.SIGKILL
    assert subprocess.run(command, check=True, timeout=120).returncode == 0
    weights = torch.load(tmp_path / "final0.pt", weights_only=True)
    assert all(torch.equal(value, weights[name]) for name, value in uninterrupted.model.state_dict().items())


@pytest.mark.slow
def test_two_processes_that_share_each_batch_learn_as_one(recipe, tmp_path):
    """`torchrun` with gloo: equal weights in both, and those of one process with the same batches, to rounding."""
    driver = Path(__file__).with_name("driver.py")
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", str(driver)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    subprocess.run([*command, str(tmp_path)], check=True, timeout=180, env=environment, capture_output=True)
    both = [torch.load(tmp_path / f"final{rank}.pt", weights_only=True) for rank in range(2)]
    alone = started(tmp_path / "alone", recipe, dropout=0.0)
    alone.run()
    for name, value in alone.model.state_dict().items():
        assert torch.equal(both[0][name], both[1][name])
        assert torch.allclose(both[0][name], value, atol=2e-4), name


def test_another_seed_gives_other_weights(recipe, uninterrupted, tmp_path):
    other = started(tmp_path, to_recipe(recipe_data(seed=4)))
    other.run()
    assert not equal(other.model, uninterrupted.model)


@pytest.mark.parametrize("harm", ["cut", "flip", "empty"])
def test_a_damaged_checkpoint_gives_way_to_the_one_before(recipe, uninterrupted, tmp_path, harm):
    with pytest.raises(Killed):
        started(tmp_path, recipe, hooks=killed_after(13)).run()
    newest = checkpoints(tmp_path / "checkpoints")[-1]
    assert len(checkpoints(tmp_path / "checkpoints")) == 2
    data = bytearray(newest.read_bytes())
    data[len(data) // 2] ^= 4
    newest.write_bytes({"cut": data[:-100], "flip": data, "empty": b""}[harm])
    said = []
    again = started(tmp_path, recipe, hooks=Hooks(warn=said.append))
    again.run()
    assert len(said) == 1
    assert newest.name in said[0]
    assert equal(again.model, uninterrupted.model)


def test_when_every_checkpoint_is_damaged_it_says_so(recipe, tmp_path):
    with pytest.raises(Killed):
        started(tmp_path, recipe, hooks=killed_after(13)).run()
    for path in checkpoints(tmp_path / "checkpoints"):
        path.write_bytes(b"PK")
    with pytest.raises(FileError, match="every checkpoint is damaged"):
        started(tmp_path, recipe).run()


def test_a_full_disk_is_one_line_and_the_last_state_stays(recipe, uninterrupted, tmp_path, monkeypatch):
    with pytest.raises(Killed):
        started(tmp_path, recipe, hooks=killed_after(6)).run()
    before = {p.name: p.read_bytes() for p in checkpoints(tmp_path / "checkpoints")}
    training = started(tmp_path, recipe)

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    real = os.fsync
    monkeypatch.setattr("ispkit.io.atomic.os.fsync", lambda fd: full() if before_saves(fd) else real(fd))
    with pytest.raises(FileError, match="no space is left"):
        training.run()
    monkeypatch.undo()
    assert {p.name: p.read_bytes() for p in checkpoints(tmp_path / "checkpoints")} == before
    assert not list(tmp_path.rglob("*.part"))
    again = started(tmp_path, recipe)
    again.run()
    assert equal(again.model, uninterrupted.model)


def before_saves(descriptor: int) -> bool:
    return (
        os.readlink(f"/proc/self/fd/{descriptor}").endswith(".part")
        and b".pt" in os.readlink(f"/proc/self/fd/{descriptor}").encode()
    )


def test_nan_ends_it_with_the_last_good_state(tmp_path):
    """From the third epoch on the data are NaN."""
    recipe = to_recipe(changed(recipe_data(), ["phases.0.steps=40"]))
    sets = Sets(Pictures(bad_from=2), None)
    with pytest.raises(DivergedError, match=r"phase 'restore', step 6.*step-00000004.*learning_rate") as told:
        started(tmp_path, recipe, sets=sets).run()
    assert "\n" not in str(told.value)
    last = checkpoints(tmp_path / "checkpoints")[-1]
    states = torch.load(last, weights_only=True)["states"]
    assert all(bool(torch.isfinite(w).all()) for w in states["weights"].values())


def test_nan_before_the_first_checkpoint_asks_for_no_other_folder(tmp_path):
    recipe = to_recipe(changed(recipe_data(), ["phases.0.steps=40"]))
    with pytest.raises(DivergedError, match=r"no checkpoint.*optimizer.clip$"):
        started(tmp_path, recipe, sets=Sets(Pictures(bad_from=0), None)).run()
    started(tmp_path, to_recipe(changed(recipe_data(), ["phases.0.optimizer.clip=1"])))


def test_a_folder_of_another_recipe_is_refused(recipe, tmp_path):
    started(tmp_path, to_recipe(recipe_data(seed=8)))  # nothing was learned, so the folder is free
    with pytest.raises(Killed):
        started(tmp_path, recipe, hooks=killed_after(5)).run()
    started(tmp_path, to_recipe(recipe_data(doc="the same by another name", save_every=2)))
    with pytest.raises(FileError, match="another recipe"):
        started(tmp_path, to_recipe(changed(recipe_data(), ["phases.0.steps=7"])))


def test_phases_train_only_their_parts(tmp_path):
    recipe = to_recipe({**recipe_data(), "phases": recipe_data()["phases"][1:2]})
    training = started(tmp_path, recipe)
    before = {n: v.clone() for n, v in training.model.state_dict().items()}
    training.run()
    for name, value in training.model.state_dict().items():
        assert torch.equal(value, before[name]) == name.startswith("parts.restore"), name


def test_training_lowers_the_loss_and_raises_the_psnr(tmp_path):
    content = recipe_data(log_every=5)
    content["phases"] = [{**content["phases"][0], "steps": 120, "evaluate_every": 20}]
    training = started(tmp_path, to_recipe(content), dropout=0.0)
    training.run()
    events = training.room.events()
    losses = [sum(e["loss"].values()) for e in events if "loss" in e]
    scores = [e["psnr_db"] for e in events if "loss" not in e and "psnr_db" in e]
    assert sum(losses[-5:]) < 0.6 * sum(losses[:5])
    assert scores[-1] > scores[0]


def test_accumulated_parts_are_one_batch(tmp_path):
    """Without dropout four pictures at once give the gradient of two and two, to rounding."""
    content = recipe_data()
    content["phases"] = [{**content["phases"][0], "batch": 4}]
    weights = []
    for pieces in (1, 2):
        recipe = to_recipe(changed(content, [f"phases.0.accumulate={pieces}"]))
        training = started(tmp_path / str(pieces), recipe, dropout=0.0)
        training.run()
        weights.append(torch.cat([p.flatten() for p in training.model.parameters()]))
    assert torch.allclose(*weights, atol=1e-4)


def test_early_stop_leaves_the_best_weights(tmp_path):
    """A learning rate that throws the weights away soon ends the phase; what it leaves scores the best PSNR."""
    content = recipe_data()
    spoiled = {"learning_rate": 0.5}
    content["phases"] = [
        {**content["phases"][0], "steps": 400, "evaluate_every": 2, "patience": 3, "optimizer": spoiled}
    ]
    recipe = to_recipe(content)
    training = started(tmp_path, recipe, dropout=0.0)
    training.run()
    scores = [e["psnr_db"] for e in training.room.events() if "loss" not in e and not e.get("done")]
    assert len(scores) < 200
    assert scores.index(max(scores)) == len(scores) - 4
    learner = Learner(training.model, recipe.phases[0], ranks=Ranks())
    learner.objective.eval()
    held_out = Pictures(2, seed=9)
    assert sum(learner.objective.score(held_out[i]) for i in range(2)) / 2 == pytest.approx(max(scores), abs=1e-4)


@pytest.mark.slow
def test_resuming_keeps_the_best_weights_and_how_long_none_were_better(tmp_path):
    """Killed between the best evaluation and the end of patience; then the best are older than the checkpoint."""
    content = recipe_data(save_every=2)
    settings = {"steps": 400, "evaluate_every": 2, "patience": 3, "optimizer": {"learning_rate": 0.5}}
    content["phases"] = [{**content["phases"][0], **settings}]
    recipe = to_recipe(content)
    whole = started(tmp_path / "whole", recipe)
    whole.run()
    scores = [e["psnr_db"] for e in whole.room.events() if "loss" not in e and not e.get("done")]
    best = 2 * (scores.index(max(scores)) + 1)
    with pytest.raises(Killed):
        started(tmp_path / "killed", recipe, hooks=killed_after(best + 4)).run()
    states = torch.load(checkpoints(tmp_path / "killed/checkpoints")[-1], weights_only=True)["states"]
    assert any(not torch.equal(v, states["weights"][f"parts.{name}"]) for name, v in states["best"].items())
    again = started(tmp_path / "killed", recipe)
    again.run()
    assert equal(again.model, whole.model)
    assert [e["psnr_db"] for e in again.room.events() if "loss" not in e and not e.get("done")] == scores


@pytest.mark.parametrize("options", [{"clip": 0.05}, {"weight_decay": 0.3}])
def test_steps_are_those_of_adam_by_hand(recipe, options):
    """Betas, eps, decay and clip, in the arithmetic of Kingma & Ba 2015 and Loshchilov & Hutter 2019."""
    given = {"learning_rate": 3e-3, "betas": [0.7, 0.8], "eps": 1e-3, **options}
    content = recipe_data()
    content["phases"] = [{**content["phases"][0], "optimizer": given}]
    learner = Learner(two_parts(dropout=0.0), to_recipe(content).phases[0], ranks=Ranks())
    by_hand = [w.detach().double().clone() for w in learner.weights]
    first, second = ([torch.zeros_like(w) for w in by_hand] for _ in range(2))
    for step in range(1, 4):
        sample = Pictures()[step]
        gradients = torch.autograd.grad(learner.objective(sample).sum(), learner.weights)
        norm = float(torch.cat([g.flatten() for g in gradients]).norm())
        assert norm > 0.05
        cut = min(1.0, options.get("clip", torch.inf) / (norm + 1e-6))
        for i, gradient in enumerate(gradients):
            g = cut * gradient.double()
            by_hand[i] *= 1 - 0.5 * 3e-3 * options.get("weight_decay", 0.0)
            first[i] = 0.7 * first[i] + 0.3 * g
            second[i] = 0.8 * second[i] + 0.2 * g * g
            spread = (second[i] / (1 - 0.8**step)).sqrt() + 1e-3
            by_hand[i] -= 0.5 * 3e-3 * first[i] / (1 - 0.7**step) / spread
        learner.step([sample], rate=0.5, at=step)
        for weight, wanted in zip(learner.weights, by_hand, strict=True):
            assert torch.allclose(weight.detach().double(), wanted, atol=1e-6)


def test_the_average_is_what_an_averaged_phase_leaves(recipe):
    phase = recipe.phases[2]
    learner = Learner(two_parts(dropout=0.0), phase, ranks=Ranks())
    rows = [learner.weights[0].detach().clone()]
    average = rows[0].clone()
    for step in range(3):
        learner.step([Pictures()[step]], rate=1.0, at=step)
        decay = min(0.9, (1 + step) / (10 + step))
        average = decay * average + (1 - decay) * learner.weights[0].detach()
    weight = learner.weights[0]
    learner.leave()
    assert torch.allclose(weight.detach(), average, atol=1e-6)


@pytest.mark.parametrize("clock", ["wall", "cpu"])
def test_a_budget_of_time_ends_by_time(tmp_path, clock):
    content = recipe_data(clock=clock)
    content["phases"] = [{**content["phases"][0], "steps": None, "seconds": 0.3, "schedule": {"kind": "cosine"}}]
    training = started(tmp_path, to_recipe(content))
    training.run()
    events = [e for e in training.room.events() if "loss" in e]
    assert events[-1]["seconds"] >= 0.3 > events[0]["seconds"]
    assert events[0]["lr"] > events[-1]["lr"]
    done = next(e for e in training.room.events() if e.get("done"))
    assert done["steps"] == events[-1]["step"]


def test_schedules_by_hand():
    assert Schedule("constant").rate(0.9) == 1
    assert Schedule("cosine", factor=0.1).rate(0.5) == pytest.approx(0.55)
    assert Schedule("exponential", factor=0.1 ** (1000 / 800)).rate(0.4) == pytest.approx(0.1 ** (400 / 800))
    assert [Schedule("step", at=(0.5, 0.75)).rate(s) for s in (0.4, 0.6, 0.8)] == pytest.approx([1, 0.1, 0.01])
    assert Schedule("constant", warm_up=0.2).rate(0.1) == pytest.approx(0.5)


@pytest.mark.parametrize(("batch", "accumulate", "world"), [(1, 1, 1), (4, 2, 2), (6, 1, 3), (6, 3, 1)])
def test_the_row_of_batches_has_every_picture_once_an_epoch(batch, accumulate, world):
    data = Pictures(7)
    seen = []
    for step in range(21):
        streams = [
            Stream(data, seed=1, batch=batch, accumulate=accumulate, share=Share(r, world)) for r in range(world)
        ]
        seen += [key for s in streams for part in s.keys(step) for key in part]
    for epoch in range(21 * batch // 7):
        assert sorted(i for e, i in seen if e == epoch) == list(range(7))
    single = Stream(data, seed=1, batch=batch)
    assert sorted(key for step in range(21) for key in single.keys(step)[0]) == sorted(seen)


def test_a_row_begun_later_is_the_same_row():
    data = Pictures(5)
    stream = Stream(data, seed=2, batch=3)
    row = stream.batches()
    whole = [next(row)[0] for _ in range(5)]
    late = stream.batches(3)
    assert torch.equal(next(late)[0].frame.data, whole[3].frame.data)
    with pytest.raises(RecipeError, match="batch=3"):
        Stream(data, seed=2, batch=3, share=Share(0, 2))


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork:DeprecationWarning")
def test_reading_ahead_in_two_processes_changes_nothing():
    stream = Stream(Pictures(5), seed=2, batch=2)
    alone, ahead = stream.batches(3), stream.batches(3, workers=2)
    for _ in range(6):  # into the second epoch
        (a,), (b,) = next(alone), next(ahead)
        assert a.names == b.names
        assert torch.equal(a.frame.data, b.frame.data)


def test_laws_of_objectives_are_named_before_the_first_step(recipe, tmp_path):
    for setting, kind, said in (
        ("phases.2.parts=[enhanc]", RecipeError, r"phase 'joint'.*did you mean 'enhance'"),
        ("phases.0.loss=[{name: l1, reads: restored}]", DomainError, "reads mosaic"),
    ):
        with pytest.raises(kind, match=said):
            started(tmp_path, to_recipe(changed(recipe_data(), [setting])))
    with pytest.raises(ShapeError, match="bring none"):
        started(tmp_path / "c", recipe, sets=Sets(Pictures(restored=False))).run()


def test_curves_are_drawn_of_the_log(uninterrupted):
    write_curves(uninterrupted.room)
    assert uninterrupted.room.curves.read_bytes().startswith(b"\x89PNG")


def test_the_log_tells_every_phase(uninterrupted):
    events = uninterrupted.room.events()
    assert [e["phase"] for e in events if e.get("done")] == ["restore", "enhance", "joint"]
    joint = [e for e in events if e["phase"] == "joint" and "loss" in e]
    assert set(joint[0]["loss"]) == {"restoration of restore", "l1 of enhance"}
    assert all(math.isfinite(v) for v in joint[0]["loss"].values())
    assert json.loads((uninterrupted.room.environment).read_text())["device"] == "cpu"
