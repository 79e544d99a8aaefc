"""The benchmark measures what it says, on models small enough for a test."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from benchmarks.edge.contenders import Spec
from benchmarks.edge.flops import count_flops
from benchmarks.edge.footprint import disk_bytes, edge_packages, measure_agent
from benchmarks.edge.goals import FP32, GOALS, REFERENCE, SGEMM, Run
from benchmarks.edge.interleave import Sample, Timings, Worker, run_interleaved
from benchmarks.edge.material import load_material
from benchmarks.edge.neighbours import Neighbours
from benchmarks.edge.outbox_rate import writes_per_second
from benchmarks.edge.swap import measure_swaps
from benchmarks.edge.table import BEGIN, END, machine
from components.stores.datasets.manifest import SplitName
from tests.edge_agent.environments import edge_python
from tests.edge_agent.models import BAD, GOOD, build_release, picture


def test_flops_of_convolutions_and_products_are_those_worked_out_by_hand(tmp_path):
    """The count is the sum of two figures that were worked out by hand.

    Eight filters of 3 x 3 x 3 over 4 x 4 places take 2 * 8 * 16 * 27 operations. A product of 1 x 8 x 16 and 16 x 5
    takes 2 * 8 * 5 * 16.
    """
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["c"], kernel_shape=[3, 3], pads=[1, 1, 1, 1], strides=[2, 2]),
        helper.make_node("Reshape", ["c", "shape"], ["flat"]),
        helper.make_node("MatMul", ["flat", "m"], ["y"]),
    ]
    graph = helper.make_graph(
        nodes,
        "small",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 3, 8, 8])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 8, 5])],
        [
            numpy_helper.from_array(np.zeros((8, 3, 3, 3), np.float32), "w"),
            numpy_helper.from_array(np.array([1, 8, 16]), "shape"),
            numpy_helper.from_array(np.zeros((16, 5), np.float32), "m"),
        ],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)]), str(tmp_path / "m.onnx"))
    assert count_flops(tmp_path / "m.onnx") == 2 * 8 * 16 * 27 + 2 * 8 * 5 * 16


def frames(folder):
    folder.mkdir()
    for number, kind in enumerate((GOOD, BAD)):
        (folder / f"{number}.png").write_bytes(picture(*kind))
    return folder


def test_contenders_judge_the_same_frames_in_processes_of_their_own(tmp_path):
    """One contender runs in the device's own interpreter; the time in the runtime is less than the whole time."""
    built = build_release()
    agent = Spec("agent", 1, str(built.write(tmp_path / "release")))
    folder = frames(tmp_path / "frames")
    with Worker(agent, folder, edge_python()) as device, Worker(Spec("sgemm", 1), folder, sys.executable) as product:
        timings = run_interleaved({"device": device, "product": product}, rounds=4, photographs=2)
    assert [sample.defective for sample in timings["device"].samples] == [False, True, False, True]
    assert all(0 < sample.infer_ms < sample.ms for sample in timings["device"].samples)
    assert [sample.infer_ms for sample in timings["product"].samples] == [None] * 4
    assert timings["device"].resident_bytes > 10_000_000


def test_a_contender_that_cannot_be_built_is_named_not_waited_for(tmp_path):
    """A contender that cannot be built raises an error, so that the benchmark does not hang."""
    with (
        pytest.raises(RuntimeError, match="a contender died with exit code 1"),
        Worker(Spec("nobody", 1), frames(tmp_path / "frames")) as worker,
    ):
        worker.judge(0)


def test_own_work_is_no_neighbour_and_anothers_is():
    """A child that was waited for is our own; one that still runs counts as another's."""
    spin = [sys.executable, "-c", "import time\nwhile time.process_time() < 0.5: pass\nprint(flush=True)\ninput()"]
    neighbours = Neighbours()
    with subprocess.Popen(spin, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
        assert child.stdout is not None
        child.stdout.readline()
        beside = neighbours.share()
    assert beside > neighbours.share() >= 0


def timings(*ms: float, infer_ms: float | None = None, resident_bytes: int = 100) -> Timings:
    return Timings(tuple(Sample(value, infer_ms, False) for value in ms), resident_bytes)


def test_goals_are_judged_on_medians_and_the_arithmetic_on_the_minimum():
    """A median of 60 ms against 20 ms is 3 x; 1 GFLOP at 100 GFLOP/s takes 10 ms, and 15 ms is 1.5 x of that."""
    run = Run(
        threads=1,
        timings={
            REFERENCE: timings(60, 50, 90, resident_bytes=900),
            FP32: timings(20, 19, 30, infer_ms=15.0, resident_bytes=300),
            "d": timings(30),
            "e": timings(10),
            SGEMM: timings(20, 25),
        },
        flops=1_000_000_000,
        sgemm_flops=2_000_000_000,
    )
    assert run.faster(FP32) == 3
    assert run.over_arithmetic == pytest.approx(1.5)
    assert [goal.met(run) for goal in GOALS] == [True, False, True, False, False, True]
    assert GOALS[1].said(run) == "2.00 × **missed**"


def test_no_frame_is_lost_and_none_judged_twice_over_swaps(tmp_path):
    """The benchmark counts no lost and no doubled frame when a small model is swapped."""
    releases = [build_release(number, gain=1 - number / 100, probation_s=0.1) for number in (1, 2)]
    outcome = measure_swaps(releases, [picture(*GOOD), picture(*BAD)], tmp_path / "swap", threads=1, frames=50)
    assert (outcome.lost, outcome.doubled) == (0, 0)
    assert outcome.frames == 50


def test_the_whole_agent_starts_without_a_network_and_inspects_its_first_frame(tmp_path):
    """An agent that starts without a network inspects its first frame, and its start is measured."""
    found = measure_agent(build_release(), picture(*BAD), tmp_path / "agent", edge_python(), threads=1)
    assert found.start_s > 0
    assert found.resident_bytes > 10_000_000


def test_the_outbox_is_left_as_it_was_found(tmp_path):
    """The measured rate of the outbox is above 0, and its folder is removed afterwards."""
    assert writes_per_second(picture(*BAD), tmp_path / "outbox", with_image=True, for_s=0.2) > 0
    assert list(tmp_path.iterdir()) == []


def test_disk_counts_each_package_once_with_all_that_it_needs():
    """A package that two others need is counted once."""
    numpy, both = disk_bytes(["numpy"]), disk_bytes(["numpy", "opencv-python-headless"])
    assert numpy > 10_000_000
    assert both == disk_bytes(["opencv-python-headless"])
    assert disk_bytes(edge_packages()) > both


def test_without_a_folder_the_photographs_are_generated_and_no_part_is_on_both_sides():
    """Without a folder the photographs are generated; no split is empty, and no training part is in another split."""
    material = load_material(None)
    groups = [{entry.group for entry, _ in material.of(split)} for split in SplitName]
    assert all(groups)
    assert not groups[0] & (groups[1] | groups[2])
    assert "generated" in material.said


def test_the_document_has_the_marks_that_the_tables_go_between():
    """The document has both marks in order, and the description of the machine names its cores."""
    from pathlib import Path

    text = (Path(__file__).resolve().parents[2] / "docs" / "benchmarks.md").read_text(encoding="utf-8")
    assert 0 < text.index(BEGIN) < text.index(END)
    assert "cores" in machine()
