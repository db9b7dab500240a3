"""The data plane on the wire, in front of scripted upstreams: streaming, tunnels, truncation, early
answers, TLS, memory, takeover."""
import os
import pathlib
import re
import select
import signal
import socket
import ssl
import subprocess
import threading
import time
import zlib

import pytest

from conftest import wait_for
from upstream import Upstream, fields, read_head, static_config

BIG = int(float(os.environ.get("BIG_GIB", "0.25")) * (1 << 30))
BLOCK = bytes(range(256)) * 4096  # 1 MiB


@pytest.fixture
def serve(make_gateway):
    """serve(handler, ...) starts a gateway in front of an upstream that runs the handler."""
    upstreams = []

    def start(handler, extra="", unix=None, **kw):
        upstream = Upstream(handler, unix)
        upstreams.append(upstream)
        gateway = make_gateway(static_config({"f": upstream.address}, extra), **kw)
        gateway.upstream = upstream
        return gateway.start()

    yield start
    for upstream in upstreams:
        upstream.close()


def connect(gateway, context=None):
    client = socket.create_connection(("127.0.0.1", gateway.port), 20)
    client.settimeout(30)
    return context.wrap_socket(client, server_hostname="localhost") if context else client


def read_all(client):
    data = b""
    while True:
        try:
            piece = client.recv(65536)
        except ConnectionResetError:
            return data
        if not piece:
            return data
        data += piece


def request_of(target="/function/f", method="GET", headers=(), body=None):
    lines = [f"{method} {target} HTTP/1.1", "Host: gate.example", *headers]
    if body is not None:
        lines.append(f"Content-Length: {len(body)}")
    return ("\r\n".join(lines) + "\r\n\r\n").encode() + (body or b"")


def answer(status="200 OK", headers=(), body=b""):
    return (f"HTTP/1.1 {status}\r\nContent-Length: {len(body)}\r\n" + "".join(f"{h}\r\n" for h in headers)
            + "\r\n").encode() + body


def answering(make):
    """An upstream handler that answers each request head with make(head), keeping the connection."""
    def handler(connection):
        rest = b""
        while True:
            got = read_head(connection, rest)
            if not got:
                return
            head, rest = got
            length = int(fields(head).get("content-length", 0))
            while len(rest) < length:
                rest += connection.recv(65536)
            rest = rest[length:]
            connection.sendall(make(head))
    return handler


def test_the_request_is_forwarded_raw_and_hop_by_hop_fields_are_not(serve):
    seen = []

    def make(head):
        seen.append(head)
        return answer(headers=["Connection: X-Secret", "X-Secret: 1", "Keep-Alive: timeout=5", "X-Kept: yes"])
    gateway = serve(answering(make))
    with connect(gateway) as client:
        client.sendall(request_of("/function/f/a%2Fb//c/../d?q=%41&&x", headers=[
            "Connection: close, X-Drop", "X-Drop: 1", "TE: trailers", "Proxy-Authorization: x", "X-Stay: 2",
            "X-Forwarded-For: 6.6.6.6", "Cookie: a=b"]))
        reply = read_all(client)
    assert seen[0].startswith(b"GET /a%2Fb//c/../d?q=%41&&x HTTP/1.1\r\n")
    got = fields(seen[0])
    assert got["host"] == "gate.example" and got["x-stay"] == "2" and got["cookie"] == "a=b"
    assert got["x-forwarded-for"] == "127.0.0.1" and got["via"] == "1.1 fngate"
    assert not {"x-drop", "te", "proxy-authorization"} & set(got)
    assert b"X-Kept: yes" in reply and b"X-Secret" not in reply and b"Keep-Alive" not in reply


@pytest.mark.parametrize("trusted, expected", [("[]", "127.0.0.1"), ("[127.0.0.1, '::1']", "6.6.6.6, 127.0.0.1")])
def test_forwarded_fields_are_kept_from_trusted_proxies_only(serve, trusted, expected):
    seen = []
    gateway = serve(answering(lambda head: seen.append(head) or answer()), extra=f"proxy:\n  trusted: {trusted}\n")
    gateway.call("f", headers={"X-Forwarded-For": "6.6.6.6", "X-Forwarded-Proto": "https"})
    got = fields(seen[0])
    assert got["x-forwarded-for"] == expected
    assert got["x-forwarded-proto"] == ("https" if "6.6.6.6" in expected else "http")


def test_pipelined_requests_are_answered_in_order(serve):
    gateway = serve(answering(lambda head: answer(body=head.split(b" ")[1])))
    with connect(gateway) as client:
        client.sendall(b"".join(request_of(f"/function/f/{i}") for i in range(20)) +
                       request_of("/function/f/last", headers=["Connection: close"]))
        reply = read_all(client)
    bodies = re.findall(rb"\r\n\r\n/(\d+|last)", reply)
    assert bodies == [b"%d" % i for i in range(20)] + [b"last"]


def test_events_arrive_as_they_are_sent(serve):
    go_on = threading.Event()

    def handler(connection):
        read_head(connection)
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
                           b"8\r\ndata: 1\n\r\n")
        go_on.wait(20)
        connection.sendall(b"8\r\ndata: 2\n\r\n0\r\n\r\n")
    gateway = serve(handler)
    with connect(gateway) as client:
        client.sendall(request_of(headers=["Connection: close"]))
        got = b""
        while b"data: 1\n" not in got:
            got += client.recv(4096)
        assert b"data: 2" not in got
        go_on.set()
        assert b"data: 2\n" in read_all(client)


def test_websocket_frames_pass_both_ways_and_half_close_ends_it(serve):
    def handler(connection):
        head, rest = read_head(connection)
        assert fields(head)["upgrade"] == "websocket"
        connection.sendall(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                           b"Sec-WebSocket-Accept: x\r\n\r\nfirst")
        data = rest
        while data != b"ping":
            data += connection.recv(100)
        connection.sendall(b"pong")
        assert connection.recv(100) == b""
    gateway = serve(handler)
    with connect(gateway) as client:
        client.sendall(request_of(headers=["Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Key: x",
                                           "Sec-WebSocket-Version: 13"]))
        got = b""
        while not got.endswith(b"first"):
            got += client.recv(4096)
        assert got.startswith(b"HTTP/1.1 101 ")
        client.sendall(b"ping")
        assert client.recv(100) == b"pong"
        client.shutdown(socket.SHUT_WR)
        assert read_all(client) == b""


def test_expect_continue_is_answered_before_the_body_comes(serve):
    gateway = serve(answering(lambda head: answer(body=b"done")))
    with connect(gateway) as client:
        client.sendall(b"POST /function/f HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 4\r\nConnection: close\r\n\r\n")
        assert client.recv(4096).startswith(b"HTTP/1.1 100 ")
        client.sendall(b"body")
        assert read_all(client).endswith(b"done")


def test_an_early_answer_is_relayed_while_the_body_is_pending(serve):
    def handler(connection):
        read_head(connection)
        connection.sendall(answer("403 Forbidden", body=b"no"))
        time.sleep(0.2)
    gateway = serve(handler)
    with connect(gateway) as client:
        client.sendall(b"POST /function/f HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000\r\n\r\nxxxx")
        got = b""
        while b"\r\n\r\nno" not in got:
            got += client.recv(4096)
        assert got.startswith(b"HTTP/1.1 403 ")


@pytest.mark.parametrize("head", [b"Content-Length: 100\r\n", b"Transfer-Encoding: chunked\r\n"])
def test_truncation_stays_visible(serve, head):
    def handler(connection):
        read_head(connection)
        body = b"5\r\nhello\r\n" if b"chunked" in head else b"hello"
        connection.sendall(b"HTTP/1.1 200 OK\r\n" + head + b"\r\n" + body)
    gateway = serve(handler)
    with connect(gateway) as client:
        client.sendall(request_of())
        reply = read_all(client)
    assert b"hello" in reply and not reply.endswith(b"0\r\n\r\n")


def test_a_client_that_leaves_cancels_the_call(serve):
    ended = threading.Event()

    def handler(connection):
        read_head(connection)
        if connection.recv(1) == b"":
            ended.set()
    gateway = serve(handler)
    with connect(gateway) as client:
        client.sendall(request_of())
        wait_for(lambda: gateway.upstream.accepted == 1, 10, "the call to reach the upstream")
    assert ended.wait(10)


def test_a_function_that_is_too_slow_is_a_504_with_the_time(serve):
    gateway = serve(lambda connection: time.sleep(10), extra="timeouts:\n  request: 500ms\n")
    reply = gateway.call("f")
    assert reply.status == 504 and reply.headers["X-OpenFaaS-Internal"]
    assert "timeout" in reply.text and re.search(r"0\.\d+ s", reply.text)


def test_a_post_is_never_sent_twice_and_a_get_on_a_stale_connection_is(serve):
    state = {"requests": [], "stale": True}

    def handler(connection):
        rest = b""
        served = 0
        while True:
            got = read_head(connection, rest)
            if not got:
                return
            head, rest = got
            length = int(fields(head).get("content-length", 0))
            while len(rest) < length:
                rest += connection.recv(65536)
            rest = rest[length:]
            state["requests"].append(head.split(b" ")[0])
            if served and state["stale"]:
                return  # the second request of a connection gets no answer
            connection.sendall(answer(body=b"ok"))
            served += 1
    gateway = serve(handler, extra="workers: 1\n")
    with connect(gateway) as client:
        def exchange(request):
            client.sendall(request)
            got = b""
            while b"\r\n\r\n" not in got or not re.search(rb"\r\n\r\n.+", got, re.S):
                got += client.recv(65536)
            return got
        assert exchange(request_of()).startswith(b"HTTP/1.1 200")
        assert exchange(request_of()).startswith(b"HTTP/1.1 200")  # retried on a fresh connection
        assert state["requests"] == [b"GET"] * 3
        assert exchange(request_of(method="POST", body=b"once")).startswith(b"HTTP/1.1 502")
        assert state["requests"].count(b"POST") == 1


@pytest.mark.parametrize("raw, status", [
    (b"GET /function/f HTTP/1.1\r\n\r\n", 400),
    (b"GET /function/f HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", 400),
    (b"GET /function/f HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n", 400),
    (b"GET /function/f HTTP/1.1\r\nHost: a\r\nContent-Length: +1\r\n\r\n", 400),
    (b"GET /function/f HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip, chunked\r\n\r\n", 501),
    (b"GET /function/f HTTP/1.1\r\nHost: a\r\n X: folded\r\n\r\n", 400),
    (b"GET /function/f HTTP/1.1\r\nHost: a\r\nX : y\r\n\r\n", 400),
    (b"GET /function/f HTTP/1.1\r\nHost: a\r\nX: a\0b\r\n\r\n", 400),
    (b"GET /function/f HTTP/1.1\nHost: a\n\n", 400),
    (b"GET /function/f HTTP/2.0\r\nHost: a\r\n\r\n", 505),
    (b"GET /function/f HTTP/1.1\r\nHost: a\r\nConnection: Content-Length\r\n\r\n", 400),
    (b"GET /function/f#x HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    (b"GET /function/f HTTP/1.1\r\nHost: a\r\nX: " + b"y" * 70000 + b"\r\n\r\n", 431),
    (b"GET /function/f/" + b"y" * 9000 + b" HTTP/1.1\r\nHost: a\r\n\r\n", 414),
    (b"\x16\x03\x01\x02\x00\x01\x00", 400),
])
def test_ambiguous_requests_never_reach_the_function(serve, raw, status):
    reached = []
    gateway = serve(answering(lambda head: reached.append(head) or answer()))
    with connect(gateway) as client:
        client.sendall(raw)
        client.shutdown(socket.SHUT_WR)
        reply = read_all(client)
    assert reply.startswith(b"HTTP/1.1 %d " % status), reply[:200]
    assert not reached


# ---- Big bodies, memory ----

def rss_kib(pid):
    return int(re.search(r"VmRSS:\s+(\d+)", pathlib.Path(f"/proc/{pid}/status").read_text()).group(1))


def peak_kib(pid):
    return int(re.search(r"VmHWM:\s+(\d+)", pathlib.Path(f"/proc/{pid}/status").read_text()).group(1))


def reset_peak(pid):
    pathlib.Path(f"/proc/{pid}/clear_refs").write_text("5")


def echo_handler(chunked):
    """Sends BIG bytes while it reads BIG bytes, and ends with the checksum of what it read."""
    def handler(connection):
        got = read_head(connection)
        if not got:
            return
        head, rest = got
        result = {}

        def receive():
            crc, left = zlib.crc32(rest), int(fields(head)["content-length"]) - len(rest)
            while left:
                piece = connection.recv(min(left, 1 << 20))
                if not piece:
                    return
                crc, left = zlib.crc32(piece, crc), left - len(piece)
            result["crc"] = crc
        receiver = threading.Thread(target=receive)
        receiver.start()
        framing = b"Transfer-Encoding: chunked" if chunked else b"Content-Length: %d" % (BIG + 8)
        connection.sendall(b"HTTP/1.1 200 OK\r\n" + framing + b"\r\n\r\n")
        for _ in range(BIG // len(BLOCK)):
            connection.sendall(b"%x\r\n%s\r\n" % (len(BLOCK), BLOCK) if chunked else BLOCK)
        receiver.join()
        end = b"%08x" % result["crc"]
        connection.sendall(b"8\r\n%s\r\n0\r\n\r\n" % end if chunked else end)
    return handler


def make_certificate(folder, name="localhost"):
    subprocess.run(["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", f"/CN={name}",
                    "-addext", f"subjectAltName=DNS:{name}", "-keyout", f"{folder}/key.pem", "-out", f"{folder}/cert.pem"],
                   check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


class Reader:
    """Takes the bytes of a reply in any pieces, checks the framing, keeps length and checksum of the
    body; the last 8 bytes are kept apart."""

    def __init__(self, chunked):
        self.chunked, self.data, self.in_head = chunked, b"", True
        self.left = 0 if chunked else BIG + 8
        self.total, self.crc, self.tail, self.is_complete = 0, 0, b"", False

    def body(self, piece):
        self.total += len(piece)
        piece = self.tail + piece
        self.crc, self.tail = zlib.crc32(piece[:-8], self.crc), piece[-8:]

    def feed(self, data):
        self.data += data
        if self.in_head:
            head, end, rest = self.data.partition(b"\r\n\r\n")
            if not end:
                return
            assert head.startswith(b"HTTP/1.1 200 "), head
            self.in_head, self.data = False, rest
        while self.data and not self.is_complete:
            if self.left:
                piece, self.data = self.data[:self.left], self.data[self.left:]
                self.left -= len(piece)
                self.body(piece)
                self.is_complete = not self.chunked and not self.left
                continue
            line, end, rest = self.data.lstrip(b"\r\n").partition(b"\r\n")
            if not end:
                return
            self.left, self.data = int(line, 16), rest
            self.is_complete = self.left == 0


def exchange(client, reader):
    """Sends BIG bytes while it reads: one thread, as TLS sockets of Python want it."""
    client.setblocking(False)
    to_send = [b"POST /function/big HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % BIG]
    to_send += [BLOCK] * (BIG // len(BLOCK))
    to_send.reverse()
    pending = memoryview(b"")
    end = time.monotonic() + 600
    while not reader.is_complete:
        assert time.monotonic() < end
        if not pending and to_send:
            pending = memoryview(to_send.pop())
        moved = False
        try:
            if pending:
                pending = pending[client.send(pending[:1 << 17]):]
                moved = True
        except (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError):
            pass
        try:
            data = client.recv(1 << 18)
            assert data, "the answer is truncated"
            reader.feed(data)
            moved = True
        except (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError):
            pass
        if not moved:
            select.select([client], [client] if pending else [], [], 1)


@pytest.mark.parametrize("chunked", [False, True], ids=["length", "chunked"])
@pytest.mark.parametrize("tls", [False, True], ids=["plain", "tls"])
def test_big_bodies_both_ways_cost_no_memory(serve, tmp_path, tls, chunked):
    extra, context = "workers: 1\n", None
    if tls:
        make_certificate(tmp_path)
        extra += f"tls:\n  certificate: {tmp_path}/cert.pem\n  key: {tmp_path}/key.pem\n"
        context = ssl.create_default_context(cafile=f"{tmp_path}/cert.pem")
    upstream = Upstream(echo_handler(chunked))
    gateway = serve_with_readiness(serve, upstream, extra, tls)
    pid = gateway.process.pid
    with connect(gateway, context) as client:  # warm up: one small refused call
        client.sendall(request_of("/function/nope", headers=["Connection: close"]))
        read_all(client)
    before = rss_kib(pid)
    reset_peak(pid)
    reader = Reader(chunked)
    with connect(gateway, context) as client:
        exchange(client, reader)
    upstream.close()
    expected = 0
    for _ in range(BIG // len(BLOCK)):
        expected = zlib.crc32(BLOCK, expected)
    assert reader.total == BIG + 8
    assert reader.crc == expected and reader.tail == b"%08x" % expected
    grown = peak_kib(pid) - before
    print(f"peak memory grew by {grown} KiB over {BIG >> 20} MiB each way")
    if not re.search("asan|tsan", os.environ.get("FNGATE_BUILD", "")):  # they keep freed memory for a while
        assert grown <= 1024


def serve_with_readiness(serve, upstream, extra, tls):
    """A gateway in front of `upstream` as function `big`; over TLS readiness is read from its log."""
    from conftest import Gateway
    gateway = None
    original = Gateway.wait_ready
    if tls:
        Gateway.wait_ready = lambda self, timeout=30: wait_for(lambda: "serving on" in self.log(), timeout, "the gateway to serve")
    try:
        gateway = serve(lambda connection: None, extra=extra)
        gateway.stop()
        gateway.write_config(static_config({"big": upstream.address}, extra))
        gateway.log_path.write_text("")
        gateway.start()
    finally:
        Gateway.wait_ready = original
    return gateway


def test_sighup_reads_the_certificate_again(serve, tmp_path):
    make_certificate(tmp_path, "one.example")
    upstream = Upstream(answering(lambda head: answer(body=b"ok")))
    extra = f"tls:\n  certificate: {tmp_path}/cert.pem\n  key: {tmp_path}/key.pem\n"
    gateway = serve_with_readiness(serve, upstream, extra, tls=True)

    def name():
        pem = ssl.get_server_certificate(("127.0.0.1", gateway.port))
        text = subprocess.run(["openssl", "x509", "-noout", "-subject"], input=pem, text=True, stdout=subprocess.PIPE, check=True)
        return text.stdout
    assert "one.example" in name()
    make_certificate(tmp_path, "two.example")
    gateway.process.send_signal(signal.SIGHUP)
    wait_for(lambda: "two.example" in name(), 10, "the new certificate")
    (tmp_path / "key.pem").write_text("broken")
    gateway.process.send_signal(signal.SIGHUP)
    wait_for(lambda: "reload refused" in gateway.log(), 10, "the refusal")
    assert "two.example" in name()
    upstream.close()


def test_a_unix_socket_endpoint(serve, tmp_path):
    gateway = serve(answering(lambda head: answer(body=b"over unix")), unix=tmp_path / "f.sock")
    assert gateway.call("f").text == "over unix"


@pytest.mark.parametrize("rounds", [int(os.environ.get("TAKEOVERS", "10"))])
def test_takeovers_under_load_lose_no_call(serve, rounds):
    gateway = serve(answering(lambda head: answer(body=b"ok")))
    stop, failures, calls = threading.Event(), [], [0]

    def load():
        while not stop.is_set():
            try:
                with connect(gateway) as client:
                    client.sendall(request_of(headers=["Connection: close"]))
                    if not read_all(client).endswith(b"ok"):
                        failures.append("bad answer")
            except OSError as error:
                failures.append(repr(error))
            calls[0] += 1
    threads = [threading.Thread(target=load) for _ in range(4)]
    for thread in threads:
        thread.start()
    try:
        for _ in range(rounds):
            older = gateway.process
            gateway.process = gateway.spawn("--takeover")
            older.wait(60)
            assert older.returncode == 0
            gateway.wait_ready()
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    print(f"{rounds} takeovers, {calls[0]} calls, {len(failures)} failed")
    assert not failures, failures[:5]
    assert calls[0] > rounds
