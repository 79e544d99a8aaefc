"""`python -m tools.guides.labeling_pages`: takes pictures of Label Studio's pages for the labeler's guide.

The servers of this machine must run (`kizu up`). It adds a few generated parts to them, makes two projects for each
language, and works there as the two stand-ins. Use a separate home (`KIZU_HOME`), and remove it afterwards.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from components.generated_parts.photographs import LineGenerator
from demo.accounts import ensure_people
from demo.people import Labeler
from deploy.access.layout import REPOSITORY, Layout
from inspection.geometry import LabelledBox
from inspection.image import sha256_of
from tools.guides.browser import IMAGES, chromium, signed_in

if TYPE_CHECKING:
    from playwright.sync_api import Page

_WINDOW: Final = {"width": 1180, "height": 760}
_PARTS: Final = (5, 23, 4)
_LINE: Final = LineGenerator(seed=11, photographs_per_part=1, width=900, height=600, jpeg_quality=92)
_NEWEST_ALONE: Final = f"max_images_per_job: {len(_PARTS)}\n  priority: {{random_share: 0}}"
_JAPANESE: Final = """\
  language: ja
  instructions: >-
    キズごとに、キズがちょうど収まる枠を1つ付けてください。薄い汚れ、ほこり、光の反射、ヘアライン(表面の筋目)はキズではありません。
    キズのない画像は、枠を付けずに送信してください。
"""


def take_pictures(layout: Layout) -> None:
    """Take a picture of a labeling page and of a verification page in each language."""
    photographs = list(_LINE.photographs(_PARTS))
    with tempfile.TemporaryDirectory() as folder:
        for photograph in photographs:
            (Path(folder) / photograph.name).write_bytes(photograph.jpeg)
        _kizu("import", "images", folder)
        labeler, verifier = ensure_people(layout)
        truth = {sha256_of(photograph.jpeg): photograph.boxes for photograph in photographs}
        with chromium() as browser:
            for language in ("en", "ja"):
                use_case = _use_case(language, Path(folder))
                _kizu("label", "-u", str(use_case))
                page = signed_in(browser, layout.label_studio_url, labeler, **_WINDOW)
                _open(page, layout, f"{use_case.stem}: labeling")
                _draw(page, layout, truth)
                page.screenshot(path=IMAGES / f"labeling-{language}.jpg", quality=85)
                Labeler(layout.label_studio_url, labeler.token, truth, forgets=0, use_case=use_case.stem).work_once()
                _kizu("label", "-u", str(use_case))
                page = signed_in(browser, layout.label_studio_url, verifier, **_WINDOW)
                _open(page, layout, f"{use_case.stem}: verification")
                page.set_viewport_size({"width": 1180, "height": 960})
                page.keyboard.press("r")
                page.wait_for_timeout(1500)
                page.screenshot(path=IMAGES / f"verifying-{language}.jpg", quality=85)


def _use_case(language: str, folder: Path) -> Path:
    """Return the shipped use case, changed so that only new images get tasks. `ja`: with Japanese instructions."""
    text = (REPOSITORY / "use_cases" / "metal-tag.yaml").read_text(encoding="utf-8")
    text = text.replace(
        "max_images_per_job: 300", f"max_images_per_job: {len(_PARTS)}\n  priority: {{random_share: 0}}"
    )
    name = "metal-tag"
    if language == "ja":
        name = "metal-tag-ja"
        text = text.replace("name: metal-tag\n", f"name: {name}\n")
        text = text[: text.index("  instructions:")] + _JAPANESE + text[text.index("  colours:") :]
    path = folder / f"{name}.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def _kizu(*arguments: str) -> None:
    subprocess.run([sys.executable, "-m", "kizu", *arguments], check=True)


def _open(page: Page, layout: Layout, title: str) -> None:
    """Open the first task of a project, as *Label All Tasks* does, and wait until the browser shows its image."""
    found: dict[str, Any] = page.request.get(f"{layout.label_studio_url}/api/projects/?page_size=100").json()
    (project,) = [item["id"] for item in found["results"] if item["title"] == title]
    page.goto(f"{layout.label_studio_url}/projects/{project}/data?labeling=1")
    page.locator("img[alt='image'], img[alt='LS']").first.wait_for(state="attached")
    page.wait_for_timeout(3000)
    page.keyboard.press("Escape")  # the instructions are shown first
    page.wait_for_timeout(1000)


def _draw(page: Page, layout: Layout, truth: Mapping[str, Sequence[LabelledBox]]) -> None:
    """Draw the true boxes of the shown task with the mouse, as a person does."""
    number = page.locator(".lsf-current-task__task-id").first.inner_text().split()[0].removeprefix("#")
    task: dict[str, Any] = page.request.get(f"{layout.label_studio_url}/api/tasks/{number}/").json()
    shown = page.locator("img[alt='image'], img[alt='LS']").first.bounding_box()
    assert shown is not None
    scale = shown["width"] / int(task["data"]["width"])
    for label in truth[str(task["data"]["sha256"])]:
        x1, y1, x2, y2 = (side * scale for side in label.box.xyxy)
        page.keyboard.press("1")
        page.mouse.move(shown["x"] + x1, shown["y"] + y1)
        page.mouse.down()
        page.mouse.move(shown["x"] + x2, shown["y"] + y2, steps=8)
        page.mouse.up()
        page.wait_for_timeout(500)
    page.keyboard.press("u")
    page.wait_for_timeout(500)


if __name__ == "__main__":
    take_pictures(Layout.from_environment())
    sys.exit(0)
