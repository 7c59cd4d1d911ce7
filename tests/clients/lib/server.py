"""A running `cc-openai-wrapper serve` with `mock-claude` behind it, as a process of its own."""

import ctypes
import json
import os
import pathlib
import shutil
import signal
import subprocess
import tempfile
import threading
import time
import urllib.error
import urllib.request

# Longer than any wait of a case: whoever waits this long has failed.
PATIENCE = 30.0


def until(what, condition):
    """Waits for a condition and gives what it says."""
    deadline = time.monotonic() + PATIENCE
    while not (found := condition()):
        if time.monotonic() > deadline:
            raise AssertionError(f"waited in vain until {what}")
        time.sleep(0.002)
    return found


def _end_with_parent():
    """A server must not outlive this program, however it ends."""
    pr_set_pdeathsig = 1
    ctypes.CDLL(None).prctl(pr_set_pdeathsig, signal.SIGTERM)


class Server:
    """One server; start it with `with`, and it is ended and checked for leftovers behind it."""

    def __init__(self, binaries, flags=(), cli=None):
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="ccw-clients-"))
        if cli is not None:
            script = self.folder / "cli"
            script.write_text(cli.format(mock=binaries / "mock-claude", folder=self.folder))
            script.chmod(0o755)
            cli = script
        home = self.folder / "home"
        home.mkdir()
        environment = {name: value for name, value in os.environ.items() if not name.startswith(("CCW_", "MOCK_CLAUDE"))}
        self.process = subprocess.Popen(
            [binaries / "cc-openai-wrapper", "serve", "--listen", "127.0.0.1:0", "--log-format", "json"]
            + ["--cli", cli or binaries / "mock-claude", *flags],
            env=environment | {"HOME": str(home), "TMPDIR": str(home), "CCW_RUNTIME_DIR": str(home / "runtime")},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            preexec_fn=_end_with_parent,
        )
        self.log = []
        self.address = None
        for line in self.process.stderr:
            self.log.append(line)
            try:
                self.address = json.loads(line)["fields"]["address"]
                break
            except (ValueError, KeyError):
                pass
        if self.address is None:
            self.process.wait()
            shutil.rmtree(self.folder)
            raise AssertionError("the server did not start:\n" + "".join(self.log))
        self._reader = threading.Thread(target=lambda: self.log.extend(self.process.stderr), daemon=True)
        self._reader.start()

    @property
    def port(self):
        return int(self.address.rpartition(":")[2])

    def health(self):
        """What /health says; the server answers 503 there while it is offline."""
        try:
            with urllib.request.urlopen(f"http://{self.address}/health", timeout=PATIENCE) as reply:
                return json.load(reply)
        except urllib.error.HTTPError as reply:
            return json.load(reply)

    def post(self, body, key=None):
        """A plain request, without any of the clients: the open reply, whatever its status."""
        request = urllib.request.Request(
            f"http://{self.address}/v1/chat/completions",
            json.dumps(body).encode(),
            {"content-type": "application/json"} | ({"authorization": f"Bearer {key}"} if key else {}),
        )
        try:
            return urllib.request.urlopen(request, timeout=PATIENCE)
        except urllib.error.HTTPError as reply:
            return reply

    def ask(self, prompt):
        """The status of one plain completion."""
        with self.post({"messages": [{"role": "user", "content": prompt}]}) as reply:
            reply.read()
            return reply.status

    def is_idle(self):
        health = self.health()
        return health["invokers"]["busy"] == 0 and health["queue"]["waiting"] == 0

    def stop(self):
        """Ends it. Gives what it left behind, in words; empty when all is well."""
        left = []
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            left.append(f"the server did not end within {PATIENCE:.0f} s of SIGTERM")
            self.process.kill()
            self.process.wait()
        if self.process.returncode != 0:
            left.append(f"the server ended with {self.process.returncode}")
        for pid in self._processes():
            left.append(f"process {pid} outlived the server")
            os.kill(pid, signal.SIGKILL)
        left.extend(f"file {path} was left" for path in (self.folder / "home").rglob("*") if not path.is_dir())
        self._reader.join(PATIENCE)
        shutil.rmtree(self.folder)
        return left

    def _processes(self):
        """All that carries this server's HOME in its environment."""
        mark = f"HOME={self.folder}/home".encode()
        found = []
        for entry in pathlib.Path("/proc").iterdir():
            try:
                if entry.name.isdigit() and mark in (entry / "environ").read_bytes().split(b"\0"):
                    found.append(int(entry.name))
            except OSError:
                pass
        return found
