// The Vercel AI SDK, through its provider for OpenAI and through its provider for what is compatible with it.
import { createOpenAI } from "@ai-sdk/openai";
import { createOpenAICompatible } from "@ai-sdk/openai-compatible";
import { generateObject, generateText, Output, stepCountIs, streamObject, streamText, tool } from "ai";

import { City, counted, ONE_PIXEL, Person, RESULT, streamed, version } from "./common.mjs";

// Not AbortSignal.any and AbortSignal.timeout: what nobody else holds is collected in Node 20 before it fires.
function ending(env) {
  const controller = new AbortController();
  const late = () => controller.abort(new DOMException("late", "TimeoutError"));
  setTimeout(late, env.timeout * 1000).unref();
  env.signal.addEventListener("abort", () => controller.abort(env.signal.reason));
  return controller.signal;
}

const asked = (env, model) => ({
  model: model(env),
  prompt: env.prompt,
  maxRetries: env.retries,
  abortSignal: ending(env),
});
const usage = (counts) => counted(counts, "inputTokens", "outputTokens", "totalTokens");
const weather = { get_weather: tool({ description: "The weather in a city", inputSchema: City, execute: () => RESULT }) };
// Without a handler the SDK writes to the console and goes on as if nothing had happened.
const failing = () => {
  const failed = {};
  return { failed, onError: ({ error }) => (failed.error = error) };
};

function operations(model) {
  return {
    async text(env) {
      const reply = await generateText(asked(env, model));
      return `${reply.text} | ${reply.finishReason} | ${usage(reply.usage)}`;
    },
    async usage(env) {
      return usage((await generateText(asked(env, model))).usage);
    },
    async conversation(env) {
      const { prompt, ...rest } = asked(env, model);
      const messages = [
        { role: "user", content: [{ type: "text", text: "Hello" }, { type: "text", text: "there" }] },
        { role: "assistant", content: "Hello!" },
        { role: "user", content: prompt },
      ];
      return (await generateText({ ...rest, system: "Be brief.", messages })).text;
    },
    async ignored(env) {
      const given = { temperature: 0.1, topP: 0.5, seed: 7, maxOutputTokens: 100 };
      const reply = await generateText({ ...asked(env, model), ...given });
      return `200, ignored: ${reply.response.headers["x-ccw-ignored"]}`;
    },
    async stop(env) {
      const whole = await generateText({ ...asked(env, model), stopSequences: ["and", "world"] });
      const { failed, onError } = failing();
      const stream = streamText({ ...asked(env, model), stopSequences: ["world"], onError });
      const pieces = [];
      for await (const piece of stream.textStream) pieces.push(piece);
      if (failed.error) throw failed.error;
      return `'${whole.text}', then '${pieces.join("")}' | ${whole.finishReason}`;
    },
    async tools_required(env) {
      const told = [];
      for (const toolChoice of ["required", { type: "tool", toolName: "get_weather" }, "none"]) {
        const reply = await generateText({ ...asked(env, model), tools: weather, toolChoice });
        told.push(reply.steps[0].toolCalls.map((call) => `'${call.toolName}'`));
      }
      return `required: [${told[0]}], named: [${told[1]}], none: [${told[2]}]`;
    },
    async list(env) {
      const stream = await generateObject({ ...asked(env, model), output: "array", schema: Person });
      return JSON.stringify(stream.object);
    },
    async stream(env) {
      const pieces = [];
      const { failed, onError } = failing();
      const stream = streamText({ ...asked(env, model), onError });
      for await (const piece of stream.textStream) pieces.push(piece), env.piece();
      if (env.signal.aborted) throw new Error("aborted");
      if (failed.error) throw failed.error;
      return streamed(pieces, await stream.finishReason, usage(await stream.usage));
    },
    async schema(env) {
      return JSON.stringify((await generateObject({ ...asked(env, model), schema: Person })).object);
    },
    async schema_output(env) {
      const reply = await generateText({ ...asked(env, model), output: Output.object({ schema: Person }) });
      return JSON.stringify(reply.output);
    },
    async schema_stream(env) {
      const { failed, onError } = failing();
      const stream = streamObject({ ...asked(env, model), schema: Person, onError });
      for await (const _ of stream.partialObjectStream) env.piece();
      if (failed.error) throw failed.error;
      return JSON.stringify(await stream.object);
    },
    async json_object(env) {
      const reply = await generateObject({ ...asked(env, model), prompt: `${env.prompt} in JSON`, output: "no-schema" });
      return JSON.stringify(reply.object);
    },
    async tools(env) {
      const reply = await generateText({ ...asked(env, model), tools: weather, stopWhen: stepCountIs(3) });
      const calls = reply.steps.flatMap((step) => step.toolCalls);
      const told = calls.map((call) => `${call.toolName}(${JSON.stringify(call.input)})`).join(", ");
      return `${told} | ${reply.steps[0].finishReason} | ${reply.text}`;
    },
    async tools_stream(env) {
      const { failed, onError } = failing();
      const stream = streamText({ ...asked(env, model), tools: weather, stopWhen: stepCountIs(3), onError });
      const calls = [];
      for await (const part of stream.fullStream) {
        if (part.type === "tool-call") calls.push(`${part.toolName}(${JSON.stringify(part.input)})`);
      }
      if (failed.error) throw failed.error;
      return `${calls.join(", ")} | ${await stream.text}`;
    },
    async image(env) {
      const content = [{ type: "text", text: env.prompt }, { type: "image", image: ONE_PIXEL, mediaType: "image/png" }];
      const { prompt, ...rest } = asked(env, model);
      return (await generateText({ ...rest, messages: [{ role: "user", content }] })).text;
    },
  };
}

const official = (env) => createOpenAI({ baseURL: env.base, apiKey: env.key });
const compatible = (env) =>
  createOpenAICompatible({
    name: "ccw",
    baseURL: env.base,
    apiKey: env.key,
    includeUsage: true,
    supportsStructuredOutputs: true,
  });
// The SDK takes what only OpenAI has as the provider's options.
const withOptions = (model, options) => async (env) =>
  (await generateText({ ...asked(env, model), providerOptions: { openai: options } })).text;
const lenient = (model, provider) => async (env) => {
  const providerOptions = { [provider]: { strictJsonSchema: false } };
  return JSON.stringify((await generateObject({ ...asked(env, model), schema: Person, providerOptions })).object);
};
const chatOf = (env) => official(env).chat(env.model);
const responsesOf = (env) => official(env).responses(env.model);
const compatibleOf = (env) => compatible(env).chatModel(env.model);
const responses = operations(responsesOf);
// It calls the functions itself.
const chat = operations(chatOf);
const others = operations(compatibleOf);

const sdk = `ai ${version("ai")}`;
export const aiOpenai = {
  name: `${sdk}, @ai-sdk/openai ${version("@ai-sdk/openai")}`,
  ops: {
    ...chat,
    tools_runner: chat.tools,
    schema_lenient: lenient(chatOf, "openai"),
    responses: responses.text,
    responses_stream: responses.stream,
    responses_parse: responses.schema,
    responses_parse_stream: responses.schema_stream,
    responses_tools: responses.tools,
    responses_tools_stream: responses.tools_stream,
    responses_stored: withOptions(responsesOf, { store: true }),
    responses_previous: withOptions(responsesOf, { previousResponseId: "resp_1" }),
  },
};
export const aiCompatible = {
  name: `${sdk}, @ai-sdk/openai-compatible ${version("@ai-sdk/openai-compatible")}`,
  ops: { ...others, tools_runner: others.tools, schema_lenient: lenient(compatibleOf, "ccw") },
};
