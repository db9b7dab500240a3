"""Everything at once for SOAK_SECONDS: calls, deploys, updates, scaling, secrets, logs, removals.

Functions that are deployed and not being removed answer every call. At the end nothing is left
behind: no process, no descriptor; the growth of memory is printed. SOAK_SEED repeats a run.
"""
import collections
import concurrent.futures
import http.client
import json
import os
import pathlib
import random
import threading
import time

from conftest import BUILD, wait_for
from load import Load

SECONDS = float(os.environ.get("SOAK_SECONDS", "60"))
SEED = int(os.environ.get("SOAK_SEED", random.randrange(1 << 32)))
RATE = int(os.environ.get("SOAK_RATE", "200"))
ACTORS = 4
LASTING = ("steady", "cat", "nap")
DIRECT = str(BUILD / "tests" / "e2e" / "direct_server")


def descriptors(pid):
    return len(os.listdir(f"/proc/{pid}/fd"))


def plugin_state(gateway, folder):
    return gateway.state / "plugins" / "provider-process" / folder


def resident_kib(pid):
    for line in pathlib.Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1])
    return 0


class Actor(threading.Thread):
    """Lives through the lives of functions, one after another. Each step is checked by a call."""

    def __init__(self, gateway, number, end):
        super().__init__(daemon=True)
        self.gateway, self.number, self.end = gateway, number, end
        self.chance = random.Random(SEED + number)
        self.events = collections.Counter()
        self.wrong, self.steps = [], []

    def run(self):
        life = 0
        while time.monotonic() < self.end and len(self.wrong) < 10:
            life += 1
            try:
                self.live(f"soak-{self.number}-{life % 50}")
            except (AssertionError, OSError) as error:
                self.wrong.append(f"{time.strftime('%H:%M:%S')} soak-{self.number}-{life % 50}: "
                                  f"{error!r} after {', '.join(self.steps)}")

    def did(self, what, reply, expected=202):
        self.events[what] += 1
        self.steps.append(what)
        assert reply.status == expected, f"{what}: {reply}"

    def check(self, name):
        body = self.chance.randbytes(self.chance.randrange(1, 2000))
        reply = self.gateway.call(name, body)
        self.events["call"] += 1
        assert reply.status == 200 and reply.body == body, f"a call of {name}: {reply}"

    def spec(self, name, version, secret):
        return {"service": name, "image": "process", "envVars": {"VERSION": str(version)}, "envProcess": DIRECT,
                "annotations": {"com.openfaas.process.mode": "direct"}, "secrets": [secret] if secret else []}

    def live(self, name):
        api, secret, self.steps = self.gateway.api, None, []
        if self.chance.random() < 0.3:
            secret = f"{name}-secret"
            self.did("secret", api("POST", "/system/secrets", {"name": secret, "value": name}))
        self.did("deploy", api("POST", "/system/functions", self.spec(name, 0, secret)))
        self.check(name)
        for version in range(1, self.chance.randrange(2, 5)):
            self.step(name, version, secret)
        self.did("remove", api("DELETE", "/system/functions", {"functionName": name}))
        assert self.gateway.call(name).status == 404
        if secret:
            self.did("secret", api("DELETE", "/system/secrets", {"name": secret}))

    def step(self, name, version, secret):
        api, what = self.gateway.api, self.chance.choice(["update", "scale", "scale", "zero", "secret", "logs"])
        if what == "update":
            self.did("update", api("PUT", "/system/functions", self.spec(name, version, secret)))
        elif what == "scale":
            replicas = self.chance.randrange(0, 4)
            self.did("scale", api("POST", f"/system/scale-function/{name}",
                                  {"serviceName": name, "replicas": replicas}))
        elif what == "zero":
            self.did("scale", api("POST", f"/system/scale-function/{name}", {"serviceName": name, "replicas": 0}))
            self.events["from zero"] += 1
        elif what == "secret" and secret:
            self.did("secret", api("PUT", "/system/secrets", {"name": secret, "value": str(version)}))
        elif what == "logs":
            self.did("logs", api("GET", f"/system/logs?name={name}&tail=10"), 200)
        self.check(name)


class Follower(threading.Thread):
    """Follows the log of a function by one stream after another; lines are numbered and in order."""

    def __init__(self, gateway, name, end):
        super().__init__(daemon=True)
        self.gateway, self.name, self.end = gateway, name, end
        self.streams = self.lines = 0
        self.wrong = []

    def run(self):
        header = {"Authorization": self.gateway.auth_header()}
        while time.monotonic() < self.end:
            connection = http.client.HTTPConnection("127.0.0.1", self.gateway.port, timeout=30)
            connection.request("GET", f"/system/logs?name={self.name}&follow=1&tail=1", headers=header)
            reply = connection.getresponse()
            self.streams += 1
            last = 0
            for _ in range(50):
                words = json.loads(reply.readline())["text"].split()
                if words[0] == "tick":
                    if last and int(words[1]) != last + 1:
                        self.wrong.append(f"line {words[1]} after {last}")
                    last = int(words[1])
                self.lines += 1
            connection.close()


def deploy_lasting(gateway):
    ticks = {"envVars": {"TICK_MS": "20"}, "annotations": {"com.openfaas.process.mode": "direct"}}
    gateway.deploy("steady", DIRECT, **ticks)
    gateway.deploy("cat", "cat")
    gateway.deploy("nap", DIRECT, annotations={"com.openfaas.process.mode": "direct"},
                   labels={"com.openfaas.scale.zero": "true", "com.openfaas.scale.zero-duration": "1s"})
    for name in LASTING:
        gateway.wait_available(name)


def test_soak(gateway):
    print(f"SOAK_SEED={SEED}")
    pid = gateway.process.pid
    assert gateway.api("GET", "/system/functions").json() == []
    fds = descriptors(pid)
    supervisor = gateway.supervisor_pids()[0]
    supervisor_fds = descriptors(supervisor)
    deploy_lasting(gateway)
    for name in LASTING:
        assert gateway.call(name, b"x").body == b"x"
    memory = [resident_kib(pid), resident_kib(supervisor)]
    end = time.monotonic() + SECONDS
    actors = [Actor(gateway, i, end) for i in range(ACTORS)]
    followers = [Follower(gateway, "steady", end) for _ in range(2)]
    with Load(gateway.port, RATE, {"steady": 20, "cat": 1, "nap": 0.02}, slow=["steady"], websocket="steady",
              seed=SEED) as load:
        for thread in actors + followers:
            thread.start()
        for thread in actors + followers:
            thread.join(SECONDS + 120)
            assert not thread.is_alive(), "a thread of the test hangs"
    events = sum((actor.events for actor in actors), collections.Counter())
    changes = sum(events[what] for what in ("deploy", "update", "scale", "remove"))
    print(f"{load.summary()}\n{changes} deploys, updates, scalings and removals in {load.seconds:.0f} s; {dict(events)}\n"
          f"{sum(f.lines for f in followers)} lines over {sum(f.streams for f in followers)} followed logs")
    wrong = [text for thread in actors + followers for text in thread.wrong]
    assert load.failures == [] and wrong == [], (load.failures[:5], wrong[:5])
    assert changes > 5 * SECONDS, "hardly anything happened"
    end_clean(gateway)
    wait_for(lambda: descriptors(pid) <= fds + 10, 60, f"descriptors to be {fds} again")
    print(f"resident memory of gateway and supervisor: {memory} KiB at the start, "
          f"{[resident_kib(pid), resident_kib(supervisor)]} KiB at the end; {fds} and {descriptors(pid)} descriptors")
    # the first output made it open a pipe, which stays
    assert descriptors(supervisor) <= supervisor_fds + 2, "the supervisor keeps descriptors"
    assert gateway.stop() == 0


def end_clean(gateway):
    """Removes the functions that were there all the time: nothing may be left."""
    wait_for(lambda: len(gateway.replica_pids()) == len(gateway.function_pids()) <= 3, 30, "removed functions to end")
    for name in LASTING:
        assert gateway.api("DELETE", "/system/functions", {"functionName": name}).status == 202
    wait_for(lambda: not gateway.function_pids(), 30, "all functions to end")
    assert gateway.api("GET", "/system/functions").json() == []
    assert gateway.api("GET", "/system/secrets").json() == []
    left = [path for folder in ("run", "logs", "mounts") for path in plugin_state(gateway, folder).rglob("*")
            if path.name.startswith(("r1", "soak-")) or path.suffix in (".sock", ".out")]
    assert [path.name for path in left] == ["supervisor.sock"], left


def test_a_call_right_after_a_scaling_is_answered(gateway):
    """The call may find a replica that leaves, or a start under way that was given up: it waits, and
    somebody has to wake the function for it."""
    def scale_and_call(name):
        chance = random.Random(name)
        gateway.deploy(name, DIRECT, annotations={"com.openfaas.process.mode": "direct"})
        for _ in range(300):
            gateway.scale(name, chance.choice([0, 0, 1, 2]))
            assert gateway.call(name, b"x", timeout=10).body == b"x"

    with concurrent.futures.ThreadPoolExecutor(ACTORS) as pool:
        list(pool.map(scale_and_call, [f"moving-{i}" for i in range(ACTORS)]))
