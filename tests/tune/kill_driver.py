"""A study with two workers, started by test_kill.py in a process group of its own, to be killed."""

from __future__ import annotations

import sys
from pathlib import Path

from study_problems import Bowl

from ispkit.tune.plan import Plan
from ispkit.tune.study import tune

if __name__ == "__main__":
    room = Path(sys.argv[1])
    plan = Plan(method="random", budget=float(sys.argv[2]), workers=2)
    tune(Bowl(log=str(room / "renders"), sleep_s=0.05), room / "run", plan)
