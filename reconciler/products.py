"""The products that the reconciler serves: the use case files of one folder.

A product whose file is not there starts nothing by itself. A damaged file costs only its own product.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from components.stores.objects.whole_file import write_whole
from components.use_case import Schedule, UseCase, UseCaseError, load_use_case, parse_use_case
from inspection.paths import check_name
from reconciler.schedules import CronSchedule, ScheduleError
from reconciler.view import ProductPolicy

_log = logging.getLogger(__name__)
_ENDINGS: Final = (".yaml", ".yml", ".json")


@dataclass(frozen=True, slots=True)
class Product:
    """One product: its use case, and what that says about the loop."""

    use_case: UseCase
    policy: ProductPolicy

    @property
    def name(self) -> str:
        """The name of the use case."""
        return self.use_case.name


@dataclass(frozen=True, slots=True)
class Served:
    """What the folder holds. damaged: file name -> why it is passed over."""

    products: tuple[Product, ...] = ()
    damaged: Mapping[str, str] = field(default_factory=dict)


def product_of(use_case: UseCase) -> Product:
    """The product of a use case.

    Raises:
        UseCaseError: a schedule never comes due.
    """
    policy = ProductPolicy(
        name=use_case.name,
        group=use_case.rollout.group,
        language=use_case.language,
        retraining=use_case.retraining,
        labeling=_schedule(use_case.name, "labeling", use_case.schedules.labeling),
        training=_schedule(use_case.name, "training", use_case.schedules.training),
        labeling_quiet_s=use_case.schedules.labeling_quiet_s,
    )
    return Product(use_case, policy)


class Products:
    """The folder. It is read in each pass; a file that did not change is not parsed again."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._parsed: dict[Path, tuple[tuple[int, int], Product | str]] = {}

    def read(self) -> Served:
        """The products, by name, and the files that are damaged. No folder is an empty one."""
        products: dict[str, Product] = {}
        damaged: dict[str, str] = {}
        parsed: dict[Path, tuple[tuple[int, int], Product | str]] = {}
        for path in self._files():
            found = self._one(path)
            parsed[path] = found
            product = found[1]
            if isinstance(product, str):
                damaged[path.name] = product
            elif product.name in products:
                damaged[path.name] = f"another file is of the use case {product.name} too"
            else:
                products[product.name] = product
        for name in damaged:
            if self._parsed.get(self._folder / name) != parsed[self._folder / name]:
                _log.error("the use case file %s is passed over: %s", name, damaged[name])
        self._parsed = parsed
        return Served(tuple(products[name] for name in sorted(products)), damaged)

    def names(self) -> tuple[str, ...]:
        """The names of the products that are served."""
        return tuple(product.name for product in self.read().products)

    def put(self, path: Path) -> Product:
        """Copy a use case file into the folder, as it is, whole or not at all. It replaces the product's former one.

        Raises:
            UseCaseError: the file has mistakes, or a schedule that never comes due. Nothing changes.
            OSError: the folder cannot be written.
        """
        product = product_of(load_use_case(path))
        data = path.read_bytes()
        # The copy is what was checked, also if the file is changed at this moment.
        if parse_use_case(data.decode("utf-8"), where=str(path)) != product.use_case:
            raise UseCaseError(f"{path} was changed while it was read; run this again")
        self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        target = self._folder / f"{product.name}.yaml"
        write_whole(target, data)
        for other in self._of(product.name):
            if other != target:
                other.unlink(missing_ok=True)
        return product

    def take_out(self, name: str) -> bool:
        """Remove a product's file, damaged or not. Returns whether there was one."""
        check_name("use case", name)
        found = {*self._of(name), *(path for path in self._files() if path.stem == name)}
        for path in found:
            path.unlink(missing_ok=True)
        return bool(found)

    def _of(self, name: str) -> list[Path]:
        return [
            path
            for path in self._files()
            if not isinstance(product := self._one(path)[1], str) and product.name == name
        ]  # fmt: skip

    def _files(self) -> list[Path]:
        try:
            return sorted(
                path
                for path in self._folder.iterdir()
                if path.suffix in _ENDINGS and not path.name.startswith(".") and path.is_file()
            )
        except (FileNotFoundError, NotADirectoryError):
            return []

    def _one(self, path: Path) -> tuple[tuple[int, int], Product | str]:
        try:
            stat = path.stat()
            mark = (stat.st_mtime_ns, stat.st_size)
            known = self._parsed.get(path)
            if known is not None and known[0] == mark:
                return known
            return mark, product_of(load_use_case(path))
        except OSError as e:
            return (0, 0), f"cannot read it: {e.strerror}"
        except UseCaseError as e:
            return mark, str(e)


def _schedule(use_case: str, what: str, schedule: Schedule | None) -> CronSchedule | None:
    if schedule is None:
        return None
    try:
        return CronSchedule(schedule.cron, schedule.time_zone)
    except ScheduleError as e:
        raise UseCaseError(f"use case {use_case}: schedules.{what}: {e}") from e
