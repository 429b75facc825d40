"""Pictures photographed off a simulated screen: the boxes go where the objects are seen."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from ispkit.bench.rig_pictures import photographed
from ispkit.bench.rig_scenes import RigSetup
from ispkit.data.boxes import Boxes, overlap
from ispkit.data.tuning_sets import picture_of
from ispkit.sensor.catalog import load_sensor

RED = torch.tensor([0.9, 0.1, 0.1])[:, None, None]


@pytest.fixture(scope="module")
def scene():
    picture = torch.full((1, 3, 90, 160), 0.4)
    picture[0, :, 20:60, 50:90] = RED
    boxes = Boxes.make([(50, 20, 90, 60), (500, 300, 510, 310)], [7, 3])  # the second lies beside the picture
    setup = RigSetup(load_sensor("sidd-google-pixel"), screen=(360, 640), view=(144, 256))
    (made,) = photographed({"p": picture}, {"p": boxes}, setup, gain=4.0)
    return made


def test_the_box_is_round_what_it_names(scene):
    red = (scene.target[0, 0] - scene.target[0, 1]) > 0.4
    rows, columns = (np.flatnonzero(red.any(axis).numpy()) for axis in (1, 0))
    seen = torch.tensor([columns[0], rows[0], columns[-1] + 1, rows[-1] + 1], dtype=torch.float32)
    assert scene.labels.labels.tolist() == [7]
    assert float(overlap(scene.labels.boxes[0], seen)) > 0.9


def test_shot_and_target_are_of_one_view(scene):
    assert scene.frame.size == tuple(scene.target.shape[-2:])
    assert picture_of(scene) == "p"
    assert scene.conditions["gain"] == 4
    left, top, right, bottom = (int(v) for v in scene.labels.boxes[0])
    raw, black = scene.frame.data[0, 0], float(scene.frame.meta.black_level.mean())
    y, x = (k // 2 * 2 for k in ((top + bottom) // 2, (left + right) // 2))
    inside = raw[y : y + 8, x : x + 8] - black
    at = scene.frame.meta.cfa.index("R")
    sites = [float(inside[i // 2 :: 2, i % 2 :: 2].mean()) for i in range(4)]
    assert sites[at] == max(sites)  # red before the color matrix, too
