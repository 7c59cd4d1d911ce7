// A wrapper as many are written: OpenAI's chat endpoint in front of the official Agent SDK for Node.
//
// Each of SLOTS conversations keeps one CLI process for TURNS turns, and is replaced then. With LEAK=1 the old one is
// dropped and nothing more: its CLI lives on. Without, it is closed first.
import http from 'node:http';
import { createRequire } from 'node:module';
import { pathToFileURL } from 'node:url';

// By way of `require`, which looks in NODE_PATH too.
const sdk = createRequire(import.meta.url).resolve('@anthropic-ai/claude-agent-sdk');
const { query } = await import(pathToFileURL(sdk));

const PORT = Number(process.env.PORT ?? 8302);
const TURNS = Number(process.env.TURNS ?? 5);
const SLOTS = Number(process.env.SLOTS ?? 2);
const LEAK = process.env.LEAK === '1';

/** One conversation: prompts go in one by one, messages come out. */
class Conversation {
  constructor() {
    this.turns = 0;
    const options = {
      model: 'haiku',
      tools: [],
      settingSources: [],
      includePartialMessages: true,
      pathToClaudeCodeExecutable: 'claude',
    };
    this.query = query({ prompt: this.prompts(), options });
  }

  async *prompts() {
    for (;;) {
      const content = await new Promise((resolve) => {
        this.send = resolve;
        this.ready?.();
      });
      yield { type: 'user', message: { role: 'user', content }, parent_tool_use_id: null };
    }
  }

  async answer(prompt, say) {
    this.turns += 1;
    if (!this.send) await new Promise((resolve) => (this.ready = resolve));
    const send = this.send;
    this.send = undefined;
    send(prompt);
    for (;;) {
      const { value: message, done } = await this.query.next();
      if (done) throw new Error('the CLI has ended');
      if (message.event?.delta?.type === 'text_delta') say(message.event.delta.text);
      if (message.type === 'result') {
        if (message.is_error) throw new Error(message.result ?? message.subtype);
        return;
      }
    }
  }
}

class Slot {
  replace() {
    if (!LEAK) this.conversation?.query.close();
    this.conversation = undefined;
  }

  async answer(prompt, say) {
    if (this.conversation?.turns >= TURNS) this.replace();
    this.conversation ??= new Conversation();
    await this.conversation.answer(prompt, say);
  }
}

const slots = Array.from({ length: SLOTS }, () => new Slot());
const free = [...slots];
const waiting = [];

async function answer(prompt, say) {
  const slot = free.shift() ?? (await new Promise((resolve) => waiting.push(resolve)));
  try {
    await slot.answer(prompt, say);
  } catch (error) {
    slot.replace();
    throw error;
  } finally {
    const next = waiting.shift();
    if (next) next(slot);
    else free.push(slot);
  }
}

const head = (object) => ({ id: `chatcmpl-${process.hrtime.bigint()}`, object, created: Math.floor(Date.now() / 1000), model: 'haiku' });

function sendJson(response, status, value) {
  response.writeHead(status, { 'content-type': 'application/json' });
  response.end(JSON.stringify(value));
}

const sendError = (response, status, message) =>
  sendJson(response, status, { error: { message, type: status < 500 ? 'invalid_request_error' : 'server_error' } });

async function whole(prompt, response) {
  let content = '';
  try {
    await answer(prompt, (text) => (content += text));
  } catch (error) {
    return sendError(response, 502, error.message);
  }
  const choice = { index: 0, message: { role: 'assistant', content }, finish_reason: 'stop' };
  sendJson(response, 200, { ...head('chat.completion'), choices: [choice], usage: null });
}

async function stream(prompt, response) {
  response.writeHead(200, { 'content-type': 'text/event-stream' });
  const send = (event) => response.write(`data: ${event}\n\n`);
  const say = (delta, finish_reason = null) =>
    send(JSON.stringify({ ...head('chat.completion.chunk'), choices: [{ index: 0, delta, finish_reason }] }));
  try {
    await answer(prompt, (text) => say({ role: 'assistant', content: text }));
    say({}, 'stop');
    send('[DONE]');
  } catch (error) {
    send(JSON.stringify({ error: { message: error.message, type: 'server_error' } }));
  }
  response.end();
}

async function chat(request, response) {
  let prompt;
  let body;
  try {
    let text = '';
    for await (const piece of request.setEncoding('utf8')) text += piece;
    body = JSON.parse(text);
    prompt = body.messages.map((message) => message.content).join('\n\n');
  } catch (error) {
    return sendError(response, 400, `messages with text are needed: ${error.message}`);
  }
  await (body.stream ? stream : whole)(prompt, response);
}

const server = http.createServer((request, response) => {
  const route = `${request.method} ${request.url}`;
  if (route === 'POST /v1/chat/completions') chat(request, response);
  else if (route === 'GET /health') {
    // What such servers show: their own memory, and none of their CLIs'.
    sendJson(response, 200, { status: 'ok', rss_mb: process.memoryUsage.rss() / 1e6, idle: free.length === SLOTS });
  } else if (route === 'GET /v1/models') {
    sendJson(response, 200, { object: 'list', data: [{ id: 'haiku', object: 'model', created: 0, owned_by: 'cli' }] });
  } else sendError(response, 404, `there is no ${route}`);
});

function stop() {
  server.close();
  server.closeAllConnections();
  if (!LEAK) slots.forEach((slot) => slot.replace());
  // A CLI that was closed is given a moment to end.
  setTimeout(() => process.exit(0), 200);
}

process.on('SIGTERM', stop);
process.on('SIGINT', stop);
server.listen(PORT, '127.0.0.1');
