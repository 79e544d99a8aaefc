"""`kizu import …` has one command for each format in the list, with the same options."""

from __future__ import annotations

import typer

from kizu.commands.exchange import import_app
from kizu.commands.import_formats import FORMATS

SAME = {"labels", "use_case", "trust_status", "supersede", "class_", "name", "site", "parts", "set_aside"}


def test_each_format_is_a_command_with_the_same_options_and_those_of_its_own():
    """A format adds options by its entry in the list; a YOLO folder has its images in itself."""
    commands = typer.main.get_command(import_app).commands
    assert set(commands) == {"images", *(form.name for form in FORMATS)}
    for form in FORMATS:
        found = {parameter.name for parameter in commands[form.name].params} - {"help"}
        assert found == SAME | ({"images"} if form.has_images else set()) | form.more.keys()
        assert commands[form.name].help == form.said
    assert [form.name for form in FORMATS if not form.has_images] == ["yolo"]
    assert {name for form in FORMATS for name in form.more} == {"attribute", "approved_class"}


def test_the_defaults_are_those_of_every_other_command():
    """Nothing is trusted or superseded unless a person says so."""
    for form in FORMATS:
        given = {
            parameter.name: parameter.default
            for parameter in typer.main.get_command(import_app).commands[form.name].params
        }
        assert (given["trust_status"], given["supersede"], given["site"]) == (False, False, "factory")
