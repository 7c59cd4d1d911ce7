"""instructor, in each of its ways to have a value made."""

import asyncio
from importlib.metadata import version

import instructor
import openai

from .common import Client, Person, counted, shown
from .openai_python import ONE_PIXEL, client_of, user


def value_of(env):
    """Where the others are asked for words."""
    return user(env.prompt.replace("[[answer:echo]]", "[[answer:schema]]"))


class Instructor(Client):
    key = "instructor"
    name = f"instructor {version('instructor')}"

    async def make(self, env, mode):
        async with client_of(env) as client:
            made = instructor.from_openai(client, mode=mode)
            create = made.chat.completions.create
            return shown(await create(model=env.model, messages=user(env.prompt), response_model=Person, max_retries=1))

    async def op_schema(self, env):
        return await self.make(env, instructor.Mode.JSON_SCHEMA)

    async def op_function_calling(self, env):
        return await self.make(env, instructor.Mode.TOOLS)

    async def op_function_calling_strict(self, env):
        return await self.make(env, instructor.Mode.TOOLS_STRICT)

    async def op_json_object(self, env):
        return await self.make(env, instructor.Mode.JSON)

    async def op_markdown(self, env):
        return await self.make(env, instructor.Mode.MD_JSON)

    async def op_schema_stream(self, env):
        async with client_of(env) as client:
            made = instructor.from_openai(client, mode=instructor.Mode.TOOLS)
            last = None
            stream = made.chat.completions.create_partial(
                model=env.model, messages=user(env.prompt), response_model=Person, max_retries=1
            )
            async for value in stream:
                last = value
                env.first_piece()
            return shown(last)

    async def op_usage(self, env):
        async with client_of(env) as client:
            create = instructor.from_openai(client, mode=instructor.Mode.JSON_SCHEMA).create_with_completion
            made, reply = await create(model=env.model, messages=value_of(env), response_model=Person, max_retries=1)
            return f"{shown(made)} | {counted(reply.usage, 'prompt_tokens', 'completion_tokens')}"

    async def op_sync(self, env):
        def ask():
            with openai.OpenAI(base_url=env.base, api_key=env.key, max_retries=0) as client:
                create = instructor.from_openai(client, mode=instructor.Mode.JSON_SCHEMA).create
                return shown(create(model=env.model, messages=value_of(env), response_model=Person, max_retries=1))

        return await asyncio.to_thread(ask)

    async def op_list(self, env):
        """A list of values, one after the other."""
        async with client_of(env) as client:
            made = instructor.from_openai(client, mode=instructor.Mode.TOOLS)
            create = made.chat.completions.create
            people = await create(
                model=env.model, messages=user(env.prompt), response_model=list[Person], max_retries=1
            )
            return shown([person.model_dump() for person in people])

    async def op_responses_parse(self, env):
        return await self.make(env, instructor.Mode.RESPONSES_TOOLS)

    async def op_responses_parse_stream(self, env):
        async with client_of(env) as client:
            made = instructor.from_openai(client, mode=instructor.Mode.RESPONSES_TOOLS)
            last = None
            stream = made.chat.completions.create_partial(
                model=env.model, messages=user(env.prompt), response_model=Person, max_retries=1
            )
            async for value in stream:
                last = value
            return shown(last)

    async def op_image(self, env):
        image = instructor.Image.from_base64(ONE_PIXEL)
        async with client_of(env) as client:
            create = instructor.from_openai(client, mode=instructor.Mode.JSON_SCHEMA).create
            messages = [{"role": "user", "content": [env.prompt, image]}]
            return shown(await create(model=env.model, messages=messages, response_model=Person, max_retries=1))

    async def op_ignored(self, env):
        given = {"temperature": 0.1, "top_p": 0.5, "seed": 7, "max_tokens": 100, "user": "ada"}
        async with client_of(env) as client:
            create = instructor.from_openai(client, mode=instructor.Mode.JSON_SCHEMA).create
            asked = value_of(env)
            return shown(await create(model=env.model, messages=asked, response_model=Person, max_retries=1, **given))
