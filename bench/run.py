#!/usr/bin/env python3
"""Figures side by side, from one run: fngate, nginx and HAProxy in front of the same upstream, with a
bare relay as the floor. Judges nothing.

usage: run.py [--seconds N] [--rounds N] [--connections 1,64]
"""
import argparse
import json
import os
import pathlib
import re
import resource
import shutil
import signal
import socket
import statistics
import subprocess
import tempfile
import time
import urllib.request

ROOT = pathlib.Path(__file__).resolve().parents[1]
BUILD = pathlib.Path(os.environ.get("FNGATE_BUILD", ROOT / "build")).resolve()
TICKS = os.sysconf("SC_CLK_TCK")


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def tree(pid):
    """The process and its children."""
    pids = [pid]
    for task in pathlib.Path(f"/proc/{pid}/task").iterdir():
        for child in (task / "children").read_text().split():
            pids += tree(int(child))
    return pids


def cpu_seconds(pid):
    total = 0
    for one in tree(pid):
        fields = pathlib.Path(f"/proc/{one}/stat").read_text().rsplit(")", 1)[1].split()
        total += int(fields[11]) + int(fields[12])
    return total / TICKS


def rss_mib(pid):
    return sum(int(re.search(r"VmRSS:\s+(\d+)", pathlib.Path(f"/proc/{one}/status").read_text()).group(1))
               for one in tree(pid)) / 1024


class Bench:
    def __init__(self):
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="fngate-bench-"))
        self.processes = []

    def start(self, *command, port, **kw):
        log = open(self.folder / "log", "ab")
        process = subprocess.Popen([str(c) for c in command], stdout=log, stderr=log, **kw)
        self.processes.append(process)
        for _ in range(1000):
            try:
                socket.create_connection(("127.0.0.1", port), 1).close()
                return process.pid
            except OSError:
                time.sleep(0.01)
        raise SystemExit(f"{command[0]} does not listen:\n{(self.folder / 'log').read_text()}")

    def stop(self):
        for process in reversed(self.processes):
            process.send_signal(signal.SIGTERM)
        for process in self.processes:
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        for lock in self.folder.glob("*/plugins/*/run/supervisor.lock"):  # they outlive their gateway
            pid = int(lock.read_text())
            os.kill(pid, signal.SIGTERM)
            while pathlib.Path(f"/proc/{pid}").exists():
                time.sleep(0.01)
        shutil.rmtree(self.folder, ignore_errors=True)

    def fngate(self, upstream):
        port = free_port()
        config = self.folder / "fngate.yaml"
        config.write_text(
            f"version: 1\nlisten: 127.0.0.1:{port}\nworkers: 1\nstate_dir: {self.folder}/state\n"
            "metrics:\n  listen: []\nauth:\n  enabled: false\nlimits:\n  requests_per_connection: 1000000000\n"
            "store:\n  plugin: store-sqlite\nproviders:\n  - plugin: provider-static\n    config:\n"
            f"      functions:\n        hello: 127.0.0.1:{upstream}\n")
        pid = self.start(BUILD / "fngate", "serve", "-c", config, port=port)
        for _ in range(1000):
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{port}/readyz").read()
                break
            except OSError:
                time.sleep(0.01)
        return pid, f"http://127.0.0.1:{port}/function/hello"

    def nginx(self, upstream):
        port = free_port()
        config = self.folder / "nginx.conf"
        config.write_text(f"""
daemon off; worker_processes 1; pid {self.folder}/nginx.pid; error_log {self.folder}/nginx.err;
events {{ worker_connections 10000; }}
http {{
  access_log off; keepalive_requests 1000000000;
  client_body_temp_path {self.folder}/b; proxy_temp_path {self.folder}/p; fastcgi_temp_path {self.folder}/f;
  uwsgi_temp_path {self.folder}/u; scgi_temp_path {self.folder}/s;
  upstream hello {{ server 127.0.0.1:{upstream}; keepalive 1024; keepalive_requests 1000000000; }}
  server {{
    listen 127.0.0.1:{port} backlog=4096;
    location /function/hello {{ proxy_pass http://hello/; proxy_http_version 1.1; proxy_set_header Connection "";
      proxy_set_header X-Forwarded-For $remote_addr; proxy_buffering off; }}
  }}
}}
""")
        return self.start("nginx", "-e", f"{self.folder}/nginx.err", "-p", self.folder, "-c", config,
                          port=port), f"http://127.0.0.1:{port}/function/hello"

    def haproxy(self, upstream):
        port = free_port()
        config = self.folder / "haproxy.cfg"
        config.write_text(f"""
global
  nbthread 1
  maxconn 5000
defaults
  mode http
  timeout connect 5s
  timeout client 60s
  timeout server 60s
  option forwardfor
frontend f
  bind 127.0.0.1:{port} backlog 4096
  http-request replace-path /function/hello(.*) /\\1
  default_backend b
backend b
  http-reuse always
  server s 127.0.0.1:{upstream}
""")
        return self.start("haproxy", "-db", "-f", config, port=port), f"http://127.0.0.1:{port}/function/hello"

    def relay(self, upstream):
        port = free_port()
        return self.start(BUILD / "bench" / "bench-relay", port, upstream, port=port), f"http://127.0.0.1:{port}/"


def load(url, connections, seconds):
    """One run of wrk: requests, requests/s, p50 and p99 in ms, errors."""
    out = subprocess.run(["wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "--latency", url], text=True,
                         stdout=subprocess.PIPE, check=True).stdout
    units = {"us": 1e-3, "ms": 1, "s": 1e3}

    def latency(percent):
        value, unit = re.search(rf"{percent}%\s+([\d.]+)(us|ms|s)", out).groups()
        return float(value) * units[unit]
    errors = re.search(r"Non-2xx or 3xx responses: (\d+)", out)
    return {"requests": int(re.search(r"(\d+) requests in", out).group(1)),
            "rate": float(re.search(r"Requests/sec:\s+([\d.]+)", out).group(1)),
            "p50": latency(50), "p99": latency(99), "errors": int(errors.group(1)) if errors else 0}


def proxy_table(bench, arguments):
    upstream = free_port()
    bench.start(BUILD / "bench" / "bench-upstream", upstream, port=upstream)
    peers = {"relay (floor)": bench.relay(upstream), "fngate": bench.fngate(upstream),
             "nginx": bench.nginx(upstream), "haproxy": bench.haproxy(upstream)}
    idle = {name: rss_mib(pid) for name, (pid, _) in peers.items()}
    print(f"{'':16}{'connections':>12}{'requests/s':>12}{'p50 ms':>9}{'p99 ms':>9}{'CPU us/req':>12}{'errors':>8}")
    for connections in arguments.connections:
        runs = {name: [] for name in peers}
        for _ in range(arguments.rounds):
            for name, (pid, url) in peers.items():  # interleaved, so that noise meets all of them
                before = cpu_seconds(pid)
                run = load(url, connections, arguments.seconds)
                run["cpu"] = (cpu_seconds(pid) - before) / run["requests"] * 1e6
                runs[name].append(run)
        for name, list_of_runs in runs.items():
            median = {key: statistics.median(run[key] for run in list_of_runs) for key in list_of_runs[0]}
            print(f"{name:16}{connections:>12}{median['rate']:>12.0f}{median['p50']:>9.3f}{median['p99']:>9.3f}"
                  f"{median['cpu']:>12.1f}{median['errors']:>8.0f}")
    print("\nresident memory, idle: " + ", ".join(f"{name} {value:.1f} MiB" for name, value in idle.items()))


def bare_spawn_ms(command, rounds):
    out = subprocess.run([BUILD / "bench" / "bench-spawn", str(rounds), *command], text=True,
                         stdout=subprocess.PIPE, check=True).stdout
    return float(out)


def cold_start_table(bench, rounds):
    port = free_port()
    state = bench.folder / "cold"
    config = bench.folder / "cold.yaml"
    config.write_text(f"version: 1\nlisten: 127.0.0.1:{port}\nstate_dir: {state}\nmetrics:\n  listen: []\n"
                      "auth:\n  enabled: false\nstore:\n  plugin: store-sqlite\nproviders:\n  - plugin: provider-process\n")
    pid = bench.start(BUILD / "fngate", "serve", "-c", config, port=port)
    base = f"http://127.0.0.1:{port}"
    programs = {"C": [str(BUILD / "bench" / "bench-upstream")],
                "Python": ["/usr/bin/python3", str(ROOT / "bench" / "server.py")]}
    for _ in range(1000):
        try:
            urllib.request.urlopen(base + "/readyz").read()
            break
        except OSError:
            time.sleep(0.01)
    print(f"\nidle memory of the gateway with all embedded defaults: {rss_mib(pid):.1f} MiB")

    def send(method, path, body):
        request = urllib.request.Request(base + path, data=body, method=method, headers={"Content-Type": "application/json"})
        return urllib.request.urlopen(request).read()

    def replicas(name):
        return json.loads(urllib.request.urlopen(f"{base}/system/function/{name}").read()).get("availableReplicas", 0)

    print(f"{'cold start, ms':16}{'from zero':>12}{'warm':>9}{'bare spawn':>12}")
    for label, command in programs.items():
        name = label.lower()
        send("POST", "/system/functions", json.dumps(
            {"service": name, "image": "process", "envProcess": " ".join(command),
             "annotations": {"com.openfaas.process.mode": "direct"}}).encode())
        send("GET", f"/function/{name}", None)
        cold, warm = [], []
        for _ in range(rounds):
            send("POST", f"/system/scale-function/{name}", json.dumps({"serviceName": name, "replicas": 0}).encode())
            while replicas(name):
                time.sleep(0.005)
            time.sleep(0.1)
            for times in (cold, warm):
                started = time.perf_counter()
                assert send("GET", f"/function/{name}", None) == b"hello, world"
                times.append((time.perf_counter() - started) * 1e3)
        print(f"{label:16}{statistics.median(cold):>12.2f}{statistics.median(warm):>9.2f}{bare_spawn_ms(command, rounds):>12.2f}")


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=int, default=5)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--connections", type=lambda text: [int(n) for n in text.split(",")], default=[1, 64])
    arguments = parser.parse_args()
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    bench = Bench()
    try:
        proxy_table(bench, arguments)
        cold_start_table(bench, 20)
    finally:
        bench.stop()


main()
