"""`HttpISP`: a black box behind an address; the same spec with `url` in place of `command`.

One POST a render, `multipart/form-data` with the fields `raw` (the input file), `values` (JSON, key -> value as the
spec writes them) and, unless the parameters are flags, `params` (the filled template). The body of the answer is the
picture.
"""

from __future__ import annotations

import http.client
import json
import secrets
import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from pathlib import Path

from torch import Tensor

from ispkit.core.errors import BlackBoxError, RecipeError
from ispkit.core.frame import Frame
from ispkit.isp.external.command import SpecISP
from ispkit.isp.external.knobs import Written
from ispkit.isp.external.parameter_file import fill
from ispkit.isp.external.spec import BlackBoxSpec

_CHUNK = 1 << 16
_LAST_WORDS = 400
_BYTES_PER_PIXEL = 64  # more than any picture takes


class HttpISP(SpecISP):
    """A program on another machine. Raises `BlackBoxError` with address, reason and the answer's last words."""

    def __init__(
        self, spec: BlackBoxSpec | str | Path, *, cache: Path | None = None, workers: int | None = None
    ) -> None:
        super().__init__(spec, cache=cache, workers=workers)
        if not self.spec.url.startswith(("http://", "https://")):
            raise RecipeError(f"{self.spec.name}: url={self.spec.url!r} should start with http:// or https://")

    def check(self) -> None:
        """Nothing to look for before the first render."""

    def _rendered(self, frame: Frame, digest: str, written: Mapping[str, Written], kept: Path | None) -> Tensor:
        content = self._rooms.input(frame, self.spec.input, digest).read_bytes()
        body, kind = self._form(content, written)
        height, width = frame.size
        answer = self._post(body, kind, _BYTES_PER_PIXEL * height * width + _CHUNK)
        try:
            picture = self._read(answer, frame)
        except BlackBoxError as error:
            raise BlackBoxError(f"{self.spec.url}: {error}") from error
        self._keep(kept, answer)
        return picture

    def _form(self, content: bytes, written: Mapping[str, Written]) -> tuple[bytes, str]:
        """The body of the request and its content type."""
        everything = {**written, **self.spec.params.force}
        fields = {"raw": content, "values": json.dumps(everything).encode()}
        if self.spec.params.format != "flags":
            fields["params"] = fill(self.spec.params.format, self.spec.params.template, everything).encode()
        mark = secrets.token_hex(16)
        parts = []
        for name, value in fields.items():
            file = f'; filename="frame.{self.spec.input.format}"' if name == "raw" else ""
            head = f'--{mark}\r\nContent-Disposition: form-data; name="{name}"{file}\r\n\r\n'
            parts.append(head.encode() + value + b"\r\n")
        return b"".join(parts) + f"--{mark}--\r\n".encode(), f"multipart/form-data; boundary={mark}"

    def _post(self, body: bytes, kind: str, most: int) -> bytes:
        request = urllib.request.Request(self.spec.url, data=body, headers={"Content-Type": kind})
        deadline = time.monotonic() + self.spec.timeout_s
        try:
            with urllib.request.urlopen(request, timeout=self.spec.timeout_s) as answer:
                return self._read_all(answer, deadline, most)
        except urllib.error.HTTPError as error:
            with error:
                words = " ".join(error.read(_CHUNK).decode(errors="replace").split())[-_LAST_WORDS:]
            raise BlackBoxError(f"{self.spec.url} answered {error.code} {error.reason}: {words}") from error
        except TimeoutError as error:
            raise BlackBoxError(f"{self.spec.url} took more than {self.spec.timeout_s:g} s") from error
        except (OSError, http.client.HTTPException) as error:  # refused, reset, cut short
            reason = getattr(error, "reason", error)
            late = isinstance(reason, TimeoutError)
            what = f"took more than {self.spec.timeout_s:g} s" if late else f"cannot be asked ({reason})"
            raise BlackBoxError(f"{self.spec.url} {what}") from error

    def _read_all(self, answer: http.client.HTTPResponse, deadline: float, most: int) -> bytes:
        """The body, within the time limit as a whole: a socket's own limit is for each piece."""
        content = bytearray()
        while chunk := answer.read1(_CHUNK):
            content += chunk
            if time.monotonic() > deadline:
                raise TimeoutError
            if len(content) > most:
                raise BlackBoxError(f"{self.spec.url} sends more than {most} bytes, which is no picture of this frame")
        if answer.length:  # what was announced and did not come
            raise BlackBoxError(f"{self.spec.url} broke off {answer.length} bytes before the end of its answer")
        return bytes(content)
