"""An approved version -> a signed release and the desired state of its group. Publishes and ends: no pod waits."""

from typing import NamedTuple

from kfp import dsl

from components.deployment.component import publish_release, resolve_approved
from pipelines.wiring import pipeline_config, settled


class DeploymentOutputs(NamedTuple):
    """What was published."""

    version: int
    release_digest: str
    sequence: int


@dsl.pipeline(
    name="deployment",
    description="Have the signer publish an approved model to its group of devices.",
    pipeline_config=pipeline_config(days=1),
)
def deployment(use_case: str, version: int = 0, again: bool = False, downgrade: bool = False) -> DeploymentOutputs:
    """use_case: canonical JSON. version: the model version; 0 takes the newest approved one. again: order it anew.

    downgrade: the version may be older than the one that is desired now.
    """
    resolved = settled(resolve_approved(use_case=use_case, version=version), "deployment")
    published = settled(
        publish_release(use_case=use_case, version=resolved.output, again=again, downgrade=downgrade), "deployment"
    )
    return DeploymentOutputs(
        version=resolved.output,
        release_digest=published.outputs["release_digest"],
        sequence=published.outputs["sequence"],
    )
