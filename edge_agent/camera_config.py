"""The cameras of the configuration: one entry for each camera, whose kind is its `source`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from inspection import region
from inspection.part_view import PartView
from inspection.paths import check_name

Name = Annotated[str, AfterValidator(lambda value: check_name("name", value))]
Seconds = Annotated[float, Field(gt=0)]
Pixels = Annotated[int, Field(ge=0)]
Sides = Annotated[int, Field(gt=0)]
Point = tuple[float, float]
Topic = Annotated[str, Field(pattern=r"^[^#+\x00]+$", max_length=512)]


class Section(BaseModel):
    """Base of all sections: unknown keys are refused, and values do not change."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class PictureSize(Section):
    """The size of a camera's pictures, in pixels, after EXIF orientation."""

    width: Sides
    """Pixels."""
    height: Sides
    """Pixels."""


class Crop(Section):
    """A rectangle of the picture, in its pixels."""

    x: Pixels
    """Left side."""
    y: Pixels
    """Upper side."""
    width: Sides
    """Pixels."""
    height: Sides
    """Pixels."""


class _Camera(Section):
    name: Name = "camera"
    """The camera's name, its own on this device."""
    mode: Literal["every", "latest"] = "every"
    """`every`: no frame is skipped, the camera waits. `latest`: stale frames are dropped and counted."""
    mm_per_px: float | None = Field(default=None, gt=0, allow_inf_nan=False)
    """Millimetres a pixel where the part is, as `kizu-edge calibrate` finds it. Without it, acceptance rules in
    millimetres cannot be judged, and a part that may break one is `uncertain` (`no-scale`)."""
    mm_per_px_uncertainty: float = Field(default=0.0, ge=0, allow_inf_nan=False)
    """By how much `mm_per_px` may be wrong. A size that could lie on either side of its limit is `uncertain`."""
    calibrated_px: tuple[int, int] | None = None
    """Width and height of the picture that was calibrated. On a picture of another size, rules in millimetres or in
    zones cannot be judged (`other-size`)."""
    part_origin_px: tuple[float, float] | None = None
    """Where the origin of the part lies, `[x, y]` in pixels of the picture. Without it, acceptance rules with a zone
    cannot be judged (`no-part-frame`)."""
    part_angle_deg: float = Field(default=0.0, allow_inf_nan=False)
    """By how much the part's x axis is turned from the picture's, clockwise as one sees it."""

    @model_validator(mode="after")
    def _scale_is_a_scale(self) -> _Camera:
        self.view()
        return self

    def view(self) -> PartView:
        """How this camera sees the part."""
        if self.mm_per_px is None and self.mm_per_px_uncertainty:
            raise ValueError("expected mm_per_px beside mm_per_px_uncertainty")
        return PartView(
            mm_per_px=self.mm_per_px,
            mm_per_px_uncertainty=self.mm_per_px_uncertainty,
            origin_px=self.part_origin_px,
            angle_deg=self.part_angle_deg,
            size_px=self.calibrated_px,
        )

    picture_size: PictureSize | None = None
    """The size of the pictures that `crop` and `mask` are for. A picture of another size is `uncertain` (`region`)."""
    crop: Crop | None = None
    """Only this rectangle of the picture is judged. Like `mask`, it is in pixels of the picture as it is stored, before
    `rotate`."""
    mask: tuple[tuple[Point, ...], ...] = ()
    """Polygons, each a list of points `[x, y]`. What lies inside one of them is never judged."""
    rotate: Literal[0, 90, 180, 270] = 0
    """By how many degrees the picture is turned clockwise before it is judged, where the camera is mounted turned. The
    stored picture and the boxes on it are not turned."""

    @model_validator(mode="after")
    def _region_lies_in_the_picture(self) -> Self:
        self.region  # noqa: B018 - it raises what is wrong
        return self

    @property
    def region(self) -> region.Region | None:
        """What of the pictures is judged; None for all of them, as they are."""
        if self.crop is None and not self.mask and not self.rotate:
            return None
        size, crop = self.picture_size, self.crop
        return region.Region(
            width=size.width if size else None,
            height=size.height if size else None,
            crop=region.Crop(x=crop.x, y=crop.y, width=crop.width, height=crop.height) if crop else None,
            mask=self.mask,
            rotate=self.rotate,
        )


class FolderCamera(_Camera):
    """A folder that another program writes images into."""

    source: Literal["folder"] = "folder"
    """The kind of camera."""
    path: Path
    """The folder."""
    poll_interval_s: Seconds = 0.2
    """Seconds between two scans of the folder."""
    settle_s: float = Field(default=5.0, ge=0)
    """A file that cannot be read is set aside only when it has not changed for this long."""
    unfinished_s: float = Field(default=300.0, ge=0)
    """A file that is still being written is waited for this long: one that changes, that has parts which were never
    written, or that ends in zeros. Then it is set aside as `unfinished`."""
    may_end_black: bool = False
    """Whether a whole BMP, TIFF or WebP of this camera may end in zeros, or lie on a disk that stores zeros as holes.
    Otherwise such a file is taken for one that is still being written."""
    processed: Literal["move", "delete"] = "move"
    """What becomes of an inspected file: it moves to `<state_folder>/done`, or is deleted."""
    processed_keep: int = Field(default=500, ge=0)
    """How many processed files are kept in `<state_folder>/done`."""
    processed_max_bytes: int = Field(default=2_000_000_000, ge=0)
    """How many bytes of processed files are kept there. The oldest files go first."""
    rejected_keep: int = Field(default=5000, ge=0)
    """How many files that could not be inspected are kept in the folder's `rejected/`."""
    rejected_max_bytes: int = Field(default=2_000_000_000, ge=0)
    """How many bytes are kept there. The oldest files go first, each with its reason, and are counted."""


class _Grabbed(_Camera):
    mode: Literal["every", "latest"] = "latest"
    """`every`: no frame is skipped, the camera waits. `latest`: stale frames are dropped and counted. A camera with a
    trigger takes `every`, and no other."""
    trigger_topic: Topic | None = None
    """Where it is given, each message on this MQTT topic takes one frame, and no other frame is taken."""
    trigger_deadline_ms: float = Field(default=500.0, gt=0, le=600_000)
    """Milliseconds from a message to its result. A part without a verdict by then is `not-inspected`."""
    max_waiting: int = Field(default=8, ge=1, le=1000)
    """How many messages may wait for their results; one more is `not-inspected` at once."""
    frozen_after: int | None = Field(default=5, ge=2, le=1000)
    """From this many frames in a row with the same pixels on, a frame is `uncertain` (`frozen`). Null for never."""
    reconnect_limit_s: Seconds = 30.0
    """The longest wait between two attempts to open a camera that has failed."""
    encoding: Literal["jpeg", "png"] = "jpeg"
    """How a frame is encoded. The encoded frame is inspected, kept and sent."""
    jpeg_quality: int = Field(default=95, ge=50, le=100)
    """Of an encoded frame."""

    @model_validator(mode="before")
    @classmethod
    def _every_part_that_is_asked_for(cls, value: Any) -> Any:
        if not isinstance(value, dict):
            return value
        features = value.get("features")
        by_signal = value.get("hardware_trigger")
        if by_signal is None:
            by_signal = isinstance(features, Mapping) and features.get("TriggerMode") == "On"
        if not value.get("trigger_topic") and by_signal is not True:
            return value
        if value.get("mode", "every") == "latest":
            raise ValueError(
                "a camera with a trigger takes every part that is asked for, but mode is latest; "
                "remove the mode, or the trigger"
            )
        return {**value, "mode": "every"} if "mode" not in value else value


class OpenCvCamera(_Grabbed):
    """USB, RTSP or a file through OpenCV. `device`: a number, a path such as /dev/video0, or a URL."""

    source: Literal["opencv"]
    """The kind of camera."""
    device: int | str
    """A number, a path such as `/dev/video0`, or a URL."""
    width: int | None = Field(default=None, gt=0)
    """Pixels; the camera's own where it is not given."""
    height: int | None = Field(default=None, gt=0)
    """Pixels; the camera's own where it is not given."""
    frames_per_s: float | None = Field(default=None, gt=0)
    """Asked of the camera; its own where it is not given."""
    timeout_s: Seconds = 10.0
    """Seconds of silence after which a network camera is opened again."""


class GenICamCamera(_Grabbed):
    """A GenICam camera through `harvesters` (the extra `edge-genicam`)."""

    source: Literal["genicam"]
    """The kind of camera."""
    producer: Path
    """The vendor's GenTL producer, a `.cti` file."""
    serial_number: str | None = None
    """The serial number of the camera; without it, the first camera is taken."""
    features: Mapping[str, bool | int | float | str] = {}
    """GenICam features that are set at each opening, such as `ExposureTime: 5000`."""
    hardware_trigger: bool | None = None
    """Whether a signal at the camera asks for each picture, so that silence is no failure. Null: what the camera's
    feature `TriggerMode` says."""
    timeout_s: Seconds = 10.0
    """Seconds of silence after which the camera is opened again, or asked whether it is there (hardware trigger)."""


class HttpCamera(_Camera):
    """`POST /inspect` on the page's port, for a PLC or MES that holds the image."""

    source: Literal["http"]
    """The kind of camera."""
    mode: Literal["every"] = "every"
    queue: int = Field(default=8, ge=1, le=1000)
    """How many images may wait for their turn; one more is answered 429."""
    max_bytes: int = Field(default=20_000_000, gt=0, le=256_000_000)
    """Larger images are answered 413."""
    timeout_s: Seconds = 30.0
    """How long a request waits for its verdict."""


Camera = FolderCamera | OpenCvCamera | GenICamCamera | HttpCamera
AnyCamera = Annotated[Camera, Field(discriminator="source")]


def _tell_apart(cameras: tuple[Camera, ...]) -> tuple[Camera, ...]:
    names = [camera.name for camera in cameras]
    if len(set(names)) != len(names):
        raise ValueError(f"expected a name of its own for each camera, but got {names}")
    if sum(isinstance(camera, HttpCamera) for camera in cameras) > 1:
        raise ValueError("expected at most one camera of source http: there is one POST /inspect")
    return cameras


Cameras = Annotated[tuple[AnyCamera, ...], Field(min_length=1), AfterValidator(_tell_apart)]
"""All cameras of a device; each has a name of its own."""


def absolute(camera: Camera, folder: Path) -> Camera:
    """The same camera with absolute paths. folder: what relative paths are relative to."""
    if isinstance(camera, FolderCamera):
        return camera.model_copy(update={"path": folder / camera.path})
    if isinstance(camera, GenICamCamera):
        return camera.model_copy(update={"producer": folder / camera.producer})
    return camera
