"""The shipped recipes of DiR before a frozen head learn: one step of each phase on stand-in pictures."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from ispkit.data.regions import VOC
from ispkit.isp.learned.weights import load_learned, read_card, read_weights
from ispkit.nets.deeplab import DeepLabV3
from ispkit.nets.fastestdet import FastestDet
from ispkit.perceive.coco import COCO
from ispkit.train.job import run_job
from ispkit.train.recipe import load_recipe

TINY = ["isp.width=8", "isp.latent=8", "isp.features=8", "data.patch=[64,64]", "held_out=null"]
STEPS = [f"phases.{i}.{what}" for i in range(2) for what in ("steps=1", "batch=2", "schedule.warm_up=0")]


def pictures(room: Path, folder: str) -> list[Path]:
    chance = np.random.default_rng(0)
    (room / folder).mkdir()
    paths = [room / folder / f"{i}.png" for i in range(3)]
    for path in paths:
        cv2.imwrite(str(path), cv2.resize(chance.integers(0, 255, (6, 8, 3)).astype(np.uint8), (96, 72)))
    return paths


def boxes(room: Path) -> None:
    (room / "boxes_yolo").mkdir()
    (room / "data.yaml").write_text("names: [zebra, bicycle]\n")
    for i, path in enumerate(pictures(room, "images")):
        (room / "boxes_yolo" / f"{path.stem}.txt").write_text(f"{i % 2} 0.5 0.5 0.4 0.6\n")


def regions(room: Path) -> None:
    (room / "SegmentationClass").mkdir()
    for path in pictures(room, "JPEGImages"):
        labels = np.zeros((72, 96), np.uint8)
        labels[20:50, 20:60] = VOC.index("cat")
        cv2.imwrite(str(room / "SegmentationClass" / path.name), labels)


@pytest.mark.parametrize(
    ("name", "make", "net", "names", "side"),
    [
        ("dir-detection", boxes, lambda: FastestDet(len(COCO)), COCO, 64),
        ("dir-segmentation", regions, lambda: DeepLabV3(len(VOC), width=0.5), VOC, 65),
    ],
)
def test_a_recipe_learns_before_a_frozen_head(name, make, net, names, side, tmp_path):
    make(tmp_path)
    torch.manual_seed(0)
    head = net().state_dict()
    torch.save(head, tmp_path / "head.pth")
    told = [f"head.weights={tmp_path / 'head.pth'}", f"head.size={side}", f"data.pictures={tmp_path}"]
    recipe = load_recipe(name, [*TINY, *STEPS, *told])
    joint = {term.name: term.weight for term in recipe.phases[1].loss}
    assert joint == {"alignment": 1.0, "task": 2.0 if name == "dir-detection" else 5.0, "l1": 1.0}
    done = run_job(recipe, tmp_path / "out", device="cpu")
    assert read_card(done.weights).head["names"] == list(names)
    tensors, _ = read_weights(done.weights)
    kept = {key.removeprefix("head.net."): value for key, value in tensors.items() if key.startswith("head.net.")}
    assert all(torch.equal(value, head[key]) for key, value in kept.items())
    assert set(kept) == set(head)
    assert list(load_learned(done.weights)[0].named_parts) == ["isp"]


def test_a_first_phase_of_one_step_leaves_the_weights_that_the_training_began_with(tmp_path):
    """So a run from the weights of another training is the second stage alone."""
    boxes(tmp_path)
    torch.save(FastestDet(len(COCO)).state_dict(), tmp_path / "head.pth")
    told = [f"head.weights={tmp_path / 'head.pth'}", "head.size=64", f"data.pictures={tmp_path}"]
    first = run_job(load_recipe("dir-detection", [*TINY, *STEPS, *told]), tmp_path / "first", device="cpu")
    one = [s for s in STEPS if "warm_up" not in s]
    begun = load_recipe("dir-detection", [*TINY, *one, *told, f"start={first.weights}", "seed=1"])
    second = run_job(begun, tmp_path / "second", device="cpu")
    mine, theirs = (load_learned(t.weights)[0].state_dict() for t in (first, second))
    for key in (k for k in mine if ".align." not in k):
        assert torch.equal(mine[key], theirs[key]), key
