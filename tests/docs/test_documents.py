"""The pages have no dead link and no command that does not exist, and the reference pages agree with the code."""

import pytest

from tools.docs.links import REPOSITORY, dead_links, files_of
from tools.docs.markdown import anchor_of, anchors
from tools.docs.offline import assets_elsewhere
from tools.docs.reference import FOLDER, PAGES
from tools.docs.shell_lines import mistakes, shell_lines

MARKDOWN = sorted(name for name in files_of(REPOSITORY) if name.endswith(".md"))


def test_no_link_is_dead():
    """Every relative link and anchor of every Markdown file leads somewhere."""
    assert [str(link) for link in dead_links(REPOSITORY, files_of(REPOSITORY))] == []


def test_a_dead_link_is_named_with_file_and_line(tmp_path):
    """A missing file, anchor or picture and a link out of the repository are each named with file and line."""
    (tmp_path / "docs").mkdir()
    (tmp_path / "b.md").write_text("# One heading\n\n## Another, `coded`\n")
    (tmp_path / "docs" / "a.md").write_text(
        "# A\n\n[ok](../b.md#another-coded)\n[ok](#a)\n[ok](../docs) [ok](https://example.com/none)\n\n"
        "[gone](c.md)\n[no anchor](../b.md#none)\n![no picture](x.png)\n[out](../../x)\n\n    [code](none.md)\n"
    )
    found = [str(link) for link in dead_links(tmp_path, frozenset({"docs/a.md", "b.md"}))]
    assert [entry.partition(": ")[0] for entry in found] == [f"docs/a.md:{line}" for line in (7, 8, 9, 10)]
    assert "#none" in found[1]


@pytest.mark.parametrize(
    ("heading", "anchor"),
    [
        ("What a model is worth, on parts that it never saw", "what-a-model-is-worth-on-parts-that-it-never-saw"),
        ("`kizu train`: how", "kizu-train-how"),
        ("Über_uns – 傷", "über_uns--傷"),
    ],
)
def test_an_anchor_is_that_of_github(heading, anchor):
    """An anchor is lower case, has no punctuation, and has a hyphen for each space."""
    assert anchor_of(heading) == anchor


def test_headings_of_one_name_get_numbers():
    """The second and third heading of one name get -1 and -2; an anchor that is written as HTML counts, too."""
    assert anchors('# A\n\n# A\n\n# A\n\n<a id="here"></a>\n') == {"a", "a-1", "a-2", "here"}


@pytest.mark.parametrize("name", PAGES)
def test_a_reference_page_says_what_the_code_says(name):
    """Each reference page has the text that `make reference` would write now."""
    assert (FOLDER / name).read_text(encoding="utf-8") == PAGES[name]().rstrip() + "\n", "run: make reference"


@pytest.mark.parametrize("name", MARKDOWN)
def test_each_command_of_a_page_exists(name):
    """Every `kizu`, `kizu-edge` and `make` line of every page names a command, options and arguments that exist."""
    lines = shell_lines(name, (REPOSITORY / name).read_text(encoding="utf-8"))
    assert [f"{line.where}: {what}" for line in lines for what in mistakes(line.text)] == []


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("kizu trian", "no command trian"),
        ("kizu train --often", "no option --often"),
        ("kizu import coco a.json --label 3", "no option --label"),
        ("KIZU_HOME=x .venv/bin/kizu down now", "takes no argument"),
        ("kizu-edge rollback --all", "no option --all"),
        ("kizu deploy 7 --soon", "no option --soon"),
        ("kizu deploy status 7", "takes no argument"),
        ("cd x && make demos", "no target demos"),
    ],
)
def test_a_command_that_does_not_exist_is_found(line, words):
    """An unknown command, option or target, or an argument too many, is found, and one mistake is reported."""
    found = mistakes(line)
    assert len(found) == 1
    assert words in found[0]


def test_commands_that_exist_are_left_alone():
    """No mistake is found in valid lines with options, flags, groups, other programs, or variables before a command."""
    for line in (
        "kizu label -u disc.yaml --wait 3600",
        "kizu labels vacuum --dry-run --keep 3",
        "A=1 kizu --debug train --if-due | tee log",
        "kizu-edge pin abc --config line9/config.yaml",
        "make demo DATA=photographs",
        "kubectl apply -k deploy",
    ):
        assert mistakes(line) == []


def test_lines_are_joined_and_comments_are_gone():
    """Shell lines are joined and lose their comments, and each keeps the number of its first line."""
    text = (
        "# T\n\n```sh\nkizu up   # starts\nkizu enroll a \\\n  --site b\n```\n\n```yaml\na: 1\n```\n\n    make demo\n"
    )
    assert [(line.line, line.text) for line in shell_lines("t.md", text)] == [
        (4, "kizu up"),
        (5, "kizu enroll a   --site b"),
        (13, "make demo"),
    ]


def test_an_asset_of_another_server_is_found(tmp_path):
    """A script, font, picture or style sheet of another server is found; a link that a person follows is not."""
    (tmp_path / "a.html").write_text(
        '<a href="https://example.com/">x</a><script src="https://cdn.example/x.js"></script>'
        '<img src="//img.example/p.png"><link rel="stylesheet" href="own.css"><style>@import "http://s.example/a";</style>'
    )
    (tmp_path / "own.css").write_text(
        "p { background: url(https://font.example/f.woff) } q { background: url(own.png) }"
    )
    assert sorted(address for _, address in assets_elsewhere(tmp_path)) == [
        "//img.example/p.png",
        "http://s.example/a",
        "https://cdn.example/x.js",
        "https://font.example/f.woff",
    ]
