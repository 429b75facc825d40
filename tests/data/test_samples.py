"""Samples keep labels and pixels together."""

from __future__ import annotations

import pytest
import torch

from ispkit.core.errors import ShapeError
from ispkit.core.frame import Domain, Frame
from ispkit.core.meta import CameraMeta
from ispkit.data.augment import Turn, turned_sample
from ispkit.data.boxes import Boxes
from ispkit.data.samples import Labels, Sample


def sample(labels: Labels | None, count: int = 1, views: int = 1) -> Sample:
    one = Frame(torch.rand(1, 1, 8, 8), Domain.MOSAIC, CameraMeta.make("RGGB", (8, 8)))
    frame = Frame.cat([one] * count)
    return Sample(tuple(f"p{i}" for i in range(count)), frame, torch.rand(count, 3, 8, 8), labels=labels, views=views)


def test_a_class_of_the_whole_picture_stays_when_it_is_cropped():
    assert sample(torch.tensor([7])).crop(2, 2, 4, 4).labels.tolist() == [7]


def test_classes_of_pixels_are_cropped_as_the_target_is():
    regions = torch.arange(64).reshape(1, 8, 8)
    cut = sample(regions).crop(2, 4, 4, 2)
    assert torch.equal(cut.labels, regions[:, 2:6, 4:6])
    assert cut.target.shape[-2:] == cut.labels.shape[-2:]


def test_boxes_move_with_the_window():
    cut = sample((Boxes.make([(2, 2, 6, 6)], [1]),)).crop(2, 0, 6, 8)
    assert cut.labels[0].boxes.tolist() == [[2, 0, 6, 4]]


def test_a_batch_has_the_labels_of_all_in_order():
    boxes = [Boxes.make([(0, 0, 1, 1)], [i]) for i in range(2)]
    assert Sample.cat([sample(torch.tensor([i])) for i in (3, 5)]).labels.tolist() == [3, 5]
    assert [int(b.labels) for b in Sample.cat([sample((b,)) for b in boxes]).labels] == [0, 1]
    assert Sample.cat([sample(None), sample(None)]).labels is None


@pytest.mark.parametrize("other", [None, (Boxes.make([], []),)])
def test_labels_of_two_kinds_do_not_mix(other):
    with pytest.raises(ShapeError, match="cannot share a batch"):
        Sample.cat([sample(torch.tensor([1])), sample(other)])


def test_labels_are_as_many_as_pictures():
    with pytest.raises(ShapeError, match="labels of 3 pictures"):
        sample(torch.tensor([1, 2, 3]), count=2)


def test_views_stay_together_whatever_is_done_to_a_sample():
    pair = sample(torch.tensor([1, 1]), count=2, views=2)
    changed = (pair.map(lambda t: t / 2), pair.crop(2, 2, 4, 4), pair.to("cpu"), turned_sample(pair, Turn(rows=True)))
    assert [s.views for s in changed] == [2, 2, 2, 2]
    both = Sample.cat([pair, pair])
    assert (both.views, both.frame.batch) == (2, 4)


def test_views_that_do_not_fit_are_refused():
    with pytest.raises(ShapeError, match="samples of 1 and 2 views"):
        Sample.cat([sample(None), sample(None, count=2, views=2)])
    for views in (0, 2):
        with pytest.raises(ShapeError, match=f"3 frames cannot be views={views}"):
            sample(None, count=3, views=views)
