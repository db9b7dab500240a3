"""fwatchdog from outside: each mode, the watchdog's own paths, limits, logs, signals and the end.

The watchdog listens on a socket that the test opened, so that no port is guessed.
"""
import base64
import concurrent.futures
import contextlib
import hashlib
import http.client
import json
import os
import pathlib
import re
import shlex
import signal
import socket
import subprocess
import sys
import time

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
BUILD = pathlib.Path(os.environ.get("FNGATE_BUILD", ROOT / "build")).resolve()
WATCHDOG = BUILD / "fwatchdog"
PATIENCE_S = 30

# What mode http runs: an HTTP server with a few odd habits, on the port or path given.
SERVER = r'''
import hashlib, os, signal, socket, socketserver, sys, time
from http.server import BaseHTTPRequestHandler

class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def address_string(self):
        return "client"

    def body(self):
        if self.headers.get("Transfer-Encoding") != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length", 0)))
        data = b""
        while size := int(self.rfile.readline(), 16):
            data += self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()
        return data

    def answer(self, body, status=200):
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def upgrade(self):
        self.send_response(101)
        self.send_header("Connection", "Upgrade")
        self.send_header("Upgrade", "websocket")
        self.end_headers()
        while data := self.connection.recv(65536):
            self.wfile.write(data.upper())
        self.close_connection = True

    def stream(self):
        self.send_response(200)
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        self.wfile.write(b"6\r\nfirst\n\r\n")
        while not os.path.exists("go-on"):
            time.sleep(0.005)
        self.wfile.write(b"7\r\nsecond\n\r\n0\r\n\r\n")

    def do_GET(self):
        body = self.body()
        if self.path.startswith("/echo"):
            self.answer(body)
        elif self.path == "/sum":
            self.answer(hashlib.sha256(body).hexdigest().encode())
        elif self.path == "/headers":
            self.answer(str(self.headers).encode())
        elif self.path == "/big":
            self.answer(b"0123456789abcdef" * (4 << 20))
        elif self.path == "/stream":
            self.stream()
        elif self.path == "/hang":
            open("hanging", "w").close()
            while not os.path.exists("go-on"):
                time.sleep(0.005)
            self.answer(b"late")
        elif self.path == "/ws":
            self.upgrade()
        elif self.path.startswith("/exit"):
            os._exit(int(self.path[5:]))
        elif self.path == "/drop":
            self.close_connection = True
        elif self.path == "/ready":
            self.answer(b"yes" if os.path.exists("ready") else b"no",
                        200 if os.path.exists("ready") else 503)
        else:
            self.answer(b"hello " + self.path.encode())
    do_POST = do_PUT = do_GET

class Server(socketserver.ThreadingMixIn, socketserver.TCPServer):
    allow_reuse_address = True
    daemon_threads = True
    request_queue_size = 256
class UnixServer(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
    daemon_threads = True

def note(number, frame):
    open("signal-%d" % number, "w").close()
    if number == signal.SIGTERM:
        os._exit(0)

for number in (signal.SIGTERM, signal.SIGUSR1):
    signal.signal(number, note)
while len(sys.argv) > 2 and not os.path.exists(sys.argv[2]):
    time.sleep(0.005)
print("started", flush=True)
where = sys.argv[1]
server = UnixServer(where, Handler) if where.startswith("/") else Server(("127.0.0.1", int(where)), Handler)
server.serve_forever()
'''


def wait_for(condition, what="condition"):
    deadline = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline:
        value = condition()
        if value:
            return value
        time.sleep(0.005)
    raise AssertionError(f"{what} did not come true")


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def is_alive(pid):
    try:
        with open(f"/proc/{pid}/stat") as stat:
            return stat.read().rpartition(")")[2].split()[0] not in "ZX"
    except (FileNotFoundError, ProcessLookupError):
        return False


class Watchdog:
    """A running watchdog. `settings` are its environment variables."""

    def __init__(self, folder, settings, inherit=True, command=None):
        self.folder = folder
        self.log_path = folder / "log"
        self.listener = socket.socket()
        self.listener.bind(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        env = {"PATH": os.environ["PATH"], "TMPDIR": str(folder), "metrics_port": "0",
               "healthcheck_interval": "0"}
        argv = command or [str(WATCHDOG)]
        if inherit:
            self.listener.listen(256)
            number = self.listener.fileno()
            argv = ["/bin/bash", "-c", f'exec "$@" 3<&{number} {number}<&-', "bash"] + argv
            env["FNGATE_LISTEN_FD"] = "3"
        else:
            self.listener.close()
            env["port"] = str(self.port)
        env.update({key: value for key, value in os.environ.items() if key.endswith("SAN_OPTIONS")})
        env.update({key: str(value) for key, value in settings.items()})
        with open(self.log_path, "wb") as log:
            self.process = subprocess.Popen(argv, env=env, cwd=folder, stderr=log, stdout=log,
                                            pass_fds=[number] if inherit else [])
        if inherit:
            self.listener.close()

    def log(self):
        return self.log_path.read_text(errors="replace")

    def connect(self):
        return http.client.HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE_S)

    def request(self, method="GET", path="/", body=None, headers=None):
        with contextlib.closing(self.connect()) as conn:
            conn.request(method, path, body, headers or {})
            answer = conn.getresponse()
            answer.body = answer.read()
            return answer

    def status(self, path):
        try:
            return self.request(path=path).status
        except OSError:
            return None

    def wait_ready(self):
        wait_for(lambda: self.process.poll() is not None or self.status("/_/health") == 200, "healthy")
        assert self.process.poll() is None, self.log()
        return self

    def wait_log(self, pattern):
        return wait_for(lambda: re.search(pattern, self.log(), re.M), f"{pattern!r} in the log")

    def term(self):
        self.process.send_signal(signal.SIGTERM)

    def wait(self):
        return self.process.wait(PATIENCE_S)

    def stop(self):
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(PATIENCE_S)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
                raise


@pytest.fixture
def start(tmp_path):
    running = []

    def start_one(ready=True, inherit=True, command=None, **settings):
        dog = Watchdog(tmp_path, settings, inherit, command)
        running.append(dog)
        return dog.wait_ready() if ready else dog

    yield start_one
    (tmp_path / "go-on").touch()
    for dog in running:
        dog.stop()


@pytest.fixture
def start_http(start, tmp_path):
    """Mode http over the SERVER above."""

    def start_server(where=None, gate="", **settings):
        (tmp_path / "server.py").write_text(SERVER)
        where = where or free_port()
        url = f"unix:{where}" if str(where).startswith("/") else f"http://127.0.0.1:{where}"
        return start(mode="http", upstream_url=settings.pop("upstream_url", url),
                     fprocess=f"{sys.executable} -u server.py {where} {gate}".strip(), **settings)

    return start_server


def refuses(tmp_path, *words, **settings):
    dog = Watchdog(tmp_path, settings)
    assert dog.wait() == 1
    for word in words:
        assert word in dog.log()


# ---- Settings and options ----


def test_bad_settings_are_named_and_end_the_start(tmp_path):
    refuses(tmp_path, "fprocess")
    refuses(tmp_path, "mode", "afterburn", fprocess="cat", mode="afterburn")
    refuses(tmp_path, "upstream_url", fprocess="cat", mode="http")
    refuses(tmp_path, "upstream_url", "no IP address", fprocess="cat", mode="http",
            upstream_url="http://example.org:80")
    refuses(tmp_path, "write_timeout", fprocess="cat", write_timeout="0")
    refuses(tmp_path, "exec_timeout", "soon", fprocess="cat", exec_timeout="soon")
    refuses(tmp_path, "max_inflight", fprocess="cat", max_inflight="-1")
    refuses(tmp_path, "jwt_auth", fprocess="cat", jwt_auth="true")
    refuses(tmp_path, "no-such-program", fprocess="no-such-program", mode="http",
            upstream_url="http://127.0.0.1:1")


def test_version_and_usage():
    assert subprocess.run([WATCHDOG, "-version"], capture_output=True, check=True).stdout
    assert subprocess.run([WATCHDOG, "--version"], check=True, capture_output=True).stdout
    assert subprocess.run([WATCHDOG, "-what"], capture_output=True).returncode == 2


def test_healthcheck_option_looks_for_the_lock_file(start, tmp_path):
    def check():
        return subprocess.run([WATCHDOG, "-run-healthcheck"], env={"TMPDIR": str(tmp_path)},
                              capture_output=True).returncode

    assert check() == 1
    start(fprocess="cat")
    assert check() == 0
    assert (tmp_path / ".lock").stat().st_mode & 0o777 & ~0o660 == 0


def test_commands_are_cut_at_single_spaces(start):
    dog = start(fprocess="printf [%s] a  'b c'")
    assert dog.request().body == b"[a][]['b][c']"


def test_commands_can_be_quoted(start):
    dog = start(fprocess=r"""printf  [%s] 'a b' "c \"d" e\ f ''""", fprocess_quoting="true")
    assert dog.request().body == b'[a b][c "d][e f][]'


def test_function_process_wins_over_fprocess(start):
    assert start(fprocess="false", function_process="echo yes").request().body == b"yes\n"


# ---- The watchdog's own paths ----


def test_health_follows_method_and_lock_file(start, tmp_path):
    dog = start(fprocess="cat")
    assert dog.request(path="/_/health").body == b"OK"
    assert dog.request("POST", "/_/health").status == 405
    assert dog.request("POST", "/_/ready").status == 405
    (tmp_path / ".lock").unlink()
    assert dog.request(path="/_/health").status == 503
    assert dog.request(path="/_/ready").status == 503


def test_without_lock_file_health_is_still_good(start, tmp_path):
    dog = start(fprocess="cat", suppress_lock="true")
    assert dog.request(path="/_/health").status == 200
    assert not (tmp_path / ".lock").exists()


def test_ready_path_asks_the_function(start_http, tmp_path):
    dog = start_http(ready_path="/ready", ready=False)
    wait_for(lambda: dog.status("/_/health") == 200)
    assert dog.status("/_/ready") == 503
    (tmp_path / "ready").touch()
    assert dog.request(path="/_/ready").body == b"yes"


# ---- Processes per request ----


@pytest.mark.parametrize("mode", ["streaming", "serializing", "classic"])
def test_bodies_go_through_whole(start, mode):
    dog = start(fprocess="cat", mode=mode)
    assert dog.request("POST", body=b"hello").body == b"hello"
    assert dog.request("POST", body=iter([b"hel", b"lo"])).body == b"hello"
    assert dog.request().body == b""


@pytest.mark.parametrize("mode", ["streaming", "serializing"])
def test_big_bodies_keep_every_byte(start, mode):
    body = os.urandom(1 << 20) * 64
    dog = start(fprocess="cat", mode=mode)
    with contextlib.closing(dog.connect()) as conn, concurrent.futures.ThreadPoolExecutor(1) as pool:
        conn.connect()
        conn.putrequest("POST", "/")
        conn.putheader("Content-Length", str(len(body)))
        conn.endheaders()
        sender = pool.submit(conn.sock.sendall, body)  # cat answers before it has all
        answer = conn.getresponse().read()
        sender.result()
    assert hashlib.sha256(answer).digest() == hashlib.sha256(body).digest()


def test_standard_input_is_a_pipe_that_can_be_opened(start):
    dog = start(fprocess="cat /dev/stdin")
    assert dog.request("POST", body=b"again").body == b"again"


def test_a_process_need_not_read_its_input(start):
    dog = start(fprocess="echo no")
    for _ in range(3):
        with contextlib.closing(dog.connect()) as conn:
            with contextlib.suppress(ConnectionError):
                conn.request("POST", "/", b"x" * (1 << 22))
            assert conn.getresponse().read() == b"no\n"


def test_output_arrives_while_the_request_is_under_way(start):
    dog = start(fprocess="sh -c 'echo first; cat'", fprocess_quoting="true")
    with contextlib.closing(dog.connect()) as conn:
        conn.putrequest("POST", "/")
        conn.putheader("Transfer-Encoding", "chunked")
        conn.endheaders()
        answer = conn.getresponse()
        assert answer.readline() == b"first\n"
        conn.send(b"6\r\nmiddle\r\n")
        assert answer.read(6) == b"middle"
        conn.send(b"4\r\nlast\r\n0\r\n\r\n")
        assert answer.read() == b"last"


def test_content_type_can_be_set(start):
    assert start(fprocess="cat").request().getheader("Content-Type") == "application/octet-stream"
    dog = start(fprocess="cat", content_type="text/x-own")
    assert dog.request().getheader("Content-Type") == "text/x-own"


def test_failures_are_logged_in_streaming_and_told_in_serializing(start):
    script = "sh -c 'echo some; echo why >&2; exit 3'"
    streaming = start(fprocess=script, fprocess_quoting="true")
    answer = streaming.request()
    assert (answer.status, answer.body) == (200, b"some\n")
    streaming.wait_log("exit status 3")
    streaming.wait_log("stderr: why")
    streaming.stop()
    answer = start(fprocess=script, fprocess_quoting="true", mode="serializing").request()
    assert answer.status == 500
    assert b"exit status 3" in answer.body
    assert answer.getheader("X-OpenFaaS-Internal") == "of-watchdog"


def test_a_missing_program_is_a_500(start):
    answer = start(fprocess="no-such-program").request()
    assert answer.status == 500
    assert b"No such file" in answer.body


def test_requests_become_environment(start):
    dog = start(fprocess="env", OWN="mine")
    answer = dog.request("POST", "/a%20b?x=1&y", b"12345",
                         {"x-some-header": "value", "Proxy": "evil", "Content-Type": "text/x"})
    variables = dict(line.split("=", 1) for line in answer.body.decode().splitlines())
    assert variables["Http_X_Some_Header"] == "value"
    assert variables["Http_Method"] == "POST"
    assert variables["Http_Path"] == "/a b"
    assert variables["Http_Query"] == "x=1&y"
    assert variables["Http_Content_Type"] == "text/x"
    assert variables["Http_Content_Length"] == "5"
    assert variables["OWN"] == "mine"
    assert not {"Http_Proxy", "LISTEN_FDS", "FNGATE_LISTEN_FD"} & set(variables)
    chunked = dog.request("POST", body=iter([b"1"])).body
    assert b"Http_Transfer_Encoding=chunked\n" in chunked


def test_processes_inherit_no_descriptors(start):
    dog = start(fprocess="ls -l /proc/self/fd")
    names = [line.split()[8] for line in dog.request().body.decode().splitlines() if "->" in line]
    assert names == ["0", "1", "2", "3"]  # the last is ls reading the folder


def test_the_limit_of_descriptors_is_ours_alone(start, tmp_path):
    dog = start(fprocess="sh -c 'ulimit -Sn'", fprocess_quoting="true",
                command=["/bin/bash", "-c", 'ulimit -Sn 64; exec "$@"', "bash", str(WATCHDOG)])
    with contextlib.ExitStack() as stack:
        for _ in range(100):
            stack.enter_context(socket.create_connection(("127.0.0.1", dog.port), PATIENCE_S))
        assert dog.request().body == b"64\n"


@pytest.mark.parametrize("mode,status", [("streaming", 504), ("serializing", 504),
                                         ("classic", 408)])
def test_at_the_timeout_the_whole_group_ends(start, tmp_path, mode, status):
    dog = start(fprocess="sh -c 'sleep 1000 & echo $! > pid; wait'", fprocess_quoting="true",
                mode=mode, exec_timeout="300ms")
    answer = dog.request(headers={"X-Timeout": "1h"})
    assert answer.status == status
    assert answer.getheader("X-OpenFaaS-Internal") == "of-watchdog"
    assert float(answer.getheader("X-Duration-Seconds")) > 0
    pid = int((tmp_path / "pid").read_text())
    wait_for(lambda: not is_alive(pid), "the end of the grandchild")


def test_x_timeout_shortens(start):
    answer = start(fprocess="sleep 1000", exec_timeout="1h").request(headers={"X-Timeout": "100ms"})
    assert answer.status == 504


def test_at_the_timeout_a_begun_answer_is_cut(start):
    dog = start(fprocess="sh -c 'echo some; sleep 1000'", fprocess_quoting="true",
                exec_timeout="300ms")
    with pytest.raises((http.client.IncompleteRead, ConnectionError)):
        dog.request()


def test_a_client_that_leaves_ends_its_process(start, tmp_path):
    dog = start(fprocess="sh -c 'echo $$ > pid; echo up; cat; sleep 1000'",
                fprocess_quoting="true")
    conn = dog.connect()
    conn.putrequest("POST", "/")
    conn.putheader("Content-Length", "100")
    conn.endheaders()
    pid = int(wait_for(lambda: (tmp_path / "pid").exists() and (tmp_path / "pid").read_text()))
    conn.close()
    wait_for(lambda: not is_alive(pid), "the end of the process")


def test_a_hundred_requests_at_once(start):
    dog = start(fprocess="cat")
    bodies = [os.urandom(1000) for _ in range(100)]
    with concurrent.futures.ThreadPoolExecutor(100) as pool:
        answers = list(pool.map(lambda body: dog.request("POST", body=body).body, bodies))
    assert answers == bodies


def test_above_the_limit_requests_are_refused(start):
    dog = start(fprocess="cat", max_inflight="1")
    with contextlib.closing(dog.connect()) as conn:
        conn.putrequest("POST", "/")
        conn.putheader("Content-Length", "2")
        conn.endheaders()
        conn.send(b"a")
        refused = wait_for(lambda: (answer := dog.request()).status == 429 and answer)
        assert refused.getheader("X-OpenFaaS-Internal") == "faas-middleware"
        assert refused.getheader("Content-Type") == "text/plain"
        assert b" 1 " in refused.body
        assert dog.request(path="/_/ready").status == 429
        assert dog.request(path="/_/health").status == 200
        conn.send(b"b")
        assert conn.getresponse().read() == b"ab"
    wait_for(lambda: dog.request().status == 200)


# ---- The classic watchdog ----


def test_classic_gives_back_the_requests_type_and_stderr(start):
    dog = start(fprocess="sh -c 'cat; echo err >&2'", fprocess_quoting="true",
                combine_output="true")  # the variable alone selects the mode
    answer = dog.request("POST", body=b"in ", headers={"Content-Type": "text/x"})
    assert answer.body == b"in err\n"
    assert answer.getheader("Content-Type") == "text/x"
    assert answer.getheader("X-Duration-Seconds")


def test_classic_keeps_stderr_apart_when_asked(start):
    dog = start(fprocess="sh -c 'cat; echo err >&2'", fprocess_quoting="true", mode="classic",
                combine_output="false")
    assert dog.request("POST", body=b"in").body == b"in"
    dog.wait_log("stderr: err")


def test_classic_tells_failure_and_output(start):
    dog = start(fprocess="sh -c 'echo out; exit 1'", fprocess_quoting="true", mode="classic")
    answer = dog.request()
    assert answer.status == 500
    assert answer.body == b"exit status 1\nout\n"


def test_classic_can_marshal_the_request(start):
    dog = start(fprocess="cat", marshal_request="true")
    answer = dog.request("POST", body=b"\x00\xffbody", headers={"x-a": 'quote"d'})
    envelope = json.loads(answer.body)
    assert base64.b64decode(envelope["body"]["raw"]) == b"\x00\xffbody"
    assert envelope["header"]["X-A"] == ['quote"d']


def test_classic_passes_ready_to_the_function(start):
    dog = start(fprocess="echo mine", mode="classic")
    assert dog.request(path="/_/ready").body == b"mine\n"


# ---- Logs ----

STAMP = r"^\d{4}/\d\d/\d\d \d\d:\d\d:\d\d "


def test_lines_of_the_function_are_stamped(start):
    dog = start(fprocess="sh -c 'printf \"one\\ntwo\" >&2'", fprocess_quoting="true")
    dog.request()
    dog.wait_log(STAMP + "stderr: one$")
    dog.wait_log(STAMP + "stderr: two$")


def test_lines_can_stay_as_they_are(start):
    dog = start(fprocess="sh -c 'echo one >&2'", fprocess_quoting="true", prefix_logs="false")
    dog.request()
    dog.wait_log("^one$")


@pytest.mark.parametrize("size", ["1000", "-1"])
def test_long_lines_do_not_stop_the_log(start, size):
    code = "import sys; sys.stderr.write('x' * 3000000 + chr(10) + 'after' + chr(10))"
    dog = start(fprocess=f"{sys.executable} -c {shlex.quote(code)}", fprocess_quoting="true",
                log_buffer_size=size)
    for _ in range(2):
        assert dog.request().status == 200
    dog.wait_log(STAMP + "stderr: after$")
    lines = [line for line in dog.log().splitlines() if "xxx" in line]
    assert sum(line.count("x") for line in lines) >= 3000000
    longest = max(line.count("x") for line in lines)
    assert longest == 3000000 if size == "-1" else longest <= 1000


def test_each_request_leaves_a_line(start):
    dog = start(fprocess="cat", log_callid="true")
    dog.request("POST", "/some?q", b"hello", {"X-Call-Id": "id-7"})
    dog.request("GET", "/probed", headers={"User-Agent": "kube-probe/1.30"})
    dog.request("GET", "/last")
    dog.wait_log(STAMP + r"POST /some\?q - 200 OK - ContentLength: 5B \(\d+\.\d{4}s\) \[id-7\]$")
    dog.wait_log("GET /last - 200 OK")
    assert "/probed" not in dog.log()


# ---- Mode http ----


def test_http_passes_everything_on(start_http):
    dog = start_http()
    answer = dog.request("GET", "/any?x=%20", headers={"Host": "fn.example", "X-A": "1"})
    assert answer.body == b"hello /any?x=%20"
    assert float(answer.getheader("X-Duration-Seconds")) >= 0
    headers = dog.request("GET", "/headers", headers={"Host": "fn.example", "X-A": "1"}).body
    assert b"Host: fn.example" in headers
    assert b"X-A: 1" in headers
    assert dog.request("PUT", "/echo", b"some").body == b"some"
    assert dog.request("POST", "/echo", iter([b"so", b"me"])).body == b"some"
    dog.wait_log(STAMP + "stdout: started$")
    dog.wait_log(STAMP + "stderr: client - - ")


def test_http_over_a_unix_socket(start_http, tmp_path):
    dog = start_http(where=str(tmp_path / "socket"))
    assert dog.request("POST", "/echo", b"some").body == b"some"


def test_http_upstream_may_be_localhost(start_http):
    port = free_port()
    dog = start_http(where=port, upstream_url=f"http://localhost:{port}/")
    assert dog.request("POST", "/echo", b"some").body == b"some"


def test_http_big_bodies_keep_every_byte(start_http):
    dog = start_http()
    body = os.urandom(1 << 20) * 64
    assert dog.request("POST", "/sum", body).body.decode() == hashlib.sha256(body).hexdigest()
    assert dog.request("GET", "/big").body == b"0123456789abcdef" * (4 << 20)


def test_http_answers_stream_without_being_asked(start_http, tmp_path):
    dog = start_http()
    with contextlib.closing(dog.connect()) as conn:
        conn.request("GET", "/stream")
        answer = conn.getresponse()
        assert answer.readline() == b"first\n"
        (tmp_path / "go-on").touch()
        assert answer.read() == b"second\n"


def test_http_bodies_can_be_completed_first(start_http):
    dog = start_http(buffer_http="true")
    assert dog.request("POST", "/echo", iter([b"so", b"me"])).body == b"some"
    headers = dog.request("POST", "/headers", iter([b"so", b"me"])).body
    assert b"Content-Length: 4" in headers
    assert b"chunked" not in headers


def test_http_a_hundred_requests_at_once(start_http):
    dog = start_http()
    bodies = [os.urandom(1000) for _ in range(100)]
    with concurrent.futures.ThreadPoolExecutor(100) as pool:
        answers = list(pool.map(lambda body: dog.request("POST", "/echo", body).body, bodies))
    assert answers == bodies


def test_http_timeout_and_failure(start_http):
    dog = start_http(exec_timeout="300ms")
    answer = dog.request("GET", "/hang")
    assert answer.status == 504
    assert answer.getheader("X-OpenFaaS-Internal") == "of-watchdog"
    assert float(answer.getheader("X-Duration-Seconds")) > 0
    answer = dog.request("GET", "/drop")
    assert answer.status == 500
    assert answer.getheader("X-OpenFaaS-Internal") == "of-watchdog"
    assert dog.request("GET", "/fine").status == 200


def test_http_health_waits_for_the_port_and_so_do_requests(start_http, tmp_path):
    dog = start_http(gate="gate", ready=False)
    assert wait_for(lambda: dog.status("/_/health")) == 503
    assert dog.status("/_/ready") == 503
    assert not (tmp_path / ".lock").exists()
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        early = pool.submit(dog.request, "GET", "/early")
        assert dog.status("/_/ready") == 503
        (tmp_path / "gate").touch()
        assert early.result().body == b"hello /early"
    assert dog.status("/_/ready") == 200
    assert (tmp_path / ".lock").exists()


def test_http_web_sockets_tunnel(start_http):
    dog = start_http()
    with socket.create_connection(("127.0.0.1", dog.port), PATIENCE_S) as conn:
        conn.sendall(b"GET /ws HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
                     b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
                     b"\r\n")
        stream = conn.makefile("rb")
        assert stream.readline().startswith(b"HTTP/1.1 101")
        while stream.readline() != b"\r\n":
            pass
        conn.sendall(b"hello")
        assert stream.read(5) == b"HELLO"
        conn.sendall(b"bye")
        conn.shutdown(socket.SHUT_WR)
        assert stream.read() == b"BYE"


@pytest.mark.parametrize("code,expected", [(3, 3), (0, 1)])
def test_http_the_end_of_the_process_is_the_end(start_http, tmp_path, code, expected):
    dog = start_http()
    with contextlib.suppress(http.client.HTTPException, OSError):
        dog.request("GET", f"/exit{code}")
    assert dog.wait() == expected
    assert f"exit status {code}" in dog.log()
    assert not (tmp_path / ".lock").exists()


def test_signals_are_passed_to_the_process(start_http, tmp_path):
    dog = start_http()
    dog.process.send_signal(signal.SIGUSR1)
    wait_for((tmp_path / f"signal-{signal.SIGUSR1:d}").exists)


# ---- The end ----


def test_the_end_lets_running_requests_finish(start_http, tmp_path):
    dog = start_http(healthcheck_interval="300ms")
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        late = pool.submit(dog.request, "GET", "/hang")
        wait_for((tmp_path / "hanging").exists)
        dog.term()
        wait_for(lambda: dog.status("/_/health") == 503, "unhealthy")
        assert not (tmp_path / ".lock").exists()
        assert dog.request("GET", "/still").body == b"hello /still"
        wait_for(lambda: dog.status("/_/health") is None, "a closed port")
        assert not (tmp_path / f"signal-{signal.SIGTERM:d}").exists()
        (tmp_path / "go-on").touch()
        assert late.result().body == b"late"
    assert dog.wait() == 0
    assert (tmp_path / f"signal-{signal.SIGTERM:d}").exists()


def test_the_end_of_requests_that_take_too_long(start, tmp_path):
    dog = start(fprocess="sh -c 'echo $$ > pid; sleep 1000'", fprocess_quoting="true",
                write_timeout="300ms", exec_timeout="0")
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        cut = pool.submit(dog.request)
        pid = int(wait_for(lambda: (tmp_path / "pid").exists() and (tmp_path / "pid").read_text()))
        dog.term()
        assert dog.wait() == 0
        assert cut.exception(PATIENCE_S)
    wait_for(lambda: not is_alive(pid), "the end of the process")


def test_a_second_signal_hurries(start):
    dog = start(fprocess="cat", healthcheck_interval="1h")
    dog.term()
    dog.wait_log("no new connections")
    dog.term()
    assert dog.wait() == 0


def test_the_process_can_get_the_signal_first(start_http, tmp_path):
    dog = start_http(healthcheck_interval="1h", term_child_first="true")
    dog.term()
    wait_for((tmp_path / f"signal-{signal.SIGTERM:d}").exists)
    assert dog.process.poll() is None
    dog.term()
    assert dog.wait() == 0


def test_as_process_1_it_reaps_orphans(start, tmp_path):
    # each request leaves an orphan that ends at once; `ps` of the name space shows no zombies
    unshare = ["unshare", "--pid", "--fork", "--kill-child", "--mount-proc"]
    if os.getuid() != 0:
        unshare.insert(1, "--map-root-user")
    dog = start(fprocess="sh -c '(sleep 0.01 & echo $! >> orphans) & cat /proc/[0-9]*/stat'",
                fprocess_quoting="true", command=unshare + [str(WATCHDOG)])
    for _ in range(3):
        dog.request()
    wait_for(lambda: (tmp_path / "orphans").read_text().count("\n") == 3)
    wait_for(lambda: b") Z 1 " not in dog.request().body, "no zombies")
    children = pathlib.Path(f"/proc/{dog.process.pid}/task/{dog.process.pid}/children").read_text()
    os.kill(int(children.split()[0]), signal.SIGTERM)  # unshare itself passes nothing on
    assert dog.wait() == 0


# ---- Sockets ----


def test_without_an_inherited_socket_the_port_is_bound(start):
    assert start(inherit=False, fprocess="echo yes").request().body == b"yes\n"


def test_the_usual_variables_of_an_inherited_socket_will_do(start):
    dog = start(fprocess="env", FNGATE_LISTEN_FD="", command=[
        "/bin/sh", "-c", f'export LISTEN_FDS=1 LISTEN_PID=$$; exec {shlex.quote(str(WATCHDOG))}'])
    assert b"LISTEN_" not in dog.request().body


def test_a_socket_meant_for_another_is_left_alone(start, tmp_path):
    port = free_port()
    dog = start(ready=False, fprocess="echo own", FNGATE_LISTEN_FD="", LISTEN_FDS="1",
                LISTEN_PID="1", port=port)
    dog.port = port
    dog.wait_ready()
    assert dog.request().body == b"own\n"


def test_another_s_number_does_not_matter_when_the_socket_is_ours(start):
    dog = start(fprocess="echo yes", LISTEN_FDS="1", LISTEN_PID="1")
    assert dog.request().body == b"yes\n"


# ---- Metrics ----


def test_metrics_count_by_code_and_method(start):
    port = free_port()
    dog = start(fprocess="cat", metrics_port=port)
    dog.request("POST", body=b"1")
    dog.request("POST", body=b"1")
    dog.request("GET")

    def page():
        with contextlib.closing(http.client.HTTPConnection("127.0.0.1", port)) as conn:
            conn.request("GET", "/metrics")
            return conn.getresponse().read().decode()

    text = wait_for(lambda: (t := page()) and 'total{code="200",method="get"} 1' in t and t)
    assert 'http_requests_total{code="200",method="post"} 2\n' in text
    assert 'http_request_duration_seconds_bucket{code="200",method="post",le="+Inf"} 2\n' in text
    assert 'http_request_duration_seconds_count{code="200",method="post"} 2\n' in text
    assert "http_requests_in_flight 0\n" in text


# ---- Files ----


def test_static_serves_files_and_nothing_above(start, tmp_path):
    site = tmp_path / "site"
    (site / "sub").mkdir(parents=True)
    (site / "index.html").write_text("front")
    (site / "sub" / "a b.txt").write_text("spaced")
    (site / "big").write_bytes(os.urandom(3 << 20))
    (site / "way-out").symlink_to("/etc/passwd")
    (tmp_path / "secret").write_text("secret")
    dog = start(mode="static", static_path=str(site))
    answer = dog.request(path="/")
    assert (answer.body, answer.getheader("Content-Type")) == (b"front", "text/html; charset=utf-8")
    assert dog.request(path="/sub/a%20b.txt").body == b"spaced"
    assert dog.request(path="/big").body == (site / "big").read_bytes()
    assert dog.request("HEAD", "/big").getheader("Content-Length") == str(3 << 20)
    for path in ("/../secret", "/sub/../../secret", "/%2e%2e/secret", "/way-out", "/none", "/sub"):
        assert dog.request(path=path).status == 404, path
    assert dog.request("POST", "/").status == 405
