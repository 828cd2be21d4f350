"""Do all machines decode the same samples? Golden blobs and fresh ones, decoded in unlike environments.

    python benchmarks/exactness.py                                  # 1,000 fresh blobs, every environment
    python benchmarks/exactness.py --fresh 40                       # a short look
    python benchmarks/exactness.py --device cuda --write runs/gpu   # encode there ...
    python benchmarks/exactness.py --read runs/gpu --name exactness_gpu   # ... and decode here

Every blob is of a form of its own: all coders in turn (each forced, not only where it is the smallest), 1 to
8 bits, factors 1 to 8, known and described tasks, grey, coloured and flat samples, few and many. So are
epitomes, of which there are 40 % as many besides. Each environment is a new process with other threads, BLAS
kernels or instruction sets; it decodes every blob in several ways (see exact_child.py), and each must give
the samples that the encoder's process had before it wrote the blob. To show that the environments are unlike,
each also does ordinary float arithmetic, and the results say how many different outcomes that had.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import record
from exact_blobs import forms, made
from exact_epitomes import epitome_forms, made_epitome

from fedbits.coding import CODERS

ROOT = Path(__file__).parents[1]
CHILD = Path(__file__).with_name("exact_child.py")
GOLDEN = ROOT / "tests/golden"
EXPECTED = "expected.json"
EPITOMES = 0.4  # for each fresh blob of pixels, so many of epitomes come on top

NO_FMA = {"GLIBC_TUNABLES": "glibc.cpu.hwcaps=-AVX512F,-AVX2,-FMA,-FMA4,-AVX"}  # of Python's own math
KNOBS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_CORETYPE", "GLIBC_TUNABLES")
KNOBS += ("NPY_DISABLE_CPU_FEATURES", "ATEN_CPU_CAPABILITY", "ONEDNN_MAX_CPU_ISA", "MKL_CBWR")


@dataclass(frozen=True)
class Environment:
    """A process to decode in: environment variables, threads, and what decodes."""

    name: str
    variables: dict[str, str] = field(default_factory=dict)
    threads: int = 1
    reader: bool = False

    def all_variables(self) -> dict[str, str]:
        """Those of this process, but for what an environment sets."""
        inherited = {name: value for name, value in os.environ.items() if name not in KNOBS}
        threads = dict.fromkeys(KNOBS[:3], str(self.threads))
        return {**inherited, "ONEDNN_VERBOSE": "1", **threads, **self.variables}


def environments() -> list[Environment]:
    """All of them; the first changes nothing."""
    from numpy._core import _multiarray_umath as umath

    dispatched = [name for name in umath.__cpu_dispatch__ if umath.__cpu_features__.get(name)]
    wide = [name for name in dispatched if "AVX512" in name or name == "X86_V4"]
    off = {
        "OPENBLAS_CORETYPE": "Prescott",
        "NPY_DISABLE_CPU_FEATURES": " ".join(dispatched),
        "ATEN_CPU_CAPABILITY": "default",
        "ONEDNN_MAX_CPU_ISA": "SSE41",
        "MKL_CBWR": "COMPATIBLE",
        **NO_FMA,
    }
    cores = ("Prescott", "Nehalem", "Sandybridge", "Haswell", "Zen", "SkylakeX")
    return [
        Environment("as it is"),
        Environment("two threads", threads=2),
        *(Environment(f"OpenBLAS for {core}", {"OPENBLAS_CORETYPE": core}) for core in cores),
        Environment("NumPy without AVX-512", {"NPY_DISABLE_CPU_FEATURES": " ".join(wide)}),
        Environment("NumPy without AVX2 and FMA", {"NPY_DISABLE_CPU_FEATURES": " ".join(dispatched)}),
        Environment("torch without AVX-512", {"ATEN_CPU_CAPABILITY": "avx2"}),
        Environment("torch without AVX", {"ATEN_CPU_CAPABILITY": "default"}),
        Environment("oneDNN without AVX", {"ONEDNN_MAX_CPU_ISA": "SSE41"}),
        Environment("MKL for any processor", {"MKL_CBWR": "COMPATIBLE"}),
        Environment("C library without AVX2 and FMA", NO_FMA),
        Environment("all of these off", off),
        Environment("all of these off, two threads", off, threads=2),
        Environment("independent reader", reader=True),
        Environment("independent reader, all off", off, reader=True),
    ]


def write_blobs(folder: Path, fresh: int, seed: int, device: str = "cpu") -> dict[str, Any]:
    """Golden and ``fresh`` blobs, and epitomes besides, into ``folder``, and what their samples must be.

    Returns the latter.
    """
    folder.mkdir(parents=True, exist_ok=True)
    digests = json.loads((GOLDEN / "sha256.json").read_text())
    for name in digests:
        (folder / name).write_bytes((GOLDEN / name).read_bytes())
    for form in forms(fresh, seed):
        name = f"{form.name}.fbits"
        blob, digests[name] = made(form, seed, device)
        (folder / name).write_bytes(blob)
    for epitome in epitome_forms(int(EPITOMES * fresh), seed):
        name = f"{epitome.name}.fbits"
        blob, digests[name] = made_epitome(epitome, seed, device)
        (folder / name).write_bytes(blob)
    expected = {"device": device, "seed": seed, "machine": record.machine(), "digests": digests}
    (folder / EXPECTED).write_text(json.dumps(expected, indent=1))
    return expected


def decode_in(environment: Environment, folder: Path) -> dict[str, Any]:
    """What a process in ``environment`` reports of the blobs in ``folder``, or how it broke."""
    started = time.monotonic()
    command = [sys.executable, str(CHILD), str(folder), *(["--reader"] if environment.reader else [])]
    done = subprocess.run(command, capture_output=True, text=True, env=environment.all_variables())
    seconds = round(time.monotonic() - started, 1)
    if done.returncode:
        return {"seconds": seconds, "broken": done.stderr[-1500:] or f"exit {done.returncode}"}
    report = json.loads(done.stdout.splitlines()[-1])
    isa = [line.split("isa:")[1] for line in done.stdout.splitlines() if "isa:" in line]
    report["facts"]["oneDNN"] = isa[0] if isa else None
    return {"seconds": seconds, "broken": None, **report}


def mismatches(environment: Environment, report: dict[str, Any], expected: dict[str, str]) -> list[str]:
    """Blobs and ways that gave other samples, or none."""
    digests = report.get("digests", {})
    found = [
        f"{environment.name}: {name}, {way if way != 'failed' else digest}"
        for name, ways in digests.items()
        for way, digest in ways.items()
        if digest != expected.get(name)
    ]
    if not environment.reader:  # which leaves out what takes long
        found += [f"{environment.name}: {name}, not decoded" for name in expected if not digests.get(name)]
    return found


def compare(
    folder: Path, expected: dict[str, Any], chosen: list[Environment], jobs: int = 1
) -> dict[str, Any]:
    """Decode ``folder`` in all ``chosen`` environments, and say what differed."""
    digests = expected["digests"]
    rows: dict[str, dict[str, Any]] = {}
    wrong: list[str] = []
    with ThreadPoolExecutor(jobs) as pool:
        reports = list(pool.map(lambda environment: decode_in(environment, folder), chosen))
    for environment, report in zip(chosen, reports, strict=True):
        here = mismatches(environment, report, digests)
        wrong += here
        rows[environment.name] = {
            "variables": environment.variables,
            "threads": environment.threads,
            "seconds": report["seconds"],
            "broken": report["broken"],
            "blobs": sum(bool(ways) for ways in report.get("digests", {}).values()),
            "samples decoded": sum(len(ways) for ways in report.get("digests", {}).values()),
            "mismatches": len(here),
            "facts": report.get("facts"),
            "other arithmetic than the first": _changed(report, reports[0]),
        }
    kinds = reports[0].get("arithmetic", {})
    return {
        "blobs": len(digests),
        "golden": sum(name.startswith("v1-") for name in digests),
        "environments": len(chosen),
        "digests compared": sum(row["samples decoded"] for row in rows.values()),
        "mismatches": len(wrong),
        "broken": sum(row["broken"] is not None for row in rows.values()),
        "different results of ordinary arithmetic": {
            kind: len({r["arithmetic"][kind] for r in reports if "arithmetic" in r}) for kind in kinds
        },
        "which": wrong[:50],
        "by environment": rows,
    }


def _changed(report: dict[str, Any], first: dict[str, Any]) -> list[str]:
    mine, others = report.get("arithmetic", {}), first.get("arithmetic", {})
    return [kind for kind in mine if mine[kind] != others.get(kind)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--fresh", type=int, default=1000, help="blobs besides the golden ones")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--device", default="cpu", help="where samples lie while they are encoded")
    parser.add_argument("--write", type=Path, help="only encode, into this folder")
    parser.add_argument("--read", type=Path, help="decode what --write made, perhaps on another machine")
    parser.add_argument("--jobs", type=int, default=1, help="environments at a time")
    parser.add_argument("--name", default="exactness", help="of the file of results")
    args = parser.parse_args()
    if args.write:
        expected = write_blobs(args.write, args.fresh, args.seed, args.device)
        print(len(expected["digests"]), "blobs in", args.write)
        return
    with tempfile.TemporaryDirectory() as temporary:
        folder = args.read or Path(temporary)
        if args.read:
            expected = json.loads((folder / EXPECTED).read_text())
        else:
            expected = write_blobs(folder, args.fresh, args.seed, args.device)
        result = compare(folder, expected, environments(), args.jobs)
        paths = list(folder.glob("*.fbits"))
        sizes = sorted(path.stat().st_size for path in paths)
    encoder = {"device": expected["device"], "machine": expected["machine"]}
    coders = [name for name, _ in CODERS.values()]
    result = {"encoder": encoder, "coders": coders, "bytes of blobs": [sizes[0], sizes[-1]], **result}
    for name, row in result["by environment"].items():
        print(name, row)
    print({key: value for key, value in result.items() if key != "by environment"})
    print(record.write(args.name, result, expected["seed"]))
    if result["mismatches"] or result["broken"]:
        raise SystemExit("samples differ between environments: see 'which' in the results")


if __name__ == "__main__":
    main()
