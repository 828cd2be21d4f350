"""What base stations gained, as facts, as rows of a terminal and as a section of the page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from statistics import mean
from typing import Any

from fedbits import page, svg
from fedbits.cli import common
from nodes.report import spread
from nodes.sites import ALL, Origin, SiteModel, StationsResult, of_sites

Facts = Mapping[str, Any]


def describe(result: StationsResult) -> dict[str, Any]:
    """``models`` of each origin with mean accuracies in [0, 1]: on all sites' test samples and by site.

    ``here`` is on the test samples of the model's own sites (None where there are none). ``compression`` is
    how many times fewer bytes were sent than all raw measurements take.
    """
    tests = {name: len(part) for name, part in of_sites(result.plan.data.test).items()}
    models = [_describe(model, tests) for model in result.models]
    sizes = {model.origin: model.size for model in result.models}
    ratio = sizes[Origin.RAW] / sizes[Origin.SETS] if models else None
    return {"test_samples": tests, "models": models, "compression": ratio}


def _describe(model: SiteModel, tests: Mapping[str, int]) -> dict[str, Any]:
    means = {name: mean(found) for name, found in model.accuracies.items()}
    return {
        "origin": model.origin.value,
        "sites": list(model.sites),
        "bytes": model.size,
        "samples": model.samples,
        "accuracy": means[ALL],
        "std": spread(model.accuracies[ALL]),
        "accuracies": model.accuracies[ALL],
        "by_site": {name: value for name, value in means.items() if name != ALL},
        "here": _pooled(means, model.sites, tests),
    }


def _of(facts: Facts, origin: Origin) -> list[Facts]:
    return [model for model in facts["models"] if model["origin"] == origin]


def rows(facts: Facts) -> dict[str, str]:
    """For each site, what the server's model and its own know of it and of all sites; and all raw data."""
    if not facts["models"]:
        return {}
    (server,), (raw,) = _of(facts, Origin.SETS), _of(facts, Origin.RAW)
    shown = {
        "raw data of all sites": f"{_percent(raw['accuracy'])}, {common.size_text(raw['bytes'])}: "
        f"{facts['compression']:,.1f} times as many bytes"
    }
    tests = facts["test_samples"]
    alone = {tuple(model["sites"]): model for model in _of(facts, Origin.OWN_RAW)}
    for model in _of(facts, Origin.OWN_SET):
        texts = [
            f"server's {_percent(_pooled(server['by_site'], model['sites'], tests))} here",
            f"own set's {_both(model)}",
        ]
        if tuple(model["sites"]) in alone:
            texts.append(f"own raw data's {_both(alone[tuple(model['sites'])])}")
        shown[", ".join(model["sites"])] = "; ".join(texts)
    return shown


def _both(model: Facts) -> str:
    return f"{_percent(model['here'])} here, {_percent(model['accuracy'])} everywhere"


def _pooled(by_site: Mapping[str, float], names: Sequence[str], tests: Mapping[str, int]) -> float | None:
    """The accuracy on the test samples of these sites; None where there are none."""
    counts = {name: tests[name] for name in names if name in tests}
    return (
        sum(by_site[name] * count for name, count in counts.items()) / sum(counts.values())
        if counts
        else None
    )


def _percent(value: float | None) -> str:
    return "none" if value is None else f"{value:.2%}"


def section(facts: Facts) -> str:
    """A table of all models and their accuracy on each site's test samples, its own sites' in bold."""
    if not facts["models"]:
        return ""
    names = list(facts["test_samples"])
    heads = [
        "trained on",
        *(f'<th class="number">{escape(n)}</th>' for n in ("bytes", "samples", "all", *names)),
    ]
    row = "".join(head if head.startswith("<") else f"<th>{escape(head)}</th>" for head in heads)
    body = "".join(f"<tr>{_cells(model, names)}</tr>" for model in facts["models"])
    return (
        "<h2>Sites</h2><p>Accuracy on the test samples of all sites and of each: of the server's model, of "
        "models of a single site's set or raw measurements (its own site in bold), and of all raw "
        "measurements. "
        f"What was sent is {facts['compression']:,.1f} times smaller than these.</p>"
        f'<div class="card"><div class="scroll"><table><thead><tr>{row}</tr></thead><tbody>{body}</tbody>'
        "</table></div></div>"
    )


def _cells(model: Facts, names: Sequence[str]) -> str:
    single = model["origin"] in (Origin.OWN_SET, Origin.OWN_RAW)
    what = f"{', '.join(model['sites'])}: {model['origin']}" if single else f"all sites: {model['origin']}"
    whole = f"{100 * model['accuracy']:.1f} % <small>± {100 * model['std']:.1f}</small>"
    cells = [svg.bytes_text(model["bytes"]), f"{model['samples']:,}", whole]
    for name in names:
        text = f"{100 * model['by_site'][name]:.1f} %"
        cells.append(f"<b>{text}</b>" if single and name in model["sites"] else text)
    return f"<td>{escape(what)}</td>" + "".join(page.number(cell) for cell in cells)
