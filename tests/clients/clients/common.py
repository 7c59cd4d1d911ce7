"""What every Python client is asked to make."""

import json

import pydantic


class Person(pydantic.BaseModel):
    """A person."""

    name: str
    age: int
    tags: list[str]


class get_weather(pydantic.BaseModel):  # The name is the function's.
    """The weather in a city."""

    city: str


WEATHER = {
    "name": "get_weather",
    "description": "The weather in a city",
    "parameters": {
        "type": "object",
        "properties": {"city": {"type": "string"}},
        "required": ["city"],
        "additionalProperties": False,
    },
}
TOOL = {"type": "function", "function": WEATHER}
RESULT = "[[answer:echo]] 21 degrees"


class Client:
    """A client that runs in this process."""

    key = ""
    name = ""

    def operations(self):
        return {name.removeprefix("op_") for name in dir(self) if name.startswith("op_")}

    async def run(self, op, env):
        return await getattr(self, f"op_{op}")(env)


def shown(value):
    """A value as a short line."""
    if isinstance(value, pydantic.BaseModel):
        value = value.model_dump()
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def counted(usage, read, written):
    """Token counts; what they are is the recording's, that they are there and add up is the point."""
    if usage is None:
        return "no usage"
    got = usage if isinstance(usage, dict) else usage.model_dump()
    consistent = got["total_tokens"] == got[read] + got[written] and got[read] > 0 and got[written] > 0
    return "usage adds up" if consistent else f"usage {got}"


def streamed(pieces, *rest):
    """A stream's text, and whether it came in pieces."""
    how = "in pieces" if sum(1 for piece in pieces if piece) > 1 else f"in {sum(1 for p in pieces if p)} piece"
    return " | ".join([shown("".join(pieces)), how, *rest])
