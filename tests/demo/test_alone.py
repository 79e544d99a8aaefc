"""One demo a home, and one set of photographs."""

from __future__ import annotations

import json

import pytest
from rich.console import Console

from demo.loop import refuse_what_is_not_the_demos, run
from demo.state import DemoError, DemoOptions
from deploy.access.locks import locked
from tests.deploy.stack_fixture import make_layout


@pytest.mark.parametrize("fresh", [False, True])
def test_a_demo_beside_another_is_refused_and_touches_nothing(tmp_path, fresh):
    """A second demo in one home is refused and changes no file, even one that would start fresh."""
    layout = make_layout(tmp_path)
    with locked(layout.run / "demo.lock"):
        (layout.home / "what the other made").write_text("kept")
        before = sorted(path.relative_to(layout.home) for path in layout.home.rglob("*"))
        with pytest.raises(DemoError, match=r"another demo runs in .*; wait for its end or stop it"):
            run(layout, DemoOptions(fresh=fresh, quick=True), Console(quiet=True))
        assert sorted(path.relative_to(layout.home) for path in layout.home.rglob("*")) == before


@pytest.mark.parametrize(("made", "name"), [("products/discs", "product discs"), ("devices/line7", "device line7")])
def test_a_fresh_demo_deletes_no_product_and_no_device_of_a_person(tmp_path, made, name):
    """A home with more than the demo in it is refused by name, and every file stays."""
    layout = make_layout(tmp_path)
    (layout.home / made).mkdir(parents=True)
    before = sorted(path.relative_to(layout.home) for path in layout.home.rglob("*"))
    with pytest.raises(DemoError, match=rf"{name}.*make clean"):
        run(layout, DemoOptions(fresh=True, quick=True), Console(quiet=True))
    after = sorted(path.relative_to(layout.home) for path in layout.home.rglob("*") if "run" not in path.parts)
    assert [path for path in after if path.parts[0] != "run"] == before


def test_a_fresh_demo_may_delete_what_the_demo_made(tmp_path):
    """The products and the device of the demo are its own, also where a person ran a pipeline of theirs."""
    layout = make_layout(tmp_path)
    for made in ("products/metal-tag", "products/metal-tag-public", "devices/line1"):
        (layout.home / made).mkdir(parents=True)
    refuse_what_is_not_the_demos(layout)


def test_a_demo_with_other_photographs_than_before_is_refused_before_a_server_starts(tmp_path):
    """The photographs are made while the servers start, but a demo that cannot continue starts none."""
    layout = make_layout(tmp_path)
    progress = layout.home / "demo" / "progress.json"
    progress.parent.mkdir(parents=True)
    progress.write_text(json.dumps({"key": "others", "steps": {}}))
    with pytest.raises(ValueError, match="other data or another use case"):
        run(layout, DemoOptions(quick=True), Console(quiet=True))
    assert not (layout.run / "supervisor.lock").exists()
