"""Bytes to accuracy of one federated run beside FedAvg, through ``fedbits simulate``.

    python benchmarks/federated.py fashion -- --data fashion_mnist --nodes 10 --partition dirichlet:0.1 \
        --budget 10KiB --yardstick fedavg

What stands after ``--`` goes to the command as it is.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time

import record


def main() -> None:
    name, separator, *words = sys.argv[1:] or [""]
    if not name or separator != "--":
        raise SystemExit(__doc__)
    command = [sys.executable, "-c", "import fedbits.cli; fedbits.cli.main()", "simulate", *words, "--json"]
    started = time.monotonic()
    finished = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    report = json.loads(finished.stdout)
    result = {"seconds": round(time.monotonic() - started, 1), "arguments": words, "report": report}
    print(record.write(f"federated_{name}", result, seed=report.get("config", {}).get("seed")))


if __name__ == "__main__":
    main()
