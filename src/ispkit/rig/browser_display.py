"""A screen that is any browser: a page served from here, which shows each frame one to one and says when it has.

The page asks for the next frame by long polling, decodes it, draws it on a canvas of device pixels, waits for
two animation frames, and acknowledges. `show` returns after that, so that a capture never races the screen.
"""

from __future__ import annotations

import itertools
import re
import secrets
import socket
import threading
import time
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal

import cv2

from ispkit.core.errors import ParamError, ShapeError, nearest
from ispkit.rig.contracts import DeviceError, Encoded, as_codes
from ispkit.rig.screen_server import PageServer

Fit = Literal["exact", "contain"]
_GONE_S = 5.0  # a page that has not asked for so long is not there; it asks at least every POLL_S
POLL_S = 2.0
_TOKEN_BYTES = 16


@dataclass
class Screen:
    """What the server knows of one named screen."""

    name: str
    session: str = ""
    size: tuple[int, int] | None = None
    last_seen: float = 0.0
    frame: str = ""
    """id of the frame that should be shown"""
    picture: bytes = b""
    fit: Fit = "exact"
    acknowledged: str = ""
    visible: bool = True
    waiting: bool = False
    """a poll of the page is open"""

    @property
    def connected(self) -> bool:
        """Whether a page has asked lately."""
        return self.waiting or time.monotonic() - self.last_seen < _GONE_S

    @property
    def known_size(self) -> tuple[int, int]:
        """Height and width, once a page has told them."""
        if self.size is None:
            raise DeviceError(f"no page shows the screen {self.name!r} yet")
        return self.size


class ScreenServer:
    """Serves the page to one or more named screens; a second page of the same name is refused.

    ```python
    with ScreenServer() as server:
        print(server.address)          # open it in a browser, press F
        server["main"].show(picture)
    ```
    """

    def __init__(
        self,
        screens: Iterable[str] = ("main",),
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        token: str | None = None,
        timeout_s: float = 20.0,
    ) -> None:
        """Start serving in a thread.

        Args:
            screens: the names that pages may take, as in `?screen=left`: letters, digits, - and _.
            host: "127.0.0.1" for this machine only, "0.0.0.0" for every screen of the network.
            port: 0 takes a free one.
            token: part of the address that strangers cannot guess; made up if not given.
            timeout_s: how long `show` waits for a page and its acknowledgement.

        Raises `DeviceError` if the port cannot be had, `ParamError` for names that no address can hold.
        """
        self.screens = {name: Screen(_checked("screen name", name)) for name in screens}
        self.timeout_s = timeout_s
        self._changed = threading.Condition()
        self._count = itertools.count(1)
        self._epoch = secrets.token_hex(3)
        self._token = _checked("token", token) if token else secrets.token_urlsafe(_TOKEN_BYTES)
        self._host = host
        try:
            self._server = PageServer((host, port), self)
        except OSError as error:
            raise DeviceError(f"cannot serve at {host}:{port} ({error.strerror}); choose another --port") from error
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.1,), daemon=True)
        self._thread.start()

    @property
    def base(self) -> str:
        """The path that every address begins with."""
        return f"/{self._token}/"

    @property
    def address(self) -> str:
        """What to open in the browser of the screen."""
        host = _own_address() if self._host in ("0.0.0.0", "") else self._host
        return f"http://{host}:{self._server.server_address[1]}{self.base}"

    def address_of(self, name: str) -> str:
        """The address of one named screen."""
        return self.address if name == "main" else f"{self.address}?screen={name}"

    def __getitem__(self, name: str) -> BrowserDisplay:
        """The display of that name. Raises `ParamError`."""
        if name not in self.screens:
            raise ParamError(f"no screen {name!r}; {nearest(name, self.screens)}")
        return BrowserDisplay(self, name)

    def __enter__(self) -> ScreenServer:
        return self

    def __exit__(self, *_: Any) -> None:
        self.close()

    def close(self) -> None:
        """Stop serving; pages keep their last frame."""
        self._server.closing = True
        with self._changed:
            self._epoch = ""
            self._changed.notify_all()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    # What pages ask; called by the server's threads.

    def next_frame(self, name: str, session: str, size: tuple[int, int], have: str) -> tuple[int, dict[str, Any] | str]:
        """HTTP status and answer for a page that has the frame `have`; waits a while for a newer one."""
        screen = self.screens.get(name)
        if screen is None:
            known = ", ".join(f"?screen={n}" for n in self.screens)
            return 409, f"This rig has no screen “{name}”; add {known} to the address."
        with self._changed:
            if screen.session not in ("", session) and screen.connected:
                return 409, f"Another page is the screen “{name}” already; close it first."
            screen.session, screen.size, screen.waiting = session, size, True
            self._changed.notify_all()
            try:
                self._changed.wait_for(lambda: screen.frame != have or not self._epoch, POLL_S)
            finally:
                screen.waiting, screen.last_seen = False, time.monotonic()
            if not screen.frame or screen.frame == have or screen.session != session:
                return 204, ""
            return 200, {"id": screen.frame, "url": f"frame/{name}/{screen.frame}.png", "fit": screen.fit}

    def picture(self, name: str, frame: str) -> bytes | None:
        """The PNG of a frame, while it is the current one."""
        screen = self.screens.get(name)
        with self._changed:
            return screen.picture if screen is not None and screen.frame == frame else None

    def acknowledge(self, name: str, session: str, size: tuple[int, int], frame: str, visible: bool) -> None:
        """A page says that a frame is painted."""
        screen = self.screens.get(name)
        with self._changed:
            if screen is None or screen.session != session:
                return
            screen.acknowledged, screen.size, screen.visible = frame, size, visible
            screen.last_seen = time.monotonic()
            self._changed.notify_all()

    # What displays ask; called by the program's thread.

    def wait_for_page(self, name: str, timeout_s: float | None = None) -> tuple[int, int]:
        """Height and width of the screen, as soon as its page is there. Raises `DeviceError`."""
        screen, limit = self.screens[name], timeout_s if timeout_s is not None else self.timeout_s
        with self._changed:
            if not self._changed.wait_for(lambda: screen.size is not None and screen.connected, limit):
                raise DeviceError(
                    f"no browser has opened {self.address_of(name)} within {limit:g} s; open it on the screen"
                )
        return screen.known_size

    def send(self, name: str, picture: bytes, fit: Fit) -> None:
        """Give a frame to the page and wait until it is painted. Raises `DeviceError`."""
        screen = self.screens[name]
        with self._changed:
            screen.frame, screen.picture, screen.fit = f"{self._epoch}-{next(self._count)}", picture, fit
            self._changed.notify_all()
            if not self._changed.wait_for(lambda: screen.acknowledged == screen.frame, self.timeout_s):
                raise DeviceError(
                    f"the screen {name!r} did not acknowledge frame {screen.frame} within {self.timeout_s:g} s; "
                    f"bring its page to the front and keep the machine awake"
                )
            if not screen.visible:
                raise DeviceError(f"the page of the screen {name!r} is hidden; bring it to the front")


class BrowserDisplay:
    """One named screen of a `ScreenServer`; keeps the contract of `Display`."""

    def __init__(self, server: ScreenServer, name: str = "main", *, fit: Fit = "exact") -> None:
        """`fit="contain"` scales pictures to the screen, smoothly; "exact" shows every pixel as one."""
        self._server, self._name, self.fit = server, name, fit

    @property
    def size(self) -> tuple[int, int]:
        """Height and width in device pixels; waits for the page. Raises `DeviceError`."""
        return self._server.wait_for_page(self._name)

    def show(self, encoded: Encoded) -> None:
        """Show a picture in the middle; returns when the page has painted it.

        Raises `ShapeError` if it does not fit, `DeviceError` if the page is missing, hidden or silent.
        """
        codes = as_codes(encoded)
        size = self.size
        self._check(codes.shape, size)
        done, png = cv2.imencode(".png", codes[..., ::-1], [cv2.IMWRITE_PNG_COMPRESSION, 1])
        if not done:
            raise ShapeError(f"a picture of shape {codes.shape} cannot be encoded")
        self._server.send(self._name, png.tobytes(), self.fit)
        self._check(codes.shape, self._server.screens[self._name].known_size)  # it may have left full screen

    def _check(self, shape: tuple[int, ...], size: tuple[int, int]) -> None:
        if self.fit == "exact" and (shape[0] > size[0] or shape[1] > size[1]):
            raise ShapeError(
                f"the picture has {shape[0]}x{shape[1]} pixels, the screen {self._name!r} shows {size[0]}x{size[1]}; "
                f"put the page in full screen, make the picture smaller, or let it scale with fit='contain'"
            )


def _checked(what: str, word: str) -> str:
    if not re.fullmatch(r"[\w-]+", word, re.ASCII):
        raise ParamError(f"{what} {word!r} should be letters, digits, - and _ only: it becomes part of the address")
    return word


def _own_address() -> str:
    """The machine's address in its network; no packet is sent."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))
            return str(probe.getsockname()[0])
        except OSError:
            return "127.0.0.1"
