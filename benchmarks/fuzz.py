"""The long run of the fuzzers: how many inputs, what became of them, the slowest, the most memory.

    python benchmarks/fuzz.py --plain 500000 --pure 100000 --guided 400000

``plain`` mutates the corpus of ``tests/fuzz`` by a seed of its own, and goes on from what went a new way;
``pure`` does the same with protobuf's pure-Python implementation; ``guided`` is libFuzzer through atheris
(extra ``fuzz``), guided by the coverage of fedbits. Each is a process of its own, has a seed of its own,
stops at the first input that breaks something (kept in ``runs/fuzz/``) and after ``--seconds``. ``extremes``
decodes blobs that ask for much, and says what a unit of declared work takes, and a declared number.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import random
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import record

ROOT = Path(__file__).parents[1]
FOUND = ROOT / "runs/fuzz"
HOSTILE_WEIGHT = 0.1  # the seeds that ask for most take some twenty times as long as others
SCALE = 1 << 22  # units of work of an extreme blob, about
STAGES = ("extremes", "plain", "pure", "guided")


def plain(inputs: int, seconds: float, seed: int) -> dict[str, Any]:
    """Mutations without guidance but one: an input that went a new way joins the pool."""
    from fuzz.mutate import mutate
    from fuzz.target import CORPUS, Tally
    from google.protobuf.internal import api_implementation

    paths = sorted(CORPUS.iterdir())
    pool = [path.read_bytes() for path in paths]
    weights = [HOSTILE_WEIGHT if path.name.startswith("hostile") else 1.0 for path in paths]
    rng, tally, started, broken = random.Random(seed), Tally(), time.monotonic(), None
    while tally.inputs < inputs and time.monotonic() - started < seconds:
        data = mutate(rng.choices(pool, weights)[0], rng)
        try:
            new = tally.check(data)
        except BaseException as error:  # constriction panics with a BaseException
            broken = _keep(data, error)
            break
        if new:
            pool.append(data)
            weights.append(1.0)
    return {"protobuf": api_implementation.Type(), **tally.report(), "broken": broken}


def _keep(data: bytes, error: BaseException) -> str:
    if isinstance(error, KeyboardInterrupt):
        raise error
    FOUND.mkdir(parents=True, exist_ok=True)
    path = FOUND / f"broken-{hashlib.sha256(data).hexdigest()[:12]}.fbits"
    path.write_bytes(data)
    return f"{path.name}: {type(error).__name__}: {error}"


def guided(inputs: int, seconds: float, seed: int) -> dict[str, Any]:
    """libFuzzer with coverage. It counts the inputs; the rest is known up to some seconds before its end."""
    tally = FOUND / f"tally-{seed}.json"
    tally.parent.mkdir(parents=True, exist_ok=True)
    tally.unlink(missing_ok=True)
    flags = (f"-runs={inputs}", f"-max_total_time={int(seconds)}", f"-seed={seed}", "-print_final_stats=1")
    command = [sys.executable, str(ROOT / "tests/fuzz/guided.py"), *flags, f"--tally={tally}"]
    done = subprocess.run(command, capture_output=True, text=True, errors="replace")
    seen = json.loads(tally.read_text()) if tally.exists() else {}
    executed = re.findall(r"number_of_executed_units: (\d+)", done.stderr)
    cover = re.findall(r"cov: (\d+) ft: (\d+)", done.stderr)
    broken = None if done.returncode == 0 else (done.stdout + done.stderr)[-1500:]
    return {
        **seen,
        "inputs": int(executed[-1]) if executed else seen.get("inputs", 0),
        "coverage, features": cover[-1] if cover else None,
        "broken": broken,
    }


def extremes() -> dict[str, Any]:
    """Nanoseconds a unit of declared work, and bytes a number as the limits count them."""
    cases = {name: _extreme(blob) for name, blob in _demanding()}
    cases.pop("warm-up")
    return {
        "most ns a unit": max(case["ns a unit"] for case in cases.values()),
        "most bytes a number": max(case["bytes a number"] or 0.0 for case in cases.values()),
        "broken": "; ".join(case["broken"] for case in cases.values() if case["broken"]) or None,
        "cases": cases,
    }


def _demanding() -> Iterator[tuple[str, bytes]]:
    from fuzz.make_corpus import described

    from fedbits.coding import CODERS

    forms: dict[str, tuple[tuple[int, ...], int, int]] = {
        "one row of one sample, 1 bit": ((1, 1, 4096), 1, 1),
        "one image, 1 bit": ((1, 64, 64), 1, 1),
        "one colour image, 1 bit": ((3, 36, 36), 1, 1),
        "colour images, 4 bits": ((3, 8, 8), 800, 4),
        "colour images, 8 bits": ((3, 4, 4), 300, 8),
        "values, 1 bit": ((1, 1, 1), 400_000, 1),
        "channels, 8 bits": ((3000, 1, 1), 1, 8),
        "features, 8 bits": ((3000,), 1, 8),
    }
    yield "warm-up", described((1, 8, 8), [1000], 1, 0)
    for number, (name, _) in CODERS.items():
        for form, (shape, n, bits) in forms.items():
            yield f"{name}: {form}", described(shape, [n], bits, number, stream=bytes(4000))
    for height, width in ((8, 8), (7, 7), (1, 1), (1, 512)):
        n = SCALE // (42 * -(-width // 8))  # 64 numbers of half a unit, and a symbol of ten
        blob = described((1, height, width), [n], 1, 0, 3, stream=bytes(4000))
        yield f"raw: interpolated to {height} by {width}", blob


def _extreme(blob: bytes) -> dict[str, Any]:
    from fedbits import container
    from fedbits.errors import FormatError

    message = container._open(blob, container.DecodeLimits())
    spec = container._read_task(message)
    samples = sum(container._read_counts(message))
    numbers = container._elements(message, spec, samples)
    work = container._decoding_work(message, spec, samples) + bool(message.pixel.factor_log2) * numbers // 2
    Path("/proc/self/clear_refs").write_text("5")  # Linux: start the peak again
    before, started = _peak(), time.process_time()
    broken = None
    try:
        container.decode(blob).samples  # noqa: B018
    except FormatError:
        pass
    except BaseException as error:  # constriction panics with a BaseException
        broken = _keep(blob, error)
    seconds, grown = time.process_time() - started, _peak() - before
    return {
        "blob bytes": len(blob),
        "work": work,
        "numbers": numbers,
        "seconds": round(seconds, 3),
        "ns a unit": round(1e9 * seconds / work, 1),
        "MB above before": round(grown / 1e6, 1),
        "bytes a number": round(grown / numbers, 1) if numbers > 100_000 else None,
        "broken": broken,
    }


def _peak() -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM"))


def in_child(stage: str, args: argparse.Namespace, inputs: int) -> dict[str, Any]:
    """One stage in a process of its own, with its wall time."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    if stage == "pure":
        environment["PROTOCOL_BUFFERS_PYTHON_IMPLEMENTATION"] = "python"
    seed = 3 * args.seed + STAGES.index(stage)  # two stages must not try the same inputs
    words = (f"--child={stage}", f"--inputs={inputs}", f"--seed={seed}", f"--seconds={args.seconds}")
    started = time.monotonic()
    command = [sys.executable, __file__, *words]
    finished = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True, env=environment)
    wall = time.monotonic() - started
    result = json.loads(finished.stdout.splitlines()[-1])
    if stage == "extremes":
        return result
    print(stage, result["inputs"], "inputs in", round(wall), "s; broken:", result["broken"], flush=True)
    return {**result, "seconds": round(wall, 1), "inputs a second": round(result["inputs"] / wall, 1)}


def child(args: argparse.Namespace) -> dict[str, Any]:
    sys.path.insert(0, str(ROOT / "tests"))
    import torch

    torch.set_num_threads(1)
    if args.child == "extremes":
        return extremes()
    run: Callable[..., dict[str, Any]] = guided if args.child == "guided" else plain
    return run(args.inputs, args.seconds, args.seed)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--plain", type=int, default=500_000, help="inputs")
    parser.add_argument("--pure", type=int, default=100_000, help="inputs")
    parser.add_argument("--guided", type=int, default=400_000, help="inputs")
    parser.add_argument("--seconds", type=float, default=86_400, help="at most, for each of the three")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--name", default="fuzz", help="of the file of results")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    parser.add_argument("--inputs", type=int, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.child:
        print(json.dumps(child(args)))
        return
    wanted = {"plain": args.plain, "pure": args.pure, "guided": args.guided}
    stages = {stage: in_child(stage, args, inputs) for stage, inputs in wanted.items() if inputs}
    extreme = in_child("extremes", args, 0)
    result = {
        "inputs": sum(stage["inputs"] for stage in stages.values()),
        "broken": sum(stage["broken"] is not None for stage in (*stages.values(), extreme)),
        **stages,
        "extremes": extreme,
    }
    print(record.write(args.name, result, args.seed))
    if result["broken"]:
        raise SystemExit("an input broke something: see 'broken' in the results, and runs/fuzz/")


if __name__ == "__main__":
    main()
