"""What the core loads: neither the engines that stand on it nor what only some data sets need."""

from __future__ import annotations

import pytest
from fresh import in_fresh_process

HEAVY = ["flwr", "avalanche", "sionna", "ray", "matplotlib", "torchvision", "sklearn", "grpc"]
CORE = (
    *("budget", "checkpoint", "coding", "container", "data", "distill", "distilled_set", "evaluate", "fit"),
    *("labels", "matching", "networks", "optimise", "parameterization", "plan", "quantization"),
    *("recipe_toml", "recipes", "selection", "sweep"),
)


@pytest.mark.parametrize(
    "statement", ["import fedbits", "import " + ", ".join(f"fedbits.{module}" for module in CORE)]
)
def test_what_is_loaded(statement: str) -> None:
    code = f"{statement}\nimport sys\nprint([name for name in {HEAVY} if name in sys.modules])"
    assert in_fresh_process(code) == "[]"


def test_the_package_alone_does_not_load_torch() -> None:
    assert in_fresh_process("import fedbits, sys; print('torch' in sys.modules)") == "False"


def test_public_names() -> None:
    code = "import fedbits\nprint(all(getattr(fedbits, name) for name in fedbits.__all__))"
    assert in_fresh_process(code) == "True"
