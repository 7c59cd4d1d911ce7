"""A wrapper as many are written: OpenAI's chat endpoint in front of the official Agent SDK for Python.

Each of SLOTS clients keeps one CLI process for TURNS turns, and is replaced then. With LEAK=1 the old client is dropped
and nothing more: its CLI lives on. Without, it is disconnected first.
"""

import asyncio
import json
import os
import queue
import signal
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from claude_agent_sdk import ClaudeAgentOptions, ClaudeSDKClient, ResultMessage
from claude_agent_sdk.types import StreamEvent

PORT = int(os.environ.get("PORT", "8301"))
TURNS = int(os.environ.get("TURNS", "5"))
SLOTS = int(os.environ.get("SLOTS", "2"))
LEAK = os.environ.get("LEAK") == "1"
OPTIONS = ClaudeAgentOptions(model="haiku", tools=[], setting_sources=[], include_partial_messages=True)


class Slot:
    """One client at a time, replaced every TURNS turns."""

    def __init__(self):
        self.client, self.turns = None, 0

    async def answer(self, prompt, say):
        """Runs a turn; `say` gets each piece of its text."""
        if self.turns == TURNS:
            await self.replace()
        if self.client is None:
            self.client = ClaudeSDKClient(OPTIONS)
            await self.client.connect()
        self.turns += 1
        await self.client.query(prompt)
        async for message in self.client.receive_response():
            if isinstance(message, StreamEvent) and message.event.get("delta", {}).get("type") == "text_delta":
                say(message.event["delta"]["text"])
            elif isinstance(message, ResultMessage) and message.is_error:
                raise RuntimeError(message.result)

    async def replace(self):
        if self.client is not None and not LEAK:
            await self.client.disconnect()
        self.client, self.turns = None, 0


class Pool:
    """The slots, on an event loop of their own thread."""

    def __init__(self):
        self.loop = asyncio.new_event_loop()
        self.free = queue.Queue()
        self.slots = [Slot() for _ in range(SLOTS)]
        for slot in self.slots:
            self.free.put(slot)
        threading.Thread(target=self.loop.run_forever, daemon=True).start()

    def run(self, coroutine):
        return asyncio.run_coroutine_threadsafe(coroutine, self.loop).result()

    def answer(self, prompt, say):
        slot = self.free.get()
        try:
            self.run(slot.answer(prompt, say))
        except Exception:
            self.run(slot.replace())
            raise
        finally:
            self.free.put(slot)

    def idle(self):
        return self.free.qsize() == SLOTS

    def close(self):
        for slot in self.slots:
            self.run(slot.replace())


def own_rss_mb():
    """What such servers show: their own memory, and none of their CLIs'."""
    with open("/proc/self/statm") as statm:
        return int(statm.read().split()[1]) * os.sysconf("SC_PAGESIZE") / 1e6


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def do_GET(self):
        if self.path == "/health":
            self.send_json(200, {"status": "ok", "rss_mb": own_rss_mb(), "idle": POOL.idle()})
        elif self.path == "/v1/models":
            self.send_json(200, {"object": "list", "data": [{"id": "haiku", "object": "model", "created": 0, "owned_by": "cli"}]})
        else:
            self.send_error_json(404, f"there is no {self.path}")

    def do_POST(self):
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if self.path != "/v1/chat/completions":
            return self.send_error_json(404, f"there is no {self.path}")
        try:
            request = json.loads(body)
            prompt = "\n\n".join(message["content"] for message in request["messages"])
        except (ValueError, KeyError, TypeError) as error:
            return self.send_error_json(400, f"messages with text are needed: {error}")
        answer = self.stream if request.get("stream") else self.whole
        answer(prompt)

    def whole(self, prompt):
        pieces = []
        try:
            POOL.answer(prompt, pieces.append)
        except Exception as error:  # noqa: BLE001 - whatever it is, the client has to know
            return self.send_error_json(502, str(error))
        message = {"role": "assistant", "content": "".join(pieces)}
        choice = {"index": 0, "message": message, "finish_reason": "stop"}
        self.send_json(200, {**head("chat.completion"), "choices": [choice], "usage": None})

    def stream(self, prompt):
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Connection", "close")
        self.end_headers()
        self.close_connection = True

        def send(event):
            self.wfile.write(f"data: {event}\n\n".encode())

        def say(delta, finish=None):
            choice = {"index": 0, "delta": delta, "finish_reason": finish}
            send(json.dumps({**head("chat.completion.chunk"), "choices": [choice]}))

        try:
            POOL.answer(prompt, lambda text: say({"role": "assistant", "content": text}))
        except Exception as error:  # noqa: BLE001
            return send(json.dumps({"error": {"message": str(error), "type": "server_error"}}))
        say({}, "stop")
        send("[DONE]")

    def send_error_json(self, status, message):
        self.send_json(status, {"error": {"message": message, "type": "invalid_request_error" if status < 500 else "server_error"}})

    def send_json(self, status, value):
        body = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


def head(kind):
    return {"id": f"chatcmpl-{time.monotonic_ns():x}", "object": kind, "created": int(time.time()), "model": "haiku"}


POOL = Pool()


def main():
    server = ThreadingHTTPServer(("127.0.0.1", PORT), Handler)
    server.daemon_threads = True

    def stop(*_):
        threading.Thread(target=server.shutdown).start()

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)
    server.serve_forever(poll_interval=0.05)
    server.server_close()
    if not LEAK:
        POOL.close()


if __name__ == "__main__":
    main()
