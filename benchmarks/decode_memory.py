"""How much memory decoding takes: the peak of a fresh process, beside the set that it holds in the end.

    python benchmarks/decode_memory.py --mebibytes 64 256

Sets of 28×28 images of noise in two bits, by coders 0 and 1, of so many MiB of float32 samples; at full
resolution, and stored at half of it. ``--package`` is another folder with a ``fedbits`` in it to decode by.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import record

ROOT = Path(__file__).parent.parent
SHAPE = (1, 28, 28)
BITS = 2

CHILD = """
import json, sys, time
from pathlib import Path
import torch
from fedbits.container import DecodeLimits, decode
torch.set_num_threads(1)

def peak(name):
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(name))

limits = DecodeLimits(1 << 31, 1 << 30, 1 << 40, 1 << 50)
decode(Path(sys.argv[1]).read_bytes(), limits).samples  # loads all that is needed
blob = Path(sys.argv[2]).read_bytes()
Path("/proc/self/clear_refs").write_text("5")  # Linux: start the peak again
before, started = peak("VmRSS"), time.process_time()
samples = decode(blob, limits).samples
seconds = time.process_time() - started
print(json.dumps({"peak": peak("VmHWM") - before, "seconds": seconds, "numbers": samples.numel()}))
"""


def write(path: Path, numbers: int, coder: int, factor_log2: int) -> None:
    """A blob of about so many numbers, of which every symbol is random."""
    from fedbits.coding import RangeWriter, code_grid
    from fedbits.wire import distilled_set_pb2 as pb

    sys.path.insert(0, str(ROOT / "tests"))
    from making import packed

    n, side = max(1, numbers // (SHAPE[1] * SHAPE[2])), SHAPE[1] >> factor_log2
    rng, writer = np.random.default_rng(0), RangeWriter()
    symbols: Any = rng.integers(0, 1 << BITS, (n, 1, side, side), dtype=np.uint8)
    code_grid(writer, coder, 1 << BITS, symbols.shape, symbols)
    task = pb.Task(name="noise", shape=SHAPE, classes=1, normalisation=np.array([0, 1], "<f2").tobytes())
    grid = np.array([-1, 0.5], "<f2").tobytes()
    pixel = pb.Pixel(bits=BITS, coder=coder, factor_log2=factor_log2, grid=grid)
    message = pb.DistilledSet(task_described=task, class_counts=[n], pixel=pixel, stream=writer.bytes())
    path.write_bytes(packed(message))


def measure(package: Path, warm: Path, blob: Path) -> dict[str, Any]:
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-c", CHILD, str(warm), str(blob)]  # of what is in its working folder
    found = subprocess.run(
        command, stdout=subprocess.PIPE, text=True, check=True, env=environment, cwd=package
    )
    told = json.loads(found.stdout)
    return {
        "blob bytes": blob.stat().st_size,
        "samples MiB": round(4 * told["numbers"] / 2**20, 1),
        "peak MiB": round(told["peak"] / 2**20, 1),
        "peak bytes a number": round(told["peak"] / told["numbers"], 2),
        "CPU seconds": round(told["seconds"], 2),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--mebibytes", type=int, nargs="+", default=[64, 256])
    parser.add_argument("--coders", type=int, nargs="+", default=[0, 1])
    parser.add_argument("--package", type=Path, default=ROOT, help="folder of the fedbits that decodes")
    parser.add_argument("--name", default="decode_memory", help="of the file of results")
    args = parser.parse_args()
    results = {}
    with tempfile.TemporaryDirectory() as folder:
        warm, path = Path(folder) / "warm", Path(folder) / "blob"
        for factor_log2 in (0, 1):
            write(warm, 10_000, 0, factor_log2)
            for coder in args.coders:
                for mebibytes in args.mebibytes:
                    write(path, mebibytes << 18, coder, factor_log2)
                    name = f"{mebibytes} MiB, coder {coder}, factor {1 << factor_log2}"
                    results[name] = measure(args.package, warm, path)
                    print(name, results[name], flush=True)
    print(record.write(args.name, results, 0))


if __name__ == "__main__":
    main()
