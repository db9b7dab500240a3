"""Upstreams for provider-static: a scripted raw server, one thread per connection, inside the test."""
import socket
import threading


class Upstream:
    """Calls `serve(connection)` on a thread for each connection. `unix` is a path, else TCP."""

    def __init__(self, serve, unix=None):
        self.serve = serve
        if unix:
            self.socket = socket.socket(socket.AF_UNIX)
            self.socket.bind(str(unix))
            self.address = f"unix:{unix}"
        else:
            self.socket = socket.create_server(("127.0.0.1", 0))
            self.address = "127.0.0.1:%d" % self.socket.getsockname()[1]
        self.socket.listen(128)
        self.accepted = 0
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        while True:
            try:
                connection, _ = self.socket.accept()
            except OSError:
                return
            self.accepted += 1
            threading.Thread(target=self.run, args=(connection,), daemon=True).start()

    def run(self, connection):
        with connection:
            try:
                self.serve(connection)
            except OSError:
                pass

    def close(self):
        # closing alone would leave accept() waiting
        try:
            self.socket.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass
        self.socket.close()


def read_head(connection, rest=b""):
    """(head, bytes behind it); None at the end of the connection."""
    data = rest
    while b"\r\n\r\n" not in data:
        piece = connection.recv(65536)
        if not piece:
            return None
        data += piece
    head, _, rest = data.partition(b"\r\n\r\n")
    return head + b"\r\n\r\n", rest


def fields(head):
    lines = head.decode("latin-1").split("\r\n")[1:]
    return {line.split(":", 1)[0].lower(): line.split(":", 1)[1].strip() for line in lines if ":" in line}


def static_config(functions, extra=""):
    lines = "".join(f"        {name}: {address}\n" for name, address in functions.items())
    return f"{extra}\nproviders:\n  - plugin: provider-static\n    config:\n      functions:\n{lines}"
