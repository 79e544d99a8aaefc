"""The report on labels as files, with the settings of this process."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from components.reporting.page import to_html, to_markdown
from components.reporting.report import LabelReport, ReportOptions, build_report
from components.settings import settings
from components.stores.objects.whole_file import write_whole
from components.use_case import parse_use_case

# In a pipeline nobody waits for a model to look at all of it; `kizu labels report --images` does.
OPTIONS: Final = ReportOptions(images=200, suspects=20, captures=500, pairs=200)


def write_report(
    use_case: str, label_version: int, summary: Path | None, page: Path | None, options: ReportOptions = OPTIONS
) -> LabelReport:
    """Make the report and write it, each file whole or not at all. use_case: its JSON or YAML text.

    Raises:
        LabelStoreError, ObjectStoreError: a store could not be read; nothing was written.
    """
    report = build_report(parse_use_case(use_case), settings(), options, datetime.now(UTC), label_version=label_version)
    if summary is not None:
        write_whole(summary, to_markdown(report).encode())
    if page is not None:
        write_whole(page, to_html(report).encode())
    return report
