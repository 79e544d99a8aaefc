"""Folders of wheels become a release of the agent."""

from __future__ import annotations

import pytest

import edge_agent
from components.deployment.agent_wheels import WheelsError, read_wheels
from tests.edge_agent.agent_wheels import RUNTIME
from tools.agent_wheel import build


def test_the_agents_own_wheel_says_what_the_release_promises(tmp_path):
    """Version, form of the state folder and launcher are read from the code, which is not executed."""
    for kind in ("3.11-x86_64", "3.12-aarch64"):
        build(tmp_path / kind)
        (tmp_path / kind / RUNTIME.file).write_bytes(RUNTIME.data)
    found = read_wheels(tmp_path, "sha256:" + "ab" * 32)
    release = found.release
    assert (release.version, release.state_version, release.min_launcher) == (
        edge_agent.__version__, edge_agent.STATE_VERSION, edge_agent.MIN_LAUNCHER
    )  # fmt: skip
    assert [(item.python, item.machine) for item in release.builds] == [("3.11", "x86_64"), ("3.12", "aarch64")]
    assert {wheel.file for wheel in release.builds[0].wheels} == {
        RUNTIME.file, f"kizu_edge-{edge_agent.__version__}-py3-none-any.whl"
    }  # fmt: skip
    assert found.bytes == sum(path.stat().st_size for path in found.paths.values())


def test_the_same_code_gives_the_same_wheel(tmp_path):
    """A device fetches the agent's own wheel only where the code has changed."""
    assert build(tmp_path / "one").read_bytes() == build(tmp_path / "two").read_bytes()


def test_a_folder_without_the_agents_own_wheel_is_no_release(tmp_path):
    """The message says what is missing, and what makes it."""
    with pytest.raises(WheelsError, match="tools/agent-wheels"):
        read_wheels(tmp_path)
    (tmp_path / "3.11-x86_64").mkdir()
    (tmp_path / "3.11-x86_64" / RUNTIME.file).write_bytes(RUNTIME.data)
    with pytest.raises(WheelsError, match=r"expected the agent's own wheel kizu_edge-….whl in .*3.11-x86_64"):
        read_wheels(tmp_path)


def test_folders_of_two_versions_are_no_release(tmp_path):
    """A release is one version for all kinds of devices."""
    build(tmp_path / "3.11-x86_64")
    path = build(tmp_path / "3.12-x86_64")
    source = b'__version__: Final = "9.0.0"\nSTATE_VERSION: Final = 1\nMIN_LAUNCHER: Final = 1\n'
    import zipfile

    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("edge_agent/__init__.py", source)
    with pytest.raises(WheelsError, match="expected one version of the agent in all folders"):
        read_wheels(tmp_path)
