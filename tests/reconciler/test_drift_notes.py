"""Who is told of drift, in which words, and how often."""

from dataclasses import replace

import numpy as np

from inspection.drifting import DriftingLine
from reconciler.drift import judge_drift
from reconciler.drift_notes import drift_notices, drifting_lines
from reconciler.notices import message_of
from tests.reconciler.pass_world import NAME, World
from tests.reconciler.test_drift import NOON, SHA, line_of, reference_of, side


def found(**change):
    """The comparisons of a line that drifts and of one that does not."""
    rng = np.random.default_rng(3)
    reference = reference_of(*side(rng, 400, 300))
    drifting = line_of(*(side(rng, 500, 200, **change) for _ in range(2)), device="line-7")
    steady = line_of(*(side(rng, 500, 200) for _ in range(2)), device="line-8")
    lines = [replace(line, use_case=NAME) for line in (drifting, steady)]
    return judge_drift(lines, {SHA: reference})


def test_one_notice_for_a_device_says_all_that_drifts_from_what_to_what():
    """In the language of the product; a line that is steady has none."""
    alerts = found(lamp=0.7, sure=0.2)
    [notice] = drift_notices(alerts, {NAME: "en"})
    message = message_of(notice, "")
    assert message.title == f"{NAME}: the line of line-7 drifts"
    brightness, score = (one for one in alerts if one.advice)
    assert f"brightness {brightness.from_median:.3g} → {brightness.to_median:.3g}" in message.text
    assert f"scratch: score {score.from_median:.3g} → {score.to_median:.3g}" in message.text
    [notice] = drift_notices(alerts, {NAME: "ja"})
    assert "明るさ" in message_of(notice, "").text


def test_nobody_is_told_of_a_product_that_is_not_served():
    """What runs by itself is what a person asked for."""
    assert drift_notices(found(lamp=0.7), {"other": "en"}) == ()


def test_an_alert_is_told_once_and_another_quantity_that_drifts_is_told_too():
    """Later windows of the same alert say nothing new, to a later process neither."""
    world = World()
    for change in ({"lamp": 0.7}, {"lamp": 0.6}, {"lamp": 0.6, "soft": 0.4}):
        world.loop().tell(drift_notices(found(**change), {NAME: "en"}), act=True)
    assert [("brightness" in message.text, "sharpness" in message.text) for message in world.mail.taken] == [
        (True, False),
        (True, True),
    ]


def test_a_pass_that_changes_nothing_says_what_it_would_tell():
    """Nothing is sent."""
    world = World()
    does, failures = world.loop().tell(drift_notices(found(lamp=0.7), {NAME: "en"}), act=False)
    assert (does, failures) == ([f"would send the notice '{NAME}: the line of line-7 drifts'"], [])
    assert world.mail.taken == []


def test_lines_with_an_alert_are_told_with_their_begin_and_classes():
    """A line of which only a class drifts is told with it, one whose picture drifts as a whole; a steady one is not."""
    assert drifting_lines(found(sure=0.2), [NAME, "other"]) == {
        NAME: (DriftingLine(device="line-7", since=NOON, classes=("scratch",)),),
        "other": (),
    }
    assert drifting_lines(found(sure=0.2, lamp=0.7), [NAME])[NAME] == (DriftingLine(device="line-7", since=NOON),)
    assert drifting_lines(found(), [NAME]) == {NAME: ()}
    assert drifting_lines(found(lamp=0.7), ["other"]) == {"other": ()}
