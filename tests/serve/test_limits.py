"""Requests are bounded before they are believed: options, sizes, bytes, places."""

from __future__ import annotations

import asyncio
import io
import struct
import zlib
from concurrent.futures import Future

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from serve_stand_ins import dump, jpeg

from ispkit.core.errors import FileError, IspkitError, ParamError
from ispkit.core.frame import Domain
from ispkit.io import icc
from ispkit.io.geometry import Facts, Geometry
from ispkit.serve.asked import asked
from ispkit.serve.limits import Gate, Limits, RefusedError, check_head, spooled
from ispkit.serve.metrics import Histogram, Metrics
from ispkit.serve.reading import read_frame
from tiny_dng import tiny_dng

SMALL = Limits(most_bytes=1000, most_pixels=2000)


@settings(max_examples=150, deadline=None)
@given(st.lists(st.tuples(st.sampled_from(["width", "bits", "lux", "seed", "as", "black_level", "x"]), st.text())))
def test_options_are_taken_or_refused_in_one_sentence(query):
    told = ""
    try:
        asked(query)
    except IspkitError as error:
        told = str(error)
    assert len(told) < 400


def test_options():
    found = asked([("width", "4"), ("height", "2"), ("bits", "10"), ("cfa", "RGGB"), ("black_level", "1:2:3:4")])
    assert found.facts == Geometry(width=4, height=2, bits=10, cfa="RGGB", black_level=(1, 2, 3, 4))
    assert asked([("cfa", "GRBG"), ("bits", "12")]).facts == Facts(cfa="GRBG", bits=12)
    for query, message in (
        ([("widht", "4")], "did you mean 'width'"),
        ([("width", "4")], "also needs height, bits"),
        ([("lux", "nan")], "lux='nan' must be a number"),
        ([("seed", "1.5")], "whole number"),
        ([("as", "gif")], "as='gif' is unknown"),
        ([("lux", "3"), ("lux", "4")], "given twice"),
    ):
        with pytest.raises(ParamError, match=message):
            asked(query)


@pytest.mark.parametrize(
    ("accept", "answer"),
    [
        ("", None),
        ("*/*", None),
        ("image/png", "png"),
        ("text/html, image/jpeg;q=0.4, application/json;q=0.9", "json"),
        ("image/png;q=0, image/jpeg;q=0.1", "jpeg"),
        ("image/png;q=x", None),
    ],
)
def test_accept_decides_where_the_address_does_not(accept, answer):
    assert asked([], accept).answer == answer
    assert asked([("as", "both")], accept).answer == "both"


def test_heads_are_refused_before_the_body_is_read():
    for headers, status in (
        ({"content-length": "1001"}, 413),
        ({"content-length": "9" * 400}, 400),
        ({"content-length": "-1"}, 400),
        ({}, 411),
        ({"content-length": "10", "content-encoding": "gzip"}, 415),
        ({"content-length": "10", "content-type": "multipart/form-data; boundary=x"}, 415),
    ):
        with pytest.raises(RefusedError) as refused:
            check_head(headers, SMALL)
        assert refused.value.status == status
    check_head({"content-length": "1000"}, SMALL)
    check_head({"transfer-encoding": "chunked"}, SMALL)


async def _parts(*parts):
    for part in parts:
        await asyncio.sleep(part if isinstance(part, float) else 0)
        yield b"" if isinstance(part, float) else part


@pytest.mark.parametrize(("parts", "status"), [((b"x" * 600,) * 2, 413), ((b"x", 5.0, b"y"), 408), ((b"",), 400)])
def test_bodies_are_bounded_in_bytes_and_time(parts, status):
    with pytest.raises(RefusedError) as refused:
        asyncio.run(spooled(_parts(*parts), SMALL, 0.05))
    assert refused.value.status == status


def test_a_body_comes_back_whole():
    with asyncio.run(spooled(_parts(b"ab", b"", b"c"), SMALL, 1.0)) as spool:
        assert spool.read() == b"abc"


def test_a_place_is_free_when_all_that_holds_it_has_ended():
    gate, work = Gate(2), Future()
    slot, other = gate.enter(), gate.enter()
    with pytest.raises(RefusedError) as refused:
        gate.enter()
    assert (refused.value.status, refused.value.retry_after_s) == (503, 1)
    slot.keep(work)
    slot.release()
    assert gate.used == 2
    work.set_result(None)
    assert gate.used == 1
    other.release()
    assert gate.used == 0


@pytest.mark.parametrize(
    "wrong", [{"most_bytes": 0}, {"concurrency": 0}, {"timeout_s": float("nan")}, {"timeout_s": float("inf")}]
)
def test_limits_that_make_no_sense(wrong):
    with pytest.raises(ParamError):
        Limits(**wrong)


def png_bomb(width, height):
    """A header that claims, with next to nothing behind it."""
    chunks = [(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)), (b"IDAT", b"x"), (b"IEND", b"")]
    packed = [struct.pack(">I", len(b)) + k + b + struct.pack(">I", zlib.crc32(k + b)) for k, b in chunks]
    return b"\x89PNG\r\n\x1a\n" + b"".join(packed)


def test_pictures_that_claim_too_much_are_refused_by_their_headers():
    large, dng = jpeg(size=(100, 100)), tiny_dng()
    for data, facts in (
        (png_bomb(60000, 60000), None),
        (large, None),
        (dng, None),
        (dump(100, 100), Geometry(width=100, height=100, bits=10, cfa="RGGB")),
        (dump(16, 12), Geometry(width=100_000, height=100_000, bits=10, cfa="RGGB")),
    ):
        with pytest.raises(RefusedError) as refused:
            read_frame(data, facts, SMALL)
        assert refused.value.status == 413
    assert read_frame(dng, None, Limits()).domain is Domain.RAW


def test_what_a_body_holds_is_told_by_its_content():
    geometry = Geometry(width=16, height=12, bits=10, cfa="GBRG")
    frame = read_frame(dump(), geometry, SMALL)
    assert (frame.domain, frame.meta.cfa) == (Domain.RAW, "GBRG")
    picture = read_frame(jpeg(kind="PNG"), None, SMALL)
    assert picture.domain is Domain.DISPLAY_RGB
    assert picture.data[0, :, 3, 3].mul(255).round().tolist() == [250, 20, 20]
    stream = io.BytesIO()
    Image.fromarray(np.full((8, 8), 77, np.uint8)).save(stream, "PNG")
    assert read_frame(stream.getvalue(), Facts(cfa="RGGB"), SMALL).domain is Domain.RAW
    for data in (
        b"hello world, this is text " * 9,
        b"",
        b"\0" * 50,
        jpeg()[:90],
        png_bomb(8, 8)[:20],
        b"II*\0" + b"x" * 60,
    ):
        with pytest.raises(FileError):
            read_frame(data, None, SMALL)


def test_an_upright_picture_in_display_p3_is_converted():
    tagged = read_frame(jpeg((200, 60, 60), kind="PNG", icc_profile=icc.profile("display-p3")), None, SMALL)
    plain = read_frame(jpeg((200, 60, 60), kind="PNG"), None, SMALL)
    assert tagged.data[0, 0].mean() > plain.data[0, 0].mean() + 0.02  # the same numbers are a stronger red there
    turned = jpeg(size=(10, 20), exif=b"Exif\0\0" + b"MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x06\0\0\0\0\0\0")
    assert read_frame(turned, None, SMALL).size == (20, 10)


def test_histograms_count_as_prometheus_reads_them():
    histogram = Histogram((1, 2, 4))
    for value in (0.5, 1, 3, 9):
        histogram.add(value)
    assert list(histogram.lines("x"))[:4] == [
        f'x_bucket{{le="{b}"}} {n}' for b, n in (("1", 2), ("2", 2), ("4", 3), ("+Inf", 4))
    ]
    metrics = Metrics()
    metrics.answered("see", 200, 0.1)
    metrics.answered("see", 413)
    assert (metrics.count, metrics.errors) == (2, 1)
    names = {line.split("{")[0].split(" ")[0] for line in metrics.text().splitlines() if not line.startswith("#")}
    assert {"ispkit_requests_total", "ispkit_latency_seconds_bucket", "ispkit_resident_bytes"} <= names
