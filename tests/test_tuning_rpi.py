"""Raspberry Pi tunings: real files survive, profiles go there and back, wrong shapes are named."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from conftest import make_frame
from ispkit.core.errors import FileError, ParamError
from ispkit.core.frame import Domain
from ispkit.io.profile import dump_profile, parse_profile
from ispkit.io.tuning import (
    apply_profile,
    export,
    parse_tuning,
    read_tuning,
    recipe_values,
    to_profile,
    write_tone_cube,
)
from ispkit.io.tuning.base import cell_centers, from_cells, sample
from ispkit.io.tuning.rpi import GRIDS
from ispkit.io.tuning.rpi_import import radial_fit
from ispkit.isp.recipe import from_recipe
from ispkit.ops.color_spaces import D50_XY, xy_to_xyz
from ispkit.sensor.simulate import Sensor, capture
from tuning_profiles import SIZE, camera

FILES = ("vc4_imx219", "vc4_imx477", "vc4_ov5647", "pisp_imx219", "pisp_imx708")
KINDS = {"bcm2835": "rpi-vc4", "pisp": "rpi-pisp"}
CALIBRATED = {"rpi.black_level", "rpi.noise", "rpi.alsc", "rpi.awb", "rpi.ccm"}


@pytest.fixture(params=FILES)
def real(request, shared):
    return read_tuning(shared / "rpi_tuning" / f"{request.param}.json")


def tuning(**blocks):
    named = {f"rpi.{name}": params for name, params in blocks.items()}
    return parse_tuning(json.dumps({"version": 2.0, "target": "bcm2835", "algorithms": [named]}), "t.json")


def test_a_real_file_survives_byte_for_byte(real, shared):
    name = real.source.rsplit("/", 1)[1]
    assert real.text.encode() == (shared / "rpi_tuning" / name).read_bytes()
    back = real.with_entry("rpi.geq", "offset", 999).with_entry("rpi.geq", "offset", real.block("rpi.geq")["offset"])
    assert back.text == real.text


def test_a_real_file_is_understood(real):
    assert real.version == 2.0
    assert real.black_level == ((1024.0,) * 3 if "ov5647" in real.source else (4096.0,) * 3)
    assert real.noise.slope > 1
    assert all(0.1 < v < 1.5 for row in real.ct_curve for v in row[1:])
    for _, ccm in real.ccms:
        assert np.sum(ccm, axis=1) == pytest.approx([1, 1, 1], abs=0.01)
    assert real.shading.luminance.shape == GRIDS[real.target]
    assert real.gamma_curve[-1] == (65535.0, 65535.0)
    assert {"strength", "threshold", "limit"} == set(real.sharpen)
    assert real.lux["reference_lux"] > 0


def test_a_profile_goes_back_into_its_file(real):
    profile = to_profile(real, size=(1232, 1640))
    again = parse_tuning(export(profile, KINDS[real.target], template=real.text), "again")
    assert again.black_level == real.black_level
    assert again.noise.slope == pytest.approx(real.noise.slope, abs=5e-4)
    curve = {t: (r, b) for t, r, b in again.ct_curve}
    for t, r, b in real.ct_curve:
        assert curve[t] == pytest.approx((r, b), abs=1e-4)
    written = dict(again.ccms)
    for t, ccm in real.ccms:
        # rows that do not sum to 1 in the file are brought there
        assert np.array(written[t]) == pytest.approx(np.array(ccm) / np.sum(ccm, axis=1, keepdims=True), abs=1e-5)
    for new, old in zip(again.shading.cr + again.shading.cb, real.shading.cr + real.shading.cb, strict=True):
        assert new[1] == pytest.approx(old[1] / old[1].min(), abs=6e-4)


def test_only_calibrated_blocks_change(real):
    text = export(to_profile(real), KINDS[real.target], template=real.text)
    old, new = (json.loads(t)["algorithms"] for t in (real.text, text))
    assert [list(a) for a in new] == [list(a) for a in old]
    for before, after in zip(old, new, strict=True):
        name = next(iter(before))
        if name not in CALIBRATED:
            assert before == after
        else:
            assert list(before[name]) == list(after[name])
            touched = {k for k in before[name] if before[name][k] != after[name][k]}
            assert touched <= {"ct_curve", "ccms", "calibrations_Cr", "calibrations_Cb", "luminance_lut"}
    # the layout, too: a line that speaks of nothing calibrated is the same line
    assert text.split('"rpi.agc"')[1].split('"rpi.alsc"')[0] == real.text.split('"rpi.agc"')[1].split('"rpi.alsc"')[0]


@pytest.mark.parametrize("kind", KINDS.values())
def test_the_profile_of_a_new_camera_reads_back(kind):
    profile = camera()
    written = parse_tuning(export(profile, kind), "new")
    assert list(written.places) == ["rpi.black_level", "rpi.noise", "rpi.alsc", "rpi.awb", "rpi.ccm"]
    assert written.black_level == (4096.0, 4112.0, 4096.0)  # 1024 and 1028 of 14 bits
    back = to_profile(written, cfa=profile.cfa, size=profile.size)
    assert [c.ccm for c in back.colors] == [pytest.approx(np.array(c.ccm), abs=1e-5) for c in profile.colors]
    at = [cell_centers(n) for n in GRIDS[written.target]]
    for i in range(2):
        # what white reads at each place, red over green: gains have another 1, so the neutrals differ with them
        reads = []
        for made in (profile, back):
            red, green = (sample(np.array(made.shading[i].gains["GRBG".index(c)]), *at) for c in "RG")
            reads.append(made.colors[i].neutral[0] / made.colors[i].neutral[1] / red * green)
        assert reads[1] == pytest.approx(reads[0], rel=1.5e-3)


def test_the_noise_law_is_the_square_root_law_where_it_is_exact():
    pure = replace(camera().noise[0], shot=(2e-4,) * 3, read=(0.0,) * 3)
    written = parse_tuning(export(replace(camera(), noise=(pure,)), "rpi-vc4"), "new")
    span = 65536 / 16384 * 16383 - 4104  # of the 14-bit camera on the 16-bit scale
    assert written.noise.slope == pytest.approx(1.4 * (2e-4 * span) ** 0.5, abs=1e-3)
    assert written.noise.constant == 0
    assert to_profile(written).noise[0].shot[0] == pytest.approx(2e-4, rel=2e-3)


def test_the_noise_law_follows_the_deviation_of_a_noisy_readout():
    point = replace(camera().noise[0], shot=(1e-4,) * 3, read=(1e-5,) * 3)
    law = parse_tuning(export(replace(camera(), noise=(point,)), "rpi-vc4"), "new").noise
    span = 65532 - 4104
    x = np.linspace(0.05, 1, 20)
    true = np.sqrt(1e-4 * x + 1e-5) * span
    assert law.constant + law.slope / 1.4 * np.sqrt(x * span) == pytest.approx(true, rel=0.06)


def test_half_cells_are_extrapolated_and_centers_kept():
    y, x = (np.arange(n) for n in (5, 7))
    cells = 1.0 + 0.2 * y[:, None] + 0.1 * x[None, :]
    mesh = from_cells(cells)
    assert sample(mesh, cell_centers(5), cell_centers(7)) == pytest.approx(cells)
    assert mesh[0, 0] == pytest.approx(1 - 0.1 - 0.05)
    assert sample(np.array([[2.0, 4.0]]), cell_centers(2), cell_centers(2)).tolist() == [[2.5, 3.5]] * 2


def test_a_radial_law_is_found_in_a_mesh():
    height, width = (n - 1 for n in SIZE)
    y, x = np.linspace(-height, height, 21), np.linspace(-width, width, 27)
    r2 = (y[:, None] ** 2 + x[None, :] ** 2) / (height**2 + width**2)
    k = (0.3, 0.2, -0.1, 0.05, 0.02)
    gains = 1 + sum(c * r2 ** (i + 1) for i, c in enumerate(k))
    assert radial_fit(gains, SIZE) == pytest.approx(k)


def test_the_profile_of_a_file_obeys_the_matrices_laws(real):
    for light in to_profile(real).colors:
        white = np.array(light.forward_matrix).sum(1)
        assert white == pytest.approx(xy_to_xyz(torch.tensor(D50_XY, dtype=torch.float64)).numpy(), abs=2e-5)
        assert np.sum(light.ccm, axis=1) == pytest.approx([1, 1, 1])
        assert max(light.neutral) == 1


def test_a_rendering_follows_the_tuning(shared, tmp_path):
    """A gray that the curve calls white at its temperature comes out gray, at the gamma curve's height."""
    pi = read_tuning(shared / "rpi_tuning" / "vc4_imx219.json")
    profile = to_profile(pi, size=(16, 24), luminance_strength=0.0)
    profile = replace(profile, shading=())
    write_tone_cube(tmp_path / "tone.cube", pi)
    isp = from_recipe(recipe_values(pi, tone_cube=tmp_path / "tone.cube"))
    frame = apply_profile(make_frame(Domain.RAW, batch=1, black_level=4096.0, white_level=65535.0), profile, cct_k=4600)
    level = 0.2
    flat = torch.empty_like(frame.data)
    for site, color in enumerate("RGGB"):
        share = frame.meta.neutral[0, "RGB".index(color)] / frame.meta.neutral[0].max()
        flat[..., site // 2 :: 2, site % 2 :: 2] = 4096 + level * share * (65535 - 4096)
    picture = isp(frame.with_data(flat)).data
    x, y = np.array(pi.gamma_curve).T / 65535
    wanted = np.interp(level, x, y)
    seen = picture[0, :, 8, 12].numpy()
    assert np.ptp(seen) < 2e-3
    # 33 nodes of a cube stand for the curve
    assert seen.mean() == pytest.approx(wanted, abs=2e-3)


def test_version_1_and_disabled_blocks():
    flat = parse_tuning('{"rpi.noise": {"reference_constant": 1, "reference_slope": 2}, "x.y": {"enabled": false}}')
    assert flat.noise.slope == 2
    assert flat.block("x.y") is None
    added = flat.with_entry("rpi.ccm", "ccms", [])
    assert list(json.loads(added.text)) == ["rpi.noise", "x.y", "rpi.ccm"]


def test_corner_strength_gives_way_to_the_table():
    old = '{"version": 2.0, "target": "bcm2835", "algorithms": [{"rpi.alsc": {"corner_strength": 2.0, "n_iter": 5}}]}'
    alsc = parse_tuning(export(camera(), "rpi-vc4", template=old)).block("rpi.alsc")
    assert "corner_strength" not in alsc
    assert alsc["n_iter"] == 5


@pytest.mark.parametrize(
    ("blocks", "ask", "words"),
    [
        ({"awb": {"ct_curve": [3000, 0.8]}}, "ct_curve", r"rpi.awb.ct_curve has 2 numbers"),
        ({"awb": {"ct_curve": [3000, 0.8, 0.4, 2000, 0.9, 0.3]}}, "ct_curve", r"goes from 3000 to 2000"),
        ({"awb": {"ct_curve": [3000, -0.8, 0.4]}}, "ct_curve", r"holds -0.8"),
        ({"ccm": {"ccms": [{"ct": 3000, "ccm": [1, 0, 0]}]}}, "ccms", r"rpi.ccm.ccms\[0\].ccm has 3 numbers.* 9"),
        ({"ccm": {"ccms": [{"ccm": [1] * 9}]}}, "ccms", r"\[None\]; each ct must be a positive number"),
        ({"alsc": {"luminance_lut": [1.0] * 190}}, "shading", r"luminance_lut has 190 numbers; .* needs 192"),
        ({"alsc": {"calibrations_Cr": [{"ct": 1, "table": "x"}]}}, "shading", r"Cr\[0\].table must be a list"),
        ({"noise": {"reference_constant": 1}}, "noise", r"rpi.noise.reference_slope is missing"),
        ({"black_level": {"black_level": "a"}}, "black_level", r"black_level is 'a', it must be a number"),
        ({"contrast": {"gamma_curve": [0, 0, 0, 1]}}, "gamma_curve", r"goes from 0 to 0; it must ascend"),
    ],
)
def test_wrong_shapes_are_named(blocks, ask, words):
    with pytest.raises(FileError, match=f"^t.json: .*{words}"):
        getattr(tuning(**blocks), ask)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[1]", "a JSON object"),
        ('{"version": 3.0}', "version 3.0 is not known"),
        ('{"version": 2.0, "target": "rkisp1", "algorithms": []}', "target 'rkisp1'"),
        ('{"version": 2.0, "target": "pisp"}', "needs 'algorithms'"),
        ('{"version": 2.0, "algorithms": [{"a": {}}, {"a": {}}]}', "a comes twice"),
    ],
)
def test_other_json_is_refused(text, words):
    with pytest.raises(FileError, match=words):
        parse_tuning(text)


def test_misuse_is_one_sentence(tmp_path):
    with pytest.raises(ParamError, match="did you mean 'rpi-vc4'"):
        export(camera(), "rpi-vc5")
    with pytest.raises(FileError, match="target is 'pisp', wanted is 'bcm2835'"):
        export(camera(), "rpi-vc4", template='{"version": 2.0, "target": "pisp", "algorithms": []}')
    bare = replace(camera(), black=(), noise=(), shading=(), colors=())
    for kind in ("rpi-vc4", "libcamera-softisp", "libcamera-rkisp1", "infinite-isp"):
        with pytest.raises(FileError, match="has nothing that"):
            export(bare, kind)
    dark = replace(camera().colors[0], neutral=(1.0, 1.0, 0.0))
    with pytest.raises(FileError, match=r"light 'A' has the neutral .* all must be positive"):
        export(replace(camera(), colors=(dark,)), "rpi-pisp")
    with pytest.raises(FileError, match="cannot be read"):
        read_tuning(tmp_path / "none.json")
    (tmp_path / "bytes.json").write_bytes(b"{\xff}")
    with pytest.raises(FileError, match="byte 1 is not UTF-8"):
        read_tuning(tmp_path / "bytes.json")


def test_a_profile_from_a_file_is_one_that_can_be_stored(real):
    profile = to_profile(real)
    assert parse_profile(dump_profile(profile)) == profile
    seen = capture(torch.full((1, 3, 32, 48), 0.5), Sensor.from_profile(profile), cct_k=4000.0, draw="none")
    raw = seen.data - 4096 if "ov5647" not in real.source else seen.data - 1024
    assert 0.05 < float(raw.max()) / 61440 < 0.6
