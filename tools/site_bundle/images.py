"""The part `images`: what the Docker engine of this machine has, as one OCI layout."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final

from components.container_images import REGISTRY, TAG
from tools.site_bundle.checksums import BundleError
from tools.site_bundle.oci_layout import Layout, add_saved
from tools.site_bundle.plan import LeftOut, Plan, Run, Say

OURS: Final = (
    "labeling", "data", "training", "training-permissive", "control", "mlflow", "labelstudio", "seaweedfs", "edge",
)  # fmt: skip
"""The images that tools/images makes."""
_WORK: Final = ".work"


@dataclass(frozen=True, slots=True)
class EngineImage:
    """An image of the engine. size: bytes before it is compressed."""

    identifier: str
    size: int


def plan(docker: str, named: Sequence[str], mirrored: Sequence[str], run: Run) -> Plan:
    """Look what the engine has.

    docker: the command. named: images that have to be there, besides ours. mirrored: images that other manifests name.

    Raises:
        RuntimeError: a named image is not in the engine.
    """
    try:
        answers = run([docker, "version", "--format", "{{.Server.Os}}/{{.Server.Arch}}"]).returncode == 0
    except OSError:
        answers = False
    if not answers:
        if named:
            raise RuntimeError(f"expected {', '.join(named)} in a Docker engine, but {docker} does not answer")
        why = f"there is no Docker engine that answers to `{docker}`; start it, or name it with KIZU_DOCKER"
        return Plan("images", "none", 0, None, (LeftOut("images", why),))
    ours = [f"{REGISTRY}/{name}:{TAG}" for name in OURS]
    found: dict[str, EngineImage] = {}
    left_out = []
    for name in dict.fromkeys([*ours, *mirrored, *named]):
        image = _in_engine(docker, name, run)
        if image is not None:
            found[name] = image
        elif name in named:
            raise RuntimeError(f"expected the image {name} in the Docker engine; pull it first: {docker} pull {name}")
        else:
            how = f"tools/images {name.split(':')[0].partition('/')[2]}" if name in ours else f"{docker} pull {name}"
            left_out.append(LeftOut(name, f"it is not in the Docker engine; bring it there with: {how}"))
    size = sum({image.identifier: image.size for image in found.values()}.values())
    write = partial(_write, docker, found) if found else None
    return Plan("images", f"{len(found)} images, before they are compressed", size, write, tuple(left_out))


def _in_engine(docker: str, name: str, run: Run) -> EngineImage | None:
    done = run([docker, "image", "inspect", "--format", "{{.Id}} {{.Size}}", name])
    if done.returncode != 0:
        return None
    identifier, _, size = done.stdout.strip().partition(" ")
    return EngineImage(identifier, int(size))


def write_images(docker: str, names: Sequence[str], folder: Path, run: Run, say: Say) -> None:
    """Write images of the engine as a layout that holds these and no others.

    Raises:
        RuntimeError: one is not in the engine.
    """
    found = {}
    for name in names:
        image = _in_engine(docker, name, run)
        if image is None:
            raise RuntimeError(f"expected the image {name} in the Docker engine, but it is not there")
        found[name] = image
    _write(docker, found, folder, say)


def _write(docker: str, found: Mapping[str, EngineImage], folder: Path, say: Say) -> None:
    layout = Layout(folder)
    folder.mkdir(parents=True, exist_ok=True)
    shutil.rmtree(folder / _WORK, ignore_errors=True)
    there = {image.name: image for image in layout.images() if image.name in found and layout.has(image)}
    layout.write_index(there.values())
    for number, (name, image) in enumerate(found.items(), 1):
        if name not in there or there[name].engine_id != image.identifier:
            say(f"images: {number} of {len(found)}, {name}")
            _save(docker, name, image.identifier, layout)
    layout.remove_strays()


def _save(docker: str, name: str, identifier: str, layout: Layout) -> None:
    with subprocess.Popen([docker, "save", name], stdout=subprocess.PIPE, stderr=subprocess.PIPE) as saving:
        assert saving.stdout is not None
        assert saving.stderr is not None
        try:
            add_saved(layout, name, identifier, saving.stdout, layout.folder / _WORK)
        except BaseException:
            saving.kill()
            raise
        said = saving.stderr.read().decode(errors="replace").strip()
    if saving.returncode != 0:
        raise BundleError(f"{name}: docker save ended with {saving.returncode}: {said}")
