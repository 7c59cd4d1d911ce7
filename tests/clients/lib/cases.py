"""The cases: each is run with every client that has the operation."""

import dataclasses

from . import ways

# How each kind of server is started; they share nothing but the machine.
SERVERS = {
    "main": {"flags": ["--slots", "2", "--model-alias", "gpt-4o-mini=haiku"]},
    "strict": {"flags": ["--strict-params"]},
    "one-slot": {"flags": []},
    "limited": {"flags": []},
    "full": {"flags": ["--queue", "1"]},
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
DRIPPING = "[[answer:echo+drip=60000]] Hello"
PLAIN = "[[answer:echo]] Hello"
MADE = "[[answer:schema]] Ada, 36"


@dataclasses.dataclass
class Case:
    """What is asked of whom, and how it goes."""

    name: str
    # Of several operations, the first that the client has.
    ops: tuple
    env: dict
    server: str = "main"
    way: object = ways.simply

    def op_of(self, client):
        """What the client is to do; None if it has no such thing."""
        return next((op for op in self.ops if op in client.operations()), None)


def case(name, op, prompt, server="main", way=ways.simply, **env):
    return Case(name, op if isinstance(op, tuple) else (op,), {"prompt": prompt, **env}, server, way)


# Whatever the client is for: some make values alone.
ASK = ("text", "schema")

CASES = [
    # What works.
    case("plain", "text", PLAIN),
    case("plain, synchronous", "sync", PLAIN),
    case("conversation", "conversation", PLAIN),
    case("stream", "stream", PLAIN),
    case("usage", "usage", PLAIN),
    case("alias", ASK, MADE, model="gpt-4o-mini"),
    case("key", ASK, MADE, "keyed", key="right"),
    case("ignored parameters", "ignored", PLAIN),
    case("ignored parameters, strict", "ignored", PLAIN, "strict"),
    case("stop", "stop", "[[answer:echo]] Hello, world and all"),
    case("models", "models", ""),
    case("unknown model retrieved", "model_unknown", "", retries=2),
    # Values of a shape.
    case("schema", "schema", MADE),
    case("schema, streamed", "schema_stream", "[[answer:auto]] Ada, 36"),
    case("schema, as output", "schema_output", MADE),
    case("schema, several values", "list", "[[answer:auto]] Ada, 36, and Grace"),
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
    case("tools, two calls", "tools", "[[answer:tools=2]] The weather in Paris and Rome?"),
    case("tools, by choice", "tools_required", "[[answer:auto]] The weather in Paris?"),
    # Odd endings.
    case("refusal", "text", "[[answer:echo+refusal]] Hello"),
    case("refusal of a value", "schema", "[[answer:schema+refusal]] Ada, 36"),
    case("cut by a token limit", "text", "[[answer:echo+max-tokens]] Hello"),
    case("a value cut by a token limit", "schema", "[[answer:schema+max-tokens]] Ada, 36"),
    # Responses API.
    case("responses", "responses", PLAIN),
    case("responses, streamed", "responses_stream", PLAIN),
    case("responses, parsed", "responses_parse", "[[answer:auto]] Ada, 36"),
    case("responses, parsed from a stream", "responses_parse_stream", "[[answer:auto]] Ada, 36"),
    case("responses, free", "responses_free", MADE),
    case("responses, every model", "responses_every_model", MADE),
    case("responses, tools", "responses_tools", "[[answer:auto]] The weather in Paris?"),
    case("responses, tools, streamed", "responses_tools_stream", "[[answer:auto]] The weather in Paris?"),
    case("responses, wrong always", "responses_parse", "[[answer:wrong-always]] Ada, 36", retries=2),
    case("responses, stored", "responses_stored", PLAIN, retries=2),
    case("responses, continued", "responses_previous", PLAIN, retries=2),
    # What the server refuses. A client that tries again in vain shows in the requests.
    case("400 several replies", "several", PLAIN, retries=2),
    case("400 image", "image", PLAIN, retries=2),
    case("401", ASK, PLAIN, "keyed", key="wrong", retries=2),
    case("404", ASK, PLAIN, model="nope", retries=2),
    case("404, responses", "responses_parse", PLAIN, model="nope", retries=2),
    case("413", ASK, PLAIN + " x" * 1024, "small", retries=2),
    case("429 quota", ASK, "[[answer:rate-limit=1]] Hello", "limited", ways.until_limit_is_over),
    case("429 quota, streamed", "stream", "[[answer:rate-limit=1]] Hello", "limited", ways.until_limit_is_over),
    case("429 quota, tried again", ASK, MADE, "limited", ways.while_limited, retries=2),
    case("429 quota, responses, tried again", "responses_parse", "[[answer:auto]] Ada, 36", "limited",
         ways.while_limited, retries=2),
    case("429 of the API", ASK, "[[answer:api-error=429]] Hello"),
    case("500 of the API", ASK, "[[answer:api-error=500]] Hello", retries=1),
    case("503 of the API", ASK, "[[answer:api-error=529]] Hello"),
    case("503 queue full", ASK, MADE, "full", ways.while_full),
    case("503 offline, tried again", ASK, MADE, "offline", ways.while_offline, retries=4),
    case("504", ASK, HELD, "impatient"),
    case("504, mid-stream", "stream", DRIPPING, "impatient"),
    case("504, mid-stream, responses", "responses_stream", DRIPPING, "impatient"),
    # What the client ends by itself.
    case("timeout", ASK, HELD, timeout=0.5),
    case("timeout, tried again", ASK, HELD, timeout=0.5, retries=1),
    case("cancelled mid-stream", "stream", DRIPPING, way=ways.cancelled_mid_stream),
    case("cancelled mid-stream, responses", "responses_stream", DRIPPING, way=ways.cancelled_mid_stream),
    case("cancelled mid-turn", ASK, HELD, "one-slot", ways.cancelled_mid_turn),
    case("cancelled while queued", ASK, MADE, "one-slot", ways.cancelled_while_queued),
]  # fmt: skip
