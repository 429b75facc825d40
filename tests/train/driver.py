"""Train the stand-in in a folder: alone, killed after so many steps, or as one of `torchrun`'s processes."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

import torch
from stand_ins import recipe_data, started

from ispkit.train.journal import Hooks
from ispkit.train.ranks import joined
from ispkit.train.recipe import to_recipe


def main(folder: Path, steps: int | None) -> None:
    torch.set_num_threads(1)
    done = []

    def progress(_: object) -> None:
        done.append(1)
        if len(done) == steps:
            os.kill(os.getpid(), signal.SIGKILL)

    with joined("cpu") as ranks:
        dropout = 0.1 if ranks.world == 1 else 0.0  # each process draws its own
        training = started(folder, to_recipe(recipe_data()), hooks=Hooks(progress), ranks=ranks, dropout=dropout)
        training.run()
        torch.save(training.model.state_dict(), folder / f"final{ranks.rank}.pt")


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else None)
