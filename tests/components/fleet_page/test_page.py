"""The fleet page over HTTP: what it shows, who may see it, who may act, and what is in the audit log."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from components.fleet_page.accounts import MAX_FAILURES
from components.fleet_page.app import make_app
from components.fleet_page.audit import AuditEntry
from components.fleet_page.texts import TEXTS
from inspection.documents import AgentOrder, Wave
from inspection.report_parts import AgentState
from inspection.rollout import RolloutState, SoftwarePlan
from tests.components.fleet_page.fleet_world import NEW, NOW, OLD, World, desired, password_of, plan, report
from tests.components.fleet_page.fleet_world import Visitor as Guest


@pytest.fixture
def world(tmp_path):
    made = World(tmp_path)
    made.watcher.read()
    return made


@pytest.fixture
def app(world):
    yield make_app(world.site)
    world.history.close()


@pytest.fixture
def visitor(app):
    guest = Guest(app)
    yield guest
    guest.close()


@pytest.fixture
def hanako(visitor):
    """Signed in as an approver of the product."""
    assert visitor.sign_in("hanako").status_code == 303
    return visitor


def entries(world):
    return [AuditEntry.from_json(data) for _, data in sorted(world.store.objects.items())]


# -- what is shown ----------------------------------------------------------------------------------------------------


def test_the_fleet_shows_each_device_with_its_next_step(hanako):
    """Site, release by version, state, outbox, verdicts, next step and reason of every device stand on the page."""
    page = hanako.get("/").text
    for said in ("factory", "line-1", "v8 (bbbbbbbbbbbb)", "v7 (aaaaaaaaaaaa)", "on probation", "late", "unknown",
                 "keep the release", "the end of the probation", "report again", "its report cannot be read",
                 ">90<", ">7<"):  # fmt: skip
        assert said in page, said


@pytest.mark.parametrize(
    ("query", "shown", "hidden"),
    [
        ("late=1", ["line-3"], ["line-1", "line-2"]),
        ("device=line-[12]", ["line-1", "line-2"], ["line-3"]),
        ("state=probation", ["line-2"], ["line-1", "line-3"]),
        ("group=cups", [], ["line-1"]),
        ("use_case=metal-tag&device=line-9", ["line-9"], ["line-1"]),
    ],
)
def test_the_fleet_is_filtered(hanako, query, shown, hidden):
    """The filters of the page are those of `kizu devices`."""
    page = hanako.get(f"/?{query}").text
    assert all(f"/devices/{name}" in page for name in shown)
    assert not any(f"/devices/{name}" in page for name in hidden)


SOFTWARE = AgentState(
    version="0.3.1", slot="b", state="probation", release_digest=NEW, wanted_digest=NEW,
    reason="probation: <no-frames>", refused={"c" * 64: "did-not-stay-up: three starts"},
)  # fmt: skip
OTHERS = replace(SOFTWARE, version="0.2.0", slot="installed", state="kept", release_digest=None, reason="", refused={})


@pytest.mark.parametrize(
    ("language", "said"),
    [("en", ("0.3.1 · slot b · <strong>on probation", "0.2.0 · installed by hand")),
     ("ja", ("0.3.1 · スロット b · <strong>試用中", "0.2.0 · 手動インストール"))],
)  # fmt: skip
def test_the_software_of_each_agent_stands_on_the_page_with_its_slot_state_and_reason(world, app, language, said):
    """In both languages; the filter takes a version, a slot or a state, and the device says what it refused."""
    world.read = replace(world.read, reports=(report("line-1", agent=SOFTWARE), report("line-2", agent=OTHERS)))
    world.watcher.read()
    guest = Guest(app, language)
    guest.sign_in("hanako")
    page = guest.get("/").text
    assert all(text in page for text in said), page
    assert "probation: &lt;no-frames&gt;" in page
    for wanted, shown, hidden in (("0.3.*", 1, 2), ("installed", 2, 1), ("probation", 1, 2)):
        filtered = guest.get(f"/?software={wanted}").text
        assert f"/devices/line-{shown}" in filtered
        assert f"/devices/line-{hidden}" not in filtered
    own = guest.get("/devices/line-1").text
    assert "did-not-stay-up: three starts" in own
    guest.close()


def test_the_rollout_of_the_agents_software_stands_on_the_page_of_the_group(world, hanako):
    """How it stands, how many devices have it, what follows, and by which command a person takes it in hand."""
    rollout = SoftwarePlan(
        version="0.3.1", release_digest=NEW, former_digest=OLD, stages=plan().stages, open_stage=0,
        opened_at=NOW, began_at=NOW, state=RolloutState.PAUSED, by="reconciler", reason="inconclusive: nobody can",
    )  # fmt: skip
    order = AgentOrder(waves=(Wave(release_digest=NEW, devices=("line-1",)),), since=5, rollout=rollout)
    world.wanted["metal-tag", "line"] = replace(desired(plan()), agent=order)
    world.watcher.read()
    page = hanako.get("/groups/metal-tag/line").text
    for said in ("Rollout of the agent&#39;s software: 0.3.1", "inconclusive: nobody can", "run: kizu agent resume",
                 "kizu agent pause, resume and stop"):  # fmt: skip
        assert said in page, said


def test_a_large_fleet_stands_on_pages_with_how_many_are_in_each_state(world, hanako):
    """The page of the fleet shows some devices of each group, and that of the group all of them, page by page."""
    names = [f"press-{number:03}" for number in range(450)]
    world.read = replace(world.read, reports=tuple(report(name) for name in names), unread=())
    world.watcher.read()
    shown = lambda page: sum(f"/devices/{name}" in page for name in names)  # noqa: E731
    first = hanako.get("/").text
    assert (shown(first), "running 450" in first, "1–200 / 450" in first) == (200, True, True)
    assert "/groups/metal-tag/line?page=1" in first
    pages = [hanako.get(f"/groups/metal-tag/line?page={number}").text for number in (1, 2, 3)]
    assert [shown(page) for page in pages] == [200, 200, 50]
    assert "?page=3" in pages[1]
    assert "401–450 / 450" in hanako.get("/groups/metal-tag/line?page=99999").text
    some = hanako.get("/groups/metal-tag/line?page=2&device=press-0*").text
    assert (shown(some), "/ 450" in some) == (100, False)


def test_a_rollout_is_a_picture_with_its_thresholds(hanako):
    """The stages, the open one with what became of the release there, its thresholds, and what follows, in words."""
    page = hanako.get("/groups/metal-tag/line").text
    for said in ('class="stage-done"', 'class="stage-open"', 'class="stage-waiting"', "mark-success", "mark-failure",
                 "goes on at 75 %", "stops above 10 %", "500 frames", "a person goes on by hand", "What follows",
                 'id="rollout-state">running', 'class="succeeded"'):  # fmt: skip
        assert said in page, said


def test_a_group_without_a_plan_shows_its_waves(world, hanako):
    """A desired state without stages has no button; its waves are shown."""
    world.wanted["metal-tag", "line"] = desired()
    world.watcher.read()
    page = hanako.get("/groups/metal-tag/line").text
    assert "without stages" in page
    assert "25 %" in page
    assert "/pause" not in page


def test_a_device_has_a_history_and_says_how_its_cameras_and_releases_are(world, hanako):
    """The page of a device has what it reported over time, its cameras, refusals and tallies; text is escaped."""
    world.read = replace(world.read, reports=(report("line-4", NEW, minutes_ago=0.5), *world.read.reports))
    world.watcher.read()
    page = hanako.get("/devices/line-4").text
    assert page.count("v7 (aaaaaaaaaaaa)") >= 2
    assert "v8 (bbbbbbbbbbbb)" in page
    assert "&lt;b&gt;900 ms&lt;/b&gt;" in page
    assert "<b>900" not in page
    line_1 = hanako.get("/devices/line-1").text
    assert "read-failed: no frame" in line_1
    assert "41 ms" in line_1
    assert hanako.get("/devices/nobody").status_code == 404


def test_a_reading_that_fails_leaves_the_former_one_and_says_so(world, hanako):
    """While the signer is away, the page shows what it read before, with the problem, and is not well after a while."""
    world.away = True
    world.watcher.read()
    page = hanako.get("/").text
    assert "the signer does not answer" in page
    assert "line-1" in page
    assert hanako.get("/healthz").status_code == 200
    world.now = world.now.replace(hour=13)
    assert hanako.get("/healthz").status_code == 503
    assert hanako.get("/livez").status_code == 200


def test_the_page_speaks_japanese_and_remembers_the_choice(app):
    """Accept-Language decides until the visitor switches; the switch is remembered."""
    guest = Guest(app, language="ja,en;q=0.5")
    assert "サインイン" in guest.get("/sign-in").text
    guest.sign_in("hanako")
    assert "試用中" in guest.get("/").text
    assert "on probation" in guest.get("/?lang=en").text
    assert "on probation" in guest.get("/").text
    guest.close()


def test_both_languages_have_each_text_and_no_text_is_empty():
    """A text that is missing in one language would be an error on the page."""
    assert TEXTS["en"].keys() == TEXTS["ja"].keys()
    assert all(text for texts in TEXTS.values() for text in texts.values())


# -- who may see ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "path", ["/", "/groups/metal-tag/line", "/groups/metal-tag/line/pause", "/devices/line-1", "/audit"]
)
def test_nobody_reads_a_page_without_signing_in(visitor, path):
    """Each page leads to the sign-in, which leads back to it."""
    answer = visitor.get(path)
    assert answer.status_code == 303
    assert answer.headers["location"] == f"/sign-in?to={path}"
    assert "line-1" not in answer.text
    assert visitor.sign_in("hanako", to=path).headers["location"] == path


@pytest.mark.parametrize("to", ["//evil.example", "https://evil.example", "/\\evil.example", "evil", "/a%0d%0ax: y"])
def test_a_sign_in_leads_to_this_site_only(visitor, to):
    """An address of another site in the link to the sign-in is not followed."""
    assert visitor.sign_in("hanako", to=to).headers["location"] == "/"


def test_the_cookie_is_kept_from_scripts_and_other_sites(visitor):
    """The session's cookie is HttpOnly and SameSite=Strict, and holds neither name nor rights."""
    cookie = visitor.sign_in("hanako").headers["set-cookie"]
    assert "HttpOnly" in cookie
    assert "samesite=strict" in cookie.lower()
    assert "hanako" not in cookie


@pytest.mark.parametrize("change", [lambda c: c[:-1] + ("0" if c[-1] != "0" else "1"), lambda c: "x" + c, lambda c: ""])
def test_a_cookie_that_this_page_did_not_sign_is_nobodys(hanako, change):
    """A changed cookie is no session."""
    cookie = hanako.cookies["kizu_fleet"]
    hanako.cookies.clear()
    hanako.cookies.set("kizu_fleet", change(cookie))
    assert hanako.get("/").status_code == 303


def test_after_signing_out_the_cookie_is_worth_nothing(hanako):
    """A copy of the cookie opens nothing after the person signed out."""
    cookie = hanako.cookies["kizu_fleet"]
    assert hanako.post("/sign-out", data={"csrf": "0"}).status_code == 403
    assert hanako.post("/sign-out", data={"csrf": hanako.word()}).status_code == 303
    hanako.cookies.clear()
    hanako.cookies.set("kizu_fleet", cookie)
    assert hanako.get("/").status_code == 303


def test_a_client_that_guesses_passwords_has_to_wait(world, visitor):
    """After five wrong passwords even the right one is not asked about, and the answer says when to come back."""
    for _ in range(MAX_FAILURES):
        assert visitor.sign_in("hanako", "wrong").status_code == 403
    answer = visitor.sign_in("hanako")
    assert answer.status_code == 429
    assert 0 < int(answer.headers["retry-after"]) <= 301
    assert len(world.checked) == MAX_FAILURES
    metrics = visitor.get("/metrics").text
    assert f"kizu_fleet_page_failed_sign_ins_total {MAX_FAILURES}" in metrics


def test_every_answer_forbids_scripts_and_frames(hanako):
    """The policy lets the page load its own style sheet and nothing else, and no page has a script or inline style."""
    for path in ("/", "/groups/metal-tag/line", "/groups/metal-tag/line/pause", "/devices/line-1", "/audit", "/none"):
        answer = hanako.get(path)
        policy = answer.headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "script-src" not in policy
        assert "frame-ancestors 'none'" in policy
        assert "<script" not in answer.text
        assert "style=" not in answer.text


def test_a_name_that_somebody_pointed_here_is_refused(visitor):
    """A page of another site that rebinds its name to this server gets nothing; an address, or a probe, is answered."""
    assert visitor.get("/sign-in", headers={"Host": "evil.example"}).status_code == 421
    assert visitor.get("/sign-in", headers={"Host": "localhost:8088"}).status_code == 200
    assert visitor.get("/metrics", headers={"Host": "fleet-page.kizu.svc"}).status_code == 200


# -- who may act ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["hanako", "admin"])
def test_an_approver_of_the_product_pauses_its_rollout_and_the_log_says_so(world, visitor, name):
    """The signer is asked with name and reason; the audit log has the request before the act and its end after it."""
    visitor.sign_in(name)
    assert 'href="/groups/metal-tag/line/pause"' in visitor.get("/groups/metal-tag/line").text
    answer = visitor.act("pause")
    assert answer.status_code == 303
    assert world.asked == [("metal-tag", "line", 5, "pause", name, "too many rejects")]
    assert [(e.act, str(e.outcome), e.by) for e in entries(world)] == [
        ("sign-in", "done", name), ("pause", "asked", name), ("pause", "done", name),
    ]  # fmt: skip
    assert entries(world)[-1].said == "sequence 6"
    page = visitor.get(answer.headers["location"]).text
    assert 'id="rollout-state">paused' in page
    assert "too many rejects" in page
    assert "/resume" in page
    assert "too many rejects" in visitor.get("/audit").text


def test_who_may_not_approve_the_product_changes_nothing(world, visitor):
    """A reader sees no button, and a form that is sent all the same is refused before the signer is asked."""
    visitor.sign_in("reader")
    assert "/pause" not in visitor.get("/groups/metal-tag/line").text
    assert "not among the approvers" in visitor.get("/groups/metal-tag/line/pause").text
    assert visitor.act("pause").status_code == 403
    assert world.asked == []
    assert [entry.act for entry in entries(world)] == ["sign-in"]


def test_a_form_of_another_page_changes_nothing(world, hanako):
    """Without the session's word, or from another origin, nothing is done."""
    assert hanako.act("pause", csrf="0" * 64).status_code == 403
    assert hanako.act("pause", csrf="").status_code == 403
    assert hanako.act("pause", Origin="https://evil.example").status_code == 403
    assert hanako.act("pause", **{"Sec-Fetch-Site": "cross-site"}).status_code == 403
    assert world.asked == []


def test_what_cannot_be_logged_is_not_done(world, hanako):
    """While the audit log cannot be written, the signer is not asked, and the page says so."""
    world.store.away = True
    answer = hanako.act("pause")
    assert answer.status_code == 409
    assert "the audit log cannot be written" in answer.text
    assert world.asked == []
    assert "cannot be read now" in hanako.get("/audit").text


def test_a_refusal_of_the_signer_is_shown_and_logged(world, hanako):
    """The person reads the signer's own words, and the log ends with them."""
    world.refuses = "the signer refused (409): the desired state has changed since"
    answer = hanako.act("pause")
    assert answer.status_code == 409
    assert "has changed since" in answer.text
    assert [str(entry.outcome) for entry in entries(world)][-2:] == ["asked", "refused"]
    assert "has changed since" in entries(world)[-1].said


@pytest.mark.parametrize(
    ("more", "status"),
    [
        ({"act": "pause", "reason": "  "}, 400), ({"act": "advance"}, 400), ({"act": "pause", "sequence": "x"}, 404),
        ({"act": "pause", "sequence": "9" * 13}, 404), ({"act": "pause", "group": "none"}, 404),
        ({"act": "pause", "reason": "x" * 9000}, 403),
    ],
)  # fmt: skip
def test_a_request_that_is_not_complete_changes_nothing(world, hanako, more, status):
    """An act without a reason, an unknown act or group, a damaged number, and a form that is too long are refused."""
    assert hanako.act(**more).status_code == status
    assert world.asked == []


@pytest.mark.parametrize(
    ("state", "acts"),
    [(RolloutState.RUNNING, "pause stop"), (RolloutState.PAUSED, "resume stop"), (RolloutState.STOPPED, ""),
     (RolloutState.DONE, ""), (RolloutState.PINNED, "")],
)  # fmt: skip
def test_the_buttons_follow_the_state_of_the_rollout(world, hanako, state, acts):
    """Only what can be done now is offered."""
    world.wanted["metal-tag", "line"] = desired(plan(state))
    world.watcher.read()
    page = hanako.get("/groups/metal-tag/line").text
    assert [act for act in ("pause", "resume", "stop") if f"/line/{act}" in page] == acts.split()


def test_no_password_is_in_a_log_or_an_entry(world, visitor, caplog):
    """What a person typed is in no object of the audit log and in no line of the log."""
    visitor.sign_in("hanako", "wrong-secret")
    visitor.sign_in("hanako")
    text = caplog.text + json.dumps([data.decode() for data in world.store.objects.values()])
    assert "wrong-secret" not in text
    assert password_of("hanako") not in text
