"""What the manifests of another project need from the network: images, and what their kustomizations fetch."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import yaml

_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_LISTS: Final = ("resources", "bases", "components", "crds", "configurations", "generators", "transformers")
_KUSTOMIZATIONS: Final = ("kustomization.yaml", "kustomization.yml", "Kustomization")
# A registry's host, a path, and a tag or digest: what an argument, a variable or a line of a setting names too.
_IMAGE: Final = re.compile(
    r"(?<![\w./:@-])(?:[a-z0-9-]+\.)+[a-z]{2,}(?::\d+)?(?:/[a-z0-9][a-z0-9._-]*)+(?::\w[\w.-]*|@sha256:[0-9a-f]{64})"
)


class MirrorError(RuntimeError):
    """The folder is not what it is said to be."""


@dataclass(frozen=True, slots=True)
class Needs:
    """images, remote: each with the files that name it."""

    images: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    remote: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


def needs_of(folder: Path, roots: Iterable[str]) -> Needs:
    """Follow the kustomizations from some folders on, and collect what they need from the network.

    folder: such as `manifests/kustomize` of a checkout. roots: the folders below it that are applied.

    Raises:
        MirrorError: a root, or something that a kustomization names, is not there.
    """
    images: dict[str, set[str]] = {}
    remote: dict[str, set[str]] = {}
    renamed: dict[str, Mapping[str, str]] = {}
    for path in _reached(folder.resolve(), roots, remote):
        name = path.relative_to(folder.resolve()).as_posix()
        for document in _documents(path):
            if path.name in _KUSTOMIZATIONS:
                renamed.update({each["name"]: each for each in document.get("images") or () if "name" in each})
            for image in images_in(document):
                images.setdefault(image, set()).add(name)
    final: dict[str, set[str]] = {}
    for image, names in images.items():
        final.setdefault(_renamed(image, renamed), set()).update(names)
    return Needs(*({key: tuple(sorted(names)) for key, names in sorted(each.items())} for each in (final, remote)))


def is_remote(resource: str) -> bool:
    """Whether kustomize fetches a resource: an address, or a repository on a host, with or without a `ref`."""
    first = resource.removeprefix("git::").partition("/")[0]
    return "://" in resource or "?ref=" in resource or resource.startswith("git@") or bool(
        re.fullmatch(r"[\w-]+(\.[\w-]+)*\.(com|org|net|io|dev)", first) and "/" in resource
    )  # fmt: skip


def images_in(document: Any) -> Iterator[str]:
    """The images that a document names: containers; arguments, variables and settings that name a whole reference."""
    if isinstance(document, Mapping):
        image = document.get("image")
        if isinstance(image, str) and re.search(r"[:@/]", image) and not re.search(r"[\s{}$]", image):
            yield image
        for value in document.values():
            yield from images_in(value)
    elif isinstance(document, list):
        for value in document:
            yield from images_in(value)
    elif isinstance(document, str) and "?ref=" not in document:
        yield from _IMAGE.findall(document)


def _reached(base: Path, roots: Iterable[str], remote: dict[str, set[str]]) -> Iterator[Path]:
    waiting, seen = [(base / root, f"the folder {root}") for root in roots], set()
    while waiting:
        path, named_by = waiting.pop()
        if path.is_dir():
            found = next((path / name for name in _KUSTOMIZATIONS if (path / name).is_file()), None)
            if found is None:
                raise MirrorError(f"expected a kustomization in {path}, which {named_by} names, but there is none")
            path = found
        path = path.resolve()
        if not path.is_file() or base not in path.parents:
            raise MirrorError(f"expected {path} below {base}, but it is not there; {named_by} names it")
        if path in seen:
            continue
        seen.add(path)
        yield path
        if path.name not in _KUSTOMIZATIONS:
            continue
        here = path.relative_to(base).as_posix()
        for document in _documents(path):
            for resource in _named(document):
                if is_remote(resource):
                    remote.setdefault(resource, set()).add(here)
                elif "\n" not in resource:  # else a patch that stands there as text
                    waiting.append((path.parent / resource, here))


def _named(document: Mapping[str, Any]) -> Iterator[str]:
    for key in _LISTS:
        yield from (each for each in document.get(key) or () if isinstance(each, str))
    for patch in (*(document.get("patches") or ()), *(document.get("patchesJson6902") or ())):
        if isinstance(patch, Mapping) and "path" in patch:
            yield patch["path"]
    yield from (each for each in document.get("patchesStrategicMerge") or () if isinstance(each, str))


def _renamed(image: str, renamed: Mapping[str, Mapping[str, str]]) -> str:
    name = re.sub(r"@sha256:.*|:[^/:]*$", "", image)
    entry = renamed.get(name)
    if entry is None:
        return image
    name, rest = entry.get("newName", name), image[len(name) :]
    if "digest" in entry:
        rest = f"@{entry['digest']}"
    elif "newTag" in entry:
        rest = f":{entry['newTag']}"
    return name + rest


def _documents(path: Path) -> list[Any]:
    if path.suffix not in (".yaml", ".yml") and path.name not in _KUSTOMIZATIONS:
        return []
    try:
        found = list(yaml.load_all(path.read_text(encoding="utf-8"), Loader=_LOADER))
    except (yaml.YAMLError, UnicodeDecodeError) as e:
        raise MirrorError(f"cannot read {path}: {e}") from e
    return [document for document in found if document]
