"""Makes Markdown tables of settings from JSON schemas of pydantic models and from the docstrings of their fields."""

from __future__ import annotations

import ast
import inspect
import itertools
import json
import re
import textwrap
from collections.abc import Iterable, Mapping, Sequence
from typing import Any


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a Markdown table. Bars and line breaks in cells are escaped."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(cell_text(cell) for cell in line) + " |" for line in lines) + "\n"


def cell_text(text: str) -> str:
    """Return text that is escaped for a cell."""
    return re.sub(r"\s+", " ", text).strip().replace("|", "\\|")


def code(value: str) -> str:
    """Return text as inline code."""
    return f"`{value}`" if value else ""


def type_text(schema: Mapping[str, Any], definitions: Mapping[str, Any]) -> str:
    """Return the type of a JSON schema's property in words, with its bounds."""
    if "$ref" in schema:
        return f"section {code(schema['$ref'].rpartition('/')[2])}"
    if "const" in schema:
        return code(json.dumps(schema["const"]))
    if "enum" in schema:
        return " or ".join(code(str(value)) for value in schema["enum"])
    options = schema.get("anyOf") or schema.get("oneOf")
    if options:
        named = [option for option in options if option.get("type") != "null"]
        return " or ".join(type_text(option, definitions) for option in named)
    kind = schema.get("type", "any")
    if kind == "array":
        first = (schema.get("prefixItems") or [{}])[0]
        inner = schema.get("items") or first
        return f"list of {type_text(inner, definitions)}"
    if kind == "object":
        inner = schema.get("additionalProperties")
        return f"mapping of names to {type_text(inner, definitions)}" if isinstance(inner, Mapping) else "mapping"
    names = {"string": "text", "integer": "whole number", "number": "number", "boolean": "true or false"}
    name: str = {"path": "path", "password": "secret text"}.get(str(schema.get("format")), names.get(kind, kind))
    return name + _bounds(schema)


def _bounds(schema: Mapping[str, Any]) -> str:
    low, above = schema.get("minimum"), schema.get("exclusiveMinimum")
    high, below = schema.get("maximum"), schema.get("exclusiveMaximum")
    said = []
    if low is not None and high is not None:
        said.append(f"{_number(low)} to {_number(high)}")
    elif low is not None:
        said.append(f"{_number(low)} or more")
    if above is not None:
        said.append(f"above {_number(above)}")
    if high is not None and low is None:
        said.append(f"at most {_number(high)}")
    if below is not None:
        said.append(f"below {_number(below)}")
    if "multipleOf" in schema:
        said.append(f"a multiple of {_number(schema['multipleOf'])}")
    if "pattern" in schema:
        said.append(f"of the form {code(schema['pattern'])}")
    return ", " + ", ".join(said) if said else ""


def _number(value: float) -> str:
    return str(int(value)) if float(value).is_integer() else str(value)


def default_text(schema: Mapping[str, Any], *, required: bool) -> str:
    """Return the default of a property in words: *required*, *none*, or the value in YAML."""
    if required:
        return "required"
    value = schema.get("default")
    if value is None:
        return "none"
    if value in ("", [], {}):
        return "empty"
    return code(value if isinstance(value, str) else json.dumps(value, ensure_ascii=False))


def explained(model: type) -> tuple[str, dict[str, str]]:
    """Return what the source says about a class, and about each of its fields.

    The text for a field is the docstring below it, or a passage `name: …` or `name, name: …` of the class's docstring.
    """
    fields: dict[str, str] = {}
    for parent in reversed(model.__mro__[:-1]):
        if parent.__module__.partition(".")[0] in ("inspection", "components", "edge_agent"):
            fields |= _texts_below_fields(parent)
    names = set(getattr(model, "model_fields", None) or getattr(model, "__dataclass_fields__", {}))
    about, passages = _passages(inspect.cleandoc(model.__doc__ or ""), names)
    return about, passages | fields


def _texts_below_fields(model: type) -> dict[str, str]:
    body = ast.parse(textwrap.dedent(inspect.getsource(model))).body[0]
    assert isinstance(body, ast.ClassDef)
    found = {}
    for item, below in itertools.pairwise(body.body):
        if (
            isinstance(item, ast.AnnAssign)
            and isinstance(item.target, ast.Name)
            and isinstance(below, ast.Expr)
            and isinstance(below.value, ast.Constant)
            and isinstance(below.value.value, str)
        ):
            found[item.target.id] = inspect.cleandoc(below.value.value)
    return found


def _passages(text: str, names: set[str]) -> tuple[str, dict[str, str]]:
    """Return the text without the passages about fields, and the passages by field."""
    if not names:
        return text, {}
    one = "|".join(sorted(map(re.escape, names), key=len, reverse=True))
    begin = re.compile(rf"(?:^|(?<=[.;]\s))((?:{one})(?:,\s+(?:{one}))*):\s", re.MULTILINE)
    matches = list(begin.finditer(text))
    found: dict[str, str] = {}
    for match, following in itertools.zip_longest(matches, matches[1:]):
        passage = text[match.end() : following.start() if following else len(text)]
        passage = passage.partition("\n\n")[0].strip()
        for name in re.split(r",\s+", match[1]):
            found[name] = passage[:1].upper() + passage[1:]
    return (text[: matches[0].start()] if matches else text).strip(), found
