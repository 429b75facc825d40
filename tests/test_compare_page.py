"""The page of `ispkit compare`: its numbers, that it is whole and safe, and what a browser does with it."""

import base64
import io
import json
import re
import warnings

import numpy as np
import pytest
import torch
import typer
from PIL import Image
from typer.testing import CliRunner

from browser import EXECUTABLE, Browser
from ispkit.cli.compare import compare as compare_command
from ispkit.core.errors import FileError, ParamError, ShapeError
from ispkit.io.pictures import Look, write_picture
from ispkit.metrics import METRICS
from ispkit.report.compare import Options, better_of, codes, compare_pictures
from ispkit.report.compare_page import write_page
from ispkit.report.load import decode_for, load_srgb


def noisy(seed: int, sigma: float, size=(176, 180)) -> np.ndarray:
    y, x = np.mgrid[: size[0], : size[1]] / 176
    scene = np.stack([0.5 + 0.4 * np.sin(9 * x), 0.3 + 0.5 * y, 0.5 + 0.3 * np.cos(30 * x * y)], -1)
    noise = np.random.default_rng(seed).normal(0, sigma, scene.shape)
    return np.clip(scene + noise, 0, 1).astype(np.float32)


def test_values_are_those_of_the_metrics_and_name_the_better():
    truth, a, b = noisy(0, 0), noisy(1, 0.02), noisy(2, 0.1)
    result = compare_pictures(a, b, truth)
    rows = {row["name"]: row for row in result["metrics"]}
    assert list(rows) == [m.name for m in METRICS.values() if not m.needs_model]
    tensors = [torch.from_numpy(p).permute(2, 0, 1)[None] for p in (a, b, truth)]
    for name, row in rows.items():
        direct = [float(METRICS[name](t, tensors[2], data_range=1.0)) for t in tensors[:2]]
        assert [row["values"][k] for k in ("A", "B")] == pytest.approx(direct, rel=1e-6)
        assert better_of(row) == "A"
    assert result["against"] == "R"
    assert (result["width"], result["height"]) == (180, 176)
    json.dumps(result, allow_nan=False)


def test_without_a_reference_b_is_judged_by_a_and_identical_pictures_stay_json():
    a = noisy(0, 0, (60, 70))
    result = compare_pictures(a, a, options=Options(metrics=["psnr", "ms_ssim", "delta_e00"]))
    psnr, ms_ssim, delta = result["metrics"]
    assert psnr["values"] == {"B": "inf"}
    assert ms_ssim["values"] == {"B": None}
    assert "161x161" in ms_ssim["skipped"]
    assert delta["values"] == {"B": 0.0}
    assert result["difference_8bit"] == {"B": {"largest": 0, "share_of_pixels": 0.0}}
    assert better_of(psnr) is None
    changed = a.copy()
    changed[3, 4, 1] += 12 / 255
    gap = compare_pictures(a, changed)["difference_8bit"]["B"]
    assert gap == {"largest": 12, "share_of_pixels": pytest.approx(1 / 4200)}


def test_what_cannot_be_compared_is_refused_with_the_sizes():
    with pytest.raises(ShapeError, match="A is 180x176, B is 180x176, R is 170x176"):
        compare_pictures(noisy(0, 0), noisy(0, 0), noisy(0, 0, (176, 170)))
    with pytest.raises(ShapeError, match="picture B"):
        compare_pictures(noisy(0, 0), noisy(0, 0)[..., 0])
    with pytest.raises(ParamError, match="did you mean 'ssim'"):
        compare_pictures(noisy(0, 0), noisy(0, 0), options=Options(metrics=["sim"]))
    with pytest.raises(ParamError, match="needs weights"):
        compare_pictures(noisy(0, 0), noisy(0, 0), options=Options(metrics=["lpips"]))


NASTY = "</script><img src=x onerror=alert(1)>\"'&@@SCRIPT@@.png"


def page_of(tmp_path, pictures: dict[str, np.ndarray], **names: str):
    result = compare_pictures(*pictures.values())
    write_page(tmp_path / "page.html", pictures, result, names=names)
    return tmp_path / "page.html"


def test_page_holds_exact_pictures_and_nothing_from_elsewhere(tmp_path):
    pictures = {"A": noisy(1, 0.02, (40, 50)), "B": noisy(2, 0.1, (40, 50)), "R": noisy(0, 0, (40, 50))}
    text = page_of(tmp_path, pictures, A=NASTY, B="b.png", R="r.png").read_text()
    stored = re.findall(r'src="data:image/png;base64,([^"]+)"', text)
    for data, picture in zip(stored, pictures.values(), strict=True):
        decoded = np.asarray(Image.open(io.BytesIO(base64.b64decode(data))))
        np.testing.assert_array_equal(decoded, codes(picture))
    assert "default-src 'none'" in text
    assert not re.search(r"https?://|//cdn|@import|url\(", text)
    assert text.count("<script") == text.count("</script>") == 1
    assert "<img src=x" not in text
    assert text.count("&lt;/script&gt;") == 3  # alt, data-name, table
    assert "@@SCRIPT@@.png" in text
    assert not re.search(r"@@[A-Z]+@@(?!\.png)", text)


def test_page_is_written_whole_or_not_at_all(tmp_path):
    pictures = {"A": noisy(1, 0.02, (40, 50)), "B": noisy(2, 0.1, (40, 50))}
    result = compare_pictures(*pictures.values())
    with pytest.raises(FileError, match="folder"):
        write_page(tmp_path, pictures, result)
    with pytest.raises(ShapeError, match="A is 50x40, B is 50x39"):
        write_page(tmp_path / "x.html", pictures | {"B": pictures["B"][:39]}, result)
    assert list(tmp_path.iterdir()) == []


def test_other_color_spaces_are_brought_to_srgb(tmp_path):
    with warnings.catch_warnings():  # it misses a plotting library that nobody needs
        warnings.simplefilter("ignore")
        import colour

    srgb = np.random.default_rng(0).uniform(0, 1, (6, 7, 3))
    for space, other in (("display-p3", "Display P3"), ("adobe-rgb", "Adobe RGB (1998)"), ("prophoto-rgb", "ROMM RGB")):
        encoded = colour.RGB_to_RGB(srgb, "sRGB", other, "Bradford", apply_cctf_decoding=True, apply_cctf_encoding=True)
        write_picture(tmp_path / "p.png", np.clip(encoded, 0, 1), bits=16, look=Look(color_space=space))
        np.testing.assert_allclose(load_srgb(tmp_path / "p.png"), srgb, atol=2e-3)
        decoded = decode_for(torch.from_numpy(np.clip(encoded, 0, 1)), space).numpy()
        truth = colour.RGB_COLOURSPACES[other].cctf_decoding(np.clip(encoded, 0, 1))
        np.testing.assert_allclose(decoded, truth, atol=2e-6)
    write_picture(tmp_path / "linear.tif", colour.cctf_decoding(srgb, "sRGB"), look=Look(linear=True))
    np.testing.assert_allclose(load_srgb(tmp_path / "linear.tif"), srgb, atol=2e-4)


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pictures")
    for name, picture in {
        "a": noisy(1, 0.02),
        "b": noisy(2, 0.1),
        "r": noisy(0, 0),
        "small": noisy(0, 0, (40, 50)),
    }.items():
        write_picture(folder / f"{name}.png", picture, bits=16)
    return folder


def run(*words):
    app = typer.Typer()
    app.command()(compare_command)
    return CliRunner().invoke(app, [str(w) for w in words])


def test_command_prints_a_table_json_and_writes_the_page(files, tmp_path):
    a, b, r = (files / f"{n}.png" for n in "abr")
    shown = run(a, b, "--ref", r, "--metrics", "psnr,ssim")
    assert shown.exit_code == 0, shown.exception
    assert "psnr" in shown.output
    assert "higher" in shown.output
    answer = run(a, b, "--json", "--out", tmp_path / "page.html", "--metrics", "psnr")
    data = json.loads(answer.stdout)
    assert data["pictures"] == {"A": str(a), "B": str(b)}
    assert data["metrics"][0]["values"]["B"] == pytest.approx(20, abs=2)
    assert "a.png" in (tmp_path / "page.html").read_text()


def test_command_with_models(files, shared):
    a, b = files / "a.png", files / "b.png"
    answer = run(a, b, "--json", "--metrics", "psnr", "--niqe-model", shared / "iqa_params" / "niqe_pris_params.npz")
    assert answer.exit_code == 0
    assert isinstance(run(a, b, "--lpips", "alex").exception, ParamError)
    assert isinstance(run(a, b, "--lpips", "alex,none.pth,none.pth").exception, FileError)


def test_command_refuses_wrong_input_with_one_error(files, tmp_path):
    a = files / "a.png"
    assert isinstance(run(a, files / "small.png").exception, ShapeError)
    assert isinstance(run(a, a, "--metrics", "psnrr").exception, ParamError)
    assert isinstance(run(a, tmp_path / "none.png").exception, FileError)
    (tmp_path / "text.png").write_text("hello")
    assert isinstance(run(a, tmp_path / "text.png").exception, FileError)


def counted(blue: int) -> np.ndarray:
    """A 30x40 picture whose red and green say which pixel it is."""
    y, x = np.mgrid[:30, :40]
    return (np.stack([x * 6, y * 8, np.full_like(x, blue)], -1) / 255).astype(np.float32)


def expected(picture: np.ndarray, shape, zoom: int, x=20.0, y=15.0) -> np.ndarray:
    """The picture, each pixel `zoom` device pixels wide, its point (x, y) in the middle, on neutral gray."""
    canvas = np.full(shape, 0x30, np.uint8)
    big = codes(picture).repeat(zoom, 0).repeat(zoom, 1)
    top, left = int(np.floor(shape[0] / 2 - y * zoom + 0.5)), int(np.floor(shape[1] / 2 - x * zoom + 0.5))
    y0, x0, y1, x1 = max(top, 0), max(left, 0), min(top + big.shape[0], shape[0]), min(left + big.shape[1], shape[1])
    canvas[y0:y1, x0:x1] = big[y0 - top : y1 - top, x0 - left : x1 - left]
    return canvas


class Viewer(Browser):
    """The page in a browser: what it shows."""

    def show(self, page, size=(640, 480), link=""):
        self.open(f"{page.as_uri()}{link}", size)
        assert self.run("document.body.dataset.state") == "ready"
        loaded = self.run("performance.getEntriesByType('resource').map((e) => e.name)")
        assert [name for name in loaded if not name.startswith("data:")] == []

    def canvas(self) -> np.ndarray:
        data = self.run("document.getElementById('view').toDataURL('image/png')").split(",")[1]
        return np.asarray(Image.open(io.BytesIO(base64.b64decode(data))).convert("RGB"))

    def texts(self, selector: str) -> list[str]:
        nodes = f"[...document.querySelectorAll({json.dumps(selector)})]"
        return self.run(f"{nodes}.filter((n) => !n.hidden).map((n) => n.textContent)")

    def tags(self) -> list[str]:
        return self.texts(".tag")

    def at(self, x: float, y: float) -> tuple[float, float]:
        """A place of the canvas, in shares of its size."""
        box = self.run("(({left, top, width, height}) => [left, top, width, height])(view.getBoundingClientRect())")
        return box[0] + x * box[2], box[1] + y * box[3]


@pytest.fixture(scope="module")
def viewers(tmp_path_factory):
    """A browser for each device pixel ratio, started when first asked for."""
    if EXECUTABLE is None:
        pytest.skip("needs Chromium")
    started: dict[float, Viewer] = {}

    def viewer_of(ratio: float) -> Viewer:
        if ratio not in started:
            started[ratio] = Viewer(tmp_path_factory.mktemp("profile"), ratio)
        return started[ratio]

    yield viewer_of
    for viewer in started.values():
        viewer.close()


@pytest.fixture
def viewer(viewers):
    return viewers(1)


@pytest.mark.parametrize("ratio", [1, 2, 1.5])
def test_browser_shows_whole_pixels_at_every_zoom_and_pixel_ratio(viewers, tmp_path, ratio):
    viewer, a, b = viewers(ratio), counted(40), counted(200)
    viewer.show(page_of(tmp_path, {"A": a, "B": b}, A="a.png", B="b.png"))
    assert viewer.run("devicePixelRatio") == ratio
    viewer.press("a")
    shape = viewer.canvas().shape
    assert shape[1] == 640 * ratio
    fit = min(shape[1] // 40, shape[0] // 30)
    np.testing.assert_array_equal(viewer.canvas(), expected(a, shape, fit))
    for zoom in (1, 2, 4, 8):
        viewer.press(str(zoom))
        np.testing.assert_array_equal(viewer.canvas(), expected(a, shape, zoom), err_msg=f"{zoom}00 %")
        assert viewer.texts("#zoom") == [f"{zoom}00 %"]
        assert viewer.tags() == ["A  a.png"]
    viewer.click("[data-zoom='2']")
    viewer.press("b")
    np.testing.assert_array_equal(viewer.canvas(), expected(b, shape, 2))

    viewer.press("w")
    middle, line, shown = shape[1] // 2, 4, viewer.canvas()
    np.testing.assert_array_equal(shown[:, : middle - line], expected(a, shape, 2)[:, : middle - line])
    np.testing.assert_array_equal(shown[:, middle + line :], expected(b, shape, 2)[:, middle + line :])
    assert viewer.tags() == ["A  a.png", "B  b.png"]

    viewer.press("s")
    width = (shape[1] - 2) // 2
    half, shown = (shape[0], width, 3), viewer.canvas()
    np.testing.assert_array_equal(shown[:, :width], expected(a, half, 2))
    np.testing.assert_array_equal(shown[:, width + 2 : 2 * width + 2], expected(b, half, 2))


def test_browser_shows_the_difference_with_gain(viewer, tmp_path):
    a, b = counted(40), counted(41)
    b[10, 20] = (0, 1, 0.5)
    viewer.show(page_of(tmp_path, {"A": a, "B": b}), link="#mode=diff&gain=16&zoom=2")
    assert viewer.tags() == ["|A − B| × 16"]
    gap = codes(a).astype(int) - codes(b)
    shape = viewer.canvas().shape
    np.testing.assert_array_equal(viewer.canvas(), expected(np.clip(abs(gap) * 16, 0, 255) / 255, shape, 2))
    viewer.press("]", "]", "[", "g")
    assert viewer.tags() == ["A − B × 32"]
    np.testing.assert_array_equal(viewer.canvas(), expected(np.clip(128 + gap * 32, 0, 255) / 255, shape, 2))


def test_browser_flips_reads_pans_wipes_and_explains(viewer, tmp_path):
    pictures = {"A": counted(40), "B": counted(200), "R": counted(100)}
    page = page_of(tmp_path, pictures, A=NASTY, B="b.png", R="r.png")
    viewer.show(page, size=(1300, 480), link="#mode=diff&gain=4&pair=2&nonsense=1&zoom=-3")
    assert viewer.tags() == ["|B − R| × 4"]
    assert viewer.texts("header [aria-pressed=true]") == ["Difference", "Fit", "Metrics"]
    viewer.press(" ", "4")
    assert viewer.tags() == ["B  b.png"]
    viewer.press(" ")
    assert viewer.tags() == ["R  r.png"]  # the pair of the link
    shape = viewer.canvas().shape

    viewer.move(*viewer.at(0.51, 0.51))
    assert [words.split() for words in viewer.texts("#read > span")] == [
        ["x", "22", "y", "15"],
        ["A", "132", "120", "40"],
        ["B", "132", "120", "200"],
        ["R", "132", "120", "100"],
        ["B−R", "0", "0", "100"],
    ]
    viewer.press("ArrowRight")
    np.testing.assert_array_equal(viewer.canvas(), expected(pictures["R"], shape, 4, x=20 + 64 / 4))
    viewer.press("1", "2", "3")
    x, y = viewer.at(0.5, 0.5)
    viewer.drag((x, y), (x + 32, y - 8))
    np.testing.assert_array_equal(viewer.canvas(), expected(pictures["R"], shape, 2, x=20, y=19))

    viewer.press("w", "f", "p")
    viewer.drag(viewer.at(0.5, 0.5), viewer.at(0.25, 0.5))
    assert viewer.tags() == [f"A  {NASTY}", "B  b.png"]
    fit, cut = min(shape[1] // 40, shape[0] // 30), shape[1] // 4
    np.testing.assert_array_equal(viewer.canvas()[:, : cut - 3], expected(pictures["A"], shape, fit)[:, : cut - 3])
    np.testing.assert_array_equal(viewer.canvas()[:, cut + 3 :], expected(pictures["B"], shape, fit)[:, cut + 3 :])

    viewer.click("[data-mode=side]")
    assert len(viewer.tags()) == 3
    before = int(viewer.texts("#zoom")[0].split()[0])
    viewer.wheel(*viewer.at(0.1, 0.5), -120)
    assert int(viewer.texts("#zoom")[0].split()[0]) > before
    viewer.press("m", "?")
    assert viewer.run("document.body.classList.contains('bare') && document.getElementById('keys').open")


def test_wheel_keeps_the_pixel_under_the_pointer(viewer, tmp_path):
    viewer.show(page_of(tmp_path, {"A": counted(40), "B": counted(200)}), link="#mode=flip&zoom=4")
    place = viewer.at(0.4, 0.6)
    viewer.move(*place)
    before = viewer.run("document.getElementById('read').textContent")
    for turn in (-120, -120, 120):
        viewer.wheel(*place, turn)
    viewer.move(place[0], place[1])
    assert viewer.texts("#zoom") == ["600 %"]
    assert viewer.run("document.getElementById('read').textContent") == before
