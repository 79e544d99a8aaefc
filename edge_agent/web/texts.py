"""The texts of the operator's page, in English and Japanese."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, Literal

Language = Literal["en", "ja"]

TEXTS: Final[Mapping[Language, Mapping[str, str]]] = {
    "en": {
        "pass": "pass",
        "fail": "fail",
        "uncertain": "uncertain",
        "not-inspected": "not inspected",
        "not_inspected": "Not inspected, in all",
        "doubted": "Doubtful pictures",
        "reason_dark": "too dark",
        "reason_bright": "too bright",
        "reason_flat": "nothing to see",
        "reason_blurred": "blurred",
        "reason_frozen": "the camera repeats one picture",
        "reason_deadline": "no verdict in time",
        "reason_camera-lost": "the camera is gone",
        "reason_read-failed": "the camera failed",
        "reason_queue-full": "too many parts at once",
        "reason_memory-full": "too many pictures for the memory",
        "reason_no-release": "no release yet",
        "reason_inference-error": "the model failed",
        "reason_unreadable": "unreadable picture",
        "reason_unexpected": "an error; see the log",
        "reason_stopping": "the agent was stopped",
        "waiting": "Waiting for the first frame.",
        "no_release": "No release yet: frames wait at the camera.",
        "part": "part",
        "today": "Today",
        "inspected": "Inspected, in all",
        "set_aside": "Set aside",
        "skipped": "Skipped as stale",
        "release": "Release",
        "version": "version",
        "none": "none",
        "coming": "Coming",
        "candidate": "Candidate (decides nothing)",
        "candidate_judged": "judged",
        "candidate_differs": "other verdict",
        "candidate_skipped": "skipped",
        "pinned": "pinned",
        "updates": "Updates",
        "sequence": "sequence",
        "s3": "S3",
        "mqtt": "Line (MQTT)",
        "outbox": "Outbox",
        "empty": "empty",
        "dropped": "dropped",
        "agent": "Agent",
        "up": "up",
        "before": "Before that",
        "wrong": "Wrong verdict",
        "objected": "sent back as wrong",
        "roll_back": "Roll back",
        "roll_back_question": "Go back to the previous release? This one is not taken again until a new order comes.",
        "roll_back_yes": "Yes, roll back",
        "cancel": "Cancel",
        "sign_in": "Sign in",
        "sign_out": "Sign out",
        "sign_in_help": "Enter the operator's token. You find it on this device, in the file operator.token.",
        "token": "Token",
        "wrong_token": "The token is wrong. Wait a second and try again.",
        "expired": "This page was open for too long, or you are not signed in. Sign in and try again.",
        "said_objection": "The frame goes back as an objection. Thank you.",
        "said_rolled_back": "Rolled back.",
        "said_left_already": "That release was left already. Nothing was changed; below is what runs now.",
        "gone": "This frame is no longer kept.",
        "offline": "The agent does not answer; this is what it said last.",
    },
    "ja": {
        "pass": "合格",
        "fail": "不合格",
        "uncertain": "要確認",
        "not-inspected": "未検査",
        "not_inspected": "未検査(累計)",
        "doubted": "疑わしい画像",
        "reason_dark": "暗すぎます",
        "reason_bright": "明るすぎます",
        "reason_flat": "何も写っていません",
        "reason_blurred": "ぼやけています",
        "reason_frozen": "カメラが同じ画像を繰り返しています",
        "reason_deadline": "判定が時間内に出ませんでした",
        "reason_camera-lost": "カメラから画像が来ません",
        "reason_read-failed": "カメラの読み取りに失敗しました",
        "reason_queue-full": "要求が多すぎます",
        "reason_memory-full": "画像用のメモリが不足しています",
        "reason_no-release": "リリースがまだありません",
        "reason_inference-error": "モデルの実行に失敗しました",
        "reason_unreadable": "画像を読み取れません",
        "reason_unexpected": "想定外のエラーです(ログを参照)",
        "reason_stopping": "エージェントが停止しました",
        "waiting": "最初の画像を待っています。",
        "no_release": "リリースがまだありません。画像はカメラ側で待機しています。",
        "part": "部品",
        "today": "本日",
        "inspected": "検査数(累計)",
        "set_aside": "除外",
        "skipped": "古い画像の破棄",
        "release": "リリース",
        "version": "バージョン",
        "none": "なし",
        "coming": "適用予定",
        "candidate": "候補(判定には使いません)",
        "candidate_judged": "検査",
        "candidate_differs": "判定の相違",
        "candidate_skipped": "省略",
        "pinned": "固定中",
        "updates": "更新",
        "sequence": "通番",
        "s3": "S3",
        "mqtt": "ライン (MQTT)",
        "outbox": "送信待ち",
        "empty": "なし",
        "dropped": "破棄",
        "agent": "エージェント",
        "up": "稼働",
        "before": "直近の画像",
        "wrong": "判定が誤り",
        "objected": "誤判定として送信",
        "roll_back": "前のリリースに戻す",
        "roll_back_question": "前のリリースに戻しますか。現在のリリースは、新しい指示が来るまで再適用されません。",
        "roll_back_yes": "戻す",
        "cancel": "キャンセル",
        "sign_in": "サインイン",
        "sign_out": "サインアウト",
        "sign_in_help": "この装置の operator.token というファイルにあるトークンを入力してください。",
        "token": "トークン",
        "wrong_token": "トークンが違います。1秒待ってからもう一度入力してください。",
        "expired": "ページの有効期限が切れたか、サインインしていません。サインインしてやり直してください。",
        "said_objection": "この画像を異議として送信します。ありがとうございます。",
        "said_rolled_back": "前のリリースに戻しました。",
        "said_left_already": "そのリリースはすでに外されています。変更はしていません。現在のリリースは下に出ています。",
        "gone": "この画像はもう保存されていません。",
        "offline": "エージェントが応答しません。最後に受信した内容を表示しています。",
    },
}


def choose_language(configured: str, accepted: str) -> Language:
    """The configured language; for `auto`, the one that `Accept-Language` prefers.

    >>> choose_language("auto", "fr, ja;q=0.8, en;q=0.5")
    'ja'
    """
    if configured in ("en", "ja"):
        return "ja" if configured == "ja" else "en"
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
