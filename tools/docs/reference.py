"""Generates the pages of docs/reference/ from the code: `python -m tools.docs.reference` (make reference)."""

from __future__ import annotations

import ast
import dataclasses
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final, get_type_hints

import yaml
from typer.main import get_command

from components.settings import Settings
from components.use_case import UseCase, write_schema
from deploy.access.layout import Ports
from edge_agent.__main__ import app as edge_app
from edge_agent.config import ENVIRONMENT_PREFIX, Config
from edge_agent.part_answer import PartPicture, PartResult
from edge_agent.result import Presence, Result
from inspection import (
    acceptance,
    agent_release,
    documents,
    drift,
    part_view,
    report_parts,
    rollout,
    score_table,
)
from inspection.codec import Part
from kizu.cli import app as kizu_app
from tools.docs.tables import cell_text, code, default_text, explained, table, type_text

REPOSITORY: Final = Path(__file__).resolve().parents[2]
FOLDER: Final = REPOSITORY / "docs" / "reference"
_NOTE: Final = "<!-- Generated from the code by `make reference`. Do not edit. -->\n\n"


def settings_page() -> str:
    """Return the page of the environment variables of servers and steps."""
    schema = Settings.model_json_schema(by_alias=False)
    rows = []
    for name, field in Settings.model_fields.items():
        alias: Any = field.validation_alias
        prop = schema["properties"][name]
        rows.append(
            (
                code(alias.choices[0]),
                type_text(prop, {}),
                default_text(prop, required=field.is_required()),
                field.description or "",
            )
        )
    ports = [
        (code(f"KIZU_PORT_{port.name.upper()}"), code(str(port.default)), port.name.replace("_", " ").capitalize())
        for port in dataclasses.fields(Ports)
    ]
    return (
        "# Settings\n\n" + _NOTE + "Servers, pipelines and commands read these environment variables "
        "(`components/settings.py`). On one machine `kizu` sets those that name servers and keys. On a cluster they "
        "come from Secrets, see [the cluster](../how-to/cluster.md). A secret is never a pipeline parameter.\n\n"
        + table(("Variable", "Type", "Default", "Meaning"), rows)
        + "\n## On one machine\n\n"
        "`KIZU_HOME` names the folder that holds all data (default: `.kizu` in the repository). "
        "The servers listen on loopback, at these ports:\n\n" + table(("Variable", "Default", "Server"), ports)
    )


def device_page() -> str:
    """Return the page of all keys of the device's configuration file."""
    text = (
        "# The device's configuration\n\n"
        + _NOTE
        + "The edge agent reads one YAML file, which `kizu enroll` writes: see "
        "[enrol a device](../how-to/enrol-a-device.md). Paths are relative to the file. An unknown key is an error. "
        "An environment variable overrides a key; lists and mappings are written in it as JSON.\n\n"
    )
    schema = Config.model_json_schema()
    return text + "\n".join(_sections(Config, schema, ENVIRONMENT_PREFIX))


def use_case_page() -> str:
    """Return the page of all keys of the use case file."""
    text = (
        "# The use case file\n\n" + _NOTE + "One YAML file says what changes from one product to another. "
        "An unknown key is an error. The same as a JSON Schema for editors: "
        "[use-case.schema.json](use-case.schema.json). Examples: "
        "[use_cases/metal-tag.yaml](../../use_cases/metal-tag.yaml), [the tutorial](../tutorial/first-product.md).\n\n"
    )
    return text + "\n".join(_sections(UseCase, UseCase.model_json_schema(), None))


def _sections(model: type[Any], schema: Mapping[str, Any], prefix: str | None) -> Iterator[str]:
    """Return a table for the file itself, and one for each section. prefix: of the variables that override the keys."""
    definitions = schema.get("$defs", {})
    classes = _models_of(model)
    waiting: list[tuple[str, str, Mapping[str, Any]]] = [("", model.__name__, schema)]
    seen: set[str] = set()
    while waiting:
        path, name, part = waiting.pop(0)
        if name in seen:
            continue
        seen.add(name)
        about, meanings = explained(classes[name])
        head = ["Key", "Type", "Default", "Meaning"] + (["Variable"] if prefix else [])
        rows = []
        for key, prop in part["properties"].items():
            inner = _references(prop)
            below = f"{path}.{key}" if path else key
            is_list = prop.get("type") == "array"
            names = isinstance(prop.get("additionalProperties"), dict)
            place = f"{below}[]" if is_list else f"{below}.<name>" if names else below
            for reference in inner:
                waiting.append((place, reference, definitions[reference]))
            kind = type_text(prop, definitions) if not inner else _sections_text(inner, is_list=is_list)
            required = key in part.get("required", [])
            default = default_text(prop, required=required)
            if inner and not required:
                default = "none" if prop.get("default") is None and "default" in prop else "see there"
            cells = [code(key), kind, default, meanings.get(key, prop.get("description", ""))]
            if prefix:
                in_list = "[]" in path or "<name>" in path
                cells.append(
                    "" if (inner and not is_list) or in_list else code(prefix + below.upper().replace(".", "__"))
                )
            rows.append(cells)
        title = f"## `{path}`" if path else "## The file"
        if "[]" in path and prefix and "source" in part["properties"]:
            title += f" with `source: {part['properties']['source'].get('const', name)}`"
        yield f"{title}\n\n{cell_text(about)}\n\n{table(head, rows)}"


def _sections_text(names: list[str], *, is_list: bool) -> str:
    return "list of sections, see below" if is_list or len(names) > 1 else "section, see below"


def _references(prop: Mapping[str, Any]) -> list[str]:
    inside = prop.get("items", prop.get("additionalProperties") or prop)
    if not isinstance(inside, dict):  # `additionalProperties: true`
        inside = prop
    options = [inside, *inside.get("anyOf", ()), *inside.get("oneOf", ())]
    return [option["$ref"].rpartition("/")[2] for option in options if "$ref" in option]


def _models_of(model: type[Any]) -> dict[str, type]:
    """Return the model and all models of its fields, by class name."""
    from pydantic import BaseModel

    found: dict[str, type] = {}

    def walk(annotation: Any) -> None:
        if isinstance(annotation, type) and issubclass(annotation, BaseModel):
            if annotation.__name__ not in found:
                found[annotation.__name__] = annotation
                for field in annotation.model_fields.values():
                    walk(field.annotation)
            return
        for inner in getattr(annotation, "__args__", ()):
            walk(inner)

    walk(model)
    return found


def pipelines_page() -> str:
    """Return the page of the inputs, outputs and artifacts of pipelines and steps, from the compiled pipelines."""
    text = (
        "# Pipelines\n\n"
        + _NOTE
        + "Read from `pipelines/compiled/`. A step is a function of a `component.py`; its image "
        "holds the code that does the work. An output of a pipeline is an output of one of its steps.\n\n"
    )
    for name in ("labeling", "training", "evaluation", "deployment"):
        loaded = yaml.safe_load_all((REPOSITORY / "pipelines" / "compiled" / f"{name}.yaml").read_text("utf-8"))
        spec = next(iter(loaded))
        text += f"## `{name}`\n\n{spec['pipelineInfo'].get('description', '')}\n\n{_ports(spec['root'])}\n"
        for step in _in_order(spec):
            component = spec["components"][f"comp-{step}"]
            executor = spec["deploymentSpec"]["executors"][component["executorLabel"]]["container"]
            about = _docstring(executor["command"][-1])
            text += f"### `{name}`: `{step}`\n\n{about}\n\nImage: `{executor['image']}`\n\n{_ports(component)}\n"
    return text


def _in_order(spec: Mapping[str, Any]) -> list[str]:
    """Return the steps, each after those that it waits for. Steps of a condition are at the condition's place."""
    tasks = dict(spec["root"]["dag"]["tasks"])
    done: list[str] = []
    while tasks:
        ready = sorted(name for name, task in tasks.items() if not set(task.get("dependentTasks", ())) & set(tasks))
        for name in ready:
            component = tasks.pop(name)["componentRef"]["name"]
            inner = spec["components"][component].get("dag")
            done += sorted(inner["tasks"]) if inner else [name]
    return done


def _ports(component: Mapping[str, Any]) -> str:
    rows = []
    for word, key in (("input", "inputDefinitions"), ("output", "outputDefinitions")):
        defined = component.get(key, {})
        for name, value in defined.get("parameters", {}).items():
            kind = {"STRING": "text", "NUMBER_INTEGER": "whole number", "NUMBER_DOUBLE": "number", "BOOLEAN": "bool"}
            default = "required" if word == "input" and "defaultValue" not in value else ""
            if "defaultValue" in value:
                given = value["defaultValue"]
                default = code(str(int(given) if value["parameterType"] == "NUMBER_INTEGER" else given))
            rows.append((word, code(name), kind.get(value["parameterType"], value["parameterType"]), default))
        for name, value in defined.get("artifacts", {}).items():
            rows.append((f"{word} artifact", code(name), code(value["artifactType"]["schemaTitle"]), ""))
    return table(("", "Name", "Type", "Default"), rows)


def _docstring(source: str) -> str:
    functions = [item for item in ast.parse(source).body if isinstance(item, ast.FunctionDef)]
    return ast.get_docstring(functions[0]) or "" if functions else ""


def commands_page() -> str:
    """Return the page of all commands of `kizu` and `kizu-edge` with their arguments and options."""
    text = (
        "# Commands\n\n" + _NOTE + "`kizu` is in `.venv/bin`, `kizu-edge` on a device (here: in `.venv-edge/bin`). "
        "`--help` after any command says the same. `--debug` before a command shows the whole trace of an error. "
        "A command that fails says why in one line and exits with another code than 0.\n\n"
    )
    for name, app in (("kizu", kizu_app), ("kizu-edge", edge_app)):
        text += "".join(_command(name, get_command(app), top=True))
    return text


def _command(name: str, command: Any, *, top: bool = False) -> Iterator[str]:
    children = getattr(command, "commands", None)
    if children is not None:
        if top:
            yield f"## `{name}`\n\n{cell_text(command.help or '')}\n\n"
        for child in sorted(children):
            yield from _command(f"{name} {child}", children[child])
        return
    arguments = [item for item in command.params if type(item).__name__.endswith("Argument")]
    usage = " ".join([name, *(item.name.upper() if item.required else f"[{item.name.upper()}]" for item in arguments)])
    yield f"### `{usage}`\n\n{cell_text(command.help or '')}\n\n"
    if command.params:
        rows = [_parameter(item, is_argument=item in arguments) for item in command.params]
        yield table(("", "Meaning", "Default"), rows) + "\n"


def _parameter(item: Any, *, is_argument: bool) -> tuple[str, str, str]:
    shown = code(item.name.upper()) if is_argument else ", ".join(code(name) for name in item.opts)
    default = item.default
    if isinstance(default, Path) and default.is_relative_to(REPOSITORY):
        default = default.relative_to(REPOSITORY)
    if str(default).startswith(str(REPOSITORY)):
        default = str(default)[len(str(REPOSITORY)) + 1 :]
    value = getattr(default, "value", default)
    said = "required" if item.required else "" if value is None or value is False or value == "" else code(str(value))
    meaning = item.help or ""
    if getattr(item, "multiple", False):
        meaning += " May be repeated."
    if item.envvar:
        meaning += f" Or {code(str(item.envvar))}."
    return shown, meaning, said


def documents_page() -> str:
    """Return the page of the fields of the documents that teams and devices exchange."""
    text = (
        "# Documents\n\n"
        + _NOTE
        + "What passes between teams, and from devices: JSON objects with these keys. Each whole "
        "document has `schema_version` too, and keeps keys that this version does not know. Times are UTC, ISO 8601. "
        "The JSON is canonical: sorted keys, no spaces, UTF-8.\n\n"
    )
    wanted = [item for item in vars(documents).values() if isinstance(item, type) and issubclass(item, Part)]
    of_module = [item for item in wanted if item.__module__ == documents.__name__]
    of_module += [item for item in wanted if item.__module__ == report_parts.__name__]
    of_module += [agent_release.AgentRelease, agent_release.AgentBuild, agent_release.WheelFile]
    of_module += [rollout.RolloutPlan, rollout.SoftwarePlan, rollout.Stage, rollout.LineBounds, rollout.Window]
    of_module += [drift.DriftReference, drift.LineWindows, drift.LineWindow, drift.PictureCounts, drift.DetectionCounts]
    of_module += [acceptance.Acceptance, acceptance.AcceptanceRule, part_view.Zone, score_table.ScoreTable]
    for model in (*of_module, Result, acceptance.RuleOutcome, PartResult, PartPicture, Presence):
        about, meanings = explained(model)
        hints = get_type_hints(model)
        rows = [
            (code(field.name), _python_type(hints[field.name]), _python_default(field), meanings.get(field.name, ""))
            for field in dataclasses.fields(model)
            if field.name not in ("unknown", "schema_version")
        ]
        text += f"## `{model.__name__}`\n\n{cell_text(about)}\n\n{table(('Key', 'Type', 'Default', 'Meaning'), rows)}\n"
    return text


def _python_type(annotation: Any) -> str:
    names = {"str": "text", "int": "whole number", "float": "number", "bool": "true or false", "datetime": "time"}
    arguments = [item for item in getattr(annotation, "__args__", ()) if item is not type(None)]
    origin = getattr(annotation, "__origin__", None)
    if origin is tuple:
        return f"list of {_python_type(arguments[0])}"
    if origin is not None and len(arguments) == 2:
        return f"mapping of names to {_python_type(arguments[1])}"
    if arguments:
        return " or ".join(_python_type(item) for item in arguments)
    name = getattr(annotation, "__name__", str(annotation))
    if hasattr(annotation, "__members__"):
        return " or ".join(code(str(item.value)) for item in annotation)
    return names.get(name, code(name))


def _python_default(field: dataclasses.Field[Any]) -> str:
    if field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING:
        return "required"
    if field.default is None:
        return "none"
    if dataclasses.is_dataclass(field.default):
        return "see there"
    if field.default_factory is not dataclasses.MISSING:
        return "empty"
    return code(str(field.default)) if field.default not in ("", ()) else "empty"


PAGES: Final[Mapping[str, Callable[[], str]]] = {
    "settings.md": settings_page,
    "device-configuration.md": device_page,
    "use-case.md": use_case_page,
    "pipelines.md": pipelines_page,
    "commands.md": commands_page,
    "documents.md": documents_page,
}
"""File in docs/reference/ -> what writes it."""


def main() -> None:
    """Write all pages, and the JSON Schema of the use case file."""
    for name, write in PAGES.items():
        (FOLDER / name).write_text(write().rstrip() + "\n", encoding="utf-8")
        sys.stdout.write(f"docs/reference/{name}\n")
    write_schema(FOLDER / "use-case.schema.json")
    sys.stdout.write("docs/reference/use-case.schema.json\n")


if __name__ == "__main__":
    main()
