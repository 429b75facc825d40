"""A small program that stands for somebody's ISP: `box.py MODE RAW OUT PARAMS WIDTH HEIGHT`; it starts fast."""

import json
import struct
import subprocess
import sys
import time
import zlib
from array import array
from pathlib import Path


def png(rows, width):
    """8-bit RGB of gray rows."""

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    body = b"".join(b"\0" + bytes(v for code in row for v in (code, code, code)) for row in rows)
    head = struct.pack(">IIBBBBB", width, len(rows), 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(body)) + chunk(b"IEND", b"")


def main():
    mode, raw, out, params = sys.argv[1:5]
    width, height = map(int, sys.argv[5:7])
    values = json.loads(Path(params).read_text()) if params.endswith(".json") else {}
    samples = array("H", Path(raw).read_bytes())
    gain, offset = values.get("nr", {}).get("gain", 1), values.get("offset", 0)
    rows = [[min(255, int(gain * v) + offset) for v in samples[y * width : (y + 1) * width]] for y in range(height)]
    cut = int(mode.removeprefix("crop")) if mode.startswith("crop") else 0
    rows = [row[cut : width - cut] for row in rows[cut : height - cut]]
    if mode == "exit":
        sys.exit("the sensor is on fire")
    if mode == "hang":
        child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
        Path(values["note"]).write_text(str(child.pid))
        time.sleep(60)
    if mode == "count":
        with Path(values["note"]).open("a") as note:
            note.write("x")
    if mode == "second-time" and not Path(values["note"]).exists():
        Path(values["note"]).touch()
        sys.exit("not yet")
    if mode == "turn":
        rows = [row[::-1] for row in rows[::-1]]
    if mode == "small":
        rows = rows[1:]
    content = png(rows, len(rows[0]))
    content = {"garbage": b"this is no picture", "half": content[: len(content) // 2], "empty": b""}.get(mode, content)
    if mode == "copy":
        content = Path(values["note"]).read_bytes()
    if mode != "silent":
        Path(out).write_bytes(content)


if __name__ == "__main__":
    main()
