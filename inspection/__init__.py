"""What all rooms share: images, boxes, preprocessing, decoding, verdict and documents. numpy and OpenCV only."""

from inspection.acceptance import Acceptance, AcceptanceRule, RuleOutcome, Severity
from inspection.codec import DocumentError
from inspection.decode import Nms, OutputError, decode_yolov8
from inspection.documents import (
    AgentOrder,
    Approval,
    Candidate,
    Capture,
    DesiredState,
    GoldenSample,
    InputSpec,
    LabelledImage,
    LabelledRegion,
    ModelFile,
    Reason,
    Release,
    Reported,
    Sampling,
    ShadowOrder,
    ShadowVerdict,
    Tolerance,
    Wave,
)
from inspection.geometry import Box, Detection, LabelledBox, iou, iou_matrix
from inspection.image import ImageError, Picture, decode_image, image_format, read_picture, sha256_of
from inspection.inspector import Infer, Inspection, Inspector
from inspection.part_view import PartView, Zone
from inspection.paths import capture_key, parse_raw_key, raw_image_key
from inspection.picture import PictureLimits, PictureProblem
from inspection.preprocess import Letterbox, Preprocess, Tiles, letterbox
from inspection.report_parts import AgentState, CameraState, FailedRelease, LineTally, ShadowTally
from inspection.verdict import ClassThreshold, Verdict, decide

__all__ = [
    "Acceptance", "AcceptanceRule", "AgentOrder", "AgentState", "Approval", "Box", "CameraState", "Candidate",
    "Capture", "ClassThreshold", "DesiredState", "Detection", "DocumentError", "FailedRelease", "GoldenSample",
    "ImageError", "Infer", "InputSpec", "Inspection", "Inspector", "LabelledBox", "LabelledImage", "LabelledRegion",
    "Letterbox", "LineTally", "ModelFile", "Nms", "OutputError", "PartView", "Picture", "PictureLimits",
    "PictureProblem", "Preprocess", "Reason", "Release", "Reported", "RuleOutcome", "Sampling", "Severity",
    "ShadowOrder", "ShadowTally", "ShadowVerdict", "Tiles", "Tolerance", "Verdict", "Wave", "Zone", "capture_key",
    "decide", "decode_image", "decode_yolov8", "image_format", "iou", "iou_matrix", "letterbox", "parse_raw_key",
    "raw_image_key", "read_picture", "sha256_of",
]  # fmt: skip
