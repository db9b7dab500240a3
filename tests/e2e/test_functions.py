"""Functions through the API and the proxy: life, scale, logs, secrets, faults."""
import concurrent.futures
import json
import os
import signal
import socket

import pytest

from conftest import free_port, wait_for


def test_a_deploy_that_returned_is_listed_described_and_invocable_at_once(gateway):
    for i in range(10):
        gateway.deploy(f"echo-{i}")
        assert gateway.status(f"echo-{i}")["envProcess"] == "cat"
        assert gateway.call(f"echo-{i}", f"n{i}".encode()).text == f"n{i}"
    assert len(gateway.api("GET", "/system/functions").json()) == 10


def test_create_twice_conflicts_and_update_of_unknown_is_not_found(gateway):
    gateway.deploy("echo")
    gateway.deploy("echo", expect=409)
    gateway.deploy("other", method="PUT", expect=404)
    gateway.deploy("echo", "wc -c", method="PUT")
    wait_for(lambda: gateway.call("echo", b"12345").text.strip() == "5", 15, "the new version to answer")


@pytest.mark.parametrize("fields, where", [
    ({"service": "Bad_Name"}, "service"),
    ({"service": ""}, "service"),
    ({"image": ""}, "image"),
    ({"labels": {"com.openfaas.scale.min": "many"}}, "com.openfaas.scale.min"),
    ({"secrets": ["missing"]}, "secret"),
    ({"envVars": {"a": 1}}, "envVars"),
    ({"namespace": "nowhere"}, "namespace"),
    ({"image": "no/such/folder"}, "image"),
])
def test_a_bad_deploy_names_the_field(gateway, fields, where):
    body = {"service": "x", "image": "process", "envProcess": "cat", **fields}
    reply = gateway.api("POST", "/system/functions", body)
    assert reply.status == 400, reply
    assert where in reply.text


def test_scale_up_to_zero_and_from_zero(gateway):
    gateway.deploy("echo")
    gateway.wait_available("echo", 1)
    gateway.scale("echo", 3)
    gateway.wait_available("echo", 3)
    assert len(gateway.function_pids()) >= 3
    gateway.scale("echo", 0)
    gateway.wait_available("echo", 0)
    wait_for(lambda: not gateway.function_pids(), 20, "all replicas to end")
    assert gateway.call("echo", b"awake").body == b"awake"
    assert gateway.status("echo")["replicas"] == 1


def test_many_calls_to_a_function_at_zero_are_all_answered(gateway):
    gateway.deploy("echo")
    gateway.wait_available("echo", 1)
    gateway.scale("echo", 0)
    gateway.wait_available("echo", 0)
    with concurrent.futures.ThreadPoolExecutor(50) as pool:
        replies = list(pool.map(lambda i: gateway.call("echo", f"{i}".encode()), range(200)))
    assert [reply.text for reply in replies] == [str(i) for i in range(200)]


def test_an_idle_function_goes_to_zero_and_comes_back(gateway):
    gateway.deploy("nap", labels={"com.openfaas.scale.zero": "true", "com.openfaas.scale.zero-duration": "1s"})
    gateway.wait_available("nap", 1)
    gateway.wait_available("nap", 0)
    assert gateway.status("nap").get("replicas", 0) == 0
    assert gateway.call("nap", b"up").body == b"up"


def test_path_query_method_and_fields_reach_the_function(gateway):
    gateway.deploy("env", "env")
    gateway.wait_available("env")
    reply = gateway.request("PUT", "/function/env/a%2Fb/c?x=1&y=%20", b"", headers={"X-One": "1"})
    seen = dict(line.split("=", 1) for line in reply.text.splitlines() if "=" in line)
    assert seen["Http_Method"] == "PUT"
    assert seen["Http_Query"] == "x=1&y=%20"
    assert seen["Http_Path"] in ("/a%2Fb/c", "/a/b/c")
    assert seen["Http_X_One"] == "1"
    assert seen["Http_X_Call_Id"] == reply.headers["X-Call-Id"]
    assert reply.headers["X-Start-Time"].isdigit()


def test_unknown_functions_and_hostile_names(gateway):
    reply = gateway.call("nope")
    assert reply.status == 404 and reply.headers["X-OpenFaaS-Internal"]
    for name in ("..%2f..%2fsystem", "a%00b", "a%0a", "UPPER", "-x", "a" * 200):
        assert gateway.call(name).status in (400, 404), name


def test_a_command_that_is_no_program_is_refused_with_its_name(gateway):
    reply = gateway.api("POST", "/system/functions",
                        {"service": "broken", "image": "process", "envProcess": "/no/such/program"})
    assert reply.status == 400 and "/no/such/program" in reply.text and "envProcess" in reply.text


def test_a_client_that_leaves_while_its_call_waits_for_a_replica_is_noticed(gateway):
    """Its body stays unread until a replica is there, so only the close itself tells."""
    gateway.deploy("never", "sleep 1000", envVars={"mode": "http", "upstream_url": "http://127.0.0.1:1"})

    def waiting(number):
        line = b'inflight{function_name="never.openfaas-fn"} %d' % number
        wait_for(lambda: line in gateway.request("GET", "/metrics", port=gateway.metrics_port).body, 20,
                 f"{number} calls to wait")
    for body in (b"", b"part", b"the whole"):
        with socket.create_connection(("127.0.0.1", gateway.port)) as client:
            client.sendall(b"POST /function/never HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n" + body)
            waiting(1)
        waiting(0)


def test_a_function_that_crashes_at_its_start_says_why(gateway):
    gateway.deploy("broken", "sh -c 'echo no database >&2; exit 3'", annotations={"com.openfaas.timeout": "5s"},
                   envVars={"mode": "http", "upstream_url": "http://127.0.0.1:1"})
    reply = gateway.call("broken")
    assert reply.status in (502, 503, 504), reply
    reason = wait_for(lambda: gateway.status("broken").get("reason"), 20, "the reason in the status")
    assert "no database" in reason or "3" in reason, reason


def test_logs_tail_and_follow(gateway):
    gateway.deploy("talk", "sh -c 'echo first >&2; cat'")
    gateway.wait_available("talk")
    gateway.call("talk", b"1")

    def said():
        lines = gateway.api("GET", "/system/logs?name=talk&tail=-1").text.splitlines()
        return [json.loads(line) for line in lines if "first" in line]
    message = wait_for(said, 15, "the line in the log")[0]
    assert message["name"] == "talk" and message["namespace"] == "openfaas-fn" and message["instance"]
    assert gateway.api("GET", "/system/logs?name=nope").status == 404
    assert gateway.api("GET", "/system/logs?name=talk&tail=x").status == 422
    with socket.create_connection(("127.0.0.1", gateway.port)) as client:
        client.sendall(f"GET /system/logs?name=talk&follow=1&tail=-1 HTTP/1.1\r\nHost: x\r\n"
                       f"Authorization: {gateway.auth_header()}\r\n\r\n".encode())
        client.settimeout(20)
        seen = client.recv(65536)
        gateway.scale("talk", 0)
        gateway.wait_available("talk", 0)
        gateway.call("talk", b"2")
        while seen.count(b"first") < 2:
            piece = client.recv(65536)
            assert piece, "the follow stream ended"
            seen += piece


def test_secrets_are_written_read_inside_and_never_shown(gateway):
    assert gateway.api("POST", "/system/secrets", {"name": "token", "value": "s3cret"}).status == 202
    assert gateway.api("POST", "/system/secrets", {"name": "token", "value": "s3cret"}).status == 409
    listed = gateway.api("GET", "/system/secrets")
    assert [item["name"] for item in listed.json()] == ["token"] and "s3cret" not in listed.text
    gateway.deploy("show", "sh -c 'cat $OPENFAAS_SECRETS_DIR/token'", secrets=["token"])
    assert gateway.call("show").text == "s3cret"
    assert gateway.api("PUT", "/system/secrets", {"name": "token", "rawValue": "AAEC"}).status == 202
    wait_for(lambda: gateway.call("show").body == b"\0\1\2", 15, "the new value to be seen")
    assert gateway.api("DELETE", "/system/secrets", {"name": "token"}).status == 202
    assert gateway.api("DELETE", "/system/secrets", {"name": "token"}).status == 404
    assert "s3cret" not in gateway.log()


def test_a_function_in_another_namespace(gateway):
    assert gateway.api("POST", "/system/namespace/", {"name": "team"}).status == 201
    gateway.deploy("echo", "wc -c", namespace="team")
    gateway.deploy("echo", "cat")
    assert gateway.call("echo.team", b"123").text.strip() == "3"
    assert gateway.call("echo", b"123").text == "123"
    assert gateway.call("echo.openfaas-fn", b"123").text == "123"
    assert gateway.api("DELETE", "/system/namespace/team", {"name": "team"}).status == 409
    assert gateway.api("DELETE", "/system/functions", {"functionName": "echo", "namespace": "team"}).status == 202
    wait_for(lambda: gateway.api("DELETE", "/system/namespace/team", {"name": "team"}).status == 202, 15, "the removal")


def test_updates_under_load_fail_no_call(gateway):
    gateway.deploy("echo", envVars={"round": "0"})
    gateway.wait_available("echo")
    failures, stop = [], []

    def load():
        while not stop:
            reply = gateway.call("echo", b"payload")
            if reply.status != 200 or reply.body != b"payload":
                failures.append(reply)
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        tasks = [pool.submit(load) for _ in range(8)]
        for round in range(1, 11):
            gateway.deploy("echo", method="PUT", envVars={"round": str(round)})
            gateway.wait_available("echo")
        stop.append(True)
        for task in tasks:
            task.result()
    assert not failures, failures[:5]
    wait_for(lambda: len(gateway.function_pids()) <= 2, 30, "the old replicas to be gone")


def test_metrics_have_the_openfaas_names(gateway):
    gateway.deploy("echo")
    gateway.wait_available("echo")
    for _ in range(4):
        gateway.call("echo", b"x")
    gateway.call("nope")
    text = gateway.request("GET", "/metrics", port=gateway.metrics_port).text
    assert 'gateway_function_invocation_total{function_name="echo.openfaas-fn",code="200"} 4' in text
    assert 'gateway_functions_seconds_count{function_name="echo.openfaas-fn",code="200"} 4' in text
    assert 'gateway_service_count{function_name="echo.openfaas-fn"} 1' in text
    assert "nope" not in text
    assert gateway.request("GET", "/metrics").status in (401, 404)


def test_the_access_log_says_who_answered_after_how_long(make_gateway):
    gateway = make_gateway("log:\n  access: json\n").start()
    gateway.deploy("echo")
    gateway.wait_available("echo")
    gateway.scale("echo", 0)
    gateway.wait_available("echo", 0)
    gateway.call("echo", b"cold")
    gateway.call("echo", b"warm")
    gateway.call("nope")

    def records():
        lines = [json.loads(line) for line in gateway.log().splitlines() if line.startswith("{")]
        return lines if len(lines) == 3 else None
    cold, warm, unknown = wait_for(records, 10, "three access records")
    assert cold["cold"] and 0 < cold["parked_ms"] <= cold["total_ms"]
    assert not warm["cold"] and warm["parked_ms"] == 0 and warm["layer"] == "function" and warm["bytes_in"] == 4
    assert unknown["status"] == 404 and unknown["fault"] == "unknown-function" and unknown["layer"] == "gateway"


def test_what_a_killed_watchdog_left_running_is_ended_before_the_restart(gateway):
    port = free_port()
    server = f"/usr/bin/python3 -m http.server {port} --bind 127.0.0.1"
    gateway.deploy("web", server, envVars={"mode": "http", "upstream_url": f"http://127.0.0.1:{port}"})
    gateway.wait_available("web")
    before = gateway.function_pids()
    leader = next(pid for pid in before if os.path.basename(os.readlink(f"/proc/{pid}/exe")) == "fwatchdog")
    os.kill(leader, signal.SIGKILL)
    wait_for(lambda: not set(before) & set(gateway.function_pids()), 20, "the former processes to be gone")
    wait_for(lambda: gateway.call("web", method="GET").status == 200, 20, "the function to answer again")
