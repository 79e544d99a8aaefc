"""`kizu-edge rollback`, `pin` and `unpin`: to the running agent over its page, or to its state where none runs."""

from __future__ import annotations

import http.client
import json
from datetime import UTC, datetime
from typing import Any, Final, Literal
from urllib.parse import quote

from edge_agent.config import Config, require_private
from edge_agent.errors import StateError
from edge_agent.folder_lock import FolderLock
from edge_agent.ota.activation import Event, Pinned, RolledBack, State, Unpinned, decide

Wish = Literal["rollback", "pin", "unpin"]
_TIMEOUT_S: Final = 60.0


def tell(config: Config, wish: Wish, digest: str | None = None) -> str:
    """Do it; what runs afterwards, in words.

    Raises:
        StateError: it cannot be done, or the agent does not answer.
        ConfigError: the token's file cannot be used.
    """
    try:
        lock = FolderLock(config.state_folder)
    except StateError:
        return _tell_the_agent(config, wish, digest)
    try:
        return _change_the_state(config, wish, digest)
    finally:
        lock.release()


def ask(config: Config, method: str, path: str, headers: dict[str, str] | None = None) -> tuple[int, bytes]:
    """One request to the agent on this device: status and body.

    Raises:
        StateError: none answers.
    """
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


def status(config: Config) -> dict[str, Any]:
    """What the running agent says about itself.

    Raises:
        StateError: none answers, or something else does.
    """
    code, body = ask(config, "GET", "/status.json")
    try:
        value = json.loads(body)
        assert code == 200
        assert isinstance(value, dict)
    except (ValueError, AssertionError) as e:
        raise StateError(f"port {config.page.port} answers, but not as an agent does (status {code})") from e
    return value


def _tell_the_agent(config: Config, wish: Wish, digest: str | None) -> str:
    require_private(config.token_file, "it holds the operator's token")
    token = config.token_file.read_text(encoding="utf-8").strip()
    path = f"/{wish}" + (f"?digest={quote(digest)}" if digest else "")
    code, body = ask(config, "POST", path, {"Authorization": f"Bearer {token}"})
    if code != 303:
        raise StateError(body.decode(errors="replace").strip())
    return _words(status(config)["release"])


def _change_the_state(config: Config, wish: Wish, digest: str | None) -> str:
    from edge_agent.ota.store import ReleaseStore  # brings the runtime, which the other commands need not wait for

    store = ReleaseStore(config.state_folder)
    before = store.load_state()
    wanted = digest or before.running
    event: Event = RolledBack() if wish == "rollback" else Unpinned()
    if wish == "pin":
        if wanted is None:
            raise StateError("no release is on this device that could be pinned")
        event = Pinned(wanted)
    after, _ = decide(before, event, datetime.now(UTC))
    if after == before and not _is_so_already(before, event):
        kept = ", ".join(sorted(item[:12] for item in before.kept)) or "none"
        raise StateError(f"there is no such release to go to; kept on this device: {kept}")
    store.save_state(after)
    return _words({"running": after.running, "pinned": after.pinned}) + " at the next start"


def _is_so_already(state: State, event: Event) -> bool:
    return isinstance(event, Unpinned) or (isinstance(event, Pinned) and state.pinned == event.digest)


def _words(release: dict[str, Any]) -> str:
    running = release["running"]
    if running is None:
        return "no release runs"
    return f"release {running[:12]} runs" + (", pinned" if release["pinned"] == running else "")
