"""Writes the label report as files."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Final

from components.reporting.page import to_html, to_markdown
from components.reporting.report import LabelReport, ReportOptions, build_report
from components.settings import Settings
from components.stores.objects.whole_file import write_whole
from components.use_case import UseCase

# The pipeline looks at few images, so that a labeling run ends soon. `kizu labels report --images` looks at more.
OPTIONS: Final = ReportOptions(images=200, suspects=20, captures=500, pairs=200)


def write_report(
    config: Settings,
    use_case: UseCase,
    label_version: int,
    summary: Path | None,
    page: Path | None,
    *,
    now: datetime,
    options: ReportOptions = OPTIONS,
) -> LabelReport:
    """Make the report and write it. Each file is written whole or not at all.

    Args:
        config: the settings of the label store, the raw bucket and the model registry.
        use_case: the use case whose labels are reported.
        label_version: the version of the label store; -1 means the latest.
        summary: the file for the Markdown summary; None writes no summary.
        page: the file for the HTML page; None writes no page.
        now: the time that the report shows, UTC.
        options: the limits of the report.

    Returns:
        The report.

    Raises:
        LabelStoreError, ObjectStoreError: a store could not be read; nothing was written.
    """
    report = build_report(use_case, config, options, now, label_version=label_version)
    if summary is not None:
        write_whole(summary, to_markdown(report).encode())
    if page is not None:
        write_whole(page, to_html(report).encode())
    return report
