"""The fixed sentences that people read in Label Studio, in the language of their use case."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from inspection.geometry import LabelledBox

# The values in an annotation, the same in every language. `Texts` has the words that a person sees.
APPROVE: Final = "Approve"
REJECT: Final = "Reject"
UNUSABLE_REASONS: Final = ("blurred or dark", "another product", "cannot tell")
"""Why a person sets an image aside."""


@dataclass(frozen=True, slots=True)
class Texts:
    """One language. `{…}` is filled in by the methods; nothing here is markup."""

    approve: str
    reject: str
    choose: str
    what_is_wrong: str
    say_what_is_wrong: str
    nothing_to_mark: str
    how_to_verify: str
    returned: str
    boxes: str
    boxes_of_class: str
    no_boxes: str
    objection: str
    disagreement: str
    near_threshold: str
    uncertain: str
    drift: str
    chance: str
    newest: str
    waiting: str
    enough_of_group: str
    enough_of_hour: str
    cannot_be_labelled: str
    unusable: Mapping[str, str]
    reopened: str
    imported: str

    def count(self, boxes: Sequence[LabelledBox]) -> str:
        """How many boxes of which class."""
        counts: dict[str, int] = {}
        for box in boxes:
            counts[box.class_name] = counts.get(box.class_name, 0) + 1
        each = [self.boxes_of_class.format(count=count, name=name) for name, count in sorted(counts.items())]
        return self.boxes.format(boxes=", ".join(each) or self.no_boxes)

    def returned_because(self, reason: str | None) -> str:
        """What the labeler of a rejected image reads."""
        return self.returned.format(reason=reason or "-")


_EN: Final = Texts(
    approve=APPROVE,
    reject=REJECT,
    choose="Choose Approve or Reject.",
    what_is_wrong="What is wrong with the boxes?",
    say_what_is_wrong="Say what is wrong.",
    nothing_to_mark="Nothing to mark? Submit without a box.",
    how_to_verify=(
        "Look at the boxes that another person drew. Approve them, or Reject them and say why. "
        "Changes to the boxes here are not used. Nobody verifies what they drew themselves."
    ),
    returned="Returned by the verifier: {reason}",
    boxes="Boxes: {boxes}",
    boxes_of_class="{count} {name}",
    no_boxes="none",
    objection="an operator objected",
    disagreement="two releases disagreed",
    near_threshold="{name} scored {score:.2f}, near the threshold of {threshold:.2f}",
    uncertain="the device was uncertain",
    drift="its line drifts ({why})",
    chance="chosen by chance",
    newest="newest first",
    waiting="drawn already, waits for its verification",
    enough_of_group="{why}; later, because others of its part come first",
    enough_of_hour="{why}; later, because others of its hour come first",
    cannot_be_labelled="Cannot be labelled? Choose why, then press Skip: nobody gets this image again.",
    unusable={reason: reason for reason in UNUSABLE_REASONS},
    reopened="Look again: {reason}",
    imported="Imported boxes, drawn elsewhere.",
)

_JA: Final = Texts(
    approve="承認",
    reject="差し戻し",
    choose="「承認」か「差し戻し」を選んでください。",
    what_is_wrong="枠のどこに問題がありますか。",
    say_what_is_wrong="理由を書いてください。",
    nothing_to_mark="印を付けるものがなければ、枠を付けずに送信してください。",
    how_to_verify=(
        "別の人が描いた枠を確認してください。正しければ「承認」を、正しくなければ「差し戻し」を選んで理由を書いてください。"
        "ここで枠を変えても使われません。自分が描いた枠を自分で確認することはできません。"
    ),
    returned="確認者からの差し戻し: {reason}",
    boxes="枠: {boxes}",
    boxes_of_class="{name} {count} 個",
    no_boxes="なし",
    objection="作業者から異議あり",
    disagreement="二つのリリースの判定が不一致",
    near_threshold="{name} のスコア {score:.2f} がしきい値 {threshold:.2f} に近い",
    uncertain="装置の判定が不確か",
    drift="ラインの様子が変化（{why}）",
    chance="無作為に選択",
    newest="新しい順",
    waiting="枠は描かれており、確認待ち",
    enough_of_group="{why}（同じ部品の画像が先にあるため後回し）",
    enough_of_hour="{why}（同じ時間帯の画像が先にあるため後回し）",
    cannot_be_labelled="判断できない画像は、理由を選んで「Skip」を押してください。この画像は以後表示されません。",
    unusable=dict(zip(UNUSABLE_REASONS, ("ぼけ・暗い", "別の製品", "判断できない"), strict=True)),
    reopened="再確認: {reason}",
    imported="取り込まれた枠（他のツールで描かれたもの）。",
)

TEXTS: Final[Mapping[str, Texts]] = {"en": _EN, "ja": _JA}

# A labeler's reason as an annotation may carry it -> what it means.
REASONS: Final[Mapping[str, str]] = {
    shown: reason for texts in TEXTS.values() for reason, shown in texts.unusable.items()
} | {reason: reason for reason in UNUSABLE_REASONS}

# A verifier's choice as an annotation may carry it -> what it means.
DECISIONS: Final[Mapping[str, str]] = {
    **{texts.approve: APPROVE for texts in TEXTS.values()},
    **{texts.reject: REJECT for texts in TEXTS.values()},
}
