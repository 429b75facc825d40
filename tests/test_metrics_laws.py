"""Laws that every metric of the list keeps, and gradients of those that declare them."""

import math

import pytest
import torch

from ispkit.core.errors import ParamError, ShapeError
from ispkit.metrics import METRICS
from ispkit.metrics.base import Metric
from ispkit.metrics.lpips import Lpips
from ispkit.metrics.niqe import NiqeModel

SIZE = (192, 200)


def picture(seed: int, batch: int = 2, size=SIZE, dtype=torch.float32) -> torch.Tensor:
    g = torch.Generator().manual_seed(seed)
    coarse = torch.rand(batch, 3, 9, 11, generator=g, dtype=dtype)
    smooth = torch.nn.functional.interpolate(coarse, size=size, mode="bicubic")
    return (smooth * 0.8 + 0.1 + 0.05 * torch.randn(batch, 3, *size, generator=g, dtype=dtype)).clamp(0.02, 0.98)


@pytest.fixture(scope="module")
def models() -> dict[str, dict]:
    torch.manual_seed(0)
    net = Lpips("squeeze")
    for head in net.heads:
        head.weight.abs_()
    return {"lpips": {"model": net}, "niqe": {"model": NiqeModel.fit([picture(7, 1, (384, 480))], data_range=1.0)}}


def value(metric: Metric, a: torch.Tensor, b: torch.Tensor, models: dict, data_range: float = 1.0) -> torch.Tensor:
    options = models.get(metric.name, {})
    return metric(a, b if metric.full_reference else None, data_range=data_range, **options)


@pytest.mark.parametrize("metric", METRICS.values(), ids=METRICS)
def test_shape_range_scale_purity_and_batch_equal_loop(metric, models):
    a, b = picture(1), picture(2)
    kept = a.clone()
    result = value(metric, a, b, models)
    assert result.shape == (2,)
    assert result.dtype == torch.float32
    assert bool(((result >= metric.low) & (result <= metric.high)).all())
    assert torch.equal(a, kept)
    alone = torch.cat([value(metric, a[i : i + 1], b[i : i + 1], models) for i in range(2)])
    torch.testing.assert_close(result, alone, rtol=1e-5, atol=1e-6)
    scaled = value(metric, a * 255, b * 255, models, data_range=255.0)
    torch.testing.assert_close(result, scaled, rtol=2e-4, atol=1e-5)


@pytest.mark.parametrize("metric", [m for m in METRICS.values() if m.full_reference], ids=lambda m: m.name)
def test_identity_direction_symmetry(metric, models):
    a = picture(1)
    noise = torch.randn(a.shape, generator=torch.Generator().manual_seed(5))
    same = value(metric, a, a, models)
    near, far = (value(metric, (a + s * noise).clamp(0, 1), a, models) for s in (0.02, 0.1))
    best = metric.high if metric.higher_is_better else metric.low
    torch.testing.assert_close(same, torch.full((2,), best), rtol=1e-6, atol=1e-5)
    assert bool((near > far).all()) == metric.higher_is_better
    assert bool((near < same).all()) == metric.higher_is_better
    torch.testing.assert_close(value(metric, a, (a + 0.1 * noise).clamp(0, 1), models), far, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("metric", [m for m in METRICS.values() if m.differentiable], ids=lambda m: m.name)
def test_gradient_is_right_and_finite_even_where_pictures_agree(metric, models):
    a, b = picture(1, 1, dtype=torch.float64), picture(2, 1, dtype=torch.float64)
    options = models.get(metric.name, {})
    if metric.name == "lpips":
        options = {"model": options["model"].double()}
    a[..., :40] = b[..., :40]  # equal and gray regions are where naive square roots break
    a[..., 40:60, :40] = b[..., 40:60, :40] = 0.5
    a.requires_grad_(True)
    direction = torch.randn(a.shape, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    direction[..., :40] = 0
    (gradient,) = torch.autograd.grad(metric(a, b, data_range=1.0, **options).sum(), a)
    assert bool(torch.isfinite(gradient).all())
    step = 1e-6
    with torch.no_grad():
        up, down = (metric(a + s * step * direction, b, data_range=1.0, **options) for s in (1, -1))
    assert float((gradient * direction).sum()) == pytest.approx(float(up - down) / (2 * step), rel=1e-4, abs=1e-7)
    if metric.name == "lpips":
        options["model"].float()


@pytest.mark.parametrize("metric", METRICS.values(), ids=METRICS)
def test_half_precision_and_autocast_do_not_change_the_score(metric, models):
    a, b = picture(1, 1).bfloat16(), picture(2, 1).bfloat16()
    full = value(metric, a.float(), b.float(), models)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        inside = value(metric, a, b, models)
    torch.testing.assert_close(inside.float(), full, rtol=1e-2 if metric.name == "niqe" else 1e-5, atol=1e-5)


def test_wrong_input_is_refused_with_the_sizes():
    psnr, a = METRICS["psnr"], picture(1)
    with pytest.raises(ShapeError, match=r"\(2, 3, 192, 200\).*\(2, 3, 192, 100\)"):
        psnr(a, a[..., :100], data_range=1.0)
    with pytest.raises(ShapeError, match="at least 161x161"):
        METRICS["ms_ssim"](a[..., :160], a[..., :160], data_range=1.0)
    with pytest.raises(ShapeError, match=r"\(B, 3, H, W\)"):
        METRICS["delta_e00"](a[:, :1], a[:, :1], data_range=1.0)
    with pytest.raises(ParamError, match="data_range=0"):
        psnr(a, a, data_range=0)
    with pytest.raises(ParamError, match="reference"):
        psnr(a, data_range=1.0)
    with pytest.raises(ParamError, match="floating"):
        psnr(a.byte(), a.byte(), data_range=255)


def test_the_list_names_itself_and_its_ranges():
    for name, metric in METRICS.items():
        assert metric.name == name
        assert metric.doc
    assert METRICS["psnr"].range_text == "(-inf, inf)"
    assert METRICS["gmsd"].high == 1.0
    assert math.isinf(METRICS["niqe"].high)
