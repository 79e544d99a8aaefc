"""The signed repository on a real S3, as a device with a pinned root reads it."""

from datetime import UTC, datetime, timedelta
from urllib.parse import urlparse

import pytest
from tuf.api.exceptions import BadVersionNumberError, DownloadHTTPError, ExpiredMetadataError
from tuf.ngclient import FetcherInterface, Updater

from components.deployment.keys import init, load_root, load_signers
from components.stores.objects.s3 import ObjectNotFound, ObjectStoreError, S3ObjectStore
from components.stores.releases.repository import ReleaseRepository, RepositoryError

DAY = timedelta(days=1)


class BucketFetcher(FetcherInterface):
    """A device's way to the bucket."""

    def __init__(self, store, bucket):
        super().__init__()
        self.store, self.bucket = store, bucket

    def _fetch(self, url):
        try:
            yield self.store.get(self.bucket, urlparse(url).path.lstrip("/"))
        except ObjectNotFound as e:
            raise DownloadHTTPError(str(e), 404) from e


class Device:
    """A TUF client of ours: it trusts the pinned root and nothing else, and keeps what it has seen."""

    def __init__(self, folder, root, store, bucket):
        self.folder, self.root, self.fetcher = folder, root, BucketFetcher(store, bucket)
        (folder / "metadata").mkdir(parents=True)
        (folder / "targets").mkdir()

    def read(self, path):
        """Refresh, then a target's bytes; None where it is not published."""
        updater = Updater(
            str(self.folder / "metadata"), "http://bucket/metadata/", str(self.folder / "targets"),
            "http://bucket/targets/", fetcher=self.fetcher, bootstrap=self.root,
        )  # fmt: skip
        updater.refresh()
        info = updater.get_targetinfo(path)
        if info is None:
            return None
        file = self.folder / "targets" / path.replace("/", "_")
        file.unlink(missing_ok=True)
        with open(updater.download_target(info, str(file)), "rb") as stream:
            return stream.read()


class DyingStore(S3ObjectStore):
    """A store whose owner is killed before its n-th put."""

    @classmethod
    def after(cls, puts, settings):
        store = cls.from_settings(settings)
        store.left = puts
        return store

    def put(self, *arguments, **options):
        if self.left == 0:
            raise ObjectStoreError("killed")
        self.left -= 1
        return super().put(*arguments, **options)


class Site:
    """Keys, an empty bucket, and ways to publish to it."""

    def __init__(self, folder, store, settings):
        self.folder, self.store, self.settings = folder, store, settings
        self.bucket = settings.bucket("releases")
        for info in list(store.list(self.bucket)):
            store.delete(self.bucket, info.key)
        self.root_file = init(folder / "root", folder / "signer")
        self.devices = 0

    def repository(self, store=None, *, now=None, signer="signer"):
        keys = self.folder / signer
        clock = (lambda: now) if now else (lambda: datetime.now(UTC))
        return ReleaseRepository(store or self.store, self.bucket, load_root(keys), load_signers(keys), now=clock)

    def device(self):
        self.devices += 1
        folder = self.folder / f"device{self.devices}"
        return Device(folder, self.root_file.read_bytes(), self.store, self.bucket)

    def metadata(self):
        return {info.key: info.etag for info in self.store.list(self.bucket, "metadata/")}


@pytest.fixture
def site(tmp_path, store, installation):
    return Site(tmp_path, store, installation)


def test_a_device_reads_what_was_published(site):
    """A device that has only the pinned root reads all files of one publication, and None for others."""
    repository = site.repository()
    repository.initialise()
    assert repository.publish([("releases/ab/model.onnx", b"model"), ("desired/line.json", b"1")]) is True
    device = site.device()
    assert device.read("releases/ab/model.onnx") == b"model"
    assert device.read("desired/line.json") == b"1"
    assert device.read("desired/other.json") is None
    assert repository.read_target("desired/line.json") == b"1"
    assert repository.read_target("desired/other.json") is None
    assert set(repository.targets()) == {"releases/ab/model.onnx", "desired/line.json"}


def test_an_empty_repository_is_valid(site):
    """Before the first release a device finds nothing, and no error."""
    site.repository().initialise()
    assert site.device().read("desired/line.json") is None


def test_starting_again_keeps_what_was_published(site):
    """A signer that is restarted calls `initialise` again, and what was published can still be read."""
    site.repository().initialise()
    site.repository().publish([("a", b"1")])
    site.repository().initialise()
    assert site.device().read("a") == b"1"


def test_publishing_the_same_again_changes_nothing(site):
    """Publishing the same files again makes no new version and changes no object."""
    repository = site.repository()
    repository.initialise()
    repository.publish([("a", b"1"), ("b", b"2")])
    before = site.metadata()
    assert repository.publish([("a", b"1")]) is False
    assert repository.publish([]) is False
    assert site.metadata() == before


def test_a_replaced_target_reaches_a_device_that_knew_the_old_one(site):
    """A device reads the new bytes of a replaced target, and other targets stay as they were."""
    repository = site.repository()
    repository.initialise()
    repository.publish([("a", b"1"), ("b", b"2")])
    device = site.device()
    assert device.read("a") == b"1"
    repository.publish([("a", b"new")])
    assert device.read("a") == b"new"
    assert device.read("b") == b"2"


@pytest.mark.parametrize("puts", range(6))
def test_a_publication_that_is_killed_leaves_the_old_state_or_the_new_one(site, puts):
    """Killed before its n-th upload: devices old and new read one of the two, and the next publication works."""
    site.repository().initialise()
    site.repository().publish([("desired/line.json", b"old")])
    known = site.device()
    known.read("desired/line.json")
    files = [("desired/line.json", b"new"), ("releases/cd/model.onnx", b"model")]
    dying = site.repository(DyingStore.after(puts, site.settings))
    if puts < 5:  # two files, targets, snapshot, timestamp
        with pytest.raises(ObjectStoreError, match="killed"):
            dying.publish(files)
    else:
        dying.publish(files)
    for device in (known, site.device()):
        assert device.read("desired/line.json") == (b"old" if puts < 5 else b"new")
    site.repository().publish([*files[1:], ("desired/line.json", b"newer")])
    for device in (known, site.device()):
        assert device.read("desired/line.json") == b"newer"
        assert device.read("releases/cd/model.onnx") == b"model"


@pytest.mark.parametrize("puts", range(4))
def test_a_first_start_that_is_killed_is_done_again(site, puts):
    """A first start that was killed is repeated, whatever part of the empty repository was uploaded."""
    with pytest.raises(ObjectStoreError, match="killed"):
        site.repository(DyingStore.after(puts, site.settings)).initialise()
    repository = site.repository()
    repository.initialise()
    repository.publish([("a", b"1")])
    assert site.device().read("a") == b"1"


@pytest.mark.parametrize(("age", "kinds"), [(5 * DAY, ["timestamp"]), (20 * DAY, ["snapshot", "timestamp"])])
def test_what_runs_out_is_signed_again_before_it_does(site, age, kinds):
    """Timestamps live 7 days and snapshots 30: at half of it they are renewed, and then nothing is due."""
    past = site.repository(now=datetime.now(UTC) - age)
    past.initialise()
    past.publish([("a", b"1")])
    before = site.metadata()
    repository = site.repository()
    assert repository.renew() is True
    assert repository.renew() is False
    after = site.metadata()
    changed = sorted(key.removeprefix("metadata/").split(".")[-2] for key in after if after[key] != before.get(key))
    assert changed == kinds
    assert site.device().read("a") == b"1"


def test_what_is_fresh_is_not_signed_again(site):
    """A repository that was signed a day ago is not signed again."""
    past = site.repository(now=datetime.now(UTC) - DAY)
    past.initialise()
    assert site.repository().renew() is False


@pytest.mark.parametrize("age", [5 * DAY, 20 * DAY])
@pytest.mark.parametrize("puts", [0, 1])
def test_a_renewal_that_is_killed_takes_nothing_from_anybody(site, age, puts):
    """No published version gets other bytes: the timestamp that devices hold still names a snapshot that is there."""
    past = site.repository(now=datetime.now(UTC) - age)
    past.initialise()
    past.publish([("a", b"1")])
    before = site.metadata()
    dying = site.repository(DyingStore.after(puts, site.settings))
    if (age, puts) == (5 * DAY, 1):
        dying.renew()  # the timestamp alone is one put
    else:
        with pytest.raises(ObjectStoreError, match="killed"):
            dying.renew()
    changed = {key for key, etag in site.metadata().items() if key in before and before[key] != etag}
    assert changed <= {"metadata/timestamp.json"}
    site.repository().renew()
    assert site.device().read("a") == b"1"


def test_an_expired_repository_is_refused_by_devices_and_mended_by_its_owner(site):
    """A signer that was away for ten days: devices take nothing new until it is back."""
    past = site.repository(now=datetime.now(UTC) - 10 * DAY)
    past.initialise()
    past.publish([("a", b"1")])
    device = site.device()
    with pytest.raises(ExpiredMetadataError):
        device.read("a")
    site.repository().renew()
    assert device.read("a") == b"1"


def test_metadata_of_other_keys_is_not_signed_on(site):
    """Somebody who can write the bucket but holds no key cannot have the signer continue their work."""
    site.repository().initialise()
    init(site.folder / "root2", site.folder / "signer2")
    with pytest.raises(RepositoryError, match="not signed timestamp metadata of these keys"):
        site.repository(signer="signer2").publish([("a", b"1")])


@pytest.mark.parametrize("damage", [b"{}", b"no json", b""])
def test_damaged_metadata_is_an_error_of_ours(site, damage):
    """Named, and not a trace of a library."""
    repository = site.repository()
    repository.initialise()
    site.store.put(site.bucket, "metadata/timestamp.json", damage)
    with pytest.raises(RepositoryError, match=r"metadata/timestamp\.json is not signed"):
        repository.targets()


def test_a_missing_file_of_the_repository_is_named(site):
    """A deleted metadata file raises an error that names the file."""
    repository = site.repository()
    repository.initialise()
    site.store.delete(site.bucket, "metadata/1.snapshot.json")
    with pytest.raises(RepositoryError, match=r"metadata/1\.snapshot\.json is missing"):
        repository.targets()


def test_a_replaced_target_file_is_not_read(site):
    """A target file with other bytes than the signed ones raises an error."""
    repository = site.repository()
    repository.initialise()
    repository.publish([("desired/line.json", b"1")])
    (info,) = site.store.list(site.bucket, "targets/")
    site.store.put(site.bucket, info.key, b"2")
    with pytest.raises(RepositoryError, match=r"desired/line\.json has other bytes"):
        repository.read_target("desired/line.json")


class MeddledStore(S3ObjectStore):
    """A store in which somebody else acts right before the timestamp is replaced, once."""

    @classmethod
    def with_rival(cls, act, settings):
        store = cls.from_settings(settings)
        store.act = act
        return store

    def put(self, bucket, key, data, **options):
        if key == "metadata/timestamp.json" and self.act:
            act, self.act = self.act, None
            act()
        return super().put(bucket, key, data, **options)


def test_two_signers_at_once_both_have_their_targets_published(site):
    """The second signer publishes while the first is about to: the first reads again, and devices see both."""
    site.repository().initialise()
    device = site.device()
    rival = site.repository()
    first = site.repository(MeddledStore.with_rival(lambda: rival.publish([("x/b", b"b")]), site.settings))
    assert first.publish([("x/a", b"a")]) is True
    assert set(site.repository().targets()) == {"x/a", "x/b"}
    assert (device.read("x/a"), device.read("x/b")) == (b"a", b"b")


def test_a_change_is_computed_again_from_what_another_signer_published(site):
    """Two signers add to one document: the second to come adds to what the first wrote."""
    site.repository().initialise()
    site.repository().publish([("n", b"1")])

    def adding(what):
        return lambda published: [("n", published.read("n") + what)]

    rival = site.repository()
    first = site.repository(MeddledStore.with_rival(lambda: rival.change(adding(b" 2")), site.settings))
    first.change(adding(b" 3"))
    assert site.repository().read_target("n") == b"1 2 3"


def test_two_first_starts_at_once_make_one_repository(site):
    """Whoever comes second keeps what the first made, and what it published."""
    rival = site.repository()

    def start_and_publish():
        rival.initialise()
        rival.publish([("a", b"1")])

    site.repository(MeddledStore.with_rival(start_and_publish, site.settings)).initialise()
    assert site.device().read("a") == b"1"


def test_every_version_can_be_raised_above_what_devices_have_seen(site):
    """A repository that was made anew goes on above the numbers of the lost one."""
    repository = site.repository()
    repository.initialise()
    for number in range(4):
        repository.publish([("a", str(number).encode())])
    device = site.device()
    device.read("a")
    for info in list(site.store.list(site.bucket)):
        site.store.delete(site.bucket, info.key)
    site.repository().initialise()
    with pytest.raises(BadVersionNumberError):
        device.read("a")
    site.repository().change(lambda _: [("a", b"again")], above=100)
    assert device.read("a") == b"again"
