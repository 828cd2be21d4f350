"""Decode blobs in this process, in several ways, and print a digest of each: the child of exactness.py.

    python benchmarks/exact_child.py FOLDER            # every FOLDER/*.fbits, with fedbits
    python benchmarks/exact_child.py FOLDER --reader   # the small ones, with the tests' independent reader

The last line is one JSON object: the digests by blob and way, what this process's numerical libraries say
they run on, and digests of ordinary floating-point arithmetic, which do differ between environments.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import math
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

sys.path.append(str(Path(__file__).parents[1] / "tests"))

READER_SYMBOLS = 1500  # of a blob, at most, that the independent reader reads: it is slow


def decoded(path: Path) -> dict[str, str]:
    """Digests of the samples of one blob, decoded and looked up in several ways."""
    import torch
    from exact_blobs import digest

    from fedbits import container

    blob = path.read_bytes()
    received = container.decode(blob)
    stored, counts = received.parameterization, received.class_counts()
    if not len(received):  # a network alone
        return {"whole": digest(received.samples.numpy(), counts)}
    with torch.no_grad():
        singles = torch.cat([stored(torch.tensor([i])) for i in range(len(received))])
        classes = torch.empty_like(singles)
        for label in reversed(range(received.spec.classes)):
            index = (received.labels == label).nonzero()[:, 0]
            classes[index] = stored(index)
    found = {
        "whole": digest(received.samples.numpy(), counts),
        "one by one": digest(singles.numpy(), counts),
        "class by class, the last first": digest(classes.numpy(), counts),
        "through NumPy": digest(through_numpy(stored), counts),
    }
    if container.inspect(blob)["per_class"]:
        alone = [container.decode(blob, classes=[label]).samples for label, n in enumerate(counts) if n]
        found["each class decoded alone"] = digest(torch.cat(alone).numpy(), counts)
    return found


def through_numpy(stored: Any) -> NDArray[np.float32]:
    """Symbols to samples by NumPy alone, as docs/format.md says."""
    from golden.reader import Message, untransformed, upsampled, values_of

    from fedbits.parameterization import (
        EpitomeParameterization,
        FloatParameterization,
        LatentParameterization,
    )
    from fedbits.wire import distilled_set_pb2 as pb

    if isinstance(stored, FloatParameterization):
        return stored.stored.detach().numpy()
    if isinstance(stored, EpitomeParameterization):
        return epitome_through_python(stored)
    if isinstance(stored, LatentParameterization):
        return latents_through_python(stored)
    message = pb.Pixel()
    stored.declare(message)
    values = values_of(Message(message.SerializeToString()), stored.symbols().numpy())
    values = untransformed(values) if message.transform else values
    if stored.factor > 1 and stored.spec.is_grid:
        _, height, width = stored.spec.grid_shape
        values = upsampled(upsampled(values, stored.factor, 3), stored.factor, 2)[:, :, :height, :width]
    return values.astype(np.float32).reshape(-1, *stored.spec.shape)


def epitome_through_python(stored: Any) -> NDArray[np.float32]:
    """Coefficients to samples by Python's integers alone, as docs/format.md says."""
    from golden.reader import untransformed
    from golden.reader_epitome import Epitome, samples_of

    config, spec, dictionary = stored.config, stored.spec, stored.dictionary()
    sizes = (config.tokens, config.width, config.heads, config.blocks, config.patch, config.nonzeros)
    form = Epitome(*sizes, config.bits, 0, list(dictionary.steps), spec.grid_shape, spec.is_grid)
    tensors = [(tensor.values, tensor.fraction_bits) for tensor in (dictionary.tokens, *dictionary.network)]
    samples = samples_of(form, stored.coefficients().numpy(), tensors, untransformed)
    return samples.reshape(-1, *spec.shape)


def latents_through_python(stored: Any) -> NDArray[np.float32]:
    """Latents to samples by Python's integers alone, as docs/format.md says."""
    from golden.reader import Message, latent_form, untransformed
    from golden.reader_latent import read_groups, samples_of

    from fedbits.wire import distilled_set_pb2 as pb

    message = pb.DistilledSet()
    stored.encode(message, [])  # what is declared, and no latent
    form = latent_form(Message(message.latent.SerializeToString()), stored.spec.shape, stored.spec.classes)
    weights = message.latent.synthesis_weights, message.latent.entropy_weights
    samples = samples_of(
        form, read_groups(form, *weights, untransformed), stored.integers().tolist(), stored.labels.tolist()
    )
    return samples.reshape(-1, *stored.spec.shape)


def read_independently(path: Path) -> dict[str, str]:
    """Digest of what the independent reader makes of one blob, or nothing where that would take long."""
    from exact_blobs import digest
    from golden import reader

    from fedbits import container

    blob = path.read_bytes()
    told = container.inspect(blob)
    stored = told["samples"] * math.prod(told["shape"])
    smaller = told["factor"] ** 2 if len(told["shape"]) == 3 and "factor" in told else 1
    if stored > READER_SYMBOLS * smaller:
        return {}
    samples = reader.read(blob).samples
    return {"independent reader": digest(samples, told["class_counts"])}


def attempt(way: Callable[[Path], dict[str, str]], path: Path) -> dict[str, str]:
    """What ``way`` makes of one blob; where it fails, the error, which is no blob's digest."""
    try:
        return way(path)
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # constriction panics with a BaseException
        return {"failed": f"{type(error).__name__}: {error}"}


def facts() -> dict[str, Any]:
    """What this process's libraries say they run on."""
    import torch
    from numpy._core import _multiarray_umath as umath
    from threadpoolctl import threadpool_info  # comes with scikit-learn

    blas = [library for library in threadpool_info() if "numpy.libs" in library["filepath"]]
    return {
        "torch threads": torch.get_num_threads(),
        "ATen": torch.backends.cpu.get_cpu_capability(),
        "NumPy's BLAS": blas[0].get("architecture") if blas else None,
        "NumPy's BLAS threads": blas[0]["num_threads"] if blas else None,
        "NumPy dispatches": [name for name in umath.__cpu_dispatch__ if umath.__cpu_features__.get(name)],
    }


def arithmetic() -> dict[str, str]:
    """Digests of ordinary float arithmetic: what must not decide anything."""
    import torch

    stream = np.random.default_rng(0)
    left, right = stream.standard_normal((2, 200, 200)).astype(np.float32)
    image = torch.from_numpy(stream.standard_normal((8, 16, 16, 16)).astype(np.float32))
    kernel = torch.from_numpy(stream.standard_normal((32, 16, 3, 3)).astype(np.float32))
    numbers = stream.uniform(0.01, 20, 20_000)
    functions = (math.exp, math.log, math.sin, math.tanh)
    with torch.no_grad():
        results = {
            "NumPy, matrix product": left @ right,
            "NumPy, functions": np.exp(left) + np.log(abs(left)) + np.sin(left),
            "torch, matrix product": (torch.from_numpy(left) @ torch.from_numpy(right)).numpy(),
            "torch, convolution": torch.nn.functional.conv2d(image, kernel).numpy(),
            "torch, functions": (image.exp() + image.sin() + image.softmax(1)).numpy(),
            "Python, functions": np.array([[function(x) for x in numbers] for function in functions]),
        }
    return {name: hashlib.sha256(values.tobytes()).hexdigest()[:12] for name, values in results.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--reader", action="store_true", help="with the independent reader")
    args = parser.parse_args()
    import torch

    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "1")))
    way = read_independently if args.reader else decoded
    digests = {path.name: attempt(way, path) for path in sorted(args.folder.glob("*.fbits"))}
    report = {"digests": digests, "arithmetic": arithmetic(), "facts": facts()}
    print("\n" + json.dumps(report))


if __name__ == "__main__":
    main()
