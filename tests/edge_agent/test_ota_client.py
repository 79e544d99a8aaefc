"""The client of the signed repository: each cause has its fixed word, and each message names what was fetched."""

from __future__ import annotations

import dataclasses

import pytest
from tuf.api import exceptions as tuf_errors

from edge_agent.config import Config
from edge_agent.errors import AccessDenied, ObjectNotFound, StateError, StoreUnavailable, UpdateError
from edge_agent.ota.release_client import ReleaseClient, S3Fetcher, _Named, read_release, sha256_of_file
from inspection.documents import DesiredState, ModelFile, Wave
from tests.edge_agent.models import build_release
from tests.edge_agent.publisher import Publisher
from tests.edge_agent.stores import MemoryStore

BUCKET = "kizu-releases"


@pytest.fixture
def store():
    return MemoryStore()


@pytest.fixture
def publisher(store):
    return Publisher(lambda key, data: store.objects.__setitem__((BUCKET, key), data))


@pytest.fixture
def client(store, publisher, tmp_path):
    return ReleaseClient(store, BUCKET, publisher.root_bytes, tmp_path / "tuf")


def refusal(call, *arguments) -> tuple[str, bool, str]:
    with pytest.raises(UpdateError) as caught:
        call(*arguments)
    return caught.value.reason, caught.value.transient, str(caught.value)


def from_store(error: Exception) -> Exception:
    wrapped = tuf_errors.DownloadError("Failed to download")
    wrapped.__cause__ = error
    return wrapped


@pytest.mark.parametrize(
    ("error", "reason", "words"),
    [
        (ObjectNotFound("no key"), "not-published", "no key"),
        (AccessDenied("no right"), "access-denied", "no right"),
        (StoreUnavailable("no answer"), "unreachable", "no answer"),
        (StateError("other"), "unreachable", "other"),
        (OSError(28, "No space left"), "disk", "[Errno 28] No space left"),
        (tuf_errors.DownloadHTTPError("a", 403), "access-denied", "a"),
        (tuf_errors.DownloadHTTPError("b", 404), "not-published", "b"),
        (tuf_errors.DownloadHTTPError("c", 500), "unreachable", "c"),
        (tuf_errors.DownloadError("d"), "unreachable", "d"),
        (tuf_errors.ExpiredMetadataError("e"), "expired-metadata", "e"),
        (tuf_errors.LengthOrHashMismatchError("f"), "wrong-hash", "f"),
        (tuf_errors.DownloadLengthMismatchError("g"), "wrong-length", "g"),
        (tuf_errors.UnsignedMetadataError("h"), "wrong-signature", "h"),
        (tuf_errors.BadVersionNumberError("i"), "rolled-back", "i"),
        (tuf_errors.RepositoryError("j"), "invalid-metadata", "j"),
        (from_store(StoreUnavailable("timed out")), "unreachable", "Failed to download (timed out)"),
        (from_store(StoreUnavailable("Failed to download")), "unreachable", "Failed to download"),
        (from_store(ValueError("inner")), "unreachable", "Failed to download"),
    ],
)
def test_each_cause_has_a_fixed_word_and_names_what_was_fetched(error, reason, words):
    """The device report carries the word; none of these is held against a release."""

    def fails():
        with _Named("the model"):
            raise error

    assert refusal(fails) == (reason, True, f"the model: {words}")


def test_other_errors_and_refusals_stay_as_they_are():
    """A refusal has its word already; a fault of ours is none of the repository's."""
    own = UpdateError("golden-samples", "differs")
    for error in (own, KeyError("x")):
        with pytest.raises(type(error)) as caught, _Named("the model"):
            raise error
        assert caught.value is error


def test_the_transport_tells_python_tuf_what_is_missing_and_what_is_forbidden(store):
    """python-tuf goes on after a missing next root, and stops where a right is missing."""
    store.objects[BUCKET, "metadata/1.root.json"] = b"root"
    fetcher = S3Fetcher(store)
    assert b"".join(fetcher.fetch(f"s3://{BUCKET}/metadata/1.root.json")) == b"root"
    with pytest.raises(tuf_errors.DownloadHTTPError, match="no such object") as caught:
        fetcher.fetch(f"s3://{BUCKET}/metadata/2.root.json")
    assert caught.value.status_code == 404

    def denied(bucket, key):
        raise AccessDenied(f"{bucket} {key}: denied")

    store.stream = denied
    with pytest.raises(tuf_errors.DownloadHTTPError, match=r"kizu-releases metadata/1\.root\.json: denied") as caught:
        fetcher.fetch(f"s3://{BUCKET}/metadata/1.root.json")
    assert caught.value.status_code == 403


def test_a_desired_state_is_that_of_the_group(client, publisher):
    """A group has its own desired state, and None where nothing was published for the group."""
    publisher.desire("a" * 64, group="line1", sequence=3)
    publisher.desire("b" * 64, group="line2", sequence=4)
    client.refresh()
    assert client.desired_state("tags", "line1").sequence == 3
    assert client.desired_state("tags", "line2").sequence == 4
    assert client.desired_state("tags", "line3") is None


def test_a_desired_state_of_a_newer_form_is_refused(client, publisher):
    """A signed desired state that the agent cannot read comes from a newer signer, so the refusal is final."""
    publisher.add("desired/tags/line1.json", b"[]")
    publisher.commit()
    client.refresh()
    reason, transient, words = refusal(client.desired_state, "tags", "line1")
    assert (reason, transient) == ("unreadable-desired-state", False)
    assert words.startswith("desired/tags/line1.json is signed but not understood: ")


def test_a_missing_desired_state_and_a_store_that_is_down_name_the_file(client, publisher, store):
    """The repository lists a file that the bucket has not."""
    publisher.desire("a" * 64)
    client.refresh()
    for key in [key for key in store.objects if "line1.json" in key[1]]:
        del store.objects[key]
    reason, transient, words = refusal(client.desired_state, "tags", "line1")
    assert (reason, transient) == ("not-published", True)
    assert words.startswith("desired/tags/line1.json: get s3://kizu-releases/targets/desired/tags/")
    store.down = True
    assert refusal(client.desired_state, "tags", "line1") == (
        "unreachable",
        True,
        "desired/tags/line1.json: the store is down",
    )


def test_metadata_that_cannot_be_fetched_says_so(client, store):
    """The cause of the store is part of the message."""
    store.down = True
    reason, transient, words = refusal(client.refresh)
    assert (reason, transient) == ("unreachable", True)
    assert words.startswith("the repository's metadata: ")
    assert "the store is down" in words


def test_a_release_is_fetched_whole(client, publisher, tmp_path):
    """The folder of a fetched release holds all its files with the signed bytes."""
    built = build_release()
    publisher.add_release(built)
    publisher.commit()
    client.refresh()
    folder = tmp_path / "releases" / built.digest
    assert client.fetch_release(built.digest, folder) == built.release
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == built.files


def test_a_release_that_is_not_signed_is_not_fetched(client, tmp_path):
    """A release that is not among the signed files is refused but not as failed, since it may be published later."""
    client.refresh()
    assert refusal(client.fetch_release, "a" * 64, tmp_path / "r") == (
        "not-published",
        True,
        f"releases/{'a' * 64}/release.json is not among the signed files",
    )


def fetched(client, publisher, built, folder, digest=None) -> tuple[str, bool, str]:
    digest = digest or built.digest
    for name, data in built.files.items():
        publisher.add(f"releases/{digest}/{name}", data)
    publisher.commit()
    client.refresh()
    return refusal(client.fetch_release, digest, folder)


def test_a_file_of_a_release_that_is_missing_in_the_store_is_named(client, publisher, store, tmp_path):
    """The repository lists it, so the message says which file is to be published again."""
    built = build_release()
    keys = publisher.add_release(built)
    publisher.commit()
    client.refresh()
    del store.objects[BUCKET, keys["model.onnx"]]
    reason, transient, words = refusal(client.fetch_release, built.digest, tmp_path / "a")
    assert (reason, transient) == ("not-published", True)
    assert words.startswith(f"releases/{built.digest}/model.onnx: get s3://")


def test_signed_files_must_be_those_that_the_release_names(client, publisher, tmp_path):
    """A digest in release.json counts, beside that of the signature."""
    built = build_release()
    digest, short = "0123456789abcdef" * 4, "0123456789ab"
    assert fetched(client, publisher, built, tmp_path / "a", digest) == (
        "wrong-hash",
        False,
        f"release.json of {short} has another digest than its name says",
    )


@pytest.mark.parametrize("name", ["model.onnx", "golden.png"])
def test_a_file_of_another_release_is_refused(client, publisher, tmp_path, name):
    """The client compares a file with the digest in `release.json`, even if its target is signed."""
    built = build_release()
    built.files[name] = b"of another release"
    assert fetched(client, publisher, built, tmp_path / "a") == (
        "wrong-hash",
        False,
        f"{name} is not the file that release {built.digest[:12]} names",
    )


def test_a_model_has_the_length_that_the_release_names(client, publisher, tmp_path):
    """The release names length and digest; both count."""
    built = build_release()
    model: ModelFile = built.release.models[0]
    built = build_release(models=(dataclasses.replace(model, bytes=model.bytes + 1),))
    assert fetched(client, publisher, built, tmp_path / "a") == (
        "wrong-length",
        False,
        f"model.onnx: expected {model.bytes + 1} bytes, but got {model.bytes}",
    )


def test_a_folder_that_cannot_be_made_is_named(client, publisher, tmp_path):
    """The disk is the cause, not the release."""
    (tmp_path / "a").write_text("a file")
    reason, transient, words = refusal(client.fetch_release, "a" * 64, tmp_path / "a")
    assert (reason, transient) == ("disk", True)
    assert words.startswith(f"{tmp_path / 'a'}: [Errno 17] File exists")


def test_a_release_file_that_is_not_understood_is_refused():
    """A signed `release.json` that the agent cannot read is refused for good, with a reason."""
    reason, transient, words = refusal(read_release, b"{}")
    assert (reason, transient) == ("unreadable-release", False)
    assert words.startswith("release.json is signed but not understood: ")


def test_the_digest_of_a_file(tmp_path):
    """The digest of `abc` is in FIPS 180-4's examples."""
    (tmp_path / "f").write_bytes(b"abc")
    assert sha256_of_file(tmp_path / "f") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"


def configured(tmp_path, **changes) -> Config:
    camera = {"source": "folder", "path": tmp_path / "camera"}
    value = {
        "device": "dev1",
        "group": "line1",
        "site": "nagoya",
        "use_case": "tags",
        "state_folder": tmp_path / "state",
        "root_metadata": tmp_path / "root.json",
        "cameras": [camera],
        "s3": {"endpoint": "http://127.0.0.1:9", "credentials_file": tmp_path / "s3.yaml"},
    }
    return Config.model_validate(value | changes)


def test_a_client_is_made_from_the_configuration(store, publisher, tmp_path):
    """The client uses the configured bucket and state folder, and keeps the configured space free on the disk."""
    (tmp_path / "root.json").write_bytes(publisher.root_bytes)
    publisher.desire("a" * 64)
    free = 10**15
    moved = MemoryStore()
    moved.objects = {("other-releases", key): data for (_, key), data in store.objects.items()}
    config = configured(tmp_path, buckets={"prefix": "other-"}, outbox={"min_free_bytes": free})
    client = ReleaseClient.from_config(config, moved)
    client.refresh()
    assert (tmp_path / "state" / "tuf" / "timestamp.json").is_file()
    reason, _, words = refusal(client.desired_state, "tags", "line1")
    assert reason == "disk-full"
    assert f"{free:,} must stay free" in words


def test_a_client_writes_to_the_disk_that_it_is_given(store, publisher, tmp_path):
    """Tests of power cuts give one of their own."""
    (tmp_path / "root.json").write_bytes(publisher.root_bytes)

    class Refusing:
        def make_folder(self, path):
            raise OSError(30, f"{path.name} is read-only")

    assert refusal(ReleaseClient.from_config, configured(tmp_path), store, Refusing()) == (
        "disk",
        True,
        "the pinned root metadata: [Errno 30] tuf is read-only",
    )


def test_a_missing_root_says_that_the_device_needs_to_be_enrolled(store, tmp_path):
    """The file and the cause are named."""
    assert refusal(ReleaseClient.from_config, configured(tmp_path), store) == (
        "no-root",
        True,
        f"cannot read the pinned root metadata {tmp_path / 'root.json'}: No such file or directory; "
        "enrol the device again",
    )


def test_a_root_that_is_none_names_the_pinned_root(store, tmp_path):
    """A damaged root is replaced by a person."""
    reason, transient, words = refusal(ReleaseClient, store, BUCKET, b"{}", tmp_path / "tuf")
    assert (reason, transient) == ("invalid-metadata", True)
    assert words.startswith("the pinned root metadata: ")


def test_a_device_reads_the_state_of_its_own_product(client, publisher):
    """Two products in one group have two desired states, and neither replaces the other."""
    publisher.desire("a" * 64, sequence=3)
    bottles = DesiredState(
        sequence=9, use_case="bottle", waves=(Wave(release_digest="b" * 64, percent=100.0),), probation_s=1.0
    )
    publisher.add("desired/bottle/line1.json", bottles.to_json())
    publisher.commit()
    client.refresh()
    assert client.desired_state("tags", "line1").sequence == 3
    assert client.desired_state("bottle", "line1") == bottles


def test_a_repository_of_an_older_kizu_is_read_where_the_state_is_of_this_product(client, publisher):
    """The former name held one state for a group, whatever its product; a newer name goes before it."""
    publisher.desire("a" * 64, sequence=3, former_path=True)
    client.refresh()
    assert client.desired_state("tags", "line1").sequence == 3
    assert client.desired_state("bottle", "line1") is None


def test_the_new_name_of_a_desired_state_goes_before_the_former_name(store, publisher, tmp_path):
    """Where both are published, the device takes the state that has its product in its name."""
    publisher.desire("a" * 64, sequence=3, former_path=True)
    publisher.desire("b" * 64, sequence=4)
    client = ReleaseClient(store, BUCKET, publisher.root_bytes, tmp_path / "tuf")
    client.refresh()
    assert client.desired_state("tags", "line1").sequence == 4
