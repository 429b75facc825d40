"""The noise obeys its law: moments, clipping, rows, patterns that stay, dark current, defects."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy import stats

from ispkit.core.errors import ParamError, ShapeError
from ispkit.core.profile import BlackPoint, NoisePoint
from ispkit.ops.cfa import planes
from ispkit.sensor.simulate import Defect, Sensor, capture

PLAIN = Sensor(vignetting=(0.0,) * 5, blur_px=0.0, bits=16, black_level=4096.0)


def signal_of(frame, sensor):
    return ((frame.data - sensor.black_level) / (sensor.white_level - sensor.black_level)).double()


def flat(level: float | list[float], side: int = 256):
    levels = torch.tensor([level] if isinstance(level, float) else level)
    return levels[:, None, None, None].expand(-1, 3, side, side)


def shoot(level, sensor, **settings):
    """Signals (B, 1, H, W) of flat sensor light."""
    return signal_of(capture(flat(level), sensor, space="sensor", **settings), sensor)


@pytest.mark.parametrize("draw", ["poisson", "normal"])
def test_mean_and_variance_follow_the_law_of_each_picture_in_a_batch(draw):
    levels, iso = [0.02, 0.1, 0.3, 0.6], torch.tensor([100.0, 400.0, 1600.0, 6400.0])
    frame = capture(flat(levels), PLAIN, iso=iso, space="sensor", draw=draw, seed=3)
    x = signal_of(frame, PLAIN).flatten(1)
    for i, level in enumerate(levels):
        shot, read = frame.meta.noise_profile[i, 0].double().tolist()
        gain = float(iso[i]) / 100
        assert shot == pytest.approx(PLAIN.shot_at_iso100 * gain)
        assert read == pytest.approx(PLAIN.read_at_iso100 * gain**2 + (1 / (65535 - 4096)) ** 2 / 12)
        law, count = shot * level + read, x.shape[1]
        assert float(x[i].mean()) == pytest.approx(level, abs=5 * math.sqrt(law / count))
        assert float(x[i].var()) == pytest.approx(law, rel=5 * math.sqrt(2 / count))


def test_photon_noise_is_skewed_as_counts_are():
    """The third central moment of S Poisson(x / S) is S^2 x; a normal has none."""
    sensor = Sensor(vignetting=(0.0,) * 5, blur_px=0.0, bits=16, black_level=4096.0, shot_at_iso100=0.02)
    for draw, expected in (("poisson", 0.02**2 * 0.2), ("normal", 0.0)):
        x = shoot(0.2, sensor, draw=draw)
        assert float((x - x.mean()).pow(3).mean()) == pytest.approx(expected, abs=6e-6)


@pytest.mark.parametrize(("level", "draw"), [(0.03, "poisson"), (0.03, "normal"), (0.97, "normal")])
def test_clipping_moves_the_mean_as_the_closed_form_says(level, draw):
    """E clip(y) is a sum over counts of the clipped normal's mean; with black level 0 the sensor clips at 0 and 1."""
    shot, std = 0.01, 0.04
    sensor = Sensor(
        vignetting=(0.0,) * 5, blur_px=0.0, bits=16, black_level=0.0, shot_at_iso100=shot, read_at_iso100=std**2
    )

    def clipped_mean(mu, sigma):
        a, b = -mu / sigma, (1 - mu) / sigma
        inside = stats.norm.cdf(b) - stats.norm.cdf(a)
        return mu * inside + sigma * (stats.norm.pdf(a) - stats.norm.pdf(b)) + stats.norm.sf(b)

    if draw == "poisson":
        counts = np.arange(60)
        expected = float((stats.poisson.pmf(counts, level / shot) * clipped_mean(counts * shot, std)).sum())
    else:
        expected = float(clipped_mean(level, math.sqrt(shot * level + std**2)))
    assert abs(expected - level) > 0.002, "the case must be one that clips"
    x = shoot(level, sensor, draw=draw)
    assert float(x.mean()) == pytest.approx(expected, abs=5 * float(x.std()) / 256)


def test_row_noise_is_white_down_the_picture_and_constant_along_it():
    std = 0.01
    sensor = Sensor(vignetting=(0.0,) * 5, blur_px=0.0, bits=16, black_level=4096.0, row_noise=((100.0, std),))
    quiet = Sensor(**{**sensor.__dict__, "read_at_iso100": 1e-10, "shot_at_iso100": 1e-10})
    x = torch.cat([shoot(0.3, quiet, seed=s) for s in range(4)])[:, 0]
    rows = x.mean(-1) - 0.3
    assert float(rows.std()) == pytest.approx(std, rel=0.1)
    assert float((x - rows[..., None] - 0.3).std()) < 2e-5, "a row has one offset"
    power = torch.fft.rfft(rows).abs().square()[:, 1:].mean(0)
    assert float(power[:64].mean() / power[64:].mean()) == pytest.approx(1.0, abs=0.35)
    assert float(power.mean()) == pytest.approx(256 * std**2, rel=0.2)
    assert not torch.allclose(rows[0], rows[1]), "rows are drawn anew in each picture"
    louder = quiet.row_noise_at(torch.tensor([400.0]))
    assert float(louder) == pytest.approx(4 * std)


def test_patterns_belong_to_the_sensor_and_noise_to_the_picture():
    sensor = Sensor(vignetting=(0.0,) * 5, blur_px=0.0, bits=16, prnu=0.02, column_pattern=0.003, serial=7)
    mean = lambda s, level: shoot(level, s, draw="none")  # noqa: E731
    bright, dark = mean(sensor, 0.5), mean(sensor, 0.0)
    assert torch.equal(bright, mean(sensor, 0.5))
    assert not torch.equal(bright, mean(Sensor(**{**sensor.__dict__, "serial": 8}), 0.5))
    assert float(((bright - dark) / 0.5).std()) == pytest.approx(0.02, rel=0.02)
    columns = dark[0, 0].mean(0)
    assert float(columns.std()) == pytest.approx(0.003, rel=0.15)
    assert float((dark - columns).abs().max()) < 1e-5
    a, b = (shoot(0.5, sensor, seed=s) for s in (1, 2))
    assert not torch.equal(a, b)


def test_dark_current_adds_signal_and_its_own_shot_noise():
    sensor = Sensor(
        vignetting=(0.0,) * 5, blur_px=0.0, bits=16, black_level=4096.0, shot_at_iso100=1e-3, dark_current_e_s=40.0
    )
    settings = {"exposure_time_s": 2.0, "iso": torch.tensor([100.0, 200.0])}
    x = shoot([0.0, 0.0], sensor, **settings).flatten(1)
    for i, gain in enumerate((1, 2)):
        shot, read = 1e-3 * gain, 2e-8 * gain**2
        level = shot * 40.0 * 2.0
        assert float(x[i].mean()) == pytest.approx(level, rel=5 / math.sqrt(80 * 65536))
        assert float(x[i].var()) == pytest.approx(shot * level + read, rel=0.03)
    assert float(shoot(0.0, sensor, exposure_time_s=1e-4).mean()) == pytest.approx(4e-6, abs=2e-6)


def test_defects_are_where_and_what_they_are_said_to_be():
    places = (Defect(3, 5), Defect(10, 20, "dead", 0.25), Defect(30, 40, "hot", 1e5), Defect(900, 1))
    sensor = Sensor(
        vignetting=(0.0,) * 5, blur_px=0.0, bits=16, defects=places, shot_at_iso100=1e-4, read_at_iso100=1e-12
    )
    bright = shoot(0.4, sensor, draw="none", exposure_time_s=0.02)[0, 0]
    assert float(bright[3, 5]) == pytest.approx(1.0)
    assert float(bright[10, 20]) == pytest.approx(0.1, abs=1e-4)
    assert float(bright[30, 40]) == pytest.approx(0.4 + 1e-4 * 1e5 * 0.02, abs=1e-4)
    others = bright.flatten().tolist()
    assert sum(abs(v - 0.4) > 1e-4 for v in others) == 3
    dark = shoot(0.0, sensor, draw="none", exposure_time_s=0.02, iso=200.0)[0, 0]
    assert float(dark[30, 40]) == pytest.approx(0.4, abs=1e-4)
    assert float(dark[10, 20]) == pytest.approx(0.0, abs=1e-4)


def test_measured_points_take_the_place_of_the_laws():
    points = (
        NoisePoint(100.0, (1e-4, 2e-4, 3e-4), (1e-8,) * 3, ""),
        NoisePoint(400.0, (9e-4, 8e-4, 3e-4), (4e-8,) * 3, ""),
    )
    sensor = Sensor(noise=points)
    at = sensor.noise_at(torch.tensor([50.0, 100.0, 200.0, 400.0, 800.0]))
    assert at[:, 0, 0].tolist() == pytest.approx([0.5e-4, 1e-4, 3e-4, 9e-4, 18e-4])
    assert at[:, 2, 0].tolist() == pytest.approx([1.5e-4, 3e-4, 3e-4, 3e-4, 6e-4])
    assert at[:, 1, 1].tolist() == pytest.approx([0.25e-8, 1e-8, 2e-8, 4e-8, 16e-8])
    black = (BlackPoint(100.0, 0.01, (60.0, 61.0, 62.0, 63.0), (1.0,) * 4),
             BlackPoint(200.0, 0.01, (70.0,) * 4, (1.0,) * 4),
             BlackPoint(100.0, 1.0, (99.0,) * 4, (1.0,) * 4))  # fmt: skip
    sensor = Sensor(black=black, vignetting=(0.0,) * 5, blur_px=0.0, bits=12)
    assert sensor.black_at(torch.tensor([100.0, 150.0, 900.0])).tolist()[:3] == [
        [60, 61, 62, 63],
        [65, 65.5, 66, 66.5],
        [70] * 4,
    ]
    assert sensor.black_at(100.0, 2.0)[0, 0] == 99.0
    dark = capture(flat(0.0, 64), sensor, draw="none")
    assert [float(p.mean()) for p in planes(dark.data)[0]] == [60.0, 61.0, 62.0, 63.0]
    assert dark.meta.black_level.tolist() == [[60.0, 61.0, 62.0, 63.0]]


def test_noise_differs_by_color_where_the_profile_does():
    points = (NoisePoint(100.0, (1e-3, 2e-3, 4e-3), (1e-6, 1e-6, 9e-6), ""),)
    sensor = Sensor(noise=points, vignetting=(0.0,) * 5, blur_px=0.0, bits=16, cfa="GRBG")
    sites = planes(shoot(0.25, sensor))[0]
    for site, color in zip(sites, (1, 0, 2, 1), strict=True):
        assert float(site.var()) == pytest.approx(points[0].shot[color] * 0.25 + points[0].read[color], rel=0.06)


def test_a_generator_goes_on_and_gradients_pass_through_the_normal_draw():
    g = torch.Generator().manual_seed(5)
    a, b = (capture(flat(0.3, 32), PLAIN, generator=g).data for _ in range(2))
    assert not torch.equal(a, b)
    assert torch.equal(a, capture(flat(0.3, 32), PLAIN, generator=torch.Generator().manual_seed(5)).data)
    from ispkit.sensor.noise import poisson_gaussian

    x = torch.full((1, 1, 4, 4), 0.3, requires_grad=True)
    poisson_gaussian(
        x, torch.tensor(1e-3), torch.tensor(1e-6), torch.Generator().manual_seed(0), "normal"
    ).sum().backward()
    assert x.grad is not None
    assert float((x.grad - 1).abs().max()) < 0.2


def test_no_noise_at_all_is_possible():
    sensor = Sensor(**{**PLAIN.__dict__, "shot_at_iso100": 0.0, "read_at_iso100": 0.0})
    x = shoot(0.3, sensor)
    assert float(x.std()) < 1e-9
    assert float(x.mean()) == pytest.approx(0.3, abs=1e-5)


def test_settings_that_do_not_fit_are_named():
    with pytest.raises(ShapeError, match=r"\[2, 3\] pictures and settings"):
        capture(flat([0.1, 0.2], 16), PLAIN, iso=torch.tensor([1.0, 2.0, 3.0]))
    with pytest.raises(ParamError, match="noise='binomial'"):
        capture(flat(0.1, 16), PLAIN, draw="binomial")
    with pytest.raises(ParamError, match="space='lab'"):
        capture(flat(0.1, 16), PLAIN, space="lab")


@pytest.mark.gpu
def test_the_law_holds_on_a_gpu():
    if not torch.cuda.is_available():
        pytest.skip("needs a CUDA device")
    scene = flat([0.1, 0.5]).cuda()
    frame = capture(scene, Sensor(**{**PLAIN.__dict__, "prnu": 0.01}), iso=torch.tensor([400.0, 800.0]), seed=1)
    assert frame.data.device.type == "cuda"
    assert frame.meta.noise_profile.device.type == "cuda"
    again = capture(scene, Sensor(**{**PLAIN.__dict__, "prnu": 0.01}), iso=torch.tensor([400.0, 800.0]), seed=1)
    assert torch.equal(frame.data, again.data)
    x = signal_of(capture(scene, PLAIN, space="sensor", seed=2), PLAIN).flatten(1)
    for i, level in enumerate((0.1, 0.5)):
        assert float(x[i].var()) == pytest.approx(1.2e-4 * level + 2e-8, rel=0.03)
    means = [capture(s, PLAIN, draw="none").data for s in (scene, scene.cpu())]
    torch.testing.assert_close(means[0].cpu(), means[1], rtol=0, atol=1.0)
