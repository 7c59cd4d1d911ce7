// Runs the Node clients for `tests/clients/run`: one JSON object a line, each way.
//
//   {"id": 1, "client": "openai", "op": "text", "env": {"base": …, "prompt": …}} → {"id": 1, "saw": …} or {"id": 1, "raised": …}
//   {"cancel": 1} aborts it; {"id": 1, "piece": true} says that a stream has begun.
import { createInterface } from "node:readline";

import { clients } from "./clients.mjs";

const running = new Map();
const say = (message) => process.stdout.write(JSON.stringify(message) + "\n");

// An exception as a client's user meets it: its class, and the fields that programs look at.
function words(error) {
  if (error instanceof DOMException) return error.name;
  const body = error.data?.error ?? {};
  const fields = [error.status ?? error.statusCode, error.code ?? body.code, error.param ?? body.param];
  const told = [error.constructor?.name, ...fields].filter((field) => field != null).join(" ");
  const cause = error.lastError ?? error.cause;
  return told.includes(" ") || cause == null ? told : `${told} ← ${words(cause)}`;
}

async function run({ id, client, op, env }) {
  const abort = new AbortController();
  running.set(id, abort);
  let pieces = 0;
  const piece = () => pieces++ || say({ id, piece: true });
  try {
    const saw = await clients[client].ops[op]({ ...env, signal: abort.signal, piece });
    say({ id, saw });
  } catch (error) {
    say(abort.signal.aborted ? { id, cancelled: true } : { id, raised: words(error), trace: String(error.stack) });
  } finally {
    running.delete(id);
  }
}

say({ clients: Object.entries(clients).map(([key, { name, ops }]) => ({ key, name, ops: Object.keys(ops) })) });
for await (const line of createInterface({ input: process.stdin })) {
  const message = JSON.parse(line);
  if (message.cancel) running.get(message.cancel)?.abort();
  else run(message);
}
process.exit(0);
