"""One door to every ISP, and its values back in its own file."""

from __future__ import annotations

import importlib.util
import shutil

import pytest
import yaml

from ispkit.core.errors import ParamError, RecipeError
from ispkit.core.frame import Domain
from ispkit.io.tuning.pp3 import read_pp3
from ispkit.isp.catalog import export_suffix, export_values, isp_names, open_isp
from ispkit.isp.external.command import CommandISP
from ispkit.isp.external.http import HttpISP
from ispkit.isp.recipe import load_recipe, preset, to_recipe

NEEDS = {"rawtherapee": "rawtherapee-cli", "darktable": "darktable-cli"}


@pytest.mark.parametrize("name", isp_names())
def test_every_name_opens_and_its_defaults_can_be_exported(name, tmp_path):
    if name in NEEDS and shutil.which(NEEDS[name]) is None:
        pytest.skip(f"needs {NEEDS[name]}, which is not installed")
    if name == "bm3d" and importlib.util.find_spec("bm3d") is None:
        pytest.skip("needs the package bm3d, which is not installed")
    isp = open_isp(name)
    assert len(isp.space) > 0
    assert isp.writes is Domain.DISPLAY_RGB
    path = export_values(isp, {}, tmp_path / "best")
    assert path.suffix == export_suffix(isp)
    assert path.read_text()


def test_an_unknown_name_tells_the_nearest():
    with pytest.raises(ParamError, match="did you mean 'rawtherapee'"):
        open_isp("rawterapee")


def test_files_are_told_apart_by_their_content(tmp_path):
    recipe, command, url = (tmp_path / f"{n}.yaml" for n in ("recipe", "command", "url"))
    recipe.write_text(yaml.safe_dump(to_recipe(preset("neutral"))))
    knobs = {"a.b": {"key": "--x", "default": 1, "bits": 4}}
    command.write_text(yaml.safe_dump({"version": 1, "command": "echo {raw} {out}", "knobs": knobs}))
    url.write_text(yaml.safe_dump({"version": 1, "url": "http://127.0.0.1:9", "knobs": knobs}))
    assert len(open_isp(recipe).space) == len(preset("neutral").space)
    assert isinstance(open_isp(str(command), workers=3), CommandISP)
    assert isinstance(open_isp(url), HttpISP)
    with pytest.raises(RecipeError, match="cannot be read"):
        open_isp(tmp_path / "none.yaml")


def test_an_attribute_of_a_module_is_an_isp_or_gives_one():
    assert open_isp("ispkit.isp.external.tone_mapper:local_laplacian_isp").space.dim == 3
    for wrong in ("ispkit.isp.nothing:x", "ispkit.isp.catalog:nothing", "ispkit.isp.catalog:BUILDERS"):
        with pytest.raises(ParamError, match=r"catalog|nothing"):
            open_isp(wrong)


def test_a_pipeline_is_exported_as_a_recipe_that_starts_there(tmp_path):
    pipeline = preset("neutral")
    path = export_values(pipeline, {"exposure.ev": 1.25}, tmp_path / "best.yaml")
    assert load_recipe(path).space.defaults()["exposure.ev"] == 1.25


def test_registers_are_exported_as_yaml_and_as_a_header(tmp_path):
    isp = open_isp("c71")
    name = next(iter(isp.space))
    low = int(isp.space[name].low)
    written = yaml.safe_load(export_values(isp, {name: low}, tmp_path / "best").read_text())
    assert written["registers"][name] == low
    assert set(written["registers"]) == set(isp.space)
    header = export_values(isp, {name: low}, tmp_path / "best.h").read_text()
    assert f"#define ISP_{name.replace('.', '_').upper()} {low}\n" in header
    with pytest.raises(ParamError, match="C header"):
        export_values(preset("neutral"), {}, tmp_path / "x.h")


def test_a_start_is_for_programs_with_parameter_files(tmp_path):
    with pytest.raises(ParamError, match="no parameter file"):
        open_isp("neutral", start=tmp_path / "x.pp3")


def test_an_exported_profile_keeps_what_the_user_had(tmp_path, monkeypatch):
    monkeypatch.setattr(shutil, "which", lambda name: name)
    mine = tmp_path / "mine.pp3"
    mine.write_text(
        "[Exposure]\nCompensation=0.5\n; a remark\n\n[Mine]\nKey=1;2;\n\n[Sharpening]\nEnabled=false\nAmount=200\n"
    )
    isp = open_isp("rawtherapee", start=mine)
    assert isp.space.defaults()["exposure.compensation"] == 0.5
    assert isp.space.defaults()["sharpening.amount"] == 0
    path = export_values(isp, {"denoise.luma": 33.0}, tmp_path / "best")
    best = read_pp3(path)
    assert best.get("Directional Pyramid Denoising", "Luma") == "33"
    assert best.get("Directional Pyramid Denoising", "Enabled") == "true"
    assert best.get("Sharpening", "Enabled") == "false"
    assert "Compensation=0.5\n; a remark\n" in best.text
    assert "[Mine]\nKey=1;2;\n" in best.text
