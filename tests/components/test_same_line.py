"""A line of a log that would be the same again."""

from components.same_line import SameLine


def test_the_same_line_is_due_once_a_minute_and_at_once_with_another_reason():
    """The first line, another reason, and a minute later; after it worked again, the next one is the first."""
    line = SameLine()
    assert not line.was_said
    assert [line.is_due("away", at) for at in (0.0, 5.0, 59.9, 60.0, 65.0)] == [True, False, False, True, False]
    assert [line.is_due("refused", 66.0), line.is_due("away", 67.0)] == [True, True]
    assert line.was_said
    line.forget()
    assert not line.was_said
    assert line.is_due("away", 68.0)
