"""instructor, in each of its ways to have a value made."""

from importlib.metadata import version

import instructor

from .common import Client, Person, shown
from .openai_python import client_of, user


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

    async def op_several(self, env):
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

    op_text = op_schema
