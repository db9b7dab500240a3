"""Updates under load: every call is answered by the former version or by the new one.

ROLLING_UPDATES and ROLLING_RATE (calls a second) make it longer and harder.
"""
import os

import pytest

from conftest import BUILD, wait_for
from load import Load

UPDATES = int(os.environ.get("ROLLING_UPDATES", "15"))
RATE = int(os.environ.get("ROLLING_RATE", "200"))
DIRECT = {"annotations": {"com.openfaas.process.mode": "direct"}}
DRAIN_S = 5


@pytest.fixture
def start(make_gateway):
    def start(workers=None):
        gateway = make_gateway()
        text = (f"{f'workers: {workers}' if workers else ''}\nproviders:\n  - plugin: provider-process\n    default: true\n"
                f"    config:\n      functions_root: {gateway.folder}/functions\n      drain_timeout: {DRAIN_S}s\n")
        gateway.write_config(text)
        return gateway.start()
    return start


def deploy(gateway, name, version, method="PUT"):
    if name == "direct":
        gateway.deploy(name, str(BUILD / "tests" / "e2e" / "direct_server"), method=method,
                       envVars={"VERSION": str(version)}, **DIRECT)
    else:
        gateway.deploy(name, "cat", method=method, envVars={"VERSION": str(version)})


@pytest.mark.parametrize("workers", [1, 4])
def test_updates_under_mixed_load_fail_no_call(start, workers):
    gateway = start(workers)
    for name in ("direct", "cat"):
        deploy(gateway, name, 0, "POST")
        gateway.wait_available(name)
    with Load(gateway.port, RATE, {"direct": 9, "cat": 1}, slow=["direct"], websocket="direct") as load:
        former = gateway.replica_pids()
        for version in range(1, UPDATES + 1):
            deploy(gateway, "direct", version)
            if version % 3 == 0:
                deploy(gateway, "cat", version)
            wait_for(lambda: str(version) in load.versions["direct"], 30, f"version {version} to answer")
            if version % 2 == 0:  # the others follow at once, while the former version drains
                load.passed(RATE // 5)
        wait_for(lambda: load.websockets > 1, DRAIN_S + 20, "the WebSocket to move to a newer version")
        wait_for(lambda: len(gateway.replica_pids()) == 2, DRAIN_S + 20, "the former replicas to end when drained")
        assert not set(former) & set(gateway.replica_pids())
        assert gateway.call("direct").headers["X-Version"] == str(UPDATES)
    print(f"{workers} workers, {UPDATES} updates: {load.summary()}")
    assert load.failures == [], load.failures[:5]
    assert load.calls["kept POST/slow"] + load.calls["new POST/slow"] > 0 and load.frames > 0
    wait_for(lambda: len(gateway.function_pids()) == 2, 20, "one process for each function")


@pytest.mark.parametrize("command, why", [
    ("sh -c 'echo no database here >&2; exit 3'", ["exit status 3", "no database here"]),
    ("sh -c 'kill -SEGV $$'", ["signal 11"]),
])
def test_an_update_that_never_gets_ready_leaves_the_former_version(start, command, why):
    gateway = start()
    deploy(gateway, "direct", 0, "POST")
    gateway.wait_available("direct")
    before = gateway.replica_pids()
    with Load(gateway.port, RATE, {"direct": 1}, slow=["direct"], websocket="direct") as load:
        gateway.deploy("direct", command, method="PUT", **DIRECT)
        wait_for(lambda: "the former one stays" in gateway.status("direct").get("reason", ""), 40,
                 "the update to be given up")
        reason = gateway.status("direct")["reason"]
        assert all(text in reason for text in why), reason
        wait_for(lambda: gateway.replica_pids() == before, 20, "the failed replica to be gone")
        deploy(gateway, "direct", 2)
        wait_for(lambda: "2" in load.versions["direct"], 20, "a version that works")
        wait_for(lambda: not gateway.status("direct").get("reason"), 20, "the reason to go")
    print(load.summary())
    assert load.failures == [], load.failures[:5]
    assert load.versions["direct"] == {"0", "2"}


def test_a_removed_function_ends_as_soon_as_its_calls_do(gateway):
    for round in range(20):
        deploy(gateway, "cat", round, "POST")
        assert gateway.call("cat", b"x").body == b"x"
        assert gateway.api("DELETE", "/system/functions", {"functionName": "cat"}).status == 202
        wait_for(lambda: not gateway.function_pids(), 20, "its process to end long before the drain timeout")
    assert "refuses" not in gateway.log()
