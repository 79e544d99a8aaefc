"""Unlabelled images -> labeling tasks -> verification tasks -> approved rows. Running it again is safe.

Only `verify` waits for people. It collects drawings and decisions alike, so that a finished drawing becomes a
verification task within seconds.
"""

from typing import NamedTuple

from kfp import dsl

from components.labeling.component import find_unlabelled, label, verify
from components.reporting.component import report_labels
from pipelines.step_pods import LONGEST_RUN_DAYS
from pipelines.wiring import pipeline_config, settled


class LabelingOutputs(NamedTuple):
    """Counts of this run, and the label store's version after it."""

    found: int
    labelled: int
    open_labeling: int
    approved: int
    rejected: int
    open_verification: int
    label_version: int


@dsl.pipeline(
    name="labeling",
    description="Find images without an approved label, have people label and verify them.",
    pipeline_config=pipeline_config(days=LONGEST_RUN_DAYS),
)
def labeling(use_case: str, wait_s: int = 0) -> LabelingOutputs:
    """use_case: the use case as canonical JSON. wait_s: how long to wait for people; 0 collects what is finished."""
    found = settled(find_unlabelled(use_case=use_case), "labeling")
    drawn = settled(label(use_case=use_case, batch_uri=found.outputs["batch_uri"]), "labeling")
    checked = settled(verify(use_case=use_case, wait_s=wait_s, labelled=drawn.outputs["labelled"]), "labeling")
    settled(report_labels(use_case=use_case, label_version=checked.outputs["label_version"]), "labeling")
    return LabelingOutputs(
        found=found.outputs["count"],
        labelled=checked.outputs["labelled"],
        open_labeling=checked.outputs["open_labeling"],
        approved=checked.outputs["approved"],
        rejected=checked.outputs["rejected"],
        open_verification=checked.outputs["open_tasks"],
        label_version=checked.outputs["label_version"],
    )
