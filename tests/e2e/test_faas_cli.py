"""Every faas-cli command that needs no image build, two ways: the requests recorded from real runs of
0.14 and 0.18 are replayed and each reply is checked for what that CLI needs of it; and the real
faas-cli runs wherever one is on PATH or named by FAAS_CLI.
"""
import json
import os
import pathlib
import shutil
import subprocess

import pytest

from conftest import wait_for

HERE = pathlib.Path(__file__).parent
FAAS_CLI = os.environ.get("FAAS_CLI") or shutil.which("faas-cli")


def named(replies, name):
    return [item for item in replies[-1].json() if item["name"] == name]


def check_described(replies):
    status = replies[0].json()
    assert status["name"] == "echo" and status["image"] == "process"
    assert status["labels"] is not None and status["annotations"] is not None
    assert "T" in status["createdAt"]
    assert named(replies, "echo")


def check_info(replies):
    info = replies[0].json()
    assert info["provider"]["version"]["sha"] and info["provider"]["version"]["release"]
    assert info["version"]["sha"] and info["version"]["release"]


def body_is(text):
    def check(replies):
        assert replies[-1].text == text
    return check


def is_ndjson(replies):
    for line in replies[0].text.splitlines():
        message = json.loads(line)
        assert {"name", "namespace", "instance", "timestamp", "text"} <= set(message)


# run of the recording, status of each reply, what else the CLI needs
REPLAY = [
    ("login", [200], lambda r: r[0].json() == []),
    ("login-refused", [401], lambda r: r[0].headers["WWW-Authenticate"].startswith("Basic realm=")),
    ("list-namespace", [200], lambda r: r[0].json() == []),
    ("secret-create", [202], None),
    ("secret-create-again", [409], None),
    ("secret-list", [200], lambda r: named(r, "token")),
    ("secret-update", [202], None),
    ("describe-unknown", [404], None),
    ("deploy", [404, 202], None),
    ("deploy-again", [202], None),
    ("deploy-no-update", [409], None),
    ("ready", [200], None),
    ("ready-function", [200], None),
    ("describe", [200, 200], check_described),
    ("list", [200], lambda r: named(r, "echo")),
    ("invoke", [200], body_is("hello")),
    ("invoke-query", [200], body_is("{}")),
    ("invoke-get", [200], body_is("")),
    ("logs", [200], is_ndjson),
    ("logs-since", [200], is_ndjson),
    ("deploy-stack", [404, 202], None),
    ("remove-stack", [202], None),
    ("remove", [202], None),
    ("remove-unknown", [404], None),
    ("secret-remove", [202], None),
    ("namespaces", [200], lambda r: r[0].json() == ["openfaas-fn"]),
    ("namespace-create", [201], None),
    ("namespace-get", [200], lambda r: r[0].json()["name"] == "team"),
    ("namespace-update", [202], None),
    ("namespace-remove", [202], None),
    ("version", [200], check_info),
]


@pytest.mark.parametrize("version", ["0.14", "0.18"])
def test_recorded_requests_get_the_replies_that_the_cli_needs(gateway, version):
    recording = json.loads((HERE / "faas_cli" / f"recorded-{version}.json").read_text())
    runs = {run["name"]: run for run in recording["runs"]}
    replayed = 0
    for name, statuses, check in REPLAY:
        requests = runs[name]["requests"]
        if not requests:
            continue  # this version has no such command
        replies = []
        for request in requests[:len(statuses)]:
            fields = dict(request["fields"])
            fields.pop("transfer-encoding", None)
            if "authorization" in fields and name != "login-refused":
                fields["authorization"] = gateway.auth_header()
            replies.append(gateway.request(request["method"], request["target"],
                                           request["body"] or None, headers=fields))
        assert [reply.status for reply in replies] == statuses, (name, replies)
        assert check is None or check(replies) is not False, (name, replies)
        replayed += 1
    assert replayed >= 20


class Cli:
    def __init__(self, gateway):
        self.gateway = gateway
        self.folder = gateway.folder / "cli"
        self.folder.mkdir()

    def run(self, *arguments, stdin="", check=True):
        run = subprocess.run([FAAS_CLI, *arguments, "-g", self.gateway.url], input=stdin, text=True,
                             cwd=self.folder, timeout=60, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                             env={"PATH": os.environ["PATH"], "HOME": str(self.folder),
                                  "OPENFAAS_CONFIG": str(self.folder)}, check=False)
        assert not check or run.returncode == 0, (arguments, run.returncode, run.stdout)
        return run.stdout


needs_cli = pytest.mark.skipif(not FAAS_CLI, reason="no faas-cli on PATH or in FAAS_CLI; its recorded requests are replayed")


@pytest.fixture
def cli(gateway):
    cli = Cli(gateway)
    cli.run("login", "-u", "admin", "--password-stdin", stdin=gateway.password)
    return cli


@needs_cli
def test_cli_login_with_a_wrong_password_is_refused(gateway):
    printed = Cli(gateway).run("login", "-u", "admin", "--password-stdin", stdin="wrong", check=False)
    assert "Unable to login" in printed


@needs_cli
def test_cli_deploys_lists_describes_invokes_and_removes(cli):
    cli.run("deploy", "--name", "echo", "--image", "process", "--fprocess", "cat")
    cli.gateway.wait_available("echo")
    assert cli.run("invoke", "echo", stdin="hello") == "hello"
    assert "echo" in cli.run("list")
    described = cli.run("describe", "echo")
    assert "Ready" in described and "cat" in described
    cli.run("remove", "echo")
    assert "echo" not in cli.run("list")
    assert "No existing function" in cli.run("remove", "echo", check=False)


@needs_cli
def test_cli_deploys_a_stack_file_with_a_secret_and_environment(cli):
    (cli.folder / "fn.yml").write_text(
        "version: 1.0\nprovider:\n  name: openfaas\n"
        f"  gateway: {cli.gateway.url}\n"
        "functions:\n  show:\n    lang: dockerfile\n    handler: ./show\n    image: process\n"
        "    fprocess: sh -c 'cat $OPENFAAS_SECRETS_DIR/token; echo; echo $color'\n"
        "    environment:\n      color: red\n    secrets:\n      - token\n")
    cli.run("secret", "create", "token", "--from-literal", "s3cret")
    assert "token" in cli.run("secret", "list")
    cli.run("deploy", "-f", "fn.yml")
    cli.gateway.wait_available("show")
    assert cli.run("invoke", "show").split() == ["s3cret", "red"]
    cli.run("remove", "-f", "fn.yml")
    cli.run("secret", "remove", "token")


@needs_cli
def test_cli_invokes_from_zero_after_a_scale_by_rest(cli):
    cli.run("deploy", "--name", "echo", "--image", "process", "--fprocess", "cat")
    cli.gateway.wait_available("echo", 1)
    cli.gateway.scale("echo", 3)
    cli.gateway.wait_available("echo", 3)
    cli.gateway.scale("echo", 0)
    cli.gateway.wait_available("echo", 0)
    assert cli.run("invoke", "echo", stdin="from zero") == "from zero"


@needs_cli
def test_cli_logs_follow_shows_lines_as_they_come(cli):
    cli.run("deploy", "--name", "talk", "--image", "process", "--fprocess", "sh -c 'echo said >&2; cat'")
    follower = subprocess.Popen([FAAS_CLI, "logs", "talk", "-g", cli.gateway.url], text=True, cwd=cli.folder,
                                env={"PATH": os.environ["PATH"], "HOME": str(cli.folder), "OPENFAAS_CONFIG": str(cli.folder)},
                                stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    try:
        cli.run("invoke", "talk", stdin="x")
        lines = []

        def said():
            lines.append(follower.stdout.readline())
            return "said" in lines[-1]
        wait_for(said, 15, "the line in the log")
    finally:
        follower.kill()
        follower.wait()


@needs_cli
def test_cli_namespaces_and_version(cli):
    assert "provider-process" in cli.run("version", "--warn-update=false")
    if "Unknown command" in cli.run("namespace", "list", check=False):
        return  # 0.14 has no such commands
    cli.run("namespace", "create", "team")
    assert "team" in cli.run("namespace", "list")
    cli.run("deploy", "--name", "echo", "--image", "process", "--fprocess", "cat", "-n", "team")
    assert cli.run("invoke", "echo", "-n", "team", stdin="hi") == "hi"
    cli.run("remove", "echo", "-n", "team")
    cli.run("namespace", "remove", "team")
