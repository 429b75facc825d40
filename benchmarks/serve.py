"""`ispkit serve` under a bounded load on loopback: errors, latency, throughput and memory, and a stop under load.

    python benchmarks/serve.py [--seconds 600] [--clients 4] [--isp camera-like] [--head mobilenet-v1]

The server is a process of its own. Each client sends one request after the other, chosen at random: camera frames that
are made dark first, camera frames for the head alone, DNG files, dumps, and requests that must be refused (damaged,
truncated, too large, unknown options). At the end the server gets SIGTERM with requests in flight, which must all be
answered. Writes docs/benchmarks/serve.md beside the JSON.
"""

from __future__ import annotations

import argparse
import random
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch

from common import finish, table
from ispkit.charts.scene import studio_scene
from ispkit.data.demo import write_demo_raws
from ispkit.io.geometry import Geometry
from ispkit.isp.tiled import codes
from ispkit.ops.encode import srgb_encode
from ispkit.perceive.heads import open_head
from ispkit.sensor.catalog import load_sensor
from ispkit.sensor.simulate import capture
from ispkit.serve.answers import picture_bytes
from ispkit.serve.client import Client, ServerError

RESULTS = Path(__file__).parent / "results" / "serve.json"
KINDS = {"camera frame, made dark": 8, "camera frame": 4, "DNG": 3, "dump": 3, "to be refused": 2}
"""how often each kind is sent, relative"""
WINDOWS = 10
PERCENTILES = (50, 90, 99)
MARKS = {"least": min, "median": median, "most": max}

Send = Callable[[Client, random.Random], None]


def requests(room: Path) -> Mapping[str, Send]:
    """What the clients send, by kind."""
    scene = codes(srgb_encode(studio_scene(360, 480))[0])
    frames = [picture_bytes(np.roll(scene, 20 * i, 1), "jpeg") for i in range(8)]
    dngs = [path.read_bytes() for path in write_demo_raws(room, height=480, width=640)]
    raw = capture(studio_scene(480, 640), load_sensor("sidd-google-pixel"), iso=800.0)
    samples = raw.data[0, 0].numpy().astype("<u2").tobytes()
    geometry = Geometry(width=640, height=480, bits=16, cfa=raw.meta.cfa, white_level=raw.meta.white_level[0].tolist())
    wrong: list[tuple[bytes, dict[str, Any], int]] = [
        (dngs[0][:50_000], {}, 422),
        (frames[0][:500], {}, 422),
        (b"no picture at all " * 100, {}, 422),
        (samples[:-7], {"geometry": geometry}, 422),
        (samples, {"geometry": Geometry(width=16_000, height=16_000, bits=16, cfa="RGGB")}, 413),
        (frames[0], {"lux": 1e9}, 400),
    ]

    def refused(client: Client, chance: random.Random) -> None:
        body, options, status = chance.choice(wrong)
        try:
            client.see(body, **options)
        except ServerError as error:
            if error.status == status:
                return
            raise
        raise ServerError("a wrong request was answered", 200)

    def dark(client: Client, chance: random.Random) -> None:
        client.ask(chance.choice(frames), as_="both", lux=10 ** chance.uniform(0, 2.3), seed=chance.randrange(1 << 30))

    return {
        "camera frame, made dark": dark,
        "camera frame": lambda client, chance: client.see(chance.choice(frames)) and None,
        "DNG": lambda client, chance: client.ask(chance.choice(dngs), as_="both") and None,
        "dump": lambda client, chance: client.see(samples, geometry=geometry) and None,
        "to be refused": refused,
    }


class Load:
    """Clients that send until told to stop."""

    def __init__(self, url: str, kinds: Mapping[str, Send], clients: int, shares: Mapping[str, int] = KINDS) -> None:
        self.url, self.kinds, self.shares = url, kinds, shares
        self.seconds: dict[str, list[float]] = defaultdict(list)
        self.errors: Counter[str] = Counter()
        self.busy, self.ending = 0, threading.Event()
        self.lock = threading.Lock()
        self.threads = [threading.Thread(target=self._run, args=(i,), daemon=True) for i in range(clients)]
        for thread in self.threads:
            thread.start()

    def stop(self) -> None:
        """No further requests; those under way are waited for."""
        self.ending.set()
        for thread in self.threads:
            thread.join()

    def _run(self, number: int) -> None:
        chance = random.Random(number)
        with Client(self.url) as client:
            while not self.ending.is_set():
                self._one(client, chance)

    def _one(self, client: Client, chance: random.Random) -> None:
        kind = chance.choices(list(self.shares), list(self.shares.values()))[0]
        began = time.perf_counter()
        try:
            self.kinds[kind](client, chance)
        except ServerError as error:
            with self.lock:
                if error.status == 503:
                    self.busy += 1
                else:
                    self.errors[f"{kind}: {error.status} {error}"] += 1
            time.sleep(0.05)
            return
        with self.lock:
            self.seconds[kind].append(time.perf_counter() - began)


def gauge(client: Client, name: str) -> float:
    """One number of the server's metrics."""
    text = client._request("GET", "/metrics").body.decode()
    return next(float(line.split()[1]) for line in text.splitlines() if line.startswith(f"{name} "))


def watched(url: str, load: Load, seconds: float) -> list[dict[str, Any]]:
    """Memory, sampled twice a second, and requests in equal stretches of time."""
    rows, done, began = [], 0, time.monotonic()
    with Client(url) as client:
        for window in range(1, WINDOWS + 1):
            samples = []
            while time.monotonic() - began < seconds * window / WINDOWS:
                time.sleep(0.5)
                samples.append(gauge(client, "ispkit_resident_bytes") / 1e6)
            with load.lock:
                count = sum(map(len, load.seconds.values()))
            row = {"until, s": round(seconds * window / WINDOWS), "requests/s": (count - done) * WINDOWS / seconds}
            row |= {f"memory, MB: {name}": of(samples) for name, of in MARKS.items()}
            rows.append({key: round(float(value), 1) for key, value in row.items()})
            done = count
            print(rows[-1], flush=True)
    return rows


def latencies(seconds: Mapping[str, list[float]]) -> list[dict[str, Any]]:
    """Percentiles a kind, ms."""
    rows = []
    for kind in KINDS:
        values = np.array(seconds.get(kind) or [np.nan]) * 1e3
        marks = {f"{p} %, ms": round(float(np.percentile(values, p)), 1) for p in PERCENTILES}
        rows.append(
            {"request": kind, "answered": len(seconds.get(kind, [])), **marks, "worst, ms": round(values.max())}
        )
    return rows


def stopped(server: subprocess.Popen[str], url: str, kinds: Mapping[str, Send]) -> dict[str, Any]:
    """SIGTERM while requests are under way: what became of them."""
    answered, lost = [], []

    def one(number: int) -> None:
        with Client(url) as client:
            try:
                kinds["DNG"](client, random.Random(number))
                answered.append(number)
            except ServerError as error:
                lost.append(str(error))

    threads = [threading.Thread(target=one, args=(i,)) for i in range(6)]
    for thread in threads:
        thread.start()
    with Client(url) as client:
        while client.health()["in_progress"] < len(threads) and any(t.is_alive() for t in threads):
            time.sleep(0.002)
    began = time.perf_counter()
    server.send_signal(signal.SIGTERM)
    for thread in threads:
        thread.join()
    server.communicate(timeout=60)
    seconds = round(time.perf_counter() - began, 2)
    return {"in flight": len(threads), "answered": len(answered), "lost": lost, "seconds": seconds,
            "exit code": server.returncode}  # fmt: skip


def main() -> None:
    """Measure and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=600.0)
    parser.add_argument("--warm-up", type=float, default=60.0)
    parser.add_argument("--clients", type=int, default=4)
    parser.add_argument("--isp", default="camera-like")
    parser.add_argument("--head", default="mobilenet-v1")
    parser.add_argument("--more", nargs="*", default=[], help="further options of `ispkit serve`, without --")
    parser.add_argument("--json", type=Path, default=RESULTS)
    args = parser.parse_args()
    torch.set_num_threads(1)
    more = [f"--{word}" if i % 2 == 0 else word for i, word in enumerate(args.more)]
    options = ["--isp", args.isp, "--head", args.head, *more, "--port", "0"]
    with tempfile.TemporaryDirectory() as room:
        weights = Path(room) / "fresh.pth"  # what is seen does not matter here
        torch.save(open_head(args.head).get_submodule("net").state_dict(), weights)
        command = [sys.executable, "-m", "ispkit", "serve", *options, "--weights", str(weights)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
            try:
                kinds = requests(Path(room))
                assert server.stdout is not None
                url = server.stdout.readline().split()[2]
                numbers = measured(url, kinds, args)
                numbers["stop"] = stopped(server, url, kinds)
            finally:
                server.kill()
    told(numbers, args, [*options, "--weights", "fresh.pth"])


def measured(url: str, kinds: Mapping[str, Send], args: argparse.Namespace) -> dict[str, Any]:
    """Warm up, each kind alone, so that full batches of all have been there, then all; then load and watch."""
    wrong: Counter[str] = Counter()
    phases = [{kind: 1} for kind in KINDS] + [KINDS]
    for shares in phases:
        warm = Load(url, kinds, args.clients, shares)
        time.sleep(args.warm_up / len(phases))
        warm.stop()
        wrong += warm.errors
    with Client(url) as client:
        start = gauge(client, "ispkit_resident_bytes") / 1e6
    print(f"warm: {start:.0f} MB; wrong so far: {dict(wrong)}", flush=True)
    load = Load(url, kinds, args.clients)
    began = time.perf_counter()
    rows = watched(url, load, args.seconds)
    load.stop()
    seconds = time.perf_counter() - began
    count = sum(map(len, load.seconds.values()))
    with Client(url) as client:
        batches = gauge(client, "ispkit_batch_size_sum") / gauge(client, "ispkit_batch_size_count")
    return {
        "seconds": round(seconds, 1),
        "clients": args.clients,
        "answered as they should": count,
        "errors": dict(load.errors),
        "sent away as busy": load.busy,
        "requests/s": round(count / seconds, 2),
        "frames a batch": round(batches, 2),
        "memory after warm-up, MB": round(start, 1),
        "latency": latencies(load.seconds),
        "windows": rows,
    }


def told(numbers: dict[str, Any], args: argparse.Namespace, options: list[str]) -> None:
    """The page."""
    plain = [{"": key, "value": value} for key, value in numbers.items() if key not in ("latency", "windows", "stop")]
    sections = {
        "The load": f"`ispkit serve {' '.join(options)}`, {args.clients} clients that send one request after the other "
        "from the same machine, in one process. Requests to be refused count as answered where the status is the "
        "right one.\n\n" + table(plain),
        "Latency, as the clients see it": table(numbers["latency"]),
        "Over time": table(numbers["windows"]),
        "SIGTERM with requests in flight": table([numbers["stop"]]),
    }  # fmt: skip
    command = f"python benchmarks/serve.py --seconds {args.seconds:g} --clients {args.clients} --isp {args.isp}"
    finish("The server under load", args.json, numbers, sections, f"{command} --head {args.head}")


if __name__ == "__main__":
    main()
