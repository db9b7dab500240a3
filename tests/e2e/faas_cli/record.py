#!/usr/bin/env python3
"""Records what faas-cli sends: runs each command of COMMANDS against a small recording server and
writes the requests, with the command line that made them and what the CLI printed, as JSON.

usage: record.py FAAS_CLI OUTPUT.json
"""
import http.server
import json
import os
import subprocess
import sys
import tempfile
import threading

FUNCTION = {"name": "echo", "image": "process:latest", "namespace": "openfaas-fn", "envProcess": "cat",
            "labels": {}, "annotations": {}, "replicas": 1, "availableReplicas": 1,
            "createdAt": "2026-01-01T00:00:00Z", "invocationCount": 7}
INFO = {"provider": {"provider": "fngate", "orchestration": "process",
                     "version": {"sha": "abc", "release": "0.1.0"}},
        "version": {"sha": "abc", "release": "0.1.0"}, "arch": "x86_64"}

STACK = """version: 1.0
provider:
  name: openfaas
  gateway: {url}
functions:
  stacked:
    lang: dockerfile
    handler: ./stacked
    image: process
    fprocess: cat
    environment:
      color: red
    labels:
      com.openfaas.scale.min: "1"
    annotations:
      team: blue
    secrets:
      - token
    limits:
      memory: 64Mi
"""

# name, arguments, stdin, reply to the n-th request: (status, body)
COMMANDS = [
    ("login", ["login", "-u", "admin", "--password-stdin"], "secret\n", [(200, [])]),
    ("login-refused", ["login", "-u", "admin", "--password-stdin"], "wrong\n", [(401, "invalid credentials")]),
    ("list", ["list"], "", [(200, [FUNCTION])]),
    ("list-namespace", ["list", "-n", "team"], "", [(200, [])]),
    ("describe", ["describe", "echo"], "", [(200, FUNCTION), (200, [FUNCTION])]),
    ("describe-unknown", ["describe", "nope"], "", [(404, "")]),
    ("deploy", ["deploy", "--name", "echo", "--image", "process", "--fprocess", "cat"], "", [(404, ""), (202, "")]),
    ("deploy-again", ["deploy", "--name", "echo", "--image", "process", "--fprocess", "cat", "--env", "a=b",
                      "--label", "l=1", "--annotation", "n=2", "--secret", "token", "--memory-limit", "64Mi",
                      "--cpu-limit", "100m", "--readonly"], "", [(202, "")]),
    ("deploy-no-update", ["deploy", "--update=false", "--name", "echo", "--image", "process", "--fprocess", "cat"], "", [(202, "")]),
    ("deploy-stack", ["deploy", "-f", "fn.yml"], "", [(404, ""), (202, "")]),
    ("remove", ["remove", "echo"], "", [(202, "")]),
    ("remove-unknown", ["remove", "nope"], "", [(404, "")]),
    ("remove-stack", ["remove", "-f", "fn.yml"], "", [(202, "")]),
    ("invoke", ["invoke", "echo"], "hello", [(200, "hello")]),
    ("invoke-query", ["invoke", "echo", "--query", "a=1", "-H", "X-One: 1", "--content-type", "application/json"], "{}", [(200, "{}")]),
    ("invoke-get", ["invoke", "echo", "-m", "GET"], "", [(200, "hello")]),
    ("logs", ["logs", "echo", "--tail=false"], "", [(200, {"name": "echo", "namespace": "openfaas-fn", "instance": "echo-1", "timestamp": "2026-01-01T00:00:00Z", "text": "line"})]),
    ("logs-since", ["logs", "echo", "--tail=false", "--since", "10m", "--lines", "5"], "", [(200, "")]),
    ("secret-create", ["secret", "create", "token", "--from-literal", "s3cret"], "", [(202, "")]),
    ("secret-create-again", ["secret", "create", "token", "--from-literal", "s3cret"], "", [(409, "")]),
    ("secret-list", ["secret", "list"], "", [(200, [{"name": "token", "namespace": "openfaas-fn"}])]),
    ("secret-update", ["secret", "update", "token", "--from-literal", "new"], "", [(202, "")]),
    ("secret-remove", ["secret", "remove", "token"], "", [(202, "")]),
    ("namespaces", ["namespaces"], "", [(200, ["openfaas-fn"])]),
    ("namespace-create", ["namespace", "create", "team"], "", [(201, "")]),
    ("namespace-get", ["namespace", "get", "team"], "", [(200, {"name": "team", "labels": {"openfaas": "1"}, "annotations": {"openfaas": "1"}})]),
    ("namespace-update", ["namespace", "update", "team", "--label", "a=b"], "", [(202, "")]),
    ("namespace-remove", ["namespace", "remove", "team"], "", [(202, "")]),
    ("ready", ["ready"], "", [(200, "")]),
    ("ready-function", ["ready", "echo"], "", [(200, FUNCTION)]),
    ("version", ["version", "--warn-update=false"], "", [(200, INFO)]),
]
KEPT_FIELDS = ("authorization", "content-type", "accept-encoding", "user-agent", "transfer-encoding", "x-one")


class Recorder(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def answer(self):
        length = int(self.headers.get("Content-Length") or 0)
        body = self.rfile.read(length).decode("utf-8", "replace")
        self.server.seen.append({"method": self.command, "target": self.path, "body": body,
                                 "fields": {k.lower(): v for k, v in self.headers.items()
                                            if k.lower() in KEPT_FIELDS}})
        replies = self.server.replies
        status, reply = replies.pop(0) if replies else (500, "more requests than expected")
        data = (reply if isinstance(reply, str) else json.dumps(reply)).encode()
        self.send_response(status)
        if status == 401:
            self.send_header("WWW-Authenticate", 'Basic realm="Restricted"')
        self.send_header("Content-Type", "text/plain" if isinstance(reply, str) else "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    do_GET = do_POST = do_PUT = do_DELETE = answer

    def log_message(self, *args):
        pass


def record(cli, folder, server, name, arguments, stdin, replies):
    url = f"http://127.0.0.1:{server.server_port}"
    server.seen, server.replies = [], [list(r) for r in replies]
    with open(f"{folder}/fn.yml", "w") as stack:
        stack.write(STACK.format(url=url))
    run = subprocess.run([cli, *arguments, "-g", url], input=stdin, text=True, cwd=folder,
                         env={"PATH": "/usr/bin:/bin", "HOME": folder, "OPENFAAS_CONFIG": folder},
                         stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=60, check=False)
    port = str(server.server_port)
    return {"name": name, "arguments": arguments, "stdin": stdin, "exit": run.returncode,
            "printed": run.stdout.replace(port, "8080"), "replies": replies, "requests": server.seen}


def main():
    cli, output = sys.argv[1:]
    version = subprocess.run([cli, "version", "--short-version"], text=True, stdout=subprocess.PIPE, check=False).stdout.strip()
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Recorder)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    with tempfile.TemporaryDirectory() as folder:
        runs = [record(cli, folder, server, *command) for command in COMMANDS]
    server.shutdown()
    with open(output, "w") as out:
        json.dump({"version": os.environ.get("FAAS_CLI_VERSION", version), "runs": runs}, out, indent=1)
        out.write("\n")


main()
