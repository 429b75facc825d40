"""ISPs, heads and raw HTTP for tests of the server."""

from __future__ import annotations

import io
import socket
import threading
import time

import numpy as np
import torch
from PIL import Image

from ispkit.core.frame import Domain
from ispkit.core.space import ParamSpace
from ispkit.data.boxes import Boxes
from ispkit.perceive.head import Head, Seen


class Tint(Head):
    """Says which color is the strongest; looks at what it is given."""

    task, names = "classify", ("red", "green", "blue")

    def forward(self, picture):
        return picture.mean((-2, -1)) * 20

    def loss(self, output, labels, size):
        raise NotImplementedError

    def seen(self, output, size):
        found = []
        for row in output.softmax(-1):
            order = row.argsort(descending=True).tolist()
            found.append(Seen(classes=tuple((self.names[i], float(row[i])) for i in order)))
        return found


class Corner(Tint):
    """One box in the upper left quarter."""

    task, names = "detect", ("thing",)

    def seen(self, output, size):
        box = Boxes.make([(0, 0, size[1] / 2, size[0] / 2)], [0], [0.75])
        return [Seen(boxes=box) for _ in output]


class Halves(Tint):
    """Left is one class, right another, one pixel nothing."""

    task, names = "segment", ("left", "right")

    def seen(self, output, size):
        plane = (torch.arange(size[1]) * 2 >= size[1]).long().expand(size).clone()
        plane[0, 0] = -1
        return [Seen(regions=plane) for _ in output]


class SlowISP:
    """RAW to gray, when it is let."""

    def __init__(self):
        self.space, self.reads, self.writes = ParamSpace({}), Domain.RAW, Domain.DISPLAY_RGB
        self.free, self.began, self.sizes = threading.Event(), threading.Event(), []

    def __call__(self, frame, values=None):
        self.began.set()
        self.sizes.append(frame.batch)
        assert self.free.wait(30)
        level = frame.data / frame.meta.white_level[:, :1, None, None]
        return frame.with_data(level.expand(-1, 3, -1, -1), Domain.DISPLAY_RGB)


def jpeg(color=(250, 20, 20), size=(24, 32), kind="JPEG", **options):
    stream = io.BytesIO()
    Image.fromarray(np.full((*size, 3), color, np.uint8)).save(stream, kind, **options)
    return stream.getvalue()


def dump(width=16, height=12, level=500, seed=None):
    """Ten bits in 16."""
    if seed is None:
        return np.full((height, width), level, "<u2").tobytes()
    return np.random.default_rng(seed).integers(64, 1023, (height, width)).astype("<u2").tobytes()


DUMP = "width=16&height=12&bits=10&cfa=RGGB"


def connect(url):
    host, port = url.removeprefix("http://").split(":")
    found = socket.create_connection((host, int(port)), timeout=20)
    found.settimeout(20)
    return found


def speak(url, content, *, pause_s=0.0):
    """Send bytes, one by one where a pause is given; all that comes back until the server closes."""
    with connect(url) as line:
        try:
            for piece in [content] if not pause_s else [content[i : i + 1] for i in range(len(content))]:
                line.sendall(piece)
                time.sleep(pause_s)
        except (BrokenPipeError, ConnectionResetError):
            pass
        heard = b""
        try:
            while piece := line.recv(65536):
                heard += piece
        except ConnectionResetError:
            pass
    return heard


def post(body, query="", *, headers="", length=None):
    """A request as bytes that closes its connection."""
    size = len(body) if length is None else length
    head = f"POST /v1/see?{query} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: {size}\r\n{headers}\r\n"
    return head.encode() + body


class Napping(SlowISP):
    """Takes a while over each batch."""

    def __call__(self, frame, values=None):
        time.sleep(0.7)
        self.free.set()
        return super().__call__(frame, values)
