"""Container images as one OCI image layout: a folder of blobs, each under its digest, and an index that names images.

All images of a bundle share one layout, so that a layer that several have is there once. The form is that of the OCI
image specification 1.0 (`oci-layout`, `index.json`, `blobs/sha256/`), which other tools read too.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import shutil
import tarfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Final

from tools.site_bundle.checksums import BundleError, sha256_of, write_whole

MANIFEST: Final = "application/vnd.oci.image.manifest.v1+json"
INDEX: Final = "application/vnd.oci.image.index.v1+json"
CONFIG: Final = "application/vnd.oci.image.config.v1+json"
LAYER: Final = "application/vnd.oci.image.layer.v1.tar+gzip"
NAME: Final = "org.opencontainers.image.ref.name"
ENGINE_ID: Final = "io.kizu.engine-image-id"
_CHUNK: Final = 1 << 20


@dataclass(frozen=True, slots=True)
class Blob:
    """digest: `sha256:<hex>`. size: in bytes."""

    digest: str
    size: int


@dataclass(frozen=True, slots=True)
class Image:
    """An image of a layout. name: as the engine names it. engine_id: the id that it has in the engine."""

    name: str
    manifest: Blob
    engine_id: str = ""
    platform: str = "linux/amd64"


@dataclass(frozen=True, slots=True)
class Layout:
    """The folder of a layout."""

    folder: Path

    def blob(self, digest: str) -> Path:
        """Where a blob is.

        Raises:
            BundleError: this is no SHA-256.
        """
        algorithm, _, value = digest.partition(":")
        if algorithm != "sha256" or len(value) != 64 or set(value) - set("0123456789abcdef"):
            raise BundleError(f"expected a digest sha256:<64 hex digits>, but got {digest!r}")
        return self.folder / "blobs" / "sha256" / value

    def images(self) -> tuple[Image, ...]:
        """The images that the index names; () where there is none yet.

        Raises:
            BundleError: the index has another form.
        """
        path = self.folder / "index.json"
        if not path.is_file():
            return ()
        try:
            entries = json.loads(path.read_text(encoding="utf-8"))["manifests"]
            return tuple(
                Image(
                    name=entry["annotations"][NAME],
                    manifest=Blob(entry["digest"], entry["size"]),
                    engine_id=entry["annotations"].get(ENGINE_ID, ""),
                    platform=f"{entry['platform']['os']}/{entry['platform']['architecture']}",
                )
                for entry in entries
            )
        except (ValueError, KeyError, TypeError) as e:
            raise BundleError(f"{path}: expected an OCI image index, but {type(e).__name__}: {e}") from e

    def document(self, digest: str) -> Any:
        """A blob that is JSON, compared with its digest.

        Raises:
            BundleError: it is missing, changed or no JSON.
        """
        path = self.blob(digest)
        try:
            data = path.read_bytes()
            if hashlib.sha256(data).hexdigest() != path.name:
                raise BundleError(f"{path} is changed: its bytes are not those of its digest")
            return json.loads(data)
        except (OSError, ValueError) as e:
            raise BundleError(f"cannot read {path}: {e}") from e

    def blobs_of(self, image: Image) -> tuple[Blob, ...]:
        """The configuration and the layers of an image, each once."""
        manifest = self.document(image.manifest.digest)
        found = [Blob(each["digest"], each["size"]) for each in (manifest["config"], *manifest["layers"])]
        return tuple(dict.fromkeys(found))

    def write_index(self, images: Iterable[Image]) -> None:
        """Name the images of this layout, sorted."""
        entries = []
        for image in sorted(images, key=lambda each: each.name):
            system, _, processor = image.platform.partition("/")
            entries.append({
                "mediaType": MANIFEST, "digest": image.manifest.digest, "size": image.manifest.size,
                "platform": {"architecture": processor, "os": system},
                "annotations": {NAME: image.name, ENGINE_ID: image.engine_id},
            })  # fmt: skip
        write_whole(self.folder / "oci-layout", b'{"imageLayoutVersion": "1.0.0"}\n')
        write_whole(self.folder / "index.json", _json({"schemaVersion": 2, "mediaType": INDEX, "manifests": entries}))

    def has(self, image: Image) -> bool:
        """Whether the manifest and every blob of an image are there, each with its size."""
        if not self.blob(image.manifest.digest).is_file():
            return False
        return all(
            (path := self.blob(blob.digest)).is_file() and path.stat().st_size == blob.size
            for blob in self.blobs_of(image)
        )

    def remove_strays(self) -> None:
        """Remove the blobs that no image of the index names, and what a stopped run left."""
        wanted = {self.blob(image.manifest.digest) for image in self.images()}
        wanted |= {self.blob(blob.digest) for image in self.images() for blob in self.blobs_of(image)}
        for path in self.blob("sha256:" + "0" * 64).parent.glob("*"):
            if path not in wanted:
                path.unlink()

    def layers_by_content(self) -> Mapping[str, Blob]:
        """Digest of a layer's uncompressed bytes -> its blob, of all images that are there."""
        found: dict[str, Blob] = {}
        for image in self.images():
            if self.has(image):
                manifest = self.document(image.manifest.digest)
                contents = self.document(manifest["config"]["digest"])["rootfs"]["diff_ids"]
                layers = (Blob(layer["digest"], layer["size"]) for layer in manifest["layers"])
                found.update(zip(contents, layers, strict=True))
        return found


def add_saved(layout: Layout, name: str, engine_id: str, saved: IO[bytes], work: Path) -> Image:
    """Take over an image that `docker save` writes, and name it in the index.

    saved: the archive, read from front to back. Every version of Docker puts `manifest.json` into it, which names the
    configuration and the layers by their paths. work: an empty folder for the archive's members; it is removed.

    Raises:
        BundleError: the archive has another form.
        OSError: it cannot be read or written.
    """
    shutil.rmtree(work, ignore_errors=True)
    try:
        try:
            members = _unpacked(saved, work)
            (entry,) = json.loads((work / members["manifest.json"]).read_text(encoding="utf-8"))
            config = (work / members[entry["Config"]]).read_bytes()
            described = json.loads(config)
            contents: list[str] = described["rootfs"]["diff_ids"]
            layers = [work / members[path] for path in entry["Layers"]]
            platform = f"{described['os']}/{described['architecture']}"
        except (KeyError, ValueError, TypeError, tarfile.TarError) as e:
            raise BundleError(f"{name}: expected what docker save writes, but {type(e).__name__}: {e}") from e
        if len(contents) != len(layers):
            raise BundleError(f"{name}: expected {len(contents)} layers, but the archive has {len(layers)}")
        known = dict(layout.layers_by_content())
        for content, layer in zip(contents, layers, strict=True):
            if content not in known:  # an image may have a layer twice
                known[content] = _add_layer(layout, layer, content)
        manifest = _json({
            "schemaVersion": 2, "mediaType": MANIFEST,
            "config": _described(CONFIG, _add_bytes(layout, config)),
            "layers": [_described(LAYER, known[content]) for content in contents],
        })  # fmt: skip
        image = Image(name, _add_bytes(layout, manifest), engine_id, platform)
        layout.write_index([*(each for each in layout.images() if each.name != name), image])
        return image
    finally:
        shutil.rmtree(work, ignore_errors=True)


def _unpacked(saved: IO[bytes], work: Path) -> dict[str, str]:
    """Write the archive's files under numbers; returns their paths in the archive -> the numbers."""
    work.mkdir(parents=True)
    members: dict[str, str] = {}
    links: dict[str, str] = {}
    with tarfile.open(fileobj=saved, mode="r|") as archive:
        for number, member in enumerate(archive):
            if member.issym():  # a layer that an older Docker names twice: ../<id>/layer.tar
                links[member.name] = member.linkname.removeprefix("../")
            source = archive.extractfile(member) if member.isfile() else None
            if source is not None:
                members[member.name] = str(number)
                with (work / str(number)).open("wb") as target:
                    shutil.copyfileobj(source, target, _CHUNK)
    while saved.read(_CHUNK):  # the archive's padding: its writer wants to end
        pass
    return members | {name: members[target] for name, target in links.items() if target in members}


def _add_layer(layout: Layout, layer: Path, content: str) -> Blob:
    """Compress a layer into the blobs. One that is compressed already is unpacked first: its content is compared."""
    with layer.open("rb") as stream:
        compressed = stream.read(2) == b"\x1f\x8b"
    temporary = layer.with_name(f"{layer.name}.gz")
    total = hashlib.sha256()
    with (
        gzip.open(layer, "rb") if compressed else layer.open("rb") as reading,
        temporary.open("wb") as target,
        gzip.GzipFile("", "wb", 1, target, 0) as writing,  # no name and no time: the same content gives the same bytes
    ):
        while chunk := reading.read(_CHUNK):
            total.update(chunk)
            writing.write(chunk)
    if f"sha256:{total.hexdigest()}" != content:
        raise BundleError(f"a layer is damaged: expected {content}, but got sha256:{total.hexdigest()}")
    blob = Blob(f"sha256:{sha256_of(temporary)}", temporary.stat().st_size)
    path = layout.blob(blob.digest)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary.replace(path)
    layer.unlink(missing_ok=True)
    return blob


def _add_bytes(layout: Layout, data: bytes) -> Blob:
    blob = Blob(f"sha256:{hashlib.sha256(data).hexdigest()}", len(data))
    write_whole(layout.blob(blob.digest), data)
    return blob


def _described(kind: str, blob: Blob) -> dict[str, Any]:
    return {"mediaType": kind, "digest": blob.digest, "size": blob.size}


def _json(document: Any) -> bytes:
    return (json.dumps(document, indent=1) + "\n").encode()
