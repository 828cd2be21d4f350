"""Who is who: certificates of the right and the wrong authority, of today and of last year, and none."""

from __future__ import annotations

import stat
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from exchanges import Running

from fedbits.errors import ConfigError
from nodes.exchange import access
from nodes.exchange.certificates import make_certificates
from nodes.exchange.client import Target
from nodes.exchange.credentials import Credentials
from nodes.exchange.refusals import Reason, RefusedError, UnreachableError

Exchange = Callable[..., Running]


def credentials(folder: Path, name: str) -> Credentials:
    return Credentials(folder / "ca.crt", folder / f"{name}.crt", folder / f"{name}.key")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("certificates")
    make_certificates(made, ["alpha", "beta"])
    return made


@pytest.fixture
def secure(exchange: Exchange, folder: Path) -> Running:
    return exchange(credentials=credentials(folder, "server"))


def test_the_certificate_says_who_publishes(secure: Running, folder: Path, blobs: list[bytes]) -> None:
    entry = secure.publish(blobs[0], credentials=credentials(folder, "alpha"), node="beta")
    assert entry.node == "alpha"
    with pytest.raises(RefusedError) as refused:
        secure.publish(blobs[0], credentials=credentials(folder, "beta"))
    assert refused.value.reason is Reason.REPLAY


def test_the_wrong_certificates_get_nowhere(secure: Running, folder: Path, tmp_path: Path) -> None:
    make_certificates(tmp_path / "other", ["alpha"])
    late = tmp_path / "late"
    late.mkdir()
    for name in ("ca.crt", "ca.key"):
        (late / name).write_bytes((folder / name).read_bytes())
    make_certificates(late, ["alpha"], days=1, now=datetime.now(UTC) - timedelta(days=3))
    ours, theirs = credentials(folder, "alpha"), credentials(tmp_path / "other", "alpha")
    wrong = {
        "another authority's": Credentials(ours.authority, theirs.certificate, theirs.key),
        "an expired one": credentials(late, "alpha"),
        "another authority for the exchange": Credentials(theirs.authority, ours.certificate, ours.key),
    }
    for name, given in wrong.items():
        with pytest.raises(UnreachableError, match="certificates of both ends"):
            secure.sets(credentials=given, patience=0.2)
            pytest.fail(f"got in with {name}")
    with pytest.raises(UnreachableError):
        secure.sets(patience=0.2)  # without any, and without encryption
    assert secure.sets(credentials=ours) == []


def test_a_certificate_for_servers_is_none_for_nodes(secure: Running, folder: Path) -> None:
    with pytest.raises(UnreachableError):
        secure.sets(credentials=credentials(folder, "server"), patience=0.2)


def test_revocation_needs_no_restart(
    exchange: Exchange, folder: Path, blobs: list[bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(access, "_PERIOD", 0.0)
    rules = tmp_path / "access.toml"
    rules.write_text("[default]\npublish = true\n")
    running, alpha = (
        exchange(credentials=credentials(folder, "server"), access=rules),
        credentials(folder, "alpha"),
    )
    running.publish(blobs[0], credentials=alpha)
    rules.write_text("[default]\npublish = true\n[nodes.alpha]\nrevoked = true\n")
    with pytest.raises(RefusedError) as refused:
        running.publish(blobs[1], credentials=alpha)
    assert refused.value.reason is Reason.REVOKED
    assert running.publish(blobs[1], credentials=credentials(folder, "beta")).sequence == 2


@pytest.mark.parametrize("address", ["0.0.0.0:0", "exchange.example.org:9440"])
def test_insecure_is_for_this_machine(exchange: Exchange, address: str) -> None:
    with pytest.raises(ConfigError, match="--insecure is for trials"):
        exchange(address=address)
    with pytest.raises(ConfigError, match="--insecure is for trials"):
        Target(address, Credentials(insecure=True))


def test_half_of_the_credentials_are_none(exchange: Exchange, folder: Path, tmp_path: Path) -> None:
    whole = credentials(folder, "server")
    for given, words in (
        (Credentials(), "--insecure for a trial"),
        (Credentials(whole.authority, whole.certificate), "--key"),
        (Credentials(whole.authority, insecure=True), "does without"),
        (Credentials(whole.authority, whole.certificate, tmp_path / "no.key"), "cannot read"),
        (
            Credentials(whole.authority, whole.certificate, Path(__file__).with_name("__missing__")),
            "cannot read",
        ),
    ):
        with pytest.raises(ConfigError, match=words):
            exchange(credentials=given)
    for given in (
        Credentials(whole.authority, whole.certificate, folder / "alpha.key"),
        Credentials(whole.key, whole.certificate, whole.key),
    ):
        with pytest.raises(ConfigError, match="not a certificate and its key"):
            exchange(credentials=given)
    rubbish = tmp_path / "rubbish.key"
    rubbish.write_text("rubbish")
    with pytest.raises(ConfigError, match="not a PEM file"):
        exchange(credentials=Credentials(whole.authority, whole.certificate, rubbish))


def test_nodes_can_be_added_to_an_authority(secure: Running, folder: Path, blobs: list[bytes]) -> None:
    written = make_certificates(folder, ["gamma"])
    assert sorted(path.name for path in written) == ["gamma.crt", "gamma.key"]
    assert secure.publish(blobs[0], credentials=credentials(folder, "gamma")).node == "gamma"


def test_keys_are_for_their_owner_alone(folder: Path) -> None:
    for path in folder.glob("*.key"):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600


@pytest.mark.parametrize(
    ("names", "hosts", "words"),
    [
        (["alpha"], [], "is there already"),
        (["ca"], [], "no node can be called 'ca'"),
        (["a b"], [], "'a b' cannot name a node"),
        (["new"], ["host"], "--hosts is for a new folder"),
    ],
)
def test_certificates_that_cannot_be(folder: Path, names: list[str], hosts: list[str], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        make_certificates(folder, names, hosts)
