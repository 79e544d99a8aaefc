"""The folder of products: whole files only, and a damaged one costs only its own product."""

from __future__ import annotations

import json

import pytest
import yaml
from typer.testing import CliRunner

from components.use_case import UseCaseError, load_use_case, parse_use_case
from kizu.cli import app
from kizu.context import DEFAULT_USE_CASE, CommandError
from reconciler.products import Products

BASE = yaml.safe_load(DEFAULT_USE_CASE.read_text(encoding="utf-8"))


def file(folder, name: str, **more):
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}.yaml"
    path.write_text(yaml.safe_dump({**BASE, "name": name, **more}), encoding="utf-8")
    return path


def test_a_file_is_taken_whole_and_replaces_the_products_former_one(tmp_path):
    """The copy has the bytes of the file, comments included, whatever the file was called."""
    products = Products(tmp_path / "served")
    source = file(tmp_path, "screws", language="ja")
    source.write_text("# ours\n" + source.read_text())
    (tmp_path / "served").mkdir()
    file(tmp_path / "served", "screws").rename(tmp_path / "served" / "old.yml")
    products.put(source)
    assert [path.name for path in (tmp_path / "served").iterdir()] == ["screws.yaml"]
    assert (tmp_path / "served" / "screws.yaml").read_bytes() == source.read_bytes()
    (product,) = products.read().products
    assert (product.name, product.policy.language) == ("screws", "ja")


def test_a_file_with_a_mistake_changes_nothing(tmp_path):
    """A schedule whose hour does not exist is found before anything is copied."""
    products = Products(tmp_path / "served")
    products.put(file(tmp_path, "screws"))
    wrong = file(tmp_path, "screws", schedules={"labeling": {"cron": "0 25 * * *", "time_zone": "Asia/Tokyo"}})
    with pytest.raises(UseCaseError, match=r"schedules\.labeling: expected the five fields of cron"):
        products.put(wrong)
    assert products.read().products[0].policy.labeling is None


def test_a_damaged_file_costs_only_its_own_product(tmp_path, caplog):
    """It is named with its mistake, logged once while it stays as it is, and the others are served."""
    products = Products(tmp_path)
    file(tmp_path, "screws")
    (tmp_path / "broken.yaml").write_text("name: [")
    (tmp_path / "notes.txt").write_text("not a use case")
    (tmp_path / "twin.yaml").write_bytes((tmp_path / "screws.yaml").read_bytes())
    for _ in range(2):
        served = products.read()
        assert [product.name for product in served.products] == ["screws"]
        assert set(served.damaged) == {"broken.yaml", "twin.yaml"}
    assert caplog.text.count("the use case file broken.yaml is passed over") == 1
    file(tmp_path, "broken")
    assert [product.name for product in products.read().products] == ["broken", "screws"]


def test_no_folder_is_no_product(tmp_path):
    """A new installation serves nothing."""
    assert Products(tmp_path / "none").read().products == ()
    assert Products(tmp_path / "none").take_out("screws") is False


def test_kizu_automate_adds_lists_and_takes_out(tmp_path, monkeypatch):
    """Each file is checked before one is copied; the approvers of the use case reach MLflow's file."""
    monkeypatch.setenv("KIZU_HOME", str(tmp_path / "home"))
    good, other = file(tmp_path, "screws", approvers=["ann"]), file(tmp_path, "nuts")
    bad = tmp_path / "bad.yaml"
    bad.write_text("name: bad\n")
    run = CliRunner()
    assert isinstance(run.invoke(app, ["automate", str(good), str(bad)]).exception, UseCaseError)
    assert "no product runs by itself" in run.invoke(app, ["automate"]).output
    assert run.invoke(app, ["automate", str(good), str(other)]).exit_code == 0
    assert run.invoke(app, ["automate"]).output.split() == ["nuts", "screws"]
    approvers = json.loads((tmp_path / "home" / "mlflow" / "approvers.json").read_bytes())
    assert approvers["approvers"]["screws"] == ["ann"]
    assert run.invoke(app, ["automate", "--off", "nuts"]).exit_code == 0
    assert run.invoke(app, ["automate"]).output.split() == ["screws"]
    refused = run.invoke(app, ["automate", "--off", "nuts"]).exception
    assert isinstance(refused, CommandError)
    assert "nuts is not automated; automated are: screws" in str(refused)


def test_schedules_and_language_are_part_of_no_digest():
    """A change of what the reconciler does evaluates nothing again and takes back no approval."""
    plain = load_use_case(DEFAULT_USE_CASE)
    changed = parse_use_case(
        yaml.safe_dump(
            {**BASE, "language": "ja", "schedules": {"training": {"cron": "0 6 * * MON", "time_zone": "Asia/Tokyo"}}}
        )
    )
    assert changed.schedules.training.cron == "0 6 * * MON"
    assert (changed.to_json(), changed.digest) == (plain.to_json(), plain.digest)


@pytest.mark.parametrize(
    ("schedule", "said"),
    [
        ({"cron": "0 6 * *", "time_zone": "UTC"}, "cron"),
        ({"cron": "0 6 * * *", "time_zone": "Mars/Base"}, "there is no 'Mars/Base'"),
        ({"cron": "0 6 * * *"}, "time_zone"),
        ({"cron": "0 6 * * *", "time_zone": "UTC", "day": 1}, "unknown key"),
    ],
)
def test_a_schedule_of_the_wrong_form_is_refused_by_name(schedule, said):
    """The use case file names the mistake, before anything reads the schedule."""
    with pytest.raises(UseCaseError, match="schedules") as caught:
        parse_use_case(yaml.safe_dump({**BASE, "schedules": {"labeling": schedule}}))
    assert said in str(caught.value)
