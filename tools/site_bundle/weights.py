"""The part `weights`: base weights, by their SHA-256: files that are named, and those in this installation's store."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Final

from components.settings import Settings
from components.stores.objects.s3 import ObjectStoreError, S3ObjectStore
from tools.site_bundle.checksums import BundleError, sha256_of, write_whole
from tools.site_bundle.plan import LeftOut, Plan, Say, fresh, replace_folder

PREFIX: Final = "base/"


def plan(files: Sequence[Path], config: Settings | None) -> Plan:
    """Look which weights there are.

    files: of checkpoints. config: of the identity `training`; None where no servers of this machine run.

    Raises:
        BundleError: a file is missing.
    """
    for path in files:
        if not path.is_file():
            raise BundleError(f"expected base weights in {path}, but there is no such file")
    keys: dict[str, int] = {}
    left_out: tuple[LeftOut, ...] = ()
    store = None
    if config is None:
        if not files:
            why = "the servers of this machine are not up (kizu up), and WEIGHTS='<file> …' names no file"
            left_out = (LeftOut("base weights", why),)
    else:
        try:
            store, bucket = S3ObjectStore.from_settings(config), config.bucket("weights")
            keys = {each.key: each.size for each in store.list(bucket, PREFIX) if each.key.endswith(".pt")}
        except ObjectStoreError as e:
            left_out = (LeftOut("base weights of the store", str(e)),)
        if not keys and not files and not left_out:
            left_out = (LeftOut("base weights", "the store has none: no training has made or named some yet"),)
    size = sum(keys.values()) + sum(path.stat().st_size for path in files)
    if not keys and not files:
        return Plan("weights", "none", 0, None, left_out)
    says = f"{len(keys) + len(files)} base weights"
    return Plan("weights", says, size, partial(_write, tuple(files), keys, config, store), left_out)


def _write(
    files: Sequence[Path],
    keys: dict[str, int],
    config: Settings | None,
    store: S3ObjectStore | None,
    folder: Path,
    say: Say,
) -> None:
    made = fresh(folder)
    for path in files:
        shutil.copyfile(path, made / f"{sha256_of(path)}{path.suffix}")
    for key in keys:
        assert config is not None
        assert store is not None
        target = made / key.removeprefix(PREFIX).replace("/", "-")
        write_whole(target, store.get(config.bucket("weights"), key))
        if sha256_of(target) != target.name.partition(".")[0]:
            raise BundleError(f"{key} in the store is damaged: its bytes have another SHA-256 than its name says")
    replace_folder(made, folder)
