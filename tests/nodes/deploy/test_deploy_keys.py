"""Keys of a deployment: what is in which folder, and that Flower can read it."""

from __future__ import annotations

import json
import ssl
from datetime import UTC, datetime
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import load_ssh_private_key, load_ssh_public_key
from deploying import command, keys, refusal
from flwr.supercore.primitives.asymmetric import uses_nist_ec_curve

from nodes.deploy.folders import NodeFolder, ServerFolder


def test_each_host_gets_what_it_needs_and_nothing_else(tmp_path: Path) -> None:
    keys(tmp_path / "k", port=8123)
    found = {path.relative_to(tmp_path / "k").as_posix() for path in tmp_path.rglob("*") if path.is_file()}
    server = {"ca.crt", "server.crt", "server.key", "superexec.secret", "server.json", "address"}
    assert found == {
        "ca.crt",
        "ca.key",
        *(f"server/{name}" for name in server),
        *(f"server/nodes/{name}.pub" for name in ("alpha", "beta")),
        *(f"nodes/{n}/{name}" for n in ("alpha", "beta") for name in ("ca.crt", "node.key", "node.json")),
    }
    secret = [path for path in found if path.endswith((".key", ".secret"))]
    assert {(tmp_path / "k" / path).stat().st_mode & 0o777 for path in secret} == {0o600}


def test_flower_can_read_the_keys(tmp_path: Path) -> None:
    keys(tmp_path)
    private = load_ssh_private_key(NodeFolder.read(tmp_path / "nodes/alpha").key.read_bytes(), None)
    public_file = ServerFolder.read(tmp_path).public_keys()["alpha"]
    public = load_ssh_public_key(public_file.read_bytes())
    assert uses_nist_ec_curve(public)  # type: ignore[arg-type]
    assert private.public_key().public_numbers() == public.public_numbers()  # type: ignore[union-attr]


def test_the_server_is_certified_for_the_names_that_nodes_call(tmp_path: Path) -> None:
    keys(tmp_path, server=["fedbits.example.org", "192.0.2.7"], days=2.0)
    certificate = x509.load_pem_x509_certificate((tmp_path / "server/server.crt").read_bytes())
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert {"localhost", "fedbits.example.org"} <= set(names.get_values_for_type(x509.DNSName))
    addresses = {str(address) for address in names.get_values_for_type(x509.IPAddress)}
    assert {"127.0.0.1", "192.0.2.7"} <= addresses
    left = certificate.not_valid_after_utc - datetime.now(UTC)
    assert 1.9 < left.total_seconds() / 86400 <= 2.0
    context = ssl.create_default_context(cafile=tmp_path / "server/ca.crt")
    assert context.get_ca_certs()
    assert NodeFolder.read(tmp_path / "nodes/beta").server == "fedbits.example.org:8000"


def test_nodes_can_be_added_and_keep_their_numbers(tmp_path: Path) -> None:
    keys(tmp_path, port=8123)
    before = (tmp_path / "server/server.crt").read_bytes()
    code, output, _ = command("keys", "--hosts", "gamma", "--out", tmp_path, "--json")
    assert code == 0
    assert "nodes/gamma/node.key" in json.loads(output)["files"]
    assert (tmp_path / "server/server.crt").read_bytes() == before
    folders = [NodeFolder.read(tmp_path / "nodes" / name) for name in ("alpha", "beta", "gamma")]
    assert [folder.number for folder in folders] == [0, 1, 2]
    assert folders[2].server == "127.0.0.1:8123"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--hosts", ""], "names no node"),
        (["--hosts", "a/b"], "'a/b' cannot name a node"),
        (["--hosts", "a,a"], "'a' is there already"),
        (["--hosts", "alpha"], "'alpha' is there already"),
        (["--hosts", "new", "--server", "elsewhere"], "--server is for a new folder"),
    ],
)
def test_wrong_names_are_refused_in_one_sentence(tmp_path: Path, words: list[str], said: str) -> None:
    keys(tmp_path)
    assert said in refusal("keys", *words, "--out", tmp_path)
