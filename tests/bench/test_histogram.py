"""The histogram study: its distance, its operations, its page."""

import json

import pytest
import torch

from ispkit.bench.histogram import OPERATIONS, histogram_change, reinhard, run_histogram
from ispkit.data.project_pictures import project_pictures


def test_the_distance_is_0_for_equal_and_2_for_disjoint_histograms():
    dark, bright = torch.full((10,), 0.1), torch.full((7,), 0.9)
    assert histogram_change([dark, bright], [dark, bright]) == 0
    assert histogram_change([dark], [bright]) == pytest.approx(2)
    assert histogram_change([dark, dark], [dark, bright]) == pytest.approx(1)


def test_the_distance_does_not_count_pixels_but_shares():
    samples = torch.rand(64, generator=torch.Generator().manual_seed(0))
    assert histogram_change([samples], [samples.repeat(4)]) == pytest.approx(0)


def test_a_quarter_moved_by_one_bin_counts_half():
    before = torch.tensor([0, 0, 0, 10.0]) / 255
    after = torch.tensor([0, 0, 0, 11.0]) / 255
    assert histogram_change([before], [after]) == pytest.approx(0.5)


def test_demosaicing_compares_the_sites_of_each_color_with_its_plane():
    picture = torch.arange(3 * 4 * 4).reshape(1, 3, 4, 4) / 48
    (red, green, blue), finished = OPERATIONS["demosaicing"][1](picture, 0)
    assert torch.equal(red, picture[0, 0, ::2, ::2])
    assert torch.equal(green[0], picture[0, 1, ::2, 1::2])
    assert torch.equal(green[1], picture[0, 1, 1::2, ::2])
    assert torch.equal(blue, picture[0, 2, 1::2, 1::2])
    assert torch.equal(torch.stack(finished), picture[0])


def test_reinhard_keeps_order_and_ends_at_white():
    ramp = torch.linspace(0.01, 1, 32).expand(1, 3, 1, 32)
    mapped = reinhard(ramp)
    assert (mapped.diff(dim=-1) > 0).all()
    torch.testing.assert_close(mapped[..., -1], torch.ones(1, 3, 1))


def test_reinhard_keeps_hue_where_nothing_clips():
    ramp = torch.linspace(0.01, 1, 32)
    mapped = reinhard(torch.stack([ramp, 0.5 * ramp, 0.25 * ramp])[None, :, None])
    inside = mapped[:, 0] < 1
    torch.testing.assert_close((mapped[:, 1] / mapped[:, 0])[inside], torch.full((int(inside.sum()),), 0.5))
    assert 0 < inside.sum() < 32


def test_the_study_writes_its_numbers_and_its_plot(tmp_path):
    found = run_histogram(tmp_path, seed=3, command="test")
    again = run_histogram(tmp_path, seed=3, command="test")
    assert found.tables == again.tables
    assert [row["operation"] for row in found.tables[0].rows] == list(OPERATIONS)
    changes = found.details["changes"]
    assert all(len(v) == len(project_pictures(16, (256, 256), seed=3)) for v in changes.values())
    assert all(0 <= x <= 2 for values in changes.values() for x in values)
    assert (tmp_path / "histogram.png").stat().st_size > 10_000
    json.dumps(changes)


def test_the_command_prints_json(cli, tmp_path):
    code, out, _ = cli("bench", "histogram", "-o", str(tmp_path), "--results", str(tmp_path), "--json")
    assert code == 0
    assert json.loads(out)["name"] == "histogram"
