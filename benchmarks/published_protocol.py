"""One blob under the published ``dsa`` protocol (width 128, 1,000 epochs), through the Python interface.

    python benchmarks/published_protocol.py BLOB --data fashion_mnist --repeats 1 [--bfloat16]

``--bfloat16`` departs from the protocol in one thing: convolutions and products run in bfloat16 (autocast),
which two CPU cores with such instructions do several times faster. The result says which it was.
"""

from __future__ import annotations

import argparse
from dataclasses import asdict
from pathlib import Path

import record

from fedbits import container, data, evaluate


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("blob", type=Path)
    parser.add_argument("--data", default="fashion_mnist")
    parser.add_argument("--repeats", type=int, default=1)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--bfloat16", action="store_true")
    args = parser.parse_args()
    blob = args.blob.read_bytes()
    protocol = evaluate.protocol("dsa", bfloat16=args.bfloat16)
    found = evaluate.evaluate(
        container.decode(blob), data.load(args.data).test, protocol, repeats=args.repeats, seed=args.seed
    )
    result = {
        "bytes": len(blob),
        "protocol": asdict(protocol),
        "accuracies": found.accuracies,
        "mean": found.mean,
        "std": found.std,
        "seconds": round(found.seconds, 1),
    }
    print(result)
    print(record.write(f"dsa_{args.data}_{len(blob)}B", result, args.seed))


if __name__ == "__main__":
    main()
