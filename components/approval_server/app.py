"""The application of `mlflow server --app-name kizu-approval`.

It is MLflow with basic-auth, the guarded registry store below it, and the door in front of it.
"""

from __future__ import annotations

import logging
import threading
from functools import partial
from pathlib import Path
from typing import Any, Final

from cachetools import TTLCache
from mlflow.environment_variables import _MLFLOW_SGI_NAME, MLFLOW_BASIC_AUTH_FAIL_CLOSED, MLFLOW_ENABLE_WORKSPACES
from mlflow.server import app as flask_app
from mlflow.server import auth, handlers
from mlflow.store.db.db_types import DATABASE_ENGINES
from starlette.types import ASGIApp

from components.approval_server.accounts import (
    AccountFiles,
    AccountsError,
    Role,
    account_of,
    ensure_accounts,
    ensure_approvers,
    read_accounts,
)
from components.approval_server.answers import forbidden
from components.approval_server.counts import RequestCounts
from components.approval_server.door import Door
from components.approval_server.registry_store import GuardedStore, UnknownMlflow, check_methods, guard_sessions
from components.settings import settings

_log = logging.getLogger(__name__)

PASSWORD_CACHE_S: Final = 60.0
"""For this many seconds, a password that was right is not checked again. A password that this server changes is checked
again at once.
"""


def create_app() -> ASGIApp:
    """Return the application that uvicorn serves.

    MLflow calls this function by its name and without arguments, so the function reads the settings itself.

    Raises:
        SettingsError: the settings do not name the files of accounts and approvers.
        AccountsError: a file of the administrator cannot be used.
        UnknownMlflow: this MLflow cannot be guarded, so the server does not start.
    """
    logging.getLogger("components").setLevel(logging.INFO)
    config = settings()
    return guarded(AccountFiles(Path(config.required("mlflow_accounts")), Path(config.required("mlflow_approvers"))))


def guarded(files: AccountFiles) -> ASGIApp:
    """Return MLflow's app with accounts, the guarded registry store below it, and the door in front of all routes.

    Raises:
        AccountsError: a file of the administrator cannot be used.
        UnknownMlflow: this MLflow cannot be guarded.
    """
    _check_server()
    check_methods()
    guard_sessions()
    store = _install_store()
    store.configure(files, lambda name: bool(auth.store.get_user(name).is_admin))
    _configure_auth(files, store.db_uri)
    app = auth.create_app(flask_app)
    keeper = _Accounts(files)
    keeper.refresh()
    counts = RequestCounts(accounts_ok=lambda: keeper.ok)
    return Door(app, before_write=keeper.refresh, account_of=partial(account_of, files, _user_of), counts=counts)


def _user_of(name: str, password: str) -> bool | None:
    """Return whether an account is an administrator; None where this is not its password."""
    user = auth._authenticate_cached(name, password)
    return None if user is None else bool(user.is_admin)


def _check_server() -> None:
    if _MLFLOW_SGI_NAME.get() != "uvicorn":
        raise UnknownMlflow(
            "expected `mlflow server` with uvicorn, which is its default: other servers pass by the door"
        )
    if MLFLOW_ENABLE_WORKSPACES.get():
        raise UnknownMlflow("expected MLflow without workspaces: a model's name has to be one model's")


def _install_store() -> GuardedStore:
    """Replace MLflow's registry store by the guarded one, for every type of database, and open it.

    Raises:
        UnknownMlflow: MLflow opened its registry before, or the registry is not in a database.
    """
    if handlers._model_registry_store is not None:
        raise UnknownMlflow("MLflow opened its registry before the approval server could guard it")
    registry = handlers._model_registry_store_registry
    for scheme in list(registry._registry):
        registry.register(scheme, _open_store if scheme in DATABASE_ENGINES else _refuse_store)
    store = handlers._get_model_registry_store()
    if not isinstance(store, GuardedStore):
        raise UnknownMlflow(f"expected MLflow to open the guarded registry, but it opened {type(store).__name__}")
    return store


def _open_store(store_uri: str) -> GuardedStore:
    return GuardedStore(store_uri)


def _refuse_store(store_uri: str) -> GuardedStore:
    raise UnknownMlflow(f"expected MLflow's registry in one of {', '.join(DATABASE_ENGINES)}: others cannot be guarded")


def _configure_auth(files: AccountFiles, database_uri: str) -> None:
    """Configure basic-auth.

    It keeps the accounts in the database of MLflow's own tables. Every account may read, and a route without a rule is
    refused.
    """
    admin = next(a for a in read_accounts(files.accounts).values() if a.role is Role.ADMIN)
    auth.auth_config = auth.auth_config._replace(
        default_permission="READ",
        database_uri=database_uri,
        admin_username=admin.name,
        admin_password=admin.password,
        authorization_function=auth.DEFAULT_AUTHORIZATION_FUNCTION,
    )
    # Checking a password takes a tenth of a second of CPU time, and MLflow checks it several times per request.
    auth._USER_AUTH_CACHE = TTLCache(maxsize=1000, ttl=PASSWORD_CACHE_S)
    auth.make_forbidden_response = forbidden
    MLFLOW_BASIC_AUTH_FAIL_CLOSED.set(True)


class _Accounts:
    """Applies the administrator's files to MLflow's accounts, at the start and when a file changes."""

    def __init__(self, files: AccountFiles) -> None:
        self._files = files
        self._lock = threading.Lock()
        self._seen: tuple[Any, Any] | None = None
        self.ok = True
        """Whether the files could be applied the last time."""

    def refresh(self) -> None:
        """Apply each file that changed. After the first call, a file that cannot be read changes no account.

        Raises:
            AccountsError: a file cannot be used, and no earlier call succeeded.
            OSError: a file cannot be found or accessed, and no earlier call succeeded.
        """
        with self._lock:
            try:
                found = (_identity(self._files.accounts), _identity(self._files.approvers))
                if found == self._seen:
                    return
                if self._seen is None or found[0] != self._seen[0]:
                    for name in ensure_accounts(auth.store, self._files):
                        auth._invalidate_user_auth_cache(name)
                ensure_approvers(auth.store, self._files)
                self._seen = found
                self.ok = True
            except (OSError, AccountsError) as e:
                self.ok = False
                if self._seen is None:
                    raise
                _log.error("the accounts stay as they were: %s", e)


def _identity(path: Path) -> tuple[int, int, int]:
    """Another value whenever the file was written."""
    status = path.stat()
    return status.st_mtime_ns, status.st_size, status.st_ino
