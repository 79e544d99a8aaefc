"""`kizu-edge rollback`, `pin`, `unpin` and `status`: how the command line reaches the releases of this device.

A command goes to the running agent, over its page. Where no agent runs, it changes the state file, which the next start
reads. `ota.operator_command` decides in both cases, and says what happened.
"""

from __future__ import annotations

import http.client
import json
from datetime import UTC, datetime
from typing import Any, Final
from urllib.parse import quote

from edge_agent.config import Config, require_private
from edge_agent.errors import StateError
from edge_agent.folder_lock import FolderLock
from edge_agent.ota.operator_command import Command, describe, obey

_TIMEOUT_S: Final = 60.0


def give(config: Config, command: Command) -> str:
    """Have a command carried out; which release runs then, as one line.

    Raises:
        StateError: the command cannot be carried out, or the agent does not answer.
        ConfigError: the file of the operator's token cannot be used.
    """
    try:
        lock = FolderLock(config.state_folder)
    except StateError:
        return _to_the_agent(config, command)
    try:
        return _to_the_state_file(config, command)
    finally:
        lock.release()


def status(config: Config) -> dict[str, Any]:
    """What the running agent answers on `/status.json`.

    Raises:
        StateError: no agent answers, or another program does.
    """
    code, body = _request(config, "GET", "/status.json")
    try:
        value = json.loads(body)
        assert code == 200
        assert isinstance(value, dict)
    except (ValueError, AssertionError) as e:
        raise StateError(f"port {config.page.port} answers, but not as an agent does (status {code})") from e
    return value


def _to_the_agent(config: Config, command: Command) -> str:
    require_private(config.token_file, "it holds the operator's token")
    token = config.token_file.read_text(encoding="utf-8").strip()
    path = f"/{command.action}" + (f"?digest={quote(command.digest)}" if command.digest else "")
    code, body = _request(config, "POST", path, {"Authorization": f"Bearer {token}"})
    answer = body.decode(errors="replace").strip()
    if code != 303:
        raise StateError(answer)
    return answer


def _to_the_state_file(config: Config, command: Command) -> str:
    from edge_agent.ota.store import ReleaseStore  # brings the runtime, which the other commands need not wait for

    store = ReleaseStore(config.state_folder)
    state, _ = obey(store.open_state(), command, datetime.now(UTC))
    store.save_state(state)
    return f"{describe(state.running, state.pinned)} at the next start"


def _request(config: Config, method: str, path: str, headers: dict[str, str] | None = None) -> tuple[int, bytes]:
    """One request to the agent on this device: status and body."""
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(config.page.host, config.page.host)  # noqa: S104 - not bound here
    connection = http.client.HTTPConnection(host, config.page.port, timeout=_TIMEOUT_S)
    try:
        connection.request(method, path, headers=headers or {})
        answer = connection.getresponse()
        return answer.status, answer.read()
    except (OSError, http.client.HTTPException) as e:
        raise StateError(f"no agent answers on http://{host}:{config.page.port}/: {e}; is it running?") from e
    finally:
        connection.close()
