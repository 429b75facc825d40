"""The server on a real port: what is asked for is answered, everything else gets 4xx, nothing stays behind."""

from __future__ import annotations

import concurrent.futures
import http.client
import io
import json
import os
import re
import socket
import tempfile
import time

import numpy as np
import pytest
import torch
from PIL import Image

pytest.importorskip("fastapi")
pytest.importorskip("uvicorn")

from serve_stand_ins import DUMP, Corner, SlowISP, Tint, connect, dump, jpeg, post, speak

from ispkit.core.errors import BlackBoxError, ParamError
from ispkit.core.frame import Domain
from ispkit.core.space import ParamSpace
from ispkit.io.geometry import Geometry
from ispkit.isp.catalog import open_isp
from ispkit.serve import limits as limits_module
from ispkit.serve import run as run_module
from ispkit.serve.answers import picture_bytes
from ispkit.serve.client import Client, ServerError
from ispkit.serve.dark import Darkness
from ispkit.serve.engine import Engine
from ispkit.serve.limits import Limits
from ispkit.serve.run import Address, serving
from ispkit.serve.service import Service
from mutations import mutations
from tiny_dng import tiny_dng

GEOMETRY = Geometry(width=16, height=12, bits=10, cfa="RGGB")
LIMITS = Limits(most_bytes=300_000, most_pixels=100_000, concurrency=4, timeout_s=1.0, header_s=0.6)


@pytest.fixture(scope="module")
def service():
    torch.set_num_threads(1)
    return Service(Engine(open_isp("neutral"), Tint()), limits=LIMITS, darkness=Darkness(), names={"head": "tint"})


@pytest.fixture(scope="module")
def url(service):
    with serving(service) as found:
        yield found


@pytest.fixture
def client(url):
    with Client(url) as found:
        yield found


def in_progress(url):
    with Client(url) as client:
        return client.health()["in_progress"]


def status_of(heard):
    return int(heard.split()[1]) if heard.startswith(b"HTTP/1.1 ") else 0


def error_of(heard):
    head, _, body = heard.partition(b"\r\n\r\n")
    assert b"application/json" in head
    assert b"Traceback" not in heard
    return json.loads(body)["error"]


def test_raw_files_dumps_and_pictures_are_answered(client):
    seen = client.see(tiny_dng())
    assert (seen["width"], seen["height"], seen["task"]) == (64, 48, "classify")
    assert sum(c["probability"] for c in seen["classes"]) == pytest.approx(1, abs=1e-3)
    assert seen["latency_ms"]["total"] >= seen["latency_ms"]["isp"] > 0
    assert client.see(dump(), geometry=GEOMETRY)["width"] == 16
    assert client.see(jpeg((20, 20, 250)))["classes"][0]["name"] == "blue"
    dark = client.see(jpeg((20, 250, 20)), lux=20.0, seed=3)
    assert dark["classes"][0]["name"] == "green"
    assert dark["dark"] == {"lux": 20.0, "iso": 10000.0, "sensor": "nexus-6p-rear"}
    picture = client.picture(tiny_dng())
    assert (picture.shape, picture.dtype) == ((48, 64, 3), np.uint8)
    both = client.ask(dump(), as_="both", geometry=GEOMETRY)
    assert json.loads(both.body)["picture"].startswith("data:image/jpeg;base64,/9j/")
    assert both.timing_ms["total"] > 0


def test_accept_chooses_the_form(url):
    heard = speak(url, post(dump(), DUMP, headers="Accept: image/png\r\n"))
    head, _, body = heard.partition(b"\r\n\r\n")
    assert b"image/png" in head
    assert Image.open(io.BytesIO(body)).size == (16, 12)


def test_the_server_tells_of_itself(client, service):
    client.see(dump(), geometry=GEOMETRY)
    assert client.health()["status"] == "ok"
    about = client.about()
    assert (about["head"], about["task"], about["most_bytes"]) == ("tint", "classify", 300_000)
    text = client._request("GET", "/metrics").body.decode()
    assert 'ispkit_requests_total{route="see",status="200"}' in text
    assert "ispkit_requests_in_progress 0.000" in text
    schema = json.loads(client._request("GET", "/openapi.json").body)
    assert "/v1/see" in schema["paths"]


@pytest.mark.parametrize(
    ("body", "query", "headers", "status", "message"),
    [
        (b"", "", "", 400, "body is empty"),
        (b"hello, this is text" * 30, "", "", 422, "this is text, not a RAW file"),
        (jpeg()[:200], "", "", 422, "JPEG"),
        (tiny_dng()[:3000], "", "", 422, "truncated|damaged|ends early"),
        (os.urandom(3000), "", "", 422, "geometry"),
        (dump()[:-2], DUMP, "", 422, "the file has 382"),
        (dump(), DUMP + "&lux=3", "", 422, "whose light is what it is"),
        (dump(), "width=16&height=12&bits=10", "", 400, "CFA"),
        (dump(), "width=100000&height=100000&bits=10&cfa=RGGB", "", 413, "million"),
        (dump(), "width=-3&height=12&bits=10&cfa=RGGB", "", 400, "width=-3"),
        (dump(), "wat=3", "", 400, "no option 'wat'"),
        (dump(), DUMP + "&as=gif", "", 400, "as='gif'"),
        (b"x" * 300_001, "", "", 413, "larger than 0.3 MB"),
        (b"x=3", "", "Content-Type: multipart/form-data; boundary=q\r\n", 415, "form"),
        (b"x=3", "", "Content-Encoding: gzip\r\n", 415, "compressed"),
        (jpeg(size=(400, 400)), "", "", 413, "400x400"),
    ],
)
def test_wrong_requests_get_a_sentence(url, body, query, headers, status, message):
    heard = speak(url, post(body, query, headers=headers))
    assert status_of(heard) == status
    assert re.search(message, error_of(heard))


def test_wrong_addresses_methods_and_protocols(url):
    for content, status in (
        (b"GET /nothing HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", 404),
        (b"GET /v1/see HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", 405),
        (b"POST /v1/see HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", 411),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" * 9 + b"\r\n\r\n", 400),
        (b"POST /v1/see HTTP/1.1\r\nHost: x\r\nContent-Length: 5x\r\n\r\n", 400),
        (b"GET /" + b"a" * 70_000, 400),
    ):
        heard = speak(url, content)
        assert status_of(heard) == status
        assert error_of(heard)


def test_a_chunked_body_of_no_declared_length_is_cut_off(url):
    head = b"POST /v1/see HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
    heard = speak(url, head + b"8000\r\n" + b"x" * 0x8000 + b"\r\n" + (b"8000\r\n" + b"x" * 0x8000 + b"\r\n") * 12)
    assert status_of(heard) == 413
    heard = speak(url, head + b"zz\r\n")
    assert status_of(heard) == 400


@pytest.mark.parametrize(
    ("content", "status"),
    [
        (b"", 0),  # a connection that says nothing
        (b"POST /v1/see HTTP/1.1\r\nHo", 408),
        (post(b"x" * 10, length=100), 408),  # a body that never ends
    ],
)
def test_slow_ones_are_not_waited_for(url, content, status):
    assert status_of(speak(url, content, pause_s=0.001)) == status


def test_a_dripping_head_is_cut_off(url):
    heard = speak(url, b"POST /v1/see HTTP/1.1\r\n" + b"X-A: b\r\n" * 1000, pause_s=0.01)
    assert status_of(heard) in (0, 408)  # the answer may be lost under what was still sent


def test_damaged_files_never_are_our_fault(client):
    pixels = np.random.default_rng(0).integers(0, 256, (64, 80, 3), dtype=np.uint8)
    pictures = [picture_bytes(pixels, "jpeg"), picture_bytes(pixels, "png")]
    damaged = [m for i, data in enumerate([tiny_dng(), *pictures]) for m in mutations(data, i, 24)]
    statuses = {}
    for name, data in damaged:
        try:
            client.see(data)
        except ServerError as error:
            statuses[name] = error.status
    assert set(statuses.values()) <= {400, 413, 422}
    assert len(statuses) > 20


def test_uploads_leave_nothing_behind(url, tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr(limits_module, "_SPOOL_BYTES", 100)
    with Client(url) as client:
        client.see(dump(), geometry=GEOMETRY)
        with pytest.raises(ServerError):
            client.see(b"text" * 1000)
        speak(url, post(b"x" * 5000, length=6000))
        client.health()
    assert not list(tmp_path.iterdir())
    left = [
        os.readlink(f"/proc/self/fd/{n}") for n in os.listdir("/proc/self/fd") if os.path.islink(f"/proc/self/fd/{n}")
    ]
    assert not [name for name in left if str(tmp_path) in name]


def test_many_at_once_share_batches_and_all_are_answered(url, service):
    def one(i):
        with Client(url) as client:
            while True:
                try:
                    return client.see(jpeg([(250, 9, 9), (9, 250, 9), (9, 9, 250)][i % 3]), lux=50.0)
                except ServerError as error:
                    if error.status != 503:
                        raise
                    time.sleep(0.02)

    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        seen = list(pool.map(one, range(32)))
    assert [s["classes"][0]["name"] for s in seen] == [("red", "green", "blue")[i % 3] for i in range(32)]
    assert service.gate.used == 0


def test_one_too_many_is_sent_away_and_late_work_is_given_up():
    isp = SlowISP()
    limits = Limits(concurrency=2, timeout_s=1.0)
    with serving(Service(Engine(isp, Tint()), limits=limits, wait_s=0.0)) as url:
        with concurrent.futures.ThreadPoolExecutor(2) as pool:
            first = pool.submit(speak, url, post(dump(), DUMP))
            assert isp.began.wait(10)
            second = pool.submit(speak, url, post(dump(), DUMP))
            while in_progress(url) < 2:
                time.sleep(0.01)
            heard = speak(url, post(dump(), DUMP))
            assert status_of(heard) == 503
            assert b"retry-after: 1" in heard.lower()
            assert [status_of(f.result()) for f in (first, second)] == [504, 504]
        assert in_progress(url) == 1  # the work that nobody waits for any more still has its place
        isp.free.set()
        with Client(url) as client:
            deadline = time.monotonic() + 10
            while client.health()["in_progress"] and time.monotonic() < deadline:
                time.sleep(0.01)
            assert client.see(dump(), geometry=GEOMETRY)["batch"] == 1
    assert isp.sizes[:2] == [1, 1]
    assert len(isp.sizes) == 2  # the second had not begun when its time was over


class Broken:
    """An ISP that fails in the way it is told."""

    def __init__(self, error):
        self.space, self.reads, self.writes, self.error = ParamSpace({}), Domain.RAW, Domain.DISPLAY_RGB, error

    def __call__(self, frame, values=None):
        raise self.error


@pytest.mark.parametrize(
    ("error", "status"), [(BlackBoxError("gone"), 502), (MemoryError(), 503), (ZeroDivisionError("oh"), 500)]
)
def test_faults_of_ours_are_told_without_a_traceback(error, status, caplog):
    with serving(Service(Engine(Broken(error)))) as url, Client(url) as client:
        with pytest.raises(ServerError) as told:
            client.see(dump(), geometry=GEOMETRY)
        assert told.value.status == status
        assert ("oh" in str(told.value)) is False
        assert client.health()["status"] == "ok"
    assert bool([r for r in caplog.records if r.exc_info]) == (status == 500)


def test_requests_in_flight_are_answered_when_the_server_ends():
    isp = SlowISP()
    service = Service(Engine(isp, Corner()), wait_s=0.0)
    with concurrent.futures.ThreadPoolExecutor(3) as pool:
        with serving(service) as url:
            idle = connect(url)
            flying = [pool.submit(speak, url, post(dump(), DUMP)) for _ in range(2)]
            assert isp.began.wait(10)
            while in_progress(url) < 2:
                time.sleep(0.01)
            pool.submit(lambda: (time.sleep(0.3), isp.free.set()))
        heard = [f.result() for f in flying]
    assert [status_of(h) for h in heard] == [200, 200]
    assert json.loads(heard[0].partition(b"\r\n\r\n")[2])["boxes"][0]["name"] == "thing"
    assert idle.recv(1) == b""
    idle.close()
    assert not service.alive
    with pytest.raises(ServerError, match=r"no answer|hung up"):
        in_progress(url)


def test_addresses_that_cannot_be_had(tmp_path):
    with (
        pytest.raises(ParamError, match=r"cannot listen at 203\.0\.113\.7"),
        serving(Service(Engine(head=Tint())), Address("203.0.113.7", 1)),
    ):
        pass
    with pytest.raises(ParamError, match="both"):
        Address(cert=tmp_path)
    with pytest.raises(ParamError, match="address"):
        Client("localhost:3")


def test_small_packets_are_not_held_back():
    with run_module._listener(Address(port=0)) as listener:
        assert listener.proto == socket.IPPROTO_TCP  # else asyncio leaves Nagle's algorithm on, and 40 ms with it


def test_a_head_alone_makes_nothing_dark():
    with serving(Service(Engine(head=Tint()), darkness=Darkness())) as url, Client(url) as client:
        assert client.about()["dark"] is None
        with pytest.raises(ServerError, match="no ISP that reads RAW") as told:
            client.see(jpeg(), lux=3.0)
        assert told.value.status == 400
        with pytest.raises(ServerError, match="head alone"):
            client.see(tiny_dng())


def test_a_client_goes_on_after_the_server_has_closed_an_idle_connection(client):
    assert client.health()["status"] == "ok"
    client._connection.sock.shutdown(2)
    assert client.health()["status"] == "ok"
    assert isinstance(client._connection, http.client.HTTPConnection)
