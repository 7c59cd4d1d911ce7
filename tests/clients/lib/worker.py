"""The clients that are not written in Python, in processes of their own."""

import asyncio
import json
import os
import shutil

LINE_LIMIT = 64 * 1024 * 1024


class Raised(Exception):
    """What a client raised, told as it was there."""


class Worker:
    """The process: `start` gives its clients, `stop` ends it."""

    def __init__(self, *command):
        self._command = [str(word) for word in command]
        self._process = None
        self._waiting = {}
        self._ids = iter(range(1, 1_000_000))

    async def start(self):
        self._process = await asyncio.create_subprocess_exec(
            *self._command,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            limit=LINE_LIMIT,
            env=os.environ | {"AI_SDK_LOG_WARNINGS": "false"},
        )  # fmt: skip
        hello = await self._process.stdout.readline()
        self._reader = asyncio.create_task(self._read())
        if not hello:
            raise AssertionError(f"{' '.join(self._command)} ended with {await self._process.wait()} before it said a word")
        return [OtherClient(self, **client) for client in json.loads(hello)["clients"]]

    async def _read(self):
        while line := await self._process.stdout.readline():
            message = json.loads(line)
            if (queue := self._waiting.get(message["id"])) is not None:
                queue.put_nowait(message)
        for queue in self._waiting.values():
            queue.put_nowait({"raised": "the worker ended"})

    def say(self, message):
        self._process.stdin.write(json.dumps(message).encode() + b"\n")

    async def call(self, client, op, env):
        number = next(self._ids)
        queue = self._waiting[number] = asyncio.Queue()
        given = {"base": env.base, "prompt": env.prompt, "model": env.model, "key": env.key}
        given |= {"retries": env.retries, "timeout": env.timeout}
        self.say({"id": number, "client": client, "op": op, "env": given})
        try:
            while "piece" in (message := await queue.get()):
                env.first_piece()
        except asyncio.CancelledError:
            self.say({"cancel": number})
            while "piece" in (message := await queue.get()):
                pass
            if "saw" in message:
                return message["saw"]
            raise
        finally:
            del self._waiting[number]
        if "raised" in message:
            env.trace = message.get("trace", "")
            raise Raised(message["raised"], message.get("trace", ""))
        return message["saw"]

    async def stop(self):
        if self._process is None:
            return
        self._process.stdin.close()
        try:
            await asyncio.wait_for(self._process.wait(), 10)
        except TimeoutError:
            self._process.kill()
            await self._process.wait()
        await self._reader


class NodeWorker(Worker):
    """The Node clients."""

    def __init__(self, folder, sources):
        # Node looks for packages beside the source that imports them.
        self._folder = folder / "worker"
        shutil.rmtree(self._folder, ignore_errors=True)
        shutil.copytree(sources, self._folder)
        super().__init__("node", self._folder / "worker.mjs")

    async def stop(self):
        await super().stop()
        shutil.rmtree(self._folder)


class OtherClient:
    """A client that runs in a worker."""

    def __init__(self, worker, key, name, ops):
        self._worker = worker
        self.key = key
        self.name = name
        self._ops = set(ops)

    def operations(self):
        return self._ops

    async def run(self, op, env):
        return await self._worker.call(self.key, op, env)
