"""The frozen detector: gradients reach the picture, detections fit its size, the score tells good from bad."""

from __future__ import annotations

import pytest
import torch

from ispkit.core.errors import ParamError, ShapeError
from ispkit.data.boxes import Boxes, overlap
from ispkit.nets.fastestdet import FastestDet
from ispkit.perceive.coco import COCO
from ispkit.perceive.detection_head import suppress
from ispkit.perceive.detector import FrozenDetector


@pytest.fixture(scope="module")
def small():
    torch.manual_seed(0)
    return FrozenDetector(FastestDet(2), ["cat", "dog"], size=(64, 64))


@pytest.fixture(scope="module")
def published(shared):
    path = shared / "model_fastestdet_coco/fastestdet_coco_ap05_0.253.pth"
    if not path.is_file():
        pytest.skip(f"needs {path}")
    return FrozenDetector.load(path)


def labelled(shared, name):
    data = pytest.importorskip("ispkit.data.labelled")
    return next(one for one in data.read_yolo(shared / "coco128") if one.path.stem == name)


def test_coco_has_80_classes():
    assert (len(COCO), COCO[0], COCO[79], COCO[9]) == (80, "person", "toothbrush", "traffic light")


def test_names_must_fit_the_network():
    with pytest.raises(ParamError, match="80 names for a network of 2 classes"):
        FrozenDetector(FastestDet(2))


def test_the_loss_of_a_batch_is_the_mean_of_its_pictures(small):
    pictures = torch.rand(2, 3, 50, 70, generator=torch.Generator().manual_seed(1))
    boxes = [Boxes.make([(5, 5, 40, 40)], [1]), Boxes.make([], [])]
    single = [small.loss(pictures[i : i + 1], boxes[i]) for i in range(2)]
    torch.testing.assert_close(small.loss(pictures, boxes), torch.stack(single).mean())
    with pytest.raises(ShapeError, match="learns from 2 sets of boxes, got 1"):
        small.loss(pictures, boxes[0])
    with pytest.raises(ParamError, match=r"labels must be in 0\.\.1"):
        small.loss(pictures[:1], Boxes.make([(5, 5, 40, 40)], [2]))


def test_gradients_reach_the_picture_and_not_the_weights(small):
    picture = torch.rand(1, 3, 40, 60, generator=torch.Generator().manual_seed(2)).requires_grad_()
    small.loss(picture, Boxes.make([(5, 5, 30, 30)], [0])).backward()
    assert picture.grad is not None
    assert picture.grad.abs().sum() > 0
    assert all(p.grad is None for p in small.net.parameters())


def test_the_gradient_is_that_of_the_loss():
    torch.manual_seed(0)
    exact = FrozenDetector(FastestDet(2).double(), ["cat", "dog"], size=(64, 64))
    picture = torch.rand(1, 3, 32, 32, dtype=torch.float64)
    boxes = Boxes.make([(4, 4, 20, 25)], [1])
    point = picture.clone().requires_grad_()
    exact.loss(point, boxes).backward()
    direction = torch.randn(picture.shape, dtype=torch.float64)
    step = 1e-6
    ahead, behind = (float(exact.loss(picture + s * step * direction, boxes)) for s in (1, -1))
    assert float((point.grad * direction).sum()) == pytest.approx((ahead - behind) / (2 * step), rel=1e-4)


def test_detections_lie_inside_the_picture_best_first(small):
    found = small.detect(torch.rand(1, 3, 30, 90), least=0.0)
    assert 0 < len(found) <= 100
    assert (found.boxes >= 0).all()
    assert (found.boxes <= torch.tensor([90, 30, 90, 30])).all()
    assert (found.scores.diff() <= 0).all()


def test_detection_reads_one_picture(small):
    with pytest.raises(ShapeError, match="one picture"):
        small.detect(torch.rand(2, 3, 32, 32))


def random_boxes(count, seed, classes=3, size=100.0):
    g = torch.Generator().manual_seed(seed)
    near = torch.rand(count, 2, generator=g) * size
    boxes = torch.cat([near, near + 5 + torch.rand(count, 2, generator=g) * size / 2], 1)
    return Boxes(boxes, torch.randint(classes, (count,), generator=g), torch.rand(count, generator=g))


@pytest.mark.parametrize("seed", range(5))
def test_suppression_keeps_what_no_better_box_covers(seed):
    everything = random_boxes(60, seed)
    kept = suppress(everything, 0.4)
    for i in range(len(kept)):
        before = overlap(kept.boxes[i], kept.boxes[:i])[kept.labels[:i] == kept.labels[i]]
        assert (before <= 0.4).all()
    gone = everything.select(~(everything.scores[:, None] == kept.scores).any(1))
    assert len(gone)
    for i in range(len(gone)):
        better = (kept.scores > gone.scores[i]) & (kept.labels == gone.labels[i])
        assert (overlap(gone.boxes[i], kept.boxes[better]) > 0.4).any()
    again = suppress(kept, 0.4)
    torch.testing.assert_close(again.boxes, kept.boxes)


def test_suppression_keeps_the_best_few():
    everything = random_boxes(40, 9, classes=1000)
    assert suppress(everything, 0.5, most=3).scores.tolist() == everything.scores.sort(descending=True)[0][:3].tolist()


def test_score_is_zero_for_certain_and_exact_detections(small, monkeypatch):
    truth = Boxes.make([(0, 0, 20, 20), (30, 5, 60, 25)], [0, 1])
    exact = Boxes(truth.boxes, truth.labels, torch.ones(2))
    picture = torch.zeros(1, 3, 30, 90)
    scores = []
    for found in (exact, exact.select(torch.tensor([0])), random_boxes(0, 0), random_boxes(5, 1)):
        monkeypatch.setattr(small, "detect", lambda _, found=found: found)
        scores.append(small.score(picture, truth))
    assert scores[0] == pytest.approx(0)
    assert scores[1] == pytest.approx(1 - 2 / 3)
    assert scores[2] == 1
    assert 0 < scores[3] <= 1
    assert small.score(picture, Boxes.make([], [])) == 1
    monkeypatch.setattr(small, "detect", lambda _: random_boxes(0, 0))
    assert small.score(picture, Boxes.make([], [])) == 0


def test_the_published_detector_finds_a_train_and_noise_hurts_it(shared, published):
    one = labelled(shared, "000000000077")
    picture = one.picture()
    found = published.detect(picture, least=0.3)
    names = {published.names[i] for i in found.labels}
    assert names & {one.names[i] for i in one.boxes.labels}
    noisy = (picture + 0.3 * torch.randn(picture.shape, generator=torch.Generator().manual_seed(0))).clamp(0, 1)
    for judge in (lambda p: float(published.loss(p, one.boxes)), lambda p: published.score(p, one.boxes)):
        assert judge(noisy) > judge(picture)
