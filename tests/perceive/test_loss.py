"""The detector's loss: exact gradients, least where the output is right, every object counts."""

from __future__ import annotations

import math

import pytest
import torch

from ispkit.perceive.loss import detection_loss, siou

GRID, CLASSES = 4, 3


def ideal(boxes, labels, objectness=1.0):
    """The output whose cells at the boxes' centers say exactly what is there."""
    output = torch.zeros(1, 5 + CLASSES, GRID, GRID, dtype=torch.float64)
    output[:, 5] = 1.0
    for (left, top, right, bottom), label in zip(boxes, labels, strict=True):
        x, y = (left + right) / 2 * GRID, (top + bottom) / 2 * GRID
        for column, row in ((int(x) + i, int(y) + j) for i in (0, 1) for j in (0, 1)):
            if column >= GRID or row >= GRID:
                continue
            output[0, 0, row, column] = objectness
            offset = [max(-0.9999999, min(0.9999999, d)) for d in (x - column, y - row)]
            output[0, 1, row, column], output[0, 2, row, column] = (math.atanh(d) for d in offset)
            output[0, 3, row, column] = torch.logit(torch.tensor(right - left, dtype=torch.float64))
            output[0, 4, row, column] = torch.logit(torch.tensor(bottom - top, dtype=torch.float64))
            output[0, 5:, row, column] = 0.0
            output[0, 5 + label, row, column] = 1.0
    return output


BOXES = [(0.05, 0.1, 0.4, 0.3), (0.5, 0.4, 0.95, 0.99)]
LABELS = [2, 1]


def loss(output, boxes=BOXES, labels=LABELS):
    truth = torch.tensor(boxes, dtype=torch.float64).reshape(-1, 4)
    return detection_loss(output, truth, torch.tensor(labels, dtype=torch.int64))


def test_a_perfect_output_costs_nothing():
    assert float(loss(ideal(BOXES, LABELS)).total) < 1e-4


@pytest.mark.parametrize(
    ("boxes", "labels", "objectness"),
    [
        ([(0.1, 0.1, 0.45, 0.3), BOXES[1]], LABELS, 1.0),  # moved
        ([(0.05, 0.1, 0.5, 0.3), BOXES[1]], LABELS, 1.0),  # larger
        (BOXES, [0, 1], 1.0),  # another class
        (BOXES, LABELS, 0.4),  # unsure
        (BOXES[:1], LABELS[:1], 1.0),  # one missed
        ([*BOXES, (0.6, 0.0, 0.9, 0.2)], [*LABELS, 0], 1.0),  # one too many
    ],
)
def test_every_fault_costs(boxes, labels, objectness):
    faulty = float(loss(ideal(boxes, labels, objectness)).total)
    assert faulty > float(loss(ideal(BOXES, LABELS)).total) + 0.05


def test_the_total_is_the_published_sum():
    output = random_output()
    parts = loss(output)
    torch.testing.assert_close(parts.total, 8 * parts.box + 16 * parts.objectness + parts.label)


def test_without_objects_only_false_alarms_cost():
    output = random_output()
    parts = loss(output, [], [])
    assert (float(parts.box), float(parts.label)) == (0.0, 0.0)
    torch.testing.assert_close(parts.objectness, 0.75 * (output[:, 0].square() / 2).mean())


def random_output(seed=0):
    g = torch.Generator().manual_seed(seed)
    output = torch.randn(1, 5 + CLASSES, GRID, GRID, dtype=torch.float64, generator=g)
    output[:, 0] = output[:, 0].sigmoid()
    output[:, 5:] = output[:, 5:].softmax(1)
    return output


@pytest.mark.parametrize("boxes", [(BOXES, LABELS), ([(0.0, 0.0, 1.0, 1.0)], [0]), ([], [])])
def test_gradients_are_exact(boxes):
    output = random_output().requires_grad_()
    assert torch.autograd.gradcheck(lambda x: loss(x, *boxes).total, output)


def test_gradients_are_finite_where_boxes_agree_exactly():
    output = ideal(BOXES, LABELS).requires_grad_()
    loss(output).total.backward()
    assert output.grad.isfinite().all()


def test_siou_is_one_for_equal_boxes_symmetric_and_falls_with_distance():
    a = torch.tensor([0.0, 0.0, 2.0, 1.0], dtype=torch.float64)
    shifts = torch.linspace(0, 5, 6, dtype=torch.float64)[:, None] * torch.tensor([1.0, 0.5, 1.0, 0.5])
    values = siou(a, a + shifts)
    torch.testing.assert_close(values[0], torch.tensor(1.0, dtype=torch.float64), atol=1e-6, rtol=0)
    assert (values.diff() < 0).all()
    torch.testing.assert_close(values, siou(a + shifts, a))


def test_siou_by_hand():
    a, b = (torch.tensor(v, dtype=torch.float64) for v in ([0.0, 0.0, 2.0, 2.0], [1.0, 0.0, 3.0, 2.0]))
    # overlap 2 of 6; the shift is along x: angle cost 0, so gamma = -2 and rho_x = (1/3)^2; equal shapes
    expected = 1 / 3 - (1 - math.exp(-2 / 9)) / 2
    assert float(siou(a, b)) == pytest.approx(expected, abs=1e-6)
    # at 45 degrees the angle cost is 1: gamma = -1, on both axes
    c = torch.tensor([1.0, 1.0, 3.0, 3.0], dtype=torch.float64)
    expected = 1 / 7 - (2 - 2 * math.exp(-1 / 9)) / 2
    assert float(siou(a, c)) == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize(
    ("seed", "published"),
    [
        (0, (0.51979846, 0.07165541, 1.77681696, 7.08169127)),
        (1, (0.66517341, 0.08903759, 0.98596597, 7.73195457)),
        (2, (0.59725893, 0.07318690, 0.35541061, 6.30447244)),
    ],
)
def test_for_one_object_it_is_the_published_loss(seed, published):
    # DetectorLoss of dog-qiuqiu/FastestDet, commit 50473cd, in float32: iou_loss, obj_loss, cls_loss, loss
    parts = loss(random_output(seed), [(0.3, 0.35, 0.8, 0.9)], [1])
    assert [float(v) for v in (*parts, parts.total)] == pytest.approx(published, abs=1e-5)
