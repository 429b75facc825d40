"""Labelled pictures become dark RAW and stay labelled; the same ISP's pictures can be kept."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from ispkit.core.errors import ParamError, ShapeError
from ispkit.core.frame import Domain
from ispkit.data.boxes import Boxes
from ispkit.data.degrade import Degrader, degradation
from ispkit.data.labelled_pairs import Framing, LabelledPairs, Window, draw_window, framed, framed_label
from ispkit.data.labelled_set import LabelledPicture, LabelledPictures
from ispkit.data.rendered import Rendered
from ispkit.data.synthetic_raw import SyntheticSettings
from ispkit.isp.recipe import preset

DARK = SyntheticSettings(patch=(32, 32), sensor="nexus-6p-rear", colors="srgb", gain=(100.0, 100.0))
PAPER = Framing(area=(0.05, 1.0), aspect=(0.75, 1.33), place="random", mirror=True, resize="nearest")


def pictures(count: int = 4, size: tuple[int, int] = (40, 48), marked=None) -> LabelledPictures:
    made = [torch.rand(1, 3, *size, generator=torch.Generator().manual_seed(i)) for i in range(count)]
    labels = [i % 2 if marked is None else marked for i in range(count)]
    items = [LabelledPicture(f"p{i}", made[i].clone, labels[i]) for i in range(count)]
    return LabelledPictures(items, ("cat", "dog"))


def test_a_sample_is_raw_of_the_picture_with_its_label():
    sample = LabelledPairs(pictures(), DARK).batch([2, 1])
    assert sample.frame.domain is Domain.RAW
    assert sample.labels.tolist() == [0, 1]
    assert sample.target.shape == (2, 3, 32, 32)
    assert sample.frame.meta.iso.tolist() == [10_000, 10_000]


def test_the_same_items_in_the_light_are_the_pictures_themselves():
    data = LabelledPairs(pictures(), DARK, PAPER, seed=2)
    dark, light = data.batch([3, 1]), data.clean([3, 1])
    assert light.frame.domain is Domain.DISPLAY_RGB
    assert torch.equal(light.frame.data, dark.target)
    assert (light.names, light.labels.tolist()) == (dark.names, dark.labels.tolist())


def test_items_depend_on_seed_epoch_and_index_alone():
    first, again = LabelledPairs(pictures(), DARK, PAPER, seed=5), LabelledPairs(pictures(), DARK, PAPER, seed=5)
    for data in (first, again):
        data.set_epoch(3)
    assert torch.equal(first[2].frame.data, again.batch([0, 2]).frame.data[1:])
    again.set_epoch(4)
    assert not torch.equal(first[2].target, again[2].target)


def test_views_share_window_and_label_and_keep_the_first_as_it_was():
    one, two = (LabelledPairs(pictures(), DARK, PAPER, views=v, seed=5) for v in (1, 2))
    single, views = one.batch([3, 0]), two.batch([3, 0])
    assert (views.views, views.labels.tolist()) == (2, [1, 1, 0, 0])
    assert (views.frame.data[::2] - single.frame.data).abs().max() <= 1
    assert not torch.equal(views.frame.data[0], views.frame.data[1])
    assert torch.equal(views.target, single.target.repeat_interleave(2, 0))
    light = two.clean([3, 0])
    assert light.views == 2
    assert torch.equal(light.frame.data, views.target)


def test_another_maker_spoils_the_same_windows():
    settings = SyntheticSettings(patch=(32, 32))
    spoiled = LabelledPairs(pictures(), settings, PAPER, maker=Degrader(degradation("mild")), views=2, seed=5)
    sample = spoiled.batch([2, 1])
    assert sample.frame.domain is Domain.DISPLAY_RGB
    assert sample.labels.tolist() == [0, 0, 1, 1]
    plain = LabelledPairs(pictures(), settings, PAPER, seed=5).batch([2, 1])
    assert torch.equal(sample.target[::2], plain.target)


@given(height=st.integers(8, 90), width=st.integers(8, 90), seed=st.integers(0, 10**6))
def test_windows_lie_in_the_picture_and_have_the_share_that_was_asked_for(height, width, seed):
    framing = Framing(area=(0.2, 0.5), aspect=(0.75, 1.33), place="random", mirror=True)
    window = draw_window((height, width), framing, torch.Generator().manual_seed(seed))
    assert window.y >= 0
    assert window.x >= 0
    assert window.y + window.height <= height
    assert window.x + window.width <= width
    share = window.height * window.width / (height * width)
    assert 0.2 * (1 - 2 / min(height, width)) ** 2 <= share + 0.05
    assert share <= 0.5 * (1 + 1 / height) * (1 + 1 / width) + 0.05


def test_the_default_window_is_the_middle():
    window = draw_window((80, 160), Framing(), torch.Generator().manual_seed(0))
    assert window == Window(5, 10, 70, 140)


@pytest.mark.parametrize("mirrored", [False, True])
def test_boxes_regions_and_pixels_follow_the_window_together(mirrored):
    picture = torch.zeros(1, 3, 40, 48)
    picture[..., 10:20, 12:30] = 1
    regions = picture[0, 0].long()
    window = Window(4, 6, 32, 36, mirrored)
    seen = framed(picture, window, (64, 72), "nearest")
    label = framed_label(Boxes.make([(12, 10, 30, 20)], [1]), window, (64, 72))
    left, top, right, bottom = (int(v) for v in label.boxes[0])
    assert torch.equal(framed_label(regions, window, (64, 72)), seen[0, 0].long())
    assert seen[..., top:bottom, left:right].min() == 1
    assert seen.sum() == 3 * (bottom - top) * (right - left)


def test_encoded_values_taken_for_light_are_brighter():
    plain, encoded = (
        LabelledPairs(pictures(), SyntheticSettings(patch=(32, 32), colors="srgb", sigma=(0, 0), light=light))[0]
        for light in ("linear", "encoded")
    )
    site = encoded.target[0, 0, ::2, ::2]
    assert torch.allclose(encoded.frame.data[0, 0, ::2, ::2], site, atol=1e-5)
    assert bool((encoded.frame.data >= plain.frame.data - 1e-5).all())


def test_kept_pictures_of_an_isp_are_those_of_the_first_epochs():
    data = Rendered(LabelledPairs(pictures(), DARK, PAPER), preset("neutral"), keep=2)
    shown = []
    for epoch in range(3):
        data.set_epoch(epoch)
        shown.append(data.batch([0, 1]))
    assert shown[0].frame.domain is Domain.DISPLAY_RGB
    assert torch.equal(shown[2].frame.data, shown[0].frame.data)
    assert not torch.equal(shown[1].frame.data, shown[0].frame.data)
    fresh = Rendered(LabelledPairs(pictures(), DARK, PAPER), preset("neutral"))
    fresh.set_epoch(1)
    assert torch.allclose(fresh.batch([0, 1]).frame.data, shown[1].frame.data, atol=1e-5)
    assert shown[1].labels.tolist() == [0, 1]


def test_what_makes_no_sense_is_refused():
    with pytest.raises(ParamError, match="area"):
        Framing(area=(0.5, 1.5))
    with pytest.raises(ParamError, match="resize='nearst'"):
        Framing(resize="nearst")
    with pytest.raises(ShapeError, match="no labelled pictures"):
        LabelledPairs(LabelledPictures([], ()), DARK)
