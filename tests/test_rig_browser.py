"""The browser display in a real headless Chromium: in order, acknowledged, and exact to the pixel."""

from __future__ import annotations

import base64
import contextlib
import http.client
import io
import json
import socket
import threading
import time
import urllib.error
import urllib.request
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image

from browser import EXECUTABLE, Browser
from ispkit.core.errors import ParamError, ShapeError
from ispkit.io.pictures import write_picture
from ispkit.ops.encode import srgb_decode, srgb_encode
from ispkit.rig.align import align
from ispkit.rig.browser_display import BrowserDisplay, ScreenServer
from ispkit.rig.contracts import DeviceError, picture_frame

needs_chromium = pytest.mark.skipif(EXECUTABLE is None, reason="needs Chromium, which is not installed")


def screenshot(browser):
    png = base64.b64decode(browser.call("Page.captureScreenshot", format="png")["data"])
    return np.asarray(Image.open(io.BytesIO(png)).convert("RGB"))


def noise(height, width, seed):
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def on_black(picture, height, width):
    full = np.zeros((height, width, 3), np.uint8)
    top, left = (height - picture.shape[0]) // 2, (width - picture.shape[1]) // 2
    full[top : top + picture.shape[0], left : left + picture.shape[1]] = picture
    return full


@needs_chromium
@pytest.mark.slow
@pytest.mark.parametrize("ratio", [1.0, 1.25, 2.0])
def test_frames_are_acknowledged_in_order_and_exact_to_the_pixel(tmp_path, ratio):
    browser = Browser(tmp_path, ratio=ratio)
    try:
        with ScreenServer() as server:
            browser.open(server.address, (320, 200))
            screen = server["main"]
            height, width = screen.size
            assert (height, width) == (200 * ratio, 320 * ratio)
            acknowledged = []
            for i in range(6):
                picture = noise(height - 31 * (i % 2), width - 17 * (i % 2), i)
                screen.show(picture)
                acknowledged.append(server.screens["main"].acknowledged)
                assert np.array_equal(screenshot(browser), on_black(picture, height, width))
            assert [int(a.split("-")[1]) for a in acknowledged] == [1, 2, 3, 4, 5, 6]
            with pytest.raises(ShapeError, match="put the page in full screen"):
                screen.show(noise(height + 1, width, 0))
            BrowserDisplay(server, fit="contain").show(np.full((height // 4, width // 4, 3), 200, np.uint8))
            assert (screenshot(browser) == 200).mean() > 0.98
    finally:
        browser.close()


@needs_chromium
@pytest.mark.slow
def test_pages_come_back_and_second_ones_are_refused(tmp_path):
    (tmp_path / "one").mkdir()
    browser, picture = Browser(tmp_path / "one"), noise(120, 160, 1)
    try:
        with ScreenServer(("main", "left"), token="rig", timeout_s=10) as server:
            browser.open(server.address, (160, 120))
            server["main"].show(picture)
            browser.open(server.address, (160, 120))  # somebody loads the page again
            deadline = time.monotonic() + 10
            while not np.array_equal(screenshot(browser), picture) and time.monotonic() < deadline:
                time.sleep(0.05)
            assert np.array_equal(screenshot(browser), picture)
            server["main"].show(picture[::-1])
            assert np.array_equal(screenshot(browser), picture[::-1])
            port = int(server.address.rsplit(":", 1)[1].split("/")[0])
            for query, word in (
                ("screen=main&session=other", "already"),
                ("screen=right&session=other", "?screen=left"),
            ):
                with pytest.raises(urllib.error.HTTPError) as refused:
                    urllib.request.urlopen(f"{server.address}next?{query}&height=9&width=9")
                assert refused.value.code == 409
                assert word in refused.value.read().decode()
        with ScreenServer(token="rig", port=port, timeout_s=10) as server:  # the program is started again
            server["main"].show(picture)
            assert np.array_equal(screenshot(browser), picture)
            browser.run("requestAnimationFrame = () => 0")  # a page in the background gets no frames
            server.timeout_s = 0.5
            with pytest.raises(DeviceError, match=r"did not acknowledge frame .* within 0.5 s; bring its page"):
                server["main"].show(picture)
    finally:
        browser.close()


class ScreenshotCamera:
    """Sees the middle of the page, two by two pixels as one."""

    def __init__(self, browser):
        self.browser = browser

    def capture(self):
        light = srgb_decode(torch.from_numpy(screenshot(self.browser)[8:-8, 12:-12] / 255.0))
        light = light.reshape(light.shape[0] // 2, 2, light.shape[1] // 2, 2, 3).mean((1, 3))
        return picture_frame(srgb_encode(light).numpy())


@needs_chromium
@pytest.mark.slow
def test_the_whole_loop_through_a_real_page(tmp_path):
    browser = Browser(tmp_path)
    try:
        with ScreenServer() as server:
            browser.open(server.address, (200, 136))
            transport = align(server["main"], ScreenshotCamera(browser)).transport
    finally:
        browser.close()
    x, y = np.meshgrid(2 * (np.arange(88) + 0.5) + 12, 2 * (np.arange(60) + 0.5) + 8)
    assert transport.mask.all()
    assert np.abs(transport.positions - np.stack([x, y])).max() < 0.05  # screen px, everywhere


class Page:
    """A page that speaks the protocol without a browser."""

    def __init__(self, server, name="main", session="s", size=(9, 16)):
        self.server, self.have = server, ""
        self.who = f"screen={name}&session={session}&height={size[0]}&width={size[1]}"

    def ask(self, path, method="GET"):
        request = urllib.request.Request(f"{self.server.address}{path}", method=method)
        with urllib.request.urlopen(request, timeout=10) as answer:
            return answer.status, answer.read()

    def serve(self, frames, visible="true", delay_s=0.0):
        for _ in range(frames):
            status, body = 204, b""
            while status == 204:
                status, body = self.ask(f"next?{self.who}&have={self.have}")
            job = json.loads(body)
            _, png = self.ask(job["url"])
            assert Image.open(io.BytesIO(png)).size == (16, 9)
            time.sleep(delay_s)
            self.have = job["id"]
            self.ask(f"shown?{self.who}&id={self.have}&visible={visible}", "POST")


def test_show_returns_after_the_acknowledgement_only():
    with ScreenServer(timeout_s=10) as server:
        page = threading.Thread(target=Page(server).serve, args=(2,), kwargs={"delay_s": 0.3})
        page.start()
        screen = server["main"]
        assert screen.size == (9, 16)
        for i in range(2):
            start = time.monotonic()
            screen.show(noise(9, 16, i))
            assert time.monotonic() - start > 0.25
        page.join()


def test_hidden_absent_and_silent_pages_are_one_sentence_each():
    with ScreenServer(timeout_s=0.2) as server:
        with pytest.raises(DeviceError, match=r"no browser has opened http://127.0.0.1:\d+/.*/ within 0.2 s"):
            server["main"].show(noise(9, 16, 0))
        with pytest.raises(ParamError, match="no screen 'mian'; did you mean 'main'"):
            server["mian"]
        server.timeout_s = 5
        page = threading.Thread(target=Page(server).serve, args=(1,), kwargs={"visible": "false"})
        page.start()
        with pytest.raises(DeviceError, match="is hidden; bring it to the front"):
            server["main"].show(noise(9, 16, 0))
        page.join()
        port = int(server.address.rsplit(":", 1)[1].split("/")[0])
        with pytest.raises(DeviceError, match="choose another --port"):
            ScreenServer(port=port)


@pytest.mark.parametrize("name", ["left wall", "wänd", "a/b", "a?b", ""])
def test_screen_names_fit_into_addresses(name):
    with pytest.raises(ParamError, match=r"screen name .* should be letters, digits, - and _ only"):
        ScreenServer(("main", name))


def test_a_named_screen_gets_its_frames():
    with ScreenServer(("main", "left-Wall_2"), timeout_s=5) as server:
        page = threading.Thread(target=Page(server, "left-Wall_2").serve, args=(1,))
        page.start()
        server["left-Wall_2"].show(noise(9, 16, 0))
        page.join()


def test_a_page_of_the_program_before_gets_the_first_frame_too():
    page = None
    for _ in range(2):  # the second server counts its frames from 1 as the first one did
        with ScreenServer(token="rig", timeout_s=5) as server:
            page = page or Page(server)
            page.server = server
            thread = threading.Thread(target=page.serve, args=(1,), daemon=True)
            thread.start()
            server["main"].show(noise(9, 16, 0))
            thread.join()


def test_a_page_that_lost_its_screen_acknowledges_nothing():
    with ScreenServer() as server:
        screen = server.screens["main"]
        screen.session = "old"
        with server._changed:
            late = threading.Thread(target=server.acknowledge, args=("main", "old", (9, 16), "1", True))
            late.start()
            time.sleep(0.1)
            screen.session = "new"  # while the old page waits for its turn
        late.join()
        assert screen.acknowledged == ""


def test_the_display_command_shows_its_pictures_on_the_page(cli, tmp_path):
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    for name in ("a.png", "b.png"):
        write_picture(tmp_path / name, noise(9, 16, 1))

    def page():
        there = SimpleNamespace(address=f"http://127.0.0.1:{port}/word/")
        for _ in range(100):
            try:
                Page(there).serve(2)
            except urllib.error.URLError:
                time.sleep(0.1)  # the server is not there yet
            else:
                return

    thread = threading.Thread(target=page)
    thread.start()
    words = ["display", str(tmp_path / "a.png"), str(tmp_path / "b.png"), "--seconds", "0", "--port", str(port)]
    code, out, err = cli("rig", *words, "--token", "word")
    thread.join()
    assert (code, err) == (0, "")
    assert f"open http://127.0.0.1:{port}/word/ on the screen and press F" in out
    assert "screen 'main': 9x16 device pixels" in out
    assert out.count("shown: ") == 2
    with pytest.raises(ParamError, match="token 'a b' should be letters"):
        ScreenServer(token="a b")


def test_only_the_token_opens_the_door():
    with ScreenServer(token="secret") as server:
        host = server.address.split("/")[2]

        def status(path, method="GET"):
            connection = http.client.HTTPConnection(host, timeout=5)
            connection.request(method, path)
            code = connection.getresponse().status
            connection.close()
            return code

        assert status("/secret/") == 200
        assert status("/secret/screen.js") == 200
        assert [status(p) for p in ("/", "/other/", "/secret/next.html", "/secret/../secret/x")] == [404] * 4
        assert status("/secret/frame/main/1.png") == 410
        assert status(f"/secret/next?screen=nobody&height={'9' * 5000}") == 409
        assert status("/secret/other", "POST") == 404
        assert status("/secret/shown?screen=nobody&height=x", "POST") == 204  # ignored, not an error


def test_tokens_are_long_and_bodies_are_not_taken_for_requests():
    with ScreenServer() as server:
        assert len(server.base) >= 2 + 22  # 16 bytes
        host, port = server.address.split("/")[2].split(":")
        inner = f"GET {server.base} HTTP/1.1\r\nHost: x\r\n\r\n".encode()
        for method in ("POST", "GET"):
            for length, body in ((str((1 << 16) + len(inner)), b" " * (1 << 16)), ("-1", b""), ("9" * 5000, b"")):
                head = f"{method} {server.base}shown HTTP/1.1\r\nHost: x\r\nContent-Length: {length}\r\n\r\n"
                told = b""
                with (
                    socket.create_connection((host, int(port)), timeout=3) as line,
                    contextlib.suppress(ConnectionError),
                ):
                    line.sendall(head.encode() + body + inner)
                    while part := line.recv(1 << 16):  # the server ends the connection
                        told += part
                assert told.count(b"HTTP/1.1 ") <= 1  # a reset may take even that answer away
                assert b"screen.js" not in told
        connection = http.client.HTTPConnection(host, int(port), timeout=5)
        for _ in range(2):  # a short body leaves the connection alive
            connection.request("POST", f"{server.base}shown", body=inner)
            answer = connection.getresponse()
            assert (answer.status, answer.read(), answer.getheader("Connection")) == (204, b"", None)
        connection.close()
