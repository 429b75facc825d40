"""Average precision equals that of the reference implementation; counts and intervals obey their laws."""

from __future__ import annotations

import contextlib
import io

import numpy as np
import pytest
import torch

from ispkit.core.errors import ParamError, ShapeError
from ispkit.data.boxes import Boxes
from ispkit.perceive.evaluate import Evaluation, map_difference, match


def some(pictures, seed, classes=4, noise=6.0):
    """Truth, and detections of it that are moved, mislabelled, doubled and made up."""
    g = torch.Generator().manual_seed(seed)
    truth, found = [], []
    for _ in range(pictures):
        count = int(torch.randint(0, 7, (), generator=g))
        near = torch.rand(count, 2, generator=g) * 200
        boxes = torch.cat([near, near + 10 + torch.rand(count, 2, generator=g) * 80], 1)
        labels = torch.randint(classes, (count,), generator=g)
        truth.append(Boxes(boxes, labels))
        twice = torch.cat([boxes, boxes, torch.tensor([[0.0, 0.0, 50.0, 50.0]])])
        moved = twice + noise * torch.randn(twice.shape, generator=g)
        moved[:, 2:] = torch.maximum(moved[:, 2:], moved[:, :2])
        said = torch.cat([labels, torch.randint(classes, (count + 1,), generator=g)])
        found.append(Boxes(moved, said, torch.rand(len(said), generator=g)))
    return found, truth


def reference(found, truth):
    """The same by pycocotools."""
    coco = pytest.importorskip("pycocotools.coco")
    from pycocotools.cocoeval import COCOeval

    def rows(sets):
        for i, boxes in enumerate(sets):
            for j in range(len(boxes)):
                x, y, r, b = boxes.boxes[j].double().tolist()
                facts = {"image_id": i, "category_id": int(boxes.labels[j]), "bbox": [x, y, r - x, b - y]}
                score = {} if boxes.scores is None else {"score": float(boxes.scores[j])}
                yield facts | score | {"area": (r - x) * (b - y), "iscrowd": 0}

    with contextlib.redirect_stdout(io.StringIO()):
        world = coco.COCO()
        world.dataset = {
            "info": {},
            "images": [{"id": i} for i in range(len(truth))],
            "categories": [{"id": c} for c in sorted({int(v) for t in truth for v in t.labels})],
            "annotations": [row | {"id": n + 1} for n, row in enumerate(rows(truth))],
        }
        world.createIndex()
        known = {c["id"] for c in world.dataset["categories"]}
        judged = COCOeval(world, world.loadRes([r for r in rows(found) if r["category_id"] in known]), "bbox")
        judged.evaluate()
        judged.accumulate()
        judged.summarize()
    return judged.stats[:3]


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.filterwarnings("ignore")
def test_average_precision_is_cocos(seed):
    found, truth = some(12, seed, noise=[2.0, 6.0][seed % 2])
    ours = Evaluation(found, truth).summary()
    np.testing.assert_allclose([ours.map, ours.ap50, ours.ap75], reference(found, truth), atol=1e-9)


def test_only_the_best_hundred_of_a_class_count():
    truth = [Boxes.make([(0, 0, 10, 10)], [0])]
    alarms = [(20.0, 20.0, 30.0, 30.0)] * 100
    boxes = Boxes.make([*alarms, (0, 0, 10, 10)], [0] * 101, [0.9] * 100 + [0.1])
    assert Evaluation([boxes], truth).summary().map == 0.0
    assert Evaluation([boxes.select(torch.arange(1, 101))], truth).summary().map == pytest.approx(0.01)


def test_perfect_detections_have_a_precision_of_one():
    _, truth = some(6, 0)
    found = [Boxes(t.boxes, t.labels, torch.ones(len(t))) for t in truth]
    evaluation = Evaluation(found, truth)
    assert evaluation.summary().map == pytest.approx(1)
    counts = evaluation.counts(0.5)
    assert (counts.fp, counts.fn, counts.f1) == (0, 0, 1.0)
    assert counts.tp == sum(len(t) for t in truth)


def test_counts_by_hand():
    truth = [Boxes.make([(0, 0, 10, 10), (50, 50, 60, 60)], [0, 1])]
    found = [
        Boxes.make([(0, 0, 10, 9), (0, 0, 10, 10), (50, 50, 60, 60), (5, 5, 9, 9)], [0, 0, 0, 7], [0.9, 0.8, 0.7, 0.6])
    ]
    counts = Evaluation(found, truth).counts(0.3)
    # the second on the same object, the wrong class, and a class that nothing has are false alarms
    assert (counts.tp, counts.fp, counts.fn) == (1, 3, 1)
    assert Evaluation(found, truth).counts(0.85).fp == 0


def test_an_object_is_matched_once_by_the_best_and_only_in_its_class():
    truth = Boxes.make([(0, 0, 10, 10), (2, 0, 12, 10)], [0, 0])
    found = Boxes.make([(1.5, 0, 11.5, 10), (0, 0, 10, 10), (0, 0, 10, 10)], [0, 0, 1], [0.9, 0.8, 0.7])
    assert match(found, truth, [0.5]).tolist() == [[1, 0, -1]]


def test_no_objects_have_no_precision():
    nothing = Evaluation([Boxes.make([], [], [])], [Boxes.make([], [])])
    assert np.isnan(nothing.summary().map)
    assert nothing.counts().f1 == 1.0


def test_weights_mean_copies_of_pictures():
    found, truth = some(5, 3)
    weights = np.array([2.0, 0.0, 1.0, 3.0, 1.0])
    index = [i for i, w in enumerate(weights) for _ in range(int(w))]
    copies = Evaluation([found[i] for i in index], [truth[i] for i in index]).summary()
    assert Evaluation(found, truth).summary(weights).map == pytest.approx(copies.map, abs=1e-12)


def test_the_bootstrap_is_seeded_paired_and_sees_a_real_difference():
    found, truth = some(25, 5, noise=2.0)
    rough = [Boxes(torch.cat([b.boxes[:, :2] - 15, b.boxes[:, 2:]], 1), b.labels, b.scores) for b in found]
    good, bad = Evaluation(found, truth), Evaluation(rough, truth)
    first, again = (map_difference(bad, good, repeats=200, seed=4) for _ in range(2))
    assert first == again
    assert first != map_difference(bad, good, repeats=200, seed=5)
    assert 0 < first.low < first.value < first.high
    same = map_difference(good, good, repeats=50, seed=0)
    assert (same.value, same.low, same.high) == (0, 0, 0)


def test_wrong_input_is_refused():
    found, truth = some(3, 0)
    with pytest.raises(ShapeError, match="2 sets of detections for 3"):
        Evaluation(found[:2], truth)
    with pytest.raises(ParamError, match="need scores"):
        Evaluation(truth, truth)
    with pytest.raises(ShapeError, match="same pictures"):
        map_difference(Evaluation(found, truth), Evaluation(found[:2], truth[:2]))
