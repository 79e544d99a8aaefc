"""The steps of a team's stage *assets*. Each can be made by itself; what was made stands in one folder."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from components.container_images import REGISTRY, TAG
from pipelines.compile import compile_all
from tools.assets.provenance import RECORD, Built, write_signed
from tools.licences import installed
from tools.sbom import bill
from tools.site_bundle import images as engine
from tools.site_bundle.bills import ENVIRONMENTS
from tools.site_bundle.checksums import sha256_of, write_whole
from tools.site_bundle.oci_layout import Layout
from tools.site_bundle.plan import REPOSITORY, Run, Say, did, fresh, replace_folder
from tools.site_bundle.references import place_of, split
from tools.site_bundle.registry import Registry
from tools.site_bundle.wheel_choice import locked_packages
from tools.teams import OF, Team

STEPS: Final = ("test", "images", "push", "compile", "render", "sbom", "sign")
_KUBECTL: Final = ".venv/bin/kubectl"


class AssetsError(RuntimeError):
    """A step of the stage failed."""


@dataclass(slots=True)
class Making:
    """One run of the stage. folder: `build/assets/<team>`. registry, key: None where nothing is pushed or signed."""

    name: str
    folder: Path
    commit: str
    made_at: datetime
    run: Run
    say: Say
    stream: Callable[[Sequence[str]], int]
    registry: Registry | None = None
    key: Path | None = None
    builder: str = "make assets"
    started: datetime = field(default_factory=lambda: datetime.now(UTC))

    @property
    def team(self) -> Team:
        """Whose assets."""
        return OF[self.name]

    def make(self, steps: Sequence[str]) -> dict[str, Any]:
        """Make some steps, in their order, and write the record of what is there.

        Raises:
            AssetsError: a step failed, or lacks something.
        """
        if "push" in steps and self.registry is None:
            raise AssetsError("the step push needs a registry: REGISTRY=registry.example.com/kizu")
        if "sign" in steps and self.key is None:
            raise AssetsError("the step sign needs a private key: KEY=<file>; python -m tools.signatures makes one")
        self.folder.mkdir(parents=True, exist_ok=True)
        record = self._former()
        for step in (each for each in STEPS if each in steps and each != "sign"):
            self.say(f"{self.name}: {step}")
            getattr(self, f"_{step}")(record)
        record |= {"schema_version": 1, "team": self.name, "commit": self.commit}
        record["steps"] = [step for step in STEPS if step in {*record["steps"], *steps}]
        write_whole(self.folder / RECORD, (json.dumps(record, indent=1, sort_keys=True) + "\n").encode())
        if "sign" in steps:
            assert self.key is not None
            self.say(f"{self.name}: sign")
            write_signed(self.folder, self._built(record["steps"]), record["images"], self.key)
        return record

    def _former(self) -> dict[str, Any]:
        """What an earlier run of the same commit made; of another commit nothing counts."""
        empty: dict[str, Any] = {"images": {}, "references": {}, "pipelines": {}, "manifests": {}, "steps": []}
        try:
            found = json.loads((self.folder / RECORD).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return empty
        return {key: found[key] for key in empty} if found.get("commit") == self.commit else empty

    def _test(self, record: dict[str, Any]) -> None:
        tests = [path for path in self.team.tests if (REPOSITORY / path).exists()]
        markers = "not containers and not manifests and not soak and not arm and not cluster and not bundle"
        if self.stream([".venv/bin/python", "-m", "pytest", "-q", "-m", markers, *tests]) != 0:
            raise AssetsError(f"the tests of {self.name} failed; see above")

    def _images(self, record: dict[str, Any]) -> None:
        wanted = os.environ.get("IMAGES", "").split() or list(self.team.images)
        if self.stream(["tools/images", *wanted]) != 0:
            raise AssetsError(f"the images of {self.name} could not be built; see above")
        docker = os.environ.get("KIZU_DOCKER", "docker")
        names = [f"{REGISTRY}/{image}:{TAG}" for image in wanted]
        engine.write_images(docker, names, self.folder / "images", self.run, self.say)
        record["images"] = {image.name: image.manifest.digest for image in Layout(self.folder / "images").images()}

    def _push(self, record: dict[str, Any]) -> None:
        assert self.registry is not None
        layout = Layout(self.folder / "images")
        found = layout.images()
        if not found:
            raise AssetsError("there is nothing to push; make the step images first")
        record["references"] = {
            image.name: self.registry.push(layout, image, place_of(split(image.name)[0]), TAG, self.say)
            for image in found
        }

    def _compile(self, record: dict[str, Any]) -> None:
        made = fresh(self.folder / "pipelines")
        compile_all(made)
        for path in made.glob("*.yaml"):
            if path.stem not in self.team.pipelines:
                path.unlink()
        replace_folder(made, self.folder / "pipelines")
        record["pipelines"] = self._digests("pipelines")

    def _render(self, record: dict[str, Any]) -> None:
        made = fresh(self.folder / "manifests")
        source = f"deploy/k8s/teams/{self.name}"
        text = did(self.run, [_KUBECTL, "kustomize", source], f"the manifests of {self.name}")
        write_whole(made / f"{self.name}.yaml", text.encode())
        replace_folder(made, self.folder / "manifests")
        record["manifests"] = self._digests("manifests")

    def _sbom(self, record: dict[str, Any]) -> None:
        made, known = fresh(self.folder / "sbom"), installed(REPOSITORY / name for name in ENVIRONMENTS)
        for image in self.team.images:
            lock = REPOSITORY / "locks" / f"{image}.txt"
            if lock.exists():
                packages = locked_packages(lock.read_text(encoding="utf-8"))
            else:  # SeaweedFS is one package of the tests' lock file
                every = locked_packages((REPOSITORY / "locks" / "dev.txt").read_text(encoding="utf-8"))
                packages = tuple(each for each in every if each.name == f"{image}-bin")
            digest = record["images"].get(f"{REGISTRY}/{image}:{TAG}", "")
            text = bill(f"{REGISTRY}/{image}", TAG, packages, known, self.made_at, digest)
            write_whole(made / f"{image}.cdx.json", text.encode())
        replace_folder(made, self.folder / "sbom")

    def _digests(self, part: str) -> Mapping[str, str]:
        return {path.name: f"sha256:{sha256_of(path)}" for path in sorted((self.folder / part).glob("*.yaml"))}

    def _built(self, steps: Sequence[str]) -> Built:
        locks = {each for image in self.team.images for each in (f"locks/{image}.txt",) if (REPOSITORY / each).exists()}
        return Built(
            team=self.name, commit=self.commit, builder=self.builder, steps=tuple(steps),
            dependencies={name: sha256_of(REPOSITORY / name) for name in locks | {"locks/dev.txt", "locks/uv.txt"}},
            started=self.started.isoformat(), finished=datetime.now(UTC).isoformat(),
        )  # fmt: skip
