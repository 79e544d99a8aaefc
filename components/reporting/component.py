"""The kfp side of the report on labels."""

from kfp import dsl

from components import container_images


@dsl.component(base_image=container_images.DATA, install_kfp_package=False)
def report_labels(
    use_case: str, label_version: int, summary: dsl.Output[dsl.Markdown], page: dsl.Output[dsl.HTML]
) -> None:
    """The report as of a version of the label store: its counts as Markdown, all of it as a page."""
    from pathlib import Path

    from components.reporting.write import write_report

    write_report(use_case, int(label_version), Path(summary.path), Path(page.path))
