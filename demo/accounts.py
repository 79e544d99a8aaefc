"""Makes a Label Studio account for each of the two people of the labeling team, through an invitation."""

from __future__ import annotations

import re
from typing import Any

import httpx

from deploy.access.identities import PEOPLE, Account, changing
from deploy.access.layout import Layout


class PeopleError(RuntimeError):
    """Label Studio refused to make an account."""


def ensure_people(layout: Layout) -> tuple[Account, Account]:
    """Return the accounts (annotator, verifier). Missing ones are made. identities.json holds their secrets."""
    accounts = []
    for role, _ in PEOPLE:
        with changing(layout) as known:
            person = known["people"][role]
            if "token" not in person:
                person["token"] = _sign_up(layout, known["label_studio"]["token"], person["email"], person["password"])
        accounts.append(Account(person["email"], person["password"], person["token"]))
    return accounts[0], accounts[1]


def _sign_up(layout: Layout, admin_token: str, email: str, password: str) -> str:
    """Sign a person up, and return the person's token."""
    with httpx.Client(base_url=layout.label_studio_url, timeout=60, trust_env=False) as admin:
        invited = _ok(admin.get("/api/invite", headers={"Authorization": f"Token {admin_token}"}), "an invitation")
        link = str(invited.json()["invite_url"])
    with httpx.Client(
        base_url=layout.label_studio_url, timeout=60, trust_env=False, headers={"Referer": layout.label_studio_url}
    ) as person:
        token = re.search(r"token=([^&]+)", link)
        path = f"/user/signup/?token={token[1]}" if token else "/user/signup/"
        _submit(person, path, {"email": email, "password": password, "allow_newsletters": "false"})
        answer = person.get("/api/current-user/token")
        if answer.status_code != 200:  # an earlier call signed up and was killed before it stored the token
            person.cookies.clear()
            _submit(person, "/user/login/", {"email": email, "password": password, "persist_session": "on"})
            answer = _ok(person.get("/api/current-user/token"), f"the token of {email}")
        body: dict[str, Any] = answer.json()
        return str(body["token"])


def _submit(client: httpx.Client, path: str, fields: dict[str, str]) -> None:
    _ok(client.get(path), f"the page {path.split('?')[0]}")
    _ok(
        client.post(path, data=fields | {"csrfmiddlewaretoken": client.cookies.get("csrftoken") or ""}),
        path.split("?")[0],
    )


def _ok(answer: httpx.Response, what: str) -> httpx.Response:
    if answer.status_code >= 400:
        raise PeopleError(f"Label Studio refused {what}: {answer.status_code} {answer.text[:200]}")
    return answer
