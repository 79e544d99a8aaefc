"""The command `kizu` as a process: its help and its errors."""

import subprocess
import sys

import pytest
from typer import BadParameter
from typer.main import get_command

from kizu import cli
from kizu.cli import app
from kizu.context import CommandError
from tests.kizu.command_line import REPOSITORY, assert_is_an_error_in_one_line, kizu

COMMANDS = ["up", "down", "status", "demo", "ingest", "import", "export", "label", "train", "approve", "reject",
            "deploy", "reconcile", "automate", "devices", "fleet-page", "enroll", "revoke", "enrolled", "keys",
            "compile", "submit", "schedule", "cluster", "shadow", "agent", "trace", "logs", "labels", "doctor",
            "drift", "new", "backup"]  # fmt: skip


def test_help_names_every_command_and_needs_no_server(tmp_path):
    """The commands of the program are those that are listed here, and the help shows each of them."""
    assert set(get_command(app).commands) == set(COMMANDS)
    result = kizu("--help", home=tmp_path)
    assert result.returncode == 0
    assert result.stderr == ""
    for command in COMMANDS:
        assert f" {command} " in result.stdout


def test_help_loads_no_server_client(tmp_path):
    """`kizu --help` imports no client of a server, so that it is quick."""
    code = "import sys, kizu.cli; print([m for m in ('mlflow', 'boto3', 'kfp', 'torch', 'tuf') if m in sys.modules])"
    result = subprocess.run([sys.executable, "-c", code], cwd=REPOSITORY, capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"


def test_an_unknown_command_is_said_in_one_line(tmp_path):
    """The error names the word that is no command."""
    assert_is_an_error_in_one_line(kizu("trian", home=tmp_path), "trian")


def test_a_missing_argument_is_said_in_one_line(tmp_path):
    """`approve` without a version, or with a version that is no positive number, is an error in one line."""
    assert_is_an_error_in_one_line(kizu("approve", home=tmp_path), "version")
    assert_is_an_error_in_one_line(kizu("approve", "0", home=tmp_path), "greater than or equal to 1")
    assert_is_an_error_in_one_line(kizu("approve", "one", home=tmp_path), "valid integer")


def test_no_command_shows_the_help(tmp_path):
    """`kizu` alone shows the help and exits with status 2."""
    result = kizu(home=tmp_path)
    assert "Commands" in result.stdout
    assert (result.returncode, result.stderr) == (2, "")


def test_a_missing_use_case_file_is_named(tmp_path):
    """A use case file that does not exist is named in one line."""
    result = kizu("submit", "training", "--endpoint", "http://127.0.0.1:9", "-u", tmp_path / "none.yaml", home=tmp_path)
    assert_is_an_error_in_one_line(result, "none.yaml", "No such file")


def test_a_bad_use_case_file_names_each_mistake(tmp_path):
    """Each wrong key of a use case file is named, without a trace."""
    file = tmp_path / "bad.yaml"
    file.write_text("name: tag\nclases: [scratch]\n")
    result = kizu("submit", "training", "--endpoint", "http://127.0.0.1:9", "-u", file, home=tmp_path)
    assert result.returncode == 1
    assert "Traceback" not in result.stderr
    for words in ("bad.yaml", "clases: unknown key", "classes: Field required", "gates: Field required"):
        assert words in result.stderr


def test_debug_shows_the_trace(tmp_path):
    """With --debug, an error shows its trace."""
    result = kizu(
        "--debug", "submit", "training", "--endpoint", "http://127.0.0.1:9", "-u", tmp_path / "none.yaml", home=tmp_path
    )
    assert result.returncode == 1
    assert "Traceback" in result.stderr
    assert "UseCaseError" in result.stderr


def _with_a_cause() -> Exception:
    error = CommandError("the run failed")
    error.__cause__ = OSError("refused")
    return error


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (CommandError("not as it should be: DNS"), "kizu: not as it should be: DNS\n"),
        (BadParameter("a number"), "kizu: Invalid value: a number\n"),
        (_with_a_cause(), "kizu: the run failed (--debug shows the trace)\n"),
        (RuntimeError("no answer"), "kizu: no answer (--debug shows the trace)\n"),
    ],
    ids=["of a command", "of the parser", "with a cause", "of a library"],
)
def test_the_trace_is_offered_only_where_it_says_more(error, said, monkeypatch, capsys):
    """What a command found wrong is complete in its line. An error of something below it has a trace worth a look."""

    def fails(**_: object) -> None:
        raise error

    monkeypatch.setattr(cli, "app", fails)
    monkeypatch.setattr(sys, "argv", ["kizu", "cluster", "check"])
    with pytest.raises(SystemExit):
        cli.main()
    assert capsys.readouterr().err == said


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (
            ["submit", "traning", "--endpoint", "http://127.0.0.1:9"],
            ["labeling, training, evaluation, deployment", "traning"],
        ),
        (["submit", "training", "--endpoint", "http://127.0.0.1:9", "-a", "force"], ["NAME=VALUE", "force"]),
        (["train", "--if-due", "--force"], ["--if-due alone"]),
        (["train", "--evaluate", "3", "--force"], ["--evaluate alone"]),
        (["demo", "--people", "robots"], ["stand-in or real", "robots"]),
    ],
)
def test_a_wrong_word_is_said_with_the_right_ones(tmp_path, arguments, words):
    """A wrong argument is reported with what was expected and what came."""
    assert_is_an_error_in_one_line(kizu(*arguments, home=tmp_path), *words)


def test_without_servers_it_says_how_to_start_them(tmp_path):
    """Without servers, each command that needs one says how to start them."""
    for arguments in (
        ["devices"],
        ["approve", "1"],
        ["import", "images", tmp_path],
        ["export", "coco", tmp_path / "new"],
        ["enroll", "line9"],
        ["revoke", "line9"],
        ["enrolled"],
        ["trace", "line9"],
    ):
        assert_is_an_error_in_one_line(kizu(*arguments, home=tmp_path), "kizu up")


def test_a_server_that_is_away_is_one_line(tmp_path):
    """A configured server that does not answer is an error in one line, which does not show the secret."""
    environment = {
        "KIZU_S3_ENDPOINT": "http://127.0.0.1:9", "AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "s3cr3t",
        "MLFLOW_TRACKING_URI": "http://127.0.0.1:9", "KIZU_SIGNER_URL": "http://127.0.0.1:9",
        "KIZU_SIGNER_TOKEN": "t0k3n",
    }  # fmt: skip
    result = kizu("devices", home=tmp_path, **environment)
    assert_is_an_error_in_one_line(result, "127.0.0.1:9", "does not answer")
    assert "s3cr3t" not in result.stderr
    assert "t0k3n" not in result.stderr


def test_keys_are_made_once(tmp_path):
    """A second `kizu keys init` for the same folders is refused, in one line."""
    arguments = ["keys", "init", tmp_path / "root", "--signer", tmp_path / "signer"]
    assert kizu(*arguments, home=tmp_path).returncode == 0
    assert (tmp_path / "root" / "root.pem").stat().st_mode & 0o777 == 0o600
    assert_is_an_error_in_one_line(kizu(*arguments, home=tmp_path), "never overwritten")
