"""Submitting to Kubeflow Pipelines: a small stand-in speaks its API and keeps what it was told."""

import json

import pytest
import yaml

from components.use_case import Resources, load_use_case
from kizu.context import DEFAULT_USE_CASE
from pipelines.compile import FOLDER
from pipelines.submit import SubmitError, submit, with_registry
from tests.pipelines.kubeflow import running

CASE = load_use_case(DEFAULT_USE_CASE)
TEXT = """\
deploymentSpec:
  executors:
    exec-a: {container: {image: 'kizu/data:0.1.0'}}
    exec-b: {container: {image: 'other/kizu/data:0.1.0'}}
---
platforms: {kubernetes: {}}
"""


@pytest.fixture
def kubeflow():
    with running() as server:
        yield server


@pytest.fixture
def compiled(tmp_path):
    path = tmp_path / "training.yaml"
    path.write_text(TEXT)
    return path


def send(server, compiled, *, registry=None, **arguments):
    return submit(
        compiled, {"use_case": "{}", **arguments}, endpoint=f"http://127.0.0.1:{server.server_port}",
        namespace="kubeflow", experiment="metal-tag", registry=registry,
    )  # fmt: skip


def test_a_pipeline_is_uploaded_and_started_with_its_arguments(kubeflow, compiled):
    """The run names the pipeline's version, has the arguments as they are, and caching is off."""
    assert send(kubeflow, compiled, label_version=7) == "r1"
    (run,) = kubeflow.runs
    assert run["runtime_config"]["parameters"] == {"use_case": "{}", "label_version": 7}
    reference = run["pipeline_version_reference"]
    assert reference["pipeline_id"] == "p1"
    version = next(v for v in kubeflow.versions if v["pipeline_version_id"] == reference["pipeline_version_id"])
    assert version["display_name"].startswith("training-")
    assert run["experiment_id"] == "e1"
    assert list(kubeflow.experiments) == ["metal-tag"]


def test_the_same_text_is_uploaded_once(kubeflow, compiled):
    """A second run of the same text makes no second version."""
    send(kubeflow, compiled)
    before = len(kubeflow.versions)
    assert send(kubeflow, compiled) == "r2"
    assert len(kubeflow.versions) == before
    assert len({json.dumps(run["pipeline_version_reference"]) for run in kubeflow.runs}) == 1


def test_a_version_is_found_among_any_number_of_them(kubeflow, compiled):
    """A pipeline with more versions than a page has, or than the server gives at once, makes no second version."""
    send(kubeflow, compiled)
    (ours,) = (version for version in kubeflow.versions if version["display_name"].startswith("training-"))
    older = [{"pipeline_id": "p1", "pipeline_version_id": f"old{i}", "display_name": f"older-{i}"} for i in range(250)]
    kubeflow.versions[:] = [*older, ours]
    send(kubeflow, compiled)
    assert len(kubeflow.versions) == 251
    assert kubeflow.runs[-1]["pipeline_version_reference"]["pipeline_version_id"] == ours["pipeline_version_id"]


def test_a_login_in_front_of_the_api_is_named_with_what_to_set(kubeflow, compiled):
    """A gateway that answers with the page of a login is named as such; a refusal names the login too."""
    kubeflow.login = True
    with pytest.raises(SubmitError, match=r"KIZU_KFP_TOKEN.*KIZU_KFP_COOKIE"):
        send(kubeflow, compiled)
    kubeflow.login, kubeflow.refuse = False, "/pipelines"
    with pytest.raises(SubmitError, match="KIZU_KFP_TOKEN"):
        send(kubeflow, compiled)


def test_a_token_and_a_cookie_go_with_each_request(kubeflow, compiled):
    """What the settings give for a login is sent to the gateway, and the run starts."""
    submit(
        compiled, {"use_case": "{}"}, endpoint=f"http://127.0.0.1:{kubeflow.server_port}", namespace="kubeflow",
        experiment="metal-tag", registry=None, token="the-token", cookie="session=abc",
    )  # fmt: skip
    assert len(kubeflow.runs) == 1
    assert {(h["Authorization"], h["Cookie"]) for h in kubeflow.headers} == {("Bearer the-token", "session=abc")}


def test_a_changed_pipeline_is_a_new_version_of_the_same(kubeflow, compiled):
    """A run of a changed pipeline uses the new version."""
    send(kubeflow, compiled)
    compiled.write_text(TEXT + "# changed\n")
    send(kubeflow, compiled)
    first, second = (run["pipeline_version_reference"] for run in kubeflow.runs)
    assert first["pipeline_id"] == second["pipeline_id"]
    assert first["pipeline_version_id"] != second["pipeline_version_id"]


def test_images_come_from_the_clusters_registry(kubeflow, compiled):
    """The uploaded pipeline names images of the cluster's registry."""
    send(kubeflow, compiled, registry="registry.factory:5000/kizu/")
    uploads = [body for path, _, body in kubeflow.calls if path.startswith("/pipelines/upload")]
    assert uploads
    assert all(b"registry.factory:5000/kizu/data:0.1.0" in body for body in uploads)


def test_a_use_cases_resources_are_a_version_of_their_own(kubeflow):
    """The uploaded pipeline asks for the resources; the arguments of the run do not contain them."""
    for memory in ("9Gi", "9Gi", "17Gi"):
        submit(
            FOLDER / "training.yaml", {"use_case": "{}"}, endpoint=f"http://127.0.0.1:{kubeflow.server_port}",
            namespace="kubeflow", experiment="metal-tag", registry=None,
            use_case=CASE.model_copy(update={"resources": Resources(memory=memory)}),
        )  # fmt: skip
    uploads = [body for path, _, body in kubeflow.calls if path.startswith("/pipelines/upload_version")]
    assert [(b"resourceMemoryLimit: 9Gi" in body, b"resourceMemoryLimit: 17Gi" in body) for body in uploads] == [
        (True, False), (False, True),
    ]  # fmt: skip
    assert {tuple(run["runtime_config"]["parameters"]) for run in kubeflow.runs} == {("use_case",)}


def test_a_detector_with_an_image_of_its_own_is_sent_with_it(kubeflow):
    """The steps that train get the detector's image from the cluster's registry; the other steps keep theirs."""
    fcos = CASE.model_copy(update={"training": CASE.training.model_copy(update={"detector": "fcos"})})
    submit(
        FOLDER / "training.yaml", {"use_case": "{}"}, endpoint=f"http://127.0.0.1:{kubeflow.server_port}",
        namespace="kubeflow", experiment="metal-tag", registry="r", use_case=fcos,
    )  # fmt: skip
    (upload,) = (body for path, _, body in kubeflow.calls if path.startswith("/pipelines/upload_version"))
    assert upload.count(b"image: r/training-permissive:0.1.0") == 2
    assert b"r/training:0.1.0" not in upload
    assert upload.count(b"image: r/data:0.1.0") == 4


def test_only_our_images_are_renamed():
    """Images of other projects and all documents of the file stay; without a registry no byte changes."""
    specification, platform = yaml.safe_load_all(with_registry(TEXT, "r"))
    found = {
        name: executor["container"]["image"] for name, executor in specification["deploymentSpec"]["executors"].items()
    }
    assert found == {"exec-a": "r/data:0.1.0", "exec-b": "other/kizu/data:0.1.0"}
    assert platform == {"platforms": {"kubernetes": {}}}
    assert with_registry(TEXT, None) == TEXT


@pytest.mark.parametrize("path", ["/runs", "/pipelines", "/experiments"])
def test_a_refusal_is_an_error_that_names_the_endpoint(kubeflow, compiled, path):
    """Where any call is refused, the error names the endpoint and no run starts."""
    kubeflow.refuse = path
    with pytest.raises(SubmitError, match=rf"127\.0\.0\.1:{kubeflow.server_port} did not take the pipeline training"):
        send(kubeflow, compiled)
    assert kubeflow.runs == []


def test_an_endpoint_that_is_away_is_an_error_that_names_it(compiled):
    """Nothing listens on port 9, and the error names the endpoint."""
    with pytest.raises(SubmitError, match=r"http://127\.0\.0\.1:9 did not take the pipeline training"):
        submit(compiled, {}, endpoint="http://127.0.0.1:9", namespace="n", experiment="e", registry=None)
