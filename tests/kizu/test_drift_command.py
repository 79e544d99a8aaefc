"""`kizu drift`, with the fleet and the signer in memory."""

import json
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from typer.testing import CliRunner

from components.stores.fleet import lines
from components.stores.releases import signer_client
from kizu.cli import app
from kizu.commands import drift
from tests.inspection.test_documents import RELEASE
from tests.reconciler.test_drift import SHA, line_of, reference_of, side


@pytest.fixture
def fleet(monkeypatch):
    """A line whose lamp is old, one of another product that is steady, and one that cannot be read."""
    rng = np.random.default_rng(2)
    reference = reference_of(*side(rng, 400, 200))
    dark = line_of(*(side(rng, 500, 120, lamp=0.7) for _ in range(2)), device="line-dark")
    steady = replace(line_of(*(side(rng, 500, 120) for _ in range(2)), device="line-new"), use_case="other")
    store = SimpleNamespace(from_settings=lambda config: None)
    signer = SimpleNamespace(release=lambda digest: replace(RELEASE, drift=reference) if digest == SHA else None)
    unread = (lines.UnreadLine("line-odd", "expected JSON"),)
    monkeypatch.setattr(
        drift, "settings_as", lambda identity, *servers: SimpleNamespace(bucket=lambda name: f"kizu-{name}")
    )
    monkeypatch.setattr("components.stores.objects.s3.S3ObjectStore", store)
    monkeypatch.setattr(lines.FleetLines, "reading", lambda self: ((dark, steady), unread))
    monkeypatch.setattr(signer_client.SignerClient, "from_settings", lambda config: signer)
    monkeypatch.setattr(drift.console, "width", 250)


def test_the_table_names_what_differs_and_counts_the_rest(fleet):
    """Device, quantity, from what to what, and what to do; a line that cannot be read is named too."""
    said = CliRunner().invoke(app, ["drift"]).output
    [alert] = [row for row in said.splitlines() if row.strip().startswith("line-dark")]
    assert "brightness" in alert
    assert "alert" in alert
    assert "look at the lamp" in alert
    assert "line-new" not in said
    assert "8 comparisons: 1 alert, 0 watched, 7 steady" in said
    assert "line-odd: its line cannot be read: expected JSON" in said
    assert "line-new" in CliRunner().invoke(app, ["drift", "--all"]).output


def test_one_json_document_has_every_comparison(fleet, tmp_path):
    """With the use case alone, those of its product."""
    value = json.loads(CliRunner().invoke(app, ["drift", "--json"]).output)
    assert len(value["comparisons"]) == 8
    assert value["unread"] == [{"device": "line-odd", "reason": "expected JSON"}]
    alert = next(one for one in value["comparisons"] if one["state"] == "alert")
    assert (alert["device"], alert["quantity"], alert["class"]) == ("line-dark", "brightness", None)
    assert alert["to_median"] < 0.8 * alert["from_median"]
    some = json.loads(CliRunner().invoke(app, ["drift", "--json", "-u", "use_cases/metal-tag.yaml"]).output)
    assert {one["use_case"] for one in some["comparisons"]} == {"metal-tag"}
