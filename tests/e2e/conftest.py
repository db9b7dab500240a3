"""What every end-to-end test starts from: a gateway of its own on free ports, with its own state.

FNGATE_BUILD names the build folder (default ./build). Nothing that a test starts survives it: the
gateway, its supervisor and its functions are ended by their process ids.
"""
import base64
import json
import os
import pathlib
import random
import re
import signal
import socket
import subprocess
import tempfile
import time
import urllib.error
import urllib.request

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
BUILD = pathlib.Path(os.environ.get("FNGATE_BUILD", ROOT / "build")).resolve()


# What no gateway, supervisor or watchdog may say, whatever a test does to it.
FAULTS = re.compile(r".*(?:ERROR: (?:Address|Leak)Sanitizer|WARNING: ThreadSanitizer|runtime error:"
                    r"|assertion failed).*")


def free_port():
    """A free port below the range that the kernel gives to outgoing connections."""
    while True:
        port = random.randrange(15000, 32000)
        with socket.socket() as s:
            try:
                s.bind(("127.0.0.1", port))
                return port
            except OSError:
                continue


def wait_for(condition, timeout=15, what="condition"):
    """Polls until condition() is true and returns its value."""
    end = time.monotonic() + timeout
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > end:
            raise AssertionError(f"timed out after {timeout} s waiting for {what}")
        time.sleep(0.01)


class Reply:
    def __init__(self, status, headers, body):
        self.status, self.headers, self.body = status, headers, body

    @property
    def text(self):
        return self.body.decode("utf-8", "replace")

    def json(self):
        return json.loads(self.body)

    def __repr__(self):
        return f"<{self.status} {self.text[:300]!r}>"


class Gateway:
    """A running fngate. `config` is appended to a small default configuration (or replaces it with
    `whole=True`)."""

    def __init__(self, folder, config="", whole=False, args=(), env=None):
        self.folder = pathlib.Path(folder)
        self.state = self.folder / "state"
        self.port = free_port()
        self.metrics_port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.file = self.folder / "fngate.yaml"
        self.log_path = self.folder / "gateway.log"
        self.args = list(args)
        self.env = env or {}
        self.process = None
        self.write_config(config, whole)

    def write_config(self, config="", whole=False):
        head = (f"version: 1\nlisten: 127.0.0.1:{self.port}\nstate_dir: {self.state}\n"
                f"metrics:\n  listen: 127.0.0.1:{self.metrics_port}\n")
        if not whole and "providers:" not in config:
            config += ("\nproviders:\n  - plugin: provider-process\n    default: true\n"
                       f"    config:\n      functions_root: {self.folder}/functions\n")
        if "store:" not in config:
            config += "\nstore:\n  plugin: store-sqlite\n"
        self.file.write_text(config if whole else head + config)

    def spawn(self, *extra):
        log = open(self.log_path, "ab")
        return subprocess.Popen([BUILD / "fngate", "serve", "-c", self.file, *self.args, *extra],
                                stdout=log, stderr=log, stdin=subprocess.DEVNULL,
                                env={**os.environ, **self.env}, start_new_session=True)

    def start(self, *extra):
        self.process = self.spawn(*extra)
        self.wait_ready()
        return self

    def wait_ready(self, timeout=30):
        def ready():
            if self.process.poll() is not None:
                raise AssertionError(f"the gateway ended with {self.process.returncode}:\n{self.log()}")
            try:
                return self.request("GET", "/readyz").status == 200
            except OSError:
                return False
        wait_for(ready, timeout, "the gateway to be ready")

    def log(self):
        return self.log_path.read_text(errors="replace") if self.log_path.exists() else ""

    @property
    def password(self):
        return (self.state / "auth" / "basic-auth-password").read_text().strip()

    def auth_header(self):
        return "Basic " + base64.b64encode(f"admin:{self.password}".encode()).decode()

    def request(self, method, path, body=None, headers=None, auth=False, timeout=30, port=None):
        """Sends one request; an HTTP error status is a Reply as well."""
        if isinstance(body, (dict, list)):
            body = json.dumps(body)
        if isinstance(body, str):
            body = body.encode()
        request = urllib.request.Request(f"http://127.0.0.1:{port or self.port}{path}", data=body,
                                         method=method, headers=dict(headers or {}))
        if auth:
            request.add_header("Authorization", self.auth_header())
        try:
            with urllib.request.urlopen(request, timeout=timeout) as reply:
                return Reply(reply.status, reply.headers, reply.read())
        except urllib.error.HTTPError as error:
            return Reply(error.code, error.headers, error.read())

    def api(self, method, path, body=None, **kw):
        headers = {"Content-Type": "application/json"} if body is not None else {}
        return self.request(method, path, body, headers=headers, auth=True, **kw)

    def call(self, name, body=b"", method="POST", path="", **kw):
        return self.request(method, f"/function/{name}{path}", body, **kw)

    def deploy(self, name, fprocess="cat", method="POST", expect=202, **fields):
        reply = self.api(method, "/system/functions",
                         {"service": name, "image": "process", "envProcess": fprocess, **fields})
        assert reply.status == expect, reply
        return reply

    def status(self, name, namespace=None):
        query = f"?namespace={namespace}" if namespace else ""
        reply = self.api("GET", f"/system/function/{name}{query}")
        return reply.json() if reply.status == 200 else None

    def wait_available(self, name, count=1, timeout=20):
        return wait_for(lambda: (self.status(name) or {}).get("availableReplicas", 0) == count,
                        timeout, f"{name} to have {count} available replicas")

    def scale(self, name, replicas):
        reply = self.api("POST", f"/system/scale-function/{name}",
                         {"serviceName": name, "replicas": replicas})
        assert reply.status == 202, reply

    def function_pids(self):
        """Processes that belong to functions of this gateway, found by their environment."""
        pids = []
        for entry in pathlib.Path("/proc").iterdir():
            if entry.name.isdigit():
                try:
                    environ = (entry / "environ").read_bytes()
                except OSError:
                    continue
                if b"FNGATE_REPLICA=" in environ and str(self.state).encode() in environ:
                    pids.append(int(entry.name))
        return sorted(pids)

    def replica_pids(self):
        """Those of them that lead a replica: without the processes that serve single calls."""
        leaders = []
        for pid in self.function_pids():
            try:
                if os.getsid(pid) == pid:
                    leaders.append(pid)
            except ProcessLookupError:
                continue
        return leaders

    def supervisor_pids(self):
        pids = []
        for entry in pathlib.Path("/proc").iterdir():
            if entry.name.isdigit():
                try:
                    command = (entry / "cmdline").read_bytes()
                except OSError:
                    continue
                if b"fngate-supervisor" in command and str(self.state).encode() in command:
                    pids.append(int(entry.name))
        return sorted(pids)

    def stop(self, timeout=60):
        if self.process and self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            self.process.wait(timeout)
        return self.process.returncode if self.process else None

    def kill(self):
        if self.process and self.process.poll() is None:
            self.process.kill()
            self.process.wait()

    def faults(self):
        """Lines of sanitizers and assertions in whatever was written to files."""
        lines = []
        for path in self.folder.rglob("*"):
            if path.is_file() and path.suffix != ".db":
                lines += FAULTS.findall(path.read_text(errors="replace"))
        return lines

    def clean_up(self):
        """Ends what still runs; returns what was wrong with that, or in the logs."""
        wrong = []
        try:
            if self.process and self.process.poll() is None and self.stop() != 0:
                wrong.append(f"the gateway ended with {self.process.returncode} after SIGTERM")
        except subprocess.TimeoutExpired:
            self.kill()
            wrong.append("the gateway did not end after SIGTERM")
        for pid in self.supervisor_pids() + self.function_pids():
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
        return wrong + self.faults()


@pytest.fixture
def make_gateway():
    """Makes gateways that are ended after the test; shows their logs when the test fails."""
    made = []

    def make(config="", **kw):
        folder = tempfile.mkdtemp(prefix="fngate-test-")
        os.makedirs(f"{folder}/functions")
        gateway = Gateway(folder, config, **kw)
        made.append(gateway)
        return gateway

    yield make
    wrong = []
    for gateway in made:
        wrong += gateway.clean_up()
        print(f"---- log of the gateway in {gateway.folder}\n{gateway.log()[-6000:]}")
        subprocess.run(["rm", "-rf", gateway.folder], check=False)
    assert not wrong, wrong


@pytest.fixture
def gateway(make_gateway):
    return make_gateway().start()
