"""What the commands that take blobs share: reading them from files, and the table of what they spend."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fedbits.cli.common import print_table, read_file, size_text
from fedbits.errors import ConfigError, FedbitsError, FormatError

if TYPE_CHECKING:
    from fedbits.distilled_set import DistilledSet


def read_blob(path: Path) -> bytes:
    """The bytes of a blob file; :class:`ConfigError` where there is none."""
    from fedbits.container import DecodeLimits

    return read_file(path, DecodeLimits().blob_bytes)


def decode_file(path: Path, classes: Collection[int] | None = None) -> DistilledSet:
    """The set in a blob file, or only some ``classes`` of it; an error names the file."""
    from fedbits import container

    blob = read_blob(path)
    try:
        return container.decode(blob, classes=classes)
    except FedbitsError as error:
        raise type(error)(f"{path}: {error}") from error


def inspect_file(path: Path) -> dict[str, Any]:
    """The facts of a blob file's header with its SHA-256; a damaged blob's error names the file."""
    from fedbits import container

    blob = read_blob(path)
    try:
        return {"file": str(path), **container.inspect(blob), "sha256": sha256(blob)}
    except FormatError as error:
        raise type(error)(f"{path}: {error}") from error


def sha256(blob: bytes) -> str:
    """The digest under which a blob is known."""
    import hashlib

    return hashlib.sha256(blob).hexdigest()


def fact_rows(facts: Mapping[str, Any]) -> dict[str, str]:
    """The header's facts in words, for a table."""
    counts = [count for count in facts["class_counts"] if count] or [0]
    span = str(counts[0]) if len(set(counts)) == 1 else f"{min(counts)} to {max(counts)}"
    absent = facts["classes"] - len(counts)
    each = f"{span} of each class" + (f"; {absent} classes have none" if absent else "")
    samples = f"{facts['samples']:,}, {each}" if facts["samples"] else "none: a network is all there is"
    shape = " x ".join(str(side) for side in facts["shape"])
    alone = ", each class by itself" if facts["per_class"] else ""
    rows = {
        "data set": f"{facts['dataset']}, samples of {shape}, {facts['classes']} classes",
        "recipe": facts["recipe"] or "(unnamed)",
        "samples": samples + (", soft labels" if facts["labels"] == "soft" else ""),
        **(view_rows(facts["view_labels"]) if facts["labels"] == "views" else {}),
        **(network_rows(facts["network"]) if facts["labels"] == "network" else {}),
        **(
            {"values": f"{_form(facts)}, coder {facts['coder']}{alone}"} if facts["storage"] != "none" else {}
        ),
        "size": f"{size_text(facts['bytes'])}, {facts['bits_per_class']:,.0f} bits a class",
    }
    if facts["storage"] == "epitome":
        numbers = facts["float32_equivalents"]
        times = f"{4 * numbers / facts['bytes']:.1f} times these bytes"
        rows["by the paper"] = f"{numbers:,.0f} float32 numbers (SPEED, Eq. 7), {times}"
    return rows


def view_rows(facts: Mapping[str, Any]) -> dict[str, str]:
    """What labels of views are, in words."""
    size = ", ".join(f"{name} {facts[name]}" for name in ("width", "segment", "levels") if name in facts)
    mixed = "" if facts["mix"] == "none" else f", {facts['mix']}"
    return {
        "views": f"{facts['epochs']:,} of each sample, crops from {facts['least_area']:.0%}{mixed}",
        "labels": facts["codec"] + f" ({size})" * bool(size) + f", temperature {facts['temperature']:g}",
    }


def network_rows(facts: Mapping[str, Any]) -> dict[str, str]:
    """What the network is that labels views, in words."""
    mixed = "" if facts["mix"] == "none" else f", {facts['mix']}"
    turned = f", turned by up to {facts['rotation']} degrees" if facts["rotation"] else ""
    mirrored = ", mirrored" if facts["mirrored"] else ""
    crops = f"crops from {facts['least_area']:.0%}" if facts["least_area"] < 1 else "not cropped"
    return {
        "network": f"{facts['kind']} of width {facts['width']}, {facts['parameters']:,} weights",
        "views": f"{crops}{turned}{mirrored}{mixed}; temperature {facts['temperature']:g}",
    }


def refuse_alone(path: Path, distilled: DistilledSet, instead: str) -> None:
    """Raise :class:`ConfigError` where a blob holds a network and no samples, and say what to do instead."""
    if not len(distilled):
        raise ConfigError(f"{path} holds a network alone, and no samples: {instead}")


def _form(facts: Mapping[str, Any]) -> str:
    """What values are."""
    if facts["storage"] == "epitome":
        blocks = f"{facts['blocks']} block" + ("" if facts["blocks"] == 1 else "s")
        heads = "" if facts["heads"] == 1 else f" and head of {facts['heads']}"
        codes = f"at most {facts['nonzeros']} coefficients of {facts['bits']} bits a sample{heads}"
        shared = f"{facts['tokens']} tokens of {facts['width']}, {blocks}"
        return f"{codes}, {shared}, patches of {_patch(facts)}"
    if facts["storage"] == "latent":
        return _latents(facts)
    each = f"{facts['bits']} bits each"
    if facts["storage"] == "floats":
        return f"{each} (float32)"
    spaced = " in additive powers of two" if facts["spacing"] == "powers" else ""
    transformed = " of the cosine transform" if facts["transform"] == "dct" else ""
    stored = "" if facts["factor"] == 1 else f", stored {facts['factor']} times smaller a side"
    return each + spaced + transformed + stored


def _latents(facts: Mapping[str, Any]) -> str:
    """Which latents there are, and what makes samples of them."""
    some = [f"{facts['numbers']} numbers"] if facts["numbers"] else []
    some += [f"grids at 1/{' and 1/'.join(map(str, facts['scales']))} of a side"] if facts["scales"] else []
    shared = {"set": "", "class": " for each class"}.get(facts["group"], f" for {facts['group']} classes")
    network = f"{facts['synthesis']} network of {facts['hidden']} features{shared}"
    return f"{facts['latents']:,} latents a sample ({', '.join(some)}), {network}"


def _patch(facts: Mapping[str, Any]) -> str:
    """What a patch covers; the samples of grids have channels, height and width."""
    patch = facts["patch"]
    return f"{patch} x {patch}" if len(facts["shape"]) == 3 else f"{patch} numbers"


def print_ledger(components: Mapping[str, int]) -> None:
    """Where the bits went, one component a row; they sum to the whole blob."""
    total = sum(components.values())
    print_table(
        "Ledger",
        {
            name: f"{bits:>10,} bits  {100 * bits / max(total, 1):5.1f} %"
            for name, bits in {**components, "total": total}.items()
        },
    )
