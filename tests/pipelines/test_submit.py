"""Submitting to Kubeflow Pipelines: a stand-in speaks its API, checks each body and keeps what it was told."""

import re
import ssl
from pathlib import Path

import kfp_server_api
import pytest
import yaml

from components.settings import Settings
from components.use_case import Resources, load_use_case
from kizu.context import DEFAULT_USE_CASE
from pipelines.compile import FOLDER, PIPELINES
from pipelines.connection import Api, Kubeflow, SubmitError
from pipelines.product import text_for, with_registry
from pipelines.step_pods import StepPods
from pipelines.submit import submit
from tests.certificates import Authority
from tests.pipelines.kubeflow import ROUTES, running

CASE = load_use_case(DEFAULT_USE_CASE)
DEPLOYMENT = FOLDER / "deployment.yaml"
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
    """The deployment pipeline, in a file that a test may change."""
    path = tmp_path / "deployment.yaml"
    path.write_bytes(DEPLOYMENT.read_bytes())
    return path


def at(server, **more):
    return Kubeflow(server.url, "kubeflow", **more)


def send(server, compiled, *, use_case=CASE, registry=None, run_name=None, **arguments):
    return submit(Api(at(server, registry=registry)), compiled, use_case, arguments, run_name=run_name)


def names(versions):
    return [version["display_name"] for version in versions]


def test_the_stand_in_has_the_routes_of_the_real_client():
    """Each route, with its method, is one that `kfp-server-api` calls."""
    folder = Path(kfp_server_api.__file__).parent / "api"
    source = "".join(path.read_text(encoding="utf-8") for path in sorted(folder.glob("*_api.py")))
    real = {(method, path) for path, method in re.findall(r"'/apis/v2beta1(/[^']*)', '([A-Z]+)'", source)}
    assert {(method, path) for method, path in ROUTES} <= real


def test_a_pipeline_is_uploaded_and_started_with_its_arguments_and_its_account(kubeflow, compiled):
    """The run names the product's pipeline and its version, and has the ServiceAccount of its identity."""
    started = send(kubeflow, compiled, version=7)
    (run,) = kubeflow.runs
    assert (started.run_id, started.address) == ("r1", f"{kubeflow.url}/#/runs/details/r1")
    assert run["runtime_config"]["parameters"] == {"version": 7}
    assert run["service_account"] == "kizu-deployment"
    assert run["display_name"].startswith("kizu-deployment-metal-tag ")
    assert list(kubeflow.pipelines) == ["kizu-deployment-metal-tag"]
    (version,) = kubeflow.versions
    assert re.fullmatch(r"kizu-deployment-metal-tag-[0-9a-f]{12}", version["display_name"])
    assert run["pipeline_version_reference"] == {key: version[key] for key in ("pipeline_id", "pipeline_version_id")}
    assert list(kubeflow.experiments) == ["metal-tag"]


@pytest.mark.parametrize("pipeline", PIPELINES)
def test_a_run_needs_no_input_in_the_page_of_kubeflow_pipelines(pipeline):
    """Each parameter of what is uploaded has a default, and that of the use case is the use case."""
    text = text_for((FOLDER / f"{pipeline}.yaml").read_text(encoding="utf-8"), pipeline, CASE, StepPods(), None)
    specification, _ = yaml.safe_load_all(text)
    parameters = specification["root"]["inputDefinitions"]["parameters"]
    assert parameters["use_case"]["defaultValue"] == CASE.to_json()
    assert [name for name, said in parameters.items() if not said.get("isOptional")] == []
    assert specification["pipelineInfo"]["name"] == f"kizu-{pipeline}-metal-tag"


def test_the_same_text_is_uploaded_once(kubeflow, compiled):
    """A second run of the same text makes no second version, and no version is named like the pipeline."""
    send(kubeflow, compiled)
    assert send(kubeflow, compiled).run_id == "r2"
    assert len(kubeflow.versions) == len(kubeflow.uploads) == 1
    assert kubeflow.runs[0]["pipeline_version_reference"] == kubeflow.runs[1]["pipeline_version_reference"]
    assert not {*kubeflow.pipelines, "deployment"} & set(names(kubeflow.versions))


@pytest.mark.parametrize("knows_filters", [True, False])
def test_a_version_is_found_among_any_number_of_them(kubeflow, compiled, knows_filters):
    """A pipeline with more versions than a page has makes no second version, whatever the server makes of filters."""
    send(kubeflow, compiled)
    kubeflow.knows_filters = knows_filters
    (ours,) = kubeflow.versions
    later = [
        {"pipeline_id": ours["pipeline_id"], "pipeline_version_id": f"x{i}", "display_name": f"later-{i}"}
        for i in range(250)
    ]
    kubeflow.versions[:] = [ours, *later]
    send(kubeflow, compiled)
    assert len(kubeflow.versions) == 251
    assert kubeflow.runs[-1]["pipeline_version_reference"]["pipeline_version_id"] == ours["pipeline_version_id"]


@pytest.mark.parametrize("status", [409, 500])
@pytest.mark.parametrize("route", ["/pipelines", "/pipelines/upload_version", "/experiments"])
def test_of_two_submits_at_once_the_second_takes_what_the_first_made(kubeflow, compiled, route, status):
    """Between the look and the upload another caller made it: Kubeflow Pipelines says 409, or a raw 500."""
    kubeflow.raced[route] = status
    assert send(kubeflow, compiled).run_id == "r1"
    assert [len(kubeflow.pipelines), len(kubeflow.versions), len(kubeflow.experiments)] == [1, 1, 1]


def test_a_refusal_is_told_in_one_line_without_the_servers_stack(kubeflow, compiled):
    """The upload fails and no version is there: the first line of what the server says is enough."""
    kubeflow.lose_answers_to = None
    api = Api(at(kubeflow))
    compiled.write_text(compiled.read_text())
    kubeflow.raced["/runs"] = 500
    with pytest.raises(SubmitError) as raised:
        submit(api, compiled, CASE, {})
    assert "UNIQUE constraint failed (status 500)" in str(raised.value)
    assert "\n" not in str(raised.value)
    assert ".go:" not in str(raised.value)


@pytest.mark.parametrize("path", ["/pipelines", "/pipelines/upload_version", "/experiments", "/runs"])
def test_a_lost_answer_starts_one_run(kubeflow, compiled, path):
    """Kubeflow Pipelines did what it was asked and the connection broke: what was made is found, and made once."""
    kubeflow.lose_answers_to = path
    assert send(kubeflow, compiled).run_id == "r1"
    assert [len(kubeflow.runs), len(kubeflow.versions), len(kubeflow.pipelines)] == [1, 1, 1]


def test_a_login_in_front_of_the_api_is_named_with_what_to_set(kubeflow, compiled):
    """A gateway that answers with the page of a login is named as such; a refusal names the login too."""
    kubeflow.login = True
    with pytest.raises(SubmitError, match=r"text/html.*page of a login.*KIZU_KFP_TOKEN_FILE.*KIZU_KFP_COOKIE"):
        send(kubeflow, compiled)
    kubeflow.login, kubeflow.refuse = False, "/pipelines"
    with pytest.raises(SubmitError, match="KIZU_KFP_TOKEN"):
        send(kubeflow, compiled)


def test_a_token_and_a_cookie_go_with_each_request(kubeflow, compiled):
    """What the settings give for a login is sent to the gateway, and the run starts."""
    api = Api(at(kubeflow, token="the-token", cookie="session=abc"))
    submit(api, compiled, CASE, {})
    assert len(kubeflow.runs) == 1
    assert {(h["Authorization"], h["Cookie"]) for h in kubeflow.headers} == {("Bearer the-token", "session=abc")}


def test_a_token_in_a_file_is_read_for_each_request(kubeflow, compiled, tmp_path):
    """The token of a ServiceAccount is renewed in its file every hour."""
    token = tmp_path / "token"
    token.write_text("first\n")
    api = Api(at(kubeflow, token_file=str(token)))
    token.write_text("second\n")
    submit(api, compiled, CASE, {})
    seen = [h["Authorization"] for h in kubeflow.headers]
    assert seen[0] == "Bearer first"
    assert set(seen[1:]) == {"Bearer second"}


def test_the_certificate_of_your_own_authority_is_checked_with_its_file(tmp_path, compiled):
    """With the file the run starts; without it, the endpoint is not trusted and the error says so."""
    authority = Authority(tmp_path, "plant")
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(*authority.issue("localhost"))
    with running(tls) as server:
        endpoint = f"https://localhost:{server.server_port}"
        submit(Api(Kubeflow(endpoint, "kubeflow", ca_file=str(authority.file))), compiled, CASE, {})
        assert len(server.runs) == 1
        with pytest.raises(SubmitError, match=r"https://localhost.*[Cc]ertificate"):
            Api(Kubeflow(endpoint, "kubeflow"))


def test_everything_is_made_in_the_namespace_that_is_named(kubeflow, compiled):
    """With profiles, pipelines, experiments and runs are of one namespace."""
    submit(Api(Kubeflow(kubeflow.url, "team-a")), compiled, CASE, {})
    assert {made["namespace"] for made in (*kubeflow.pipelines.values(), *kubeflow.experiments.values())} == {"team-a"}


def test_a_changed_pipeline_is_a_new_version_of_the_same(kubeflow, compiled):
    """A run of a changed pipeline uses the new version."""
    send(kubeflow, compiled)
    compiled.write_text(compiled.read_text().replace("kizu/control:", "kizu/control-next:"))
    send(kubeflow, compiled)
    first, second = (run["pipeline_version_reference"] for run in kubeflow.runs)
    assert first["pipeline_id"] == second["pipeline_id"]
    assert first["pipeline_version_id"] != second["pipeline_version_id"]


def test_images_come_from_the_clusters_registry(kubeflow, compiled):
    """The uploaded pipeline names images of the cluster's registry."""
    send(kubeflow, compiled, registry="registry.factory:5000/kizu/")
    (upload,) = kubeflow.uploads
    assert upload.count(b"image: registry.factory:5000/kizu/control:0.1.0") == 2


def test_a_use_cases_resources_are_a_version_of_their_own(kubeflow):
    """The uploaded pipeline asks for the resources; the arguments of the run do not contain them."""
    for memory in ("9Gi", "9Gi", "17Gi"):
        case = CASE.model_copy(update={"resources": Resources(memory=memory)})
        send(kubeflow, FOLDER / "training.yaml", use_case=case)
    assert [
        (b"resourceMemoryLimit: 9Gi" in body, b"resourceMemoryLimit: 17Gi" in body) for body in kubeflow.uploads
    ] == [(True, False), (False, True)]
    assert all(run["runtime_config"]["parameters"] == {} for run in kubeflow.runs)


def test_a_detector_with_an_image_of_its_own_is_sent_with_it(kubeflow):
    """The steps that train get the detector's image from the cluster's registry; the other steps keep theirs."""
    fcos = CASE.model_copy(update={"training": CASE.training.model_copy(update={"detector": "fcos"})})
    send(kubeflow, FOLDER / "training.yaml", use_case=fcos, registry="r")
    (upload,) = kubeflow.uploads
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
    with pytest.raises(SubmitError, match=rf"127\.0\.0\.1:{kubeflow.server_port} did not .*: permission denied"):
        send(kubeflow, compiled)
    assert kubeflow.runs == []


def test_an_endpoint_that_is_away_is_an_error_that_names_it():
    """Nothing listens on port 9, and the error names the endpoint."""
    with pytest.raises(SubmitError, match=r"http://127\.0\.0\.1:9 did not answer"):
        Api(Kubeflow("http://127.0.0.1:9", "n"))


def test_no_secret_of_the_connection_is_shown_and_all_of_it_comes_from_settings(tmp_path):
    """The settings name the files too; a log of the connection holds neither token nor cookie."""
    environment = {
        "KIZU_KFP_ENDPOINT": "http://kfp/", "KIZU_KFP_TOKEN": "t0ken", "KIZU_KFP_COOKIE": "session=abc",
        "KIZU_KFP_TOKEN_FILE": "/t", "KIZU_KFP_CA_FILE": "/ca.pem", "KIZU_KFP_PAGE": "https://pipelines.example/",
    }  # fmt: skip
    found = Kubeflow.from_settings(Settings.from_environment(environment))
    assert (found.token_file, found.ca_file, found.endpoint) == ("/t", "/ca.pem", "http://kfp")
    assert found.address_of("r7") == "https://pipelines.example/#/runs/details/r7"
    assert repr(found) == "Kubeflow(http://kfp)"
