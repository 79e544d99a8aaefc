"""`kizu import …` for the formats that are one file or one folder of labels, beside a folder of images."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
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
)
from kizu.context import DEFAULT_USE_CASE, UseCaseOption, settings_as
from kizu.context import use_case as read_use_case

_IMAGES: Final = ("images", "IMAGES", "JPEGImages")

Read = Callable[[Any, Path, Any], Iterator[Any]]
"""Settings, the path of the labels, and the classes -> rows."""


@dataclass(frozen=True, slots=True)
class Format:
    """A format of labels. name: of the command; said: its help; read: its rows."""

    name: str
    said: str
    read: Read


def _voc(config: Any, path: Path, names: Any) -> Iterator[Any]:
    from components.exchange.voc import read_voc

    return read_voc(path, names)


def _cvat(config: Any, path: Path, names: Any) -> Iterator[Any]:
    from components.exchange.cvat import read_cvat

    return read_cvat(read_bytes(config, str(path)), names, _dated(path))


def _datumaro(config: Any, path: Path, names: Any) -> Iterator[Any]:
    from components.exchange.datumaro import read_datumaro

    return read_datumaro(read_bytes(config, str(path)), names, _dated(path))


def _label_studio(config: Any, path: Path, names: Any) -> Iterator[Any]:
    from components.exchange.label_studio import read_label_studio

    return read_label_studio(read_bytes(config, str(path)), names)


FORMATS: Final = (
    Format("voc", "Labels of Pascal VOC: a folder with one XML file for each image, as NEU-DET has it.", _voc),
    Format("label-studio", "Labels of a JSON export of Label Studio.", _label_studio),
    Format("cvat", "Labels of CVAT: its XML for images (1.1).", _cvat),
    Format("datumaro", "Labels of Datumaro's JSON.", _datumaro),
)


def _command(form: Format) -> Callable[..., None]:
    def run(
        labels: Annotated[Path, typer.Argument(help="The file or folder with the labels.")],
        images: ImagesOption = None,
        use_case: UseCaseOption = DEFAULT_USE_CASE,
        trust_status: TrustOption = False,
        supersede: SupersedeOption = False,
        class_: ClassOption = None,
        name: NameOption = None,
        site: SiteOption = "factory",
        parts: PartsOption = None,
        set_aside: ListingOption = None,
    ) -> None:
        config = settings_as("importer")
        from components.exchange.finder import InSource

        product = read_use_case(use_case)
        names = class_names(product, class_)
        beside = labels if labels.is_dir() else labels.parent
        folder = images or str(_images_beside(beside))
        import_labels(
            config, form.read(config, labels, names), InSource(source_of(config, folder)), product, form.name,
            trust=trust_status, name=name or name_of(str(beside)), site=site,
            parts=parts_of(parts, folder, str(beside)), listing=set_aside, supersede=supersede,
        )  # fmt: skip

    return run


for _form in FORMATS:
    import_app.command(
        _form.name, help=f"{_form.said} Images come from --images, or from `images/` beside the labels."
    )(_command(_form))


def _images_beside(folder: Path) -> Path:
    """The folder of the images in a folder of labels or beside it; else the folder itself."""
    for place in (folder, folder.parent):
        for name in _IMAGES:
            if (place / name).is_dir():
                return place / name
    return folder


def _dated(path: Path) -> datetime:
    return datetime.fromtimestamp(path.stat().st_mtime, UTC)
