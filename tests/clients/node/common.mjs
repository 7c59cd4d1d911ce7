// What every Node client is asked to make, and how it is told in one line.
import { createRequire } from "node:module";
import { z } from "zod";

const require = createRequire(import.meta.url);

export const Person = z.object({ name: z.string(), age: z.int(), tags: z.array(z.string()) });
export const City = z.object({ city: z.string() });
export const RESULT = "[[answer:echo]] 21 degrees";
export const WEATHER = {
  name: "get_weather",
  description: "The weather in a city",
  parameters: {
    type: "object",
    properties: { city: { type: "string" } },
    required: ["city"],
    additionalProperties: false,
  },
};
export const IGNORED = { temperature: 0.1, top_p: 0.5, seed: 7, max_tokens: 100, user: "ada" };
export const conversation = (prompt) => [
  { role: "developer", content: "Be brief." },
  { role: "user", content: [{ type: "text", text: "Hello" }, { type: "text", text: "there" }] },
  { role: "assistant", content: "Hello!" },
  { role: "user", content: prompt, name: "ada" },
];
export const ONE_PIXEL = Buffer.from("\x89PNG", "latin1").toString("base64");

export const version = (name) => require(`../node_modules/${name}/package.json`).version;

export function counted(usage, read, written, total) {
  if (!usage) return "no usage";
  const adds = usage[read] > 0 && usage[written] > 0 && usage[total] === usage[read] + usage[written];
  return adds ? "usage adds up" : `usage ${JSON.stringify(usage)}`;
}

export function streamed(pieces, ...rest) {
  const some = pieces.filter((piece) => piece).length;
  return [pieces.join(""), some > 1 ? "in pieces" : `in ${some} piece`, ...rest].join(" | ");
}
