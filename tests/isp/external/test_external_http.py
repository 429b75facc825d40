"""The same contract over HTTP, against a loopback server around our own ISP."""

from __future__ import annotations

import email.parser
import email.policy
import json
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
import torch

from conftest import make_frame
from ispkit.core.errors import BlackBoxError, RecipeError
from ispkit.core.frame import Domain
from ispkit.io.load import load
from ispkit.io.pictures import write_picture
from ispkit.isp.external.http import HttpISP
from ispkit.isp.external.spec import parse_spec
from ispkit.isp.recipe import preset

KNOBS = {"exposure.ev": {"key": "exposure.ev", "default": 0.0, "low": -2.0, "high": 2.0}}


class Camera(BaseHTTPRequestHandler):
    """Renders what it is sent with the neutral pipeline, or misbehaves by the path of the address."""

    calls = 0

    def do_POST(self):
        type(self).calls += 1
        body = self.rfile.read(int(self.headers["Content-Length"]))
        head = f"Content-Type: {self.headers['Content-Type']}\r\n\r\n".encode()
        form = email.parser.BytesParser(policy=email.policy.HTTP).parsebytes(head + body)
        parts = {p.get_param("name", header="Content-Disposition"): p.get_payload(decode=True) for p in form.walk()}
        content = self._picture(parts["raw"], json.loads(parts["values"]))
        if self.path == "/slow":
            time.sleep(1.5)
        self.send_response(500 if self.path == "/error" else 200)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self._send(b"out of toner" if self.path == "/error" else content)

    def _send(self, content):
        if self.path == "/half":
            content = content[: len(content) // 2]
        if self.path == "/drip":
            for i in range(40):
                self.wfile.write(content[i : i + 1])
                self.wfile.flush()
                time.sleep(0.05)
            return
        self.wfile.write(b"?" * len(content) if self.path == "/garbage" else content)

    def _picture(self, raw, values):
        if self.path != "/":
            return b"x" * 12 if self.path == "/error" else b"x" * 400
        path = self.server.folder / f"{threading.get_ident()}.png"
        write_picture(path, preset("neutral")(load(raw), values), bits=16)
        return path.read_bytes()

    def log_message(self, *args):
        pass


@pytest.fixture
def address(tmp_path):
    server = ThreadingHTTPServer(("127.0.0.1", 0), Camera)
    server.folder = tmp_path
    server.daemon_threads = True
    Camera.calls = 0
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    yield f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    thread.join()
    server.server_close()


def isp(url, cache=None, **more) -> HttpISP:
    return HttpISP(
        parse_spec({"version": 1, "url": url, "knobs": KNOBS, "timeout_s": 10} | more, "remote"), cache=cache
    )


def frame():
    return make_frame(Domain.RAW, (32, 40), batch=1)


def test_a_render_far_away_is_the_render_here(address, tmp_path):
    box = isp(address, tmp_path / "cache", workers=2)
    values = {"exposure.ev": torch.tensor([0.0, -1.5])}
    out = box(frame(), values)
    rounded = frame().with_data(frame().data.round())  # as the DNG holds it
    assert torch.allclose(out.data, preset("neutral")(rounded, values).data.clamp(0, 1), atol=2e-4)
    assert float((out.data[0] - out.data[1]).abs().max()) > 0.01
    assert torch.equal(box(frame(), values).data, out.data)
    assert Camera.calls == 2


@pytest.mark.parametrize(
    ("path", "reason"),
    [
        ("/error", "answered 500 .*out of toner"),
        ("/garbage", "no whole picture"),
        ("/half", "broke off|cannot be asked"),
        ("/slow", r"took more than 0\.5 s"),
        ("/drip", r"took more than 0\.5 s"),
    ],
)
def test_each_failure_is_one_error_with_the_address(address, path, reason):
    with pytest.raises(BlackBoxError, match=reason) as caught:
        isp(address + path, timeout_s=0.5 if path in ("/slow", "/drip") else 10)(frame())
    assert address in str(caught.value)


def test_nobody_there(address):
    with pytest.raises(BlackBoxError, match="cannot be asked"):
        isp("http://127.0.0.1:9")(frame())


def test_an_address_of_another_kind_is_refused():
    with pytest.raises(RecipeError, match="http://"):
        isp("ftp://127.0.0.1/")
