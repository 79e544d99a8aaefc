"""One demo a home."""

from __future__ import annotations

import pytest
from rich.console import Console

from demo.loop import DemoError, DemoOptions, run
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
