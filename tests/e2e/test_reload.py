"""SIGHUP: a new generation beside the running one. No call is lost; what fails changes nothing."""
import http.client
import os
import re
import signal
import socket
import threading
import urllib.error

import pytest

from conftest import BUILD, free_port, wait_for
from upstream import Upstream, fields, read_head

MOODY = BUILD / "tests" / "e2e" / "moody.so"


class Named(Upstream):
    """Answers each request with its name, over connections that stay open."""

    def __init__(self, name):
        self.name = name.encode()
        super().__init__(self.answer)

    def answer(self, connection):
        rest = b""
        while True:
            got = read_head(connection, rest)
            if not got:
                return
            head, rest = got
            length = int(fields(head).get("content-length", "0"))
            while len(rest) < length:
                rest += connection.recv(65536)
            rest = rest[length:]
            connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(self.name), self.name))


@pytest.fixture
def upstream():
    made = []

    def make(name):
        made.append(Named(name))
        return made[-1].address

    yield make
    for one in made:
        one.close()


def static(functions, name="static", default=True, namespaces=()):
    lines = "".join(f"        {fn}: {address}\n" for fn, address in functions.items())
    return (f"  - plugin: provider-static\n    name: {name}\n    default: {str(default).lower()}\n"
            f"    namespaces: [{', '.join(namespaces)}]\n    config:\n      functions:\n{lines}")


def moody(address, mood="good", function="moody", name="moody"):
    return (f"  - plugin: {MOODY}\n    name: {name}\n    config:\n      mood: {mood}\n"
            f"      function: {function}\n      address: {address}\n")


def config(*providers, extra=""):
    return f"{extra}\nproviders:\n{''.join(providers)}"


def hup(gateway):
    gateway.process.send_signal(signal.SIGHUP)


def reload(gateway, text, outcome="reload done"):
    """Writes the configuration, sends SIGHUP and waits for its outcome; returns what was logged."""
    before = len(gateway.log())
    gateway.write_config(text)
    hup(gateway)
    wait_for(lambda: outcome in gateway.log()[before:], 40, f"'{outcome}' in the log")
    return gateway.log()[before:]


class Load:
    """Threads that call without a pause, each over one connection that stays open, and count what
    was not answered as `expected`: function -> bodies that are right."""

    def __init__(self, gateway, expected, threads=4):
        self.gateway, self.expected = gateway, expected
        self.stop, self.calls, self.wrong = threading.Event(), 0, []
        self.lock = threading.Lock()
        self.threads = [threading.Thread(target=self.run, args=(i,)) for i in range(threads)]

    def run(self, seed):
        connection = http.client.HTTPConnection("127.0.0.1", self.gateway.port, timeout=20)
        names = sorted(self.expected)
        while not self.stop.is_set():
            seed += 1
            name = names[seed % len(names)]
            try:
                connection.request("POST", f"/function/{name}", b"x")
                reply = connection.getresponse()
                answer = (reply.status, reply.read())
            except (OSError, http.client.HTTPException) as error:
                answer = (0, repr(error).encode())
                connection.close()
            with self.lock:
                self.calls += 1
                if answer[0] != 200 or answer[1] not in self.expected[name]:
                    self.wrong.append((name, answer))

    def __enter__(self):
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, *_):
        self.stop.set()
        for thread in self.threads:
            thread.join()

    def passed(self, calls):
        """Waits until so many more calls have ended."""
        target = self.calls + calls
        wait_for(lambda: self.calls >= target, 20, "calls to go on")


def test_twenty_reloads_under_load_lose_no_call(make_gateway, upstream):
    one, two = upstream("one"), upstream("two")
    first = {"both": one, "moved": one, "left": one}
    second = {"both": one, "moved": two, "came": two}
    gateway = make_gateway(config(static(first))).start()
    with Load(gateway, {"both": [b"one"], "moved": [b"one", b"two"]}) as load:
        for i in range(20):
            reload(gateway, config(static(second if i % 2 == 0 else first)))
            came, left = ("came", "left") if i % 2 == 0 else ("left", "came")
            assert gateway.call(came).status == 200
            assert gateway.call(left).status == 404
            assert gateway.call("moved").body == (b"two" if i % 2 == 0 else b"one")
            load.passed(20)
    assert load.calls > 400 and load.wrong == []
    assert gateway.log().count("2 functions changed their provider, 1 came, 1 left") == 20
    listed = {f["name"]: f["invocationCount"] for f in gateway.api("GET", "/system/functions").json()}
    assert set(listed) == {"both", "moved", "left"}
    assert listed["both"] > 200  # counted on through all reloads
    assert gateway.stop() == 0


def test_an_unchanged_file_restarts_nothing(make_gateway, upstream):
    text = config(static({"a": upstream("a")}))
    gateway = make_gateway(text).start()
    log = reload(gateway, "# another comment\n" + text)
    assert "0 functions changed their provider, 0 came, 0 left" in log
    assert "in step" not in log
    assert gateway.call("a").body == b"a"


@pytest.mark.parametrize("broken, complaint", [
    ("log:\n  level: loud\n", r"log.level: 'loud'"),
    ("timeuots:\n  request: 5s\n", r"fngate.yaml:\d+: fngate: .*'timeuots'"),
    ("listen2: [\n", r"fngate.yaml:\d+: "),
    ("auth:\n  user_file: /nonexistent\n  password_file: /nonexistent\n", r"auth: /nonexistent"),
    ("tls:\n  certificate: /nonexistent\n  key: /nonexistent\n", r"'tls' has changed and keeps"),
])
def test_a_broken_file_changes_nothing(make_gateway, upstream, broken, complaint):
    one, two = upstream("one"), upstream("two")
    gateway = make_gateway(config(static({"a": one}))).start()
    is_refused = "tls" not in broken
    log = reload(gateway, config(static({"a": two}), extra=broken),
                 "reload refused, everything stays as it is" if is_refused else "reload done")
    assert re.search(complaint, log)
    assert gateway.call("a").body == (b"one" if is_refused else b"two")
    reload(gateway, config(static({"a": two})))
    assert gateway.call("a").body == b"two"


def test_a_complaint_of_a_plugin_names_file_and_line(make_gateway, upstream):
    one = upstream("one")
    gateway = make_gateway(config(static({"a": one}))).start()
    log = reload(gateway, config(static({"a": one, "b": "nowhere"}), static({"c": "x"}, "second", False)),
                 "reload refused")
    assert len(re.findall(r"fngate.yaml:\d+: (static|second): 'functions': the address of", log)) == 2
    log = reload(gateway, config(static({"a": one}).replace("provider-static", "no-such")), "reload refused")
    assert re.search(r"fngate.yaml:\d+: providers: .*no-such", log)
    assert gateway.call("a").body == b"one"


@pytest.mark.parametrize("mood, why", [
    ("refusing", "provider moody did not start: not in the mood"),
    ("mute", "not in step with its backend within 10 s"),
])
def test_a_provider_that_does_not_come_up_keeps_the_old_generation(make_gateway, upstream, mood, why):
    one, two = upstream("one"), upstream("two")
    gateway = make_gateway(config(static({"a": one}), moody(one))).start()
    with Load(gateway, {"a": [b"one"], "moody": [b"one"]}) as load:
        log = reload(gateway, config(static({"a": two, "b": two}), moody(two, mood)), "reload given up")
        assert why in log
        load.passed(100)
    assert load.wrong == []
    assert gateway.call("b").status == 404
    reload(gateway, config(static({"a": two}), moody(two)))
    assert gateway.call("a").body == b"two" and gateway.call("moody").body == b"two"
    assert gateway.stop() == 0


def test_late_pushes_of_the_replaced_provider_are_refused(make_gateway, upstream):
    one, two = upstream("one"), upstream("two")
    gateway = make_gateway(config(static({"a": one}), moody(one, "pushy"))).start()
    for i in range(6):
        address, body = ((two, b"two"), (one, b"one"))[i % 2]
        reload(gateway, config(static({"a": one}), moody(address, "pushy")))
        for _ in range(20):
            assert gateway.call("moody").body == body
    reload(gateway, config(static({"a": one, "moody": two})))
    assert gateway.call("moody").body == b"two"
    assert gateway.stop() == 0


def test_one_of_two_providers_is_replaced_and_the_other_stays(make_gateway, upstream):
    one, two, three = upstream("one"), upstream("two"), upstream("three")
    here = static({"a": one})
    gateway = make_gateway(config(here, static({"b.team": two}, "team", False, ["team", "team-*"]))).start()
    log = reload(gateway, config(here, static({"b.team": three, "c.team-x": three}, "team", False, ["team-*"])))
    assert "1 functions changed their provider, 1 came, 0 left" in log
    assert "team: in step" in log and "static: in step" not in log
    assert gateway.call("a").body == b"one"
    assert gateway.call("b.team").body == b"three" and gateway.call("c.team-x").body == b"three"
    # a third comes, the second leaves, and a function moves from one provider to another
    log = reload(gateway, config(here, static({"b.team": two}, "other", False, ["team"])))
    assert "1 functions changed their provider, 0 came, 1 left" in log
    assert gateway.call("b.team").body == b"two" and gateway.call("c.team-x").status == 404
    # what the unchanged one has is not taken from it
    reload(gateway, config(here, static({"a": two, "d": two}, "other", False)))
    assert gateway.call("a").body == b"one" and gateway.call("d").body == b"two"
    assert gateway.stop() == 0


def is_open(port):
    with socket.socket() as s:
        return s.connect_ex(("127.0.0.1", port)) == 0


def test_listen_addresses_come_and_go(make_gateway, upstream):
    second, metrics = free_port(), free_port()
    providers = static({"a": upstream("one")})
    gateway = make_gateway(config(providers)).start()
    plain = gateway.file.read_text()

    def with_addresses(*ports, metrics_port):
        return re.sub(r"^listen: .*$", "listen: [%s]" % ", ".join(f"'127.0.0.1:{p}'" for p in ports),
                      plain.replace(f"127.0.0.1:{gateway.metrics_port}", f"127.0.0.1:{metrics_port}"), flags=re.M)

    def apply(text, outcome="reload done"):
        before = len(gateway.log())
        gateway.file.write_text(text)
        hup(gateway)
        wait_for(lambda: outcome in gateway.log()[before:], 20, outcome)
        return gateway.log()[before:]

    with Load(gateway, {"a": [b"one"]}) as load:
        apply(with_addresses(gateway.port, second, metrics_port=metrics))
        assert gateway.call("a", port=second).body == b"one"
        assert gateway.request("GET", "/metrics", port=metrics).status == 200
        wait_for(lambda: not is_open(gateway.metrics_port), 10, "the former metrics address to close")
        apply(with_addresses(gateway.port, metrics_port=metrics))
        wait_for(lambda: not is_open(second), 10, "the removed address to close")
        load.passed(100)
        with socket.create_server(("127.0.0.1", 0)) as taken:
            port = taken.getsockname()[1]
            log = apply(with_addresses(gateway.port, second, port, metrics_port=metrics), "reload given up")
            assert str(port) in log and "in use" in log
            assert not is_open(second)
        load.passed(100)
    assert load.wrong == []
    assert gateway.stop() == 0


def test_the_password_changes_for_all_workers(make_gateway, upstream):
    text = config(static({"a": upstream("one")}))
    gateway = make_gateway(text).start()
    old = gateway.auth_header()
    (gateway.state / "auth" / "basic-auth-password").write_text("another\n")
    assert gateway.request("GET", "/system/functions", headers={"Authorization": old}).status == 200
    reload(gateway, text)
    for _ in range(10):
        assert gateway.request("GET", "/system/functions", headers={"Authorization": old}).status == 401
        assert gateway.api("GET", "/system/functions").status == 200
    reload(gateway, text.replace("\nproviders", "auth:\n  enabled: false\nproviders", 1))
    assert gateway.request("GET", "/system/functions").status == 200
    reload(gateway, text)
    assert gateway.request("GET", "/system/functions").status == 401


def test_log_level_and_access_log_change(make_gateway, upstream):
    one, two = upstream("one"), upstream("two")
    gateway = make_gateway(config(static({"a": one}))).start()
    assert gateway.call("a", path="/first").status == 200
    wait_for(lambda: gateway.status("a").get("invocationCount") == 1, 10, "the end of the first call")
    reload(gateway, config(static({"a": one}), extra="log:\n  format: json\n  access: json\n"))
    assert gateway.call("a", path="/second").status == 200
    wait_for(lambda: '"target":"/function/a/second"' in gateway.log(), 10, "the access record")
    assert "/function/a/first" not in gateway.log()
    gateway.write_config(config(static({"a": two}), extra="log:\n  level: error\n"))
    hup(gateway)
    wait_for(lambda: gateway.call("a").body == b"two", 10, "the reload")
    assert "reload: reading" not in reload(gateway, "nonsense: 1\n", "reload refused")


def test_limits_change_while_serving(make_gateway, upstream):
    def slow(connection):
        read_head(connection)
        connection.recv(1)

    hanging = Upstream(slow)
    text = config(static({"a": upstream("one"), "hang": hanging.address}))
    gateway = make_gateway(text).start()
    long_head = {"X-Long": "x" * 3000}
    assert gateway.call("a", headers=long_head).status == 200
    reload(gateway, config(static({"a": upstream("one"), "hang": hanging.address}),
                           extra="limits:\n  head_bytes: 2048\ntimeouts:\n  request: 300ms\n"))
    assert gateway.call("a", headers=long_head).status == 431
    assert gateway.call("hang").status == 504
    hanging.close()


def test_what_cannot_change_is_named(make_gateway, upstream):
    providers = static({"a": upstream("one")})
    gateway = make_gateway(config(providers)).start()
    text = gateway.file.read_text()
    gateway.file.write_text(text.replace(f"state_dir: {gateway.state}", "state_dir: /elsewhere\nworkers: 7\nupsert: true\n"
                                         "default_namespace: other").replace("store-sqlite", "store-memory"))
    hup(gateway)
    wait_for(lambda: "reload done" in gateway.log(), 20, "the reload")
    for key in ("workers", "state_dir", "default_namespace", "store", "upsert"):
        assert re.search(rf"'{key}' has changed and keeps its running value; `fngate serve --takeover`", gateway.log())
    assert gateway.call("a").body == b"one"


def test_signals_during_a_reload_make_one_more(make_gateway, upstream):
    one, two = upstream("one"), upstream("two")
    gateway = make_gateway(config(static({"a": one}), moody(one))).start()
    gateway.write_config(config(static({"a": one}), moody(one, "mute", "other")))
    hup(gateway)
    wait_for(lambda: "reload: reading" in gateway.log(), 10, "the first reload")
    gateway.write_config(config(static({"a": two}), moody(one)))
    for _ in range(5):
        hup(gateway)
        assert gateway.call("a").body == b"one"
    wait_for(lambda: "reload done" in gateway.log(), 40, "the queued reload")
    assert gateway.call("a").body == b"two"
    assert gateway.log().count("reload: reading") == 2


def test_sigterm_during_a_reload_ends_cleanly(make_gateway, upstream):
    one = upstream("one")
    gateway = make_gateway(config(static({"a": one}), moody(one))).start()
    gateway.write_config(config(static({"a": one}), moody(one, "mute")))
    hup(gateway)
    wait_for(lambda: "reload: reading" in gateway.log(), 10, "the reload to begin")
    assert gateway.stop() == 0
    assert "reload given up" in gateway.log() and "stopped" in gateway.log()


def processes(gateway, grace, more=""):
    return config(f"  - plugin: provider-process\n    default: true\n    config:\n      stop_grace: {grace}s\n"
                  f"      functions_root: {gateway.folder}/functions\n{more}")


def test_processes_go_on_through_changes_of_their_provider(make_gateway):
    gateway = make_gateway()
    gateway.write_config(processes(gateway, 1))
    gateway.start()
    gateway.deploy("echo")
    gateway.wait_available("echo")
    pids = gateway.function_pids()
    with Load(gateway, {"echo": [b"x"]}) as load:
        for i in range(10):
            reload(gateway, processes(gateway, 2 + i))
            assert set(pids) <= set(gateway.function_pids())  # each call has a process of its own besides
            load.passed(20)
        gateway.deploy("other")
        gateway.wait_available("other")
    assert load.wrong == []
    assert gateway.call("other", b"y").body == b"y"
    assert gateway.stop() == 0


def test_a_process_provider_that_does_not_start_keeps_the_old(make_gateway):
    gateway = make_gateway()
    gateway.write_config(processes(gateway, 1))
    gateway.start()
    gateway.deploy("echo")
    gateway.wait_available("echo")
    with Load(gateway, {"echo": [b"x"]}) as load:
        log = reload(gateway, processes(gateway, 1, "      run_dir: /proc/nowhere\n"), "reload given up")
        assert "provider provider-process did not start: /proc/nowhere" in log
        load.passed(50)
    assert load.wrong == []
    gateway.scale("echo", 2)
    gateway.wait_available("echo", 2)


def test_deploys_during_a_reload_wait_for_its_end(make_gateway):
    gateway = make_gateway()
    gateway.write_config(processes(gateway, 1))
    gateway.start()
    stop, wrong, names = threading.Event(), [], []

    def deploy():
        while not stop.is_set() and len(names) < 40:
            name = f"f{len(names)}"
            names.append(name)
            reply = gateway.api("POST", "/system/functions", {"service": name, "image": "process", "envProcess": "cat"})
            if reply.status != 202 or not gateway.status(name):
                wrong.append((name, reply, gateway.status(name)))

    thread = threading.Thread(target=deploy)
    thread.start()
    for i in range(6):
        reload(gateway, processes(gateway, 2 + i))
    stop.set()
    thread.join()
    assert wrong == []
    for name in names:
        assert gateway.call(name, b"z").body == b"z"


def test_a_start_from_zero_during_a_reload_is_late_but_comes(make_gateway, upstream):
    one = upstream("one")
    gateway = make_gateway()
    gateway.write_config(processes(gateway, 1) + moody(one))
    gateway.start()
    gateway.deploy("echo")
    gateway.wait_available("echo")
    gateway.scale("echo", 0)
    gateway.wait_available("echo", 0)
    gateway.write_config(processes(gateway, 2) + moody(one, "mute"))
    hup(gateway)
    wait_for(lambda: "reload: reading" in gateway.log(), 10, "the reload to begin")
    assert gateway.call("echo", b"late").body == b"late"
    assert "reload given up" in gateway.log()
    gateway.scale("echo", 0)
    gateway.wait_available("echo", 0)
    for i in range(5):
        reload(gateway, processes(gateway, 3 + i) + moody(one), "reload: reading")
        assert gateway.call("echo", b"on").body == b"on"
    assert gateway.stop() == 0
