"""The document of the agent's software."""

from __future__ import annotations

import json

import pytest

from inspection import DesiredState, DocumentError, Wave
from inspection.agent_release import AgentRelease, agent_path, version_numbers
from inspection.documents import AgentOrder
from tests.edge_agent.agent_wheels import build_agent

DIGEST = "ab" * 32


def test_the_document_keeps_what_it_does_not_know_and_its_digest():
    """What a newer program wrote is not lost, at each level, and the digest is that of the bytes."""
    value = json.loads(build_agent().release.to_json())
    value["later"] = value["builds"][0]["later"] = value["builds"][0]["wheels"][0]["later"] = {"x": 1}
    data = json.dumps(value, sort_keys=True, separators=(",", ":")).encode()
    read = AgentRelease.from_json(data)
    assert read.to_json() == data
    assert AgentRelease.from_json(read.to_json()).digest == read.digest


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"version": "1.0-beta"}, "expected a version such as 1.2.3"),
        ({"builds": []}, "needs wheels for a kind of device, or the digest of an image"),
        ({"image_digest": "latest"}, "expected sha256:"),
        ({"schema_version": 2}, "newer than this program"),
    ],
)
def test_a_document_that_says_nothing_sensible_is_refused(change, message):
    """The message says what was expected."""
    value = json.loads(build_agent().release.to_json()) | change
    with pytest.raises(DocumentError, match=message):
        AgentRelease.from_json(json.dumps(value).encode())


@pytest.mark.parametrize("file", ["../x.whl", "a/b.whl", "x.exe", ".whl", "x.whl\n"])
def test_a_wheel_has_a_plain_file_name(file):
    """It becomes part of a path in the repository and on devices."""
    value = json.loads(build_agent().release.to_json())
    value["builds"][0]["wheels"][0]["file"] = file
    with pytest.raises(DocumentError, match="expected the file name of a wheel"):
        AgentRelease.from_json(json.dumps(value).encode())


def test_two_builds_for_one_kind_of_device_are_refused():
    """Which of them a device takes would be chance."""
    value = json.loads(build_agent().release.to_json())
    value["builds"] *= 2
    with pytest.raises(DocumentError, match="one build for each Python and machine"):
        AgentRelease.from_json(json.dumps(value).encode())


def test_versions_compare_by_their_numbers():
    """1.10 is newer than 1.9."""
    assert version_numbers("1.10") > version_numbers("1.9.3") > version_numbers("1.9")
    with pytest.raises(ValueError, match="expected a version"):
        version_numbers("1.x")


def test_a_path_names_the_digest_of_what_lies_there():
    """A text that is no digest names no path."""
    assert agent_path(DIGEST, "agent.json") == f"agent/{DIGEST}/agent.json"
    with pytest.raises(ValueError, match="sha256"):
        agent_path("../x", "agent.json")


def test_a_desired_state_without_an_order_for_the_agent_keeps_the_bytes_of_before():
    """Agents of before read what they know, and an order comes back as it was written."""
    state = DesiredState(sequence=1, use_case="tags", waves=(), probation_s=1.0)
    assert b'"agent"' not in state.to_json()
    order = AgentOrder(waves=(Wave(release_digest=DIGEST, devices=("dev1",)),), since=1)
    ordered = DesiredState(sequence=2, use_case="tags", waves=(), probation_s=1.0, agent=order)
    assert DesiredState.from_json(ordered.to_json()) == ordered
    assert (order.release_for("dev1"), order.release_for("dev2")) == (DIGEST, None)
