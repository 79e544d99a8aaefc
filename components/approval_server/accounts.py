"""Read the administrator's two files: the accounts of this server, and who may approve which model.

    accounts.json   {"schema_version": 1, "accounts": {"<name>": {"role": "<role>", "password": "…"}}}
    approvers.json  {"schema_version": 1, "approvers": {"<model>": ["<account>", …]}}

A run carries its use case, but the training account wrote it there, so that account could choose its own approvers.
The administrator therefore brings the list of a use case file to this server in `approvers.json`, and the server
ignores the approvers that a run names. The server reads both files when it needs them; a change needs no restart.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any, Final, Protocol

_log = logging.getLogger(__name__)

MIN_PASSWORD: Final = 12
"""The shortest password, in characters. MLflow has the same rule."""


class AccountsError(RuntimeError):
    """A file of the administrator is missing or does not have the expected form."""


class Role(StrEnum):
    """The purpose of an account.

    An admin makes accounts and deletes versions. A trainer registers versions. A reconciler moves the alias `champion`.
    A reader reads. An approver is a person, and approves versions of the models whose list names the account.
    """

    ADMIN = "admin"
    TRAINER = "trainer"
    RECONCILER = "reconciler"
    READER = "reader"
    APPROVER = "approver"


@dataclass(frozen=True, slots=True)
class Account:
    """An account of the administrator's file. Its `repr` hides the password."""

    name: str
    role: Role
    password: str

    def __repr__(self) -> str:
        return f"Account({self.name}, {self.role})"


class UserStore(Protocol):
    """The methods of MLflow's account store that this module calls."""

    def has_user(self, username: str) -> bool:
        """Return whether an account of this name exists."""

    def create_user(self, username: str, password: str, is_admin: bool = ...) -> Any:
        """Create an account."""

    def authenticate_user(self, username: str, password: str) -> bool:
        """Return whether this is the password of the account."""

    def update_user(self, username: str, password: str | None = ..., is_admin: bool | None = ...) -> Any:
        """Change the password of an account, or whether it is an administrator. None changes nothing."""

    def grant_user_permission(self, username: str, resource_type: str, resource_pattern: str, permission: str) -> Any:
        """Set the permission of an account on the resources of one type that match a pattern."""


def read_accounts(path: Path) -> dict[str, Account]:
    """Read the accounts file and return the accounts by name.

    Raises:
        AccountsError: the file cannot be read, an account does not have the expected form, or no account has the role
            admin. The message contains no password.
    """
    found = {}
    for name, entry in _read(path, "accounts").items():
        where = f"{path}: account {name!r}"
        if not is_account_name(name):
            raise AccountsError(f"{where}: expected a name of 1-255 printable characters without ':'")
        if not isinstance(entry, dict) or set(entry) != {"role", "password"}:
            raise AccountsError(f'{where}: expected {{"role": …, "password": …}} and no key besides')
        if entry["role"] not in list(Role):
            raise AccountsError(f"{where}: expected a role of {', '.join(Role)}, but got {entry['role']!r}")
        if not isinstance(entry["password"], str) or len(entry["password"]) < MIN_PASSWORD:
            raise AccountsError(f"{where}: expected a password of at least {MIN_PASSWORD} characters")
        found[name] = Account(name, Role(entry["role"]), entry["password"])
    if not any(account.role is Role.ADMIN for account in found.values()):
        raise AccountsError(f"{path}: expected an account with the role admin, but there is none")
    return found


def read_approvers(path: Path) -> dict[str, tuple[str, ...]]:
    """Read the approvers file and return, by model, the accounts that may approve its versions.

    Raises:
        AccountsError: the file cannot be read or does not have the expected form.
    """
    found = {}
    for model, names in _read(path, "approvers").items():
        if not isinstance(names, list) or not all(isinstance(name, str) and is_account_name(name) for name in names):
            raise AccountsError(f"{path}: {model!r}: expected a list of account names, but got {names!r}")
        found[model] = tuple(names)
    return found


def is_account_name(name: str) -> bool:
    """Return whether basic authentication and an HTTP header can carry this name."""
    return 0 < len(name) <= 255 and name.isprintable() and ":" not in name and name == name.strip()


@dataclass(frozen=True, slots=True)
class AccountFiles:
    """The paths of the administrator's two files."""

    accounts: Path
    approvers: Path

    def role_of(self, name: str) -> Role | None:
        """Return the role of an account, or None where the administrator's file does not name it.

        Raises:
            AccountsError: the accounts file cannot be read or does not have the expected form.
        """
        account = read_accounts(self.accounts).get(name)
        return account.role if account else None

    def approvers_of(self, model: str) -> tuple[str, ...]:
        """Return the accounts that may approve a model; none where the file does not name the model.

        Raises:
            AccountsError: the approvers file cannot be read or does not have the expected form.
        """
        return read_approvers(self.approvers).get(model, ())


_GRANTS: Final = {
    Role.ADMIN: (),
    Role.READER: (),
    Role.TRAINER: (("experiment", "EDIT"), ("registered_model", "EDIT")),
    Role.RECONCILER: (("registered_model", "EDIT"),),
    Role.APPROVER: (("registered_model", "EDIT"),),
}
"""The MLflow permissions of each role, on all resources of a type.

The rules decide which tags and aliases an EDIT covers.
"""


def ensure_accounts(store: UserStore, files: AccountFiles) -> list[str]:
    """Create missing accounts, grant each account its permissions, and set the passwords of services as in the file.

    To check a password takes a tenth of a second of CPU time. An approver's password is set once, when the account is
    created, because the person may change it in MLflow.

    Returns:
        The names of the existing accounts whose password this call changed.

    Raises:
        AccountsError: a file cannot be read or does not have the expected form.
    """
    accounts = read_accounts(files.accounts)
    changed = []
    for account in accounts.values():
        if not store.has_user(account.name):
            store.create_user(account.name, account.password, is_admin=account.role is Role.ADMIN)
            _log.info("made the account %s (%s)", account.name, account.role)
        elif account.role is not Role.APPROVER and not store.authenticate_user(account.name, account.password):
            store.update_user(account.name, password=account.password)
            changed.append(account.name)
            _log.info("the account %s has a new password", account.name)
        for kind, right in _GRANTS[account.role]:
            store.grant_user_permission(account.name, kind, "*", right)
    return changed


def ensure_approvers(store: UserStore, files: AccountFiles) -> None:
    """Grant their permissions to approvers whose accounts an administrator made in MLflow.

    Raises:
        AccountsError: a file cannot be read or does not have the expected form.
    """
    accounts = read_accounts(files.accounts)
    for names in read_approvers(files.approvers).values():
        for name in names:
            if name not in accounts and store.has_user(name):  # the administrator made it in MLflow
                for kind, right in _GRANTS[Role.APPROVER]:
                    store.grant_user_permission(name, kind, "*", right)


def account_of(
    files: AccountFiles, user_of: Callable[[str, str], bool | None], name: str, password: str
) -> dict[str, Any] | None:
    """Who an account is: its role, whether it is an administrator, and the models that it may approve.

    user_of: whether the account is an administrator in MLflow; None where the password is wrong.

    Returns:
        None where the password is wrong.

    Raises:
        AccountsError: a file of the administrator cannot be used.
    """
    admin = user_of(name, password)
    if admin is None:
        return None
    role = files.role_of(name)
    may_approve = role in (None, Role.APPROVER)  # as in `rules.py`: the account of a program approves nothing
    models = [model for model, names in read_approvers(files.approvers).items() if may_approve and name in names]
    return {
        "schema_version": 1,
        "name": name,
        "role": str(role) if role else None,
        "admin": admin,
        "approves": sorted(models),
    }


def _read(path: Path, key: str) -> dict[str, Any]:
    try:
        document = json.loads(path.read_bytes())
    except OSError as e:
        raise AccountsError(f"cannot read {path}: {e.strerror}") from e
    except ValueError as e:
        raise AccountsError(f"{path}: expected JSON, but it is not ({type(e).__name__})") from e  # no content repeated
    if not isinstance(document, dict) or document.get("schema_version") != 1 or not isinstance(document.get(key), dict):
        raise AccountsError(f'{path}: expected {{"schema_version": 1, "{key}": {{…}}}}')
    entries: dict[str, Any] = document[key]
    return entries
