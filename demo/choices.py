"""What a demo runs, by its options: the use case with the demo's changes, and the photographs."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from components.use_case import UseCase, load_use_case
from demo import good_start
from demo.data import DemoData, from_folder, generated
from demo.round_plans import AFTER_STOP, CANARY_PARTS, FIRST_PARTS, OTHER_PARTS, OTHERS, ROUNDS, base_of_rounds
from demo.state import DemoError, DemoOptions
from deploy.access.layout import REPOSITORY

PROBATION_S: Final = 8.0
PARTS: Final = (80, 16)
"""How many parts are in the first set, and how many pass the camera."""
QUICK_PARTS: Final = (12, 4)
_USE_CASES: Final = REPOSITORY / "use_cases"


def demo_use_case(options: DemoOptions) -> tuple[UseCase, list[str]]:
    """Return the use case with the demo's changes, and a text for each change.

    Raises:
        DemoError: there is no such use case.
        UseCaseError: its file has mistakes.
    """
    use_case = load_use_case(_use_case_file(options))
    rollout = use_case.rollout.model_copy(update={"probation_s": PROBATION_S, "probation_min_frames": 0})
    said = [
        f"probation is {PROBATION_S:.0f} s instead of {use_case.rollout.probation_s:.0f} s, and asks for no frames: "
        "the demo's frames come after it"
    ]
    use_case = use_case.model_copy(update={"rollout": rollout})
    if options.quick:
        opened = {
            "min_map50": 0.0,
            "max_escape_rate": 1.0,
            "max_overkill_rate": 1.0,
            "max_review_rate": 1.0,
            "max_map50_drop": 1.0,
            "max_class_map50_drop": 1.0,
            "min_parts": 1,
        }
        use_case = use_case.model_copy(
            update={
                "name": f"{use_case.name}-quick",  # its gates are open, so it must not have the real model's name
                "training": use_case.training.model_copy(update={"epochs": 3}),
                "gates": use_case.gates.model_copy(update=opened),
                "split": use_case.split.model_copy(update={"min_images": 10, "min_test_parts": 2}),
                "sampling": use_case.sampling.model_copy(update={"nothing_found_rate": 0.5}),
                "rollout": rollout.model_copy(update={"probation_s": 2.0}),
            }
        )
        said = ["--quick: 3 epochs, gates open, probation 2 s; the model is not usable"]
    if options.start:
        use_case = good_start.policy(use_case)
        said.append("the device sends back every frame, so that the demo can say what it decided about each")
    use_case = UseCase.model_validate({**use_case.model_dump(), "approvers": use_case.approvers})
    if options.rounds == ROUNDS:
        use_case = base_of_rounds(use_case)
        said.append(
            "a canary of one device, and the line is compared after fewer frames; labeling is due every two minutes"
        )
    return use_case, said


def _use_case_file(options: DemoOptions) -> Path:
    if options.use_case is None:
        usual = good_start.USE_CASE if options.start else "metal-tag"
        return _USE_CASES / ("metal-tag-public.yaml" if options.data else f"{usual}.yaml")
    shipped, own = _USE_CASES / f"{options.use_case}.yaml", Path(options.use_case)
    for file in (shipped, own):
        if file.is_file():
            return file
    names = ", ".join(sorted(path.stem for path in _USE_CASES.glob("*.yaml")))
    raise DemoError(f"expected a use case of {_USE_CASES} ({names}) or a file, but there is no {options.use_case}")


def _parts(options: DemoOptions) -> tuple[int, int]:
    """How many parts are in the first set, and how many pass cameras."""
    if options.rounds == ROUNDS:
        return FIRST_PARTS, AFTER_STOP * CANARY_PARTS + len(OTHERS) * OTHER_PARTS
    return QUICK_PARTS if options.quick else PARTS


def photographs_of(options: DemoOptions, use_case: UseCase) -> DemoData:
    """The photographs of a demo."""
    if options.start:
        return good_start.generated_good()[0]
    return from_folder(options.data, use_case) if options.data else generated(*_parts(options))
