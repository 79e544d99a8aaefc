"""Archives as `docker save` writes them, small."""

from __future__ import annotations

import hashlib
import io
import json
import tarfile


def layer(text: str) -> bytes:
    """A layer with one file."""
    return _tar({"etc/motd": text.encode()})


def saved(name: str, layers: list[bytes], *, legacy: bool = False) -> bytes:
    """An archive of one image. legacy: with the paths of Docker before version 25."""
    config = json.dumps({
        "architecture": "amd64", "os": "linux", "config": {},
        "rootfs": {"type": "layers", "diff_ids": [f"sha256:{hashlib.sha256(each).hexdigest()}" for each in layers]},
    }).encode()  # fmt: skip
    digest = hashlib.sha256(config).hexdigest()
    if legacy:
        paths = [f"{number}/layer.tar" for number in range(len(layers))]
        config_path = f"{digest}.json"
    else:
        paths = [f"blobs/sha256/{hashlib.sha256(each).hexdigest()}" for each in layers]
        config_path = f"blobs/sha256/{digest}"
    manifest = json.dumps([{"Config": config_path, "RepoTags": [name], "Layers": paths}]).encode()
    return _tar({**dict(zip(paths, layers, strict=True)), config_path: config, "manifest.json": manifest})


def _tar(files: dict[str, bytes]) -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as archive:
        for name, data in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    return stream.getvalue()
