"""Child process of `test_damaged_files_through_the_command_line`: develops mutated files, reports as JSON."""

from __future__ import annotations

import json
import resource
import signal
import sys
import time
from pathlib import Path

from ispkit.cli import jobs
from mutations import mutations

PER_FILE_S = 60


def main(room: Path, seed: int, count: int, sources: list[Path]) -> None:
    look = jobs.look("neutral", None, [])
    results = []
    for i, source in enumerate(sources):
        for name, data in mutations(source.read_bytes(), seed + i, count):
            raw, picture = room / name, room / "out" / "picture.png"
            picture.parent.mkdir(exist_ok=True)
            raw.write_bytes(data)
            signal.alarm(PER_FILE_S)
            start = time.monotonic()
            plan = jobs.plan([raw], picture, look=look, output=jobs.Output(crop=(0, 0, 96, 64)))
            (outcome,) = jobs.run_all(plan, quiet=True)
            signal.alarm(0)
            left = sorted(p.name for p in picture.parent.iterdir())
            results.append({"name": name, "error": outcome.error, "left": left, "seconds": time.monotonic() - start})
            raw.unlink()
            picture.unlink(missing_ok=True)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    print(json.dumps({"results": results, "peak_kib": peak}))


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]), [Path(p) for p in sys.argv[4:]])
