"""Replace keys: which roots are made, who accepts them, and what a call that is killed leaves behind."""

import sys
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta

import pytest
from tuf.api.metadata import Root

from components.deployment.keys import KeysError, init, load_chain
from components.deployment.rotation import replace_keys

NOW = datetime(2030, 4, 1, tzinfo=UTC)
_LEFT: list[int] = []


class Killed(BaseException):
    """The process ends here."""


def _kill(event, _):
    if event == "os.rename" and _LEFT:
        if _LEFT[0] == 0:
            raise Killed
        _LEFT[0] -= 1


sys.addaudithook(_kill)


@contextmanager
def killed_before_rename(number):
    """Every file is put in place by a rename; the process is killed before that one."""
    _LEFT.append(number)
    try:
        yield
    finally:
        _LEFT.clear()


@pytest.fixture
def folders(tmp_path):
    init(tmp_path / "root", tmp_path / "signer", now=NOW - timedelta(days=3000))
    return tmp_path / "root", tmp_path / "signer"


def replaced(folders, *roles, revoke=False):
    return replace_keys(roles, *folders, revoke=revoke, now=NOW)


def keyids(root, role):
    return set(root.signed.roles[role].keyids)


@pytest.mark.parametrize("role", ["targets", "snapshot", "timestamp"])
def test_a_rotation_lists_both_keys_and_then_the_new_one_alone(folders, role):
    """Root 2 accepts what either key signed, root 3 the new key's alone; the other roles keep their keys."""
    before = load_chain(folders[1])
    assert replaced(folders, role).version == 3
    chain = load_chain(folders[1])
    old, new = before.signers[role].public_key.keyid, chain.signers[role].public_key.keyid
    assert [keyids(root, role) for root in chain.roots] == [{old}, {old, new}, {new}]
    for other in {"root", "targets", "snapshot", "timestamp"} - {role}:
        assert len({frozenset(keyids(root, other)) for root in chain.roots}) == 1


def test_a_new_root_key_is_introduced_by_the_old_one_and_is_the_only_one_after(folders):
    """Root 2 is signed by both root keys; the next rotation is signed by the new one, which lies in the folder."""
    replaced(folders, "root")
    replaced(folders, "targets")
    roots = load_chain(folders[1]).roots  # refuses a root that the former one or itself does not accept
    assert [root.signed.version for root in roots] == [1, 2, 3, 4]
    assert not keyids(roots[0], Root.type) & keyids(roots[3], Root.type)


def test_a_revocation_takes_one_root_that_lists_the_new_key_alone(folders):
    """Nothing between: what the old key signed counts no more as soon as the root is known."""
    assert replaced(folders, "targets", "timestamp", revoke=True).version == 2
    first, second = load_chain(folders[1]).roots
    for role in ("targets", "timestamp"):
        assert not keyids(first, role) & keyids(second, role)
    assert keyids(first, "snapshot") == keyids(second, "snapshot")


def test_every_replacement_renews_the_root_for_ten_years(folders):
    """The first root had two years left."""
    assert replaced(folders, "root").expires == NOW + timedelta(days=3650)
    assert load_chain(folders[1]).newest.signed.expires == NOW + timedelta(days=3650)


@pytest.mark.parametrize("number", range(14))
@pytest.mark.parametrize(("roles", "revoke"), [(("targets", "root"), False), (("timestamp", "snapshot"), True)])
def test_a_call_that_is_killed_is_completed_by_the_same_call(folders, roles, revoke, number):
    """At every moment the signer has a key for each role that its root lists, and a second call ends in one new set."""
    before = load_chain(folders[1])
    try:
        with killed_before_rename(number):
            replaced(folders, *roles, revoke=revoke)
    except Killed:
        between = load_chain(folders[1])
        for role in ("targets", "snapshot", "timestamp"):
            assert keyids(between.newest, role) == {between.signers[role].public_key.keyid}
        found = replaced(folders, *roles, revoke=revoke)
        assert found.version == (2 if revoke else 3)
    chain = load_chain(folders[1])
    assert [root.signed.version for root in chain.roots] == ([1, 2] if revoke else [1, 2, 3])
    for role in roles:
        assert not keyids(before.newest, role) & keyids(chain.newest, role)
    assert not [path.name for folder in folders for path in folder.iterdir() if ".next." in path.name]
    for version in range(1, chain.newest.signed.version + 1):
        assert len({(folder / f"{version}.root.json").read_bytes() for folder in folders}) == 1


def test_the_roots_outlive_the_signers_folder(folders, tmp_path):
    """With the root key, new keys for a signer that lost its folder follow the roots that devices know."""
    replaced(folders, "snapshot")
    empty = tmp_path / "new-signer"
    with pytest.raises(KeysError):
        replace_keys(["targets"], folders[0], empty, revoke=True, now=NOW)
    replace_keys(["targets", "snapshot", "timestamp"], folders[0], empty, revoke=True, now=NOW)
    assert [root.signed.version for root in load_chain(empty).roots] == [1, 2, 3, 4]


def test_an_older_copy_of_the_signers_folder_is_refused(folders, tmp_path):
    """A second root of a number that devices know already would strand them."""
    copy = tmp_path / "copy"
    copy.mkdir(mode=0o700)
    for path in folders[1].iterdir():
        (copy / path.name).write_bytes(path.read_bytes())
        (copy / path.name).chmod(0o600)
    replaced(folders, "targets")
    with pytest.raises(KeysError, match=r"knows root 3, but .* holds root 1: it is an older copy"):
        replace_keys(["targets"], folders[0], copy, revoke=False, now=NOW)


def test_folders_that_do_not_belong_together_are_refused(folders, tmp_path):
    """Another root key signs nothing, and no file changes."""
    init(tmp_path / "root2", tmp_path / "signer2")
    before = {path: path.read_bytes() for path in folders[1].iterdir()}
    with pytest.raises(KeysError, match="do not belong together"):
        replace_keys(["targets"], tmp_path / "root2", folders[1], revoke=False, now=NOW)
    assert {path: path.read_bytes() for path in folders[1].iterdir()} == before


def test_a_role_that_does_not_exist_is_named(folders):
    """The message lists those that do."""
    with pytest.raises(KeysError, match="expected roles among targets, snapshot, timestamp, root, but got mirrors"):
        replaced(folders, "mirrors")
