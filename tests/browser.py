"""A headless Chromium for tests, driven over its debugging pipe: real keys, real pointer, no further package."""

from __future__ import annotations

import json
import os
import select
import shutil
import subprocess
import time
from pathlib import Path
from typing import Any

NAMES = ("chromium", "chromium-browser", "google-chrome")
EXECUTABLE = next((found for name in NAMES if (found := shutil.which(name))), None)
_FLAGS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
    "--disable-dev-shm-usage",
    "--hide-scrollbars",
    "--remote-debugging-pipe",
]


class Browser:
    """One tab. Coordinates are CSS pixels of the page, each `ratio` device pixels wide."""

    def __init__(self, profile: Path, ratio: float = 1.0, timeout_s: float = 60.0) -> None:
        self.timeout_s = timeout_s
        self._count = 0
        self._buffer = b""
        (to_browser, self._write), (self._read, from_browser) = os.pipe(), os.pipe()
        plumbing = f'exec "$@" 3<&{to_browser} 4>&{from_browser}'  # Chromium speaks on descriptors 3 and 4
        own = [f"--user-data-dir={profile}", f"--force-device-scale-factor={ratio}"]
        command = ["bash", "-c", plumbing, "-", str(EXECUTABLE), *_FLAGS, *own, "about:blank"]
        quiet = subprocess.DEVNULL
        self._process = subprocess.Popen(command, pass_fds=(to_browser, from_browser), stdout=quiet, stderr=quiet)
        os.close(to_browser)
        os.close(from_browser)
        self._session: str | None = None
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        self.call("Page.enable")

    def call(self, method: str, **params: Any) -> Any:
        """Send one command of the protocol and wait for its answer."""
        self._count += 1
        message: dict[str, Any] = {"id": self._count, "method": method, "params": params}
        if self._session:
            message["sessionId"] = self._session
        os.write(self._write, json.dumps(message).encode() + b"\0")
        deadline = time.monotonic() + self.timeout_s
        while True:
            answer = self._next(deadline)
            if answer.get("id") == self._count:
                if "error" in answer:
                    raise RuntimeError(f"{method}: {answer['error']}")
                return answer["result"]

    def _next(self, deadline: float) -> dict[str, Any]:
        while b"\0" not in self._buffer:
            ready, _, _ = select.select([self._read], [], [], max(0.0, deadline - time.monotonic()))
            chunk = os.read(self._read, 1 << 20) if ready else b""
            if not chunk:
                raise TimeoutError("Chromium did not answer")
            self._buffer += chunk
        line, self._buffer = self._buffer.split(b"\0", 1)
        return json.loads(line)

    def run(self, script: str) -> Any:
        """The value of an expression in the page; promises are awaited."""
        answer = self.call("Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True)
        if "exceptionDetails" in answer:
            raise RuntimeError(answer["exceptionDetails"]["exception"].get("description", answer["exceptionDetails"]))
        return answer["result"].get("value")

    def open(self, address: str, size: tuple[int, int]) -> None:
        """Load a page in a window of `size` CSS pixels and wait until all of it is there."""
        width, height = size
        metrics = {"width": width, "height": height, "deviceScaleFactor": 0, "mobile": False}
        self.call("Emulation.setDeviceMetricsOverride", **metrics)
        self.call("Page.navigate", url="about:blank")  # a change of the # part alone would not load anew
        self.call("Page.navigate", url=address)
        self.run("new Promise((done) => document.readyState === 'complete' ? done() : addEventListener('load', done))")
        self.frame()

    def frame(self) -> None:
        """Wait until what was asked for is painted."""
        self.run("new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(() => done())))")

    def press(self, *keys: str) -> None:
        """Type keys by their names."""
        for key in keys:
            text = {"text": key} if len(key) == 1 else {}
            self.call("Input.dispatchKeyEvent", type="keyDown", key=key, **text)
            self.call("Input.dispatchKeyEvent", type="keyUp", key=key)
        self.frame()

    def move(self, x: float, y: float, *, button: str = "none") -> None:
        """Move the pointer, dragging if a button is held."""
        self.call("Input.dispatchMouseEvent", type="mouseMoved", x=x, y=y, button=button)
        self.frame()

    def drag(self, start: tuple[float, float], end: tuple[float, float]) -> None:
        """Press at `start`, move to `end`, release."""
        for kind, (x, y) in (("mousePressed", start), ("mouseMoved", end), ("mouseReleased", end)):
            self.call("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", clickCount=1)
        self.frame()

    def click(self, selector: str) -> None:
        """Click the middle of an element."""
        box = self.run(
            f"(({{x, y, width, height}}) => [x + width / 2, y + height / 2])"
            f"(document.querySelector({json.dumps(selector)}).getBoundingClientRect())"
        )
        self.drag(tuple(box), tuple(box))

    def wheel(self, x: float, y: float, turn: float) -> None:
        """Turn the wheel; negative is away from the user."""
        self.call("Input.dispatchMouseEvent", type="mouseWheel", x=x, y=y, deltaX=0, deltaY=turn)
        self.frame()

    def close(self) -> None:
        """End the browser."""
        self._process.terminate()
        self._process.wait(timeout=20)
        os.close(self._write)
        os.close(self._read)
