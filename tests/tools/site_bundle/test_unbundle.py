"""A closed site takes a bundle in: compared first, images into its registry, and everything names that registry."""

from __future__ import annotations

import io
import json
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from tests.tools.site_bundle.registry_server import ACCOUNT, BASIC, running
from tests.tools.site_bundle.saved_images import layer, saved
from tools.site_bundle.checksums import write_sums
from tools.site_bundle.folders import write_unbundler
from tools.site_bundle.oci_layout import Layout, add_saved
from tools.site_bundle.references import kustomization, place_of, rewritten, split
from tools.site_bundle.unbundle import main

REPOSITORY = Path(__file__).resolve().parents[3]


@pytest.fixture
def bundle(tmp_path):
    folder = tmp_path / "bundle"
    layout = Layout(folder / "images")
    for name in ("kizu/data:0.1.0", "registry.example.com/kfp/api-server:2.17.0"):
        add_saved(layout, name, "", io.BytesIO(saved(name, [layer(name)])), layout.folder / ".work")
    files = {
        "manifests/k8s/overlays/prod/kustomization.yaml": "resources: []\n",
        "pipelines/training.yaml": "image: kizu/data:0.1.0\nother: kizu/data-of-others:0.1.0\n",
        "kubeflow/rendered/env-platform-agnostic.yaml": "image: registry.example.com/kfp/api-server:2.17.0\n",
        "wheels/numpy-2.2.6-py3-none-any.whl": "wheel",
    }
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    write_sums(folder)
    return folder


def test_a_site_gets_a_registry_with_the_images_and_documents_that_name_it(bundle, tmp_path):
    """By digest; with an account; a second run is harmless."""
    site, password = tmp_path / "site", tmp_path / "password"
    password.write_text(ACCOUNT[1] + "\n")
    with running(BASIC) as server:
        registry = f"{server.url}/plant"
        arguments = [str(bundle), str(site), "--registry", registry, "--user", "kizu", "--password-file", str(password)]
        assert main(arguments) == 0
        assert main(arguments) == 0
        assert {repository for repository, _ in server.manifests} == {"plant/data", "plant/kfp/api-server"}
    name = f"127.0.0.1:{server.server_address[1]}/plant"
    new = json.loads((site / "images.json").read_text())
    assert new["kizu/data:0.1.0"].startswith(f"{name}/data@sha256:")
    assert yaml.safe_load((site / "values.yaml").read_text()) == {"registry": name}
    pipeline = yaml.safe_load((site / "site" / "pipelines" / "training.yaml").read_text())
    assert pipeline == {"image": new["kizu/data:0.1.0"], "other": "kizu/data-of-others:0.1.0"}
    kubeflow = yaml.safe_load((site / "site" / "kubeflow" / "env-platform-agnostic.yaml").read_text())
    assert kubeflow["image"] == new["registry.example.com/kfp/api-server:2.17.0"]
    overlay = yaml.safe_load((site / "manifests/k8s/overlays/site/kustomization.yaml").read_text())
    assert overlay["resources"] == ["../prod"]
    assert overlay["images"] == [
        {"name": "kizu/data", "newName": f"{name}/data", "digest": new["kizu/data:0.1.0"].partition("@")[2]}
    ]
    assert f"find-links = {(site / 'wheels').as_uri()}" in (site / "pip.conf").read_text()
    assert not (site / "images").exists()


@pytest.mark.parametrize("damage", ["missing", "changed", "extra"])
def test_nothing_is_taken_from_a_bundle_that_is_not_whole(bundle, tmp_path, capsys, damage):
    """The file is named, the registry is not asked, and the site's folder is not made."""
    wheel = bundle / "wheels" / "numpy-2.2.6-py3-none-any.whl"
    if damage == "missing":
        wheel.unlink()
    elif damage == "changed":
        wheel.write_text("whee1")
    else:
        wheel.with_name("extra.whl").write_text("wheel")
    with running() as server:
        assert main([str(bundle), str(tmp_path / "site"), "--registry", server.url]) == 1
        assert server.asked == []
    named = "wheels/extra.whl" if damage == "extra" else "wheels/numpy-2.2.6-py3-none-any.whl"
    assert f"{named} is {damage}" in capsys.readouterr().err
    assert not (tmp_path / "site").exists()


def test_a_site_with_nothing_but_python_takes_a_bundle_in(bundle, tmp_path):
    """The bundle carries the program as one file; it imports no package, and none of the repository."""
    write_unbundler(tmp_path / "unbundle.pyz")
    with running() as server:
        done = subprocess.run(
            [sys.executable, "-I", "-S", "unbundle.pyz", bundle, tmp_path / "site", "--registry", server.url],
            cwd=tmp_path, capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        assert ("data", "0.1.0") in server.manifests
    assert (tmp_path / "site" / "unbundled.json").is_file()


def test_a_folder_inside_the_bundle_is_refused(bundle, capsys):
    """It would make the bundle another one."""
    assert main([str(bundle), str(bundle / "site")]) == 1
    assert "outside the bundle" in capsys.readouterr().err


def test_images_keep_their_names_below_the_sites_registry():
    """Ours lie where `kizu cluster install --registry` looks for them; others lose their registry only."""
    assert place_of("kizu/data") == "data"
    assert place_of("registry.example.com:5000/kfp/api-server") == "kfp/api-server"
    assert place_of("localhost/tool") == "tool"
    assert place_of("mysql") == "mysql"
    assert place_of("library/mysql") == "library/mysql"
    assert split(f"registry.example.com:5000/a/b@sha256:{'0' * 64}")[0] == "registry.example.com:5000/a/b"
    with pytest.raises(ValueError, match="expected an image"):
        split("kizu/data:0.1.0 --privileged")


def test_only_whole_references_are_rewritten():
    """A longer name, another tag and another registry stay."""
    new = {"kizu/data:0.1.0": "r.example/data@sha256:1"}
    for text in ("kizu/data:0.1.01", "kizu/data:0.1.0-arm64", "x/kizu/data:0.1.0", "kizu/data:0.1.0@sha256:2"):
        assert rewritten(text, new) == text
    assert rewritten('{"image": "kizu/data:0.1.0"}', new) == '{"image": "r.example/data@sha256:1"}'
    assert "images:" not in kustomization("../prod", {})
