"""A small server for the tests of the gate. What it does with a prompt is put in the place of the line with ANSWER."""
import itertools, json, os, subprocess, sys, threading, time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

HERE = os.path.dirname(os.path.abspath(__file__))
NUMBERS = itertools.count(1)


def run(*command):
    return subprocess.run(command, capture_output=True, text=True, stdin=subprocess.DEVNULL).stdout


def note(line):
    with open(HERE + "/asked.log", "a") as log:
        log.write(line + "\n")


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def send(self, kind, text, status=200):
        body = text.encode()
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_GET(self):
        self.send("application/json", "{}")

    def do_POST(self):
        request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        prompt, number = request["messages"][-1]["content"], next(NUMBERS)
        note(str(number))
        message, finish = {"role": "assistant", "content": "hello"}, "stop"
        # ANSWER
        if isinstance(message, str):
            message = {"role": "assistant", "content": message}
        if not request.get("stream"):
            choice = {"index": 0, "message": message, "finish_reason": finish}
            return self.send("application/json", json.dumps({"object": "chat.completion", "choices": [choice]}))
        pieces = [(message, None), ({}, finish)] if finish != "CUT" else [(message, None)]
        chunks = [{"choices": [{"index": 0, "delta": delta, "finish_reason": end}]} for delta, end in pieces]
        chunks.append({"choices": [], "usage": {"total_tokens": 2}})
        end = "data: [DONE]\n\n" if finish != "CUT" else ""
        self.send("text/event-stream", "".join(f"data: {json.dumps(chunk)}\n\n" for chunk in chunks) + end)


# START
ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
