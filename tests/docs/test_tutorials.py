"""The shell lines of README and of the tutorials, run against real servers where a test can; no line is left out."""

import os
import re
import subprocess
from pathlib import Path

import pytest

from components.use_case import parse_use_case
from tools.docs.markdown import code_blocks
from tools.docs.shell_lines import REPOSITORY, mistakes, shell_lines

PAGES = ["README.md", *(f"docs/tutorial/{path.name}" for path in sorted((REPOSITORY / "docs/tutorial").glob("*.md")))]

# What a line is, by its beginning -> why a test does not run it. Its commands and options are checked all the same.
NOT_RUN = {
    "make": "installs, or takes minutes; the tests of the demo and of the command run what it calls",
    "export PATH=": "this test sets the path by itself",
    "kizu up": "the servers are up already; tests/deploy/local starts them",
    "kizu down": "other tests need the servers; tests/deploy/local stops them",
    "kizu label ": "the second and third of them collect what people have done; the first one is run",
    "kizu train": "takes minutes; tests/e2e trains",
    "kizu approve": "is the act of a person at a terminal; tests/components/approval_server approves",
    "kizu deploy": "needs an approved model; tests/e2e deploys",
    "kizu-edge selftest": "needs the broker and a release; tests/edge_agent has its own",
    "kizu-edge run": "stays until it is stopped; tests/e2e runs an agent",
    "kizu-edge status": "asks a running agent; tests/edge_agent asks one",
    "kizu trace": "follows a release of the device; tests/components/lineage follows one",
    "kizu reconcile": "moves the champion of a group with a release; tests/reconciler moves one",
}
# What is run, by its beginning -> what it says.
RUN = {
    "python docs/tutorial/draw_discs.py": r"180 photographs of 90 discs",
    "kizu new": r"180 files; looked at all of them: 180 can be read(.|\n)*wrote proposed.yaml",
    "kizu ingest": r"180 files: 180 images \(180 new\), 0 set aside",
    # Ten of the discs; other tests have left images of theirs in the same bucket.
    "kizu label": r"open_labeling +[1-9]\d+\b",
    "grep -A 3": r"password",
    "kizu import coco": r"170 rows \(170 approved\) with 122 boxes; 170 new, 0 new images; 0 set aside",
    "kizu labels look": r"(\d+) images; (\d+) without an approved label for disc",
    "kizu labels report": r"170 approved images, 122 boxes",
    "kizu enroll": r"line9 is enrolled: site factory, group discs, use case disc",
    "mkdir -p": r"",
    "kizu-edge config check": r"is valid: device line9 of group discs",
    "cp discs/line": r"",
    "kizu devices": r"nothing was released to the group discs yet",
}


def lines_of(page):
    return list(shell_lines(page, (REPOSITORY / page).read_text(encoding="utf-8")))


def known(line, beginnings):
    # The longest: `kizu label` is the beginning of `kizu labels look`, too.
    return max((begin for begin in beginnings if line.text.startswith(begin)), key=len, default=None)


@pytest.mark.parametrize("page", PAGES)
def test_every_shell_line_is_run_or_has_a_reason(page):
    """A line that is neither run here nor has a reason not to be fails; so does a command that does not exist."""
    lines = lines_of(page)
    assert lines
    assert [line.where for line in lines if not known(line, RUN) and not known(line, NOT_RUN)] == []
    assert [f"{line.where}: {what}" for line in lines for what in mistakes(line.text)] == []


@pytest.mark.parametrize("page", PAGES)
def test_every_command_in_a_sentence_exists(page):
    """`kizu …` and `make …` in running text and in tables name commands and options that exist."""
    text = (REPOSITORY / page).read_text(encoding="utf-8")
    spans = re.findall(r"`((?:kizu|kizu-edge|make) [^`|]+)`", text)
    assert spans
    assert [f"{span}: {what}" for span in spans for what in mistakes(span)] == []


def test_every_reason_and_every_run_is_of_a_line_that_is_there():
    """Each beginning in both lists is that of a line of some page: a stale one would excuse another line later."""
    texts = [line.text for one in PAGES for line in lines_of(one)]
    assert [begin for begin in (*RUN, *NOT_RUN) if not any(text.startswith(begin) for text in texts)] == []


def test_make_would_run_each_target_of_the_readme():
    """`make -n` finds the rules of each target."""
    targets = [line.text.split()[1] for line in lines_of("README.md") if line.text.startswith("make")]
    assert targets
    subprocess.run(["make", "-n", *targets], cwd=REPOSITORY, check=True, capture_output=True, timeout=60)


def test_the_first_product_is_made_as_the_tutorial_says(stack, tmp_path):
    """The tutorial's lines run in order in one folder against the real servers, and print what the tutorial says."""
    page = REPOSITORY / "docs/tutorial/first-product.md"
    (yaml,) = [block.text for block in code_blocks(page.read_text(encoding="utf-8")) if block.language == "yaml"]
    assert parse_use_case(yaml).name == "disc"
    (tmp_path / "disc.yaml").write_text(yaml, encoding="utf-8")
    (tmp_path / "docs").symlink_to(REPOSITORY / "docs")
    (tmp_path / ".kizu").symlink_to(stack.layout.home)
    ports = stack.layout.ports
    environment = {
        "PATH": f"{REPOSITORY}/.venv/bin:{REPOSITORY}/.venv-edge/bin:{os.environ['PATH']}",
        "HOME": os.environ.get("HOME", str(Path.home())),
        "COLUMNS": "300",
        "KIZU_HOME": str(stack.layout.home),
        "KIZU_LABEL_STUDIO_VENV": str(stack.layout.label_studio_venv),
    } | {f"KIZU_PORT_{name.upper()}": str(getattr(ports, name)) for name in type(ports).__slots__}
    done = set()
    for line in lines_of("docs/tutorial/first-product.md"):
        begin = known(line, RUN)
        if begin is None or (begin == "kizu label" and begin in done):
            continue
        done.add(begin)
        result = subprocess.run(
            ["bash", "-ec", line.text],
            cwd=tmp_path,
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=300,
        )
        assert result.returncode == 0, f"{line.where}: {line.text}\n{result.stderr}"
        said = re.search(RUN[begin], result.stdout)
        assert said, f"{line.where}: {line.text}\n{result.stdout}"
        if begin == "kizu labels look":
            assert int(said[1]) - int(said[2]) == 170
    assert done == set(RUN)
    assert len(list((tmp_path / "line9/camera").iterdir())) == 24
    report = (tmp_path / "label-report.html").read_text(encoding="utf-8")
    assert "<h1>Labels of disc</h1>" in report
    assert "<td>chip</td>" in report
    assert "<td>crack</td>" in report
