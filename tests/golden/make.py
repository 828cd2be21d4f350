"""Write the golden blobs, and the SHA-256 of each one's samples (and labels).

There is one of each coder, one of a stream a class, one of each other way to store samples, and one of each
codec of labels of views; and of each network that labels, with samples and alone.

Run it only to add a blob: ``python tests/golden/make.py``. Those that are there stay.
"""

from __future__ import annotations

import hashlib
import json
import sys
from dataclasses import replace
from pathlib import Path
from unittest import mock

FOLDER = Path(__file__).parent
sys.path.insert(0, str(FOLDER.parent))

from labelling import EVERY_VIEW, alone, hybrid  # noqa: E402
from labelling import digest as digest_of_network  # noqa: E402
from making import make_data, make_set  # noqa: E402
from random_latents import in_random_latents  # noqa: E402
from storing import as_floats, even, in_bands, in_epitome, on_grid, powers, taught  # noqa: E402
from viewed import digest as digest_of_labels  # noqa: E402
from viewed import viewed  # noqa: E402

from fedbits import container  # noqa: E402
from fedbits.coding.grid import CODERS, OWN  # noqa: E402
from fedbits.distilled_set import DistilledSet  # noqa: E402
from fedbits.labels import ViewsConfig  # noqa: E402
from fedbits.labels.network.form import NetworkForm  # noqa: E402
from fedbits.labels.network.known import told as told_of  # noqa: E402

# By coder: the shape of a sample, bits, factor.
FORMS = {
    "raw": ((1, 6, 5), 5, 1),
    "order-0": ((12,), 2, 1),
    "neighbours": ((3, 9, 7), 2, 1),
    "median-edge": ((2, 12, 10), 6, 2),
    "mixed": ((3, 8, 7), 4, 1),
    "network": ((3, 7, 6), 5, 1),
    "indices": ((40,), 4, 1),
    "sparse": ((2, 9, 7), 3, 1),
    "own network": ((1, 8, 9), 4, 1),
}


def digest(distilled: DistilledSet) -> str:
    """SHA-256 of the samples as little-endian float32, and of the labels' counts."""
    samples = distilled.samples.numpy().astype("<f4").tobytes()
    return hashlib.sha256(samples + bytes(distilled.class_counts())).hexdigest()


COUNTS = [6, 3, 5]
# By name: a set, and its coder.
OTHERS = {
    "powers": lambda: (on_grid(make_data((3, 6, 5), COUNTS), powers(5, [0.1, 0, -0.3], [2**-7] * 3), 6), 2),
    "powers-halved": lambda: (on_grid(make_data((2, 7, 6), COUNTS), powers(8, [0], [2**-9]), 6, 2), 3),
    "one-pair": lambda: (on_grid(make_data((3, 6, 5), COUNTS), even(3, [-1.5], [0.4]), 6), 2),
    "floats": lambda: (as_floats(make_data((2, 3, 4), COUNTS, dtype="float32"), 6), 0),
    "dct": lambda: (
        in_bands(
            make_data((2, 9, 7), COUNTS), even(4, [-7, -6], [1, 0.9]), even(4, [-1, -1.1], [0.15] * 2), 5, 6
        ),
        4,
    ),
    "dct-halved-powers": lambda: (
        in_bands(make_data((3, 9, 14), COUNTS), powers(6, [0], [0.125]), powers(6, [0], [2**-6]), 3, 6, 2),
        1,
    ),
    "taught": lambda: (taught(make_set(make_data((1, 6, 5), COUNTS), 6, 2)), 2),
}

# By name: an epitome, its coder, and whether each class is coded by itself.
EPITOMES = {
    "epitome": lambda: (  # patches stick out
        in_epitome(
            make_data((2, 9, 7), COUNTS), 6, tokens=5, width=6, heads=2, blocks=1, nonzeros=4, patch=4, bits=4
        ),
        7,
        False,
    ),
    "epitome-flat": lambda: (
        in_epitome(
            make_data((21,), COUNTS, dtype="float32"), 6, tokens=4, width=4, blocks=2, nonzeros=3, patch=5
        ),
        2,
        False,
    ),
    "epitome-linear": lambda: (
        in_epitome(
            make_data((1, 8, 8), [6, 0, 5, 1]),
            6,
            tokens=4,
            width=6,
            heads=3,
            blocks=0,
            nonzeros=3,
            patch=3,
            bits=8,
        ),
        6,
        True,
    ),
}


# By name: latents, a coder that there is not, and whether each class is coded by itself.
LATENTS = {
    "latent": lambda: (  # a dense pyramid, with grids that stick out
        in_random_latents(
            make_data((3, 9, 7), COUNTS),
            6,
            numbers=3,
            scales=(4, 2),
            hidden=4,
            convolutions=1,
            entropy_hidden=5,
        ),
        0,
        False,
    ),
    "latent-stacked": lambda: (
        in_random_latents(
            make_data((2, 7, 6), COUNTS),
            6,
            size=12.0,
            numbers=0,
            scales=(4, 3, 2),
            group=2,
            synthesis="stacked",
            upsampling="learned",
            hidden=4,
            convolutions=2,
            context=24,
            entropy_hidden=5,
            entropy_layers=2,
            components=3,
            precision=0.1,
        ),
        0,
        False,
    ),
    "latent-flat": lambda: (
        in_random_latents(
            make_data((21,), [6, 0, 5, 1], dtype="float32"),
            6,
            numbers=0,
            scales=(5, 2, 2),
            group="class",
            hidden=3,
            convolutions=1,
            class_means=False,
            context=8,
            coarser=False,
            entropy_hidden=4,
            components=1,
        ),
        0,
        True,
    ),
}


def tiny(counts: list[int] = COUNTS, shape: tuple[int, ...] = (1, 6, 5)) -> DistilledSet:
    return make_set(make_data(shape, counts), 40, 2)


# By name: a set with labels of views, its coder, and whether each class is coded by itself. The table of
# "views-vqae" is coded by frequencies, the others under mixed contexts.
VIEWED = {
    "views-vqae": lambda: (viewed(tiny(), "vqae", views=ViewsConfig(5, 1)), 2, False),
    "views-float16": lambda: (
        viewed(tiny(), "float16", views=ViewsConfig(4, 0, 1.0, 0, False, "none"), spread=0.3),
        2,
        False,
    ),
    "views-top": lambda: (
        viewed(tiny([40, 0, 3, 17]), "top", views=ViewsConfig(6, (1 << 32) - 1, 0.25, 45), spread=0.05),
        2,
        False,
    ),
    "views-scalar": lambda: (
        viewed(tiny([40, 20]), "scalar", views=ViewsConfig(3, 2, mix="mixup"), spread=0.1, temperature=2.5),
        2,
        False,
    ),
    "views-pca": lambda: (
        viewed(
            tiny([6, 0, 5, 1]), "pca", views=ViewsConfig(2, 3, 0.5, 0), temperature=64.0, width=3, levels=256
        ),
        2,
        True,
    ),
    "views-vq": lambda: (
        viewed(tiny(shape=(9,)), "vq", views=ViewsConfig(1, 4), temperature=0.0625, segment=2, levels=99),
        2,
        False,
    ),
}


# By name: a set with a network that labels its views, its coder, and whether each class is coded by itself;
# and networks alone, of either kind.
LABELLED = {
    "labeller-convnet": lambda: (
        hybrid(
            make_set(make_data((2, 13, 12), COUNTS), 6, 2),
            replace(EVERY_VIEW, temperature=2.5, rotation=45, flipped=False, mix="mixup"),
        ),
        2,
        False,
    ),
    "labeller-mlp": lambda: (hybrid(tiny([6, 0, 5, 1], (9,)), replace(EVERY_VIEW, least_area=1.0)), 2, True),
    "labeller-known": lambda: (
        alone(make_data((4,), [1, 1, 1]).spec, known=told_of([0, 5, 6000])),
        0,
        False,
    ),
    "labeller-alone": lambda: (alone(make_data((1, 14, 15), [1, 1, 1]).spec), 0, False),
    "labeller-alone-mlp": lambda: (alone(make_data((2, 3, 4), [1, 1]).spec, NetworkForm("mlp", 5)), 0, False),
}


def made(name: str) -> tuple[DistilledSet, int, bool]:
    """A set, its coder, and whether each class is coded by itself."""
    if name == "class-streams":  # and with a normalisation of two bytes a channel
        data = make_data((2, 6, 5), [6, 0, 5, 1])
        spec = replace(data.spec, mean=(0.3125, -0.9375), std=(0.25, 0.0234375))
        return make_set(replace(data, spec=spec), 6, 3, 2), 2, True
    if name in EPITOMES:
        return EPITOMES[name]()
    if name in LATENTS:
        return LATENTS[name]()
    if name in VIEWED:
        return VIEWED[name]()
    if name in LABELLED:
        return LABELLED[name]()
    if name in OTHERS:
        return *OTHERS[name](), False
    shape, bits, factor = FORMS[name]
    number = next(number for number, (coder, _) in CODERS.items() if coder == name)
    return make_set(make_data(shape, [6, 3, 5]), 6, bits, factor), number, False


def main() -> None:
    names = ("sha256", "labels", "views", "networks")
    known, labels, views, told = (FOLDER / f"{name}.json" for name in names)
    digests = json.loads(known.read_text()) if known.exists() else {}
    learnt = json.loads(labels.read_text()) if labels.exists() else {}
    tables = json.loads(views.read_text()) if views.exists() else {}
    networks = json.loads(told.read_text()) if told.exists() else {}
    coders = [coder for coder, _ in CODERS.values()]
    for name in [*coders, "class-streams", *OTHERS, *EPITOMES, *LATENTS, *VIEWED, *LABELLED]:
        path = FOLDER / f"v1-{name.replace(' ', '-')}.fbits"
        if path.name not in digests:
            distilled, number, per_class = made(name)
            stored = "fedbits.parameterization"
            with (
                mock.patch(f"{stored}.pixel.smallest_coder", lambda *_, n=number: (n, 0.0)),
                mock.patch(f"{stored}.pixel.too_large_to_mix", lambda *_, n=number: n == OWN),
                mock.patch(f"{stored}.entropy._LEAST_SYMBOLS", 0),
                mock.patch(f"{stored}.epitome.stream.smallest", lambda *_, n=number: (n, 0.0)),
            ):
                path.write_bytes(container.encode(distilled, per_class=per_class))
            digests[path.name] = digest(distilled)
            if distilled.soft_labels is not None:
                sha256 = hashlib.sha256(distilled.soft_labels.to_bytes()).hexdigest()
                learnt[path.name] = {"sha256": sha256, "learning_rate": distilled.learning_rate}
            if distilled.network is not None:
                networks[path.name] = digest_of_network(distilled.network)
            if distilled.view_labels is not None:
                tables[path.name] = digest_of_labels(distilled.view_labels)
    known.write_text(json.dumps(digests, indent=1) + "\n")
    labels.write_text(json.dumps(learnt, indent=1) + "\n")
    views.write_text(json.dumps(tables, indent=1) + "\n")
    told.write_text(json.dumps(networks, indent=1) + "\n")


if __name__ == "__main__":
    main()
