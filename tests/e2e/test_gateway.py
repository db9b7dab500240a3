"""The gateway as its operator sees it: start, wrong configurations, authentication, stop, restart."""
import os
import re
import signal
import socket
import subprocess

import pytest

from conftest import BUILD, ROOT, free_port, wait_for


def run(*arguments, **kw):
    return subprocess.run([BUILD / "fngate", *arguments], text=True, timeout=60, check=False,
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE, **kw)


def test_check_accepts_the_documented_configuration():
    result = run("check", str(ROOT / "etc" / "fngate.yaml"))
    assert result.returncode == 0, result.stderr
    assert "ok" in result.stdout


@pytest.mark.parametrize("text, complaint", [
    ("version: 2\n", r":1: fngate: 'version' must be .*1.*'2'"),
    ("version: 1\nlisten: nonsense\n", r"listen: 'nonsense'"),
    ("version: 1\nlisten: 127.0.0.1:0x1\n", r"listen: "),
    ("version: 1\ntimeuots:\n  request: 5s\n", r":2: fngate: .*'timeuots'.*'timeouts'"),
    ("version: 1\ntimeouts:\n  request: fast\n", r":3: timeouts: 'request' must be a duration"),
    ("version: 1\nlog:\n  level: loud\n", r"log.level: 'loud' is none of error\|warn\|info\|debug"),
    ("version: 1\ntls:\n  certificate: x\n", r"`certificate` and `key` belong together"),
    ("version: 1\nproxy:\n  trusted: [10.0.0.0/8]\n", r"proxy.trusted: '10.0.0.0/8' is no IP address"),
    ("version: 1\nstore:\n  plugin: no-such\n", r"no-such"),
    ("version: 1\nstore:\n  plugin: provider-static\n", r"is a provider, not a store"),
    ("version: 1\nproviders: []\n", r"at least one provider"),
    ("version: 1\nproviders:\n  - plugin: provider-process\n  - plugin: provider-process\n", r"is taken by line 3"),
    ("version: 1\nproviders:\n  - plugin: provider-process\n    name: a\n  - plugin: provider-static\n    name: b\n",
     r"exactly one must"),
    ("version: [1\n", r":\d+: "),
])
def test_a_wrong_configuration_is_named_by_file_and_line(tmp_path, text, complaint):
    if "providers:" not in text:
        text += "providers:\n  - plugin: provider-process\n"
    if "store:" not in text:
        text += "store:\n  plugin: store-sqlite\n"
    file = tmp_path / "wrong.yaml"
    file.write_text(text)
    for command in (["check", str(file)], ["serve", "-c", str(file)]):
        result = run(*command, cwd=tmp_path)
        assert result.returncode == 1, (command, result)
        assert re.search(complaint, result.stderr), result.stderr
        assert "wrong.yaml" in result.stderr


def test_plugins_lists_and_describes():
    listed = run("plugins")
    assert listed.returncode == 0
    for name in ("provider-process", "provider-static", "store-sqlite"):
        assert name in listed.stdout
    described = run("plugins", str(BUILD / "plugins" / "provider-process.so"))
    assert "functions_root" in described.stdout and "activate" in described.stdout
    assert run("plugins", "/nonexistent.so").returncode == 1


def test_version_names_the_parser_and_the_abi():
    printed = run("version").stdout
    assert "llhttp" in printed and "plugin ABI 0.1" in printed


def test_authentication_is_on_from_the_first_start(gateway):
    password_file = gateway.state / "auth" / "basic-auth-password"
    assert password_file.stat().st_mode & 0o777 == 0o600
    assert gateway.request("GET", "/system/functions").status == 401
    assert gateway.request("GET", "/system/functions", headers={"Authorization": "Bearer "}).status == 401
    assert gateway.api("GET", "/system/functions").json() == []
    assert gateway.request("GET", "/healthz").status == 200
    assert gateway.request("GET", "/metrics", port=gateway.metrics_port).status == 200
    assert gateway.password not in gateway.log()


def test_flags_win_over_the_file_and_the_environment_over_the_file(make_gateway):
    gateway = make_gateway(env={"function_namespace": "from-env"})
    other = free_port()
    gateway.start("--listen", f"127.0.0.1:{other}", "--listen", f"127.0.0.1:{gateway.port}", "--log-level", "debug")
    assert gateway.request("GET", "/readyz", port=other).status == 200
    assert gateway.api("GET", "/system/namespaces").json() == ["from-env"]
    assert run("serve", "--no-such-flag").returncode == 2


def test_the_openapi_file_is_served(gateway):
    reply = gateway.api("GET", "/system/openapi.yaml")
    assert reply.status == 200 and reply.body == (ROOT / "docs" / "openapi.yaml").read_bytes()


def test_a_taken_port_is_said_so(make_gateway):
    gateway = make_gateway()
    with socket.socket() as s:
        s.bind(("127.0.0.1", gateway.port))
        s.listen()
        process = gateway.spawn()
        assert process.wait(30) == 1
    assert str(gateway.port) in gateway.log() and "in use" in gateway.log()


def test_sigterm_finishes_accepted_requests_and_exits_0(gateway):
    gateway.deploy("slow", "sh -c 'sleep 1; cat'")
    gateway.wait_available("slow")
    with socket.create_connection(("127.0.0.1", gateway.port)) as client:
        client.sendall(b"POST /function/slow HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhello")
        wait_for(lambda: b'inflight{function_name="slow.openfaas-fn"} 1'
                 in gateway.request("GET", "/metrics", port=gateway.metrics_port).body, 10, "the call to be in flight")
        gateway.process.send_signal(signal.SIGTERM)
        client.settimeout(20)
        answer = b""
        while True:
            piece = client.recv(4096)
            if not piece:
                break
            answer += piece
    assert answer.startswith(b"HTTP/1.1 200") and b"hello" in answer
    assert gateway.process.wait(30) == 0


def test_what_does_not_end_in_time_is_cut_and_the_gateway_exits_0(make_gateway):
    gateway = make_gateway("timeouts:\n  drain: 200ms\n").start()
    gateway.deploy("slow", "sh -c 'sleep 1000'")
    gateway.deploy("never", "sleep 1000", envVars={"mode": "http", "upstream_url": "http://127.0.0.1:1"})
    gateway.wait_available("slow")
    head = f" HTTP/1.1\r\nHost: x\r\nAuthorization: {gateway.auth_header()}\r\n"
    clients = []
    for request in ("GET /function/slow", "GET /function/never", "GET /system/logs?name=slow&follow=1&tail=-1"):
        clients.append(socket.create_connection(("127.0.0.1", gateway.port), 20))
        clients[-1].sendall(f"{request}{head}\r\n".encode())
    for request in ("POST /function/slow", "POST /function/never", "POST /system/functions"):
        clients.append(socket.create_connection(("127.0.0.1", gateway.port), 20))
        clients[-1].sendall(f"{request}{head}Content-Length: 9\r\n\r\npart".encode())
    for name in ("slow", "never"):
        line = b'inflight{function_name="%s.openfaas-fn"} 2' % name.encode()
        wait_for(lambda: line in gateway.request("GET", "/metrics", port=gateway.metrics_port).body, 10,
                 f"two calls of {name} to be in flight")
    assert gateway.stop() == 0
    assert "cutting what is left" in gateway.log()
    for client in clients:
        client.close()


def test_functions_counts_and_namespaces_survive_a_restart(gateway):
    gateway.deploy("echo")
    gateway.wait_available("echo")
    assert gateway.api("POST", "/system/namespace/", {"name": "team", "labels": {"a": "b"}}).status == 201
    for _ in range(3):
        assert gateway.call("echo", b"x").body == b"x"
    pids = gateway.function_pids()
    assert gateway.stop() == 0
    gateway.start()
    listed = gateway.api("GET", "/system/functions").json()
    assert [(f["name"], f["invocationCount"]) for f in listed] == [("echo", 3)]
    assert gateway.api("GET", "/system/namespace/team").json()["labels"]["a"] == "b"
    assert gateway.call("echo", b"y").body == b"y"
    assert gateway.function_pids() == pids


def test_kill_9_of_the_gateway_leaves_functions_running(gateway):
    gateway.deploy("echo")
    gateway.wait_available("echo")
    pids = gateway.function_pids()
    for _ in range(5):
        gateway.kill()
        gateway.start()
        assert gateway.call("echo", b"again").body == b"again"
        assert gateway.function_pids() == pids
    assert len(gateway.supervisor_pids()) == 1


def test_kill_9_of_gateway_and_supervisor_leaves_functions_running(gateway):
    gateway.deploy("echo")
    gateway.wait_available("echo")
    pids = gateway.function_pids()
    for _ in range(3):
        for pid in gateway.supervisor_pids():
            os.kill(pid, signal.SIGKILL)
        gateway.kill()
        gateway.start()
        gateway.wait_available("echo")
        assert gateway.call("echo", b"again").body == b"again"
        assert gateway.function_pids() == pids
    assert gateway.api("DELETE", "/system/functions", {"functionName": "echo"}).status == 202
    wait_for(lambda: not gateway.function_pids(), 20, "the removed function's processes to end")


def test_takeover_under_calls_loses_none(gateway):
    gateway.deploy("echo")
    gateway.wait_available("echo")
    older = gateway.process
    for _ in range(3):
        gateway.process = gateway.spawn("--takeover")
        answered = 0
        while older.poll() is None:
            assert gateway.call("echo", b"on").body == b"on"
            answered += 1
        assert older.returncode == 0 and answered > 0
        gateway.wait_ready()
        older = gateway.process
