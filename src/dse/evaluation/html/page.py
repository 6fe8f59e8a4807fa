"""The HTML of a report."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path

from dse.errors import need_extra
from dse.evaluation.html.pairs import Texts, pairs_page
from dse.evaluation.html.rankings import ranking_page
from dse.evaluation.ranking.report import RankingReport
from dse.evaluation.report import Report

PICTURES = ("scores", "training")  # plots of a report that the page shows; it draws the others itself


def html_page(report: Report | RankingReport, folder: Path, texts: Texts | None = None) -> str:
    """One page with everything in it: style, script, charts and pictures.

    Args:
        report: From `dse.evaluation.saved_report.read_report`.
        folder: Where the report lies, for its plots.
        texts: Texts of pairs by their hash, for the pairs that student and teacher disagree on.

    Raises:
        MissingExtraError: If jinja2 is not installed.
    """
    need_extra("jinja2", "report")
    from jinja2 import Environment, StrictUndefined
    from markupsafe import Markup

    if isinstance(report, RankingReport):
        page = ranking_page(report)
    else:
        page = pairs_page(report, texts or {}, _pictures(folder))
    own = {name: files(__package__).joinpath(name).read_text(encoding="utf-8") for name in ("page.css", "page.js")}
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    template = environment.from_string(files(__package__).joinpath("page.html.j2").read_text(encoding="utf-8"))
    html = template.render(
        page=page,
        date=report.date,
        sections=[section for section in page.sections if section.blocks],
        svg=Markup,  # charts, which escape what they are given
        style=Markup(own["page.css"]),
        script=Markup(own["page.js"]),
        hashes={name: _digest(text) for name, text in own.items()},
    )
    return html.encode("utf-8", "replace").decode("utf-8")  # a lone surrogate of a text


def _pictures(folder: Path) -> Mapping[str, str]:
    """The plots that lie beside the report, as data URIs."""
    plots = {name: folder / "plots" / f"{name}.png" for name in PICTURES}
    return {
        name: f"data:image/png;base64,{base64.b64encode(plot.read_bytes()).decode()}"
        for name, plot in plots.items()
        if plot.is_file()
    }


def _digest(text: str) -> str:
    """What the page's policy calls its own style or script; a browser runs no other."""
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}"
