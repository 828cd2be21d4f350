from __future__ import annotations

import os
from pathlib import Path

import pytest

from fedbits.errors import ConfigError
from nodes.exchange.access import EVERYTHING, Access, AccessList, Right, Rule
from nodes.exchange.identity import certified_name, check_loopback, claimed_name, split_address
from nodes.exchange.refusals import Reason, RefusedError
from nodes.exchange.units import parse_duration, parse_size

LIST = """
[default]
fetch = true

[nodes.alpha]
publish = true
fetch = true
quota = "2KiB"

[nodes."mallory.example.org"]
revoked = true
"""


def test_a_list_says_who_may_do_what() -> None:
    found = AccessList.parse(LIST)
    assert found.rule("alpha") == Rule(publish=True, fetch=True, quota=2048)
    assert found.rule("anybody") == Rule(fetch=True)
    found.rule("anybody").check(Right.FETCH)
    for node, right, reason in (
        ("anybody", Right.PUBLISH, Reason.FORBIDDEN),
        ("mallory.example.org", Right.FETCH, Reason.REVOKED),
    ):
        with pytest.raises(RefusedError) as refused:
            found.rule(node).check(right)
        assert refused.value.reason is reason


def test_without_a_default_others_may_do_nothing() -> None:
    assert AccessList.parse("[nodes.alpha]\npublish = true").rule("beta") == Rule()


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[default", "not TOML"),
        ("[node.alpha]", "'node'"),
        ("[nodes.alpha]\npublsh = true", "'publsh'"),
        ("[nodes.alpha]\npublish = 1", "true or false"),
        ("[nodes.alpha]\nquota = 'much'", "'much'"),
        ("[nodes.'a/b']\npublish = true", "'a/b'"),
        ("nodes = 3", "expected a table"),
        ("[nodes]\nalpha = 3", "expected a table"),
    ],
)
def test_slips_of_the_pen_are_found(text: str, words: str) -> None:
    with pytest.raises(ConfigError, match=r"access list|size") as error:
        AccessList.parse(text)
    assert words in str(error.value)


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def write(path: Path, text: str, stamp: int) -> None:
    path.write_text(text)
    os.utime(path, (stamp, stamp))


def test_a_changed_file_is_read_anew(tmp_path: Path) -> None:
    path, clock = tmp_path / "access.toml", Clock()
    write(path, LIST, 1)
    access = Access(path, clock)
    write(path, LIST + "\n[nodes.beta]\nrevoked = true\n", 2)
    assert not access.rule("beta").revoked  # within the second
    clock.now = 1.0
    assert access.rule("beta").revoked


def test_a_broken_file_changes_nothing(tmp_path: Path) -> None:
    path, clock = tmp_path / "access.toml", Clock()
    write(path, LIST, 1)
    access = Access(path, clock)
    for stamp, text in ((2, "[default"), (3, None)):
        if text is None:
            path.unlink()
        else:
            write(path, text, stamp)
        clock.now += 1.0
        assert access.rule("mallory.example.org").revoked and not access.rule("anybody").publish
    write(path, "[default]\npublish = true", 4)
    clock.now += 1.0
    assert access.rule("anybody").publish


def test_without_a_file_everybody_may_do_everything() -> None:
    assert Access(None).rule("anybody") == EVERYTHING


def test_a_missing_file_is_refused_at_the_start(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot read the access list"):
        Access(tmp_path / "nowhere.toml")


def test_names_come_from_certificates() -> None:
    both = {"x509_common_name": [b"alpha"], "x509_subject_alternative_name": [b"other"]}
    assert certified_name(both) == "alpha"
    assert certified_name({"x509_subject_alternative_name": [b"beta.example.org"]}) == "beta.example.org"
    for contents in (
        {},
        {"x509_common_name": [b""]},
        {"x509_common_name": [b"a b"]},
        {"x509_common_name": [b"\xff"]},
    ):
        with pytest.raises(RefusedError) as refused:
            certified_name(contents)
        assert refused.value.reason is Reason.UNIDENTIFIED


def test_names_may_be_claimed() -> None:
    assert claimed_name([("other", "x"), ("node", "beta")], "node") == "beta"
    assert claimed_name([], "node") == "local"
    with pytest.raises(RefusedError):
        claimed_name([("node", "..")], "node")


def test_loopback_is_what_it_says() -> None:
    for address in ("127.0.0.1:1", "127.9.9.9:1", "[::1]:1", "localhost:1"):
        check_loopback(address)
    for address in ("0.0.0.0:1", "[::]:1", "192.168.0.1:1", "exchange.example.org:1"):
        with pytest.raises(ConfigError, match="--insecure"):
            check_loopback(address)


def test_addresses_are_host_and_port() -> None:
    assert split_address("[::1]:80") == ("::1", 80)
    for address in ("host", "host:", ":80", "host:99999", "::1:80", "http://host:80"):
        with pytest.raises(ConfigError, match="HOST:PORT"):
            split_address(address)


def test_units() -> None:
    assert [parse_size(text) for text in ("4096", "2KiB", "1.5 MB", "1GiB")] == [
        4096,
        2048,
        1_500_000,
        1 << 30,
    ]
    assert [parse_duration(text) for text in ("10s", "5m", "2h", "30d")] == [10.0, 300.0, 7200.0, 2_592_000.0]
    for parse, text in ((parse_size, "x"), (parse_size, "0"), (parse_duration, "5"), (parse_duration, "0s")):
        with pytest.raises(ConfigError, match=text):
            parse(text)
