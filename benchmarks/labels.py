"""What students learn from labels of views against the bytes that labels take, by every codec.

    python benchmarks/labels.py --data fashion_mnist --ipc 10 --epochs 300
    python benchmarks/labels.py --data cifar10 --recipe quadd --ipc 10 --codecs float16,top,vqae --repeats 3

A set is distilled, a teacher trained and its labels compressed through the ``fedbits`` command; what was made
is kept in ``--folder`` and not made again. ``hard`` is the same set with its classes alone, under DSA.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import record
from command import kept


def measure(args: argparse.Namespace) -> dict[str, Any]:
    """The set, its teacher, and a row for each codec at each ratio."""
    stem = f"{args.data}-{args.recipe}-{args.ipc}-{args.epochs}-{args.mix}-{args.temperature:g}-{args.seed}"
    folder = args.folder
    blob, labels = folder / f"{stem}.fbits", folder / f"{stem}.npz"
    common = ("--data", args.data, "--seed", str(args.seed))
    sizes = ("--recipe", args.recipe, "--ipc", str(args.ipc), "--bits", str(args.bits))
    made = kept(folder / f"{stem}-set.json", "distill", *common, *sizes, "--out", str(blob))
    views = ("--epochs", str(args.epochs), "--mix", args.mix, "--temperature", str(args.temperature))
    teacher = ("--teacher-steps", str(args.teacher_steps), "--width", str(args.width))
    taught = kept(
        folder / f"{stem}-labels.json",
        *("labels", "make", str(blob), *common, *views, *teacher, "--out", str(labels)),
    )
    students = ("--repeats", str(args.repeats), "--steps", str(args.steps))
    hard = kept(folder / f"{stem}-hard-{args.steps}.json", "evaluate", str(blob), *common, *students)
    rows = [
        kept(
            folder / f"{stem}-{codec}-{ratio}-{args.steps}.json",
            *("labels", "compare", str(labels), "--codecs", codec, "--ratios", ratio),
            *("--set", str(blob), *common, *students),
        )["codecs"][0]
        for ratio in args.ratios.split(",")
        for codec in args.codecs.split(",")
    ]
    return {"set": made, "labels": taught, "hard": hard, "codecs": rows}


def draw(result: dict[str, Any], path: Path) -> None:
    """Accuracy against bytes of labels, a line for each codec."""
    import matplotlib

    matplotlib.use("agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(7, 4.5))
    rows = [row for row in result["codecs"] if "mean" in row]
    for codec in dict.fromkeys(row["codec"] for row in rows):
        points = sorted(
            (row["label_bytes"], row["mean"], row["std"]) for row in rows if row["codec"] == codec
        )
        sizes, means, spreads = zip(*points, strict=True)
        axes.errorbar(sizes, [100 * m for m in means], [100 * s for s in spreads], marker="o", label=codec)
    axes.axhline(100 * result["hard"]["mean"], color="grey", linestyle="--", label="classes alone")
    axes.set(xscale="log", xlabel="bytes of labels", ylabel="accuracy of students, %")
    axes.grid(alpha=0.3)
    axes.legend(frameon=False)
    figure.tight_layout()
    figure.savefig(path, dpi=150)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", default="fashion_mnist")
    parser.add_argument("--recipe", default="random", help="of the set")
    parser.add_argument("--ipc", type=int, default=10, help="samples of each class")
    parser.add_argument("--bits", type=int, default=4, help="of a value")
    parser.add_argument("--epochs", type=int, default=300, help="views of each sample")
    parser.add_argument("--mix", default="cutmix")
    parser.add_argument("--temperature", type=float, default=2.0)
    parser.add_argument("--teacher-steps", type=int, default=2000)
    parser.add_argument("--width", type=int, default=64, help="of the teacher")
    parser.add_argument("--codecs", default="float16,scalar,top,pca,rpca,vq,vqae,vqae-rd")
    parser.add_argument("--ratios", default="10,20,40,100")
    parser.add_argument("--steps", type=int, default=1500, help="that students are trained")
    parser.add_argument("--repeats", type=int, default=1)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--folder", type=Path, default=Path("runs/labels"))
    args = parser.parse_args()
    args.folder.mkdir(parents=True, exist_ok=True)
    result = measure(args)
    path = record.write(f"labels_{args.data}_{args.ipc}_{args.epochs}", result, args.seed)
    draw(result, Path(path).with_suffix(".png"))
    for row in result["codecs"]:
        print(row["codec"], row["ratio_asked"], row.get("label_bytes"), row.get("mean"), row.get("error", ""))
    print(path)


if __name__ == "__main__":
    main()
