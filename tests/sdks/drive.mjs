// Drives the CLI in its place through `@anthropic-ai/claude-agent-sdk`; prints what each case saw, one JSON object a line.
import assert from 'node:assert/strict';
import { createRequire } from 'node:module';
import { pathToFileURL } from 'node:url';

// node_modules stand below target/, not beside this file.
const at = createRequire(`${process.env.SDKS_NODE}/`);
const { query, tool, createSdkMcpServer } = await import(pathToFileURL(at.resolve('@anthropic-ai/claude-agent-sdk')));
const { z } = await import(pathToFileURL(at.resolve('zod')));

// This SDK looks for nothing in PATH by itself; a bare name is looked for when it is started.
const CLI = process.env.SDKS_CLI || 'claude';
const cases = {};

const options = (more = {}) => ({ pathToClaudeCodeExecutable: CLI, settingSources: [], ...more });
const userMessage = (content) => ({ type: 'user', message: { role: 'user', content }, parent_tool_use_id: null });

/** A conversation: prompts go in one by one, messages come out. */
class Talk {
  constructor(more) {
    this.waiting = [];
    this.query = query({ prompt: this.prompts(), options: options(more) });
  }

  async *prompts() {
    for (;;) {
      const next = await new Promise((resolve) => {
        this.next = resolve;
        this.push();
      });
      if (next === null) return;
      yield next;
    }
  }

  push() {
    if (this.next && this.waiting.length > 0) {
      const next = this.next;
      this.next = undefined;
      next(this.waiting.shift());
    }
  }

  /** The messages of one turn; `each` sees them as they come. */
  async ask(prompt, each = async () => {}) {
    this.waiting.push(userMessage(prompt));
    this.push();
    const messages = [];
    for (;;) {
      const { value, done } = await this.query.next();
      if (done) throw new Error('the conversation has ended');
      messages.push(value);
      await each(value);
      if (value.type === 'result') return messages;
    }
  }

  async end() {
    this.waiting.push(null);
    this.push();
    for await (const rest of this.query) void rest;
  }
}

async function talk(more, body) {
  const talk = new Talk(more);
  try {
    const saw = await body(talk);
    await talk.end();
    return saw;
  } finally {
    talk.query.close();
  }
}

async function oneShot(prompt, more) {
  const messages = [];
  for await (const message of query({ prompt, options: options(more) })) messages.push(message);
  return messages;
}

async function refused(promise) {
  try {
    await promise;
  } catch (error) {
    return error.message;
  }
  throw new Error('it was not refused');
}

const result = (messages) => messages.filter((message) => message.type === 'result').at(-1);
const init = (messages) => messages.find((message) => message.type === 'system' && message.subtype === 'init');
const blocks = (messages) => messages.filter((m) => m.type === 'assistant').flatMap((m) => m.message.content);
const text = (messages) => blocks(messages).filter((b) => b.type === 'text').map((b) => b.text).join('');

cases['one-shot-query'] = async () => {
  const messages = await oneShot('[[answer:echo]] hello');
  assert.equal(text(messages), '[[answer:echo]] hello');
  assert.equal(result(messages).result, '[[answer:echo]] hello');
  return `${messages.length} messages, ${result(messages).subtype}`;
};

cases['streamed-prompts'] = async () => {
  async function* prompts() {
    for (const word of ['one', 'two']) yield userMessage(`[[answer:echo]] ${word}`);
  }
  const messages = await oneShot(prompts());
  const words = messages.filter((m) => m.type === 'result').map((m) => m.result.split(' ').at(-1));
  assert.deepEqual(words, ['one', 'two']);
  return words.join(' ');
};

cases['several-turns'] = () =>
  talk({}, async (talk) => {
    const seen = [];
    for (const n of [0, 1, 2]) seen.push(result(await talk.ask(`[[answer:echo]] turn ${n}`)).result.at(-1));
    assert.deepEqual(seen, ['0', '1', '2']);
    return '3 turns on one process';
  });

cases['server-info'] = () =>
  talk({}, async ({ query }) => {
    const [commands, models, agents, account] = await Promise.all([
      query.supportedCommands(), query.supportedModels(), query.supportedAgents(), query.accountInfo(),
    ]);
    assert.ok(commands[0].name && models[0].value && models[0].displayName && agents[0].name && account.apiProvider);
    return `${commands.length} commands, ${models.length} models`;
  });

cases['partial-messages'] = () =>
  talk({ includePartialMessages: true }, async (talk) => {
    const messages = await talk.ask('[[answer:echo]] in several pieces, one after the other');
    const events = messages.filter((m) => m.type === 'stream_event').map((m) => m.event);
    const pieces = events.filter((event) => event.type === 'content_block_delta').map((event) => event.delta.text);
    assert.ok(pieces.length > 1);
    assert.equal(pieces.join(''), text(messages));
    assert.deepEqual([events[0].type, events.at(-1).type], ['message_start', 'message_stop']);
    return `${pieces.length} pieces are the text`;
  });

cases['set-model'] = () =>
  talk({ model: 'haiku' }, async (talk) => {
    const before = init(await talk.ask('hello')).model;
    await talk.query.setModel('sonnet');
    const after = init(await talk.ask('hello')).model;
    await talk.query.setModel();
    const standard = init(await talk.ask('hello')).model;
    assert.deepEqual([/haiku/.test(before), /sonnet/.test(after), /opus/.test(standard)], [true, true, true]);
    return `${before} → ${after} → ${standard}`;
  });

cases['set-permission-mode'] = () =>
  talk({}, async (talk) => {
    await talk.query.setPermissionMode('plan');
    const mode = init(await talk.ask('hello')).permissionMode;
    const error = await refused(talk.query.setPermissionMode('bypassPermissions'));
    assert.equal(mode, 'plan');
    assert.match(error, /was not launched with/);
    return 'plan; bypassPermissions is refused';
  });

cases['interrupt'] = () =>
  talk({ includePartialMessages: true }, async (talk) => {
    let asked = false;
    const cut = result(await talk.ask('[[answer:text+drip=60000]] hello', async (message) => {
      if (message.event?.type === 'content_block_delta' && !asked) {
        asked = true;
        await talk.query.interrupt();
      }
    }));
    const after = result(await talk.ask('[[answer:echo]] after'));
    assert.deepEqual([cut.subtype, after.subtype], ['error_during_execution', 'success']);
    return `${cut.subtype}, then ${after.subtype}`;
  });

cases['context-usage'] = () =>
  talk({}, async (talk) => {
    await talk.ask('hello');
    const usage = await talk.query.getContextUsage();
    assert.ok(usage.totalTokens > 0 && usage.maxTokens > usage.totalTokens && usage.categories.length > 0);
    return `${usage.totalTokens} tokens`;
  });

cases['mcp-status'] = () =>
  talk({}, async ({ query }) => {
    assert.deepEqual(await query.mcpServerStatus(), []);
    return 'no server';
  });

cases['other-requests'] = () =>
  talk({}, async ({ query }) => {
    const id = '00000000-0000-4000-8000-000000000001';
    const rewind = await refused(query.rewindFiles(id));
    assert.equal(rewind, 'File rewinding is not enabled.');
    for (const request of [query.reconnectMcpServer('nobody'), query.toggleMcpServer('nobody', false)]) {
      assert.match(await refused(request), /Server not found: nobody/);
    }
    await query.stopTask('none');
    await query.setMaxThinkingTokens(1000);
    await query.applyFlagSettings({});
    await query.seedReadState('x', 1);
    assert.equal(typeof (await query.backgroundTasks()), 'boolean');
    assert.deepEqual(await query.setMcpServers({}), { added: [], removed: [], errors: {} });
    assert.ok((await query.reloadPlugins()).commands.length > 0 && (await query.reloadSkills()).skills.length > 0);
    assert.ok((await query.initializationResult()).models.length > 0);
    return rewind;
  });

const permission = (answer, seen) => async (name, input, { toolUseID }) => {
  seen.push({ name, input, id: toolUseID });
  return answer;
};

cases['permission-allowed'] = () => {
  const seen = [];
  const answer = { behavior: 'allow', updatedInput: { command: 'true', description: 'other' } };
  return talk({ canUseTool: permission(answer, seen) }, async (talk) => {
    const messages = await talk.ask('[[answer:use=Bash]]');
    const uses = blocks(messages).filter((b) => b.type === 'tool_use').map(({ name, input, id }) => ({ name, input, id }));
    assert.deepEqual(uses, seen);
    assert.equal(result(messages).result, 'Bash: (Bash completed with no output)');
    assert.deepEqual(result(messages).permission_denials, []);
    return `asked for ${seen[0].name}, done`;
  });
};

cases['permission-denied'] = () =>
  talk({ canUseTool: permission({ behavior: 'deny', message: 'not today' }, []) }, async (talk) => {
    const last = result(await talk.ask('[[answer:use=Write]]'));
    const again = result(await talk.ask('[[answer:echo]] after'));
    assert.deepEqual([last.result, last.permission_denials.length, again.subtype], ['Write: not today', 1, 'success']);
    return `${last.result}; ${last.permission_denials.length} denial`;
  });

cases['permission-denied-and-interrupted'] = () =>
  talk({ canUseTool: permission({ behavior: 'deny', message: 'stop', interrupt: true }, []) }, async (talk) => {
    const last = result(await talk.ask('[[answer:use]]'));
    const again = result(await talk.ask('[[answer:echo]] after'));
    assert.deepEqual([last.subtype, again.subtype], ['error_during_execution', 'success']);
    return `${last.subtype}, then ${again.subtype}`;
  });

cases['permission-modes'] = async () => {
  const unasked = result(await oneShot('[[answer:use]]'));
  const bypass = { permissionMode: 'bypassPermissions', allowDangerouslySkipPermissions: true };
  const bypassed = result(await oneShot('[[answer:use]]', bypass));
  const listed = result(await oneShot('[[answer:use]]', { allowedTools: ['Bash'] }));
  assert.deepEqual([unasked, bypassed, listed].map((last) => last.permission_denials.length), [1, 0, 0]);
  return 'refused; bypassed; listed';
};

const hook = (seen, answer = {}) => async (input) => {
  seen.push(input.hook_event_name);
  return answer;
};

cases['hooks'] = async () => {
  const seen = [];
  const events = ['UserPromptSubmit', 'PreToolUse', 'PermissionRequest', 'PostToolUse', 'Stop'];
  const hooks = Object.fromEntries(events.map((event) => [event, [{ hooks: [hook(seen)] }]]));
  const canUseTool = async (name, input) => ({ behavior: 'allow', updatedInput: input });
  await talk({ hooks, canUseTool }, (talk) => talk.ask('[[answer:use]]'));
  assert.deepEqual(seen, events);
  seen.length = 0;
  await oneShot('[[answer:use]]', { hooks, allowedTools: ['Bash'] });
  assert.deepEqual(seen, ['UserPromptSubmit', 'PreToolUse', 'PostToolUse', 'Stop']);
  return seen.join(' ');
};

cases['hook-matchers'] = async () => {
  const seen = [];
  const others = [];
  const PreToolUse = [{ matcher: 'Bash|Read', hooks: [hook(seen)] }, { matcher: 'Write', hooks: [hook(others)] }];
  await oneShot('[[answer:use=Bash]]', { hooks: { PreToolUse }, allowedTools: ['Bash'] });
  assert.deepEqual([seen.length, others.length], [1, 0]);
  return 'one of two';
};

cases['hook-denies'] = async () => {
  const decision = { hookEventName: 'PreToolUse', permissionDecision: 'deny', permissionDecisionReason: 'no' };
  const PreToolUse = [{ hooks: [hook([], { hookSpecificOutput: decision })] }];
  assert.match(result(await oneShot('[[answer:use]]', { hooks: { PreToolUse } })).result, /hook error: no/);
  const UserPromptSubmit = [{ hooks: [hook([], { decision: 'block', reason: 'no such prompts' })] }];
  const blocked = result(await oneShot('hello', { hooks: { UserPromptSubmit } }));
  assert.match(blocked.result, /blocked by hook:\nno such prompts/);
  return 'a tool; a prompt';
};

cases['server-in-the-sdk'] = () => {
  const add = tool('add', 'Adds', { a: z.number(), b: z.number() }, async ({ a, b }) => ({
    content: [{ type: 'text', text: String(a + b) }],
  }));
  const mcpServers = { calc: createSdkMcpServer({ name: 'calc', tools: [add] }) };
  return talk({ mcpServers, allowedTools: ['mcp__calc__add'] }, async (talk) => {
    const messages = await talk.ask('[[answer:use=mcp__calc__add]] [[input:{"a": 1, "b": 2}]]');
    const [status] = await talk.query.mcpServerStatus();
    assert.deepEqual([result(messages).result, status.status], ['mcp__calc__add: 3', 'connected']);
    assert.ok(init(messages).tools.includes('mcp__calc__add'));
    return `1 + 2 = ${result(messages).result.split(' ').at(-1)}, ${status.status}`;
  });
};

cases['structured-output'] = async () => {
  const schema = { type: 'object', properties: { name: { type: 'string' } }, required: ['name'] };
  const found = result(await oneShot('Ada', { outputFormat: { type: 'json_schema', schema } })).structured_output;
  assert.equal(typeof found.name, 'string');
  return JSON.stringify(found);
};

cases['sessions'] = async () => {
  const wanted = '00000000-0000-4000-8000-0000000000aa';
  const named = result(await oneShot('hello', { sessionId: wanted })).session_id;
  const resumed = result(await oneShot('hello', { resume: wanted })).session_id;
  assert.deepEqual([named, resumed], [wanted, wanted]);
  return 'named and resumed';
};

// Whatever an option becomes on the command line is taken.
cases['every-option'] = async () => {
  const messages = await oneShot('[[answer:echo]] hello', {
    tools: ['Bash', 'Read'], allowedTools: ['Read'], disallowedTools: ['Write'], permissionMode: 'acceptEdits',
    systemPrompt: { type: 'preset', preset: 'claude_code', append: 'be brief' }, maxTurns: 3, maxBudgetUsd: 1.5,
    model: 'sonnet', fallbackModel: 'haiku', betas: ['context-1m-2025-08-07'], additionalDirectories: ['/tmp'],
    settings: '{}', includePartialMessages: true, includeHookEvents: true, effort: 'low', forkSession: true,
    strictMcpConfig: true, thinking: { type: 'enabled', budgetTokens: 2000 }, taskBudget: { total: 1000 },
    plugins: [{ type: 'local', path: '/tmp' }], skills: 'all', enableFileCheckpointing: true, persistSession: false,
    resume: '00000000-0000-4000-8000-0000000000aa', resumeSessionAt: 'x', debug: true, permissionPrompts: 'none',
    mcpServers: { other: { command: 'true' } }, mcpServersDelivery: 'argv', sandbox: { enabled: false }, agent: 'reviewer', title: 'a title',
    agents: { reviewer: { description: 'reviews', prompt: 'review' } }, allowDangerouslySkipPermissions: true,
    extraArgs: { 'replay-user-messages': null },
  });
  assert.equal(result(messages).result, '[[answer:echo]] hello');
  return 'taken';
};

cases['api-error'] = async () => {
  await talk({}, async (talk) => {
    const failed = result(await talk.ask('[[answer:api-error=529]]'));
    const after = result(await talk.ask('[[answer:echo]] after'));
    assert.deepEqual([failed.is_error, failed.api_error_status, after.is_error], [true, 529, false]);
  });
  const error = await refused(oneShot('[[answer:api-error=529]]'));
  assert.match(error, /API Error/);
  return error.slice(0, 60);
};

cases['cli-dies'] = async () => {
  const killed = await refused(oneShot('hello', { extraArgs: { 'mock-fault': 'crash' } }));
  const atStart = await refused(oneShot('hello', { extraArgs: { 'mock-fault': 'crash-start' } }));
  assert.match(killed, /signal SIGKILL/);
  assert.match(atStart, /code 1/);
  return killed;
};

cases['unknown-flag'] = async () => {
  const lines = [];
  const stderr = (data) => lines.push(data);
  const error = await refused(oneShot('hello', { extraArgs: { 'no-such-flag': null }, stderr }));
  assert.equal(lines.join(''), "error: unknown option '--no-such-flag'\n");
  assert.match(error, /code 1/);
  return lines.join('').trim();
};

cases['abort'] = async () => {
  const abortController = new AbortController();
  const stream = query({ prompt: '[[answer:text+slow=60000]] hello', options: options({ abortController }) });
  const error = await refused((async () => {
    for await (const message of stream) if (message.subtype === 'init') abortController.abort();
  })());
  assert.match(error, /abort/i);
  return error;
};

// Far beyond what a case takes on a busy machine.
const PATIENCE = 60_000;
const late = () => {
  let timer;
  const promise = new Promise((_, reject) => {
    timer = setTimeout(() => reject(new Error(`no end within ${PATIENCE / 1000} s`)), PATIENCE);
  });
  return { promise, clear: () => clearTimeout(timer) };
};

const words = process.argv.slice(2);
for (const [name, body] of Object.entries(cases)) {
  if (words.length > 0 && !words.some((word) => name.includes(word))) continue;
  const limit = late();
  let outcome;
  try {
    outcome = { saw: await Promise.race([body(), limit.promise]) };
  } catch (error) {
    outcome = { failed: String(error.stack ?? error).split('\n').slice(0, 12).join('\n') };
  }
  limit.clear();
  process.stdout.write(`${JSON.stringify({ case: name, ...outcome })}\n`);
}
process.exit(0);
