"""Keys are replaced while devices read: who accepts what, at every moment, on a real S3."""

from datetime import UTC, datetime, timedelta

import pytest
from tuf.api.exceptions import RepositoryError as TufError

from components.deployment.keys import init, load_chain
from components.deployment.rotation import replace_keys
from components.stores.objects.s3 import ObjectStoreError
from components.stores.releases.repository import ReleaseRepository, RepositoryError
from tests.components.stores.releases.test_repository import DyingStore, Site

ONLINE = ("targets", "snapshot", "timestamp")


class RotatingSite(Site):
    """A site whose keys are replaced. Its devices pinned the first root."""

    def __init__(self, *arguments):
        super().__init__(*arguments)
        self.root_file = self.folder / "root" / "1.root.json"

    def replace(self, *roles, revoke=False, now=None):
        folders = self.folder / "root", self.folder / "signer"
        return replace_keys(roles, *folders, revoke=revoke, now=now or datetime.now(UTC))

    def signer(self, store=None, *, now=None):
        """A signer that has just started with the keys as they are in the folder; not yet initialised."""
        keys = load_chain(self.folder / "signer")
        clock = (lambda: now) if now else (lambda: datetime.now(UTC))
        return ReleaseRepository(
            store or self.store, self.bucket, keys.newest, keys.signers, former=keys.roots[:-1], now=clock
        )

    def started(self):
        made = self.signer()
        made.initialise()
        return made


@pytest.fixture
def site(tmp_path, store, installation):
    made = RotatingSite(tmp_path, store, installation)
    made.started().publish([("desired/line.json", b"1")])
    return made


@pytest.mark.parametrize("role", [*ONLINE, "root"])
def test_a_device_that_pinned_the_first_root_follows_every_rotation(site, role):
    """Both a device that read before and one that starts now take what is published after two rotations."""
    known = site.device()
    assert known.read("desired/line.json") == b"1"
    for published in (b"2", b"3"):
        site.replace(role)
        site.started().publish([("desired/line.json", published)])
    for device in (known, site.device()):
        assert device.read("desired/line.json") == b"3"


def test_a_running_signer_takes_new_keys_over(site):
    """It signs with the new keys from then on, and what it published before stays."""
    running = site.signer()
    known = site.device()
    known.read("desired/line.json")
    site.replace(*ONLINE)
    running.use_keys(load_chain(site.folder / "signer"))
    running.publish([("a", b"2")])
    assert known.read("a") == b"2"
    assert known.read("desired/line.json") == b"1"


def test_the_old_key_signs_nothing_after_a_rotation(site):
    """A signer that still holds the old keys is refused by its own check, and devices lose nothing."""
    left_behind = site.signer()
    site.replace("timestamp")
    site.started()
    with pytest.raises(RepositoryError, match="not signed timestamp metadata of these keys"):
        left_behind.publish([("a", b"2")])
    assert site.device().read("desired/line.json") == b"1"


@pytest.mark.parametrize("role", ONLINE)
@pytest.mark.parametrize("puts", range(5))
def test_a_rotation_that_is_killed_while_published_leaves_every_device_reading(site, role, puts):
    """Killed before its n-th upload: devices old and new read on, and the next start completes it."""
    known = site.device()
    known.read("desired/line.json")
    site.replace(role)
    with pytest.raises(ObjectStoreError, match="killed"):  # two roots and three metadata files
        site.signer(DyingStore.after(puts, site.settings)).initialise()
    for device in (known, site.device()):
        assert device.read("desired/line.json") == b"1"
    site.started().publish([("desired/line.json", b"2")])
    for device in (known, site.device()):
        assert device.read("desired/line.json") == b"2"


@pytest.mark.parametrize("roles", [("timestamp",), ("snapshot",), ("snapshot", "timestamp")])
def test_targets_outlive_the_revocation_of_other_keys(site, roles):
    """Targets are taken from metadata that a key in force signed, whatever revoked ones say of them."""
    known = site.device()
    known.read("desired/line.json")
    site.replace(*roles, revoke=True)
    site.started()
    for device in (known, site.device()):
        assert device.read("desired/line.json") == b"1"


def test_what_a_revoked_targets_key_signed_is_published_no_more(site):
    """Whoever stole it may have published with it; the signer starts from nothing and does not sign that on."""
    site.signer().publish([("desired/line.json", b"of a thief")])
    known = site.device()
    known.read("desired/line.json")
    site.replace("targets", revoke=True)
    site.started()
    for device in (known, site.device()):
        assert device.read("desired/line.json") is None
    site.signer().publish([("desired/line.json", b"2")])
    for device in (known, site.device()):
        assert device.read("desired/line.json") == b"2"


@pytest.mark.parametrize("puts", range(4))
def test_a_revocation_that_is_killed_while_published_is_completed_by_the_next_start(site, puts):
    """Devices may refuse everything meanwhile, which holds no line up."""
    site.replace(*ONLINE, revoke=True)
    with pytest.raises(ObjectStoreError, match="killed"):  # one root and three metadata files
        site.signer(DyingStore.after(puts, site.settings)).initialise()
    site.started().publish([("desired/line.json", b"2")])
    assert site.device().read("desired/line.json") == b"2"


def test_a_key_that_was_retired_long_ago_is_not_signed_on(site):
    """A retired key may be stolen later: 30 days after its rotation nothing that it signed is taken over."""
    old = site.signer()
    site.replace("targets", "timestamp", "snapshot", now=datetime.now(UTC) - timedelta(days=31))
    with pytest.raises(RepositoryError, match="not signed timestamp metadata of these keys"):
        site.signer().targets()
    assert "desired/line.json" in old.targets()


def test_a_revoked_key_cannot_give_a_device_anything(site):
    """A thief with the old keys and the bucket: a device that knows the new root refuses what they sign."""
    thief = site.signer()
    known = site.device()
    site.replace(*ONLINE, revoke=True)
    site.started().publish([("a", b"ours")])
    assert known.read("a") == b"ours"
    kept = {key: site.store.get(site.bucket, key) for key in site.metadata()}
    site.store.delete(site.bucket, "metadata/timestamp.json")
    thief.initialise()
    thief.publish([("a", b"of a thief")])
    with pytest.raises(TufError):
        known.read("a")
    for key, data in kept.items():
        site.store.put(site.bucket, key, data)
    assert known.read("a") == b"ours"


def test_another_sites_keys_do_not_take_a_bucket_over(site):
    """A signer with the wrong folder stops before it replaces the first root."""
    init(site.folder / "root2", site.folder / "signer2")
    keys = load_chain(site.folder / "signer2")
    wrong = ReleaseRepository(site.store, site.bucket, keys.newest, keys.signers)
    with pytest.raises(RepositoryError, match="holds the repository of other keys"):
        wrong.initialise()
    assert site.device().read("desired/line.json") == b"1"


def test_targets_are_renewed_too(site):
    """Nothing was released for six years: targets, snapshot and timestamp are signed again, and devices read on."""
    later = datetime.now(UTC) - timedelta(days=6 * 365)
    for info in list(site.store.list(site.bucket)):
        site.store.delete(site.bucket, info.key)
    old = site.signer(now=later)
    old.initialise()
    old.publish([("a", b"1")])
    assert site.signer().renew() is True
    assert site.signer().expiries()["targets"] > datetime.now(UTC) + timedelta(days=3600)
    assert site.device().read("a") == b"1"
