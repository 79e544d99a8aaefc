"""The keys that sign releases: made once, closed to others, never overwritten."""

import stat
import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime

import pytest
from tuf.api.metadata import Metadata, Root

from components.deployment.keys import KeysError, init, init_once, load_chain, load_root, load_signers


@pytest.fixture
def folders(tmp_path):
    return tmp_path / "root", tmp_path / "signer"


def contents(*folders):
    return {path: path.read_bytes() for folder in folders for path in folder.iterdir()}


def test_the_root_key_lies_apart_from_the_signers(folders):
    """One key with the operator, four with the signer, and with both the root metadata that devices pin."""
    root, signer = folders
    assert init(root, signer) == signer / "root.json"
    assert {path.name for path in root.iterdir()} == {"root.pem", "1.root.json"}
    assert {path.name for path in signer.iterdir()} == {
        "targets.pem", "snapshot.pem", "timestamp.pem", "agent.pem", "root.json", "1.root.json",
    }  # fmt: skip
    assert (signer / "1.root.json").read_bytes() == (root / "1.root.json").read_bytes()


def test_keys_are_closed_to_others(folders):
    """0600 each, in folders of 0700; the root metadata are public."""
    init(*folders)
    for folder in folders:
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
        for path in folder.iterdir():
            assert stat.S_IMODE(path.stat().st_mode) == (0o644 if path.name.endswith("root.json") else 0o600)


def test_the_signed_root_names_four_different_keys_for_ten_years(folders):
    """The root verifies itself, expires in ten years, names four different keys and asks for consistent snapshots."""
    now = datetime(2025, 4, 1, tzinfo=UTC)
    init(*folders, now=now)
    root = load_root(folders[1])
    root.verify_delegate(Root.type, Metadata[Root].from_file(str(folders[1] / "root.json")))
    roles = {name: role.keyids for name, role in root.signed.roles.items()}
    assert len(root.signed.keys) == 4
    assert len({keyid for keyids in roles.values() for keyid in keyids}) == 4
    assert (root.signed.expires - now).days == 3650
    assert root.signed.consistent_snapshot


def test_a_second_call_overwrites_nothing(folders):
    """A second call on the same folders is refused and leaves every byte as it was."""
    init(*folders)
    before = contents(*folders)
    with pytest.raises(KeysError, match="never overwritten"):
        init(*folders)
    assert contents(*folders) == before


def test_the_root_key_survives_a_call_with_another_signer_folder(folders, tmp_path):
    """The root key of a running fleet is the one thing that nobody can make again."""
    init(*folders)
    before = contents(*folders)
    with pytest.raises(KeysError, match=r"root\.pem is there already"):
        init(folders[0], tmp_path / "other")
    with pytest.raises(KeysError, match="is there already"):
        init(tmp_path / "other-root", folders[1])
    assert contents(*folders) == before


def test_keys_survive_a_root_json_that_was_moved_away(folders):
    """root.json is carried to devices; a call after that must not take the keys for a half-finished set."""
    init(*folders)
    (folders[1] / "root.json").rename(folders[1].parent / "pinned.json")
    before = contents(*folders)
    with pytest.raises(KeysError, match="never overwritten"):
        init(*folders)
    assert contents(*folders) == before


@pytest.mark.parametrize("written", [1, 2, 3, 4])
def test_a_call_that_was_killed_is_done_again(folders, written):
    """Killed after some of the keys: nobody trusts these yet, and the next call makes a whole set."""
    root, signer = folders
    init(root, signer)
    made = [root / "root.pem", signer / "targets.pem", signer / "snapshot.pem", signer / "timestamp.pem"]
    (signer / "root.json").unlink()
    for path in made[written:]:
        path.unlink()
    (root / "unfinished").write_text(str(signer.resolve()))  # what the killed call had left
    init(root, signer)
    load_root(signer)
    assert set(load_signers(signer)) == {"targets", "snapshot", "timestamp"}
    assert not (root / "unfinished").exists()


def test_a_key_open_to_everybody_is_not_used(folders):
    """The message says how to close it."""
    init(*folders)
    (folders[1] / "targets.pem").chmod(0o604)
    with pytest.raises(KeysError, match=r"open to everybody; run: chmod o-rwx .*targets\.pem"):
        load_signers(folders[1])


def test_missing_and_damaged_files_say_how_to_make_keys(folders):
    """A signer without keys does not start."""
    init(*folders)
    (folders[1] / "snapshot.pem").unlink()
    with pytest.raises(KeysError, match=r"snapshot\.pem.*kizu keys init"):
        load_signers(folders[1])
    (folders[1] / "root.json").write_bytes(b"{")
    with pytest.raises(KeysError, match=r"root\.json.*kizu keys init"):
        load_root(folders[1])
    (folders[1] / "snapshot.pem").write_bytes(b"no key")
    (folders[1] / "snapshot.pem").chmod(0o600)
    with pytest.raises(KeysError, match=r"snapshot\.pem"):
        load_signers(folders[1])


def test_two_first_starts_at_once_make_one_set_of_keys(folders):
    """Whoever comes second waits and takes the keys of the first: root.json and every key belong together."""
    root, signer = folders
    together = threading.Barrier(4)

    def start(_):
        together.wait()
        return init_once(root, signer).read_bytes()

    with ThreadPoolExecutor(4) as pool:
        pinned = set(pool.map(start, range(4)))
    assert pinned == {(signer / "root.json").read_bytes()}
    chain = load_chain(signer)  # refuses a key that the root does not list
    assert chain.newest.signed.version == 1


def test_keys_of_two_sets_are_not_taken_for_one(folders, tmp_path):
    """A signer never signs with a key that its root does not list; the message says which key it is."""
    init(*folders)
    init(tmp_path / "root2", tmp_path / "signer2")
    (folders[1] / "snapshot.pem").write_bytes((tmp_path / "signer2" / "snapshot.pem").read_bytes())
    with pytest.raises(KeysError, match="the snapshot key is not the one that root 1 lists"):
        load_chain(folders[1])
