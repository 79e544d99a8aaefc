"""What the demo photographs: the generated line, and a folder of real images."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from components.dataset.split import split_of
from components.stores.datasets.manifest import SplitName
from components.use_case import load_use_case
from demo.choices import demo_use_case
from demo.data import DemoDataError, from_folder, generated, read_labels
from demo.state import DemoError, DemoOptions
from deploy.access.layout import REPOSITORY
from inspection.geometry import Box, LabelledBox
from inspection.image import sha256_of
from tests.components.first_look.photographs import photograph

PUBLIC = load_use_case(REPOSITORY / "use_cases" / "metal-tag-public.yaml")
PCB = load_use_case(REPOSITORY / "use_cases" / "pcb.yaml")


@pytest.fixture
def public_tags() -> Path:
    """The public metal tags."""
    folder = os.environ.get("KIZU_PUBLIC_TAGS")
    if not folder:
        pytest.skip("KIZU_PUBLIC_TAGS does not name a folder with the public metal tags")
    return Path(folder)


def test_the_generated_line_has_a_truth_for_every_photograph():
    """Every generated photograph has its true boxes, and no part is in both the first set and the device's."""
    data = generated(4, 2)
    assert data.unlabelled == 0
    assert {sha256_of(frame.data) for frame in (*data.first, *data.device)} == set(data.truth)
    assert {f.part_id for f in data.first}.isdisjoint({f.part_id for f in data.device})


def test_the_demo_changes_probation_and_says_so():
    """The demo shortens probation only, says so, and keeps the shipped gates."""
    use_case, said = demo_use_case(DemoOptions())
    assert use_case.rollout.probation_s == 8
    assert said == ["probation is 8 s instead of 120 s, and asks for no frames: the demo's frames come after it"]
    shipped = load_use_case(REPOSITORY / "use_cases" / "metal-tag.yaml")
    assert use_case.gates == shipped.gates, "a gate is never relaxed to pass"


def test_a_quick_demo_opens_its_gates_under_another_name():
    """A quick demo uses another use case name and says that its gates are open."""
    use_case, said = demo_use_case(DemoOptions(quick=True))
    assert use_case.name == "metal-tag-quick"
    assert "gates open" in said[0]


def test_labels_are_read_in_the_public_samples_columns(tmp_path):
    """Labels are read from the columns of the public sample, with and without boxes."""
    file = tmp_path / "labels.csv"
    file.write_text(
        "source_ref,image_width,annotations\n"
        "s3://${bucket}/images/x/bad/a.jpg,450,\"[{'class_id': 0, 'top': 2, 'left': 1, 'height': 4, 'width': 3}]\"\n"
        "s3://${bucket}/images/x/good/b.jpg,450,[]\n"
    )
    labels = read_labels(file, ["scratch"])
    assert labels["bad/a.jpg"] == [LabelledBox("scratch", Box(1, 2, 3, 4))]
    assert labels["good/b.jpg"] == []


@pytest.mark.parametrize("cell", ["no list", "[{'class_id': 7, 'top': 1, 'left': 1, 'height': 1, 'width': 1}]", "[1]"])
def test_a_row_that_does_not_parse_is_named_by_its_line(tmp_path, cell):
    """A row that cannot be parsed is an error that names its line."""
    file = tmp_path / "labels.csv"
    file.write_text(f'source_ref,annotations\nx/a.jpg,[]\nx/b.jpg,"{cell}"\n')
    with pytest.raises(DemoDataError, match="line 3"):
        read_labels(file, ["scratch"])


def test_a_folder_without_labels_is_refused(tmp_path):
    """A folder without labels.csv is refused with an error that names that file."""
    with pytest.raises(DemoDataError, match=r"labels\.csv"):
        from_folder(tmp_path, PUBLIC)


def board_folder(folder, rows, pictures=("44000011_test", "44000011_temp")):
    """Pictures of noise with a table of boxes."""
    (folder / "images").mkdir()
    for number, name in enumerate(pictures):
        (folder / "images" / f"{name}.jpg").write_bytes(photograph(number))
    (folder / "boxes.csv").write_text("image,class,x1,y1,x2,y2\n" + rows)
    return folder


def test_a_table_of_boxes_labels_every_picture(tmp_path):
    """A picture without a line shows no defect; the part of each is its file's name."""
    data = from_folder(board_folder(tmp_path, "44000011_test.jpg,open,1,2,11,22\n"), PCB)
    assert data.unlabelled == 0
    by_part = {f.part_id: data.truth[sha256_of(f.data)] for f in (*data.first, *data.device)}
    assert by_part == {
        "44000011_test": (LabelledBox("open", Box(1, 2, 10, 20)),),
        "44000011_temp": (),
    }


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        ("44000011_test.jpg,dent,1,2,11,22\n", r"expected boxes of open, .* got \{'unknown_class': 1\}"),
        ("44000011_test.jpg,open,1,2,x,22\n", r"not_a_number"),
        (",open,1,2,3,4\n", "line 2: expected the name of an image"),
        ("elsewhere.jpg,open,1,2,3,4\n", r"none named elsewhere\.jpg"),
    ],
)
def test_a_table_with_a_mistake_is_refused(tmp_path, rows, said):
    """The stand-ins would label with half of the boxes."""
    with pytest.raises(DemoDataError, match=said):
        from_folder(board_folder(tmp_path, rows), PCB)


def test_neighbouring_pieces_of_a_board_arrive_together(tmp_path):
    """What `grouping.split_by` keeps in one split is in the first set or passes the camera, as a whole."""
    names = [f"440{run:04}{piece}_test" for run in range(10) for piece in range(3)]
    rows = "".join(f"{name}.jpg,open,1,2,11,22\n" for name in names)
    data = from_folder(board_folder(tmp_path, rows, names), PCB)
    arriving, first = ({f.part_id[:7] for f in frames} for frames in (data.device, data.first))
    assert len(arriving) == 2
    assert arriving.isdisjoint(first)
    assert all(split_of(run, PCB.split) is not SplitName.TEST for run in arriving)


def test_a_demo_takes_a_shipped_use_case_by_name_or_a_file(tmp_path):
    """A name that is neither is refused with the names that there are."""
    assert demo_use_case(DemoOptions(data=tmp_path, use_case="pcb"))[0].name == "pcb"
    file = tmp_path / "mine.yaml"
    file.write_text((REPOSITORY / "use_cases" / "pcb.yaml").read_text().replace("name: pcb", "name: mine"))
    assert demo_use_case(DemoOptions(data=tmp_path, use_case=str(file)))[0].name == "mine"
    with pytest.raises(DemoError, match=r"metal-tag, .*pcb.* but there is no tiger"):
        demo_use_case(DemoOptions(data=tmp_path, use_case="tiger"))


def test_the_public_boards_fall_to_first_set_device_and_test_apart():
    """253 tested boards and as many templates; a run of neighbouring pieces is on one side, templates too."""
    folder = os.environ.get("KIZU_PUBLIC_PCB")
    if not folder:
        pytest.skip("KIZU_PUBLIC_PCB does not name a folder with the public circuit boards")
    data = from_folder(Path(folder), PCB)
    assert (len(data.truth), data.unlabelled) == (506, 0)
    assert sum(bool(boxes) for boxes in data.truth.values()) == 253
    first, device = ({PCB.grouping.unit_of(f.part_id) for f in frames} for frames in (data.first, data.device))
    assert first.isdisjoint(device)
    splits = {unit: split_of(unit, PCB.split) for unit in first | device}
    assert SplitName.TEST not in {splits[unit] for unit in device}
    for split in SplitName:
        assert {unit[:3] for unit, its in splits.items() if its is split} == {"440", "506", "901"}


def test_the_public_labels_are_all_read(public_tags):
    """The public labels give 157 images with 358 boxes."""
    rows = read_labels(public_tags / "labels.csv", PUBLIC.classes)
    named = {name: boxes for name, boxes in rows.items() if "/" in name}
    assert (len(named), sum(len(boxes) for boxes in named.values())) == (157, 358)


def test_the_public_parts_fall_to_first_set_device_and_test_apart(public_tags):
    """The first set, the device and the test split share no public part."""
    data = from_folder(public_tags, PUBLIC)
    assert len(data.truth) == 157
    assert data.unlabelled == 14
    labelled = [frame for frame in (*data.first, *data.device) if sha256_of(frame.data) in data.truth]
    assert {f.part_id for f in data.first}.isdisjoint({f.part_id for f in data.device})
    test = {f.part_id for f in labelled if split_of(f.part_id, PUBLIC.split) is SplitName.TEST}
    assert len(test) == 4, "a fifth of the 20 parts"
    assert len({f.part_id for f in data.device}) == 4, "a fifth of the 20 parts"
    assert test.isdisjoint({f.part_id for f in data.device}), "what judges round one judges round two"
