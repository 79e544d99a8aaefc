"""The parts that are copied or made from the repository: `manifests`, `pipelines`, `docs`, `source`."""

from __future__ import annotations

import shutil
import sys
import zipapp
from functools import partial
from pathlib import Path
from typing import Final

from pipelines.compile import compile_all
from tools.site_bundle.checksums import write_whole
from tools.site_bundle.plan import REPOSITORY, Plan, Run, Say, did, fresh, replace_folder, size_of

_KUBECTL: Final = ".venv/bin/kubectl"
_DOCS: Final = "docs/_build/html"
_MANIFESTS: Final = ("base", "components", "overlays", "teams")
CARRIED: Final = ("__init__", "checksums", "oci_layout", "references", "registry", "unbundle")
"""The modules of this folder that a closed site runs, with the standard library only."""


def manifests(run: Run) -> Plan:
    """Our manifests as folders, and each overlay rendered."""
    k8s = REPOSITORY / "deploy" / "k8s"
    overlays = tuple(sorted(path.name for path in (k8s / "overlays").iterdir() if path.is_dir()))
    size = sum(size_of(k8s / name) for name in _MANIFESTS)
    return Plan("manifests", f"overlays {', '.join(overlays)}", size, partial(_manifests, overlays, run))


def _manifests(overlays: tuple[str, ...], run: Run, folder: Path, say: Say) -> None:
    made, k8s = fresh(folder), REPOSITORY / "deploy" / "k8s"
    for name in _MANIFESTS:
        shutil.copytree(k8s / name, made / "k8s" / name)
    shutil.copytree(REPOSITORY / "deploy" / "monitoring", made / "monitoring")
    shutil.copytree(REPOSITORY / "deploy" / "edge", made / "edge")
    for overlay in overlays:
        text = did(run, [_KUBECTL, "kustomize", str(k8s / "overlays" / overlay)], f"the overlay {overlay}")
        write_whole(made / "rendered" / f"{overlay}.yaml", text.encode())
    replace_folder(made, folder)


def pipelines() -> Plan:
    """The compiled pipelines, and the use case files that they take."""
    size = size_of(REPOSITORY / "pipelines" / "compiled")
    return Plan("pipelines", "compiled pipelines and use cases", size, _pipelines)


def _pipelines(folder: Path, say: Say) -> None:
    made = fresh(folder)
    compile_all(made)
    shutil.copytree(REPOSITORY / "use_cases", made / "use_cases")
    replace_folder(made, folder)


def docs(run: Run) -> Plan:
    """The documents as a site that needs no server."""
    return Plan("docs", "the documents as a site", size_of(REPOSITORY / _DOCS) or 30_000_000, partial(_docs, run))


def _docs(run: Run, folder: Path, say: Say) -> None:
    say("docs: the site is built")
    did(run, ["make", "docs"], "the documents")
    made = fresh(folder)
    shutil.copytree(REPOSITORY / _DOCS, made, dirs_exist_ok=True, ignore=shutil.ignore_patterns(".doctrees"))
    replace_folder(made, folder)


def source(run: Run) -> Plan:
    """This repository at its commit, and the program that takes a bundle in."""
    listed = did(run, ["git", "ls-files", "-z"], "the files of the repository").split("\0")
    size = sum((REPOSITORY / name).stat().st_size for name in listed if (REPOSITORY / name).is_file())
    return Plan("source", "the repository at its commit, and unbundle.pyz", size, partial(_source, run))


def _source(run: Run, folder: Path, say: Say) -> None:
    made = fresh(folder)
    did(run, ["git", "archive", "--format=tar.gz", "--prefix=kizu/", f"--output={made}/kizu.tar.gz", "HEAD"], "git")
    write_unbundler(made / "unbundle.pyz")
    replace_folder(made, folder)


def write_unbundler(target: Path) -> None:
    """Write the program that takes a bundle in, as one file that any Python 3.11 runs."""
    here = Path(__file__).parent
    work = target.with_name(f".{target.name}.work")
    shutil.rmtree(work, ignore_errors=True)
    package = work / "tools" / "site_bundle"
    package.mkdir(parents=True)
    (work / "tools" / "__init__.py").write_text("", encoding="utf-8")
    for name in CARRIED:
        shutil.copyfile(here / f"{name}.py", package / f"{name}.py")
    start = "import sys\nfrom tools.site_bundle.unbundle import main\nsys.exit(main())\n"
    (work / "__main__.py").write_text(start, encoding="utf-8")
    zipapp.create_archive(work, target, interpreter="/usr/bin/env python3")
    shutil.rmtree(work)


if __name__ == "__main__":
    write_unbundler(Path(sys.argv[1]))
