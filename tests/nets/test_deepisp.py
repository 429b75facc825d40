"""DeepISP: the published counts, the color transform, the regression that starts it."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F

from ispkit.core.errors import ParamError, ShapeError
from ispkit.nets.deepisp import LOW_PRESETS, MONOMIALS, PRESETS, DeepISP, apply_quadratic, fit_affine


def parameters(net, *, biases=True):
    return sum(p.numel() for p in net.parameters() if biases or p.ndim > 1)


def test_counts_are_the_published_ones():
    assert parameters(DeepISP()) == 629_790
    assert parameters(DeepISP(), biases=False) == 628_608
    assert parameters(DeepISP(PRESETS["released"])) == 668_446
    assert parameters(DeepISP(LOW_PRESETS["released"])) == 668_227
    assert parameters(DeepISP(LOW_PRESETS["paper"])) == 668_227


def test_an_untrained_transform_is_the_identity():
    torch.manual_seed(0)
    net = DeepISP(replace(PRESETS["small"], depth=2, width=8))
    x = torch.rand(2, 3, 64, 64) - 0.5
    assert torch.allclose(net.transform(x), torch.eye(3, 10).expand(2, -1, -1), atol=0.02)
    torch.nn.init.zeros_(net.say.weight)
    for conv in net.low:
        torch.nn.init.zeros_(conv.weight)
    assert torch.allclose(net(x), x)  # no correction, identity: the picture itself


def test_residuals_are_a_tenth_of_tanh():
    net = DeepISP(replace(LOW_PRESETS["small"], depth=3, width=8))
    for conv in net.low:
        torch.nn.init.zeros_(conv.weight)
        torch.nn.init.constant_(conv.bias, 100.0)
    x = torch.rand(1, 3, 16, 16) - 0.5
    assert torch.allclose(net(x), x + 0.3, atol=1e-6)
    bare = DeepISP(replace(LOW_PRESETS["small"], depth=3, width=8, skips=False))
    bare.load_state_dict(net.state_dict())
    assert torch.equal(bare(x), torch.ones_like(x))


def test_mirroring_once_and_mirroring_each_time_differ_at_the_edge_alone():
    torch.manual_seed(0)
    each = DeepISP(replace(LOW_PRESETS["paper"], depth=4, width=8))
    once = DeepISP(replace(each.shape, pad_once=True))
    once.load_state_dict(each.state_dict())
    x = torch.rand(1, 3, 24, 24) - 0.5
    a, b = each(x), once(x)
    assert torch.allclose(a[..., 4:-4, 4:-4], b[..., 4:-4, 4:-4], atol=1e-6)
    assert not torch.allclose(a, b, atol=1e-6)


def test_monomials_are_in_the_order_of_the_released_code():
    color = torch.tensor([2.0, 3.0, 5.0]).reshape(1, 3, 1, 1)
    values = {"r": 2.0, "g": 3.0, "b": 5.0, "1": 1.0}
    for i, name in enumerate(MONOMIALS):
        weights = torch.zeros(1, 3, 10)
        weights[:, 1, i] = 1
        want = values[name[0]] * (values[name[1]] if len(name) == 2 else 1)
        assert apply_quadratic(weights, color).flatten().tolist() == [0.0, want, 0.0]


def test_regression_finds_an_affine_transform_exactly():
    g = torch.Generator().manual_seed(0)
    source = torch.rand(2, 3, 20, 24, generator=g, dtype=torch.float64) - 0.5
    truth = torch.randn(2, 3, 4, generator=g, dtype=torch.float64)
    target = torch.einsum("bij,bjhw->bihw", truth[..., :3], source) + truth[..., 3, None, None]
    assert torch.allclose(fit_affine(source, target), truth, atol=1e-9)
    noisy = target + 0.1 * torch.randn(target.shape, generator=g, dtype=torch.float64)
    known = torch.cat([source, torch.ones_like(source[:, :1])], 1).flatten(2)
    want = torch.linalg.lstsq(known[0].mT, noisy[0].flatten(1).mT).solution.mT  # an independent solver
    assert torch.allclose(fit_affine(source, noisy)[0], want, atol=1e-9)
    assert fit_affine(torch.full((1, 3, 8, 8), 0.3), torch.full((1, 3, 8, 8), 0.1)).isfinite().all()


def test_the_transform_starts_where_it_is_told():
    net = DeepISP(replace(PRESETS["small"], depth=1, width=8))
    affine = torch.arange(12.0).reshape(3, 4)
    net.set_initial_transform(affine)
    assert torch.equal(net.initial[:, [0, 1, 2, 9]], affine)
    assert not net.initial[:, 3:9].any()
    assert "initial" in net.state_dict()  # saved with the weights
    assert "initial" not in dict(net.named_parameters())  # and never trained
    with pytest.raises(ShapeError, match=r"\(3, 4\)"):
        net.set_initial_transform(torch.eye(3))
    with pytest.raises(ShapeError, match="DeepISP-LL"):
        DeepISP(replace(LOW_PRESETS["small"], depth=1)).set_initial_transform(affine)


def test_a_picture_without_a_feature_is_named():
    net = DeepISP(replace(PRESETS["released"], depth=1, width=8))
    assert net.pool(torch.rand(1, 3, 85, 149)).shape == (1, 8, 1, 2)
    assert net.pool(torch.rand(1, 3, 84, 149)).shape[-2:] == (0, 0)
    with pytest.raises(ShapeError, match="too small"):
        net(torch.rand(1, 3, 84, 149))


def test_the_released_net_layer_by_layer():
    """As the authors' `models.denoising_and_coloring`: 16 convolutions, 15 changes, the 16th is for W alone."""
    torch.manual_seed(0)
    net = DeepISP(PRESETS["released"]).double()
    torch.nn.init.normal_(net.say.weight, std=0.1)
    x = torch.rand(2, 3, 90, 100, dtype=torch.float64) - 0.5
    state = {name: value.detach() for name, value in net.state_dict().items()}

    def conv(name, picture, stride=1):
        return F.conv2d(picture, state[f"{name}.weight"], state[f"{name}.bias"], stride)

    picture, features = x, x[:, :0]
    for i in range(16):
        out = conv(f"low.{i}", F.pad(torch.cat([picture, features], 1), (1, 1, 1, 1), mode="reflect"))
        if i < 15:
            picture, features = picture + 0.1 * out[:, :3].tanh(), out[:, 3:].clamp(min=0)
    for i in range(3):
        out = F.max_pool2d(conv(f"high.{i}", out, 2).clamp(min=0), 2)
    said = out.mean((2, 3)) @ state["say.weight"].mT + state["say.bias"]
    w = said.reshape(2, 3, 10) + state["initial"]
    r, g, b = picture.unbind(1)
    monomials = torch.stack([r, g, b, r * r, r * g, r * b, g * g, g * b, b * b, torch.ones_like(r)], 1)
    with torch.no_grad():
        assert torch.allclose(net(x), torch.einsum("bij,bjhw->bihw", w, monomials), atol=1e-10)
        moved = DeepISP(PRESETS["released"]).double()
        moved.load_state_dict(state)
        moved.low[-1].bias[:3] += 1
        assert not torch.allclose(moved.transform(x), net.transform(x), atol=1e-6)  # the 16th's first three count there
    with pytest.raises(ParamError, match="low_only"):
        replace(LOW_PRESETS["small"], raw_features=True)
