"""The app bundle of a run: settings, and the names of modules that every host has installed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import tomli_w

from fedbits.files import write_atomic
from nodes.config import RunConfig

SERVER_APP, CLIENT_APP = "nodes.server_app:app", "nodes.client_app:app"
_VERSION = "1.0.0"  # of the bundle's form; what runs is what is installed


def write_app(config: RunConfig, folder: Path) -> Path:
    """Write the Flower app of a run into ``folder``, from which ``flwr run`` builds its bundle.

    There is no code and no dependency in it, so that no host needs a network to run it.
    """
    app: dict[str, Any] = {
        "build-system": {"requires": ["setuptools"], "build-backend": "setuptools.build_meta"},
        "project": {
            "name": "fedbits-run",
            "version": _VERSION,
            "description": "An exchange of distilled sets",
            "license": "Apache-2.0",
            "dependencies": [],
        },
        "tool": {
            "flwr": {
                "app": {
                    "publisher": "fedbits",
                    "components": {"serverapp": SERVER_APP, "clientapp": CLIENT_APP},
                    "config": config.to_flat(),
                }
            }
        },
    }
    write_atomic(folder / "pyproject.toml", tomli_w.dumps(app))
    return folder
