"""kill -9 of the gateway, of the supervisor and of both, at random moments under load.

The functions are the same processes before and after, their output is kept, and nothing else is
left. KILL_ROUNDS makes it longer, KILL_SEED repeats a run.
"""
import contextlib
import json
import os
import pathlib
import random
import signal
import time

from conftest import BUILD, wait_for
from load import Load

ROUNDS = int(os.environ.get("KILL_ROUNDS", "8"))
SEED = int(os.environ.get("KILL_SEED", random.randrange(1 << 32)))
RATE = 100
TICK_MS = 20
VICTIMS = ("gateway", "supervisor", "both")


def kill_supervisor(gateway):
    """While one starts there are two: the first waits until the second serves."""
    wait_for(lambda: len(gateway.supervisor_pids()) == 1, 20, "one supervisor")
    os.kill(gateway.supervisor_pids()[0], signal.SIGKILL)


def logged_ticks(gateway, replica):
    """The numbers that the function wrote, in their order."""
    text = gateway.api("GET", f"/system/logs?name=direct&tail=-1&instance={replica}").text
    words = [json.loads(line)["text"].split() for line in text.splitlines()]
    return [int(words[1]) for words in words if words[0] == "tick"]


def deploy_all(gateway):
    gateway.deploy("direct", str(BUILD / "tests" / "e2e" / "direct_server"), envVars={"TICK_MS": str(TICK_MS)},
                   annotations={"com.openfaas.process.mode": "direct"})
    gateway.deploy("cat")
    gateway.deploy("three", labels={"com.openfaas.scale.min": "3"})
    gateway.wait_available("direct")
    gateway.wait_available("cat")
    gateway.wait_available("three", 3)


def bring_down(gateway, victim, after_s):
    """Kills, brings up what does not come by itself, and returns when all was answering again."""
    time.sleep(after_s)  # a moment that nobody chose: it is what is tested, not what is waited for
    if victim != "gateway":
        kill_supervisor(gateway)
    if victim != "supervisor":
        gateway.kill()
        gateway.start()
    wait_for(lambda: len(gateway.supervisor_pids()) == 1, 20, "one supervisor")


def remove_all(gateway):
    for name in ("direct", "cat", "three"):
        assert gateway.api("DELETE", "/system/functions", {"functionName": name}).status == 202
    wait_for(lambda: not gateway.function_pids(), 30, "the processes of removed functions to end")


def test_functions_outlive_kill_9_of_gateway_and_supervisor(gateway):
    print(f"KILL_SEED={SEED}")
    chance = random.Random(SEED)
    deploy_all(gateway)
    before, outages, ticks = gateway.replica_pids(), [], 0
    assert len(before) == 5
    with Load(gateway.port, RATE, {"direct": 5, "cat": 1, "three": 1}, slow=["direct"], seed=SEED) as load:
        for round in range(ROUNDS):
            victim = VICTIMS[round % len(VICTIMS)]
            start = time.monotonic()
            bring_down(gateway, victim, chance.random() * 0.3)
            for name in ("direct", "cat", "three"):
                assert gateway.call(name, b"again").body == b"again"
            if victim != "supervisor":
                outages.append((start, time.monotonic()))
            gateway.wait_available("three", 3)
            assert gateway.replica_pids() == before, f"round {round}, {victim} killed"
            last = ticks
            wait_for(lambda: max(logged_ticks(gateway, "direct-0"), default=0) > last + 1000 // TICK_MS // 4, 20,
                     "output after the kill in the log")
            ticks = max(logged_ticks(gateway, "direct-0"))
    print(f"{ROUNDS} rounds, {ticks} lines: {load.summary()}")
    assert load.outside(outages) == []
    seen = logged_ticks(gateway, "direct-0")
    assert set(range(1, ticks + 1)) <= set(seen), "output was lost"
    assert len(gateway.supervisor_pids()) == 1
    remove_all(gateway)


def test_calls_do_not_fail_while_only_the_supervisor_is_dead(gateway):
    """Also when it is killed again and again while the next one takes over."""
    print(f"KILL_SEED={SEED}")
    chance = random.Random(SEED)
    deploy_all(gateway)
    before = gateway.replica_pids()
    with Load(gateway.port, RATE, {"direct": 5, "cat": 1, "three": 1}, slow=["direct"], seed=SEED) as load:
        for _ in range(ROUNDS):
            wait_for(gateway.supervisor_pids, 20, "a supervisor")
            time.sleep(chance.random() * 0.1)
            for pid in gateway.supervisor_pids():
                with contextlib.suppress(ProcessLookupError):  # the first process of one that starts
                    os.kill(pid, signal.SIGKILL)
        wait_for(lambda: len(gateway.supervisor_pids()) == 1, 20, "one supervisor")
        gateway.deploy("late")
        gateway.wait_available("late")
        assert gateway.call("late", b"late").body == b"late"
        gateway.wait_available("three", 3)
    print(load.summary())
    assert load.failures == []
    assert set(before) < set(gateway.replica_pids()) and len(gateway.replica_pids()) == len(before) + 1
    assert gateway.api("DELETE", "/system/functions", {"functionName": "late"}).status == 202
    remove_all(gateway)


def waiting_connections(gateway):
    """Those that the supervisor has not accepted yet; its listening socket is one line as well."""
    lines = pathlib.Path("/proc/net/unix").read_text().splitlines()
    return sum(str(gateway.state) in line and line.endswith("/supervisor.sock") for line in lines) - 1


def test_a_gateway_that_reached_a_dying_supervisor_finds_the_next(gateway):
    gateway.deploy("echo")
    gateway.wait_available("echo")
    before = gateway.replica_pids()
    for _ in range(ROUNDS):
        gateway.kill()
        dying = gateway.supervisor_pids()[0]
        os.kill(dying, signal.SIGSTOP)
        gateway.process = gateway.spawn()
        wait_for(lambda: waiting_connections(gateway) > 0, 20, "the gateway to connect")
        os.kill(dying, signal.SIGKILL)
        gateway.wait_ready()
        assert gateway.call("echo", b"again").body == b"again"
    assert gateway.replica_pids() == before
    assert "does not answer" not in gateway.log()


def test_kills_during_deploys_and_scaling_leave_what_was_asked_for(gateway):
    print(f"KILL_SEED={SEED}")
    chance = random.Random(SEED)
    for round in range(ROUNDS):
        gateway.deploy("moving", method="PUT" if round else "POST", envVars={"round": str(round)})
        gateway.scale("moving", chance.randrange(1, 4))
        gateway.deploy(f"short-{round}")
        time.sleep(chance.random() * 0.05)
        assert gateway.api("DELETE", "/system/functions", {"functionName": f"short-{round}"}).status == 202
        bring_down(gateway, VICTIMS[round % len(VICTIMS)], chance.random() * 0.05)
        assert gateway.call("moving", b"again").body == b"again"
    gateway.scale("moving", 2)
    gateway.wait_available("moving", 2)
    wait_for(lambda: len(gateway.replica_pids()) == 2, 40, "nothing but the two replicas to run")
    assert [f["name"] for f in gateway.api("GET", "/system/functions").json()] == ["moving"]


def test_a_gateway_that_was_replaced_refuses_orders_that_its_successor_would_miss(make_gateway):
    older, newer = make_gateway(), make_gateway()
    older.start().deploy("echo")
    older.wait_available("echo")
    newer.state = older.state
    newer.write_config()
    newer.start()
    wait_for(lambda: "another gateway has taken the functions over" in older.log(), 20, "the older one to notice")
    spec = {"service": "echo", "image": "process", "envProcess": "wc -c"}
    for method, path, body in (("PUT", "/system/functions", spec),
                               ("POST", "/system/functions", {**spec, "service": "other"}),
                               ("POST", "/system/scale-function/echo", {"serviceName": "echo", "replicas": 2}),
                               ("DELETE", "/system/functions", {"functionName": "echo"})):
        reply = older.api(method, path, body)
        assert reply.status == 503 and "another gateway" in reply.text and reply.headers["Retry-After"], reply
    assert newer.call("echo", b"x").body == b"x"
    assert newer.stop() == 0
    wait_for(lambda: older.api("PUT", "/system/functions", spec).status == 202, 20, "the older one to be in charge again")
    wait_for(lambda: older.call("echo", b"12345").text.strip() == "5", 20, "its new version")
