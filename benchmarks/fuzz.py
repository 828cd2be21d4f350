"""The long run of the fuzzers: how many inputs, what became of them, the slowest, the most memory.

    python benchmarks/fuzz.py --jobs 2

``plain`` mutates the corpus of ``tests/fuzz`` by a seed of its own, and goes on from what went a new way;
``pure`` does the same with protobuf's pure-Python implementation; ``hypothesis`` draws damage of valid blobs
and whole messages; ``guided`` is libFuzzer through atheris (extra ``fuzz``), guided by the coverage of
fedbits. Every input is one that no input before it in its process was, and is put through
``container.decode``. What breaks something is kept in ``runs/fuzz/NAME/found``, and the run goes on. After
Ctrl-C, the same command with ``--resume`` goes on too. ``extremes`` decodes blobs that ask for much, and
says what a unit of declared work takes, and a declared number.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import record

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "tests"))

from fuzz import campaign, tally, worker  # noqa: E402

# Together more than the million that is promised: kinds, and processes, meet some inputs that others met.
KINDS = {"plain": 500_000, "pure": 100_000, "hypothesis": 120_000, "guided": 400_000}


class Progress:
    """A line now and then: inputs, the rate of late, the time that is left, findings."""

    def __init__(self, shares: list[campaign.Share], every: float = 15.0) -> None:
        self._wanted, self._every = sum(share.inputs for share in shares), every
        self._found = {share.folder / "found" for share in shares}
        self._before = self._findings()
        self._last = (time.monotonic(), sum(share.tally.inputs for share in shares))

    def __call__(self, inputs: int) -> None:
        now, (before, known) = time.monotonic(), self._last
        if now - before < self._every:
            return
        rate = (inputs - known) / (now - before)
        left = f"{(self._wanted - inputs) / rate / 60:.0f} min left" if rate else "no end in sight"
        found = self._findings() - self._before
        print(f"{inputs:,} of {self._wanted:,} inputs, {rate:.0f}/s, {left}; {found} kept", flush=True)
        self._last = (now, inputs)

    def _findings(self) -> int:
        return sum(len(list(folder.iterdir())) for folder in self._found if folder.exists())


def extremes() -> dict[str, Any]:
    command = [sys.executable, str(ROOT / "tests/fuzz/extremes.py")]
    finished = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    return dict(json.loads(finished.stdout.splitlines()[-1]))


def limits() -> dict[str, Any]:
    """What an input may take, and how often what was looked at."""
    return {
        "CPU seconds of one input": tally.SECONDS,
        "MB of one input": tally.MEGABYTES,
        "MB of address space of a process": worker.ADDRESS_SPACE,
        "seconds until an input is taken to hang": campaign.HANGS,
        "one input in so many under the default limits but work": tally.WIDE_ONE_IN,
        "one decoded set in so many sent on": tally.SENT_ONE_IN * tally.CLASSES_ONE_IN,
        "one decoded set in so many decoded without some classes": tally.CLASSES_ONE_IN,
    }


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    for kind, inputs in KINDS.items():
        parser.add_argument(f"--{kind}", type=int, default=inputs, help=f"inputs (default {inputs:,})")
    parser.add_argument("--jobs", type=int, default=2, help="processes at a time")
    parser.add_argument("--seconds", type=float, default=86_400, help="at most; --resume goes on")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--name", default="fuzz", help="of the file of results, and the folder in runs/fuzz")
    parser.add_argument("--resume", action="store_true", help="go on with what the same command began")
    parser.add_argument("--no-extremes", action="store_true", help="leave the blobs out that ask for much")
    args = parser.parse_args()
    if args.guided and find_spec("atheris") is None:
        parser.error("--guided needs atheris: pip install '.[fuzz]', or --guided 0")
    return args


def main() -> None:
    args = arguments()
    wanted = {kind: getattr(args, kind) for kind in KINDS}
    sources, folder = campaign.sources(), ROOT / "runs/fuzz" / args.name
    settings = {"inputs": wanted, "jobs": args.jobs, "seed": args.seed, "sources": sources}
    try:
        campaign.begin(folder, settings, args.resume)
    except ValueError as error:
        raise SystemExit(str(error)) from error
    shares = campaign.split(wanted, args.jobs, folder, args.seed)
    started, commit = time.monotonic(), record.commit()
    try:
        complete = campaign.run(shares, args.jobs, args.seconds, Progress(shares))
    except KeyboardInterrupt:
        complete = False
    wall = Clock(folder).add(time.monotonic() - started)
    result = {
        "complete": complete,
        "limits": limits(),
        "jobs": args.jobs,
        "wall seconds": round(wall, 1),
        "inputs a second": round(sum(share.tally.inputs for share in shares) / wall, 1),
        "commit at the start": commit,
        "fedbits changed meanwhile": campaign.sources() != sources,
        **campaign.report(shares),
    }
    finish(args, result)
    if not complete:
        raise SystemExit("there is more to do: the same command with --resume goes on")


def summary(result: dict[str, Any]) -> str:
    counted = f"{result['inputs']:,} inputs in {result['wall seconds']:.0f} s"
    return f"{counted}: {result['inputs a second']:.0f} a second; {result['broken']} broke something"


def finish(args: argparse.Namespace, result: dict[str, Any]) -> None:
    """Write the results, perhaps of a part; a run that broke something fails."""
    if result["complete"] and not args.no_extremes:
        result["extremes"] = extremes()
    print(record.write(args.name, result, args.seed))
    print(summary(result))
    if result["broken"] or result.get("extremes", {}).get("broken"):
        raise SystemExit(f"see 'findings' in the results, and runs/fuzz/{args.name}/found")


class Clock:
    """Wall time of a campaign, over all its runs."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / "seconds.json"

    def add(self, seconds: float) -> float:
        before = json.loads(self._path.read_text()) if self._path.exists() else 0.0
        self._path.write_text(json.dumps(before + seconds))
        return float(before + seconds)


if __name__ == "__main__":
    main()
