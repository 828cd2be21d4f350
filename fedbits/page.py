"""Parts of a report as a page that needs nothing beside itself: its style, figures, pictures and facts."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterable
from html import escape
from importlib import resources
from string import Template

from fedbits import sheet
from fedbits.data import Labelled

TIMES = "\N{MULTIPLICATION SIGN}"


def document(title: str, subtitle: str, body: str) -> str:
    """The whole page; ``body`` is HTML. Colours follow the reader's light or dark mode."""
    files = resources.files("fedbits")
    fields = {"title": escape(title), "subtitle": escape(subtitle), "body": body}
    style = files.joinpath("page.css").read_text()
    return Template(files.joinpath("page.html").read_text()).substitute(fields, style=style)


def tile(name: str, value: str, what: str, main: bool = False) -> str:
    """One figure with its name and what it means; ``value`` is HTML."""
    kind = "card tile main" if main else "card tile"
    return f'<div class="{kind}"><i>{escape(name)}</i><b>{value}</b><span>{escape(what)}</span></div>'


def number(value: object) -> str:
    """A cell of a table's column of numbers."""
    return f'<td class="number">{value}</td>'


def definitions(title: str, entries: Iterable[tuple[str, object]]) -> str:
    """A card of names and values."""
    rows = "".join(f"<dt>{escape(str(k))}</dt><dd>{escape(str(v))}</dd>" for k, v in entries)
    return f'<div class="card"><h3>{escape(title)}</h3><dl>{rows}</dl></div>'


def picture(name: str, text: str, png: bytes) -> str:
    """A card with a picture and what it shows."""
    data = base64.b64encode(png).decode()
    return (
        f'<figure class="card"><figcaption><b>{escape(name)}</b> · {escape(text)}</figcaption>'
        f'<img alt="samples of {escape(name)}" src="data:image/png;base64,{data}"></figure>'
    )


def sheet_png(distilled: Labelled, per_class: int) -> bytes:
    """A sheet of samples, classes in rows, as PNG."""
    stream = io.BytesIO()
    sheet.draw(distilled, per_class=per_class).save(stream, format="PNG", optimize=True)
    return stream.getvalue()


def duration(seconds: float) -> str:
    """``48 s``, ``3 min 20 s`` or ``1 h 05 min``."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02} min"
