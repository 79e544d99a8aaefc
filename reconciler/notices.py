"""The words of notices, in the language of the use case, with a link to the page that they are about. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final
from urllib.parse import quote

from reconciler.view import Notice, Topic

_TEXTS: Final[Mapping[str, Mapping[Topic, tuple[str, str]]]] = {
    "en": {
        Topic.GATE_FAILED: (
            "{use_case}: a model did not pass its gate",
            "The last training of {use_case} gave a model that did not pass its gate. It is not registered. "
            "The run shows which check failed.",
        ),
        Topic.WAITS_FOR_APPROVAL: (
            "{use_case}: version {version} waits for approval",
            "Version {version} of {use_case} passed its gate and waits for a person. "
            "Look at its report, then set the tag approval to approved or rejected.",
        ),
        Topic.GAVE_UP: (
            "{use_case}: {pipeline} failed and is not tried again",
            "The pipeline {pipeline} of {use_case} failed for the last time, and nothing starts it again by itself: "
            "{why}",
        ),
        Topic.ROLLOUT_STOPPED: (
            "{use_case}: the rollout of version {version} was stopped",
            "The rollout of version {version} of {use_case} in the group {group} was stopped. Its devices go back to "
            "the former release, and the version is not rolled out again by itself. Reason: {why}",
        ),
        Topic.ROLLOUT_PAUSED: (
            "{use_case}: the rollout of version {version} waits for a person",
            "The rollout of version {version} of {use_case} in the group {group} is paused: {why}. "
            "Look at it with kizu deploy status, then run kizu deploy resume or kizu deploy revert.",
        ),
        Topic.SOFTWARE_STOPPED: (
            "{use_case}: the rollout of the agent's software {agent} was stopped",
            "The rollout of the agent's software {agent} in the group {group} of {use_case} was stopped. Its devices "
            "go back to the software that was ordered for all before. Reason: {why}",
        ),
        Topic.SOFTWARE_PAUSED: (
            "{use_case}: the rollout of the agent's software {agent} waits for a person",
            "The rollout of the agent's software {agent} in the group {group} of {use_case} is paused: {why}. "
            "Look at it with kizu agent status, then run kizu agent resume or kizu agent stop.",
        ),
        Topic.DRIFT: (
            "{use_case}: the line of {device} drifts",
            "Two windows in a row, the line of {device} has not shown what its release of {use_case} learned from "
            "(medians): {what}. Look at lamp, exposure, lens and distance. If they are as they should be, have images "
            "of this device labelled. kizu drift shows more.",
        ),
    },
    "ja": {
        Topic.GATE_FAILED: (
            "{use_case}: モデルが合格基準を満たしませんでした",
            "{use_case} の最新の学習で得られたモデルは合格基準を満たしませんでした。モデルは登録されていません。"
            "どの項目が不合格かは、学習の実行ページで確認できます。",
        ),
        Topic.WAITS_FOR_APPROVAL: (
            "{use_case}: バージョン {version} が承認待ちです",
            "{use_case} のバージョン {version} は合格基準を満たし、承認を待っています。"
            "レポートを確認し、タグ approval を approved または rejected に設定してください。",
        ),
        Topic.GAVE_UP: (
            "{use_case}: {pipeline} が失敗し、再試行されません",
            "{use_case} のパイプライン {pipeline} が最後の試行でも失敗しました。自動では再開されません: {why}",
        ),
        Topic.ROLLOUT_STOPPED: (
            "{use_case}: バージョン {version} の展開を停止しました",
            "{use_case} のバージョン {version} のグループ {group} への展開を停止しました。"
            "デバイスは以前のリリースに戻り、このバージョンが自動で再び展開されることはありません。理由: {why}",
        ),
        Topic.ROLLOUT_PAUSED: (
            "{use_case}: バージョン {version} の展開が判断待ちです",
            "{use_case} のバージョン {version} のグループ {group} への展開は一時停止中です: {why}。"
            "kizu deploy status で確認し、kizu deploy resume または kizu deploy revert を実行してください。",
        ),
        Topic.SOFTWARE_STOPPED: (
            "{use_case}: エージェントのソフトウェア {agent} の展開を停止しました",
            "{use_case} のグループ {group} へのエージェントのソフトウェア {agent} の展開を停止しました。"
            "デバイスは、以前に全体へ指示されたソフトウェアに戻ります。理由: {why}",
        ),
        Topic.SOFTWARE_PAUSED: (
            "{use_case}: エージェントのソフトウェア {agent} の展開が判断待ちです",
            "{use_case} のグループ {group} へのエージェントのソフトウェア {agent} の展開は一時停止中です: {why}。"
            "kizu agent status で確認し、kizu agent resume または kizu agent stop を実行してください。",
        ),
        Topic.DRIFT: (
            "{use_case}: {device} のラインの様子が変わっています",
            "{device} のラインの画像が、{use_case} のリリースが学習した内容と 2 回続けて異なりました(中央値): {what}。"
            "照明、露出、レンズ、距離を確認してください。異常がなければ、このデバイスの画像にラベルを付けてください。"
            "詳細は kizu drift で確認できます。",
        ),
    },
}


@dataclass(frozen=True, slots=True)
class Message:
    """What a person reads. link: the page that it is about; '' where there is none."""

    use_case: str
    topic: str
    subject: str
    language: str
    title: str
    text: str
    link: str = ""

    @property
    def body(self) -> str:
        """The text with the link below it."""
        return f"{self.text}\n\n{self.link}\n" if self.link else f"{self.text}\n"


def message_of(notice: Notice, mlflow_url: str) -> Message:
    """The message of a notice. mlflow_url: MLflow as a person's browser reaches it; '' leaves the link out."""
    title, text = _TEXTS[notice.language if notice.language in _TEXTS else "en"][notice.topic]
    values = {"use_case": notice.use_case, **notice.values}
    return Message(
        use_case=notice.use_case,
        topic=str(notice.topic),
        subject=notice.subject,
        language=notice.language,
        title=" ".join(title.format_map(values).split()),
        text=text.format_map(values),
        link=_link(notice, mlflow_url.rstrip("/")) if mlflow_url else "",
    )


def _link(notice: Notice, mlflow_url: str) -> str:
    values = notice.values
    if version := values.get("version"):
        return f"{mlflow_url}/#/models/{quote(notice.use_case, safe='')}/versions/{quote(version, safe='')}"
    if (run := values.get("run")) and (experiment := values.get("experiment")):
        return f"{mlflow_url}/#/experiments/{quote(experiment, safe='')}/runs/{quote(run, safe='')}"
    return f"{mlflow_url}/#/models/{quote(notice.use_case, safe='')}"
