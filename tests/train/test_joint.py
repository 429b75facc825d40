"""An ISP and a head in one training: who learns, by which loss, and that it resumes as any training does."""

from __future__ import annotations

import math
from dataclasses import replace

import cv2
import numpy as np
import pytest
import torch
from head_stand_in import BrightOrDark
from stand_ins import Pictures, equal, recipe_data, two_parts

from ispkit.core.errors import FileError, RecipeError, ShapeError
from ispkit.core.frame import Domain
from ispkit.data.samples import Sample
from ispkit.isp.learned.catalog import build
from ispkit.isp.learned.weights import Card, load_learned, read_card, save_learned
from ispkit.perceive.joint import JointModel
from ispkit.train.job import run_job
from ispkit.train.journal import Hooks, measured, worded
from ispkit.train.learner import Learner
from ispkit.train.loop import Sets, Sitting, Training
from ispkit.train.objective import Objective, evaluate
from ispkit.train.prepare import build_model, check_classes, head_options, untaught
from ispkit.train.ranks import Ranks
from ispkit.train.recipe import load_recipe, to_recipe
from ispkit.train.run_folder import TrainFolder

ISP = ["restore", "enhance"]


class Labelled(Pictures):
    """Every other picture is bright, and labelled so."""

    def __getitem__(self, index: int) -> Sample:
        sample = super().__getitem__(index)
        label = index % 2
        frame = sample.frame.with_data(sample.frame.data * (0.2 + 0.8 * label))
        return replace(sample, frame=frame, labels=torch.tensor([label]))


def model() -> JointModel:
    torch.manual_seed(3)
    return JointModel(two_parts(dropout=0.0), BrightOrDark())


def recipe_of(*phases, **changes):
    common = {"steps": 8, "batch": 2, "optimizer": {"learning_rate": 3e-2}, "evaluate_every": 4}
    return to_recipe(recipe_data(phases=[{**common, **p} for p in phases], head="bright-or-dark", **changes))


def training(folder, recipe, *, hooks=None, of=None, data=Labelled):
    room = TrainFolder(folder)
    room.path.mkdir(parents=True, exist_ok=True)
    room.claim(recipe, "cpu")
    torch.manual_seed(recipe.seed)
    sitting = Sitting(room, Ranks(), hooks or Hooks())
    return Training(of or model(), recipe, sets=Sets(data(6), data(4, seed=9)), sitting=sitting)


HEAD = {"name": "head", "parts": "head", "loss": "task"}
JOINT = {"name": "joint", "parts": [*ISP, "head"], "loss": ["task", {"name": "l1", "weight": 0.1}]}


def test_a_head_learns_behind_a_frozen_isp(tmp_path):
    made = training(tmp_path, recipe_of({**HEAD, "steps": 60}))
    before = {n: v.clone() for n, v in made.model.state_dict().items()}
    made.run()
    changed = {n.split(".")[0] for n, v in made.model.state_dict().items() if not torch.equal(v, before[n])}
    assert changed == {"head"}
    losses = [e["loss"]["task of head"] for e in made.room.events() if "loss" in e]
    assert sum(losses[-10:]) < sum(losses[:10])


def test_the_task_teaches_the_isp_as_well():
    joint = model()
    before = {n: v.clone() for n, v in joint.isp.state_dict().items()}
    learner = Learner(joint, recipe_of({**JOINT, "loss": "task"}).phases[0], ranks=Ranks())
    learner.step([Labelled()[1]], rate=1.0, at=0)
    changed = {n.split(".")[1] for n, v in joint.isp.state_dict().items() if not torch.equal(v, before[n])}
    assert changed == set(ISP)


@pytest.mark.parametrize("at", [3, 11])
def test_a_joint_training_that_was_stopped_ends_with_the_same_weights(tmp_path, at):
    recipe = recipe_of(HEAD, JOINT)
    whole = training(tmp_path / "whole", recipe)
    whole.run()
    count = iter(range(1000))
    with pytest.raises(KeyboardInterrupt):
        training(tmp_path / "again", recipe, hooks=Hooks(stop=lambda: next(count) == at)).run()
    again = training(tmp_path / "again", recipe)
    again.run()
    assert equal(again.model, whole.model)


def test_patience_keeps_the_best_weights_of_head_and_isp(tmp_path):
    made = training(tmp_path, recipe_of({**JOINT, "steps": 40, "patience": 3}))
    made.run()
    objective = Objective(made.model, made.recipe.phases[0]).eval()
    data = made.sets.held_out
    data.set_epoch(0)
    scores = [measured(e)["top1"] for e in made.room.events() if measured(e) and not e.get("done")]
    assert sum(objective.score(data[i]) for i in range(4)) / 4 == max(scores)


def test_pictures_without_any_label_that_counts_have_no_score():
    class Objective:
        measure = "pixels"

        def __init__(self, values):
            left = iter(values)
            self.score = lambda sample: next(left)

        def eval(self): ...

        def train(self): ...

    def judged(*values):
        return evaluate(Objective(values), [Labelled()[0]] * len(values), device=torch.device("cpu"))

    assert judged(0.5, math.nan, 0.25) == (0.75, 2.0)
    assert math.isnan(judged(math.nan)[0])


def test_what_looks_the_same_to_the_head_costs_nothing():
    recipe = recipe_of({**JOINT, "loss": "same-to-head"})
    objective = Objective(JointModel(None, BrightOrDark()), replace(recipe.phases[0], parts=("head",))).eval()
    sample = Labelled()[0]
    shown = sample.frame.with_data(sample.target, Domain.DISPLAY_RGB)
    assert objective(replace(sample, frame=shown)).item() == 0.0
    assert objective(replace(sample, frame=shown.with_data(sample.target * 0.5))).item() > 0


def test_a_head_without_an_isp_looks_at_finished_frames_and_tells_its_accuracy(tmp_path):
    class Finished(Labelled):
        def __getitem__(self, index: int) -> Sample:
            sample = super().__getitem__(index)
            shown = (sample.target * (0.2 + 0.8 * (index % 2))).clamp(0, 1)
            return replace(sample, frame=sample.frame.with_data(shown, Domain.DISPLAY_RGB))

    recipe = recipe_of({**HEAD, "steps": 60, "optimizer": {"learning_rate": 0.3}}, isp=None)
    made = training(tmp_path, recipe, of=JointModel(None, BrightOrDark()), data=Finished)
    made.run()
    assert worded(made.room.events()[-1]) == "held out 100.0%"


def test_what_a_recipe_of_a_head_gets_wrong_is_told():
    with pytest.raises(RecipeError, match="names no head"):
        Objective(
            two_parts(),
            to_recipe(recipe_data(phases=[{"name": "p", "parts": ISP, "loss": "task", "steps": 1}])).phases[0],
        )
    with pytest.raises(RecipeError, match="compares pictures"):
        Objective(model(), recipe_of({**HEAD, "loss": {"name": "l1", "part": "head"}}).phases[0])
    with pytest.raises(RecipeError, match="has no option 'alpha'"):
        recipe_of({**HEAD, "loss": {"name": "task", "alpha": 1}})
    with pytest.raises(RecipeError, match="an isp, a head, or both"):
        to_recipe(recipe_data(isp=None))
    with pytest.raises(ShapeError, match="bring none"):
        Objective(model(), recipe_of(HEAD).phases[0])(Pictures()[0])


def test_a_recipe_learns_from_a_folder_of_classes(tmp_path):
    for name, color in (("blue", (200, 80, 60)), ("red", (60, 80, 200))):
        for side, count in (("train", 5), ("val", 2)):
            room = tmp_path / "data" / side / name
            room.mkdir(parents=True)
            for i in range(count):
                cv2.imwrite(str(room / f"{i}.png"), np.full((40, 48, 3), color, np.uint8))
    small = ["phases.0.steps=2", "phases.0.batch=2", "phases.1.steps=3", "phases.1.batch=2", "workers=0"]
    head = ["head={name: mobilenet-v1, width: 0.25, size: 32}", f"data.pictures={tmp_path / 'data'}"]
    folder = ["data.held_out=0", "held_out={split: val}"]
    for name, more in (("joint", folder), ("joint-paper", ["data.patch=[32, 32]"])):
        recipe = load_recipe(name, [*small, *head, *more, "data.patch=[32, 32]"])
        trained = run_job(recipe, tmp_path / name, device="cpu")
        assert 0 <= trained.facts["held_out_top1"] <= 1
        card = read_card(trained.weights)
        assert card.head["names"] == ["blue", "red"]
        isp, _ = load_learned(trained.weights)
        assert list(isp.named_parts) == ["isp"]
        assert JointModel.load(trained.weights).head.names == ("blue", "red")


def test_labels_that_the_head_does_not_know_are_told_before_the_training(tmp_path):
    def knowing(*names):
        recipe = to_recipe(recipe_data(head={"name": "mobilenet-v1", "width": 0.25, "names": list(names)}))
        return build_model(replace(recipe, isp=None, phases=recipe.phases[:1]))

    class Three:
        classes = 3

    with pytest.raises(RecipeError, match=r"knows 2 classes .*the pictures have 3"):
        check_classes(knowing("a", "b"), Three())
    check_classes(knowing("a", "b", "c"), Three())


def test_weights_learn_the_classes_of_a_folder_anew_but_keep_numbers_of_a_longer_list():
    recipe = to_recipe(recipe_data(head={"name": "mobilenet-v1", "weights": ["w.tflite"]}))

    class Folder:
        names, sparse = ("cat", "dog"), False

    assert head_options(recipe, Folder())["names"] == ["cat", "dog"]
    Folder.sparse = True
    assert "names" not in head_options(recipe, Folder())


@pytest.mark.parametrize(
    "spec",
    [
        {"name": "mobilenet-v1", "names": "/etc/hostname"},
        {"name": "mobilenet-v1", "weights": ["/etc/hostname"]},
        {"name": "mobilenet-v1", "names": [], "classes": 10**12},
        {"name": "mobilenet-v1", "names": ["a"], "width": 1e9},
    ],
)
def test_a_card_opens_no_other_files_and_no_huge_networks(tmp_path, spec):
    save_learned(tmp_path / "w.safetensors", JointModel(None, BrightOrDark()), Card("", {}, head=spec))
    with pytest.raises(FileError, match="describes no head"):
        JointModel.load(tmp_path / "w.safetensors")


def test_a_file_of_weights_never_names_code_to_run(tmp_path):
    model = JointModel(build("anscombe", preset="released"), BrightOrDark())
    card = Card("anscombe", {"preset": "released"}, head={"name": "module:os:getcwd"})
    save_learned(tmp_path / "w.safetensors", model, card)
    with pytest.raises(FileError, match="pass it as `head`"):
        JointModel.load(tmp_path / "w.safetensors")
    assert equal(JointModel.load(tmp_path / "w.safetensors", BrightOrDark()), model)


def test_a_head_that_knows_nothing_and_does_not_learn_is_told_of():
    frozen, learning = {"parts": "restore", "loss": "l1"}, {**HEAD}
    common = {"name": "p", "steps": 1, "batch": 2}

    def told(phase, **head):
        return untaught(to_recipe(recipe_data(phases=[{**common, **phase}], head=head)))

    assert "head.weights=FILE" in told(frozen, name="mobilenet-v1")
    assert told(frozen, name="mobilenet-v1", weights="a.tflite") == ""
    assert told(learning, name="mobilenet-v1") == ""
    assert told(frozen, name="module:mine.py:head") == ""
