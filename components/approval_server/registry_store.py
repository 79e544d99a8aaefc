"""MLflow's registry store with the rules of an approval. A request on any route ends in this store.

The store has two safeguards. First, each method that writes asks the rules first, and `check_methods` refuses an MLflow
that has methods which this module does not know. Second, inside SQLAlchemy, a session writes a row of the tags of
versions only while one of these methods is running (`_permitted`). A call that bypasses the methods fails instead of
writing.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import UTC, datetime
from typing import Any, Final

import flask
from mlflow.entities.model_registry import ModelVersionTag
from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import (
    INTERNAL_ERROR,
    INVALID_PARAMETER_VALUE,
    PERMISSION_DENIED,
    RESOURCE_CONFLICT,
)
from mlflow.store.model_registry.dbmodels.models import SqlModelVersion, SqlModelVersionTag
from mlflow.store.model_registry.sqlalchemy_store import SqlAlchemyStore
from mlflow.utils.time import get_current_time_millis
from sqlalchemy import event
from sqlalchemy.orm import ORMExecuteState, Session

from components.approval_server import rules
from components.approval_server.accounts import AccountFiles, AccountsError
from components.approval_server.evidence import check_version
from components.stores.models.approval_evidence import EvidenceError
from components.stores.models.comparison import RunningChampion

_log = logging.getLogger(__name__)

_READS: Final = frozenset(
    {
        "get_latest_versions", "get_model_version", "get_model_version_by_alias", "get_model_version_download_uri",
        "get_prompt", "get_prompt_version", "get_prompt_version_by_alias", "get_registered_model", "get_webhook",
        "list_webhooks", "list_webhooks_by_event", "search_model_versions", "search_prompt_versions", "search_prompts",
        "search_registered_models", "supports_workspaces",
    }
)  # fmt: skip
_GUARDED: Final = frozenset(
    {
        "create_model_version", "delete_model_version", "delete_model_version_tag", "delete_registered_model",
        "delete_registered_model_alias", "rename_registered_model", "set_model_version_tag",
        "set_registered_model_alias", "transition_model_version_stage", "update_model_version",
    }
)  # fmt: skip
# These methods write no version, or write one only through the guarded methods.
_HARMLESS: Final = frozenset(
    {
        "copy_model_version", "create_prompt", "create_prompt_version", "create_registered_model", "create_webhook",
        "delete_prompt", "delete_prompt_alias", "delete_prompt_tag", "delete_prompt_version",
        "delete_prompt_version_tag", "delete_registered_model_tag", "delete_webhook", "link_prompt_version_to_model",
        "link_prompt_version_to_run", "link_prompts_to_trace", "set_prompt_alias", "set_prompt_tag",
        "set_prompt_version_tag", "set_registered_model_tag", "test_webhook", "update_registered_model",
        "update_webhook",
    }
)  # fmt: skip
# Constants and engines of the class.
_OTHER: Final = frozenset({"CREATE_MODEL_VERSION_RETRIES", "ManagedSessionMaker"})

_permitted: ContextVar[bool] = ContextVar("kizu_may_write_version_tags", default=False)


class UnknownMlflow(RuntimeError):
    """This MLflow has parts that the approval server does not know, so the server cannot guard it."""


def check_methods(store: type = SqlAlchemyStore) -> None:
    """Check that a store class has only public methods that this module knows, and all of the guarded ones.

    Raises:
        UnknownMlflow: the store has unknown methods or lacks guarded ones. The message names them.
    """
    public = {name for name in dir(store) if not name.startswith("_")}
    unknown = sorted(public - _READS - _GUARDED - _HARMLESS - _OTHER)
    missing = sorted(_GUARDED - public)
    if unknown or missing:
        raise UnknownMlflow(
            f"this MLflow's registry has methods that the approval server does not know: {unknown or 'none'}; "
            f"and lacks: {missing or 'none'}. Use the version in locks/mlflow.txt, or look at them"
        )


class GuardedStore(SqlAlchemyStore):  # type: ignore[misc] # mlflow ships no types
    """MLflow's registry store, guarded by the rules. Call `configure` before any other method."""

    _files: AccountFiles
    _is_admin: Callable[[str], bool]

    def configure(self, files: AccountFiles, is_admin: Callable[[str], bool]) -> None:
        """Set the administrator's files. is_admin: returns whether an account is an administrator in MLflow."""
        self._files = files
        self._is_admin = is_admin

    def create_model_version(self, name: str, source: str, run_id: Any = None, tags: Any = None, *args: Any,
                             **kwargs: Any) -> Any:  # fmt: skip
        """Create a version, with a tag that says who registered it.

        Raises:
            MlflowException: the rules refuse the tags, or the request has no account.
        """
        with _refusals():
            wanted = rules.on_create(self._caller(), {tag.key: tag.value for tag in tags or ()})
        stamped = [ModelVersionTag(key, value) for key, value in wanted.items()]
        with _writing():
            return super().create_model_version(name, source, run_id, stamped, *args, **kwargs)

    def set_model_version_tag(self, name: str, version: Any, tag: Any) -> None:
        """Set a tag as the rules allow.

        An approval is stamped with the account, the time and the SHA-256 of the model's bytes in the same transaction.

        Raises:
            MlflowException: the rules refuse the tag, the evidence of an approval does not hold, or the tags changed
                meanwhile.
        """
        with _refusals():
            caller, found = self._caller(), self._version(name, version)
            change = rules.on_set(caller, found, tag.key, tag.value, datetime.now(UTC))
            new = dict(change.set)
            if change.rests_on_evidence:
                run_id = self.get_model_version(name, version).run_id
                running = self._running_champion(name)
                new[rules.MODEL_SHA256] = check_version(name, found.number, run_id, found.tags, running)
            self._apply(found, new, change.delete)
            if tag.key == rules.APPROVAL:
                _log.info("%s is %s, says %s", found, tag.value, caller.name)

    def delete_model_version_tag(self, name: str, version: Any, key: str) -> None:
        """Delete a tag, unless it belongs to an approval.

        Raises:
            MlflowException: the tag belongs to an approval, or the tags changed meanwhile.
        """
        with _refusals():
            self._caller()
            found = self._version(name, version)
            self._apply(found, {}, rules.on_delete(found, key).delete)

    def set_registered_model_alias(self, name: str, alias: str, version: Any) -> None:
        """Set an alias. Only the reconciler may set `champion`.

        Raises:
            MlflowException: the alias is `champion` and the account is not the reconciler.
        """
        with _refusals():
            rules.on_alias(self._caller(), alias)
        super().set_registered_model_alias(name, alias, version)

    def delete_registered_model_alias(self, name: str, alias: str) -> None:
        """Delete an alias. Only the reconciler may delete `champion`.

        Raises:
            MlflowException: the alias is `champion` and the account is not the reconciler.
        """
        with _refusals():
            rules.on_alias(self._caller(), alias)
        super().delete_registered_model_alias(name, alias)

    def update_model_version(self, name: str, version: Any, description: Any = None) -> Any:
        """Change the description. It is no part of an approval, so any account that MLflow lets in may change it.

        Raises:
            MlflowException: the request has no account.
        """
        with _refusals():
            self._caller()
        return super().update_model_version(name, version, description)

    def delete_model_version(self, name: str, version: Any) -> None:
        """Delete a version. Only an administrator may.

        Raises:
            MlflowException: the account is not an administrator.
        """
        with _refusals():
            rules.on_remove(self._caller(), f"{name} version {version}")
        with _writing():
            super().delete_model_version(name, version)

    def delete_registered_model(self, name: str) -> None:
        """Delete a model with all of its versions. Only an administrator may.

        Raises:
            MlflowException: the account is not an administrator.
        """
        with _refusals():
            rules.on_remove(self._caller(), name)
        with _writing():
            super().delete_registered_model(name)

    def rename_registered_model(self, name: str, new_name: str) -> None:
        """Refuse to rename a model: its approvers belong to its name, and an approval must not move to another name.

        Raises:
            MlflowException: always.
        """
        raise MlflowException(
            f"a model bears the name of its use case, and its approvers belong to that name: {name} is not renamed",
            PERMISSION_DENIED,
        )

    def transition_model_version_stage(self, name: str, version: Any, stage: str, archive_existing_versions: Any
                                       ) -> None:  # fmt: skip
        """Refuse to change a stage: a stage decides nothing here.

        Raises:
            MlflowException: always.
        """
        raise MlflowException(
            f"a stage decides nothing here; to approve {name} version {version} set its tag approval to approved",
            PERMISSION_DENIED,
        )

    def _caller(self) -> rules.Caller:
        # basic-auth sets this name for each request that it lets in. A request on a route that bypasses it has no name.
        name = flask.g.get("mlflow_authenticated_user") if flask.has_request_context() else None
        if not name:
            raise rules.Refused("the registry is changed by requests with an account only")
        return rules.Caller(name, self._files.role_of(name), self._is_admin(name))

    def _version(self, name: str, version: Any) -> rules.Version:
        found = self.get_model_version(name, version)
        return rules.Version(name, str(found.version), dict(found.tags), self._files.approvers_of(name))

    def _running_champion(self, name: str) -> RunningChampion | None:
        try:
            found = self.get_model_version_by_alias(name, rules.CHAMPION)
        except MlflowException as e:
            if e.error_code != "INVALID_PARAMETER_VALUE":  # its error where no version has the alias
                raise
            return None
        return RunningChampion(int(found.version), found.tags.get("model_sha256", ""))

    def _apply(self, seen: rules.Version, new: Mapping[str, str], gone: tuple[str, ...]) -> None:
        """Apply a change in one transaction, if the tags still are as in `seen`.

        Raises:
            MlflowException: the tags changed meanwhile.
        """
        number = int(seen.number)
        with _writing(), self.ManagedSessionMaker(read_only=False) as session:
            # The transaction writes first, so that the second of two concurrent decisions waits here on any database.
            row = self._get_query(session, SqlModelVersion).filter_by(name=seen.model, version=number)
            row.update({"last_updated_time": get_current_time_millis()}, synchronize_session=False)
            version = self._get_sql_model_version(session, seen.model, number)
            if {tag.key: tag.value for tag in version.model_version_tags} != seen.tags:
                raise MlflowException(f"the tags of {seen} changed meanwhile; look at it again", RESOURCE_CONFLICT)
            for key, value in new.items():
                session.merge(
                    SqlModelVersionTag(
                        workspace=version.workspace, name=seen.model, version=number, key=key, value=value
                    )
                )
            for key in gone:
                known = self._get_model_version_tag(session, seen.model, number, key)
                if known is not None:
                    session.delete(known)


@contextmanager
def _writing() -> Iterator[None]:
    token = _permitted.set(True)
    try:
        yield
    finally:
        _permitted.reset(token)


@contextmanager
def _refusals() -> Iterator[None]:
    """Turn errors of the rules, the evidence and the account files into an MlflowException.

    MLflow sends its message in the answer, and MLflow's page shows it.
    """
    try:
        yield
    except rules.Malformed as e:
        raise MlflowException(str(e), INVALID_PARAMETER_VALUE) from e
    except rules.Refused as e:
        _log.warning("refused: %s", e)
        raise MlflowException(str(e), PERMISSION_DENIED) from e
    except EvidenceError as e:
        _log.warning("refused: %s", e)
        raise MlflowException(str(e), RESOURCE_CONFLICT) from e
    except AccountsError as e:
        _log.error("%s", e)
        raise MlflowException("the server's lists of accounts cannot be read; see its log", INTERNAL_ERROR) from e


def guard_sessions() -> None:
    """From this call on, sessions of this process write tags of versions only while a guarded method is running."""
    event.listen(Session, "before_flush", _before_flush)
    event.listen(Session, "do_orm_execute", _before_execute)


def _before_flush(session: Session, _context: Any, _instances: Any) -> None:
    if not _permitted.get() and any(
        isinstance(row, SqlModelVersionTag) for row in (*session.new, *session.dirty, *session.deleted)
    ):
        raise MlflowException("tags of a version are written through the approval's rules only", PERMISSION_DENIED)


def _before_execute(state: ORMExecuteState) -> None:
    if (state.is_insert or state.is_update or state.is_delete) and not _permitted.get():
        mapper = state.bind_mapper
        if mapper is not None and mapper.class_ is SqlModelVersionTag:
            raise MlflowException("tags of a version are written through the approval's rules only", PERMISSION_DENIED)
