"""What the manifests of Kubeflow Pipelines need from the network."""

from __future__ import annotations

import pytest

from tools.site_bundle.mirror import MirrorError, is_remote, needs_of

FILES = {
    "env/plain/kustomization.yaml": """
resources:
  - ../../base
  - https://git.example/argo/manifests/install.yaml?ref=v4.0.8
  - git.example.com/argo/manifests/namespace-install?ref=v4.0.8
patches:
  - path: patch.yaml
  - patch: |-
      - op: remove
        path: /spec
images:
  - {name: registry.example.com/kfp/api-server, newTag: 2.17.0}
""",
    "env/plain/patch.yaml": """
kind: Deployment
spec: {containers: [{name: a, image: 'registry.example.com/mysql:8.4'}]}
""",
    "base/kustomization.yaml": "resources: [deployment.yaml]\n",
    "base/deployment.yaml": """
kind: Deployment
spec:
  template:
    spec:
      containers:
        - name: api
          image: registry.example.com/kfp/api-server:dummy
          args: ["--executor-image", "registry.example.com/argo/executor:v4.0.8"]
          env:
            - {name: V2_LAUNCHER_IMAGE, value: "registry.example.com/kfp/launcher@sha256:%s"}
        - {name: side, image: busybox}
---
kind: ConfigMap
data:
  config: |
    executor: {image: registry.example.com/argo/other:v1}
    docs: https://docs.example.com/page
"""
    % ("a" * 64),
    "env/cloud/kustomization.yaml": "resources: [cloud.yaml]\n",
    "env/cloud/cloud.yaml": "kind: Pod\nspec: {containers: [{name: c, image: 'cloud.example.com/proxy:1'}]}\n",
}


@pytest.fixture
def manifests(tmp_path):
    for name, text in FILES.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return tmp_path


def test_every_image_and_every_remote_resource_is_named_with_its_file(manifests):
    """Containers, arguments, variables and settings; by the tag that the kustomization gives; only what is applied."""
    needs = needs_of(manifests, ["env/plain"])
    assert needs.images == {
        "registry.example.com/argo/executor:v4.0.8": ("base/deployment.yaml",),
        "registry.example.com/argo/other:v1": ("base/deployment.yaml",),
        "registry.example.com/kfp/api-server:2.17.0": ("base/deployment.yaml",),
        f"registry.example.com/kfp/launcher@sha256:{'a' * 64}": ("base/deployment.yaml",),
        "registry.example.com/mysql:8.4": ("env/plain/patch.yaml",),
    }
    assert needs.remote == {
        "git.example.com/argo/manifests/namespace-install?ref=v4.0.8": ("env/plain/kustomization.yaml",),
        "https://git.example/argo/manifests/install.yaml?ref=v4.0.8": ("env/plain/kustomization.yaml",),
    }


def test_a_folder_that_is_something_else_is_an_error(manifests):
    """A root without a kustomization, and a file that a kustomization names and that is not there."""
    with pytest.raises(MirrorError, match="expected a kustomization in"):
        needs_of(manifests, ["env"])
    (manifests / "base" / "deployment.yaml").unlink()
    with pytest.raises(MirrorError, match=r"base/deployment.yaml .* base/kustomization.yaml names it"):
        needs_of(manifests, ["env/plain"])


@pytest.mark.parametrize(
    ("resource", "expected"),
    [
        ("github.com/kubeflow/pipelines/manifests/kustomize?ref=2.17.0", True),
        ("https://example.org/crds.yaml", True),
        ("git@example.org:argo/argo.git", True),
        ("../base", False),
        ("deployment.yaml", False),
        ("argo.org", False),
    ],
)
def test_what_kustomize_fetches_is_told_from_a_path(resource, expected):
    """An address, or a host with a path."""
    assert is_remote(resource) is expected
