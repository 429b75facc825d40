"""`python -m ispkit`, which `torchrun -m ispkit` needs: the same as the command `ispkit`."""

from ispkit.cli.main import run

if __name__ == "__main__":
    run()
