"""What light meets: point spread, falloff by color and light, the colors of measured lights; calibrated cameras."""

from __future__ import annotations

import pytest
import torch

from ispkit.core.errors import ParamError
from ispkit.core.profile import BlackPoint, CameraProfile, LightColor, NoisePoint, PsfGrid, ShadingMap
from ispkit.io.dng_writer import write_dng
from ispkit.io.load import load
from ispkit.isp.recipe import from_recipe
from ispkit.ops.cfa import planes
from ispkit.sensor import optics
from ispkit.sensor.color import response
from ispkit.sensor.simulate import Sensor, SiteShading, capture

IDEAL = Sensor(vignetting=(0.0,) * 5, blur_px=0.0, bits=16, black_level=4096.0, shot_at_iso100=0.0, read_at_iso100=0.0)
DEVELOP = {
    "version": 1,
    "stages": ["linearize", "lens_shading", "white_balance", {"demosaic": {"method": "bilinear"}}, "color_matrix"],
}


def variant(**facts):
    return Sensor(**{**IDEAL.__dict__, **facts})


def bump(dy: int, dx: int):
    """A lopsided 5x5 kernel: all light goes `dy` down and `dx` right, half of it."""
    kernel = torch.zeros(5, 5)
    kernel[2, 2] = 0.5
    kernel[2 + dy, 2 + dx] += 0.5
    return kernel


def nested(kernels: torch.Tensor):
    return tuple(tuple(tuple(tuple(r) for r in k) for k in row) for row in kernels.tolist())


def test_a_point_spreads_as_its_kernel_says_and_colors_apart():
    kernels = torch.stack([bump(1, 0), bump(0, 2), bump(-2, -1)])
    point = torch.zeros(1, 3, 11, 11)
    point[..., 5, 5] = 1
    seen = optics.convolve(point, kernels)[0]
    for color, (dy, dx) in enumerate(((1, 0), (0, 2), (-2, -1))):
        assert float(seen[color, 5, 5]) == 0.5
        assert float(seen[color, 5 + dy, 5 + dx]) == 0.5
        assert float(seen[color].sum()) == pytest.approx(1.0)


def test_a_grid_of_kernels_acts_at_the_centers_of_its_cells():
    kernels = torch.stack([torch.stack([bump(0, 0), bump(0, 1)]), torch.stack([bump(1, 0), bump(2, 2)])])
    grid = PsfGrid({"G": nested(kernels)})
    size = (42, 66)  # cells of 21 x 33, whose centers are pixels
    for i, cy in enumerate((10, 31)):
        for j, cx in enumerate((16, 49)):
            point = torch.zeros(1, 3, *size)
            point[..., cy, cx] = 1
            around = optics.convolve_grid(point, grid)[0, 1, cy - 2 : cy + 3, cx - 2 : cx + 3]
            # neighbors of a center are blends that differ from it by less than 1 part in a cell
            torch.testing.assert_close(around, kernels[i, j], atol=2 / 21, rtol=0)
    noise = torch.rand(1, 3, 42, 66, generator=torch.Generator().manual_seed(0))
    one = PsfGrid({"G": nested(kernels[:1, 1:])})
    torch.testing.assert_close(optics.convolve_grid(noise, one), optics.convolve(noise, kernels[0, 1][None]))
    flat = torch.full((2, 3, 42, 66), 0.3)
    torch.testing.assert_close(optics.convolve_grid(flat, grid), flat)
    with pytest.raises(ParamError, match="needs kernels for G"):
        optics.convolve_grid(flat, PsfGrid({"R": nested(kernels)}))
    with pytest.raises(ParamError, match="odd k"):
        optics.convolve(flat, torch.ones(1, 4, 4))


def test_the_psf_of_a_capture_takes_the_place_of_the_sensors_blur():
    point = torch.zeros(1, 3, 16, 16)
    point[..., 8, 8] = 1
    blurred = variant(blur_px=1.0)
    frame = capture(point, blurred, psf=bump(0, 2)[None], space="sensor", draw="none")
    signal = (frame.data - 4096) / (65535 - 4096)
    assert float(signal[0, 0, 8, 8]) == pytest.approx(0.5, abs=1e-4)
    assert float(signal[0, 0, 8, 10]) == pytest.approx(0.5, abs=1e-4)


RADIAL = tuple((0.3 + 0.1 * i, 0.05 * i, 0.02, 0.0, 0.0) for i in range(4))


def test_falloff_by_site_is_the_radial_law():
    shading = SiteShading(5000.0, RADIAL)
    sensor = variant(shading=(shading,))
    frame = capture(torch.full((1, 3, 41, 61), 0.5), sensor, space="sensor", draw="none")
    signal = (frame.data - 4096) / (65535 - 4096)
    # the corner belongs to site 0, r = 1
    assert float(signal[0, 0, 0, 0]) == pytest.approx(0.5 / (1 + 0.3 + 0.02), abs=1e-4)
    assert float(signal[0, 0, 20, 30]) == pytest.approx(0.5, abs=1e-4)


@pytest.mark.parametrize("size", [(64, 96), (65, 97)])
def test_the_file_says_how_to_undo_the_falloff(size, tmp_path):
    mesh = torch.rand(4, 5, 7, generator=torch.Generator().manual_seed(1)) * 0.3 + 1
    planes_of = tuple(tuple(map(tuple, plane)) for plane in mesh.tolist())
    lights = (
        SiteShading(2856.0, RADIAL, center=(0.45, 0.55)),
        ShadingMap(6504.0, planes_of, (0.0,) * 5, (0.5, 0.5)),
    )
    sensor = variant(shading=lights, vignetting=(0.2, 0.1, 0.0, 0.0, 0.0))
    for cct in (2856.0, 4000.0, 6504.0):
        frame = capture(torch.full((1, 3, *size), 0.4), sensor, cct_k=cct, space="sensor", draw="none")
        write_dng(tmp_path / "flat.dng", frame)
        signal = (frame.data - 4096) / (65535 - 4096)
        assert float(signal.std()) > 0.01
        out = from_recipe({"version": 1, "stages": ["linearize", "lens_shading"]})(load(tmp_path / "flat.dng")).data
        torch.testing.assert_close(out, torch.full_like(out, 0.4), atol=0, rtol=2e-3)


def test_falloff_between_two_lights_is_half_at_their_mean_mired():
    sides = (
        SiteShading(2500.0, ((0.2, 0.0, 0.0, 0.0, 0.0),) * 4),
        SiteShading(5000.0, ((0.6, 0.0, 0.0, 0.0, 0.0),) * 4),
    )
    sensor = variant(shading=sides)
    middle = 2e6 / (1e6 / 2500 + 1e6 / 5000)
    cct = torch.tensor([2000.0, 2500.0, middle, 5000.0, 9000.0])
    frame = capture(torch.full((1, 3, 21, 31), 0.5), sensor, cct_k=cct, space="sensor", draw="none")
    corners = (frame.data[:, 0, 0, 0] - 4096) / (65535 - 4096)
    assert (0.5 / corners).tolist() == pytest.approx([1.2, 1.2, 1.4, 1.6, 1.6], abs=1e-3)


def light(name: str, cct: float, neutral, matrix) -> LightColor:
    eye = ((1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0))
    return LightColor(name, cct, neutral, eye, matrix, eye, 0.0, 0.0)


LIGHTS = (
    light("A", 2856.0, (1.0, 0.78, 0.31), Sensor().color_matrices[0]),
    light("TL84", 4000.0, (0.71, 1.0, 0.42), Sensor().color_matrices[0]),
    light("D65", 6504.0, (0.52, 1.0, 0.71), Sensor().color_matrices[1]),
)


@pytest.mark.parametrize("known", LIGHTS, ids=lambda known: known.name)
def test_a_named_light_has_its_measured_white_and_the_scene_comes_back(known):
    sensor = variant(lights=LIGHTS)
    assert response(sensor, light=known.name).neutral[0].tolist() == pytest.approx(known.neutral, abs=1e-9)
    scene = torch.tensor([0.2, 0.5, 0.3]).reshape(1, 3, 1, 1).expand(1, 3, 24, 24)
    frame = capture(scene, sensor, light=known.name, draw="none")
    assert frame.meta.neutral[0].tolist() == pytest.approx(known.neutral, abs=1e-6)
    gray = capture(torch.full_like(scene, 0.5), sensor, light=known.name, draw="none")
    signal = planes((gray.data - 4096) / (65535 - 4096)).mean((-2, -1))[0]
    assert signal[[0, 1, 3]].tolist() == pytest.approx([0.5 * n for n in known.neutral], abs=1e-4)
    # a developer that only knows CCTs finds the white by Robertson's method: not on the locus, not exactly
    out = from_recipe(DEVELOP)(frame).data[0, :, 8:16, 8:16].mean((-2, -1))
    torch.testing.assert_close(out, scene[0, :, 0, 0], atol=2e-3, rtol=0)


def test_lights_are_found_by_temperature_and_unknown_names_refused():
    sensor = variant(lights=LIGHTS)
    assert response(sensor, 4000.0).neutral[0].tolist() == pytest.approx(LIGHTS[1].neutral, abs=1e-6)
    with pytest.raises(ParamError, match="knows no light 'D50'"):
        response(sensor, light="D50")
    with pytest.raises(ParamError, match="knows none by name"):
        response(Sensor(), light="A")


def test_a_calibrated_camera_becomes_a_simulated_one():
    profile = CameraProfile(
        name="cam", cfa="GBRG", size=(48, 64), white_level=1023.0,
        black=(BlackPoint(100.0, 0.01, (60.0, 61.0, 62.0, 63.0), (1.0,) * 4),
               BlackPoint(800.0, 0.01, (64.0,) * 4, (1.0,) * 4)),
        noise=(NoisePoint(100.0, (1e-4,) * 3, (1e-8,) * 3, "flat_pairs"),
               NoisePoint(800.0, (8e-4,) * 3, (5e-7,) * 3, "flat_pairs")),
        defects=((4, 6),), colors=LIGHTS, psf=PsfGrid({"G": nested(bump(0, 1)[None, None])}),
    )  # fmt: skip
    sensor = Sensor.from_profile(profile)
    assert (sensor.bits, sensor.white_level, sensor.cfa) == (10, 1023.0, "GBRG")
    frame = capture(torch.full((1, 3, 48, 64), 0.5), sensor, iso=800.0, light="D65")
    assert frame.meta.black_level.tolist() == [[64.0] * 4]
    assert frame.meta.noise_profile[0, 0, 0] == pytest.approx(8e-4)
    assert float(frame.data[0, 0, 4, 6]) == 1023.0
    one = Sensor.from_profile(profile, iso=120.0)
    assert [p.iso for p in one.noise] == [100.0]
    assert [p.iso for p in one.black] == [100.0]
    bare = Sensor.from_profile(CameraProfile("bare", "RGGB", (8, 8), 4095.0))
    ideal = capture(torch.full((1, 3, 8, 8), 0.5), bare, cct_k=6504.0)
    assert ideal.data.unique().numel() <= 3  # one value a color, no noise
