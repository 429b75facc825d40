"""Samples made on the fly: the sensor's own noise, truth that fits the RAW, the same samples whoever asks."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from ispkit.core.errors import ParamError, ShapeError
from ispkit.core.frame import Domain
from ispkit.data.project_pictures import project_pictures
from ispkit.data.synthetic_pairs import SyntheticPairs
from ispkit.data.synthetic_raw import SyntheticSettings
from ispkit.isp.recipe import preset
from ispkit.metrics import METRICS
from ispkit.ops.cfa import channel_sites, planes
from ispkit.ops.encode import srgb_decode, srgb_encode
from ispkit.ops.levels import linearize
from ispkit.sensor.catalog import load_sensor
from ispkit.sensor.unprocess import inverse_smoothstep

SMALL = SyntheticSettings(patch=(48, 48))


@pytest.fixture(scope="module")
def pictures():
    return project_pictures(5, (96, 120), seed=4)


def flat(level: float) -> dict[str, torch.Tensor]:
    return {"flat": torch.full((1, 3, 192, 192), level)}


def same(a, b) -> bool:
    tensors = [(a.frame.data, b.frame.data), (a.target, b.target), (a.restored, b.restored)]
    return a.names == b.names and all(torch.equal(x, y) for x, y in tensors)


@pytest.mark.parametrize(
    "settings",
    [SMALL, replace(SMALL, sensor="nexus-6p-rear"), replace(SMALL, sigma=(1, 10), colors="srgb")],
    ids=["brooks", "sensor", "gaussian"],
)
def test_an_item_depends_on_seed_epoch_and_index_alone(pictures, settings):
    first, again = (SyntheticPairs(pictures, replace(settings, windows=2), seed=7) for _ in range(2))
    again.batch([9, 1, 4])  # what was asked for before does not matter
    assert len(first) == 10
    assert same(first[4], again[4])
    together = first.batch([8, 4, 0])
    assert together.names[1] == first[4].names[0]
    # a batch rounds as its items do, but for sums: a code of a quantized RAW at most
    assert (together.frame.data[1] - first[4].frame.data[0]).abs().max() <= 1
    assert torch.equal(together.target[1:2], first[4].target)
    again.set_epoch(1)
    assert not same(first[4], again[4])
    again.set_epoch(0)
    assert same(first[4], again[4])
    assert not same(first[4], SyntheticPairs(pictures, replace(settings, windows=2), seed=8)[4])


@pytest.mark.parametrize("gain", [1.0, 16.0])
@pytest.mark.parametrize("draw", ["poisson", "normal"])
def test_noise_is_that_of_the_sensor_in_mean_and_variance(gain, draw):
    sensor = load_sensor("nexus-6p-rear")
    settings = SyntheticSettings(
        patch=(192, 192), sensor=sensor, colors="sensor", gain=(gain, gain), exposure=(0.25, 0.25), draw=draw
    )
    sample = SyntheticPairs(flat(0.6), settings, seed=2).batch(range(1))
    meta = sample.frame.meta
    x = linearize(sample.frame.data, meta.black_level, meta.white_level)
    expected = sample.restored[0, :, 0, 0] * meta.neutral[0] * 2 ** -float(meta.baseline_exposure[0])
    law = sensor.noise_at(100 * gain)[0].float()
    step = 1 / (meta.white_level[0, 0] - meta.black_level[0, 0])
    variance = law[:, 0] * expected + law[:, 1] + step**2 / 12
    got, sites = planes(x)[0], channel_sites(meta.cfa, torch.stack([expected, variance])).reshape(2, 4)
    assert torch.allclose(
        got.mean((1, 2)), sites[0], atol=4 * float((sites[1].max() / 9216).sqrt()) + 0.02 * float(step)
    )
    assert torch.allclose(got.var((1, 2)), sites[1], rtol=0.07)
    told = meta.noise_profile[0]
    assert torch.allclose(told[:, 0] * expected + told[:, 1], variance, rtol=1e-4)


def test_plain_gaussian_noise_is_in_255ths_of_white_and_unclipped():
    settings = SyntheticSettings(patch=(192, 192), sigma=(5, 5), colors="srgb", turn=False)
    sample = SyntheticPairs(flat(0.02), settings)[0]
    noise = sample.frame.data - srgb_decode(torch.tensor(0.02))
    assert float(noise.std()) * 255 == pytest.approx(5, rel=0.02)
    assert abs(float(noise.mean())) * 255 < 0.15
    assert sample.frame.data.min() < 0
    assert sample.frame.meta.noise_profile[0, 1].tolist() == pytest.approx([0, (5 / 255) ** 2])
    drawn = SyntheticPairs(flat(0.5), replace(settings, sigma=(1, 10), windows=40)).batch(range(40))
    sigmas = drawn.frame.data.flatten(1).std(1) * 255
    assert 0.9 < float(sigmas.min()) < 2.5
    assert 8.5 < float(sigmas.max()) < 10.2


@pytest.mark.parametrize("draw", ["poisson", "normal"])
def test_plain_photon_noise_has_a_variance_in_proportion_to_light(draw):
    settings = SyntheticSettings(patch=(192, 192), shot=(0.03, 0.03), colors="srgb", draw=draw)
    for level, sigma in ((0.3, 0.0), (0.9, 0.0), (0.6, 0.1)):
        own = replace(settings, sigma=(255 * sigma, 255 * sigma))
        sample = SyntheticPairs(flat(level), own, seed=1)[0]
        light = float(srgb_decode(torch.tensor(level)))
        noise = sample.frame.data - light
        assert abs(float(noise.mean())) < 4 * (0.03 * light + sigma**2) ** 0.5 / 192
        assert float(noise.var()) == pytest.approx(0.03 * light + sigma**2, rel=0.05)
        assert sample.frame.meta.noise_profile[0, 1].tolist() == pytest.approx([0.03, sigma**2])


@pytest.mark.parametrize(
    "settings",
    [SMALL, replace(SMALL, sensor="nexus-6p-rear"), replace(SMALL, sigma=(1, 10), shot=(0.0, 0.02), colors="srgb")],
    ids=["brooks", "sensor", "plain"],
)
def test_views_show_one_window_under_other_conditions(pictures, settings):
    one, three = (SyntheticPairs(pictures, settings, views=v, seed=7) for v in (1, 3))
    assert len(three) == len(one)
    single, views = one.batch([1, 4]), three.batch([1, 4])
    assert (views.views, views.names) == (3, tuple(n for n in single.names for _ in range(3)))
    assert (views.frame.data[::3] - single.frame.data).abs().max() <= (1 if settings.sensor else 1e-5)
    for repeated, own in ((views.target, single.target), (views.restored, single.restored)):
        assert torch.equal(repeated, own.repeat_interleave(3, 0))
    assert not torch.allclose(views.frame.data[1], views.frame.data[2], atol=1e-3)
    assert torch.equal(
        three.batch([4]).frame.data[1], SyntheticPairs(pictures, settings, views=2, seed=7)[4].frame.data[1]
    )


def test_without_noise_the_raw_develops_to_its_target(pictures):
    clean = SyntheticSettings(patch=(96, 96), sigma=(0, 0))
    for turn in (False, True):
        sample = SyntheticPairs(pictures, replace(clean, turn=turn)).batch(range(5))
        developed = preset("neutral")(sample.frame).data
        assert float(METRICS["psnr"](developed, sample.target, data_range=1.0).mean()) > 25
        assert torch.allclose(srgb_encode(sample.restored), sample.target, atol=1e-5)


def test_less_exposure_is_a_darker_raw_with_the_same_targets(pictures):
    full = SyntheticPairs(pictures, replace(SMALL, sigma=(0, 0)))[3]
    quarter = SyntheticPairs(pictures, replace(SMALL, sigma=(0, 0), exposure=(0.25, 0.25)))[3]
    assert torch.allclose(quarter.frame.data, full.frame.data / 4, atol=1e-7)
    assert float(quarter.frame.meta.baseline_exposure - full.frame.meta.baseline_exposure) == pytest.approx(2)
    assert torch.equal(quarter.target, full.target)
    assert torch.equal(quarter.restored, full.restored)
    developed = preset("neutral")(quarter.frame).data
    assert torch.allclose(developed, preset("neutral")(full.frame).data, atol=1e-3)


def test_bytes_targets_of_their_own_and_the_smoothstep(pictures):
    codes = {name: (p * 255).round().byte() for name, p in pictures.items()}
    other = {name: 1 - p for name, p in pictures.items()}
    plain = SyntheticPairs({n: c.float() / 255 for n, c in codes.items()}, SMALL)[2]
    assert same(plain, SyntheticPairs(codes, SMALL)[2])
    sample, own = (SyntheticPairs(pictures, SMALL, targets=t)[1] for t in (other, None))
    assert torch.allclose(sample.target, 1 - own.target)
    assert torch.equal(sample.frame.data, own.frame.data)
    bent = SyntheticPairs(pictures, replace(SMALL, smoothstep=True))[1]
    assert torch.allclose(bent.restored, srgb_decode(inverse_smoothstep(bent.target)), atol=1e-6)


def test_what_belongs_to_places_on_a_sensor_is_left_out(pictures):
    sensor = replace(load_sensor("default"), prnu=0.05, column_pattern=0.01, vignetting=(1.0, 0, 0, 0, 0))
    own = SyntheticPairs(pictures, replace(SMALL, sensor=sensor))
    assert own[0].frame.meta.opcodes == ((),)
    assert same(own[1], SyntheticPairs(pictures, replace(SMALL, sensor="default"))[1])
    assert own[0].frame.domain is Domain.RAW


def test_settings_that_make_no_sense_are_named(pictures):
    for wrong, error, told in (
        ({"patch": (15, 16)}, ShapeError, "patch"),
        ({"colors": "sensor"}, ParamError, "needs a sensor"),
        ({"colors": "rndom"}, ParamError, "random"),
        ({"gain": (4, 1)}, ParamError, "gain"),
        ({"exposure": (0, 1)}, ParamError, "exposure"),
        ({"sigma": (-1, 1)}, ParamError, "sigma"),
        ({"shot": (0.2, 0.1)}, ParamError, "shot"),
        ({"cct_k": (10, 20)}, ParamError, "cct_k"),
    ):
        with pytest.raises(error, match=told):
            SyntheticSettings(**wrong)
    with pytest.raises(ShapeError, match=r"leaves-00.*at least 200x200"):
        SyntheticPairs(pictures, SyntheticSettings(patch=(200, 200)))
    with pytest.raises(ShapeError, match="its target"):
        SyntheticPairs(pictures, SMALL, targets={})
    with pytest.raises(ParamError, match="views=0"):
        SyntheticPairs(pictures, SMALL, views=0)
    with pytest.raises(IndexError):
        SyntheticPairs(pictures, SMALL)[5]
