"""Load for end-to-end tests: calls at a steady rate from one thread, each answer compared with what
was sent, each failure kept with its cause and the time from its start to its end.

Calls come when they are due, however long the former ones take. A share of them uses a new
connection, the others take one that was kept open.
"""
import asyncio
import base64
import collections
import hashlib
import os
import random
import threading
import time

from conftest import wait_for

Failure = collections.namedtuple("Failure", "started ended call cause")

BODY_MAX = 100 * 1024
KEPT_S = 5  # connections that were idle for longer are not used again
PATIENCE_S = 60
WS_TEXT, WS_CLOSE = 1, 8


class Wrong(Exception):
    """An answer that is not the right one; its text says why."""


async def read_reply(reader):
    """(status, fields, body) of an answer with a length or in chunks."""
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
    fields = {}
    for line in head[1:]:
        name, _, value = line.partition(":")
        fields[name.lower()] = value.strip()
    if fields.get("transfer-encoding") == "chunked":
        body = b""
        while True:
            size = int((await reader.readline()).split(b";")[0], 16)
            body += (await reader.readexactly(size + 2))[:size]
            if size == 0:
                break
    else:
        body = await reader.readexactly(int(fields.get("content-length", "0")))
    return int(head[0].split(" ")[1]), fields, body


class Load:
    """`functions`: name -> share of the calls. `slow`: functions that have /slow, which gets one call
    in a hundred. `websocket`: a function that has /ws, which gets one connection that stays open."""

    def __init__(self, port, rate, functions, slow=(), websocket=None, seed=1):
        self.port, self.rate, self.functions, self.slow = port, rate, dict(functions), slow
        self.websocket = websocket
        self.random = random.Random(seed)
        self.payload = self.random.randbytes(2 * BODY_MAX)
        self.calls = collections.Counter()
        self.failures = []
        self.versions = collections.defaultdict(set)
        self.frames = self.websockets = self.underway = 0
        self.kept = []
        self.late_s = 0
        self.stop = threading.Event()
        self.thread = threading.Thread(target=lambda: asyncio.run(self.run()), daemon=True)

    # ---- for the test's thread ----

    def __enter__(self):
        self.started = time.monotonic()
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.stop.set()
        self.thread.join(2 * PATIENCE_S)
        assert not self.thread.is_alive(), "the load does not end"
        self.seconds = time.monotonic() - self.started

    @property
    def count(self):
        return sum(self.calls.values())

    def passed(self, calls):
        """Waits until so many more calls have ended."""
        target = self.count + calls
        wait_for(lambda: self.count >= target, PATIENCE_S, "calls to go on")

    def outside(self, outages):
        """Failures of calls that were not under way in any of these (start, end) spells."""
        return [failure for failure in self.failures
                if not any(failure.started <= end and failure.ended >= start for start, end in outages)]

    def summary(self):
        kinds = ", ".join(f"{n} {kind}" for kind, n in sorted(self.calls.items()))
        causes = collections.Counter(failure.cause for failure in self.failures)
        return (f"{self.count} calls in {self.seconds:.1f} s ({self.count / self.seconds:.0f}/s; {kinds}), "
                f"{self.frames} frames over {self.websockets} WebSockets, {len(self.failures)} failures "
                f"{dict(causes)}, load at most {self.late_s * 1000:.0f} ms late")

    # ---- in the thread of the load ----

    async def run(self):
        tasks = set()
        if self.websocket:
            tasks.add(asyncio.create_task(self.keep_websocket()))
        due = time.monotonic()
        while not self.stop.is_set():
            due += 1 / self.rate
            wait = due - time.monotonic()
            if wait > 0:
                await asyncio.sleep(wait)
            else:
                self.late_s = max(self.late_s, -wait)
                await asyncio.sleep(0)
            task = asyncio.create_task(self.call())
            tasks.add(task)
            task.add_done_callback(tasks.discard)
        await asyncio.gather(*tasks)
        for _, _, writer in self.kept:
            writer.close()

    def choose(self):
        names = list(self.functions)
        name = self.random.choices(names, [self.functions[n] for n in names])[0]
        if name in self.slow and self.random.random() < 0.01:
            return name, "POST", "/slow", b"slow"
        if self.random.random() < 0.3:
            return name, "GET", "", b""
        size = int(BODY_MAX ** self.random.random())
        start = self.random.randrange(BODY_MAX)
        return name, "POST", "", self.payload[start:start + size]

    async def call(self):
        name, method, path, body = self.choose()
        is_new = self.random.random() < 0.2
        kind = f"{'new' if is_new else 'kept'} {method}{path}"
        started = time.monotonic()
        self.underway += 1
        try:
            await asyncio.wait_for(self.exchange(name, method, path, body, is_new), PATIENCE_S)
        except (OSError, EOFError, ValueError, Wrong, asyncio.TimeoutError) as error:
            self.failures.append(Failure(started, time.monotonic(), f"{kind} {name} {len(body)} bytes",
                                         str(error) if isinstance(error, Wrong) else repr(error)))
        self.underway -= 1
        self.calls[kind] += 1

    async def connection(self, is_new):
        while self.kept and not is_new:
            since, reader, writer = self.kept.pop()
            if time.monotonic() - since < KEPT_S and not reader.at_eof():
                return reader, writer
            writer.close()
        return await asyncio.open_connection("127.0.0.1", self.port)

    async def exchange(self, name, method, path, body, is_new):
        reader, writer = await self.connection(is_new)
        length = f"Content-Length: {len(body)}\r\n" if method == "POST" else ""
        closing = "Connection: close\r\n" if is_new else ""
        try:
            writer.write(f"{method} /function/{name}{path} HTTP/1.1\r\nHost: x\r\n{length}{closing}\r\n".encode()
                         + body)
            status, fields, answer = await read_reply(reader)
            if status != 200:
                raise Wrong(f"{status} {answer.decode('utf-8', 'replace').strip()[:200]}")
            if answer != body:
                raise Wrong(f"the answer has {len(answer)} bytes and is not what was sent")
            self.versions[name].add(fields.get("x-version"))
        except BaseException:
            writer.close()
            raise
        if is_new or fields.get("connection") == "close":
            writer.close()
        else:
            self.kept.append((time.monotonic(), reader, writer))

    # ---- the WebSocket: echoes all the time; a close frame is fine, a lost connection is not ----

    async def keep_websocket(self):
        while not self.stop.is_set():
            started = time.monotonic()
            try:
                await asyncio.wait_for(self.open_websocket(), PATIENCE_S)
                await self.echo_frames()
            except (OSError, EOFError, ValueError, Wrong, asyncio.TimeoutError) as error:
                self.failures.append(Failure(started, time.monotonic(), f"WebSocket {self.websocket}", repr(error)))
                await asyncio.sleep(0.1)

    async def open_websocket(self):
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        key = base64.b64encode(os.urandom(16)).decode()
        writer.write(f"GET /function/{self.websocket}/ws HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\n"
                     f"Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {key}\r\n\r\n".encode())
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        digest = hashlib.sha1((key + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11").encode()).digest()
        if not head.startswith("HTTP/1.1 101 ") or base64.b64encode(digest).decode() not in head:
            writer.close()
            raise Wrong(f"no WebSocket: {head[:200]}")
        self.websockets += 1
        self.reader, self.writer = reader, writer

    def send_frame(self, op, data):
        mask = os.urandom(4)
        masked = bytes(c ^ mask[i % 4] for i, c in enumerate(data))
        self.writer.write(bytes([0x80 | op, 0x80 | len(data)]) + mask + masked)

    async def read_frame(self):
        head = await asyncio.wait_for(self.reader.readexactly(2), PATIENCE_S)
        return head[0] & 0x0f, await self.reader.readexactly(head[1])

    async def echo_frames(self):
        """Until the other side closes, which is answered, or the load ends."""
        try:
            while not self.stop.is_set():
                text = b"frame %d" % self.frames
                self.send_frame(WS_TEXT, text)
                op, data = await self.read_frame()
                if op == WS_CLOSE:
                    self.send_frame(WS_CLOSE, data)
                    await self.reader.read()
                    return
                if data != text:
                    raise Wrong(f"a frame came back as {data!r}")
                self.frames += 1
                await asyncio.sleep(0.02)
            self.send_frame(WS_CLOSE, b"")
            while (await self.read_frame())[0] != WS_CLOSE:
                pass
        finally:
            self.writer.close()
