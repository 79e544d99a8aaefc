"""How S3 stores differ: temporary keys, checksums, conflicts, missing buckets. The answers are those of such stores."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator

import pytest
from botocore.awsrequest import AWSPreparedRequest, AWSResponse

from components.settings import Settings
from components.stores.labels.store import LabelStore
from components.stores.objects.s3 import BucketNotFound, ObjectNotFound, ObjectStoreError, S3ObjectStore

Answer = tuple[int, str]


class _Body(io.BytesIO):
    def stream(self, **_: object) -> Iterator[bytes]:
        yield self.read()


def answering(store: S3ObjectStore, answer: Callable[[AWSPreparedRequest], Answer]) -> list[AWSPreparedRequest]:
    """Have a function answer each request of the store, without a network. Returns the requests, as they come."""
    requests: list[AWSPreparedRequest] = []

    def send(request: AWSPreparedRequest, **_: object) -> AWSResponse:
        requests.append(request)
        status, code = answer(request)
        body = f"<Error><Code>{code}</Code><Message>m</Message></Error>".encode() if code else b""
        return AWSResponse(request.url, status, {"ETag": '"x"'}, _Body(body))

    store._client.meta.events.register("before-send.s3", send)
    return requests


def a_store(sleeps: list[float] | None = None) -> S3ObjectStore:
    return S3ObjectStore("https://s3.plant.example", "eu-1", "key", "secret", sleep=(sleeps or []).append)


def test_a_temporary_key_is_sent_with_its_session_token():
    """`AWS_SESSION_TOKEN` goes with each request, of the object store and of the label store."""
    settings = Settings.from_environment(
        {
            "KIZU_S3_ENDPOINT": "https://s3.plant.example",
            "AWS_ACCESS_KEY_ID": "key",
            "AWS_SECRET_ACCESS_KEY": "secret",
            "AWS_SESSION_TOKEN": "the-token",
        }
    )
    store = S3ObjectStore.from_settings(settings)
    requests = answering(store, lambda request: (200, ""))
    store.put("kizu-state", "k", b"x")
    assert requests[0].headers["X-Amz-Security-Token"] in ("the-token", b"the-token")
    assert LabelStore.open(settings)._options["AWS_SESSION_TOKEN"] == "the-token"
    assert "the-token" not in repr(settings)


def test_a_write_carries_no_checksum_that_nobody_asked_for():
    """Several stores refuse the checksum headers and trailers that boto3 adds by default."""
    store = a_store()
    requests = answering(store, lambda request: (200, ""))
    assert store.put("kizu-state", "k", b"x", if_absent=True)
    names = {name.lower() for name in requests[0].headers}
    assert not [name for name in names if "checksum" in name or "trailer" in name]
    assert "if-none-match" in names


def test_a_conflict_is_asked_again_until_the_condition_is_decided():
    """409 says that another write is under way, not that it won: the same request is sent again, then decided."""
    answers = iter([(409, "ConditionalRequestConflict"), (409, "ConditionalRequestConflict"), (200, "")])
    sleeps: list[float] = []
    store = S3ObjectStore("https://s3.plant.example", "eu-1", "key", "secret", sleep=sleeps.append)
    answering(store, lambda request: next(answers))
    assert store.put("kizu-state", "claim", b"x", if_absent=True) is True
    assert sleeps == sorted(sleeps)
    assert len(sleeps) == 2

    answers = iter([(409, "ConditionalRequestConflict"), (412, "PreconditionFailed")])
    assert store.put("kizu-state", "claim", b"x", if_absent=True) is False


def test_a_conflict_that_does_not_end_is_an_error_and_not_a_lost_race():
    """Nobody may take a claim for taken, or for free, because the store never decided."""
    sleeps: list[float] = []
    store = S3ObjectStore("https://s3.plant.example", "eu-1", "key", "secret", sleep=sleeps.append)
    requests = answering(store, lambda request: (409, "ConditionalRequestConflict"))
    with pytest.raises(ObjectStoreError, match="ConditionalRequestConflict"):
        store.put("kizu-state", "claim", b"x", if_absent=True)
    assert len(requests) == len(sleeps) + 1


@pytest.mark.parametrize("act", ["get", "put", "list", "replace"])
def test_a_missing_bucket_is_not_taken_for_a_missing_object(act):
    """The error names the bucket and says how buckets are made; no caller takes it for "nothing there yet"."""
    store = a_store()
    answering(store, lambda request: (404, "NoSuchBucket"))
    acts: dict[str, Callable[[], object]] = {
        "get": lambda: store.get("kizu-labels", "k"),
        "put": lambda: store.put("kizu-labels", "k", b"x"),
        "list": lambda: list(store.list("kizu-labels")),
        "replace": lambda: store.put("kizu-labels", "k", b"x", if_match='"1"'),
    }
    with pytest.raises(BucketNotFound, match=r"kizu-labels.*no such bucket.*kizu up") as caught:
        acts[act]()
    assert not isinstance(caught.value, ObjectNotFound)
