"""The part `kubeflow`: the manifests of Kubeflow Pipelines from a checkout, and the list of what they need besides."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Final

import yaml

from tools.site_bundle.checksums import write_whole
from tools.site_bundle.mirror import Needs, images_in, needs_of
from tools.site_bundle.plan import REPOSITORY, LeftOut, Plan, Run, Say, fresh, replace_folder, size_of

ROOTS: Final = ("cluster-scoped-resources", "env/platform-agnostic")
"""What docs/how-to/cluster.md applies."""
_KUBECTL: Final = ".venv/bin/kubectl"


def plan(manifests: Path | None, run: Run, roots: Sequence[str] = ROOTS) -> tuple[Plan, tuple[str, ...]]:
    """Read the manifests. Returns the plan, and the images that they name.

    manifests: `manifests/kustomize` of a checkout of Kubeflow Pipelines; None: the part is left out.

    Raises:
        MirrorError: the folder is another one, or a file is missing in it.
    """
    if manifests is None:
        why = "name the folder manifests/kustomize of a checkout of Kubeflow Pipelines with KFP_MANIFESTS=<folder>"
        return Plan("kubeflow", "none", 0, None, (LeftOut("Kubeflow Pipelines", why),)), ()
    folder = manifests.expanduser().resolve()
    needs = needs_of(folder, roots)
    rendered, left_out = {}, []
    for root in roots:
        done = run([str(REPOSITORY / _KUBECTL), "kustomize", str(folder / root)])
        if done.returncode == 0:
            rendered[root] = done.stdout
        else:
            last = (done.stderr.strip().splitlines() or ["no message"])[-1]
            why = f"kubectl kustomize failed; what is fetched from elsewhere is missing, with its images: {last}"
            left_out.append(LeftOut(f"Kubeflow Pipelines, {root}, rendered", why))
    images = dict(needs.images)
    if len(rendered) == len(roots):
        # What is applied, with what was fetched: it names every image, and none that a patch replaced.
        images = {}
        for root, text in rendered.items():
            for document in yaml.safe_load_all(text):
                for image in images_in(document):
                    images[image] = tuple(dict.fromkeys((*images.get(image, ()), root)))
    found = Needs(dict(sorted(images.items())), needs.remote)
    size = size_of(folder) + sum(map(len, rendered.values()))
    says = f"{len(found.images)} images and {len(found.remote)} remote resources are named in mirror.json"
    return (
        Plan(
            "kubeflow",
            says,
            size,
            partial(_write, folder, rendered, found, len(rendered) == len(roots)),
            tuple(left_out),
        ),
        tuple(found.images),
    )


def _write(manifests: Path, rendered: dict[str, str], needs: Needs, complete: bool, folder: Path, say: Say) -> None:
    made = fresh(folder)
    shutil.copytree(manifests, made / "kustomize", ignore=shutil.ignore_patterns(".git"))
    for root, text in rendered.items():
        write_whole(made / "rendered" / f"{root.replace('/', '-')}.yaml", text.encode())
    document = {
        "schema_version": 1,
        "complete": complete,
        "images": [{"image": image, "named_in": list(names)} for image, names in needs.images.items()],
        "remote": [{"resource": each, "named_in": list(names)} for each, names in needs.remote.items()],
    }
    write_whole(made / "mirror.json", (json.dumps(document, indent=1) + "\n").encode())
    lines = [f"image {image}\n" for image in needs.images] + [f"remote {each}\n" for each in needs.remote]
    write_whole(made / "mirror.txt", "".join(lines).encode())
    replace_folder(made, folder)
