"""docs/exchange.md against what there is."""

from __future__ import annotations

import re
from pathlib import Path

import typer
from typer.main import get_command

from nodes import cli as simulate
from nodes.exchange import cli
from nodes.exchange.access import AccessList, Rule
from nodes.exchange.metrics import Metrics
from nodes.exchange.refusals import Reason

PAGE = (Path(__file__).parents[3] / "docs" / "exchange.md").read_text()


def options() -> dict[str, set[str]]:
    """The options of each subcommand."""
    app = typer.Typer()
    app.callback()(lambda: None)
    cli.register(app)
    simulate.register(app)
    commands = get_command(app).commands  # type: ignore[attr-defined]
    return {
        name: {option for parameter in command.params for option in parameter.opts}
        for name, command in {**commands["exchange"].commands, "simulate": commands["simulate"]}.items()
    }


def test_its_commands_can_be_called() -> None:
    known = options()
    page = PAGE.replace("\\\n", " ")
    lines = re.findall(r"fedbits exchange (\w+)([^\n#]*(?:\\\\\n[^\n]*)*)", page)
    assert {name for name, _ in lines} == {"serve", "publish", "fetch", "list", "watch", "certificates"}
    lines += re.findall(r"fedbits (simulate)( -[^\n#]*)", page)
    assert lines[-1][0] == "simulate"
    for name, words in lines:
        assert set(re.findall(r"(?<=\s)--?[a-z][a-z-]*", words)) <= known[name], (name, words)
    spoken_of = set(re.findall(r"`(--[a-z-]+)", PAGE))
    assert spoken_of <= set.union(*known.values())


def test_it_explains_every_reason() -> None:
    table = PAGE.split("| reason | meaning |")[1].split("\n\n")[0]
    named = [name for row in table.splitlines() for name in re.findall(r"`(\w+)`", row.partition(" | ")[0])]
    assert sorted(named) == sorted(set(Reason) - {Reason.FAILED})


def test_it_names_every_metric() -> None:
    families = {family.name for family in Metrics().registry.collect()}
    named = PAGE.split("`fedbits_exchange_` +")[1].split("- **Health**")[0]
    told = {re.sub(r"_total$", "", name) for name in re.findall(r"`(\w+)", named)}
    assert {f"fedbits_exchange_{name}" for name in told} == families


def test_its_access_list_can_be_read() -> None:
    found = AccessList.parse(re.search(r"```toml\n(.*?)```", PAGE, re.DOTALL)[1])  # type: ignore[index]
    assert found.rule("alpha") == Rule(publish=True, fetch=True, quota=4 << 30)
    assert found.rule("mallory").revoked and found.rule("anybody") == Rule(fetch=True)
