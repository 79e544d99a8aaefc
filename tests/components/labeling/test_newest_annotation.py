"""What the reconciler reads from the real Label Studio: when people finished something last."""

from __future__ import annotations

from contextlib import ExitStack, closing
from datetime import UTC, datetime

import httpx
import pytest

from reconciler.label_studio import LabelStudioAnnotations
from reconciler.seeing import CannotSee
from tests.components.labeling.test_overlap import HERE


def newest_of(annotations):
    """The newest annotation of a project, as Label Studio itself says."""
    return max(datetime.fromisoformat(annotation["updated_at"]) for annotation in annotations)


@pytest.fixture
def readers():
    """Makes readers that are closed at the end of the test."""
    with ExitStack() as stack:
        yield lambda reader: stack.enter_context(closing(reader))


def test_the_newest_annotation_is_that_of_a_person_in_either_project(world, stack, readers):
    """A drawing, a decision and a changed drawing are newer each; what a labeling run does to tasks is not."""
    reader = readers(LabelStudioAnnotations.from_settings(stack.settings("reconciler")))
    name = world.use_case.name
    assert reader.newest(name).newest is None  # no project yet
    world.put_images(2)
    world.label()
    assert reader.newest(name).newest is None  # tasks alone are nothing that people did
    first, second = world.labeling_tasks()
    drawing = world.labeler.draw(first["id"], HERE)
    drawn = reader.newest(name).newest
    assert drawn == newest_of(world.labeling_tasks()[0]["annotations"]).astimezone(UTC)
    world.label()
    world.verify()
    assert reader.newest(name).newest == drawn
    world.approve_everything()
    decided = reader.newest(name).newest
    assert decided > drawn
    world.labeler.draw(second["id"], HERE)
    last = reader.newest(name).newest
    assert last > decided
    world.labeler.redraw(drawing, [])
    assert reader.newest(name).newest > last


def test_only_what_changed_is_read_again(world, stack, readers):
    """A pass in which nothing happened asks for the projects, and for one row of each of the two."""
    asked: list[str] = []

    class Counted(httpx.HTTPTransport):
        def handle_request(self, request):
            asked.append(request.url.params.get("page_size"))
            return super().handle_request(request)

    config = stack.settings("reconciler")
    token = config.label_studio_api_key.get_secret_value()
    reader = readers(LabelStudioAnnotations(config.label_studio_url, token, transport=Counted()))
    world.put_images(1)
    world.label()
    world.label_everything(HERE)
    world.verify()
    found = reader.newest(world.use_case.name)
    asked.clear()
    assert reader.newest(world.use_case.name) == found
    assert asked == ["100", "1", "1"]


def test_a_server_that_is_away_or_refuses_is_said(stack, readers):
    """Nothing is taken for finished, or for unfinished, by a server that does not answer."""
    url = stack.settings("reconciler").label_studio_url
    with pytest.raises(CannotSee, match="LABEL_STUDIO_API_KEY"):
        readers(LabelStudioAnnotations(url, "0" * 40)).newest("tag")
    with pytest.raises(CannotSee, match="did not answer as expected"):
        readers(LabelStudioAnnotations("http://127.0.0.1:9", "0" * 40)).newest("tag")
