"""Images of the engine become one OCI layout."""

from __future__ import annotations

import gzip
import hashlib
import io
import json

import pytest

from tests.tools.site_bundle.saved_images import layer, saved
from tools.site_bundle.checksums import BundleError
from tools.site_bundle.oci_layout import Layout, add_saved


def add(layout, name, layers, **more):
    return add_saved(layout, name, f"id-{name}", io.BytesIO(saved(name, layers, **more)), layout.folder / ".work")


@pytest.mark.parametrize("legacy", [False, True])
def test_an_image_keeps_its_configuration_and_the_content_of_its_layers(tmp_path, legacy):
    """Whatever version of Docker saved it; the layers are compressed, and every blob has the name of its digest."""
    layout = Layout(tmp_path)
    image = add(layout, "kizu/data:0.1.0", [layer("a"), layer("b"), layer("a")], legacy=legacy)
    assert layout.images() == (image,)
    assert (image.platform, image.engine_id) == ("linux/amd64", "id-kizu/data:0.1.0")
    manifest = layout.document(image.manifest.digest)
    contents = layout.document(manifest["config"]["digest"])["rootfs"]["diff_ids"]
    for described, content in zip(manifest["layers"], contents, strict=True):
        data = layout.blob(described["digest"]).read_bytes()
        assert len(data) == described["size"]
        assert hashlib.sha256(gzip.decompress(data)).hexdigest() == content.removeprefix("sha256:")
    for path in (tmp_path / "blobs" / "sha256").iterdir():
        assert hashlib.sha256(path.read_bytes()).hexdigest() == path.name
    assert json.loads((tmp_path / "oci-layout").read_text()) == {"imageLayoutVersion": "1.0.0"}
    assert not (tmp_path / ".work").exists()


def test_a_layer_of_two_images_is_there_once_and_goes_only_with_the_last(tmp_path):
    """The images share their base; blobs that no image names are removed."""
    layout = Layout(tmp_path)
    first = add(layout, "kizu/data:0.1.0", [layer("base"), layer("data")])
    second = add(layout, "kizu/edge:0.1.0", [layer("base"), layer("edge")])
    shared = set(layout.blobs_of(first)) & set(layout.blobs_of(second))
    assert len(shared) == 1
    layout.write_index([second])
    layout.remove_strays()
    assert layout.has(second)
    assert not layout.has(first)
    assert len(list((tmp_path / "blobs" / "sha256").iterdir())) == 4


def test_the_same_image_gives_the_same_digest(tmp_path):
    """Nothing of the time or the place goes into it."""
    layers = [layer("a")]
    first, second = Layout(tmp_path / "1"), Layout(tmp_path / "2")
    assert add(first, "kizu/edge:0.1.0", layers).manifest == add(second, "kizu/edge:0.1.0", layers).manifest


def test_an_archive_that_ended_early_leaves_no_image(tmp_path):
    """The engine was stopped, or the disk was full: the index does not name the image."""
    layout, whole = Layout(tmp_path), saved("kizu/data:0.1.0", [layer("a" * 5000)])
    for length in (0, 700, 2000):
        with pytest.raises(BundleError, match="docker save"):
            add_saved(layout, "kizu/data:0.1.0", "", io.BytesIO(whole[:length]), tmp_path / ".work")
    assert layout.images() == ()


def test_a_layer_that_is_not_the_one_of_the_configuration_is_refused(tmp_path):
    """An image is what its configuration says, or it is not carried."""
    whole = saved("kizu/data:0.1.0", [layer("right")])
    with pytest.raises(BundleError, match="damaged"):
        add_saved(
            Layout(tmp_path), "kizu/data:0.1.0", "", io.BytesIO(whole.replace(b"right", b"wrong")), tmp_path / "w"
        )


def test_a_digest_that_is_a_path_is_refused(tmp_path):
    """A manifest of somebody else names no file outside the blobs."""
    with pytest.raises(BundleError, match="expected a digest"):
        Layout(tmp_path).blob("sha256:../../../etc/passwd")
