"""Top-k and mIoU by hand; intervals of differences between two methods on the same pictures."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from ispkit.core.errors import ParamError, ShapeError
from ispkit.perceive.classify import Classified, ranks, top_difference
from ispkit.perceive.segment import Segmented, confusion, miou_difference


def test_ranks_by_hand():
    logits = torch.tensor([[3.0, 2, 1], [3, 2, 1], [3, 2, 1], [1, 1, 0], [float("nan")] * 3])
    assert ranks(logits, torch.tensor([0, 1, 2, 0, 0])).tolist() == [0, 1, 2, 1, 2]
    with pytest.raises(ShapeError, match=r"0\.\.2"):
        ranks(logits, torch.tensor([0, 1, 2, 0, 3]))
    with pytest.raises(ShapeError, match="labels"):
        ranks(logits, torch.tensor([0]))


@given(st.integers(0, 50), st.integers(1, 12))
def test_ranks_are_places_in_the_sorted_order(seed, classes):
    g = torch.Generator().manual_seed(seed)
    logits, labels = torch.randn(6, classes, generator=g), torch.randint(classes, (6,), generator=g)
    order = logits.argsort(1, descending=True).tolist()
    assert ranks(logits, labels).tolist() == [row.index(k) for row, k in zip(order, labels.tolist(), strict=True)]


def test_top_five_is_not_top_six():
    found = Classified(np.array([0, 4, 5, 9]))
    assert (found.top(1), found.top(5), found.top(6)) == (0.25, 0.5, 0.75)
    assert Classified.cat([found, Classified(np.array([0]))]).pictures == 5
    assert np.isnan(Classified.cat([]).top())
    with pytest.raises(ParamError, match="k=0"):
        found.top(0)


def test_a_difference_is_paired():
    """10 of 400 pictures are won, none lost: the binomial error of that share, however hard the pictures are."""
    wins = np.arange(400) % 40 == 1
    for hard in (0, np.arange(400) % 2):
        a = Classified(np.where(wins, 1, hard))
        b = Classified(np.where(wins, 0, hard))
        found = top_difference(a, b)
        assert found.value == pytest.approx(0.025)
        assert found.high - found.low == pytest.approx(2 * 1.96 * (0.025 * 0.975 / 400) ** 0.5, rel=0.15)
        assert top_difference(a, b, k=2).value == 0
    with pytest.raises(ShapeError, match="same pictures"):
        top_difference(a, Classified(np.zeros(3, int)))


def test_confusion_and_miou_by_hand():
    truth = torch.tensor([[0, 0, 1], [1, 1, -1]])
    said = torch.tensor([[0, 1, 1], [1, 2, 2]])
    table = confusion(said, truth, 3)
    assert table.tolist() == [[1, 1, 0], [0, 2, 1], [0, 0, 0]]
    found = Segmented([table]).summary()
    assert found.per_class == {0: pytest.approx(1 / 2), 1: pytest.approx(2 / 4)}
    assert (found.miou, found.accuracy) == (pytest.approx(0.5), pytest.approx(3 / 5))
    with pytest.raises(ShapeError, match=r"0\.\.1"):
        confusion(said, truth, 2)
    with pytest.raises(ShapeError, match="do not fit"):
        confusion(said[:1], truth, 3)


def test_pixels_of_all_pictures_count_together():
    few, many = torch.tensor([[1, 0], [0, 0]]), torch.tensor([[0, 3], [0, 0]])
    both = Segmented([few, many])
    assert both.summary().per_class == {0: pytest.approx(1 / 4)}
    assert both.summary(np.array([3.0, 0.0])).miou == 1.0
    assert both.summary(np.array([2.0, 1.0])).miou == pytest.approx(2 / 5)
    assert np.isnan(Segmented([]).summary().miou)


def test_a_difference_in_miou():
    g = torch.Generator().manual_seed(0)
    truth = torch.randint(3, (30, 8, 8), generator=g)
    worse = torch.where(torch.rand(30, 8, 8, generator=g) < 0.3, (truth + 1) % 3, truth)
    worst = torch.where(torch.rand(30, 8, 8, generator=g) < 0.3, (truth + 1) % 3, worse)
    a, b = (Segmented([confusion(s, t, 3) for s, t in zip(said, truth, strict=True)]) for said in (worst, worse))
    found = miou_difference(a, b, repeats=300)
    assert found.value == pytest.approx(b.summary().miou - a.summary().miou)
    assert 0 < found.low < found.value < found.high
    same = miou_difference(a, a, repeats=50)
    assert (same.low, same.high) == (0, 0)
    with pytest.raises(ShapeError, match="same pictures"):
        miou_difference(a, Segmented([confusion(worst[0], truth[0], 3)]))
