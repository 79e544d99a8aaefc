"""Alert rules and dashboard: they name metrics that the code has, their own tests pass, and a Prometheus fires them."""

from __future__ import annotations

import ast
import json
import os
import re
import shutil
import subprocess
import time
from pathlib import Path

import httpx
import pytest
import yaml

from deploy.access.layout import REPOSITORY
from tests.components.fleet_page.fleet_world import NOW, World, served
from tests.components.servers import free_port

FOLDER = REPOSITORY / "deploy" / "monitoring"
PROMTOOL, PROMETHEUS = shutil.which("promtool"), shutil.which("prometheus")
# Where metrics are made, beside the signer, which writes them as text.
SOURCES = (
    "edge_agent/web/metrics.py", "components/fleet_page/metrics.py", "components/approval_server/counts.py",
    "reconciler/counters.py",
)  # fmt: skip
COUNTERS = {"_counter", "_counters", "CounterMetricFamily", "Counter"}
NAME = re.compile(r"\bkizu_[a-z0-9_]+\b")
RULES = yaml.safe_load((FOLDER / "rules.yml").read_text(encoding="utf-8"))
DASHBOARD = json.loads((FOLDER / "dashboard.json").read_bytes())


def of_code() -> set[str]:
    """Each metric that the code makes, by the name that Prometheus gets."""
    found = set(re.findall(r"# TYPE (kizu_\w+)", (REPOSITORY / "components/deployment/signer_http.py").read_text()))
    for source in SOURCES:
        for call in ast.walk(ast.parse((REPOSITORY / source).read_text(encoding="utf-8"))):
            if not isinstance(call, ast.Call):
                continue
            maker = call.func.id if isinstance(call.func, ast.Name) else ""
            for argument in call.args[:2]:
                name = argument.value if isinstance(argument, ast.Constant) else None
                if isinstance(name, str) and name.startswith("kizu_"):
                    endings = ("_bucket", "_sum", "_count") if maker == "Histogram" else ("",)
                    found |= {name + ("_total" if maker in COUNTERS else ending) for ending in endings}
    return found


def rules():
    return [rule for group in RULES["groups"] for rule in group["rules"]]


@pytest.mark.parametrize(
    "expression",
    [rule["expr"] for rule in rules()]
    + [target["expr"] for panel in DASHBOARD["panels"] for target in panel["targets"]]
    + [variable["definition"] for variable in DASHBOARD["templating"]["list"] if "definition" in variable],
)
def test_each_metric_that_a_rule_or_a_panel_names_is_made_by_the_code(expression):
    """A rule about a metric that nobody makes would never fire, and a panel would stay empty."""
    named = set(NAME.findall(expression))
    assert named
    assert named <= of_code()


def test_the_names_of_the_code_are_found():
    """The comparison would say nothing if it found no names: one of each part stands for all."""
    one_of_each = {
        "kizu_frames_total", "kizu_inference_seconds_bucket", "kizu_signer_ok", "kizu_fleet_devices",
        "kizu_fleet_verdicts_total", "kizu_approval_refused_total", "kizu_reconciler_passes_total",
    }  # fmt: skip
    assert one_of_each <= of_code()


def test_each_alert_says_what_it_is_and_the_how_to_says_what_to_do():
    """An alert has a severity and a summary, its name is its own, and a person finds it in the how-to."""
    text = (REPOSITORY / "docs" / "how-to" / "watch-the-fleet.md").read_text(encoding="utf-8")
    names = [rule["alert"] for rule in rules()]
    assert len(set(names)) == len(names)
    for rule in rules():
        assert rule["labels"]["severity"] in ("info", "warning", "critical")
        assert rule["annotations"]["summary"]
        assert f"`{rule['alert']}`" in text, rule["alert"]


def test_panels_have_ids_of_their_own_and_do_not_overlap():
    """Grafana loses a panel whose id or place another one has."""
    panels = DASHBOARD["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    assert len({(panel["gridPos"]["x"], panel["gridPos"]["y"]) for panel in panels}) == len(panels)


@pytest.mark.skipif(PROMTOOL is None, reason="no promtool on this machine")
def test_promtool_finds_no_fault_and_the_rules_own_tests_pass():
    """The rules and the example configuration are valid, and the rules fire where their tests say so."""
    for arguments in (["check", "rules", "rules.yml"], ["check", "config", "prometheus.yml"],
                      ["test", "rules", "rules.test.yml"]):  # fmt: skip
        done = subprocess.run(
            [PROMTOOL, *arguments], cwd=FOLDER, capture_output=True, text=True, timeout=60, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.skipif(PROMETHEUS is None, reason="no prometheus on this machine")
def test_a_real_prometheus_reads_the_fleet_page_and_fires_an_alert(tmp_path: Path):
    """A device that is late on the page is an alert in Prometheus, by the shipped rule with a shorter wait."""
    world = World(tmp_path)
    world.watcher.read()
    late = next(rule for rule in rules() if rule["alert"] == "DevicesLate") | {"for": "0s"}
    (tmp_path / "rules.yml").write_text(json.dumps({"groups": [{"name": "kizu", "rules": [late]}]}))
    with served(world) as url:
        scrape = {"job_name": "page", "static_configs": [{"targets": [url.removeprefix("http://")]}]}
        settings = {"scrape_interval": "1s", "evaluation_interval": "1s"}
        config = {"global": settings, "rule_files": ["rules.yml"], "scrape_configs": [scrape]}
        (tmp_path / "prometheus.yml").write_text(json.dumps(config))
        port = free_port()
        with (tmp_path / "log").open("wb") as log:
            process = subprocess.Popen(
                [PROMETHEUS, "--config.file=prometheus.yml", "--storage.tsdb.path=data",
                 f"--web.listen-address=127.0.0.1:{port}"],
                cwd=tmp_path, stdout=log, stderr=log, env={"PATH": os.environ["PATH"]},
            )  # fmt: skip
        try:
            assert wait_for_alert(port, process) == {"use_case": "metal-tag", "group": "line", "state": "late"}
        finally:
            process.terminate()
            process.wait(20)


def wait_for_alert(port, process):
    """The labels of the first alert that fires, without its name, its severity and where it was read."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        assert process.poll() is None
        try:
            answer = httpx.get(f"http://127.0.0.1:{port}/api/v1/alerts", timeout=5, trust_env=False)
            alerts = answer.json()["data"]["alerts"] if answer.status_code == 200 else []
        except httpx.TransportError:
            alerts = []
        firing = [alert["labels"] for alert in alerts if alert["state"] == "firing"]
        if firing:
            hidden = ("alertname", "severity", "instance", "job")
            return {name: value for name, value in firing[0].items() if name not in hidden}
        time.sleep(0.2)
    raise AssertionError(f"no alert fired; it was {NOW} in the world of the test")


def test_prometheus_is_let_in_where_each_server_of_the_cluster_listens():
    """Each policy names a workload of the manifests and a port that it opens."""
    opened = {}
    for file in (REPOSITORY / "deploy" / "k8s" / "base").glob("*/deployment.yaml"):
        deployment = yaml.safe_load(file.read_text(encoding="utf-8"))
        (container,) = deployment["spec"]["template"]["spec"]["containers"]
        ports = {port["containerPort"] for port in container.get("ports", ())}
        opened[deployment["metadata"]["namespace"], deployment["metadata"]["name"]] = ports
    policies = list(yaml.safe_load_all((FOLDER / "networkpolicies.yaml").read_text(encoding="utf-8")))
    for policy in policies:
        name = policy["spec"]["podSelector"]["matchLabels"]["app.kubernetes.io/name"]
        (rule,) = policy["spec"]["ingress"]
        assert {port["port"] for port in rule["ports"]} <= opened[policy["metadata"]["namespace"], name]
    assert len(policies) == 4
