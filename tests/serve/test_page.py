"""The page in a real headless Chromium: a file sent and its boxes drawn, a dump, a camera, light and dark."""

from __future__ import annotations

import json
import time

import pytest

pytest.importorskip("fastapi")
pytest.importorskip("uvicorn")

from serve_stand_ins import Corner, Halves, Tint, dump, jpeg

import browser
from ispkit.io.dng_writer import write_dng
from ispkit.isp.catalog import open_isp
from ispkit.serve.dark import Darkness
from ispkit.serve.engine import Engine
from ispkit.serve.run import serving
from ispkit.serve.service import Service

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(browser.EXECUTABLE is None, reason="needs Chromium, which is not installed"),
]
PHONE = (390, 844)


@pytest.fixture(scope="module")
def tab(tmp_path_factory):
    opened = browser.Browser(tmp_path_factory.mktemp("profile"))
    yield opened
    opened.close()


def served(head):
    return serving(
        Service(Engine(open_isp("neutral"), head), darkness=Darkness(), names={"isp": "neutral", "head": "h"})
    )


def wait_for(tab, state):
    deadline = time.monotonic() + 30
    while (found := tab.run("document.body.dataset.state")) != state and time.monotonic() < deadline:
        time.sleep(0.02)
    assert (found, tab.run("document.querySelector('#error').textContent")) == (state, "") or state == "error"


def choose(tab, path):
    document = tab.call("DOM.getDocument")["root"]["nodeId"]
    node = tab.call("DOM.querySelector", nodeId=document, selector="#file")["nodeId"]
    tab.run("document.body.dataset.state = 'waiting'")
    tab.call("DOM.setFileInputFiles", files=[str(path)], nodeId=node)


def click(tab, selector):
    tab.run(f"document.querySelector({json.dumps(selector)}).scrollIntoView({{block: 'center'}})")
    tab.click(selector)


def pixel(tab, x, y):
    return tab.run(f"[...document.querySelector('#canvas').getContext('2d').getImageData({x}, {y}, 1, 1).data]")


def text(tab, selector):
    return tab.run(f"document.querySelector({json.dumps(selector)}).textContent")


def test_a_file_is_sent_and_what_is_seen_is_drawn(tab, tmp_path):
    (tmp_path / "a.jpg").write_bytes(jpeg((90, 90, 90), size=(120, 160)))
    with served(Corner()) as url:
        tab.open(url, PHONE)
        wait_for(tab, "ready")
        choose(tab, tmp_path / "a.jpg")
        wait_for(tab, "done")
        assert text(tab, "#labels li b") == "thing"
        assert text(tab, "#labels li i") == "75 %"
        edge, middle, outside = pixel(tab, 80, 40), pixel(tab, 40, 40), pixel(tab, 120, 100)
        assert middle == outside != edge
        click(tab, "#marks")
        assert pixel(tab, 80, 40) == outside
        tab.run("document.querySelector('#least').value = 80")
        tab.run("document.querySelector('#least').dispatchEvent(new Event('input'))")
        assert tab.run("document.querySelectorAll('#labels li').length") == 0
        assert "ms" in text(tab, "#latency")
        assert tab.run("document.documentElement.scrollWidth") <= PHONE[0]
        assert "160 by 120 pixels: nothing found" in tab.run("document.querySelector('#canvas').ariaLabel")


def test_a_picture_is_made_dark_where_that_is_asked_for(tab, tmp_path):
    (tmp_path / "a.png").write_bytes(jpeg((20, 20, 240), size=(40, 60), kind="PNG"))
    with served(Tint()) as url:
        tab.open(url, PHONE)
        wait_for(tab, "ready")
        assert "simulation" in text(tab, "#dark-says")
        click(tab, "#dark")
        choose(tab, tmp_path / "a.png")
        wait_for(tab, "done")
        assert text(tab, "#labels li b") == "blue"
        assert "lux, ISO" in text(tab, "#latency")


def test_a_dump_is_asked_about_and_a_raw_file_is_not(tab, tmp_path):
    from conftest import make_frame
    from ispkit.core.frame import Domain

    (tmp_path / "a.raw").write_bytes(dump(seed=1))
    write_dng(tmp_path / "a.dng", make_frame(Domain.RAW, (48, 64), batch=1))
    with served(Halves()) as url:
        tab.open(url, (1000, 700))
        wait_for(tab, "ready")
        choose(tab, tmp_path / "a.raw")
        wait_for(tab, "error")
        assert "geometry" in text(tab, "#error")
        assert not tab.run("document.querySelector('#dump').hidden")
        tab.run("document.querySelector('#g-width').value = 16; document.querySelector('#g-height').value = 12")
        tab.run("document.body.dataset.state = 'waiting'")
        click(tab, "#again")
        wait_for(tab, "done")
        assert tab.run("[document.querySelector('#canvas').width, document.querySelector('#canvas').height]") == [
            16,
            12,
        ]
        choose(tab, tmp_path / "a.dng")
        wait_for(tab, "done")
        assert tab.run("document.querySelector('#dump').hidden")
        assert tab.run("[...document.querySelectorAll('#labels b')].map((b) => b.textContent)") == ["right", "left"]
        plain = pixel(tab, 0, 0)
        click(tab, "#marks")
        assert pixel(tab, 0, 0) == plain  # the pixel that is nothing stays bare


CAMERA = """
const canvas = document.createElement('canvas');
[canvas.width, canvas.height] = [320, 240];
const context = canvas.getContext('2d');
setInterval(() => { context.fillStyle = '#e01010'; context.fillRect(0, 0, 320, 240); }, 30);
Object.defineProperty(navigator, 'mediaDevices', { value: { getUserMedia: async () => canvas.captureStream(20) } });
"""


def test_camera_frames_go_on_until_stopped(tab):
    with served(Tint()) as url:
        tab.open(url, PHONE)
        wait_for(tab, "ready")
        tab.run(CAMERA)
        click(tab, "#camera")
        wait_for(tab, "done")
        assert text(tab, "#labels li b") == "red"
        assert "frames a second" in text(tab, "#latency")
        click(tab, "#camera")
        assert tab.run("document.querySelector('#camera').ariaPressed") == "false"
        assert tab.run("document.querySelector('#video').hidden")


def test_everything_has_a_name_and_contrast_in_both_schemes(tab):
    names = """[...document.querySelectorAll('button, input, select, video, canvas')].filter(
        (e) => !(e.labels && e.labels.length) && !e.ariaLabel && !e.textContent.trim()).map((e) => e.id)"""
    colors = "[getComputedStyle(document.body).color, getComputedStyle(document.body).backgroundColor]"
    with served(Tint()) as url:
        tab.open(url, PHONE)
        wait_for(tab, "ready")
        assert tab.run(names) == []
        found = []
        for scheme in ("light", "dark"):
            tab.call("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])
            found.append([sum(map(int, c[c.index("(") + 1 : -1].split(",")[:3])) for c in tab.run(colors)])
        (ink, paper), (dark_ink, dark_paper) = found
        assert paper - ink > 500
        assert dark_ink - dark_paper > 500
