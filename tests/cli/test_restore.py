"""`ispkit restore`: every kind of finished picture through a net that reads pictures."""

from __future__ import annotations

import json
import os

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image
from torch import nn

from ispkit.core.errors import DomainError, ShapeError
from ispkit.core.frame import Domain
from ispkit.io.picture_facts import picture_facts
from ispkit.io.pictures import Look, read_picture, write_picture
from ispkit.isp.learned.adapters import PackedAdapter, PictureAdapter
from ispkit.isp.learned.catalog import build
from ispkit.isp.learned.learned_isp import LearnedISP
from ispkit.isp.learned.part import Part
from ispkit.isp.learned.restore import restore_picture
from ispkit.isp.learned.tiles import Execution
from ispkit.isp.learned.weights import Card, save_learned
from ispkit.metrics.niqe import NiqeModel
from ispkit.nets.picture_net import PictureNet
from ispkit.ops.luma import luminance

pytest.importorskip("safetensors")

CARD = Card("unet-rgb", {"preset": "small", "channels": [4, 6, 8]})


class Negative(PictureNet):
    """1 - x with its channels turned, so that place, order and range can be seen."""

    inputs, multiple = 3, 4

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(()))

    def forward(self, x, pooled=None):
        return 1 - x.flip(1) * self.weight


def isp_of(net):
    return LearnedISP({"isp": Part(net, PictureAdapter(reads=Domain.DISPLAY_RGB))}).eval().requires_grad_(False)


def shaken(isp, seed=0):
    """Weights that do something: nets of pictures may begin as the identity."""
    chance = torch.Generator().manual_seed(seed)
    for weight in isp.parameters():
        weight.data += 0.05 * torch.randn(weight.shape, generator=chance)
    return isp.eval().requires_grad_(False)


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    """A small net of pictures that changes them."""
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("weights") / "net.safetensors"
    save_learned(path, shaken(build(CARD.name, **CARD.options)), CARD)
    os.utime(path, (1, 1))  # older than every picture, so that outputs count as fresh
    return path


def scene(height=40, width=56, seed=0, gray=False):
    coarse = torch.rand(1, 1 if gray else 3, 5, 7, generator=torch.Generator().manual_seed(seed))
    big = nn.functional.interpolate(coarse, size=(height, width), mode="bilinear")
    return big.expand(1, 3, -1, -1)[0].permute(1, 2, 0).contiguous().numpy()


def expected(weights, path, bits):
    """What the net alone makes of a file, in codes."""
    from ispkit.isp.learned.weights import load_learned

    made = restore_picture(read_picture(path).pixels, load_learned(weights)[0])
    return np.floor(np.clip(made, 0, 1) * (2**bits - 1) + 0.5)


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(height=st.integers(1, 150), width=st.integers(1, 150), gray=st.booleans(), tile=st.sampled_from([None, 16, 50]))
def test_any_size_keeps_every_pixel_in_its_place(height, width, gray, tile):
    pixels = np.random.default_rng(height * 151 + width).random((height, width, 1 if gray else 3), np.float32)
    pixels = np.ascontiguousarray(np.broadcast_to(pixels, (height, width, 3)))
    before = pixels.copy()
    made = restore_picture(pixels, isp_of(Negative()), execution=Execution(tile=tile or "auto"))
    np.testing.assert_allclose(made, 1 - pixels[..., ::-1], atol=1e-6)
    assert np.array_equal(pixels, before)


def test_tiles_are_the_whole_picture_and_gray_stays_gray():
    torch.manual_seed(0)
    isp = shaken(build("dir", preset="small", width=8, down=2, latent=8, features=8))
    pixels = scene(150, 130)
    whole = restore_picture(pixels, isp, execution=Execution(tile="whole"))
    np.testing.assert_allclose(restore_picture(pixels, isp, execution=Execution(tile=32)), whole, atol=2e-5)
    gray = scene(150, 130, gray=True)
    made = restore_picture(gray, isp)
    assert np.ptp(made, axis=2).max() == 0
    same = luma_made(isp, gray)
    np.testing.assert_allclose(made[..., 0], same, atol=1e-6)


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("dir", {"width": 4, "down": 4, "latent": 4, "features": 4}),
        ("auto-encoder", {"width": 4, "down": 4, "latent": 4}),
        ("nafnet-rgb", {"width": 4}),
        ("unet-rgb", {"channels": [4, 4, 4]}),
    ],
)
def test_nets_of_the_catalog_restore_the_tiniest_pictures(name, options):
    torch.manual_seed(0)
    isp = shaken(build(name, preset="small", **options))
    for size in ((1, 1), (1, 200), (17, 3), (65, 63)):
        made = restore_picture(scene(*size), isp)
        assert made.shape == (*size, 3)
        assert np.isfinite(made).all()


def luma_made(isp, gray):
    """The luma of what the net makes of a gray picture."""
    from ispkit.core.frame import Frame
    from ispkit.core.meta import CameraMeta

    data = torch.from_numpy(gray).permute(2, 0, 1)[None]
    made = isp.render(Frame(data, Domain.DISPLAY_RGB, CameraMeta.make("RGGB", gray.shape[:2])))
    return luminance(made.data)[0, 0].numpy()


def test_isps_of_raw_and_wrong_shapes_are_refused():
    torch.manual_seed(0)
    net = build("nafnet", preset="small", width=4).eval()
    assert isinstance(next(iter(net.named_parts.values())).adapter, PackedAdapter)
    with pytest.raises(DomainError, match="this ISP reads raw; one that restores reads and writes display_rgb"):
        restore_picture(scene(), net)
    for wrong in (scene()[..., 0], (255 * scene()).astype(np.uint8)):
        with pytest.raises(ShapeError, match=r"\(H, W, 3\) of numbers in \[0, 1\]"):
            restore_picture(wrong, isp_of(Negative()))


@pytest.mark.parametrize(
    ("name", "bits", "gray", "space"),
    [
        ("a.png", 8, False, "srgb"),
        ("a.png", 16, False, "display-p3"),
        ("a.PNG", 16, True, "srgb"),
        ("a.tif", 16, False, "adobe-rgb"),
        ("a.tiff", 32, False, "srgb"),
        ("a.jpg", 8, False, "srgb"),
        ("a.jpeg", 8, True, "srgb"),
    ],
)
def test_depth_format_profile_and_exif_are_the_inputs(cli, weights, tmp_path, name, bits, gray, space):
    path, pixels = tmp_path / name, scene(gray=gray)
    taken = {"Make": "Camera", "DateTimeOriginal": "2024:05:06 07:08:09", "ExposureTime": 0.01, "Software": "Other"}
    write_picture(path, pixels[..., 0] if gray else pixels, bits=bits, look=Look(space, exif=taken))
    before = path.read_bytes()
    code, out, err = cli("restore", path, "--isp", weights)
    assert (code, "written" in out) == (0, True), err
    target = path.with_stem("a_restored")
    made, read = read_picture(target), read_picture(path)
    assert (made.bits, made.color_space, made.pixels.shape) == (bits, read.color_space, read.pixels.shape)
    facts = picture_facts(target)
    assert (facts["Make"], facts["DateTimeOriginal"]) == ("Camera", "2024:05:06 07:08:09")
    assert facts["ExposureTime"] == pytest.approx(0.01)
    assert "Software" not in facts
    assert path.read_bytes() == before
    if name.endswith(("png", "tif", "PNG")):
        assert np.array_equal(np.rint(made.pixels * (2**bits - 1)), expected(weights, path, bits))
    else:
        assert np.abs(made.pixels - expected(weights, path, 16) / 65535).mean() < 0.02


def test_exif_orientation_is_applied_once(cli, weights, tmp_path):
    path = tmp_path / "turned.jpg"
    exif = Image.Exif()
    exif[274] = 6
    Image.fromarray((scene(40, 56) * 255).astype(np.uint8)).save(path, quality=95, exif=exif.tobytes())
    assert cli("restore", path, "--isp", weights, "-o", tmp_path / "up.png")[0] == 0
    made = read_picture(tmp_path / "up.png")
    assert made.pixels.shape == (56, 40, 3)
    assert np.array_equal(np.rint(made.pixels * 255), expected(weights, path, 8))


def folder_of(place):
    """Three pictures, one of them in a folder within, a text, and a file that is no picture."""
    (place / "in" / "deep").mkdir(parents=True)
    for i, name in enumerate(("a.png", "a.jpg", "deep/b.tif")):
        write_picture(place / "in" / name, scene(seed=i), bits=8)
    (place / "in" / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\nno more")
    (place / "in" / "notes.txt").write_text("none")
    return place / "in"


def test_a_folder_goes_on_after_a_bad_picture_and_is_gone_on_with(cli, weights, tmp_path):
    source, out = folder_of(tmp_path), tmp_path / "out"
    args = ("restore", source, "--isp", weights, "-o", out, "--compare", "--json")
    code, text, _ = cli(*args)
    rows = json.loads(text)
    assert code == 2
    assert [bool(row["error"]) for row in rows] == [False, False, True, False]
    assert "broken.png" in rows[2]["error"]
    wrote = {p.relative_to(out).as_posix() for p in out.rglob("*") if p.is_file()}
    assert wrote == {"a.png", "a.jpg", "deep/b.tif", "a_compare.png", "a_compare.jpg", "deep/b_compare.tif"}
    both = read_picture(out / "a_compare.png").pixels
    assert np.array_equal(both[:, :56], read_picture(source / "a.png").pixels)
    assert np.array_equal(both[:, -56:], read_picture(out / "a.png").pixels)

    (source / "broken.png").unlink()
    os.utime(source / "a.jpg", (2e9, 2e9))  # changed since
    rows = json.loads(cli(*args)[1])
    assert {row["restored"].rsplit("/", 1)[1]: row["skipped"] for row in rows} == {
        "a.jpg": False, "a.png": True, "b.tif": True
    }  # fmt: skip
    assert not any(row["skipped"] for row in json.loads(cli(*args, "--force")[1]))


def test_what_it_wrote_beside_the_pictures_is_no_input(cli, weights, tmp_path):
    write_picture(tmp_path / "a.png", scene())
    write_picture(tmp_path / "before_compare.png", scene(seed=1))  # somebody else's name
    for _ in range(2):
        rows = json.loads(cli("restore", tmp_path, "--isp", weights, "--compare", "--json")[1])
        assert [row["picture"].rsplit("/", 1)[1] for row in rows] == ["a.png", "before_compare.png"]
    inside = json.loads(cli("restore", tmp_path, "--isp", weights, "-o", tmp_path / "out", "--json")[1])
    again = json.loads(cli("restore", tmp_path, "--isp", weights, "-o", tmp_path / "out", "--json")[1])
    assert len(inside) == len(again) == 2


def test_pictures_of_one_name_get_numbers(cli, weights, tmp_path):
    for i in range(2):
        (tmp_path / str(i)).mkdir()
        write_picture(tmp_path / str(i) / "a.png", scene(seed=i))
    rows = json.loads(cli("restore", tmp_path / "0/a.png", tmp_path / "1/a.png", tmp_path / "0/a.png",
                          "--isp", weights, "-o", tmp_path / "out", "--json")[1])  # fmt: skip
    assert [row["restored"].rsplit("/", 1)[1] for row in rows] == ["a.png", "a_2.png"]


def test_inputs_are_never_overwritten(cli, weights, tmp_path):
    write_picture(tmp_path / "a.png", scene())
    (tmp_path / "link.png").symlink_to(tmp_path / "a.png")
    before = (tmp_path / "a.png").read_bytes()
    for out in ("a.png", "link.png", "."):
        code, _, err = cli("restore", tmp_path / "a.png", "--isp", weights, "-o", tmp_path / out, "--force")
        assert (code, "is an input of this command" in err) == (2, True), err
    assert (tmp_path / "a.png").read_bytes() == before


def test_niqe_before_and_after(cli, weights, tmp_path):
    grain = np.random.default_rng(0).normal(0, 0.05, (200, 200, 3)).astype(np.float32)
    write_picture(tmp_path / "a.png", np.clip(scene(200, 200) + grain, 0, 1))
    write_picture(tmp_path / "small.png", scene())
    NiqeModel(torch.zeros(36).double(), torch.eye(36).double()).save(tmp_path / "model.npz")
    args = ("restore", tmp_path / "a.png", tmp_path / "small.png", "--isp", weights, "-o", tmp_path / "out")
    rows = json.loads(cli(*args, "--score", tmp_path / "model.npz", "--json")[1])
    assert rows[0]["niqe_before"] > 0
    assert rows[0]["niqe_after"] > 0
    assert rows[1]["niqe_before"] is None
    code, out, _ = cli(*args, "--score", tmp_path / "model.npz")
    assert (code, f"{rows[0]['niqe_after']:.2f}" in out, "there already" in out) == (0, True, True)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda p: p.unlink(), "no such file"),
        (lambda p: p.write_text("x"), "a picture is PNG, TIFF or JPEG"),
        (lambda p: write_picture(p, scene(), bits=16, look=Look("srgb", linear=True)), "holds linear light"),
        (lambda p: Image.fromarray(np.zeros((8, 8, 4), np.uint8)).save(p), "transparent"),
    ],
)
def test_pictures_that_cannot_be_restored_say_why(cli, weights, tmp_path, change, told):
    path = tmp_path / "a.png"
    write_picture(path, scene())
    change(path)
    code, _, err = cli("restore", path, "--isp", weights)
    assert (code, told.lower() in err.lower(), len(err.strip().splitlines())) == (2, True, 1), err
    assert not (tmp_path / "a_restored.png").exists()


@pytest.mark.parametrize(
    ("extra", "told"),
    [
        (["--device", "tpu"], "--device 'tpu' is unknown; use cpu or cuda"),
        (["-o", "x.webp"], ".webp is not written"),
        (["-o", "x.png"], "names one picture, but 2 were given"),
        (["--tile", "3"], "--tile"),
        (["--score", "none.npz"], "no such file"),
    ],
)
def test_wrong_requests_are_told_before_the_work(cli, weights, tmp_path, extra, told):
    for name in ("a.png", "b.png"):
        write_picture(tmp_path / name, scene())
    code, _, err = cli("restore", tmp_path, "--isp", weights, *extra)
    assert (code, told in err, len(list(tmp_path.iterdir()))) == (2, True, 2), err


def test_an_isp_of_raw_and_an_empty_folder_are_refused_with_a_remedy(cli, weights, tmp_path):
    torch.manual_seed(0)
    options = {"preset": "small", "depth": 2, "width": 8, "high": 2}
    save_learned(tmp_path / "raw.safetensors", build("deepisp", **options), Card("deepisp", options))
    write_picture(tmp_path / "a.png", scene())
    code, _, err = cli("restore", tmp_path / "a.png", "--isp", tmp_path / "raw.safetensors")
    assert (code, "ispkit render RAW --isp" in err) == (2, True), err
    (tmp_path / "empty").mkdir()
    code, _, err = cli("restore", tmp_path / "empty", "--isp", weights)
    assert (code, "a folder without pictures" in err) == (2, True), err


def test_help_has_examples(cli):
    code, out, _ = cli("restore", "--help")
    assert (code, "ispkit restore holiday/" in out, "--compare" in out) == (0, True, True)
    assert "restore" in cli("--help")[1]


def test_facts_of_damaged_files_are_none(tmp_path):
    (tmp_path / "a.jpg").write_bytes(b"\xff\xd8\xff\xe1\x00\x10Exif\0\0II*\0")
    assert picture_facts(tmp_path / "a.jpg") == {}
    (tmp_path / "a.tif").write_bytes(b"II*\0\xff\xff\xff\xff")
    assert picture_facts(tmp_path / "a.tif") == {}
