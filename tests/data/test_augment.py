"""Turning a sample and demosaicing it is demosaicing it and turning the picture."""

from __future__ import annotations

import pytest
import torch

from conftest import make_frame
from ispkit.core.cfa import CFA_PATTERNS
from ispkit.core.errors import ShapeError
from ispkit.core.frame import Domain
from ispkit.core.meta import View
from ispkit.core.opcodes import VignetteRadial
from ispkit.data.augment import TURNS, draw_turn, item_seed, start_of, turned, turned_frame, turned_sample
from ispkit.data.samples import Sample
from ispkit.ops.cfa import cfa_masks, mosaic
from ispkit.ops.demosaic import demosaic


@pytest.mark.parametrize("cfa", CFA_PATTERNS)
@pytest.mark.parametrize("turn", TURNS, ids=str)
def test_augment_then_demosaic_is_demosaic_then_augment(cfa, turn):
    frame = make_frame(Domain.MOSAIC, size=(14, 18), cfa=cfa)
    sample = Sample(("a", "b"), frame, torch.rand(2, 3, 14, 18))
    moved = turned_sample(sample, turn)
    first = demosaic(moved.frame.data, moved.frame.meta.cfa, "bilinear")
    then = turned(demosaic(frame.data, cfa, "bilinear"), turn)
    assert torch.allclose(first, then, atol=1e-6)
    assert torch.equal(moved.target, turned(sample.target, turn))


@pytest.mark.parametrize("cfa", CFA_PATTERNS)
@pytest.mark.parametrize("wanted", CFA_PATTERNS)
def test_a_window_starts_where_its_turned_mosaic_reads_the_wanted_cfa(cfa, wanted):
    colors = torch.tensor([1.0, 2.0, 3.0])[None, :, None, None].expand(1, 3, 12, 12)
    frame = make_frame(Domain.MOSAIC, size=(12, 12), batch=1, cfa=cfa)
    frame = frame.with_data(mosaic(colors, cfa))
    for turn in TURNS:
        y, x = start_of(cfa, wanted, turn)
        window = turned_frame(frame.crop(y, x, 8, 8), turn)
        assert window.meta.cfa == wanted
        assert torch.equal(window.data, mosaic(colors[..., :8, :8], wanted))
    with pytest.raises(ShapeError, match="XYZ"):
        start_of(cfa, "XYZ")


def test_transposing_twice_is_nothing_and_levels_maps_and_views_follow():
    levels = [10.0, 11.0, 12.0, 13.0]
    view = View((40, 60), (3, 5), (1, -1))
    frame = make_frame(Domain.RAW, size=(6, 8), batch=1, cfa="GRBG", black_level=levels, view=view)
    frame = frame.with_data(frame.data, noise_map=torch.rand(1, 1, 6, 8))
    moved = frame.transpose()
    assert moved.size == (8, 6)
    assert moved.meta.cfa == "GBRG"
    assert moved.meta.black_level.tolist() == [[10.0, 12.0, 11.0, 13.0]]
    assert torch.equal(moved.meta.noise_map, frame.meta.noise_map.transpose(-1, -2))
    rows, columns = moved.meta.view[0].coordinates(moved.size, moved.data)
    old_rows, old_columns = view.coordinates(frame.size, frame.data)
    assert torch.equal(rows, old_columns)
    assert torch.equal(columns, old_rows)
    back = moved.transpose()
    assert torch.equal(back.data, frame.data)
    assert back.meta.cfa == "GRBG"
    assert back.meta.view == frame.meta.view
    assert torch.equal(back.meta.black_level, frame.meta.black_level)
    masks = cfa_masks((6, 8), "GRBG").transpose(-1, -2)
    assert torch.equal(masks, cfa_masks((8, 6), moved.meta.cfa))


def test_opcodes_cannot_follow_a_transposition():
    opcode = VignetteRadial(2, (0.1, 0, 0, 0, 0), (0.5, 0.5))
    frame = make_frame(Domain.RAW, batch=1, opcodes=[opcode])
    with pytest.raises(ShapeError, match="opcodes"):
        frame.transpose()
    assert turned_frame(frame, TURNS[4]).meta.opcodes == ((),)
    assert turned_frame(frame, TURNS[1]).meta.opcodes == ((opcode,),)


def test_turns_are_drawn_evenly_and_items_have_seeds_of_their_own():
    chance = torch.Generator().manual_seed(0)
    assert {draw_turn(chance) for _ in range(200)} == set(TURNS)
    assert {draw_turn(chance, square=False) for _ in range(100)} == set(TURNS[:4])
    seeds = [item_seed(s, e, i) for s in range(8) for e in range(8) for i in range(8)]
    assert len(set(seeds)) == 512
