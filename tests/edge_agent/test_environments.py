"""What is installed: one OpenCV, in the same version on both sides, and no training framework on the device."""

from __future__ import annotations

import json
import subprocess
import sys

from tests.edge_agent.environments import FORBIDDEN, edge_python

_CV2 = """
import importlib.metadata as m, json
found = {d.metadata["Name"]: d.version for d in m.distributions()
         if any(str(f).split("/")[0] == "cv2" for f in d.files or ())}
print(json.dumps(found))
"""


def opencv(python: str) -> dict[str, str]:
    return json.loads(subprocess.run([python, "-c", _CV2], capture_output=True, check=True).stdout)


def test_exactly_one_distribution_provides_opencv_in_one_version_on_both_sides():
    """Versions of OpenCV resize differently, and results would differ."""
    here, device = opencv(sys.executable), opencv(edge_python())
    assert len(here) == 1, here
    assert here == device


def test_the_device_has_no_training_framework_installed():
    """A package that is not installed cannot be imported by mistake."""
    script = (
        "import importlib.util, json, sys; print(json.dumps([n for n in sys.argv[1:] if importlib.util.find_spec(n)]))"
    )
    found = subprocess.run([edge_python(), "-c", script, *FORBIDDEN], capture_output=True, check=True).stdout
    assert json.loads(found) == []
