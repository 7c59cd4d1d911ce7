"""Whether a reply is what OpenAI publishes: the types are those of the `openai` package, read strictly.

The package itself reads leniently: it builds its models without a check. Here each reply is validated, in strict mode,
against the same models; and what the models know nothing of must be on a list of ours.
"""

import json

import pydantic
from openai.types import Model, responses
from openai.types.chat import ChatCompletion, ChatCompletionChunk, chat_completion, chat_completion_chunk
from openai.types.shared import ErrorObject

# What the package's types don't know, each for a reason.
OURS = {
    # OpenAI's API has it in each response; the package has it in requests alone.
    "Response.store",
    # A reply that is no valid instance, passed on because the request said `strict: false`, says so.
    "ChatCompletion.schema_error",
    "ChatCompletionChunk.schema_error",
    "Response.schema_error",
    # Both packages of OpenAI's raise an event that has `error`, and pass over one that has its fields alone.
    "ResponseErrorEvent.error",
}

# Fields that OpenAI's description of its API requires, though the package's types let them be absent because they can
# be null.
REQUIRED = {
    chat_completion.Choice: ["finish_reason", "index", "logprobs", "message"],
    chat_completion.ChatCompletionMessage: ["content", "refusal", "role"],
    chat_completion_chunk.Choice: ["delta", "finish_reason", "index"],
    ErrorObject: ["code", "message", "param", "type"],
    responses.Response: [
        "created_at", "error", "id", "incomplete_details", "instructions", "metadata", "model", "object", "output",
        "parallel_tool_calls", "temperature", "tool_choice", "tools", "top_p",
    ],
}  # fmt: skip


class ErrorBody(pydantic.BaseModel, extra="allow"):
    """The body of every refusal."""

    error: ErrorObject


class ModelList(pydantic.BaseModel, extra="allow"):
    """The body of `GET /v1/models`; the package's own page type lets `data` and `object` be absent."""

    object: str
    data: list[Model]


CHAT = ("ChatCompletion", pydantic.TypeAdapter(ChatCompletion))
CHUNK = ("ChatCompletionChunk", pydantic.TypeAdapter(ChatCompletionChunk))
ERROR = ("ErrorBody", pydantic.TypeAdapter(ErrorBody))
MODEL = ("Model", pydantic.TypeAdapter(Model))
MODELS = ("ModelList", pydantic.TypeAdapter(ModelList))
RESPONSE = ("Response", pydantic.TypeAdapter(responses.Response))
EVENT = ("ResponseStreamEvent", pydantic.TypeAdapter(responses.ResponseStreamEvent))

# One of these is the last event of a response, and none of them comes before.
ENDS = ("response.completed", "response.incomplete", "response.failed")

WHOLE = {"/v1/chat/completions": CHAT, "/v1/responses": RESPONSE, "/v1/models": MODELS}


def defects(exchange):
    """What is wrong with the reply of an exchange, in words; and how many objects were looked at."""
    if exchange.status is None:
        return [], 0
    path = exchange.path.partition("?")[0]
    if not exchange.is_stream:
        if not exchange.whole:
            return [], 0
        shape = WHOLE.get(path, MODEL) if exchange.status < 400 else ERROR
        return [*_check(shape, exchange.reply), *_head(exchange.status, exchange.headers)], 1
    return _stream(path, exchange)


def _head(status, headers):
    """What clients read of a refusal beside its body."""
    if status < 400:
        return
    if headers.get("x-should-retry") not in ("true", "false"):
        yield f"a {status} has x-should-retry {headers.get('x-should-retry')!r}"
    if status in (429, 503) and not headers.get("retry-after", "").isdigit():
        yield f"a {status} has retry-after {headers.get('retry-after')!r}"


def _stream(path, exchange):
    found, events = [], list(exchange.events())
    # The last event of a stream that the client cut off may not be whole.
    if not exchange.whole and not exchange.reply.endswith(b"\n\n"):
        events = events[:-1]
    is_chat = path == "/v1/chat/completions"
    for number, (name, data) in enumerate(events):
        if is_chat and data == "[DONE]":
            if number != len(events) - 1:
                found.append("[DONE] is not the last event")
            continue
        if is_chat and '"error"' in data and "error" in json.loads(data):
            found.extend(_check(ERROR, data))
        elif is_chat:
            found.extend(_check(CHUNK, data))
        else:
            found.extend(_check(EVENT, data))
            kind = json.loads(data).get("type")
            if name != kind:
                found.append(f"event {number} is named {name!r} and is {kind!r}")
            if json.loads(data).get("sequence_number") != number:
                found.append(f"event {number} ({kind}) has sequence_number {json.loads(data).get('sequence_number')}")
    # After an error nothing more comes.
    failed = is_chat and any('"error"' in data for _, data in events[-1:])
    if exchange.whole and is_chat and not failed and (not events or events[-1][1] != "[DONE]"):
        found.append("the stream ended without [DONE]")
    if not is_chat:
        kinds = [name for name, _ in events]
        if kinds[:1] not in (["response.created"], []):
            found.append(f"the stream begins with {kinds[0]!r}")
        if exchange.whole and (kinds[-1:] not in [[kind] for kind in ENDS] or any(kind in ENDS for kind in kinds[:-1])):
            found.append(f"the stream does not end once, with one of {', '.join(ENDS)}: {kinds}")
    return found, len(events)


def _check(shape, text):
    name, adapter = shape
    try:
        value = adapter.validate_json(text, strict=True)
    except pydantic.ValidationError as error:
        text = text.decode(errors="replace") if isinstance(text, bytes) else text
        details = error.errors(include_url=False, include_input=False)
        return [f"{name}: {'.'.join(map(str, e['loc']))}: {e['msg']} in {text[:300]}" for e in details[:5]]
    return sorted(set(_differences(value, json.loads(text))))


def _differences(value, raw):
    """Fields that the types know nothing of, and fields that have to be there even when they are null."""
    if isinstance(value, list):
        for item, inner in zip(value, raw):
            yield from _differences(item, inner)
    if not isinstance(value, pydantic.BaseModel):
        return
    name = type(value).__name__
    yield from (f"{name}.{field} is no field of OpenAI's" for field in value.model_extra or {} if f"{name}.{field}" not in OURS)
    yield from (f"{name}.{field} is absent" for field in REQUIRED.get(type(value), []) if field not in raw)
    for field, info in type(value).model_fields.items():
        if (inner := raw.get(info.alias or field)) is not None:
            yield from _differences(getattr(value, field), inner)


def prove():
    """Makes sure that the check can fail: each of these has exactly one thing wrong with it."""
    choice = {"index": 0, "message": {"role": "assistant", "content": "a", "refusal": None}, "finish_reason": "stop"}
    right = {"id": "a", "object": "chat.completion", "created": 1, "model": "m", "choices": [choice | {"logprobs": None}]}
    refusal = {"message": "a", "type": "a", "param": None, "code": None}
    response = dict.fromkeys(REQUIRED[responses.Response]) | {
        "created_at": 1.0, "id": "a", "metadata": {}, "model": "m", "object": "response", "output": [],
        "parallel_tool_calls": False, "tool_choice": "auto", "tools": [], "status": "completed",
    }  # fmt: skip
    delta = {
        "type": "response.output_text.delta", "delta": "a", "item_id": "a", "sequence_number": 1, "output_index": 0,
        "content_index": 0, "logprobs": [],
    }  # fmt: skip
    wrong = [
        (CHAT, right | {"object": "completion"}),
        (CHAT, right | {"created": "1"}),
        (CHAT, right | {"created": None}),
        (CHAT, right | {"another": 1}),
        (CHAT, right | {"choices": [choice]}),
        (CHAT, {field: value for field, value in right.items() if field != "id"}),
        (ERROR, {"error": refusal | {"code": 5}}),
        (ERROR, {"error": {field: value for field, value in refusal.items() if field != "param"}}),
        (MODELS, {"object": "list", "data": [{"id": "a", "object": "models", "created": 1, "owned_by": "a"}]}),
        (EVENT, {"type": "response.output_text.delta", "delta": "a", "item_id": "a", "sequence_number": 1}),
        (EVENT, delta | {"sequence_number": "1"}),
        (EVENT, delta | {"type": "response.output_text.more"}),
        (EVENT, delta | {"another": 1}),
        (EVENT, {"type": "response.completed", "sequence_number": 1, "response": response | {"status": "done"}}),
        (RESPONSE, response | {"object": "responses"}),
        (RESPONSE, response | {"output": [{"type": "message", "id": "a", "role": "assistant", "status": "completed"}]}),
        (RESPONSE, response | {"another": 1}),
        *((RESPONSE, {name: value for name, value in response.items() if name != field}) for field in ("tools", "metadata")),
    ]
    assert not _check(RESPONSE, json.dumps(response)) and not _check(EVENT, json.dumps(delta))
    assert not list(_head(429, {"x-should-retry": "true", "retry-after": "1"}))
    assert list(_head(400, {})) and list(_head(503, {"x-should-retry": "true"}))
    assert not _check(CHAT, json.dumps(right)) and not _check(ERROR, json.dumps({"error": refusal}))
    for shape, value in wrong:
        assert _check(shape, json.dumps(value)), f"the check passes what is wrong: {value}"
