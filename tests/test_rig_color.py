"""The display's color model against closed forms, published whites and the simulated screen's truth."""

from __future__ import annotations

import json
import weakref

import numpy as np
import pytest
import torch

from ispkit.core.errors import FileError, ParamError
from ispkit.ops.color_spaces import rgb_to_xyz
from ispkit.rig.contracts import DeviceError
from ispkit.rig.display_color import DisplayColor, characterize, emulate, measure, read_measurements, render
from ispkit.rig.simulated import Lens, Pose, SimulatedCamera, SimulatedDisplay

# CIE 15: chromaticities of A, D65 and FL11 (TL84) for the 2-degree observer
WHITES = {"A": (0.44758, 0.40745), "D65": (0.31272, 0.32903), "TL84": (0.38054, 0.37692)}


def table(space="srgb", gamma=2.2, black=0.002, levels=9, scale=120.0):
    """Measurements of a perfect screen in cd/m2."""
    matrix, xyz_black = rgb_to_xyz(space).numpy(), black * rgb_to_xyz(space).numpy().sum(1)
    codes = [np.zeros(3), np.ones(3)] + [v * np.eye(3)[c] for c in range(3) for v in np.linspace(0, 1, levels)[1:]]
    return [(tuple(c.tolist()), tuple((scale * (matrix @ c**gamma + xyz_black)).tolist())) for c in codes]


def test_a_perfect_screen_is_recovered():
    model = characterize(table("display-p3", 2.4))
    assert np.allclose(model.to_xyz, rgb_to_xyz("display-p3").numpy(), atol=1e-6)
    assert np.allclose(model.gamma(), 2.4, atol=0.01)
    assert model.white_xy == pytest.approx((0.3127, 0.3290), abs=1e-5)
    assert model.contrast == pytest.approx(501, rel=1e-3)
    assert model.additivity_error < 1e-9
    linear = torch.linspace(0, 1, 50).expand(3, 1, 50)
    assert torch.allclose(model.encode(linear), linear ** (1 / 2.4), atol=2e-3)


def test_lights_have_the_published_whites_and_their_price():
    model = characterize(table(black=0.0))
    for name, xy in WHITES.items():
        light = emulate(model, name)
        assert light.white_xy == pytest.approx(xy, abs=1e-4)
        assert light.in_gamut
        shown = rgb_to_xyz("srgb").numpy() @ np.array(light.linear_rgb)
        assert (shown[0] / shown.sum(), shown[1] / shown.sum()) == pytest.approx(xy, abs=1e-4)
        assert shown[1] == pytest.approx(light.luminance, rel=1e-6)
    # by hand: XYZ of A is (1.09850, 1, 0.35585), its linear sRGB (1.845, 0.826, 0.233)
    assert emulate(model, "A").luminance == pytest.approx(1 / 1.845, abs=2e-3)
    assert emulate(model, "D65").luminance == pytest.approx(1, abs=2e-3)
    green = emulate(model, (0.2, 0.75))
    assert not green.in_gamut
    with pytest.raises(ParamError, match="no light 'TL8'; did you mean 'TL84'"):
        emulate(model, "TL8")


def test_rendered_white_is_the_light_and_clipping_is_told():
    model = characterize(table("srgb", 2.2, black=0.001))
    light = emulate(model, "TL84")
    white = render(model, light, torch.ones(3, 2, 2))
    code = white.encoded[:, 0, 0].double().numpy()
    xyz = model.to_xyz @ code**2.2 + model.black_xyz
    assert (xyz[0] / xyz.sum(), xyz[1] / xyz.sum()) == pytest.approx(WHITES["TL84"], abs=1e-3)
    assert white.outside == 0
    half = torch.ones(3, 2, 2)
    half[0, 0] = 2.0  # twice the red of white
    assert render(model, light, half).outside == 0.5


def test_repeated_measurements_are_averaged():
    once = table()
    shifted = [(code, tuple(1.02 * v for v in xyz)) for code, xyz in once]
    model, mean = characterize([*once, *shifted]), characterize([(c, tuple(1.01 * v for v in x)) for c, x in once])
    assert np.allclose(model.to_xyz, mean.to_xyz, atol=1e-12)
    assert np.allclose(model.curves, mean.curves, atol=1e-9)
    twice = [row for row in once if row[0] != (0.0, 0.0, 0.5)]
    with pytest.raises(ParamError, match="a ramp of blue alone: 3 codes or more"):  # the same code again is no other
        characterize([row for row in twice if row[0][2] in (0, 1)] * 3)


def test_captures_are_not_hoarded():
    display = SimulatedDisplay((20, 30))
    camera, frames, most = SimulatedCamera(display, (20, 30), exposure_ev=-1.0, samples=1), [], []

    class Counting:
        def capture(self):
            frame = camera.capture()
            frames.append(weakref.ref(frame))
            most.append(sum(f() is not None for f in frames))
            return frame

    measure(display, Counting(), levels=5)
    assert len(frames) == 14
    assert max(most) <= 2  # the one before goes when the new one has come


@pytest.mark.parametrize(("primaries", "off"), [("srgb", 0.005), ("display-p3", 0.015)])
def test_measured_through_the_camera(primaries, off):
    # The red of P3 would be negative in the sensor's blue, which is cut at 0: Z of that primary is 0.011 off.
    display = SimulatedDisplay((60, 90), gamma=2.4, primaries=primaries, black_level=0.002)
    camera = SimulatedCamera(display, (120, 180), Pose(), Lens(), iso=50, exposure_ev=-0.7, ambient=0.0, samples=2)
    seen = []
    model = characterize(measure(display, camera, levels=6, progress=lambda done, total: seen.append((done, total))))
    assert seen[-1] == (17, 17)
    assert np.abs(model.to_xyz - rgb_to_xyz(primaries).numpy()).max() < off
    assert np.allclose(model.gamma(), 2.4, atol=0.03)
    for name, xy in WHITES.items():
        display.show(render(model, emulate(model, name), torch.ones(3, 60, 90)).encoded)
        xyz = rgb_to_xyz(primaries) @ display.light()[:, 30, 45].double()
        assert (float(xyz[0] / xyz.sum()), float(xyz[1] / xyz.sum())) == pytest.approx(xy, abs=0.004)
    with pytest.raises(DeviceError, match="the camera clips"):
        measure(display, SimulatedCamera(display, (60, 90), exposure_ev=2.0))


def test_incomplete_measurements_say_what_is_missing():
    full = table()
    with pytest.raises(ParamError, match="lack black"):
        characterize(full[1:])
    with pytest.raises(ParamError, match="lack a ramp of green alone"):
        characterize([row for row in full if row[0][1] == 0 or row[0][0] == 1])
    assert np.isnan(characterize([full[0], *full[2:]]).additivity_error)
    with pytest.raises(ParamError, match="no luminance or lie on one line"):
        characterize([(code, (sum(code), sum(code), sum(code))) for code, _ in full])


def test_files_of_measurements_and_models(tmp_path):
    lines = [",".join(f"{v:.6f}" for v in (*(255 * c for c in code), *xyz)) for code, xyz in table()]
    (tmp_path / "m.csv").write_text("R,G,B,X,Y,Z\n" + "\n".join(lines) + "\n")
    model = characterize(read_measurements(tmp_path / "m.csv"))
    assert np.allclose(model.to_xyz, rgb_to_xyz("srgb").numpy(), atol=1e-5)
    model.save(tmp_path / "color.json")
    again = DisplayColor.load(tmp_path / "color.json")
    assert np.array_equal(again.curves, model.curves)
    assert again.additivity_error == model.additivity_error
    for text in ("", "R,G,B\n1,2,3\n", "R,G,B,X,Y,Z\n1,2,3,x,y,z\n"):
        (tmp_path / "bad.csv").write_text(text)
        with pytest.raises(FileError, match=r"bad.csv"):
            read_measurements(tmp_path / "bad.csv")
    (tmp_path / "bad.json").write_text(json.dumps({"to_xyz": [1]}))
    for name in ("bad.json", "m.csv", "absent.json"):
        with pytest.raises(FileError, match="is no result of `ispkit rig color`"):
            DisplayColor.load(tmp_path / name)
