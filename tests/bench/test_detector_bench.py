"""Experiment (g) runs from labelled pictures to tables; pictures tuned on are never judged."""

from __future__ import annotations

import json

import pytest
import torch
from PIL import Image

from ispkit.bench.detector import DetectorBench, folds, run_detector, shots
from ispkit.core.errors import ParamError
from ispkit.data.tuning_sets import picture_of
from ispkit.nets.fastestdet import FastestDet
from ispkit.perceive.coco import COCO


@pytest.fixture
def bench(tmp_path):
    torch.manual_seed(0)
    torch.save(FastestDet().state_dict(), tmp_path / "net.pth")
    data = tmp_path / "set"
    for room in ("images", "boxes_yolo"):
        (data / room).mkdir(parents=True)
    (data / "config.yaml").write_text("names: [unicorn, Dog]\n")
    for i in range(5):
        Image.effect_noise((41, 32), 60).convert("RGB").save(data / f"images/p{i}.png")
        (data / f"boxes_yolo/p{i}.txt").write_text("" if i == 4 else "1 0.5 0.5 0.4 0.6\n0 0.5 0.5 0.1 0.1\n")
    return DetectorBench(weights=tmp_path / "net.pth", data=data, method="random", budget=3, repeats=20)


def test_pictures_become_labelled_raws(bench):
    scenes = shots(bench, 16.0, COCO)
    assert [picture_of(s) for s in scenes] == ["p0", "p1", "p2", "p3"]  # the last shows nothing
    assert scenes[0].frame.size == (32, 40)
    assert scenes[0].conditions["gain"] == 16
    assert [COCO[i] for i in scenes[0].labels.labels] == ["dog"]
    again = shots(bench, 16.0, COCO)
    assert torch.equal(scenes[0].frame.data, again[0].frame.data)


def test_every_picture_is_held_out_once_and_never_where_it_was_tuned_on(bench):
    scenes = shots(bench, 1.0, COCO)
    parts = folds(scenes, 2)
    assert sorted(s.name for _, kept in parts for s in kept) == sorted(s.name for s in scenes)
    assert all(not {picture_of(s) for s in tuned} & {picture_of(s) for s in kept} for tuned, kept in parts)
    with pytest.raises(ParamError, match="folds=9 of 4 pictures"):
        folds(scenes, 9)


@pytest.mark.slow
def test_the_experiment_leaves_its_tables(bench, tmp_path):
    said = []
    run_detector(tmp_path / "out", bench, command="ispkit bench detector", say=said.append)
    facts = json.loads((tmp_path / "out/detector_c71.json").read_text())
    settings, pairs = facts["tables"]
    names = [row["setting"] for row in settings["rows"]]
    assert names[-3:] == ["quality", "task", "clean pictures"]
    assert {row["TP"] + row["FN"] for row in settings["rows"]} == {4}
    assert settings["rows"][-1]["L1 + NLPD"] == pytest.approx(0, abs=1e-6)
    assert {"first": "quality", "second": "task"}.items() <= pairs["rows"][-1].items()
    assert len(facts["claims"]) == 1
    assert any("task" in line for line in said)
    held = [facts["details"][f"64x, fold {k}"]["held-out"] for k in (0, 1)]
    assert sorted(held[0] + held[1]) == ["p0", "p1", "p2", "p3"]


def test_wrong_words_are_refused(bench, tmp_path):
    wrong = DetectorBench(weights=bench.weights, data=bench.data, tunings=("eye",))
    with pytest.raises(ParamError, match="no tuning 'eye'"):
        run_detector(tmp_path / "out", wrong)
