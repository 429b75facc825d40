"""Degraded views: only what was drawn spoils them, nothing moves, and a batch is its pictures one by one."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from ispkit.core.errors import ParamError
from ispkit.core.frame import Domain
from ispkit.data.degrade import DEGRADATIONS, Degradation, Degrader, degradation, degrading_isp
from ispkit.data.project_pictures import project_pictures
from ispkit.data.synthetic_pairs import SyntheticPairs
from ispkit.data.synthetic_raw import SyntheticSettings
from ispkit.metrics import METRICS

WINDOW = SyntheticSettings(patch=(64, 64))
WITHOUT_NOISE = SyntheticSettings(colors="srgb", sigma=(0.0, 0.0))


@pytest.fixture(scope="module")
def pictures():
    return project_pictures(4, (72, 80), seed=4)


def smooth(count: int = 3, size: tuple[int, int] = (64, 64)) -> dict[str, Tensor]:
    coarse = torch.rand(count, 3, 4, 4, generator=torch.Generator().manual_seed(1)) * 0.5 + 0.25
    fine = torch.nn.functional.interpolate(coarse, size=size, mode="bicubic")
    return {f"smooth-{i}": p[None] for i, p in enumerate(fine)}


def shown(pictures, settings: Degradation, *, views: int = 1, seed: int = 0):
    pairs = SyntheticPairs(pictures, WINDOW, maker=Degrader(settings), views=views, seed=seed)
    return pairs.batch(range(len(pairs)))


def psnr(sample) -> Tensor:
    return METRICS["psnr"](sample.frame.data, sample.target, data_range=1.0)


@pytest.mark.parametrize("colors", ["srgb", "random"])
def test_without_drawn_parts_the_clean_picture_comes_back(colors):
    settings = Degradation(replace(WITHOUT_NOISE, colors=colors))
    assert float(psnr(shown(smooth(), settings)).min()) > 47


def test_each_knob_at_its_default_changes_nothing():
    space = degrading_isp().space
    names = sorted({name for d in DEGRADATIONS.values() for name in d.knobs})
    assert len(names) > 10
    plain = shown(smooth(), Degradation(WITHOUT_NOISE)).frame.data
    for name in names:
        own = shown(smooth(), Degradation(WITHOUT_NOISE, {name: space[name].default})).frame.data
        assert torch.equal(own, plain), name


@pytest.mark.parametrize("name", DEGRADATIONS)
def test_frames_are_pictures_of_eight_bits_as_large_as_their_targets(name, pictures):
    sample = shown(pictures, degradation(name), views=2)
    codes = sample.frame.data * 255
    assert sample.frame.domain is Domain.DISPLAY_RGB
    assert sample.frame.data.shape == sample.target.shape == sample.restored.shape
    assert torch.allclose(codes, codes.round(), atol=1e-4)
    assert 0 <= float(codes.min()) <= float(codes.max()) <= 255


@pytest.mark.parametrize("name", DEGRADATIONS)
def test_a_batch_is_its_items_one_by_one(name, pictures):
    pairs = SyntheticPairs(pictures, WINDOW, maker=Degrader(degradation(name)), views=2, seed=3)
    together = pairs.batch([2, 0, 3])
    alone = [pairs[i] for i in (2, 0, 3)]
    assert together.names == tuple(n for s in alone for n in s.names)
    apart = (together.frame.data - torch.cat([s.frame.data for s in alone])).abs() * 255
    assert float((apart > 0.5).float().mean()) < 0.01  # a sum rounded otherwise may turn a coefficient of JPEG
    assert torch.equal(together.target, torch.cat([s.target for s in alone]))


@pytest.mark.parametrize("name", DEGRADATIONS)
def test_nothing_moves(name, pictures):
    sample = shown(pictures, degradation(name), views=6)
    lumas = [x.mean(1) - x.mean((1, 2, 3))[:, None, None] for x in (sample.frame.data, sample.target)]
    spectra = [torch.fft.rfft2(luma) for luma in lumas]
    correlation = torch.fft.irfft2(spectra[0] * spectra[1].conj()).mean(0)
    assert int(correlation.argmax()) == 0
    for before, after in ((correlation[-1, 0], correlation[1, 0]), (correlation[0, -1], correlation[0, 1])):
        offset = (after - before) / (2 * (2 * correlation[0, 0] - before - after))  # of the parabola's top
        assert abs(float(offset)) < 0.05


def test_views_are_spoiled_differently_and_the_first_is_that_of_one_view(pictures):
    settings = degradation("paper")
    one, three = shown(pictures, settings), shown(pictures, settings, views=3)
    assert (three.views, three.frame.batch, len(three.names)) == (3, 12, 12)
    apart = (three.frame.data[::3] - one.frame.data).abs() * 255
    assert float((apart > 0.5).float().mean()) < 0.01
    assert torch.equal(three.target, one.target.repeat_interleave(3, 0))
    assert torch.equal(three.restored, one.restored.repeat_interleave(3, 0))
    for a, b in ((0, 1), (1, 2)):
        assert float((three.frame.data[a::3] - three.frame.data[b::3]).abs().mean()) > 0.01


def test_what_is_drawn_fills_its_ranges():
    settings = degradation("ablation")
    maker, chance = Degrader(settings), torch.Generator().manual_seed(5)
    drawn = [maker.draw(chance) for _ in range(600)]
    assert {d.quality for d in drawn} == set(range(10, 31))
    sigmas = torch.tensor([d.raw.sigma for d in drawn])
    assert float((sigmas.min() - 0.05).abs() + (sigmas.max() - 0.1).abs()) < 1e-3
    for name, (low, *_, high) in settings.knobs.items():
        values = torch.tensor([d.knobs[name] for d in drawn])
        if isinstance(low, str):
            assert len(set(values.tolist())) == len(settings.knobs[name])
            continue
        assert low <= float(values.min()) < low + 0.02 * (high - low) + 1e-6
        assert high - 0.02 * (high - low) - 1e-6 < float(values.max()) <= high + 1e-6
    gains = torch.tensor([d.knobs["white_balance.red_trim"] for d in drawn])
    assert abs(float(gains.log().mean())) < 0.02  # a ratio and its inverse come as often
    facts = maker.facts(drawn[0])
    assert facts["demosaic.method"] in settings.knobs["demosaic.method"]


def test_more_of_a_degradation_is_worse(pictures):
    scores = {name: float(psnr(shown(pictures, degradation(name), views=8)).mean()) for name in DEGRADATIONS}
    assert scores["dark"] < scores["ablation"] < scores["mild"]
    assert scores["dark"] < scores["paper"] < scores["default"]
    good, poor = (float(psnr(shown(pictures, Degradation(WITHOUT_NOISE, jpeg=(q, q)))).mean()) for q in (90, 10))
    assert poor < good - 3


def test_a_number_or_name_alone_fixes_a_knob(pictures):
    settings = Degradation(WITHOUT_NOISE, {"exposure.ev": -1, "demosaic.method": "bilinear"})
    assert settings.knobs == {"exposure.ev": (-1.0, -1.0), "demosaic.method": ("bilinear",)}
    maker = Degrader(settings)
    assert maker.draw(torch.Generator()).knobs == {}
    assert maker.isp.space.defaults()["exposure.ev"] == -1
    dark = shown(smooth(), settings)
    assert torch.all(dark.frame.data <= dark.target + 0.02)


def test_settings_that_make_no_sense_are_named():
    for wrong, told in (
        ({"knobs": {"sharpen.amuont": (0, 1)}}, r"did you mean 'sharpen.amount'"),
        ({"knobs": {"sharpen.amount": (0, 9)}}, r"sharpen.amount=9 is outside \[0, 3\]"),
        ({"knobs": {"sharpen.amount": (2, 1)}}, r"sharpen.amount=\(2, 1\) must be a number, or low and high"),
        ({"knobs": {"sharpen.amount": (0, 1, 2)}}, "low and high"),
        ({"knobs": {"sharpen.amount": "much"}}, "must be a number"),
        ({"knobs": {"demosaic.method": ("bilinear", "malvar")}}, "did you mean 'malvar2004'"),
        ({"knobs": {"demosaic.method": ()}}, "must be options"),
        ({"jpeg": (0, 10)}, r"jpeg=\[0, 10\]"),
        ({"jpeg": (30, 10)}, r"jpeg=\[30, 10\]"),
        ({"jpeg": (30, 40, 50)}, "jpeg"),
    ):
        with pytest.raises(ParamError, match=told):
            Degradation(**wrong)
    with pytest.raises(ParamError, match="did you mean 'ablation'"):
        degradation("ablatoin")


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("name", DEGRADATIONS)
def test_a_gpu_gives_the_same_views(name, pictures):
    settings = degradation(name)
    here, there = (
        SyntheticPairs(pictures, WINDOW, maker=Degrader(settings, device=device), views=2).batch(range(4))
        for device in ("cpu", "cuda")
    )
    assert {t.device.type for t in (there.frame.data, there.target, there.restored)} == {"cuda"}
    apart = (there.frame.data.cpu() - here.frame.data).abs() * 255
    assert float((apart > 1.5).float().mean()) < 0.01
