"""Who may ask the signer, and how much of a request is read before it is known."""

import asyncio
import hashlib
import json
import logging
import stat
import threading
import time

import httpx
import pytest
import uvicorn

from components.deployment.callers import Callers, CallersError, callers_document
from components.deployment.pruning import PrunableAgent
from components.deployment.signer import tls_options
from components.deployment.signer_http import MAX_BODY_BYTES, make_app
from components.deployment.upkeep import Upkeep
from components.settings import Settings, SettingsError
from components.stores.releases.signer_client import SignerClient, SignerError
from deploy.access.identities import SIGNER_CALLERS, environment_for, signer_token, write_signer_callers
from inspection.agent_release import AgentRelease
from inspection.codec import canonical_json
from inspection.documents import DesiredState, Wave
from tests.certificates import Authority
from tests.components.servers import free_port
from tests.deploy.stack_fixture import make_layout
from tests.edge_agent.agent_wheels import build_agent

ORDER = {"model": "metal-tag", "version": 3}


class Operations:
    """The signer's work, recorded."""

    def __init__(self):
        self.asked, self.orders = [], []

    def publish_release(self, model, version):
        self.asked.append(("release", model, version))
        return "ab" * 32

    def desired(self, use_case, group):
        self.asked.append(("desired", use_case, group))

    def desired_names(self):
        return [("metal-tag", "line")]

    def release(self, digest):
        self.asked.append(("read", digest))

    def missing_wheels(self, release):
        return tuple(wheel for build in release.builds for wheel in build.wheels)

    def upload_wheel(self, wheel, data):
        if hashlib.sha256(data).hexdigest() != wheel.sha256:
            raise ValueError("expected the bytes of the wheel, but got others")
        self.asked.append(("wheel", wheel.file, len(data)))

    def publish_agent(self, release):
        self.asked.append(("agent", release.version))
        return release.digest

    def order_agent(self, request):
        self.asked.append(("order", request.digest, request.devices, request.percent))
        self.orders.append(request)
        waves = (Wave(release_digest="cd" * 32, percent=100.0),)
        return DesiredState(sequence=7, use_case=request.use_case, waves=waves, probation_s=1.0)

    def step_agent(self, use_case, group, asked):
        self.asked.append(("step of software", use_case, group, asked.step, asked.sequence, asked.by))
        waves = (Wave(release_digest="cd" * 32, percent=100.0),)
        return DesiredState(sequence=8, use_case=use_case, waves=waves, probation_s=1.0)

    def prune_agents(self, used, newest, *, act):
        self.asked.append(("prune software", tuple(used), newest, act))
        return [PrunableAgent("ef" * 32, "0.1.0", ("agent/x",), 7)]

    def agent_releases(self):
        return [build_agent().release]

    def candidate(self, digest):
        self.asked.append(("candidate", digest))


class Quiet:
    """A repository that needs nothing."""

    def renew(self):
        return False

    def expiries(self):
        return {}


@pytest.fixture
def layout(tmp_path):
    return make_layout(tmp_path)


@pytest.fixture
def operations():
    return Operations()


@pytest.fixture
def app(layout, operations):
    return make_app(operations, Callers.from_file(write_signer_callers(layout)), Upkeep(Quiet()))


def ask(app, method, path, token=None, **options):
    async def send():
        headers = {"Authorization": f"Bearer {token}"} if token is not None else {}
        headers |= options.pop("headers", {})
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://s") as client:
            return await client.request(method, path, headers=headers, **options)

    return asyncio.run(send())


@pytest.mark.parametrize("token", [None, "", "guessed", "\u00e9"])
@pytest.mark.parametrize(
    ("method", "path"),
    [("POST", "/releases"), ("POST", "/desired"), ("POST", "/recover"), ("POST", "/rollout"), ("POST", "/prune"),
     ("POST", "/shadow"), ("POST", "/shadow/end"), ("POST", "/agent"), ("POST", "/agent/order"),
     ("POST", "/agent/rollout"), ("POST", "/agent/prune"),
     ("PUT", f"/agent/wheels/{'ab' * 32}/a-1-py3-none-any.whl"), ("GET", "/agent"), ("GET", "/desired"),
     ("GET", "/desired/metal-tag/line"),
     ("GET", f"/releases/{'ab' * 32}"), ("GET", f"/candidates/{'ab' * 32}")],
)  # fmt: skip
def test_nobody_without_a_token_is_served(app, operations, method, path, token):
    """Neither an order nor a look: 401, and nothing is done."""
    headers = {"Authorization": f"Bearer {token}".encode()} if token else {}
    answer = ask(app, method, path, headers=headers, json=ORDER if method == "POST" else None)
    assert answer.status_code == 401
    assert "KIZU_SIGNER_TOKEN" in answer.json()["error"]
    assert operations.asked == []


@pytest.mark.parametrize(
    ("caller", "method", "path", "status"),
    [
        ("deployment", "POST", "/releases", 200), ("operator", "POST", "/releases", 200),
        ("reconciler", "POST", "/releases", 403), ("reconciler", "POST", "/desired", 403),
        ("reconciler", "POST", "/recover", 403), ("deployment", "POST", "/recover", 403),
        ("fleet-page", "POST", "/desired", 403), ("fleet-page", "POST", "/prune", 403),
        ("reconciler", "POST", "/prune", 403), ("deployment", "POST", "/rollout", 403),
        ("reconciler", "POST", "/shadow", 403), ("deployment", "POST", "/shadow", 403),
        ("reconciler", "POST", "/agent", 403), ("deployment", "POST", "/agent", 403),
        ("deployment", "PUT", f"/agent/wheels/{'ab' * 32}/a-1-py3-none-any.whl", 403),
        ("reconciler", "POST", "/agent/order", 403), ("reconciler", "GET", "/agent", 200),
        ("reconciler", "POST", "/agent/prune", 403), ("deployment", "POST", "/agent/rollout", 403),
        ("fleet-page", "POST", "/shadow", 403), ("reconciler", "GET", "/desired", 200),
        ("deployment", "GET", "/desired/metal-tag/line", 404),
    ],
)  # fmt: skip
def test_each_caller_may_do_what_it_is_for(app, layout, caller, method, path, status):
    """The reconciler looks, the deployment publishes, an operator recovers."""
    answer = ask(app, method, path, signer_token(layout, caller), json=ORDER if method == "POST" else None)
    assert answer.status_code == status


def test_a_call_is_logged_with_its_caller_and_without_the_token(app, layout, caplog):
    """An order with its caller's name; a refusal too, with the address that it came from."""
    token = signer_token(layout, "deployment")
    with caplog.at_level(logging.INFO):
        ask(app, "POST", "/releases", token, json=ORDER)
        ask(app, "POST", "/releases", "guessed", json=ORDER)
    assert "POST /releases from 127.0.0.1: deployment" in caplog.text
    assert "refused POST /releases from 127.0.0.1: nobody known" in caplog.text
    assert token not in caplog.text
    assert "guessed" not in caplog.text


def test_health_and_metrics_need_no_token(app):
    """A probe and a monitor hold no secret."""
    assert [ask(app, "GET", path).status_code for path in ("/livez", "/healthz", "/metrics")] == [200, 200, 200]


class Body:
    """A large request body that counts what was taken of it."""

    def __init__(self, pieces, size=1 << 16):
        self.left, self.size, self.taken = pieces, size, 0

    async def __aiter__(self):
        for _ in range(self.left):
            self.taken += self.size
            yield b"x" * self.size


def test_a_body_that_says_it_is_large_is_not_read(app, layout):
    """64 MiB are announced: 413, and not one byte is taken."""
    body = Body(1024)
    answer = ask(
        app, "POST", "/releases", signer_token(layout, "deployment"), content=body,
        headers={"Content-Length": str(1 << 26)},
    )  # fmt: skip
    assert (answer.status_code, body.taken) == (413, 0)


def test_a_body_that_does_not_say_how_large_it_is_is_read_up_to_the_limit(app, layout):
    """One piece too many, and the rest is left."""
    body = Body(1024)
    answer = ask(app, "POST", "/releases", signer_token(layout, "deployment"), content=body)
    assert answer.status_code == 413
    assert body.taken <= MAX_BODY_BYTES + 2 * body.size


def test_the_body_of_somebody_unknown_is_not_read(app):
    """Who asks is asked first."""
    body = Body(1024)
    assert ask(app, "POST", "/releases", "guessed", content=body).status_code == 401
    assert body.taken == 0


def test_tokens_are_made_once_and_the_signer_holds_digests_alone(layout):
    """One token for each caller; the signer's file is private and names no token; a pipeline has its own alone."""
    path = write_signer_callers(layout)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    tokens = {name: signer_token(layout, name) for name in SIGNER_CALLERS}
    assert len(set(tokens.values())) == len(tokens) == 4
    assert not any(token in path.read_text() for token in tokens.values())
    assert write_signer_callers(layout).read_text() == path.read_text()
    assert environment_for(layout, "deployment")["KIZU_SIGNER_TOKEN"] == tokens["deployment"]
    assert environment_for(layout, "reconciler")["KIZU_SIGNER_TOKEN"] == tokens["reconciler"]
    assert environment_for(layout, "fleet-page")["KIZU_SIGNER_TOKEN"] == tokens["fleet-page"]
    for identity in ("training", "labeling", "signer", "mlflow", "auditor"):
        assert "KIZU_SIGNER_TOKEN" not in environment_for(layout, identity)


@pytest.mark.parametrize(
    "document",
    [
        "", "[]", "{}", '{"schema_version": 2, "callers": {}}',
        '{"schema_version": 1, "callers": {"a": {"rights": ["all"], "token_sha256": "' + "a" * 64 + '"}}}',
        '{"schema_version": 1, "callers": {"a": {"rights": [], "token_sha256": "short"}}}',
        '{"schema_version": 1, "callers": {"a": {"rights": [], "token_sha256": "' + "a" * 64 + '", "admin": true}}}',
    ],
)  # fmt: skip
def test_a_damaged_file_of_callers_is_refused(tmp_path, document):
    """The signer does not start with it."""
    path = tmp_path / "callers.json"
    path.write_text(document)
    with pytest.raises(CallersError, match=r"callers\.json"):
        Callers.from_file(path)


def test_rights_of_a_newer_signer_are_named_with_what_to_do(tmp_path):
    """Who takes an image back sees that the file of callers has to go back with it."""
    path = tmp_path / "callers.json"
    path.write_text(json.dumps(callers_document({"a": "token"}, {"a": ("read", "fly")})))
    with pytest.raises(CallersError, match=r"for a, but got fly: was the file written for a newer signer"):
        Callers.from_file(path)


def test_without_a_file_of_callers_there_is_no_signer(tmp_path):
    """Nobody is let in because nobody was named."""
    with pytest.raises(CallersError, match="cannot read the signer's callers"):
        Callers.from_file(tmp_path / "missing.json")
    assert Callers(()).who("Bearer anything") is None


def test_an_empty_token_is_nobodys(tmp_path):
    """Not even that of a caller whose token was left empty by mistake."""
    path = tmp_path / "callers.json"
    path.write_text(json.dumps(callers_document({"a": ""}, {"a": ("read",)})))
    callers = Callers.from_file(path)
    assert callers.who("Bearer ") is None
    assert callers.who(None) is None


def test_with_mutual_tls_a_caller_needs_a_certificate_besides_its_token(tmp_path, app, layout):
    """With certificate and token: served. Without a certificate: no connection, whatever the token."""
    authority = Authority(tmp_path, "plant")
    server_cert, server_key = authority.issue("localhost")
    caller_cert, caller_key = authority.issue("deployment")
    options = tls_options(
        Settings(
            signer_cert_file=str(server_cert), signer_key_file=str(server_key),
            signer_client_ca_file=str(authority.file),
        )
    )  # fmt: skip
    port = free_port()
    server = uvicorn.Server(uvicorn.Config(app, host="127.0.0.1", port=port, log_level="critical", **options))
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        while not server.started:
            assert thread.is_alive()
            time.sleep(0.02)
        known = {
            "signer_url": f"https://localhost:{port}", "signer_ca_file": str(authority.file),
            "signer_token": signer_token(layout, "deployment"),
        }  # fmt: skip
        with_certificate = Settings(
            **known, signer_client_cert_file=str(caller_cert), signer_client_key_file=str(caller_key)
        )
        assert SignerClient.from_settings(with_certificate).desired_names() == [("metal-tag", "line")]
        with pytest.raises(SignerError, match="does not answer"):
            SignerClient.from_settings(Settings(**known)).desired_names()
    finally:
        server.should_exit = True
        thread.join(10)


def test_callers_certificates_without_the_signers_own_are_a_mistake():
    """Else it would speak plain HTTP and ask nobody."""
    with pytest.raises(SettingsError, match="KIZU_SIGNER_CERT_FILE"):
        tls_options(Settings(signer_client_ca_file="/ca.pem"))


def test_an_operator_publishes_and_orders_software_of_the_agent(app, layout, operations):
    """The wheels that are missing are sent by digest, then the document is signed, then it is ordered for a group."""
    built = build_agent()
    token = signer_token(layout, "operator")
    document = json.loads(built.release.to_json())
    missing = ask(app, "POST", "/agent/missing", token, json=document).json()["missing"]
    assert missing == [wheel.sha256 for wheel in built.wheels.values()]
    for wheel in built.wheels.values():
        path = f"/agent/wheels/{wheel.sha256}/{wheel.file}"
        assert ask(app, "PUT", path, token, content=wheel.data).status_code == 200
    assert ask(app, "POST", "/agent", token, json=document).json() == {"digest": built.digest}
    order = {"use_case": "metal-tag", "group": "line", "digest": built.digest, "devices": ["dev1"]}
    assert ask(app, "POST", "/agent/order", token, json=order).json()["sequence"] == 7
    assert operations.asked == [
        *(("wheel", wheel.file, len(wheel.data)) for wheel in built.wheels.values()),
        ("agent", "0.1.0"),
        ("order", built.digest, ("dev1",), 100.0),
    ]
    assert AgentRelease.from_json(canonical_json(ask(app, "GET", "/agent", token).json()["agent"][0])) == built.release


def test_the_reconciler_takes_a_rollout_of_software_on_and_an_operator_orders_it_by_stages(app, layout, operations):
    """The step names the sequence that its caller has seen; the stages are those of the use case's policy."""
    body = {"use_case": "metal-tag", "group": "line", "sequence": 7, "step": "advance", "by": "reconciler"}
    answer = ask(app, "POST", "/agent/rollout", signer_token(layout, "reconciler"), json=body)
    assert (answer.status_code, answer.json()["sequence"]) == (200, 8)
    assert operations.asked.pop() == ("step of software", "metal-tag", "line", "advance", 7, "reconciler")
    token = signer_token(layout, "operator")
    order = {"use_case": "metal-tag", "group": "line", "digest": "ab" * 32, "by": "qa"}
    many = [f"press-{number}" for number in range(400)]
    waves = {"stages": [{"devices": many}, {"percent": 100.0, "min_s": 60.0}], "time_zone": "Asia/Tokyo"}
    assert ask(app, "POST", "/agent/order", token, json=order | {"waves": waves}).status_code == 200
    assert operations.orders[-1].waves.stages[0].devices == tuple(many)
    for wrong in ({"waves": {"stages": []}}, {"waves": waves, "devices": ["d1"]}, {"waves": []}, {"by": 3}):
        assert ask(app, "POST", "/agent/order", token, json=order | wrong).status_code == 409
    body = {"used": ["ab" * 32], "newest": 3, "act": True}
    pruned = ask(app, "POST", "/agent/prune", token, json=body).json()["pruned"]
    assert pruned == [{"digest": "ef" * 32, "version": "0.1.0", "bytes": 7}]
    assert operations.asked[-1] == ("prune software", ("ab" * 32,), 3, True)


@pytest.mark.parametrize(
    ("path", "content", "status"),
    [
        (f"/agent/wheels/{'ab' * 32}/runtime-1.0-py3-none-any.whl", b"other bytes", 409),
        (f"/agent/wheels/{'ab' * 32}/no-wheel.txt", b"x", 409),
        ("/agent/wheels/short/runtime-1.0-py3-none-any.whl", b"x", 409),
    ],
)
def test_what_is_no_wheel_of_its_digest_is_refused(app, layout, operations, path, content, status):
    """The signer keeps no bytes under a name that is not theirs."""
    assert ask(app, "PUT", path, signer_token(layout, "operator"), content=content).status_code == status
    assert operations.asked == []


@pytest.mark.parametrize(
    "more",
    [{"percent": 0}, {"percent": "all"}, {"devices": "dev1"}, {"probation_s": -1}, {"again": "yes"}, {"other": 1},
     {"group": "a/b"}, {"percent": True}],
)  # fmt: skip
def test_an_order_for_the_agent_that_is_not_understood_is_refused(app, layout, operations, more):
    """Each value is checked before the desired state is read."""
    order = {"use_case": "metal-tag", "group": "line", "digest": "ab" * 32} | more
    assert ask(app, "POST", "/agent/order", signer_token(layout, "operator"), json=order).status_code == 409
    assert operations.asked == []
