"""A pipeline for a product as objects of Kubernetes, in the form in which kfp itself writes them."""

import pytest
import yaml
from kfp import compiler

from components.use_case import load_use_case
from kizu.commands.runs import compile_command
from kizu.context import DEFAULT_USE_CASE, CommandError
from pipelines.compile import FOLDER, PIPELINES
from pipelines.deployment import deployment
from pipelines.product import as_resources, text_for, version_of
from pipelines.step_pods import StepPods

CASE = load_use_case(DEFAULT_USE_CASE)


def text_of(pipeline, case=CASE):
    return text_for((FOLDER / f"{pipeline}.yaml").read_text(encoding="utf-8"), pipeline, case, StepPods(), None)


def shape(document):
    return document["apiVersion"], document["kind"], set(document["spec"]) - {"description"}


def test_the_objects_have_the_form_that_kfp_gives_them(tmp_path):
    """Compiled by kfp for Kubernetes, a pipeline is the same two kinds with the same fields."""
    theirs = tmp_path / "theirs.yaml"
    options = compiler.KubernetesManifestOptions("one", "One", "one-1", "One 1", "kubeflow", True)
    compiler.Compiler().compile(
        deployment, str(theirs), kubernetes_manifest_options=options, kubernetes_manifest_format=True
    )
    ours = list(yaml.safe_load_all(as_resources(text_of("deployment"), "team-a")))
    assert [shape(document) for document in ours] == [shape(d) for d in yaml.safe_load_all(theirs.read_text())]
    assert {document["metadata"]["namespace"] for document in ours} == {"team-a"}


@pytest.mark.parametrize("pipeline", PIPELINES)
def test_a_version_holds_the_pipeline_and_is_named_by_its_digest(pipeline):
    """What `kizu submit` would upload is what the object holds; another use case is another object."""
    text = text_of(pipeline)
    made, version = yaml.safe_load_all(as_resources(text, "kubeflow"))
    assert made["metadata"]["name"] == version["spec"]["pipelineName"] == f"kizu-{pipeline}-metal-tag"
    assert version["metadata"]["name"] == version_of(text, f"kizu-{pipeline}-metal-tag")
    assert [version["spec"]["pipelineSpec"], version["spec"]["platformSpec"]] == list(yaml.safe_load_all(text))
    other = text_of(pipeline, CASE.model_copy(update={"description": "another"}))
    assert version_of(other, "n") != version_of(text, "n")


def test_resources_are_written_for_a_use_case_only(tmp_path):
    """Without one there is no product whose pipelines they would be."""
    with pytest.raises(CommandError, match="--use-case with --as-resources"):
        compile_command(tmp_path, None, as_resources=True)
