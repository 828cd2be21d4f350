"""A sweep, kept: what ``fedbits sweep`` finds and draws, with what is needed to believe it.

    python benchmarks/sweep.py memory_fashion_mnist --data fashion_mnist --budget 1KiB/class --bits 1,2,3,4 \\
        --factors 1,2 --steps 200 --evaluation-steps 500

All options after the name are those of ``fedbits sweep``. Points are kept in ``runs/sweep-NAME``, so a run
that was stopped goes on; the figures are in ``results/sweep_NAME.json``, the plots beside it.
"""

from __future__ import annotations

import argparse
import shutil
from pathlib import Path

import record
from command import fedbits


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("name", help="of the files of results")
    args, options = parser.parse_known_args()
    folder = Path("runs") / f"sweep-{args.name}"
    found = fedbits("sweep", *options, "--out", str(folder))
    for group, best in found["best"].items():
        print(f"{group}: {best['spot']}, {100 * best['accuracy']:.2f} %")
    for plot in folder.glob("*.png"):
        shutil.copyfile(plot, record.RESULTS / f"sweep_{args.name}-{plot.name}")
    print(record.write(f"sweep_{args.name}", found, found["settings"]["seed"]))


if __name__ == "__main__":
    main()
