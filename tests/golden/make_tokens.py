"""Writes ``v1-tokens.ftl``: once for a version of the format, as later ones must still decode it.

PYTHONPATH=tests python tests/golden/make_tokens.py
"""

from pathlib import Path

from token_teacher import SETTINGS, source, teacher

from fedbits.labels.tokens.making import make

if __name__ == "__main__":
    make(Path(__file__).with_name("v1-tokens.ftl"), teacher(), source(), SETTINGS)
