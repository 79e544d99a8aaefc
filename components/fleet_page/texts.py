"""The texts of the fleet page, in English and Japanese. Words on the wire (states, steps, acts) have a text each."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, Literal

Language = Literal["en", "ja"]

_WORDS: Final[Mapping[str, tuple[str, str]]] = {
    "fleet": ("Fleet", "フリート"),
    "audit": ("Audit log", "監査ログ"),
    "sign_in": ("Sign in", "サインイン"),
    "sign_out": ("Sign out", "サインアウト"),
    "sign_in_help": ("Sign in with your account of MLflow.", "MLflow のアカウントでサインインしてください。"),
    "account": ("Account", "アカウント"),
    "password": ("Password", "パスワード"),
    "wrong": ("The account or the password is wrong.", "アカウントまたはパスワードが違います。"),
    "too_many": (
        "Too many failed sign-ins from this computer. Try again in a few minutes.",
        "このコンピューターからのサインインの失敗が多すぎます。数分後にもう一度お試しください。",
    ),
    "accounts_away": (
        "MLflow's server does not answer, so nobody can sign in now.",
        "MLflow サーバーが応答しないため、現在サインインできません。",
    ),
    "expired": (
        "This page was open for too long. Sign in and try again.",
        "ページの有効期限が切れました。サインインしてやり直してください。",
    ),
    "other_language": ("日本語", "English"),
    "read_at": ("Read at", "取得時刻"),
    "problem": (
        "The fleet cannot be read now. What you see is older.",
        "現在フリートを取得できません。表示は以前の内容です。",
    ),
    "not_read": ("The fleet was not read yet.", "フリートはまだ取得されていません。"),
    "nothing": ("Nothing was released yet.", "まだ何もリリースされていません。"),
    "group": ("Group", "グループ"),
    "use_case": ("Product", "製品"),
    "site": ("Site", "拠点"),
    "device": ("Device", "装置"),
    "devices": ("Devices", "装置"),
    "runs": ("Runs", "稼働中のリリース"),
    "should_run": ("Should run", "適用すべきリリース"),
    "wave": ("Wave", "段階"),
    "state": ("State", "状態"),
    "reason": ("Reason", "理由"),
    "next_step": ("Next step", "次の動作"),
    "waits_for": ("Waits for", "待っているもの"),
    "last_seen": ("Last seen", "最終報告"),
    "outbox": ("Outbox", "送信待ち"),
    "dropped": ("dropped", "破棄"),
    "sent_back": ("Verdicts in all", "判定の累計"),
    "late_only": ("Late ones only", "報告のない装置のみ"),
    "filter": ("Show", "表示"),
    "all": ("all", "すべて"),
    "sequence": ("sequence", "通番"),
    "rollout": ("Rollout", "展開"),
    "stage": ("Stage", "段階"),
    "share": ("Share", "割合"),
    "named": ("Named devices", "指定された装置"),
    "goes_on_at": ("goes on at", "続行"),
    "stops_at": ("stops above", "停止"),
    "at_least": ("at least", "最低"),
    "succeeded": ("succeeded", "成功"),
    "failed_devices": ("failed", "失敗"),
    "on_the_way": ("on the way", "適用中"),
    "held": ("held", "固定"),
    "late": ("late", "報告なし"),
    "unread": ("unreadable", "読み取り不可"),
    "frames": ("frames", "画像"),
    "by_hand": ("a person goes on by hand", "人が続行を指示"),
    "no_plan": (
        "This group was asked at once, without stages. The waves of its desired state:",
        "このグループは段階なしで一度に指示されました。指示の内容:",
    ),
    "what_follows": ("What follows", "次に起こること"),
    "comparison": ("Compared with the former release", "前のリリースとの比較"),
    "verdicts": ("Verdicts in the last 24 hours", "直近24時間の判定"),
    "verdicts_week": ("Verdicts in the last 7 days", "直近7日間の判定"),
    "most": ("highest bar", "最大値"),
    "no_counts": ("No counts were seen in this time.", "この期間の件数はありません。"),
    "passed": ("pass", "合格"),
    "failed": ("fail", "不合格"),
    "uncertain": ("uncertain", "要確認"),
    "not_inspected": ("not inspected", "未検査"),
    "history": ("History", "履歴"),
    "at": ("Time", "時刻"),
    "pending": ("Coming", "適用予定"),
    "cameras": ("Cameras", "カメラ"),
    "camera_ok": ("frames come", "正常"),
    "refused": ("Refused releases", "拒否したリリース"),
    "tallies": ("Latest frames by release", "リリース別の直近の画像"),
    "disagreed": ("differs from the former", "前のリリースと相違"),
    "release": ("Release", "リリース"),
    "p95": ("95 % within", "95 %の処理時間"),
    "notices": ("Notices", "お知らせ"),
    "software": ("Software of the agent", "エージェントのソフトウェア"),
    "software_short": ("Software", "ソフトウェア"),
    "software_filter": ("version, slot or state", "バージョン、スロット、状態"),
    "software_wanted": ("Software to run", "適用すべきソフトウェア"),
    "slot": ("slot", "スロット"),
    "slot_a": ("slot a", "スロット a"),
    "slot_b": ("slot b", "スロット b"),
    "slot_installed": ("installed by hand", "手動インストール"),
    "slot_image": ("container image", "コンテナイメージ"),
    "software_kept": ("kept", "確定"),
    "software_probation": ("on probation", "試用中"),
    "software_standby": ("standby: the one before runs", "待機(以前のものが稼働)"),
    "software_fixed": ("replaced by hand", "手動で更新"),
    "software_rollout": ("Rollout of the agent's software", "エージェントのソフトウェアの展開"),
    "software_acts": (
        "Pause, resume and stop it with kizu agent pause, resume and stop.",
        "kizu agent pause、resume、stop で操作できます。",
    ),
    "rollout_waiting": ("waits for the rollout of a release", "リリースの展開待ち"),
    "previous_page": ("previous", "前へ"),
    "next_page": ("next", "次へ"),
    "all_devices": ("all devices of this group", "このグループのすべての装置"),
    "no_device": ("No device of this name has reported.", "この名前の装置からの報告はありません。"),
    "no_group": ("Nothing is released to this group.", "このグループへのリリースはありません。"),
    "act_pause": ("Pause", "一時停止"),
    "act_resume": ("Resume", "再開"),
    "act_stop": ("Stop and go back", "停止して前に戻す"),
    "act_sign-in": ("Sign-in", "サインイン"),
    "ask_pause": (
        "Pause this rollout? Devices that have the release keep it; no further stage is opened.",
        "この展開を一時停止しますか。適用済みの装置はそのままで、次の段階には進みません。",
    ),
    "ask_resume": ("Resume this rollout?", "この展開を再開しますか。"),
    "ask_stop": (
        "Stop this rollout? All devices go back to the former release.",
        "この展開を停止しますか。すべての装置が前のリリースに戻ります。",
    ),
    "reason_help": ("Why? The audit log and the rollout will say it.", "理由(監査ログと展開に記録されます)"),
    "cancel": ("Cancel", "キャンセル"),
    "done": ("Done. The devices follow at their next look.", "完了しました。装置は次の確認時に従います。"),
    "not_done": ("It was not done", "実行できませんでした"),
    "may_not": (
        "Your account may not do this: it is not among the approvers of this product.",
        "このアカウントはこの製品の承認者ではないため、実行できません。",
    ),
    "unknown_act": ("There is no such act.", "そのような操作はありません。"),
    "reason_missing": ("Write a reason.", "理由を入力してください。"),
    "by": ("By", "実行者"),
    "client": ("From", "接続元"),
    "act": ("Act", "操作"),
    "outcome": ("Outcome", "結果"),
    "outcome_asked": ("asked", "要求"),
    "outcome_done": ("done", "完了"),
    "outcome_refused": ("not done", "未完了"),
    "said": ("Answer", "応答"),
    "no_acts": ("No entry yet.", "まだ記録がありません。"),
    "audit_away": ("The audit log cannot be read now.", "現在、監査ログを読み取れません。"),
    "stage_done": ("done", "完了"),
    "stage_open": ("open", "実施中"),
    "stage_waiting": ("waiting", "待機"),
    "stage_stopped": ("stopped", "停止"),
    "rollout_running": ("running", "進行中"),
    "rollout_paused": ("paused", "一時停止"),
    "rollout_stopped": ("stopped", "停止"),
    "rollout_done": ("done", "完了"),
    "rollout_pinned": ("pinned", "固定"),
    "state_running": ("running", "稼働中"),
    "state_no-release": ("no release", "リリースなし"),
    "state_fetching": ("fetching", "取得中"),
    "state_trying": ("trying", "試験中"),
    "state_pending": ("pending", "切替待ち"),
    "state_probation": ("on probation", "試用中"),
    "state_paused": ("probation interrupted", "試用中断"),
    "state_unknown": ("unknown", "不明"),
    "state_late": ("late", "報告なし"),
    "step_nothing": ("nothing: it runs what it should", "なし(正しいリリースで稼働中)"),
    "step_report": ("send a report that can be read", "読み取れる報告の送信"),
    "step_reconnect": ("report again", "報告の再開"),
    "step_be-included": ("be included in a wave", "段階への追加"),
    "step_unpin": ("be released from its pin", "固定の解除"),
    "step_retry": ("try the refused release again", "拒否したリリースの再試行"),
    "step_wait-for-agent": ("take the release", "リリースの取得"),
    "step_see-order": ("see the newest order", "最新の指示の確認"),
    "step_fetch": ("fetch the release", "リリースの取得"),
    "step_try": ("try the release beside the present one", "リリースの試験"),
    "step_load": ("load the release", "リリースの読み込み"),
    "step_probation": ("start the probation", "試用の開始"),
    "step_keep": ("keep the release", "リリースの確定"),
    "step_resume": ("start the probation again", "試用の再開"),
    "waits_nothing": ("–", "–"),
    "waits_report": ("the device, or a newer version of this program", "装置、またはこのプログラムの更新"),
    "waits_reconnect": (
        "its network or its power; it catches up by itself",
        "ネットワークまたは電源(自動で追いつきます)",
    ),
    "waits_be-included": ("the next stage of the rollout", "展開の次の段階"),
    "waits_unpin": ("its operator", "装置の担当者"),
    "waits_retry": ("the cause to pass, or a new order", "原因の解消、または新しい指示"),
    "waits_wait-for-agent": ("newer software of its agent", "エージェントの新しいソフトウェア"),
    "waits_see-order": ("its next look at the releases", "次のリリース確認"),
    "waits_fetch": ("its next look at the releases", "次のリリース確認"),
    "waits_try": ("the rest of the download", "ダウンロードの完了"),
    "waits_load": ("the end of its trial", "試験の終了"),
    "waits_probation": ("the release to be loaded", "読み込みの完了"),
    "waits_keep": ("the end of the probation: time and frames", "試用の終了(時間と画像数)"),
    "waits_resume": ("the agent to be started", "エージェントの起動"),
}  # fmt: skip

TEXTS: Final[Mapping[Language, Mapping[str, str]]] = {
    "en": {key: words[0] for key, words in _WORDS.items()},
    "ja": {key: words[1] for key, words in _WORDS.items()},
}


def choose_language(chosen: str, accepted: str) -> Language:
    """The language that the visitor chose; without a choice, the one that `Accept-Language` prefers.

    >>> choose_language("", "fr, ja;q=0.8, en;q=0.5")
    'ja'
    """
    if chosen in ("en", "ja"):
        return "ja" if chosen == "ja" else "en"
    best: tuple[float, Language] = (0.0, "en")
    for entry in accepted.split(",")[:20]:
        name, _, weight = entry.strip().partition(";q=")
        try:
            liking = float(weight) if weight else 1.0
        except ValueError:
            continue
        if name.lower().startswith("ja") and liking > best[0]:
            best = (liking, "ja")
        elif name.lower().startswith("en") and liking > best[0]:
            best = (liking, "en")
    return best[1]
