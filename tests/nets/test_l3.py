"""L3: bilinear before it is fitted, exact where the truth is linear, honest where it has seen little."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from ispkit.core.errors import ParamError, ShapeError
from ispkit.nets.l3 import PRESETS, L3Net, L3Shape
from ispkit.ops.cfa import mosaic, planes
from ispkit.ops.demosaic import demosaic


def smooth(seed, batch=2, side=48, cells=6):
    coarse = torch.rand(batch, 3, cells, cells, generator=torch.Generator().manual_seed(seed))
    return F.interpolate(coarse, (side, side), mode="bicubic").clamp(0.01, 1)


def test_before_it_is_fitted_it_is_bilinear():
    rgb = smooth(0).double()
    sites = mosaic(rgb, "RGGB")
    net = L3Net(PRESETS["small"]).double()
    want = demosaic(sites, "RGGB", "bilinear")
    assert torch.allclose(net(planes(sites))[..., 2:-2, 2:-2], want[..., 2:-2, 2:-2], atol=1e-12)


def test_a_linear_truth_is_found():
    """Bilinear demosaicing and a matrix and an offset are in the family of every class."""
    matrix = torch.tensor([[1.5, -0.4, -0.1], [-0.3, 1.6, -0.3], [0.0, -0.5, 1.5]])
    net, teacher = L3Net(L3Shape(levels=4)).double(), L3Net(L3Shape(levels=4)).double()
    with torch.no_grad():
        teacher.table.copy_(torch.einsum("ij,njp->nip", matrix.double(), teacher.table))
        teacher.table[..., -1] += 0.05
    pairs = [(x := torch.rand(2, 4, 40, 40, generator=torch.Generator().manual_seed(s)).double(), teacher(x).detach())
             for s in range(3)]  # fmt: skip
    assert net.fit(pairs, ridge=1e-9) is net
    x = torch.rand(1, 4, 20, 20, dtype=torch.float64)
    assert torch.allclose(net(x), teacher(x), atol=1e-4)


def test_fitting_beats_bilinear_on_pictures_never_seen():
    def pair(seed):
        rgb = smooth(seed, side=96, cells=24) ** 1.5
        return planes(mosaic(rgb, "RGGB")), rgb

    net = L3Net(PRESETS["small"])
    before = [F.mse_loss(net(x), y).item() for x, y in map(pair, range(10, 13))]
    net.fit(map(pair, range(6)))
    after = [F.mse_loss(net(x), y).item() for x, y in map(pair, range(10, 13))]
    assert all(a < 0.7 * b for a, b in zip(after, before, strict=True))


def test_classes_are_site_light_and_texture():
    net = L3Net(L3Shape(levels=4, darkest=1e-3))
    flat = torch.full((1, 4, 4, 4), 0.05)
    _, classes = net._seen(flat)
    sites, level, texture = classes // 8, classes // 2 % 4, classes % 2
    assert sites.reshape(8, 8)[:2, :2].tolist() == [[0, 1], [2, 3]]
    assert level.unique().tolist() == [2]  # bounds 0.001, 0.01, 0.1, less the last: 0.05 is in the third class
    assert texture.unique().tolist() == [0]
    striped = flat.clone()
    striped[..., ::2] = 0.1
    assert net._seen(striped)[1].remainder(2).all()


def test_rare_classes_take_the_transform_of_their_site():
    net = L3Net(L3Shape(levels=2))
    x = torch.rand(1, 4, 24, 24).clamp(0.5, 1)  # no dark patch is ever seen
    net.fit([(x, torch.rand(1, 3, 48, 48))])
    table = net.table.unflatten(0, (4, 2, 2))
    assert torch.equal(table[:, 0, 0], table[:, 0, 1])  # both dark classes of a site
    assert torch.isfinite(net.table).all()


def test_wrong_pairs_are_named():
    net = L3Net(PRESETS["small"])
    with pytest.raises(ParamError, match="no pairs"):
        net.fit([])
    with pytest.raises(ParamError, match="ridge"):
        net.fit([], ridge=0)
    with pytest.raises(ShapeError, match=r"\(1, 3, 16, 16\)"):
        net.fit([(torch.rand(1, 4, 8, 8), torch.rand(1, 3, 8, 8))])
