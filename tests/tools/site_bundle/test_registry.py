"""Images reach a registry by its protocol."""

from __future__ import annotations

import io

import pytest

from tests.tools.site_bundle.registry_server import ACCOUNT, BASIC, BEARER, OPEN, running
from tests.tools.site_bundle.saved_images import layer, saved
from tools.site_bundle.checksums import BundleError
from tools.site_bundle.oci_layout import Layout, add_saved
from tools.site_bundle.registry import Address, Credentials, Registry


@pytest.fixture
def layout(tmp_path):
    layout = Layout(tmp_path / "images")
    for name in ("kizu/data:0.1.0", "kizu/edge:0.1.0"):
        archive = io.BytesIO(saved(name, [layer("base"), layer(name)]))
        add_saved(layout, name, "", archive, layout.folder / ".work")
    return layout


@pytest.mark.parametrize("access", [OPEN, BASIC, BEARER])
def test_images_are_pushed_blobs_first_and_what_is_there_is_not_sent_again(layout, access):
    """With and without an account; the second image shares a layer, and a second push sends manifests only."""
    data, edge = layout.images()
    with running(access) as server:
        registry = Registry(Address.parse(f"{server.url}/plant/kizu"), Credentials(*ACCOUNT))
        reference = registry.push(layout, data, "data", "0.1.0", lambda _: None)
        assert reference == f"127.0.0.1:{server.server_address[1]}/plant/kizu/data@{data.manifest.digest}"
        registry.push(layout, edge, "edge", "0.1.0", lambda _: None)
        assert server.manifests["plant/kizu/data", "0.1.0"] == layout.blob(data.manifest.digest).read_bytes()
        for blob in {*layout.blobs_of(data), *layout.blobs_of(edge)}:
            assert server.blobs[blob.digest] == layout.blob(blob.digest).read_bytes()
        sent = sum(line.startswith("PUT") and "/blobs/" in line for line in server.asked)
        assert sent == 5
        server.asked.clear()
        registry.push(layout, data, "data", "0.1.0", lambda _: None)
        assert [line.split()[0] for line in server.asked] == ["HEAD", "HEAD", "HEAD", "PUT"]


@pytest.mark.parametrize("access", [BASIC, BEARER])
@pytest.mark.parametrize("account", [None, Credentials("kizu", "wrong")])
def test_a_registry_that_refuses_the_account_says_how_to_name_one(layout, access, account):
    """The error names the registry's answer, and never the password."""
    with running(access) as server:
        registry = Registry(Address.parse(server.url), account)
        with pytest.raises(BundleError, match=r"--password-file|no token") as caught:
            registry.push(layout, layout.images()[0], "data", "0.1.0", lambda _: None)
    assert "wrong" not in str(caught.value)
    assert "wrong" not in repr(registry)


def test_a_damaged_blob_is_refused_and_the_image_stays_invisible(layout):
    """The registry compares each blob; the manifest comes last."""
    image = layout.images()[0]
    path = layout.blob(layout.blobs_of(image)[-1].digest)
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    with running() as server:
        with pytest.raises(BundleError, match="answered 400 DIGEST_INVALID"):
            Registry(Address.parse(server.url)).push(layout, image, "data", "0.1.0", lambda _: None)
        assert server.manifests == {}


def test_a_registry_that_does_not_answer_is_named(layout):
    """Nothing listens there."""
    with running() as server:
        address = Address.parse(server.url)
    with pytest.raises(BundleError, match="the registry does not answer"):
        Registry(address, timeout_s=5).push(layout, layout.images()[0], "data", "0.1.0", lambda _: None)


def test_an_address_is_https_unless_it_says_http():
    """A password never goes over an open connection by mistake."""
    assert Address.parse("registry.example.com:5000/kizu").url == "https://registry.example.com:5000"
    assert Address.parse("registry.example.com/a/b/").name == "registry.example.com/a/b"
    for wrong in ("", "ftp://registry.example.com", "https://user:word@registry.example.com", "https://"):
        with pytest.raises(BundleError, match="expected a registry"):
            Address.parse(wrong)
