"""Rivals of restoration nets: blind, on finished pictures, of any batch."""

from __future__ import annotations

import math
import pickle

import pytest
import torch

from conftest import make_frame
from ispkit.bench import dir_rivals
from ispkit.bench.dir_rivals import AS_IS, BM3D, NLM, TUNED, BlindNlm, as_it_is, missing, noise_of, rivals, scenes_of
from ispkit.core.errors import BlackBoxError, DomainError, MissingExtraError
from ispkit.core.frame import Domain
from ispkit.core.space import ParamSpace
from ispkit.data.samples import Sample
from ispkit.metrics.fidelity import psnr


def pair(sigma, seed=0, size=(48, 64), batch=2):
    """Smooth pictures with noise as strong as told."""
    clean = make_frame(Domain.DISPLAY_RGB, size, batch, seed=seed)
    chance = torch.Generator().manual_seed(seed + 1)
    noise = torch.randn(clean.data.shape, generator=chance) * torch.as_tensor(sigma).reshape(-1, 1, 1, 1)
    noisy = clean.with_data((clean.data + noise).clamp(0, 1))
    return Sample(tuple(f"p{i}" for i in range(batch)), noisy, clean.data)


def gain(isp, sample):
    before = psnr(sample.frame.data, sample.target, data_range=1.0)
    return psnr(isp(sample.frame).data, sample.target, data_range=1.0) - before


def test_doing_nothing_changes_nothing():
    sample = pair(0.05)
    assert torch.equal(as_it_is()(sample.frame).data, sample.frame.data)
    assert len(as_it_is().space) == 0


def test_strength_follows_each_pictures_own_noise():
    sample = pair([0.02, 0.1])
    assert noise_of(sample.frame.data) == pytest.approx([0.02, 0.1], rel=0.15)
    assert (gain(BlindNlm(), sample) > 3.0).all()
    rows = torch.cat([BlindNlm()(sample.frame.select([i])).data for i in range(2)])
    assert torch.equal(rows, BlindNlm()(sample.frame).data)  # nothing of another picture enters
    clean = pair(0.0)
    assert (psnr(BlindNlm()(clean.frame).data, clean.target, data_range=1.0) > 50).all()
    assert pickle.loads(pickle.dumps(BlindNlm())).space.defaults() == BlindNlm().space.defaults()


def test_strength_zero_leaves_the_picture_and_the_floor_adds_strength():
    sample, isp = pair(0.02), BlindNlm()
    assert torch.equal(isp(sample.frame, {"nlm.luma": 0.0, "nlm.chroma": 0.0}).data, sample.frame.data)
    more = (isp(sample.frame, {"nlm.least": 0.1}).data - sample.frame.data).square().mean()
    assert more > (isp(sample.frame).data - sample.frame.data).square().mean()


@pytest.mark.slow
def test_the_tuned_one_is_never_worse_on_what_it_was_tuned_on(tmp_path):
    known = [pair(0.08, seed=3, size=(24, 24), batch=1), pair(0.05, seed=5, size=(24, 24), batch=1)]
    found = rivals(tmp_path, known, seed=0, trials=6)
    assert list(found) == [n for n in (AS_IS, NLM, BM3D, TUNED) if n != BM3D or not missing()]
    score = {name: sum(float(gain(isp, s)) for s in known) for name, isp in found.items() if name != BM3D}
    assert math.isclose(score[AS_IS], 0.0, abs_tol=1e-6)
    assert score[TUNED] >= score[NLM] > 0
    again = rivals(tmp_path, known, seed=0, trials=6)[TUNED]  # gone on with, not searched again
    assert again.space.defaults() == found[TUNED].space.defaults()


def test_bm3d_is_left_out_with_a_note_where_it_is_not_installed(monkeypatch):
    def absent():
        raise MissingExtraError("not installed")

    monkeypatch.setattr(dir_rivals, "Bm3dISP", absent)
    assert "bm3d" in missing()


def test_scenes_are_single_pictures_and_raw_is_refused():
    scenes = scenes_of([pair(0.05), pair(0.05, seed=9)])
    assert len({s.name for s in scenes}) == 4
    assert all(s.frame.batch == 1 and s.target.shape == (1, 3, 48, 64) for s in scenes)
    raw = make_frame(Domain.RAW, (48, 64), 2)
    with pytest.raises(DomainError, match="rivals restore display_rgb, pair 0 is raw"):
        scenes_of([Sample(("a", "b"), raw, torch.zeros(2, 3, 48, 64))])


def test_a_picture_that_bm3d_gives_no_numbers_for_stays_as_it_is(monkeypatch):
    """The package divides zero by zero on some pictures."""
    if missing():
        pytest.skip(missing())

    def fails(self, frame, values=None):
        raise BlackBoxError("bm3d gave no finite picture")

    monkeypatch.setattr(dir_rivals.Bm3dISP, "render_one", fails)
    frame = make_frame(Domain.DISPLAY_RGB, (40, 40), batch=1)
    made = dir_rivals.FunctionISP(dir_rivals._Bm3d(), ParamSpace({}), Domain.DISPLAY_RGB, Domain.DISPLAY_RGB)(frame)
    assert torch.equal(made.data, frame.data)
