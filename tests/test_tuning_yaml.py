"""libcamera YAML and Infinite-ISP files: values replaced in the text, comments and order kept, facts read back."""

from __future__ import annotations

import difflib
import re
from dataclasses import replace

import numpy as np
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from ispkit.core.errors import FileError
from ispkit.io.infinite_isp import infinite_isp_facts
from ispkit.io.tuning import export
from ispkit.io.tuning.yaml_text import parse_yaml
from tuning_profiles import CCM, camera

RKISP1 = """\
# SPDX-License-Identifier: CC0-1.0
%YAML 1.1
---
version: 1
algorithms:
  - Agc: # as it came
  - LensShadingCorrection:
      x-size: [ 0.10, 0.08, 0.07, 0.06, 0.05, 0.05, 0.05, 0.04 ]
      y-size: [ 0.0625, 0.0625, 0.0625, 0.0625, 0.0625, 0.0625, 0.0625, 0.0625 ]
      sets:
        - ct: 3000
          r: [
               1024, 1024,
             ]
      # after the sets
  - Filter: {}
  - Awb:
      algorithm: grey # the mode
  - Ccm:
      ccms:
        - ct: 3000
          ccm: [ 1, 0, 0, 0, 1, 0, 0, 0, 1 ]
  # the end
...
"""
SOFTISP = "version: 1\nalgorithms:\n  - BlackLevel:\n  - Awb:\n  # - Ccm:\n  - Adjust:\n  - Agc:\n...\n"


def algorithms(text):
    items = yaml.safe_load(text)["algorithms"]
    return {name: params for item in items for name, params in item.items()}


@pytest.mark.parametrize("template", [None, RKISP1, RKISP1.replace("\n", "\r\n")])
def test_rkisp1(template):
    profile = camera()
    text = export(profile, "libcamera-rkisp1", template=template)
    found = algorithms(text)
    # 1024 and 1028 of 14 bits
    assert found["BlackLevelCorrection"] == {"R": 4096, "Gr": 4112, "Gb": 4112, "B": 4096}
    assert [e["ct"] for e in found["Ccm"]["ccms"]] == [2856, 6504]
    assert np.reshape(found["Ccm"]["ccms"][0]["ccm"], (3, 3)) == pytest.approx(CCM)
    assert found["Awb"]["colourGains"][0] == {"ct": 2856, "gains": [pytest.approx(1 / 0.95, abs=1e-5), 2.5]}
    shading = found["LensShadingCorrection"]
    for one, (red, green) in zip(shading["sets"], ((1.7, 1.5), (1.6, 1.5)), strict=True):
        tables = {c: np.reshape(one[c], (17, 17)) for c in ("r", "gr", "gb", "b")}
        assert tables["r"][0, 0] == round(1024 * red)
        assert tables["gr"][-1, -1] == tables["gb"][0, -1] == round(1024 * green)
        assert tables["r"][8, 8] == 1024
    if template is None:
        assert shading["x-size"] == shading["y-size"] == [0.0625] * 8
        assert list(found) == ["Agc", "Awb", "BlackLevelCorrection", "LensShadingCorrection", "Ccm"]


def test_nodes_stand_where_the_template_spaces_them():
    found = algorithms(export(camera(), "libcamera-rkisp1", template=RKISP1))["LensShadingCorrection"]
    row = np.reshape(found["sets"][0]["gr"], (17, 17))[8]
    # gain 1 + 0.25 (2 x - 1)^2 along the middle row, of a mesh with 13 columns
    x = np.concatenate([[0], np.cumsum([0.10, 0.08, 0.07, 0.06, 0.05, 0.05, 0.05, 0.04])])
    mesh = np.linspace(0, 1, 13)
    assert row[:9] == pytest.approx(1024 * np.interp(x, mesh, 1 + 0.25 * (2 * mesh - 1) ** 2), abs=1)
    assert row == pytest.approx(row[::-1])


def test_comments_and_other_blocks_stay():
    text = export(camera(), "libcamera-rkisp1", template=RKISP1)
    for kept in ("# SPDX", "%YAML 1.1", "  - Agc: # as it came\n", "# after the sets", "  - Filter: {}\n", "# the end"):
        assert kept in text
    assert "algorithm: grey # the mode\n" in text
    gone = [d for d in difflib.ndiff(RKISP1.splitlines(), text.splitlines()) if d.startswith("- ")]
    assert all(re.search(r"\d|sets|r: \[|\]|ccms", line) for line in gone)
    order = ["Agc", "BlackLevelCorrection", "LensShadingCorrection", "Filter", "Awb", "Ccm"]
    assert sorted(algorithms(text), key=order.index) == order


@pytest.mark.parametrize("template", [None, SOFTISP])
def test_softisp(template):
    found = algorithms(export(camera(), "libcamera-softisp", template=template))
    assert list(found) == ["BlackLevel", "Awb", "Ccm", "Adjust", "Agc"]
    assert found["BlackLevel"] == {"blackLevel": 4104}
    assert len(found["Ccm"]["ccms"]) == 2
    assert found["Adjust"] is found["Agc"] is None


def test_one_light_is_enough():
    one = replace(camera(), colors=camera().colors[1:], shading=())
    found = algorithms(export(one, "libcamera-rkisp1"))
    assert "LensShadingCorrection" not in found
    assert [e["ct"] for e in found["Ccm"]["ccms"]] == [6504]


@pytest.mark.parametrize(
    ("template", "words"),
    [
        ("version: 2\nalgorithms:\n  - Agc:\n", "version 2 is not known"),
        ("version: 1\nalgorithms: []\n", "'algorithms' must be a list"),
        ("version: 1\nalgorithms:\n  - Agc: [\n", r"^template:4:1: not YAML"),
        ("version: 1\nversion: 1\n", "line|:2: the key 'version' comes twice"),
        ("- a\n", "a mapping of 'key: value' lines"),
        ("a: &x 1\nb: *x\n", r"^template:1:4: anchors"),
        ("version: 1\nalgorithms:\n  - Awb: 3\n", "Awb must hold 'key: value' lines"),
        ("version: 1\nalgorithms:\n  - Awb: {a: 1}\n", "one 'key: value' a line"),
        (RKISP1.replace("0.10,", "0.90,"), r"x-size=.* must be 8 positive numbers that sum to 0.5"),
        ("version: 1\nwhen: 2020-99-99\nalgorithms:\n  - Agc:\n", "not plain YAML"),
    ],
)
def test_templates_that_do_not_fit(template, words):
    with pytest.raises(FileError, match=words):
        export(camera(), "libcamera-rkisp1", template=template)


def test_a_level_beyond_the_register_is_refused():
    bright = replace(camera(), black=(replace(camera().black[0], level_dn=(9000.0,) * 4),))
    with pytest.raises(FileError, match="36000 of 65535 exceeds"):
        export(bright, "libcamera-softisp")


names = st.text(st.characters(codec="ascii", categories=("L",)), min_size=1, max_size=6).map("k_{}".format)
values = st.one_of(st.integers(-99, 99), st.lists(st.integers(0, 9), min_size=1, max_size=12))


@settings(max_examples=50)
@given(st.dictionaries(names, values, min_size=1, max_size=5), st.data(), values, st.booleans())
def test_one_value_is_replaced_in_any_mapping(tree, data, new, is_flow):
    def lines(v):
        return "".join(f"    - {i}\n" for i in v) if isinstance(v, list) and not is_flow else f"    {v}\n"

    text = "top:\n" + "".join(f"  {k}: # of {k}\n{lines(v)}" for k, v in tree.items())
    key = data.draw(st.sampled_from([*tree, "added"]))
    document = parse_yaml(text, "f")
    changed = document.replaced(document.root.value[0][1], {key: new}, {})
    assert changed.value == {"top": {**tree, key: new}}
    assert all(f"# of {k}" in changed.text for k in tree if k != key)


def test_infinite_isp_reads_back(shared):
    folder = shared / "raw_infinite_isp_8bit_grbg"
    whole = next(folder.glob("Indoor*.yml")).read_text(encoding="utf-8")
    # its lookup tables only cost time
    template = "".join(line for line in whole.splitlines(keepends=True) if len(line) < 2000)
    profile = camera("GRBG")
    text = export(profile, "infinite-isp", template=template, cct_k=2700)
    facts = infinite_isp_facts("f", yaml.safe_load(text), None)
    # 1024 and 1028 of 14 bits in 10; Gr B / R Gb
    assert facts["black_level"] == (64, 64, 64, 64)
    assert facts["white_level"] == (1023,) * 4
    neutral = np.array(facts["neutral"])
    assert neutral / neutral.max() == pytest.approx(profile.colors[0].neutral, abs=1e-5)
    content = yaml.safe_load(text)["color_correction_matrix"]
    rows = [content[f"corrected_{c}"] for c in ("red", "green", "blue")]
    assert np.array(rows) == pytest.approx(1024 * CCM, abs=1)
    assert np.sum(rows, axis=1).tolist() == [1024] * 3
    changed = set(text.splitlines()) - set(template.splitlines())
    assert len(changed) == 9  # four offsets, two gains, three rows; the white levels were right


def test_infinite_isp_keeps_the_units_of_its_matrix():
    template = (
        "sensor_info: {bit_depth: 12, bayer_pattern: grbg}\n"
        "color_correction_matrix:\n  is_enable: true\n  corrected_red: [1.5, -0.5, 0]\n"
        "  corrected_green: [0, 1, 0]\n  corrected_blue: [0, 0, 1] # last\n"
        "white_balance:\n"
    )
    text = export(camera("GRBG"), "infinite-isp", template=template)
    content = yaml.safe_load(text)
    assert content["color_correction_matrix"]["corrected_red"] == [
        pytest.approx(v, abs=1e-5) for v in camera().colors[1].ccm[0]
    ]
    assert content["black_level_correction"]["gr_offset"] == 257
    assert content["white_balance"] == {"r_gain": 2.0, "b_gain": pytest.approx(4 / 3, abs=1e-6)}


def test_infinite_isp_without_template_is_a_sidecar():
    content = yaml.safe_load(export(camera("GRBG"), "infinite-isp"))
    facts = infinite_isp_facts("f", content, None)
    assert (facts["width"], facts["height"], facts["bits"], facts["cfa"]) == (64, 48, 14, "GRBG")
    assert facts["black_level"] == (1028, 1024, 1024, 1028)


@pytest.mark.parametrize(
    ("template", "words"),
    [
        (
            "sensor_info: {bit_depth: 12, bayer_pattern: rggb}\n",
            "bayer_pattern is RGGB, the profile Test Camera has GRBG",
        ),
        ("sensor_info: {bit_depth: many}\n", "bit_depth must be a whole number"),
        ("other: 1\n", "bit_depth must be a whole number"),
        ("sensor_info: {bit_depth: 12}\nwhite_balance: 3\n", "white_balance must hold"),
    ],
)
def test_infinite_isp_templates_that_do_not_fit(template, words):
    with pytest.raises(FileError, match=words):
        export(camera("GRBG"), "infinite-isp", template=template)
