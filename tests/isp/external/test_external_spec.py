"""Specs: registers, conditions, switches, parameter files of every format, and a user's file as the start."""

from __future__ import annotations

import json

import pytest
import torch

from ispkit.core.errors import FileError, RecipeError
from ispkit.isp.external.base import plain_rows
from ispkit.isp.external.command import CommandISP
from ispkit.isp.external.parameter_file import fill, flag_words, found
from ispkit.isp.external.spec import PRESETS, load_spec, parse_spec

KNOBS = {
    "nr.mode": {"key": "NR/Mode", "default": "fast", "options": {"fast": 0, "slow": 1}},
    "nr.luma": {"key": "NR/Luma", "default": 0, "bits": 8, "off_at": 0, "enable": {"NR/On": True}},
    "nr.passes": {"key": "NR/Passes", "default": 2, "low": 1, "high": 5, "step": 1, "when": {"mode": "slow"}},
    "tone.knee": {"key": "Tone/Knee/0", "default": 10, "low": 0, "high": 100},
    "tone.white": {"key": "Tone/Knee/1", "default": 90, "low": 0, "high": 100},
    "sharp.radius": {"key": "Sharp/Radius", "default": 1.0, "low": 0.5, "high": 4.0, "scale": "log"},
    "sharp.limit": {"key": "Sharp/Limit", "default": 5, "low": 1, "high": 9, "enable": {"Sharp/Auto": False}},
}
TEMPLATE = "# mine\n[NR]\nOn=false\n\n[Tone]\nKnee=10;90;\nUnknown=kept\n"


def spec(**more):
    content = {"version": 1, "command": "x {raw} {out} {params}", "knobs": KNOBS}
    params = {"format": "ini", "template": TEMPLATE}
    return parse_spec(content | {"orderings": [["tone.knee", "tone.white"]], "params": params} | more, "mine")


def written(isp, values=None):
    (row,) = plain_rows(isp.space, values or {}, 1)
    return isp.written(row)


def test_a_register_has_the_range_of_its_width_and_whole_values():
    isp = CommandISP(spec())
    luma = isp.space["nr.luma"]
    assert (luma.low, luma.high, luma.step) == (0, 255, 1)
    assert written(isp, {"nr.luma": torch.tensor(17.4)})["NR/Luma"] == 17
    assert isinstance(written(isp, {"nr.luma": 17.0})["NR/Luma"], int)


def test_a_value_that_passed_through_float32_is_written_without_its_rounding():
    assert written(CommandISP(spec()), {"sharp.radius": torch.tensor(0.7)})["Sharp/Radius"] == 0.7


def test_a_switch_is_set_only_while_its_knob_asks_for_something():
    isp = CommandISP(spec())
    assert "NR/On" not in written(isp)
    assert written(isp, {"nr.luma": 3})["NR/On"] is True


def test_an_inactive_knob_is_written_at_its_default_or_left_out():
    fast = {"nr.passes": 5}
    slow = fast | {"nr.mode": "slow"}
    assert written(CommandISP(spec()), fast)["NR/Passes"] == 2
    assert written(CommandISP(spec()), slow)["NR/Passes"] == 5
    omitting = CommandISP(spec(params={"format": "ini", "template": TEMPLATE, "inactive": "omit"}))
    assert "NR/Passes" not in written(omitting, fast)


def test_orderings_hold_for_every_point_of_the_cube():
    isp = CommandISP(spec())
    drawn = isp.space.from_vector(torch.rand(64, isp.space.dim, generator=torch.Generator().manual_seed(0)))
    assert bool((drawn["tone.knee"] <= drawn["tone.white"]).all())


def test_the_template_keeps_what_no_knob_names():
    text = CommandISP(spec()).parameters({"tone.knee": 20.0, "nr.luma": 9})
    assert text.startswith("# mine\n[NR]\nOn=true\n")
    assert "Knee=20;90;\nUnknown=kept\n" in text


def test_forced_keys_are_for_the_render_and_not_for_an_export():
    isp = CommandISP(spec(params={"format": "ini", "template": TEMPLATE, "force": {"Crop/On": False}}))
    assert "Crop" not in isp.parameters()


@pytest.mark.parametrize(
    ("kind", "template", "values"),
    [
        ("ini", TEMPLATE, {"NR/Luma": 3, "New/Key": "a", "Tone/Knee/1": 80}),
        ("json", '{"a": {"b": 1}, "c": [1, 2]}', {"a/b": 2.5, "c/1": 7, "d/e": True}),
        ("yaml", "a: {b: 1}\nc: [1, 2]\n", {"a/b": 2.5, "c/1": 7, "d/e": "x"}),
        ("xml", '<isp><nr luma="1"><on>0</on></nr></isp>', {"nr@luma": "4", "nr/on": "1", "new/one": "2"}),
        ("flags", "", {"--gain": "2", "--mode=": "soft", "--fast": True}),
    ],
)
def test_what_is_written_is_read_back(kind, template, values):
    text = fill(kind, template, values)
    assert {k: found(kind, text, k) for k in values} == {k: str(v) if kind == "ini" else v for k, v in values.items()}
    assert found(kind, text, "no/thing" if kind != "xml" else "no") is None


def test_other_text_is_filled_at_its_places():
    assert fill("text", "gain = {a};", {"a": 2}) == "gain = 2;"
    with pytest.raises(FileError, match=r"no place \{b\}"):
        fill("text", "gain = {a};", {"b": 2})


def test_a_switch_among_flags_stands_alone():
    assert flag_words({"-x": True, "-y": False, "--z=": 1.5}) == ["-x", "--z=1.5"]


@pytest.mark.parametrize("kind", ["json", "yaml", "xml"])
def test_a_template_of_another_kind_is_an_error_of_its_own(kind):
    with pytest.raises(FileError, match="template is no"):
        fill(kind, "{[<", {"a/b": 1})


def test_a_file_to_start_from_gives_defaults_and_widens_ranges():
    start = "[NR]\nOn=true\nLuma=300\nMode=1\n[Tone]\nKnee=15;70;\n[Sharp]\nRadius=0.25\n"
    started = spec().started_from(start)
    defaults = started.space.defaults()
    assert defaults["nr.luma"] == 300
    assert defaults["nr.mode"] == "slow"
    assert (defaults["tone.knee"], defaults["tone.white"]) == (15, 70)
    assert started.space["nr.luma"].high == 300
    assert started.space["sharp.radius"].low == 0.25
    assert defaults["nr.passes"] == 2


def test_a_section_that_is_off_in_the_start_is_read_as_off_and_left_alone():
    isp = CommandISP(spec().started_from("[NR]\nOn=false\nLuma=80\n"))
    assert isp.space.defaults()["nr.luma"] == 0
    assert "Luma=80\n" in isp.parameters()
    assert "On=true\nLuma=40\n" in isp.parameters({"nr.luma": 40})


def test_a_section_that_is_on_in_the_start_can_be_turned_down_to_nothing():
    isp = CommandISP(spec().started_from("[NR]\nOn=true\nLuma=80\n"))
    assert "On=true\nLuma=0\n" in isp.parameters({"nr.luma": 0})


def test_a_knob_that_the_start_leaves_to_an_automatic_is_left_out():
    assert "sharp.limit" not in spec().started_from("[Sharp]\nAuto=true\nLimit=3\n").space
    assert spec().started_from("[Sharp]\nAuto=false\nLimit=3\n").space.defaults()["sharp.limit"] == 3


def test_the_start_alone_changes_nothing_in_the_file_but_what_knobs_add():
    start = "[NR]\nOn=true\nLuma=80\nMode=1\nPasses=4\n[Tone]\nKnee=15;70;\nOther=1\n[Sharp]\nRadius=2\n"
    assert CommandISP(spec().started_from(start)).parameters().startswith(start.rstrip())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"version": 2}, "version is 2"),
        ({"comand": "x"}, "did you mean 'command'"),
        ({"command": ""}, "either 'command' or 'url'"),
        ({"knobs": {}}, "'knobs' maps names"),
        ({"knobs": {"a.b": {"key": "k", "default": 1}}}, r"knobs\['a\.b'\].*'bits'"),
        ({"knobs": {"a.b": {"key": "k", "default": 9, "bits": 3}}}, "outside"),
        ({"knobs": {"a.b": {"key": "k", "default": 9, "bits": 3, "high": 20}}}, "register of 3 bits"),
        ({"knobs": {"a.b": {"key": "k", "default": 1, "low": 0, "hihg": 2}}}, "did you mean 'high'"),
        ({"knobs": {"a.b": {"key": "k", "default": 1, "bits": 2, "when": {"c": "d"}}}, "orderings": []}, "no choice"),
        ({"orderings": [["tone.knee", "tone.wite"]]}, r"did you mean 'tone\.white'"),
        ({"input": {"format": "dgn"}}, "did you mean 'dng'"),
        ({"input": {"crop_px": -1}}, "crop_px"),
        ({"output": {"orientation": 9}}, "EXIF orientation"),
        ({"timeout_s": 0}, "above 0"),
        ({"params": {"format": "toml"}}, r"params\.format='toml'"),
        ({"writes": "raw"}, "writes='raw'"),
    ],
)
def test_a_wrong_spec_names_the_place(change, message):
    with pytest.raises(RecipeError, match=message):
        spec(**change)


def test_a_spec_finds_its_template_beside_itself(tmp_path):
    (tmp_path / "base.json").write_text(json.dumps({"kept": 1}))
    knobs = {"a.b": {"key": "x", "default": 1, "bits": 4}}
    content = {"version": 1, "command": "{here}/x {raw} {out}", "knobs": knobs}
    (tmp_path / "mine.yaml").write_text(json.dumps(content | {"params": {"format": "json", "file": "base.json"}}))
    isp = CommandISP(tmp_path / "mine.yaml")
    assert json.loads(isp.parameters()) == {"kept": 1, "x": 1}
    with pytest.raises(RecipeError, match=r"did you mean 'rawtherapee'"):
        load_spec("rawtherape")


@pytest.mark.parametrize("name", PRESETS)
def test_the_presets_are_whole(name):
    isp = CommandISP(name)
    drawn = isp.space.from_vector(torch.rand(4, isp.space.dim, generator=torch.Generator().manual_seed(1)))
    for row in plain_rows(isp.space, drawn, 1):
        assert isp.written(row)
    assert all(knob.doc for knob in isp.space.values())


def test_the_rawtherapee_preset_has_the_knobs_that_a_study_needs():
    assert len(load_spec("rawtherapee").knobs) >= 35
