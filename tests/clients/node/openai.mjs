// The official package for Node.
import OpenAI from "openai";
import { zodResponseFormat, zodTextFormat } from "openai/helpers/zod";

import { conversation, counted, IGNORED, ONE_PIXEL, Person, RESULT, streamed, version, WEATHER } from "./common.mjs";

const clientOf = (env) =>
  new OpenAI({ baseURL: env.base, apiKey: env.key, maxRetries: env.retries, timeout: env.timeout * 1000 });
const user = (content) => [{ role: "user", content }];
const chat = (env) => clientOf(env).chat.completions;
const TOOL = { type: "function", function: WEATHER };
const called = (calls) => calls.map((call) => `${call.function.name}(${call.function.arguments})`).join(", ");
const told = (items) => items.map((item) => `${item.name}(${item.arguments})`).join(", ");

async function text(env, more = {}) {
  const body = { model: env.model, messages: user(env.prompt), ...more };
  const reply = await chat(env).create(body, { signal: env.signal });
  const usage = counted(reply.usage, "prompt_tokens", "completion_tokens", "total_tokens");
  return `${reply.choices[0].message.content} | ${reply.choices[0].finish_reason} | ${usage}`;
}

async function respond(env, more) {
  const reply = await clientOf(env).responses.create({ model: env.model, input: env.prompt, ...more });
  const usage = counted(reply.usage, "input_tokens", "output_tokens", "total_tokens");
  return `${reply.output_text} | ${reply.status} | ${usage}`;
}

export const openai = {
  name: `openai ${version("openai")} (Node)`,
  ops: {
    text: (env) => text(env),
    usage: (env) => text(env),
    async conversation(env) {
      const messages = conversation(env.prompt);
      return (await text(env, { messages })).split(" | ")[0];
    },
    async ignored(env) {
      const body = { model: env.model, messages: user(env.prompt), ...IGNORED };
      const { response } = await chat(env).create(body).withResponse();
      return `${response.status}, ignored: ${response.headers.get("x-ccw-ignored")}`;
    },
    async stop(env) {
      const body = { model: env.model, messages: user(env.prompt) };
      const whole = (await chat(env).create({ ...body, stop: ["and", "world"] })).choices[0];
      const pieces = [];
      const stream = await chat(env).create({ ...body, stop: "world", stream: true });
      for await (const chunk of stream) pieces.push(chunk.choices[0]?.delta.content ?? "");
      return `'${whole.message.content}', then '${pieces.join("")}' | ${whole.finish_reason}`;
    },
    async model_unknown(env) {
      return (await clientOf(env).models.retrieve("nope")).id;
    },
    async schema_lenient(env) {
      const { json_schema, ...rest } = zodResponseFormat(Person, "Person");
      const body = { model: env.model, messages: user(env.prompt) };
      const reply = await chat(env).create({ ...body, response_format: { ...rest, json_schema: { ...json_schema, strict: false } } });
      return `${reply.choices[0].message.content} | schema_error: ${"schema_error" in reply}`;
    },
    async tools_required(env) {
      const told = [];
      for (const tool_choice of ["required", { type: "function", function: { name: "get_weather" } }, "none"]) {
        const body = { model: env.model, messages: user(env.prompt), tools: [TOOL], tool_choice };
        const calls = (await chat(env).create(body)).choices[0].message.tool_calls ?? [];
        told.push(calls.map((call) => `'${call.function.name}'`));
      }
      return `required: [${told[0]}], named: [${told[1]}], none: [${told[2]}]`;
    },
    several: (env) => text(env, { n: 2 }),
    image: (env) =>
      text(env, {
        messages: user([
          { type: "text", text: env.prompt },
          { type: "image_url", image_url: { url: `data:image/png;base64,${ONE_PIXEL}` } },
        ]),
      }),
    async stream(env) {
      const body = { model: env.model, messages: user(env.prompt), stream: true, stream_options: { include_usage: true } };
      const pieces = [];
      let usage, finish;
      for await (const chunk of await chat(env).create(body, { signal: env.signal })) {
        usage = chunk.usage ?? usage;
        finish = chunk.choices[0]?.finish_reason ?? finish;
        if (chunk.choices[0]?.delta.content) {
          pieces.push(chunk.choices[0].delta.content);
          env.piece();
        }
      }
      if (env.signal.aborted) throw new Error("aborted");
      return streamed(pieces, finish, counted(usage, "prompt_tokens", "completion_tokens", "total_tokens"));
    },
    async schema(env) {
      const body = { model: env.model, messages: user(env.prompt), response_format: zodResponseFormat(Person, "Person") };
      return JSON.stringify((await chat(env).parse(body)).choices[0].message.parsed);
    },
    async schema_stream(env) {
      const body = { model: env.model, messages: user(env.prompt), response_format: zodResponseFormat(Person, "Person") };
      const stream = chat(env).stream(body);
      return JSON.stringify((await stream.finalChatCompletion()).choices[0].message.parsed);
    },
    async json_object(env) {
      const reply = await text({ ...env, prompt: `${env.prompt} in JSON` }, { response_format: { type: "json_object" } });
      return reply.split(" | ")[0];
    },
    async tools(env) {
      const messages = user(env.prompt);
      const first = await chat(env).create({ model: env.model, messages, tools: [TOOL] });
      const { message, finish_reason } = first.choices[0];
      const calls = message.tool_calls ?? [];
      messages.push(message, ...calls.map((call) => ({ role: "tool", tool_call_id: call.id, content: RESULT })));
      const second = await chat(env).create({ model: env.model, messages, tools: [TOOL] });
      return `${called(calls)} | ${finish_reason} | ${second.choices[0].message.content}`;
    },
    // The package runs the whole round by itself.
    async tools_runner(env) {
      const asked = [];
      const run = ({ city }) => (asked.push(city), RESULT);
      const tool = { type: "function", function: { ...WEATHER, parse: JSON.parse, function: run } };
      const runner = chat(env).runTools({ model: env.model, messages: user(env.prompt), tools: [tool] });
      return `asked for ${asked.length ? asked : (await runner.done(), asked)} | ${await runner.finalContent()}`;
    },
    async tools_stream(env) {
      const stream = chat(env).stream({ model: env.model, messages: user(env.prompt), tools: [TOOL] });
      const { message, finish_reason } = (await stream.finalChatCompletion()).choices[0];
      return `${called(message.tool_calls ?? [])} | ${finish_reason}`;
    },
    async models(env) {
      const ids = [];
      for await (const model of clientOf(env).models.list()) ids.push(model.id);
      ids.sort();
      return `${ids.join(", ")} | retrieved ${(await clientOf(env).models.retrieve(ids[0])).id}`;
    },
    responses: (env) => respond(env, { instructions: "Be brief." }),
    responses_stored: (env) => respond(env, { store: true }),
    responses_previous: (env) => respond(env, { previous_response_id: "resp_1" }),
    async responses_tools_stream(env) {
      const tools = [{ type: "function", strict: true, ...WEATHER }];
      const stream = clientOf(env).responses.stream({ model: env.model, input: env.prompt, tools });
      let done = 0;
      stream.on("response.function_call_arguments.done", () => done++);
      const calls = (await stream.finalResponse()).output.filter((item) => item.type === "function_call");
      return `${told(calls)} | ${done} done`;
    },
    async responses_stream(env) {
      const pieces = [];
      let final;
      const body = { model: env.model, input: env.prompt, stream: true };
      for await (const event of await clientOf(env).responses.create(body, { signal: env.signal })) {
        if (event.type === "response.output_text.delta") pieces.push(event.delta), env.piece();
        final = event.response ?? final;
      }
      if (env.signal.aborted) throw new Error("aborted");
      return streamed(pieces, final.status, counted(final.usage, "input_tokens", "output_tokens", "total_tokens"));
    },
    async responses_parse(env) {
      const text = { format: zodTextFormat(Person, "Person") };
      const reply = await clientOf(env).responses.parse({ model: env.model, input: env.prompt, text });
      return JSON.stringify(reply.output_parsed);
    },
    async responses_parse_stream(env) {
      const text = { format: zodTextFormat(Person, "Person") };
      const stream = clientOf(env).responses.stream({ model: env.model, input: env.prompt, text });
      return JSON.stringify((await stream.finalResponse()).output_parsed);
    },
    async responses_tools(env) {
      const tools = [{ type: "function", strict: true, ...WEATHER }];
      const input = user(env.prompt);
      const first = await clientOf(env).responses.create({ model: env.model, input, tools });
      const calls = first.output.filter((item) => item.type === "function_call");
      input.push(...first.output);
      input.push(...calls.map(({ call_id }) => ({ type: "function_call_output", call_id, output: RESULT })));
      const second = await clientOf(env).responses.create({ model: env.model, input, tools });
      return `${told(calls)} | ${second.output_text}`;
    },
  },
};
