"""A report read again from the folder of a student, or from the folder that `dse evaluate --output` wrote."""

from __future__ import annotations

import json
from pathlib import Path

from dse.errors import BadDataError
from dse.evaluation.card import FOLDER
from dse.evaluation.ranking.report import RankingReport
from dse.evaluation.report import Report


def find_report(folder: str | Path) -> Path:
    """The folder of a report: the folder itself, or ``report/`` in that of a student.

    Raises:
        BadDataError: If neither holds a `report.json`.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise BadDataError(f"{folder} is no folder; give that of a student made by dse distill, or of a report.")
    for place in (folder / FOLDER, folder):
        if (place / "report.json").is_file():
            return place
    raise BadDataError(f"{folder} holds no report; make one with: dse evaluate STUDENT --output FOLDER")


def read_report(folder: str | Path) -> Report | RankingReport:
    """The report in a folder, as `find_report` gives it, without what its JSON does not keep.

    Raises:
        BadDataError: If it cannot be read, or is no report.
    """
    file = Path(folder, "report.json")
    try:
        values = json.loads(file.read_text(encoding="utf-8"))
        return RankingReport.from_dict(values) if "collection" in values else Report.from_dict(values)
    except (OSError, ValueError, TypeError, AttributeError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise BadDataError(
            f"{file} is no report of dse ({reason}); make it again with dse evaluate --output."
        ) from error
