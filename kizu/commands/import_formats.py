"""`kizu import …` for labels of other tools: one list of formats, and a command for each of them.

A format says how its rows are read and where its images are found. All other options are the same.
"""

from __future__ import annotations

import inspect
import io
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, Final

import typer

from kizu.commands.exchange import (
    ClassOption,
    ImagesOption,
    ListingOption,
    NameOption,
    PartsOption,
    SiteOption,
    SupersedeOption,
    TrustOption,
    class_names,
    import_app,
    import_labels,
    name_of,
    parts_of,
    read_bytes,
    source_of,
    text_of,
)
from kizu.context import DEFAULT_USE_CASE, UseCaseOption, settings_as
from kizu.context import use_case as read_use_case

_IMAGES: Final = ("images", "IMAGES", "JPEGImages")
_FROM_BESIDE: Final = "Images come from --images, or from `images/` beside the labels."


@dataclass(frozen=True, slots=True)
class Asked:
    """What a person asked for. labels: the path or address; images: of --images; names: the classes; more: the options
    that only this format has."""

    config: Any
    labels: str
    images: str | None
    names: Any
    more: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Found:
    """source: the format as each row records it; images: where they lie, or None where each row has an address.

    named: the path or address whose folder gives the import its name; the labels' by default.
    """

    source: str
    rows: Iterator[Any]
    images: str | None
    named: str | None = None


@dataclass(frozen=True, slots=True)
class Format:
    """A format of labels. name: of the command; said: its help; read: its rows and where its images are.

    labels: the argument, with its type; has_images: whether the command takes --images; more: its own options.
    """

    name: str
    said: str
    read: Callable[[Asked], Found]
    labels: Any = Annotated[Path, typer.Argument(help="The file or folder with the labels.")]
    has_images: bool = True
    more: Mapping[str, Any] = field(default_factory=dict)


def _voc(asked: Asked) -> Found:
    from components.exchange.voc import read_voc

    return Found("voc", read_voc(Path(asked.labels), asked.names), _images_of(asked))


def _cvat(asked: Asked) -> Found:
    from components.exchange.cvat import read_cvat

    data = read_bytes(asked.config, asked.labels)
    return Found("cvat", read_cvat(data, asked.names, _dated(asked.labels)), _images_of(asked))


def _datumaro(asked: Asked) -> Found:
    from components.exchange.datumaro import read_datumaro

    data = read_bytes(asked.config, asked.labels)
    return Found("datumaro", read_datumaro(data, asked.names, _dated(asked.labels)), _images_of(asked))


def _label_studio(asked: Asked) -> Found:
    from components.exchange.label_studio import read_label_studio

    return Found(
        "label-studio", read_label_studio(read_bytes(asked.config, asked.labels), asked.names), _images_of(asked)
    )


def _boxes(asked: Asked) -> Found:
    from components.exchange.box_table import read_box_table

    lines = io.StringIO(text_of(asked.config, asked.labels), newline="")
    return Found("boxes", read_box_table(lines, asked.names, _dated(asked.labels)), _images_of(asked))


def _coco(asked: Asked) -> Found:
    from components.exchange.coco import read_coco

    # Not the folder above: a COCO file lies above its images, and what else is called `images` there is not its own.
    beside = Path(asked.labels).parent / "images"
    images = asked.images or str(beside if beside.is_dir() else beside.parent)
    data = read_bytes(asked.config, asked.labels)
    return Found("coco", read_coco(data, asked.names, _dated(asked.labels)), images)


def _yolo(asked: Asked) -> Found:
    from components.exchange.yolo import read_yolo

    # A label file belongs to the image of the same name in the same folder, so there are no images elsewhere.
    return Found("yolo", read_yolo(Path(asked.labels), asked.names), asked.labels)


def _ground_truth(asked: Asked) -> Found:
    from components.exchange.feature_store import read_feature_store
    from components.exchange.ground_truth import ManifestOptions, read_manifest

    lines = list(io.StringIO(text_of(asked.config, asked.labels), newline=""))
    if next((line for line in lines if line.strip()), "").lstrip().startswith("{"):
        classes = asked.more["approved_class"]
        words = frozenset(word.strip().lower() for word in classes) if classes else None
        options = ManifestOptions(asked.more["attribute"], words)
        return Found("ground-truth", read_manifest(lines, asked.names, options), asked.images, asked.images)
    asked.names.expect_names("a Feature Store export")
    return Found("feature-store", read_feature_store(lines, asked.names), asked.images, asked.images)


FORMATS: Final = (
    Format(
        "ground-truth",
        "Import labels of SageMaker Ground Truth. Images come from --images, or from the addresses in the rows.",
        _ground_truth,
        Annotated[
            str,
            typer.Argument(
                help="A file or s3:// address: an output manifest (JSON lines) or a Feature Store export (CSV)."
            ),
        ],
        more={
            "attribute": Annotated[
                str | None, typer.Option(help="The label attribute with the boxes, if a manifest has several.")
            ],
            "approved_class": Annotated[
                list[str] | None,
                typer.Option(help="The verification class that means approved. All others then mean rejected."),
            ],
        },
    ),
    Format(
        "coco",
        "Import labels of a COCO file. Images come from --images, from images/ beside it, or from its own folder.",
        _coco,
        Annotated[Path, typer.Argument(help="The JSON file with images, annotations and categories.")],
    ),
    Format(
        "yolo",
        "Import labels of a YOLO folder. An empty label file means that the image shows no defect.",
        _yolo,
        Annotated[
            Path,
            typer.Argument(help="The folder with images/, labels/ and data.yaml or classes.txt."),
        ],
        has_images=False,
    ),
    Format(
        "voc",
        f"Import labels of Pascal VOC: a folder with one XML file for each image, as NEU-DET has it. {_FROM_BESIDE}",
        _voc,
    ),
    Format(
        "boxes",
        f"Import labels of a CSV table with the columns image, class, x1, y1, x2, y2 (pixels). {_FROM_BESIDE}",
        _boxes,
        Annotated[Path, typer.Argument(help="The CSV file. A line with an image alone: it shows no defect.")],
    ),
    Format("label-studio", f"Import labels of a JSON export of Label Studio. {_FROM_BESIDE}", _label_studio),
    Format("cvat", f"Import labels of CVAT: its XML for images (1.1). {_FROM_BESIDE}", _cvat),
    Format("datumaro", f"Import labels of Datumaro's JSON. {_FROM_BESIDE}", _datumaro),
)


def _command(form: Format) -> Callable[..., None]:
    def run(
        labels: Any,
        images: ImagesOption = None,
        use_case: UseCaseOption = DEFAULT_USE_CASE,
        trust_status: TrustOption = False,
        supersede: SupersedeOption = False,
        class_: ClassOption = None,
        name: NameOption = None,
        site: SiteOption = "factory",
        parts: PartsOption = None,
        set_aside: ListingOption = None,
        **more: Any,
    ) -> None:
        config = settings_as("importer")
        from components.exchange.finder import ByAddress, InSource
        from components.stores.objects.s3 import S3ObjectStore

        product = read_use_case(use_case)
        address = str(labels)
        found = form.read(Asked(config, address, images, class_names(product, class_), more))
        finder: Any = (
            ByAddress(S3ObjectStore.source_of(config))
            if found.images is None
            else InSource(source_of(config, found.images))
        )
        import_labels(
            config, found.rows, finder, product, found.source,
            trust=trust_status, name=name or name_of(found.named or address), site=site,
            parts=parts_of(parts, found.images, address), listing=set_aside, supersede=supersede,
        )  # fmt: skip

    return _with_options(run, form)


def _with_options(run: Callable[..., None], form: Format) -> Callable[..., None]:
    """The command with the options of its format: typer reads them from the signature."""
    parameters = {name: p for name, p in inspect.signature(run, eval_str=True).parameters.items() if name != "more"}
    parameters["labels"] = parameters["labels"].replace(annotation=form.labels)
    if not form.has_images:
        del parameters["images"]
    for name, annotation in form.more.items():
        parameters[name] = inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=annotation)
    run.__signature__ = inspect.Signature(list(parameters.values()))  # type: ignore[attr-defined]
    run.__annotations__ = {name: parameter.annotation for name, parameter in parameters.items()}
    return run


for _form in FORMATS:
    import_app.command(_form.name, help=_form.said)(_command(_form))


def _images_of(asked: Asked) -> str:
    """--images, else the folder of the images in the folder of the labels or beside it, else that folder itself."""
    labels = Path(asked.labels)
    folder = labels if labels.is_dir() else labels.parent
    beside = (place / name for place in (folder, folder.parent) for name in _IMAGES)
    return asked.images or str(next((place for place in beside if place.is_dir()), folder))


def _dated(path: str) -> datetime:
    return datetime.fromtimestamp(Path(path).stat().st_mtime, UTC)
