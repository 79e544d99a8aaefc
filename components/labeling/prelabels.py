"""Pre-labels: boxes that the champion suggests, through the code that the device runs. A labeler begins with them.

They save time and decide nothing. If there is no champion, MLflow does not answer, or an image cannot be read, there
are no pre-labels, and labeling goes on.
"""

from __future__ import annotations

import logging
import socket
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final, Protocol
from urllib.parse import urlsplit

from components.settings import Settings
from components.stores.objects.s3 import ObjectStoreError
from components.use_case import UseCase
from inspection.anomaly import ANOMALY
from inspection.decode import OutputError
from inspection.geometry import Detection
from inspection.image import ImageError, sha256_of
from inspection.inspector import Inspector
from inspection.model_rules import lanes
from inspection.outputs import ANOMALY_MAP

if TYPE_CHECKING:
    from components.stores.models.champion import Champion
    from components.stores.models.registry import ModelRegistry

_log = logging.getLogger(__name__)

_THREADS: Final = 2
_CONNECT_S: Final = 5.0


@dataclass(frozen=True, slots=True)
class Prelabel:
    """What a model suggests for one image. model: its name and version, as the label events will say it."""

    model: str
    detections: tuple[Detection, ...]

    @property
    def score(self) -> float | None:
        """The score of the least certain box, 0..1; None without a box."""
        return min((detection.score for detection in self.detections), default=None)


class Prelabeller(Protocol):
    """The labeling job asks it for suggestions."""

    def __call__(self, uri: str, sha256: str) -> Prelabel | None:
        """The suggestion for an image, or None. Never raises."""


class ChampionPrelabels:
    """Loads the champion at the first image that asks, and keeps it for the run."""

    def __init__(
        self, use_case: UseCase, load: Callable[[], Champion | None], fetch: Callable[[str, str], bytes]
    ) -> None:
        """load: the champion, or None; fetch: the bytes of an image by URI and sha256."""
        self._use_case = use_case
        self._load = load
        self._fetch = fetch
        self._model: _Model | None = None
        self._asked = False

    def __call__(self, uri: str, sha256: str) -> Prelabel | None:
        """See `Prelabeller`."""
        if not self._asked:
            self._asked = True
            self._model = _open(self._load, self._use_case)
        if self._model is None:
            return None
        try:
            return self._model.suggest(self._fetch(uri, sha256))
        except (ImageError, ObjectStoreError, OutputError) as e:
            _log.warning("%s is shown without pre-labels: %s", uri, e)
            return None


def load_champion(settings: Settings, model: str) -> Champion | None:
    """The champion from MLflow; None if no MLflow is configured or nothing was rolled out yet.

    Raises:
        ModelRegistryError: MLflow did not answer, or refused.
    """
    # mlflow takes a second to import, and a run that makes no task does not need it.
    from components.stores.models.champion import champion

    registry = _registry(settings)
    return champion(registry, model) if registry else None


def champion_thresholds(settings: Settings, model: str) -> dict[str, float]:
    """Class -> the score from which the champion calls a part defective; empty if they are not known."""
    from components.stores.models.champion import champion_report
    from components.stores.models.registry import ModelRegistryError
    from inspection.codec import DocumentError

    try:
        registry = _registry(settings)
        report = champion_report(registry, model) if registry else None
    except (ModelRegistryError, DocumentError) as e:
        _log.warning("images are ordered without the champion's thresholds: %s", e)
        return {}
    return {name: threshold.fail for name, threshold in report.thresholds.items()} if report else {}


def _registry(settings: Settings) -> ModelRegistry | None:
    from components.stores.models.registry import ModelRegistry, ModelRegistryError

    if not settings.mlflow_tracking_uri:
        return None
    address = urlsplit(settings.mlflow_tracking_uri)
    if address.hostname and address.scheme in ("http", "https"):
        # mlflow's client retries for half a minute, which is too long to wait for a server that does not answer.
        port = address.port or (443 if address.scheme == "https" else 80)
        try:
            socket.create_connection((address.hostname, port), _CONNECT_S).close()
        except OSError as e:
            raise ModelRegistryError(f"MLflow at {address.hostname}:{port} does not answer: {e}") from e
    return ModelRegistry.from_settings(settings)


@dataclass(frozen=True, slots=True)
class _Model:
    name: str
    inspector: Inspector
    floors: dict[str, float]
    former: dict[str, str]

    def suggest(self, data: bytes) -> Prelabel:
        found = self.inspector.inspect(self.inspector.read(data)).detections
        sure = (d for d in found if d.score >= self.floors.get(d.class_name, 2.0))
        return Prelabel(
            self.name, tuple(replace(d, class_name=self.former.get(d.class_name, d.class_name)) for d in sure)
        )


def anomalies_as(use_case: UseCase) -> dict[str, str]:
    """The class under which an anomaly is suggested: the only one of the product.

    Of several classes none is, because the model does not know which, and people would leave a wrong one as it is. A
    use case that lists `anomaly` among its classes gets the boxes under that name.
    """
    return {ANOMALY: use_case.classes[0]} if len(use_case.classes) == 1 else {}


def _open(load: Callable[[], Champion | None], use_case: UseCase) -> _Model | None:
    from components.stores.models.onnx_session import ModelError, open_session
    from components.stores.models.registry import ModelRegistryError
    from inspection.codec import DocumentError

    try:
        found = load()
        if found is None:
            _log.info("there is no champion of %s yet, and no pre-labels", use_case.name)
            return None
        report = found.report
        if sha256_of(found.onnx) != report.model_sha256:
            raise ModelError(f"its bytes are {sha256_of(found.onnx)}, but {report.model_sha256} was evaluated")
        at_once, threads = lanes(report.preprocess.tiles is not None, _THREADS)
        infer, spec = open_session(found.onnx, len(report.classes), threads=threads, output=report.output)
        if (spec.width, spec.height) != (report.preprocess.width, report.preprocess.height):
            raise ModelError(f"its input is {spec.width} x {spec.height}, but the report says {report.preprocess}")
    except (ModelRegistryError, ModelError, DocumentError) as e:
        _log.warning("no pre-labels in this run; labeling goes on without them: %s", e)
        return None
    # Classes that the use case gave up are not suggested. The champion does not know its new ones.
    former = dict(use_case.labeling.former_classes)
    if ANOMALY not in use_case.classes and report.output == ANOMALY_MAP:
        former |= anomalies_as(use_case)
    meant = (*use_case.classes, *former)
    floors = {name: report.thresholds[name].uncertain for name in report.classes if name in meant}
    inspector = Inspector(
        infer,
        report.preprocess.to_preprocess(),
        report.classes,
        report.thresholds,
        report.nms,
        output=report.output,
        at_once=at_once,
        score_tables=report.score_tables,
    )
    return _Model(f"{found.version.name}/{found.version.version}", inspector, floors, former)
