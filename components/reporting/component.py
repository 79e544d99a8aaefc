"""The kfp component of the label report."""

from kfp import dsl

from components import container_images


@dsl.component(base_image=container_images.DATA, install_kfp_package=False)
def report_labels(
    use_case: str, label_version: int, summary: dsl.Output[dsl.Markdown], page: dsl.Output[dsl.HTML]
) -> None:
    """Write the label report as of a version of the label store: the counts as Markdown, the whole report as a page."""
    from datetime import UTC, datetime
    from pathlib import Path

    from components.reporting.write import write_report
    from components.settings import settings
    from components.use_case import parse_use_case

    product = parse_use_case(use_case)
    now = datetime.now(UTC)
    write_report(settings(), product, int(label_version), Path(summary.path), Path(page.path), now=now)
