"""Experiment (h): the strip shows what it should, and a run leaves its tables."""

from __future__ import annotations

import pytest
import torch

from ispkit.bench.style import StyleBench, run_style, strip, styled_scene
from ispkit.core.errors import ParamError
from ispkit.core.frame import Domain, Frame
from ispkit.core.meta import CameraMeta
from ispkit.data.project_pictures import project_pictures
from ispkit.data.scenes import Scene
from ispkit.io.pictures import read_picture, write_picture


def test_the_strip_lays_rows_of_pictures_on_white():
    rows = [[torch.zeros(1, 3, 8, 10), torch.full((1, 3, 8, 10), 0.5)], [torch.ones(1, 3, 6, 5)]]
    codes = strip(rows)
    assert codes.shape == (8 + 4 + 6, 10 + 4 + 10, 3)
    assert (codes[:8, :10] == 0).all()
    assert (codes[:8, 10:14] == 255).all()
    assert (codes[:8, 14:] == 128).all()
    assert (codes[8:] == 255).all()


def test_the_styled_scene_has_more_contrast():
    g = torch.Generator().manual_seed(0)
    target = torch.rand(1, 3, 32, 32, generator=g) * 0.4 + 0.3
    scene = Scene("s", Frame(target, Domain.DISPLAY_RGB, CameraMeta.make("RGGB", (32, 32))), target)
    styled = styled_scene(scene, "sharp-contrast").target
    assert float(styled.std()) > 1.2 * float(target.std())


def test_an_unknown_look_is_refused(tmp_path):
    with pytest.raises(ParamError, match="sharp-contrast"):
        run_style(tmp_path, StyleBench(look="sharp-contrasts"), command="x")


@pytest.mark.slow
def test_the_experiment_leaves_its_tables_and_a_strip(tmp_path):
    room = tmp_path / "pictures"
    room.mkdir()
    for name, picture in project_pictures(2, (64, 64)).items():
        write_picture(room / f"{name}.png", picture[0].permute(1, 2, 0).numpy())
    bench = StyleBench(pictures=(str(room),), crop=(64, 64), budget=3, shown=2, method="random")
    made = run_style(tmp_path, bench, command="ispkit bench style")
    first = made.tables[0].rows[0]
    assert first["distance to the style"] == "style objective"
    assert len(made.claims) == 1
    assert read_picture(tmp_path / "style.png").pixels.shape == (
        64 + 4 + 160,
        3 * 240 + 8,
        3,
    )  # a picture and the color chart
    again = run_style(tmp_path, bench, command="ispkit bench style")
    assert again.details["values"] == made.details["values"]
