// The clients by the key that the worker is asked for.
import { aiCompatible, aiOpenai } from "./ai-sdk.mjs";
import { openai } from "./openai.mjs";

export const clients = { "openai-node": openai, "ai-sdk": aiOpenai, "ai-sdk-compatible": aiCompatible };
