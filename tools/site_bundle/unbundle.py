"""Takes a site bundle in at a closed site: compares it, fills the site's registry, and writes what installs from it.

    python3 -m tools.site_bundle.unbundle FROM INTO [--registry registry.example.com/kizu] [--key signing.pub.pem]

It needs Python 3.11 and nothing else; only `--key` needs the package securesystemslib.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Final

from tools.site_bundle.checksums import (
    SIGNATURE,
    SUMS,
    BundleError,
    copy_checked,
    faults_of,
    read_sums,
    sha256_of,
    write_whole,
)
from tools.site_bundle.oci_layout import Image, Layout
from tools.site_bundle.references import kustomization, place_of, rewritten, split
from tools.site_bundle.registry import Address, Credentials, Registry

SIGNED_TYPE: Final = "application/vnd.kizu.sha256sums"
IMAGES: Final = "images/"
DONE: Final = "unbundled.json"
BASE_OVERLAY: Final = "prod"


def compare(bundle: Path, key: Path | None) -> Mapping[str, str]:
    """The bundle's files by name with their SHA-256, after each was compared.

    key: the public key that has to have signed the list; None: a signature is not looked at.

    Raises:
        BundleError: a file is missing, extra or changed, or the list is not signed by the key.
    """
    sums = read_sums(bundle)
    if key is not None:
        _check_signature(bundle, key)
    faults = faults_of(bundle, sums)
    if faults:
        raise BundleError(f"{bundle} is not whole; nothing was taken from it:\n  " + "\n  ".join(faults))
    return sums


def _check_signature(bundle: Path, key: Path) -> None:
    try:
        from tools.signatures import SignatureError, verified
    except ImportError as e:
        raise BundleError(
            f"a signature is checked with securesystemslib, but {e}. Install it from a source that you trust already, "
            "not from this bundle"
        ) from e
    path = bundle / SIGNATURE
    if not path.is_file():
        raise BundleError(f"expected a signature in {path}, but the bundle has none")
    try:
        payload = verified(path.read_bytes(), SIGNED_TYPE, key)
    except SignatureError as e:
        raise BundleError(f"{SIGNATURE}: {e}") from e
    if payload != (bundle / SUMS).read_bytes():
        raise BundleError(f"{SUMS} is not the list that was signed")


def push_images(layout: Layout, registry: Registry, said: Callable[[str], None]) -> dict[str, str]:
    """Bring every image of a bundle into a registry; returns each reference with its new one, by digest.

    Raises:
        BundleError: see `Registry.push`.
    """
    images = layout.images()
    return {image.name: _push(layout, image, registry, said) for image in images}


def _push(layout: Layout, image: Image, registry: Registry, said: Callable[[str], None]) -> str:
    name, tag, _ = split(image.name)
    reference = registry.push(layout, image, place_of(name), tag or "latest", said)
    said(f"{image.name} -> {reference}")
    return reference


def take_in(
    bundle: Path,
    into: Path,
    sums: Mapping[str, str],
    new: Mapping[str, str],
    registry: str,
    said: Callable[[str], None],
) -> None:
    """Copy everything but the images, and write what names the site's registry and its packages.

    new: reference of an image -> its reference in the site's registry. registry: '' where images were not taken.

    Raises:
        BundleError: a file is changed since it was compared.
        OSError: `into` cannot be written.
    """
    done = into / DONE
    done.unlink(missing_ok=True)
    wanted = [name for name in sums if not name.startswith(IMAGES)]
    for name in wanted:
        copy_checked(bundle / name, into / name, sums[name])
    said(f"{len(wanted)} files into {into}")
    if (into / "wheels").is_dir():
        write_whole(into / "pip.conf", _pip_settings(into / "wheels").encode())
    if registry:
        write_whole(into / "values.yaml", f"registry: {registry}\n".encode())
        write_whole(into / "images.json", (json.dumps(dict(new), indent=1, sort_keys=True) + "\n").encode())
        _rewrite(into, sums, new)
    document = {"schema_version": 1, "bundle": sha256_of(bundle / SUMS), "registry": registry, "images": len(new)}
    write_whole(done, (json.dumps(document, indent=1) + "\n").encode())


def _pip_settings(wheels: Path) -> str:
    return f"[global]\nno-index = true\nfind-links = {wheels.resolve().as_uri()}\ndisable-pip-version-check = true\n"


def _rewrite(into: Path, sums: Mapping[str, str], new: Mapping[str, str]) -> None:
    ours = {name: target for name, target in new.items() if name.startswith("kizu/")}
    if any(name.startswith("manifests/k8s/") for name in sums):
        path = into / "manifests" / "k8s" / "overlays" / "site" / "kustomization.yaml"
        write_whole(path, kustomization(f"../{BASE_OVERLAY}", ours).encode())
    for name in sums:
        if name.startswith("pipelines/") and name.endswith(".yaml"):
            text = rewritten((into / name).read_text(encoding="utf-8"), new)
            write_whole(into / "site" / name, text.encode())
        if name.startswith("kubeflow/rendered/"):
            text = rewritten((into / name).read_text(encoding="utf-8"), new)
            write_whole(into / "site" / "kubeflow" / Path(name).name, text.encode())


def main(arguments: Sequence[str] | None = None) -> int:
    """Take a bundle in. Returns the exit status."""
    parser = argparse.ArgumentParser(prog="unbundle", description="Take a site bundle in at a site without internet.")
    parser.add_argument("bundle", type=Path, metavar="FROM", help="the bundle's folder")
    parser.add_argument("into", type=Path, metavar="INTO", nargs="?", help="where to install from; none: only compare")
    parser.add_argument("--registry", default="", help="the site's registry and folder; http://… for one without TLS")
    parser.add_argument("--user", default="", help="the registry's account")
    parser.add_argument("--password-file", type=Path, help="the file that holds the account's password")
    parser.add_argument("--key", type=Path, help="the public key that has to have signed the bundle")
    options = parser.parse_args(arguments)

    def say(line: str) -> None:
        sys.stdout.write(f"unbundle: {line}\n")
        sys.stdout.flush()

    try:
        registry = Address.parse(options.registry) if options.registry else None
        account = _account(options.user, options.password_file)
        sums = compare(options.bundle, options.key)
        say(f"{len(sums)} files are as the list says")
        if options.key is None and (options.bundle / SIGNATURE).exists():
            say("the list is signed; --key <public key> checks by whom")
        if options.into is None:
            return 0
        _refuse_overlap(options.bundle, options.into)
        layout = Layout(options.bundle / "images")
        new: dict[str, str] = {}
        if registry is not None:
            new = push_images(layout, Registry(registry, account), say)
        elif layout.images():
            say("the images stay in the bundle; --registry brings them into a registry")
        take_in(options.bundle, options.into, sums, new, registry.name if registry else "", say)
        say(f"done: {options.into / DONE}")
    except (BundleError, OSError) as e:
        sys.stderr.write(f"unbundle: {e}\n")
        return 1
    return 0


def _account(user: str, password_file: Path | None) -> Credentials | None:
    if bool(user) != (password_file is not None):
        raise BundleError("expected both --user and --password-file, or none of them")
    if password_file is None:
        return None
    return Credentials(user, password_file.read_text(encoding="utf-8").strip("\r\n"))


def _refuse_overlap(bundle: Path, into: Path) -> None:
    inner, outer = into.resolve(), bundle.resolve()
    if inner == outer or outer in inner.parents or inner in outer.parents:
        raise BundleError(f"expected a folder outside the bundle, but got {into}")
    free = shutil.disk_usage(next(each for each in (inner, *inner.parents) if each.exists())).free
    needed = sum(path.stat().st_size for path in bundle.rglob("*") if path.is_file() and "images" not in path.parts)
    if free < needed:
        raise BundleError(f"{into} needs {needed / 1e9:.1f} GB of free disk, but {free / 1e9:.1f} GB are free there")


if __name__ == "__main__":
    sys.exit(main())
