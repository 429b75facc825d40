"""Gray codes and the light-transport map, against closed forms and the simulated rig's truth."""

from __future__ import annotations

from dataclasses import FrozenInstanceError, replace

import cv2
import numpy as np
import pytest
import torch

from ispkit.charts.gray_code import gray_code_sequence
from ispkit.core.errors import FileError, ParamError, ShapeError
from ispkit.ops.encode import srgb_encode
from ispkit.rig.align import align, overlay, true_error_px
from ispkit.rig.contracts import DeviceError, as_codes, green_light, picture_frame
from ispkit.rig.gray_code import decode
from ispkit.rig.light_transport import Alignment, LightTransport, light_transport
from ispkit.rig.simulated import Lens, Pose, SimulatedCamera, SimulatedDisplay, random_rig
from ispkit.sensor.simulate import Sensor


def seen_through(display_size, positions, gain=1.0, floor=0.0):
    """Captures of the Gray codes by a noise-free camera whose subpixel (y, x, k) looks at `positions`."""
    height, width = display_size
    x, y = positions
    inside = (x >= 0) & (x < width) & (y >= 0) & (y < height)
    x, y = (np.clip(p, 0, n - 1).astype(int) for p, n in ((x, width), (y, height)))
    code = gray_code_sequence(height, width)
    for pattern in code.patterns:
        green = code.picture(pattern)[1].numpy()
        yield pattern, ((green[y, x] * inside).mean(-1) * gain + floor).astype(np.float32)


def subpixels(height, width, n=4):
    """(x, y), each (height, width, n * n): centers of an n x n grid in every pixel."""
    offset = (np.arange(n) + 0.5) / n
    dy, dx = (a.ravel() for a in np.meshgrid(offset, offset, indexing="ij"))
    return np.arange(width)[None, :, None] + dx, np.arange(height)[:, None, None] + dy


def affine_map(scale=2.0, shift=5.0, camera=(40, 60), display=(100, 150)):
    """A transport with known, exactly affine positions."""
    x, y = np.meshgrid(np.arange(camera[1]) + 0.5, np.arange(camera[0]) + 0.5)
    positions = np.stack([scale * x + 0.3 * y + shift, scale * y - 0.2 * x + shift + 12]).astype(np.float32)
    x, y = positions
    mask = (x >= 0) & (x < display[1]) & (y >= 0) & (y < display[0])
    return LightTransport(positions, mask, display, Alignment(0.0, 0.0, 0, 0.0, float(mask.mean()), 1.0, scale))


def test_enlarged_screen_is_decoded_exactly_whatever_the_shading():
    shading = np.linspace(0.2, 1.0, 3 * 20)[:, None] * np.linspace(1.0, 0.3, 3 * 28)
    x, y = subpixels(60, 84, 1)
    found = decode(seen_through((20, 28), (x / 3, y / 3), shading, 0.01), (20, 28))
    assert (found.stripe == 1).all()
    assert found.seen.all()
    assert np.array_equal(found.position[0], np.broadcast_to(np.arange(84) // 3 + 0.5, (60, 84)))
    assert np.array_equal(found.position[1], np.broadcast_to((np.arange(60) // 3 + 0.5)[:, None], (60, 84)))
    assert found.confidence.min() > 0.99
    columns = found.borders["column"]
    assert set(columns.at) == set(range(1, 28))  # each line of the screen once, where it is
    assert np.abs(columns.x - 3 * columns.at).max() < 0.02


def test_stray_light_is_not_taken_for_the_screen():
    x, y = subpixels(60, 120, 1)
    shots = []
    for pattern, light in seen_through((60, 60), (x, y)):  # the right half looks beside the screen
        glare = light[:, :30].mean() * 0.3 * np.linspace(1, 0.2, 60)  # and sees a blur of the screen's left part
        light[:, 60:] = glare
        shots.append((pattern, light))
    found = decode(shots, (60, 60))
    assert found.seen[:, :60].all()
    assert not found.seen[:, 63:].any()  # two pixels of the neighborhood count


def test_blurred_light_of_the_screen_is_not_its_sight():
    x, y = subpixels(60, 120, 1)
    shots = []
    for pattern, light in seen_through((60, 60), (x, y)):  # the right half sees the left one by a matt wall
        light[:, 60:] = 0.5 * cv2.GaussianBlur(light[:, :60], (0, 0), 12.0, borderType=cv2.BORDER_CONSTANT)
        shots.append((pattern, light))
    found = decode(shots, (60, 60))
    matt = found.stripe[:, :, 63:]  # two pixels of the neighborhood count
    assert (matt > 0).all(0).mean() > 0.7  # coarse stripes are told apart there
    assert found.seen[:, :60].all()
    assert not found.seen[:, 63:].any()


def test_borders_in_the_noise_are_left_out():
    x, y = subpixels(160, 240, 1)  # a screen of 20 x 30 pixels, enlarged by 8, ever darker to the right
    rng = np.random.default_rng(0)
    shots = []
    for pattern, light in seen_through((20, 30), (x / 8, y / 8), np.geomspace(1, 0.1, 240)):
        blurred = cv2.GaussianBlur(light, (0, 0), 2.0, borderType=cv2.BORDER_REFLECT)
        shots.append((pattern, blurred + rng.normal(0, 0.02, light.shape).astype(np.float32)))
    found = decode(shots, (20, 30))
    off = np.concatenate(
        [
            found.borders["column"].x - 8 * found.borders["column"].at,
            found.borders["row"].y - 8 * found.borders["row"].at,
        ]
    )
    assert len(off) > 2000
    assert off.std() < 1 / 6  # a step of 6 sigmas or more, interpolated


def test_wrong_sequences_say_what_is_due():
    x, y = subpixels(16, 16, 1)
    shots = list(seen_through((16, 16), (x, y)))
    with pytest.raises(ParamError, match="column-03 is not followed by that of column-03-inverse"):
        decode([*shots[:3], *shots[4:]], (16, 16))
    with pytest.raises(ParamError, match="column-02 came, bit 3 of the columns was due"):
        decode([*shots[:2], *shots[4:]], (16, 16))
    with pytest.raises(ParamError, match="of rows is not complete"):
        decode(shots[:-2], (16, 16))
    with pytest.raises(ShapeError, match="different sizes"):
        decode([shots[0], (shots[1][0], shots[1][1][:8])], (16, 16))
    with pytest.raises(DeviceError, match="only 130 stripe borders of columns were found"):
        light_transport(decode(seen_through((16, 16), subpixels(10, 16, 1)), (16, 16)))
    nothing = decode([(p, np.full((40, 40), 0.2, np.float32)) for p, _ in shots], (16, 16))
    assert nothing.warnings == ("the screen's green reaches 0.0% of the camera's range only: expose more",)
    with pytest.raises(DeviceError, match="only 0 stripe borders"):
        light_transport(nothing)


def test_a_curved_screen_is_taken_by_the_spline():
    x, y = subpixels(120, 180)

    def law(x, y):
        return 1.5 * x + 8 + 3 * np.sin(x / 40) * np.cos(y / 35), 1.5 * y + 6 + 2 * np.sin((x + y) / 45)

    transport = light_transport(decode(seen_through((200, 300), law(x, y)), (200, 300)))
    truth = np.stack(law(*np.meshgrid(np.arange(180) + 0.5, np.arange(120) + 0.5)))
    error = np.hypot(*(transport.positions - truth))[transport.mask] / 1.5
    assert np.median(error) < 0.05
    assert np.quantile(error, 0.95) < 0.2
    assert transport.mask.mean() > 0.95


def test_occluders_leave_holes_and_do_not_bend_the_map():
    x, y = subpixels(90, 140)
    shots = list(seen_through((160, 240), (1.6 * x + 0.05 * y + 2, 1.6 * y - 0.03 * x + 6)))
    free = light_transport(decode(shots, (160, 240)))
    hidden = [(p, light.copy()) for p, light in shots]
    for i, (_, light) in enumerate(hidden):
        light[30:50, 60:90] = 0.1  # a cable that reflects nothing
        light[70:80, 20:40] = shots[i][1][10:20, 100:120]  # a mirror that shows another place
    transport = light_transport(decode(hidden, (160, 240)))
    assert not transport.mask[32:48, 62:88].any()
    assert not transport.mask[72:78, 22:38].any()
    assert np.hypot(*(transport.positions - free.positions))[transport.mask].max() < 0.05
    assert free.mask.mean() - transport.mask.mean() < 0.08  # 800 of 12600 pixels, and their rims


def test_distortion_is_inverted_to_the_last_digit():
    lens = Lens(1.0, (-0.2, 0.05, -0.01), (1e-3, -2e-3))
    x, y = np.meshgrid(np.linspace(-0.6, 0.6, 13), np.linspace(-0.4, 0.4, 9))
    u, v = lens.undistort(*lens.distort(x, y))
    assert np.allclose(u, x, atol=1e-10)
    assert np.allclose(v, y, atol=1e-10)


def test_a_straight_camera_sees_the_screen_by_similar_triangles():
    camera = SimulatedCamera(SimulatedDisplay((50, 100)), (60, 120), Pose(distance=2.0), Lens(focal=1.6))
    # 120 px of the picture span 2 / 1.6 widths of the screen of 100 px
    x, y = camera.display_positions(np.array([0.0, 60.0, 120.0]), np.array([30.0, 30.0, 0.0]))
    assert np.allclose(x, [50 - 62.5, 50, 50 + 62.5])
    assert np.allclose(y, [25, 25, 25 - 31.25])


@pytest.mark.parametrize("seed", [1, pytest.param(4, marks=pytest.mark.slow)])
def test_random_pose_with_distortion_and_noise_is_mapped_below_a_quarter_pixel(seed):
    camera = random_rig(seed, (300, 480), (150, 240))
    result = align(camera.display, camera)
    error = true_error_px(camera, result.transport)
    assert np.median(error) < 0.05  # camera px; the promise is 0.25
    assert np.quantile(error, 0.95) < 0.15
    x, y = np.meshgrid(np.arange(240) + 0.5, np.arange(150) + 0.5)
    x, y = camera.display_positions(x, y)
    inside = (x >= 0) & (x < 480) & (y >= 0) & (y < 300)
    assert (result.transport.mask == inside).mean() > 0.995
    report = result.report()
    assert report["alignment"]["median_px"] < 0.1
    assert report["warnings"] == []


def test_clipped_captures_are_told():
    camera = replace(random_rig(1, (200, 320), (100, 160)), exposure_ev=1.5)
    result = align(camera.display, camera)
    assert result.report()["warnings"] == ["the screen's green clips the camera, which moves edges: expose less"]


def test_a_camera_with_an_isp_and_a_rotated_one_are_mapped_too():
    from ispkit.isp.recipe import preset

    camera = random_rig(3, (160, 256), (120, 120), isp=preset("neutral"))
    camera = replace(camera, pose=replace(camera.pose, roll_deg=88.0, distance=1.6 * camera.lens.focal))
    result = align(camera.display, camera)
    assert np.median(true_error_px(camera, result.transport)) < 0.1


def test_a_linear_ramp_stays_itself_and_fine_patterns_average_out():
    transport = affine_map()
    x, y = np.meshgrid(np.arange(150) + 0.5, np.arange(100) + 0.5)
    ramp = torch.from_numpy((0.002 * x + 0.003 * y + 0.1).astype(np.float32))[None]
    target = transport.target_on_camera(ramp)[0].numpy()
    expected = 0.002 * transport.positions[0] + 0.003 * transport.positions[1] + 0.1
    inner = transport.mask & (transport.positions.min(0) > 3) & (transport.positions[1] < 96)
    inner &= transport.positions[0] < 146
    assert np.abs(target - expected)[inner].max() < 1e-5
    assert (target[~transport.mask] == 0).all()
    checker = torch.from_numpy(((x + y).astype(int) % 2).astype(np.float32))[None]
    assert np.abs(transport.target_on_camera(checker)[0].numpy() - 0.5)[inner].max() < 0.05
    with pytest.raises(ShapeError, match=r"\(C, 100, 150\)"):
        transport.target_on_camera(ramp[:, :50])


@pytest.mark.parametrize("roll_deg", [30.0, -70.0])
def test_footprints_turn_with_the_camera(roll_deg):
    # The mean of x y over a square turned about its center is that of the center; over its mirror image it is not.
    cos, sin = 6 * np.cos(np.radians(roll_deg)), 6 * np.sin(np.radians(roll_deg))
    x, y = np.meshgrid(np.arange(31) - 15.0, np.arange(21) - 10.0)
    positions = np.stack([150 + cos * x - sin * y, 140 + sin * x + cos * y]).astype(np.float32)
    transport = LightTransport(positions, np.ones(x.shape, bool), (280, 300), affine_map().alignment)
    xs, ys = np.meshgrid(np.arange(300) - 149.5, np.arange(280) - 139.5)  # linear interpolation of x y is exact
    target = transport.target_on_camera(torch.from_numpy(xs * ys)[None])[0].numpy()
    assert np.abs(target - (positions[0] - 150.0) * (positions[1] - 140.0)).max() < 0.02


def test_large_footprints_are_averaged():
    transport = affine_map(scale=20.0, camera=(30, 40), display=(700, 900))
    noise = torch.rand(1, 700, 900, generator=torch.Generator().manual_seed(0))
    target = transport.target_on_camera(noise)[0][torch.from_numpy(transport.mask)]
    assert abs(float(target.mean()) - 0.5) < 0.01
    assert float(target.std()) < 0.03  # about 0.29 / 20 of independent pixels, more for the linear filter


def test_the_target_is_what_the_camera_sees():
    even = Sensor(vignetting=(0.0,) * 5)
    camera = replace(random_rig(2, (240, 400), (120, 200)), iso=100.0, sensor=even)
    transport = align(camera.display, camera).transport
    coarse = torch.rand(1, 1, 12, 20, generator=torch.Generator().manual_seed(3))
    picture = torch.nn.functional.interpolate(coarse, (240, 400), mode="bicubic")[0].clamp(0, 1)
    camera.display.show(picture.expand(3, -1, -1))
    light = camera.display.light()
    blurred = transport.target_on_camera(light)[1]
    seen = torch.from_numpy(green_light(camera.capture()))
    inner = torch.from_numpy(transport.mask)
    inner[:10] = inner[-10:] = inner[:, :10] = inner[:, -10:] = False
    correlation = torch.corrcoef(torch.stack([seen[inner], blurred[inner]]))[0, 1]
    assert float(correlation) > 0.995


def test_saved_maps_come_back_and_others_are_refused(tmp_path):
    transport = affine_map()
    transport.save(tmp_path / "map.npz")
    again = LightTransport.load(tmp_path / "map.npz")
    assert np.array_equal(again.positions, transport.positions)
    assert np.array_equal(again.mask, transport.mask)
    assert (again.display_size, again.alignment) == (transport.display_size, transport.alignment)
    (tmp_path / "torn.npz").write_bytes((tmp_path / "map.npz").read_bytes()[:300])
    np.savez(tmp_path / "other.npz", a=np.zeros(3))
    for name in ("torn.npz", "other.npz", "absent.npz"):
        with pytest.raises(FileError, match="is no map of `ispkit rig align`"):
            LightTransport.load(tmp_path / name)


def test_overlay_shows_both_and_the_grid():
    transport = affine_map()
    picture = torch.full((3, 100, 150), 0.5)
    frame = picture_frame(np.full((40, 60, 3), 0.5))
    made = overlay(transport, picture, frame)
    assert made.shape == (40, 60, 3)
    lines = (made != made[..., :1]).any(-1)
    assert 0.05 < lines[transport.mask].mean() < 0.6
    gray = made[transport.mask & ~lines][:, 0].astype(int)
    assert gray.max() - gray.min() <= 1  # capture and target agree in exposure


def test_the_grid_between_pixels_takes_no_light():
    means = []
    for fill in (1.0, 0.6):
        display = SimulatedDisplay((30, 40), black_level=0.0, fill=fill)
        display.show(torch.ones(3, 30, 40))
        camera = SimulatedCamera(display, (30, 40), Pose(distance=0.8), exposure_ev=-2.0, iso=1e-3, ambient=0.0)
        means.append(green_light(camera.capture()).mean())
    assert means[1] == pytest.approx(means[0], rel=0.02)


def test_what_the_rays_were_traced_for_stays():
    camera = random_rig(0, (40, 60), (20, 30))
    with pytest.raises(FrozenInstanceError):
        camera.pose = Pose()
    with pytest.raises(AttributeError):
        camera.display.fill = 0.5
    first, again = camera.capture(), camera.capture()
    assert not torch.equal(first.data, again.data)  # each capture has its own noise
    assert torch.equal(replace(camera).capture().data, first.data)  # another camera begins anew
    assert not torch.equal(replace(camera, pose=Pose(roll_deg=90)).capture().data, first.data)


def test_pictures_are_checked_before_they_are_shown():
    display = SimulatedDisplay((20, 30))
    display.show(torch.ones(3, 10, 12))
    assert display.codes[5:15, 9:21].min() == 255
    assert display.codes.sum() == 10 * 12 * 3 * 255
    with pytest.raises(ShapeError, match="20x40 pixels, the simulated screen shows 20x30"):
        display.show(np.zeros((20, 40, 3), np.uint8))
    with pytest.raises(ShapeError, match="a screen shows one picture"):
        as_codes(torch.zeros(20, 30))
    with pytest.raises(ParamError, match="did you mean 'display-p3'"):
        SimulatedDisplay(primaries="display_p3")


def test_green_of_a_mosaic_is_as_sharp_on_every_site():
    camera = SimulatedCamera(SimulatedDisplay((40, 40)), (40, 40), Pose(distance=1.0), Lens(1.0), iso=1e-3, ambient=0.0)
    camera.display.show(
        torch.tensor([0.0, 1.0, 0.0])[:, None, None] * (torch.arange(40) >= 20).float().expand(3, 40, 40)
    )
    light = green_light(camera.capture())
    even, odd = light[10:30:2, 15:25].mean(0), light[11:31:2, 15:25].mean(0)
    assert np.abs(even - odd).max() < 0.02 * light.max()
    encoded = srgb_encode(torch.linspace(0, 1, 12).expand(3, 4, 12)).permute(1, 2, 0).numpy()
    assert np.allclose(green_light(picture_frame(encoded)), np.linspace(0, 1, 12), atol=1e-5)
