"""The socket of the shell example: it hands every request to one of SLOTS scripts, `worker.sh`, which keep the CLIs."""

import json
import os
import pathlib
import queue
import signal
import subprocess
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

PORT = int(os.environ.get("PORT", "8303"))
WORKER = str(pathlib.Path(__file__).resolve().parent / "worker.sh")


class Workers:
    """The scripts; each answers one request at a time."""

    def __init__(self, count):
        start = ["bash", WORKER]
        self.all = [subprocess.Popen(start, stdin=subprocess.PIPE, stdout=subprocess.PIPE) for _ in range(count)]
        self.free = queue.Queue()
        for worker in self.all:
            self.free.put(worker)

    def answer(self, prompt):
        message = {"type": "user", "message": {"role": "user", "content": prompt}, "parent_tool_use_id": None}
        worker = self.free.get()
        try:
            worker.stdin.write(json.dumps(message).encode() + b"\n")
            worker.stdin.flush()
            line = worker.stdout.readline()
        finally:
            self.free.put(worker)
        if not line:
            raise RuntimeError("the script has ended")
        result = json.loads(line)
        if result["is_error"]:
            raise RuntimeError(result.get("result", result["subtype"]))
        return result["result"]

    def idle(self):
        return self.free.qsize() == len(self.all)

    def close(self):
        for worker in self.all:
            worker.stdin.close()
        for worker in self.all:
            worker.wait()


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
            self.send_json(200, {"status": "ok", "rss_mb": own_rss_mb(), "idle": WORKERS.idle()})
        elif self.path == "/v1/models":
            self.send_json(200, {"object": "list", "data": [{"id": "haiku", "object": "model", "created": 0, "owned_by": "cli"}]})
        else:
            self.send_json(404, {"error": {"message": f"there is no {self.path}", "type": "invalid_request_error"}})

    def do_POST(self):
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        try:
            request = json.loads(body)
            prompt = "\n\n".join(message["content"] for message in request["messages"])
        except (ValueError, KeyError, TypeError) as error:
            return self.send_json(400, {"error": {"message": f"messages with text are needed: {error}", "type": "invalid_request_error"}})
        try:
            text = WORKERS.answer(prompt)
        except Exception as error:  # noqa: BLE001 - whatever it is, the client has to know
            return self.send_json(502, {"error": {"message": str(error), "type": "server_error"}})
        head = {"id": f"chatcmpl-{time.monotonic_ns():x}", "created": int(time.time()), "model": "haiku"}
        if not request.get("stream"):
            choice = {"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}
            return self.send_json(200, {**head, "object": "chat.completion", "choices": [choice], "usage": None})
        # The script gives the whole text, so that the stream has one piece.
        pieces = [({"role": "assistant", "content": text}, None), ({}, "stop")]
        chunks = [{**head, "object": "chat.completion.chunk", "choices": [{"index": 0, "delta": d, "finish_reason": f}]} for d, f in pieces]
        self.send("text/event-stream", "".join(f"data: {json.dumps(chunk)}\n\n" for chunk in chunks) + "data: [DONE]\n\n")

    def send_json(self, status, value):
        self.send("application/json", json.dumps(value), status)

    def send(self, kind, text, status=200):
        body = text.encode()
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


def main():
    server = ThreadingHTTPServer(("127.0.0.1", PORT), Handler)
    server.daemon_threads = True

    def stop(*_):
        threading.Thread(target=server.shutdown).start()

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)
    server.serve_forever(poll_interval=0.05)
    server.server_close()
    WORKERS.close()


if __name__ == "__main__":
    WORKERS = Workers(int(os.environ.get("SLOTS", "2")))
    main()
