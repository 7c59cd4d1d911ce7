"""Sits between a client and the server and keeps every byte, without changing one.

It works on bytes, so that neither side can tell: what a client cuts off is cut off at the server as well. What went
over the wire is read afterwards.
"""

import dataclasses
import json
import selectors
import socket
import threading
import time

import h11

BODY_LIMIT = 64 * 1024 * 1024


@dataclasses.dataclass
class Exchange:
    """One request and what became of it."""

    method: str
    path: str
    body: bytes
    asked: float
    status: int | None = None
    headers: dict = dataclasses.field(default_factory=dict)
    reply: bytes = b""
    answered: float | None = None
    whole: bool = False

    @property
    def is_stream(self):
        return self.headers.get("content-type", "").startswith("text/event-stream")

    def events(self):
        """The data of a stream's events, as (event name, data)."""
        for block in self.reply.decode().split("\n\n"):
            name, data = None, []
            for line in block.split("\n"):
                field, _, value = line.partition(":")
                if field == "event":
                    name = value.removeprefix(" ")
                elif field == "data":
                    data.append(value.removeprefix(" "))
            if data:
                yield name, "\n".join(data)

    def words(self):
        """For a person who looks for what went wrong."""
        body = self.body.decode(errors="replace")
        reply = self.reply.decode(errors="replace")
        return f"{self.method} {self.path}\n{body[:6000]}\n→ {self.status} {json.dumps(self.headers)}\n{reply[:4000]}"


class _Pair(threading.Thread):
    """One connection, with its other half to the server."""

    def __init__(self, client, port):
        super().__init__(daemon=True)
        self.client = client
        self.server = socket.create_connection(("127.0.0.1", port))
        self.sent, self.received = [], []
        self.cut = threading.Event()

    def run(self):
        with selectors.DefaultSelector() as selector, self.client, self.server:
            selector.register(self.client, selectors.EVENT_READ, (self.server, self.sent))
            selector.register(self.server, selectors.EVENT_READ, (self.client, self.received))
            while not self.cut.is_set():
                for ready, _ in selector.select(0.05):
                    other, kept = ready.data
                    try:
                        data = ready.fileobj.recv(65536)
                        if not data:
                            return
                        kept.append((time.monotonic(), data))
                        other.sendall(data)
                    except OSError:
                        return

    def exchanges(self):
        asked = list(_requests(self.sent))
        _answer(asked, self.received)
        return asked


class Tap:
    """A port of its own for one case."""

    def __init__(self, port):
        self._port = port
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=128)
        self._pairs = []
        self._accepting = threading.Thread(target=self._accept, daemon=True)
        self._accepting.start()

    @property
    def base(self):
        return f"http://127.0.0.1:{self._listener.getsockname()[1]}/v1"

    def _accept(self):
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            pair = _Pair(client, self._port)
            pair.start()
            self._pairs.append(pair)

    def exchanges(self):
        """All requests so far, in the order in which they came."""
        return sorted((e for pair in list(self._pairs) for e in pair.exchanges()), key=lambda e: e.asked)

    def forget(self):
        """Leaves out what was so far."""
        for pair in self._pairs:
            pair.cut.set()
        self._pairs.clear()

    def close(self):
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._accepting.join()
        for pair in self._pairs:
            pair.cut.set()
        for pair in self._pairs:
            pair.join()


def _requests(chunks):
    reader = h11.Connection(h11.SERVER, max_incomplete_event_size=BODY_LIMIT)
    current = None
    for at, data in chunks:
        reader.receive_data(data)
        while True:
            event = reader.next_event()
            if isinstance(event, h11.Request):
                current = Exchange(event.method.decode(), event.target.decode(), b"", at)
                yield current
            elif isinstance(event, h11.Data):
                current.body += event.data
            elif event is h11.PAUSED:
                # A request is done with; what the server said to it is read elsewhere.
                reader.send(h11.Response(status_code=204, headers=[]))
                reader.send(h11.EndOfMessage())
                reader.start_next_cycle()
            elif event is h11.NEED_DATA:
                break


def _answer(exchanges, chunks):
    todo = iter(exchanges)
    reader, current = None, None
    for at, data in chunks:
        while data or reader is not None:
            if reader is None:
                current = next(todo, None)
                if current is None:
                    return
                reader = h11.Connection(h11.CLIENT, max_incomplete_event_size=BODY_LIMIT)
                reader.send(h11.Request(method=current.method, target=current.path, headers=[("host", "tap")]))
                reader.send(h11.EndOfMessage())
            reader.receive_data(data)
            data = b""
            event = reader.next_event()
            while event is not h11.NEED_DATA and event is not h11.PAUSED:
                if isinstance(event, h11.Response):
                    current.status, current.answered = event.status_code, at
                    current.headers = {name.decode(): value.decode() for name, value in event.headers}
                elif isinstance(event, h11.Data):
                    current.reply += event.data
                elif isinstance(event, h11.EndOfMessage):
                    current.whole = True
                    data, _ = reader.trailing_data
                    reader = None
                    break
                event = reader.next_event()
            else:
                break
