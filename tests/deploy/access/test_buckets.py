"""Bucket set-up on stores that are not like each other."""

from __future__ import annotations

from typing import Any

import boto3
import pytest
from botocore.exceptions import ClientError

from deploy.access.buckets import BucketError, ensure
from deploy.access.identities import BUCKETS

ORIGIN = ["https://labels.plant.example"]


class OtherStore:
    """A store that has no bucket yet, and answers some calls with an error code."""

    def __init__(self, region: str, refused: dict[str, str]) -> None:
        self.meta = boto3.client("s3", region_name=region, aws_access_key_id="a", aws_secret_access_key="b").meta
        self.refused = refused
        self.made: dict[str, Any] = {}

    def list_buckets(self) -> dict[str, Any]:
        return {"Buckets": []}

    def create_bucket(self, Bucket: str, **more: Any) -> None:
        self.made[Bucket] = more.get("CreateBucketConfiguration")
        self._answer("create_bucket")

    def put_bucket_versioning(self, **_: Any) -> None:
        self._answer("put_bucket_versioning")

    def put_bucket_policy(self, **_: Any) -> None:
        self._answer("put_bucket_policy")

    def put_bucket_cors(self, **_: Any) -> None:
        self._answer("put_bucket_cors")

    def _answer(self, call: str) -> None:
        if call in self.refused:
            raise ClientError({"Error": {"Code": self.refused[call], "Message": "m"}}, call)


@pytest.mark.parametrize(("region", "said"), [("ap-northeast-1", "ap-northeast-1"), ("us-east-1", None)])
def test_a_bucket_is_made_in_the_region_of_the_store(region, said):
    """S3 wants the name of each region but its first one, which it refuses."""
    store = OtherStore(region, {})
    assert ensure(store, "kizu-", allowed_origins=ORIGIN) == []
    assert set(store.made) == {f"kizu-{name}" for name in BUCKETS}
    assert set(map(str, store.made.values())) == {str({"LocationConstraint": said} if said else None)}


def test_what_a_store_does_not_know_is_said_and_the_rest_is_done():
    """A store without policies and CORS rules gets buckets and versions; the administrator learns what is lost."""
    store = OtherStore("eu-1", {"put_bucket_policy": "NotImplemented", "put_bucket_cors": "MethodNotAllowed"})
    policy, audit, cors = ensure(store, "kizu-", allowed_origins=ORIGIN)
    assert "policies" in policy
    assert "delete" in policy
    assert "audit log" in audit
    assert ORIGIN[0] in cors
    assert len(store.made) == len(BUCKETS)


def test_a_bucket_that_another_set_up_made_a_moment_ago_is_no_error():
    """Two that set up the same installation at once both end well."""
    assert (
        ensure(OtherStore("eu-1", {"create_bucket": "BucketAlreadyOwnedByYou"}), "kizu-", allowed_origins=ORIGIN) == []
    )


@pytest.mark.parametrize("call", ["create_bucket", "put_bucket_versioning", "put_bucket_policy", "put_bucket_cors"])
def test_a_refusal_ends_the_set_up(call):
    """An identity without the right to set a rule is an error: the rule is not lost, but could not be set."""
    with pytest.raises(BucketError, match="AccessDenied"):
        ensure(OtherStore("eu-1", {call: "AccessDenied"}), "kizu-", allowed_origins=ORIGIN)
