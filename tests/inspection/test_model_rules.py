"""Which models evaluation and the device take, by what a runtime says of their inputs and outputs."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from inspection.model_rules import ModelFormError, check_input, check_output, configure


@dataclass(frozen=True)
class Tensor:
    shape: list[int | str | None]
    type: str = "tensor(float)"
    name: str = "images"


class Options:
    """Stands for onnxruntime's options of a session."""

    def __init__(self):
        self.entries = {}

    def add_session_config_entry(self, name, value):
        self.entries[name] = value


def test_a_session_has_the_threads_asked_for_and_leaves_the_processor_alone_between_frames():
    """Both sides run one operator at a time, log errors only, and let no idle thread spin."""
    options = Options()
    configure(options, 3)
    assert (options.intra_op_num_threads, options.inter_op_num_threads, options.log_severity_level) == (3, 1, 3)
    assert options.entries == {"session.force_spinning_stop": "1"}


def test_the_size_of_a_static_image_input_is_read():
    """The size of a static input is read as height and width, in the tensor's order."""
    assert check_input([Tensor([1, 3, 224, 320])]) == (224, 320)
    assert check_input([Tensor([1, 3, 224, 320])], (224, 320)) == (224, 320)


@pytest.mark.parametrize(
    "inputs",
    [
        [],
        [Tensor([1, 3, 64, 64]), Tensor([1])],
        [Tensor([1, 3, "height", "width"])],
        [Tensor(["batch", 3, 64, 64])],
        [Tensor([1, 3, None, 64])],
        [Tensor([1, 1, 64, 64])],
        [Tensor([1, 3, 64])],
        [Tensor([1, 3, 64, 64], "tensor(uint8)")],
    ],
)
def test_another_input_is_refused_with_what_was_expected_and_what_came(inputs):
    """No input, two, a side that is not fixed, a batch, grey images, another type."""
    with pytest.raises(ModelFormError, match=r"one static float input of shape \(1, 3, height, width\), but got \["):
        check_input(inputs)


def test_an_input_of_another_size_is_refused():
    """A release names the size of its input, and its model must have that size."""
    with pytest.raises(ModelFormError, match=r"shape \(1, 3, 64, 96\), but got .*64, 64"):
        check_input([Tensor([1, 3, 64, 64])], (64, 96))


def test_an_output_has_four_numbers_and_a_score_for_each_class():
    """The number of places may be open."""
    check_output([Tensor([1, 7, 8400])], 3)
    check_output([Tensor([1, 7, "places"])], 3)


@pytest.mark.parametrize(
    "outputs", [[], [Tensor([])], [Tensor([1, 7])], [Tensor([1, 6, 8400])], [Tensor([1, None, 4])]]
)
def test_another_output_is_refused(outputs):
    """No output, another number of dimensions, another number of classes, a number that is open."""
    with pytest.raises(ModelFormError, match=r"expected an output of shape \(1, 7, n\) for 3 classes, but got"):
        check_output(outputs, 3)
