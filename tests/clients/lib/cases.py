"""The cases: each is run with every client that has the operation."""

import dataclasses

from . import ways

# How each kind of server is started; they share nothing but the machine.
SERVERS = {
    "main": {"flags": ["--slots", "2", "--model-alias", "gpt-4o-mini=haiku"]},
    "strict": {"flags": ["--strict-params"]},
    "one-slot": {"flags": []},
    "limited": {"flags": []},
    "keyed": {"flags": ["--api-key", "right"]},
    "small": {"flags": ["--max-body-bytes", "1024"]},
    "impatient": {"flags": ["--turn-timeout", "0.3"]},
    # Its CLI does not start until a file is there.
    "offline": {
        "flags": ["--max-failures", "0", "--probe-interval", "1"],
        "cli": '#!/bin/sh\n[ -e "{folder}/works" ] || exit 1\nexec "{mock}" "$@"\n',
        "fresh": True,
    },
}

HELD = "[[answer:echo+slow=60000]] Hello"
PLAIN = "[[answer:echo]] Hello"
MADE = "[[answer:schema]] Ada, 36"


@dataclasses.dataclass
class Case:
    """What is asked of whom, and how it goes."""

    name: str
    op: str
    env: dict
    server: str = "main"
    way: object = ways.simply
    # None: of every client that has the operation.
    clients: tuple | None = None

    def is_for(self, client):
        return self.op in client.operations() and (self.clients is None or client.key in self.clients)


def case(name, op, prompt, server="main", way=ways.simply, clients=None, **env):
    return Case(name, op, {"prompt": prompt, **env}, server, way, clients)


# Whoever only makes values has no use for plain text.
TALKERS = ("openai-python", "litellm", "langchain", "openai-node", "ai-sdk", "ai-sdk-compatible")

CASES = [
    # What works.
    case("plain", "text", PLAIN, clients=TALKERS),
    case("plain, synchronous", "sync", PLAIN),
    case("conversation", "conversation", PLAIN),
    case("stream", "stream", PLAIN),
    case("alias", "text", PLAIN, clients=TALKERS, model="gpt-4o-mini"),
    case("key", "text", PLAIN, "keyed", clients=TALKERS, key="right"),
    case("ignored parameters", "ignored", PLAIN),
    case("ignored parameters, strict", "ignored", PLAIN, "strict"),
    case("stop", "stop", "[[answer:echo]] Hello, world and all"),
    case("models", "models", ""),
    case("unknown model retrieved", "model_unknown", "", retries=2),
    # Values of a shape.
    case("schema", "schema", MADE),
    case("schema, streamed", "schema_stream", "[[answer:auto]] Ada, 36"),
    case("schema, as output", "schema_output", MADE),
    case("schema, by a function", "function_calling", "[[answer:tool]] Ada, 36"),
    case("schema, by a strict function", "function_calling_strict", "[[answer:tool]] Ada, 36"),
    case("schema, in Markdown", "markdown", "[[answer:fenced]] Ada, 36"),
    case("schema, by json_object", "json_object", MADE),
    case("schema, free", "free", MADE),
    case("schema, every model", "every_model", MADE),
    case("schema, fenced", "schema", "[[answer:fenced]] Ada, 36"),
    case("schema, in prose", "schema", "[[answer:prose]] Ada, 36"),
    case("schema, wrong once", "schema", "[[answer:wrong-once]] Ada, 36"),
    case("schema, wrong always", "schema", "[[answer:wrong-always]] Ada, 36", retries=2),
    case("schema, no JSON", "schema", "[[answer:not-json]] Ada, 36", retries=2),
    case("schema, lenient", "schema_lenient", "[[answer:wrong-always]] Ada, 36"),
    # Functions.
    case("tools", "tools", "[[answer:auto]] The weather in Paris?"),
    case("tools, streamed", "tools_stream", "[[answer:auto]] The weather in Paris?"),
    case("tools, the client's own loop", "tools_runner", "[[answer:auto]] The weather in Paris?"),
    case("tools, two calls", "tools", "[[answer:tools=2]] The weather in Paris and Rome?", clients=("openai-python",)),
    case("tools, by choice", "tools_required", "[[answer:auto]] The weather in Paris?"),
    # Odd endings.
    case("refusal", "text", "[[answer:echo+refusal]] Hello", clients=TALKERS),
    case("refusal of a value", "schema", "[[answer:schema+refusal]] Ada, 36"),
    case("cut by a token limit", "text", "[[answer:echo+max-tokens]] Hello", clients=TALKERS),
    case("a value cut by a token limit", "schema", "[[answer:schema+max-tokens]] Ada, 36"),
    # Responses API.
    case("responses", "responses", PLAIN),
    case("responses, streamed", "responses_stream", PLAIN),
    case("responses, parsed", "responses_parse", "[[answer:auto]] Ada, 36"),
    case("responses, parsed from a stream", "responses_parse_stream", MADE),
    case("responses, free", "responses_free", MADE),
    case("responses, every model", "responses_every_model", MADE),
    case("responses, tools", "responses_tools", "[[answer:auto]] The weather in Paris?"),
    case("responses, tools, streamed", "responses_tools_stream", "[[answer:auto]] The weather in Paris?"),
    case("responses, wrong always", "responses_parse", "[[answer:wrong-always]] Ada, 36", retries=2),
    case("responses, stored", "responses_stored", PLAIN, retries=2),
    case("responses, continued", "responses_previous", PLAIN, retries=2),
    # What the server refuses. A client that tries again in vain shows in the requests.
    case("400 several replies", "several", PLAIN, retries=2, clients=TALKERS),
    case("400 image", "image", PLAIN, retries=2),
    case("401", "text", PLAIN, "keyed", key="wrong", retries=2),
    case("404", "text", PLAIN, model="nope", retries=2),
    case("413", "text", PLAIN + " x" * 1024, "small", retries=2),
    case("429", "text", "[[answer:rate-limit=1]] Hello", "limited", ways.until_limit_is_over),
    case("429, streamed", "stream", "[[answer:rate-limit=1]] Hello", "limited", ways.until_limit_is_over),
    case("429, tried again", "text", MADE, "limited", ways.while_limited, retries=2),
    case("500 of the API", "text", "[[answer:api-error=500]] Hello", retries=1),
    case("503", "text", "[[answer:api-error=529]] Hello"),
    case("503, tried again", "text", MADE, "offline", ways.while_offline, retries=4),
    case("504", "text", HELD, "impatient"),
    # What the client ends by itself.
    case("timeout", "text", HELD, timeout=0.5),
    case("timeout, tried again", "text", HELD, timeout=0.5, retries=1),
    case("cancelled mid-stream", "stream", "[[answer:text+drip=60000]] Hello", way=ways.cancelled_mid_stream),
    case("cancelled mid-stream, responses", "responses_stream", "[[answer:text+drip=60000]] Hello",
         way=ways.cancelled_mid_stream, clients=("openai-python", "openai-node")),
    case("cancelled while queued", "text", MADE, "one-slot", ways.cancelled_while_queued),
]  # fmt: skip
