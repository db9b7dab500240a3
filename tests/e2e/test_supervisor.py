"""Functions and their supervisor: who dies, who stays, and who owns what afterwards."""
import concurrent.futures
import contextlib
import os
import random
import signal
import threading

from conftest import wait_for


def leaders(gateway):
    """The replicas' own processes: each leads a session."""
    return [pid for pid in gateway.function_pids() if os.getsid(pid) == pid]


def kill_supervisor(gateway):
    for pid in gateway.supervisor_pids():
        with contextlib.suppress(ProcessLookupError):  # the first process of one that starts ends by itself
            os.kill(pid, signal.SIGKILL)


def test_calls_do_not_notice_that_the_supervisor_is_killed_again_and_again(gateway):
    gateway.deploy("echo")
    gateway.wait_available("echo")
    gateway.scale("echo", 3)
    gateway.wait_available("echo", 3)
    before = leaders(gateway)
    is_over = threading.Event()
    failed = []

    def caller():
        while not is_over.is_set():
            reply = gateway.call("echo", b"x")
            if reply.body != b"x":
                failed.append(reply)

    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        calls = [pool.submit(caller) for _ in range(4)]
        try:
            for _ in range(10):
                former = gateway.supervisor_pids()
                kill_supervisor(gateway)
                wait_for(lambda: set(gateway.supervisor_pids()) - set(former), 20, "a new supervisor")
        finally:
            is_over.set()
        for call in calls:
            call.result()
    assert not failed
    assert leaders(gateway) == before
    gateway.scale("echo", 1)
    wait_for(lambda: len(leaders(gateway)) == 1, 20, "the new supervisor to stop two replicas")


def test_gateway_and_supervisor_killed_at_random_moments_leave_the_wanted_number(gateway):
    gateway.deploy("echo")
    gateway.wait_available("echo")
    for round_ in range(6):
        wanted = 1 + round_ % 3
        gateway.scale("echo", wanted)
        threading.Event().wait(random.random() * 0.01)  # the moment is the point of the test
        victims = [lambda: kill_supervisor(gateway), gateway.kill]
        random.shuffle(victims)
        for kill in victims:
            kill()
        gateway.start()
        gateway.wait_available("echo", wanted)
        wait_for(lambda: len(leaders(gateway)) == wanted, 20, f"{wanted} processes, no orphan")
        assert gateway.call("echo", b"on").body == b"on"


def test_logs_of_before_and_after_a_killed_supervisor_are_there(gateway):
    gateway.deploy("say", "sh -c 'cat >&2'")
    gateway.wait_available("say")
    gateway.call("say", b"before\n")
    kill_supervisor(gateway)
    gateway.call("say", b"between\n")
    gateway.call("say", b"after\n")

    def text():
        return gateway.api("GET", "/system/logs?name=say&follow=false").text
    wait_for(lambda: all(word in text() for word in ("before", "between", "after")), 20,
             "all lines in the log")


def test_a_replica_that_is_killed_comes_back_and_no_call_is_lost_for_long(gateway):
    gateway.deploy("echo")
    gateway.wait_available("echo")
    [pid] = leaders(gateway)
    os.kill(pid, signal.SIGKILL)
    wait_for(lambda: leaders(gateway) not in ([], [pid]), 20, "another process")
    assert gateway.call("echo", b"again").body == b"again"


def test_the_supervisor_ends_with_its_functions_at_sigterm(gateway):
    gateway.deploy("echo")
    gateway.wait_available("echo")
    gateway.stop()
    assert leaders(gateway), "functions outlive the gateway"
    for pid in gateway.supervisor_pids():
        os.kill(pid, signal.SIGTERM)
    wait_for(lambda: not gateway.function_pids() and not gateway.supervisor_pids(), 20,
             "all processes to end")
    gateway.start()
    assert gateway.call("echo", b"anew").body == b"anew"


def test_after_a_takeover_the_old_gateway_keeps_its_hands_off(gateway):
    gateway.deploy("slow", "sh -c 'sleep 3; echo done'")
    gateway.wait_available("slow")
    old = gateway.process
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        call = pool.submit(gateway.call, "slow")
        wait_for(lambda: len(gateway.function_pids()) > 1, 10, "the call to be under way")
        gateway.process = gateway.spawn("--takeover")
        gateway.wait_ready()
        gateway.deploy("late")
        gateway.wait_available("late")
        late = leaders(gateway)
        assert call.result().text.strip() == "done"
    old.wait(60)
    assert leaders(gateway) == late
    assert gateway.call("late", b"here").body == b"here"
