"""Distances of representations: closed forms, what leaves them alone, and what a cloud is made of."""

from __future__ import annotations

import io
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from conftest import make_frame
from ispkit.bench.dir_space import (
    Cloud,
    averaged,
    cloud_of,
    draw_spaces,
    identified,
    principal,
    raw_pixels,
    representations_of,
    space_table,
    spread,
)
from ispkit.bench.experiment import markdown_table
from ispkit.core.errors import ParamError, ShapeError
from ispkit.core.frame import Domain
from ispkit.data.samples import Sample
from ispkit.isp.learned.catalog import build


def clusters(apart, wide, pictures=4, views=5, size=6, seed=0):
    """Gaussian clouds around orthogonal centers."""
    chance = torch.Generator().manual_seed(seed)
    centers = apart * torch.eye(pictures, size, dtype=torch.float64)
    noise = torch.randn(pictures, views, size, generator=chance, dtype=torch.float64)
    names = tuple(f"p{i}" for i in range(pictures))
    return Cloud(names, centers[:, None] + wide * noise, centers)


def test_distances_of_points_on_a_line_in_closed_form():
    line = Cloud(("a", "b"), torch.tensor([[[0.0], [2.0]], [[10.0], [12.0]]]), torch.tensor([[1.0], [14.0]]))
    found = spread(line)
    assert (found.within, found.between, found.ratio) == pytest.approx((2.0, 10.0, 0.2))
    assert found.to_clean == pytest.approx((1 + 1 + 4 + 2) / 4)
    assert found.identified == 1.0


def test_a_cross_in_high_dimensions_in_closed_form():
    """Views at +-h along axes that no two share; every pair of distances is then one of two square roots."""
    pictures, h, d = 5, 0.75, 4.0
    views = torch.zeros(pictures, 2, 2 * pictures, dtype=torch.float64)
    for i in range(pictures):
        views[i, :, i] = d
        views[i, 0, pictures + i], views[i, 1, pictures + i] = h, -h
    found = spread(Cloud(tuple("abcde"), views, views.mean(1)))
    assert found.within == pytest.approx(2 * h)
    assert found.between == pytest.approx(math.sqrt(2 * d * d + 2 * h * h))
    assert found.to_clean == pytest.approx(h)


def test_gaussian_clusters_have_the_expected_ratio():
    """E|x - y| of two normals in D dimensions: 2 s Gamma((D + 1) / 2) / Gamma(D / 2), far centers sqrt(2) apart."""
    size, wide, apart = 30, 0.1, 50.0
    found = spread(clusters(apart, wide, pictures=6, views=60, size=size))
    within = 2 * wide * math.exp(math.lgamma((size + 1) / 2) - math.lgamma(size / 2))
    assert found.within == pytest.approx(within, rel=0.01)
    assert found.between == pytest.approx(math.sqrt(2) * apart, rel=1e-3)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10_000), st.floats(0.1, 30), st.floats(-5, 5))
def test_ratio_and_rate_do_not_see_turns_shifts_and_scales(seed, scale, shift):
    cloud = clusters(2.0, 1.0, seed=seed)
    turn, _ = torch.linalg.qr(torch.randn(6, 6, generator=torch.Generator().manual_seed(seed), dtype=torch.float64))
    moved = Cloud(cloud.names, cloud.views @ turn * scale + shift, cloud.clean @ turn * scale + shift)
    a, b = spread(cloud), spread(moved)
    assert b.ratio == pytest.approx(a.ratio, rel=1e-9)
    assert b.identified == a.identified
    uneven = torch.linspace(0.5, 9, 6, dtype=torch.float64)
    one, two = cloud.standardized(), Cloud(cloud.names, cloud.views * uneven, cloud.clean * uneven).standardized()
    torch.testing.assert_close(one.views, two.views, rtol=1e-9, atol=1e-9)


def test_what_is_one_cloud_is_told_by_chance_and_points_have_no_ratio():
    none = clusters(0.0, 1.0, pictures=5, views=200)
    assert identified(none) == pytest.approx(0.2, abs=0.06)
    assert spread(none).ratio == pytest.approx(1.0, abs=0.02)
    point = Cloud(("a", "b"), torch.ones(2, 3, 2), torch.ones(2, 2))
    assert math.isnan(spread(point).ratio)
    assert point.standardized().views.abs().max() == 0  # a number that never changes says nothing


def test_a_view_does_not_vote_for_its_own_center():
    """10 lies 5 from the center of 0 and 10, but 10 from the other view alone, and 6 from the other picture."""
    views = torch.tensor([[[0.0], [10.0]], [[15.5], [16.5]]])
    assert identified(Cloud(("a", "b"), views, views.mean(1))) == 0.75


def test_principal_components_are_those_of_the_covariance():
    rows = torch.randn(50, 4, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    rows = rows * torch.tensor([3.0, 1.0, 0.2, 0.1], dtype=torch.float64)
    mean, axes, share = principal(rows)
    values = torch.linalg.eigvalsh(torch.cov(rows.T)).flip(0)
    torch.testing.assert_close(share, (values / values.sum())[:2])
    torch.testing.assert_close(torch.cov(((rows - mean) @ axes.T).T), torch.diag(values[:2]), atol=1e-9, rtol=0)
    assert (axes.gather(1, axes.abs().argmax(1, keepdim=True)) > 0).all()
    with pytest.raises(ShapeError, match="2 components need"):
        principal(rows[:1])


def sample(pictures=2, views=3, seed=0):
    """Pictures with views that are darker and darker."""
    clean = make_frame(Domain.DISPLAY_RGB, (32, 32), pictures, seed=seed)
    dark = torch.linspace(1.0, 0.6, views).repeat(pictures).reshape(-1, 1, 1, 1)
    data = clean.data.repeat_interleave(views, 0) * dark
    frame = clean.select([i for i in range(pictures) for _ in range(views)]).with_data(data)
    names = tuple(f"p{seed}{i}" for i in range(pictures) for _ in range(views))
    return Sample(names, frame, clean.data.repeat_interleave(views, 0), views=views)


def test_a_cloud_keeps_views_with_their_pictures_whatever_the_batch():
    samples = [sample(), sample(seed=7)]
    cloud = cloud_of(raw_pixels, samples, batch=2)
    assert (cloud.names, cloud.views.shape) == (("p00", "p01", "p70", "p71"), (4, 3, 3 * 32 * 32))
    torch.testing.assert_close(cloud.views[2, 2], samples[1].frame.data[2].flatten())
    torch.testing.assert_close(cloud.clean[3], samples[1].target[5].flatten())
    assert torch.equal(cloud_of(raw_pixels, samples, batch=50).views, cloud.views)
    color = cloud_of(averaged(raw_pixels), samples)
    torch.testing.assert_close(color.views[0, 0], samples[0].frame.data[0].mean((1, 2)))
    with pytest.raises(ShapeError, match="one number of views from 2 on"):
        cloud_of(raw_pixels, [sample(views=1)])
    with pytest.raises(ShapeError, match="two pictures of two views"):
        cloud_of(raw_pixels, [sample(pictures=1)])


def test_nets_are_looked_at_by_the_papers_names_and_drawn(tmp_path):
    torch.manual_seed(0)
    nets = [
        build(n, preset="small", width=8, down=2, latent=8).eval().named_parts["isp"].net
        for n in ("dir", "auto-encoder")
    ]
    chosen = {"pixels": raw_pixels} | {k: r for net in nets for k, r in representations_of(net).items()}
    clouds = {name: cloud_of(represent, [sample()]) for name, represent in chosen.items()}
    assert list(clouds) == ["pixels", "r0", "pilot", "r+", "auto-encoder"]
    assert clouds["r+"].views.shape == clouds["r0"].views.shape == (2, 3, 8 * 8 * 8)
    table = space_table(clouds)
    assert [row["representation"] for row in table.rows] == list(clouds)
    assert "2 pictures, 3 degraded views each" in table.note
    assert "within / between" in markdown_table(table.rows)
    draw_spaces(tmp_path / "space.png", clouds)
    draw_spaces(tmp_path / "again.png", clouds)
    made = (tmp_path / "space.png").read_bytes()
    assert made == (tmp_path / "again.png").read_bytes()
    assert min(Image.open(io.BytesIO(made)).size) > 300
    with pytest.raises(ParamError, match="on the same views"):
        space_table({**clouds, "other": cloud_of(raw_pixels, [sample(views=2)])})
