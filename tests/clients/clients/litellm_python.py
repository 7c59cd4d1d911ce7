"""LiteLLM, which speaks to us as to any server that is compatible with OpenAI's."""

from importlib.metadata import version

import litellm

from .common import RESULT, TOOL, Client, Person, counted, shown, streamed
from .openai_python import ONE_PIXEL, user

litellm.suppress_debug_info = True
litellm.telemetry = False


class LiteLLM(Client):
    key = "litellm"
    name = f"litellm {version('litellm')}"

    async def ask(self, env, messages=None, **more):
        return await litellm.acompletion(
            model=f"openai/{env.model}",
            messages=messages or user(env.prompt),
            api_base=env.base,
            api_key=env.key,
            max_retries=env.retries,
            timeout=env.timeout,
            **more,
        )

    async def op_text(self, env):
        reply = await self.ask(env)
        usage = counted(reply.usage, "prompt_tokens", "completion_tokens")
        return f"{shown(reply.choices[0].message.content)} | {reply.choices[0].finish_reason} | {usage}"

    async def op_stream(self, env):
        pieces, usage, finish = [], None, None
        async for chunk in await self.ask(env, stream=True, stream_options={"include_usage": True}):
            usage = getattr(chunk, "usage", None) or usage
            for choice in chunk.choices:
                finish = choice.finish_reason or finish
                if choice.delta.content:
                    pieces.append(choice.delta.content)
                    env.first_piece()
        return streamed(pieces, finish, counted(usage, "prompt_tokens", "completion_tokens"))

    async def op_schema(self, env):
        reply = await self.ask(env, response_format=Person)
        return shown(Person.model_validate_json(reply.choices[0].message.content))

    async def op_json_object(self, env):
        reply = await self.ask(env, user(env.prompt + " in JSON"), response_format={"type": "json_object"})
        return shown(reply.choices[0].message.content)

    async def op_tools(self, env):
        messages = user(env.prompt)
        choice = (await self.ask(env, messages, tools=[TOOL])).choices[0]
        calls = choice.message.tool_calls or []
        messages.append(choice.message.model_dump())
        messages += [{"role": "tool", "tool_call_id": call.id, "content": RESULT} for call in calls]
        second = await self.ask(env, messages, tools=[TOOL])
        told = ", ".join(f"{call.function.name}({call.function.arguments})" for call in calls)
        return f"{told} | {choice.finish_reason} | {shown(second.choices[0].message.content)}"

    async def op_several(self, env):
        return shown((await self.ask(env, n=2)).model_dump())

    async def op_image(self, env):
        parts = [{"type": "text", "text": env.prompt}, {"type": "image_url", "image_url": {"url": ONE_PIXEL}}]
        return shown((await self.ask(env, [{"role": "user", "content": parts}])).model_dump())

    async def op_responses(self, env):
        reply = await litellm.aresponses(
            model=f"openai/{env.model}", input=env.prompt, api_base=env.base, api_key=env.key, max_retries=env.retries
        )
        usage = counted(reply.usage, "input_tokens", "output_tokens")
        return f"{shown(reply.output[0].content[0].text)} | {reply.status} | {usage}"
