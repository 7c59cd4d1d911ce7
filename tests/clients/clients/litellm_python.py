"""LiteLLM, which speaks to us as to any server that is compatible with OpenAI's."""

import asyncio
from importlib.metadata import version

import litellm

from .common import RESULT, TOOL, WEATHER, Client, Person, counted, shown, streamed
from .openai_python import ONE_PIXEL, conversation, user

litellm.suppress_debug_info = True
litellm.telemetry = False
# Of a model that is not on its list it believes that Responses cannot be streamed, and asks for a whole reply instead.
litellm.register_model({"openai/haiku": {"litellm_provider": "openai", "mode": "chat", "supports_native_streaming": True}})


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

    op_usage = op_text

    async def op_sync(self, env):
        def ask():
            where = {"model": f"openai/{env.model}", "api_base": env.base, "api_key": env.key}
            reply = litellm.completion(messages=user(env.prompt), max_retries=0, **where)
            stream = litellm.completion(messages=user(env.prompt), max_retries=0, stream=True, **where)
            pieces = [chunk.choices[0].delta.content or "" for chunk in stream]
            return f"{shown(reply.choices[0].message.content)}, then {streamed(pieces)}"

        return await asyncio.to_thread(ask)

    async def op_conversation(self, env):
        return shown((await self.ask(env, conversation(env))).choices[0].message.content)

    async def op_ignored(self, env):
        reply = await self.ask(env, temperature=0.1, top_p=0.5, seed=7, max_tokens=100, user="ada")
        headers = reply._hidden_params["additional_headers"]
        return f"200, ignored: {headers.get('llm_provider-x-ccw-ignored')}"

    async def op_stop(self, env):
        whole = await self.ask(env, stop=["and", "world"])
        pieces = [chunk.choices[0].delta.content or "" async for chunk in await self.ask(env, stop="world", stream=True)]
        choice = whole.choices[0]
        return f"{shown(choice.message.content)!r}, then {''.join(pieces)!r} | {choice.finish_reason}"

    async def op_models(self, env):
        where = {"api_base": env.base, "api_key": env.key, "custom_llm_provider": "openai"}
        ids = await asyncio.to_thread(litellm.get_valid_models, check_provider_endpoint=True, **where)
        return ", ".join(sorted(ids))

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

    async def op_schema_stream(self, env):
        stream = await self.ask(env, response_format=Person, stream=True)
        return shown(Person.model_validate_json("".join([c.choices[0].delta.content or "" async for c in stream])))

    async def op_schema_lenient(self, env):
        shape = {"name": "Person", "schema": Person.model_json_schema(), "strict": False}
        reply = await self.ask(env, response_format={"type": "json_schema", "json_schema": shape})
        return shown(reply.choices[0].message.content)

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

    async def op_tools_stream(self, env):
        chunks = [chunk async for chunk in await self.ask(env, tools=[TOOL], stream=True)]
        choice = litellm.stream_chunk_builder(chunks).choices[0]
        told = ", ".join(f"{call.function.name}({call.function.arguments})" for call in choice.message.tool_calls or [])
        return f"{told} | {choice.finish_reason}"

    async def op_tools_required(self, env):
        named = {"type": "function", "function": {"name": "get_weather"}}
        replies = [await self.ask(env, tools=[TOOL], tool_choice=choice) for choice in ("required", named, "none")]
        told = [[call.function.name for call in r.choices[0].message.tool_calls or []] for r in replies]
        return f"required: {told[0]}, named: {told[1]}, none: {told[2]}"

    async def op_several(self, env):
        return shown((await self.ask(env, n=2)).model_dump())

    async def op_image(self, env):
        parts = [{"type": "text", "text": env.prompt}, {"type": "image_url", "image_url": {"url": ONE_PIXEL}}]
        return shown((await self.ask(env, [{"role": "user", "content": parts}])).model_dump())

    async def respond(self, env, what=None, **more):
        return await litellm.aresponses(
            model=f"openai/{env.model}",
            input=what or env.prompt,
            api_base=env.base,
            api_key=env.key,
            max_retries=env.retries,
            timeout=env.timeout,
            **more,
        )

    async def op_responses(self, env, **more):
        reply = await self.respond(env, **more)
        usage = counted(reply.usage, "input_tokens", "output_tokens")
        return f"{shown(reply.output_text)} | {reply.status} | {usage}"

    async def op_responses_stream(self, env):
        pieces, final = [], None
        async for event in await self.respond(env, stream=True):
            if event.type == "response.output_text.delta":
                pieces.append(event.delta)
                env.first_piece()
            final = getattr(event, "response", final)
        return streamed(pieces, final.status, counted(final.usage, "input_tokens", "output_tokens"))

    async def op_responses_parse(self, env):
        return shown(Person.model_validate_json((await self.respond(env, text_format=Person)).output_text))

    async def op_responses_parse_stream(self, env):
        events = await self.respond(env, text_format=Person, stream=True)
        pieces = [event.delta async for event in events if event.type == "response.output_text.delta"]
        return shown(Person.model_validate_json("".join(pieces)))

    async def op_responses_tools(self, env):
        tool = {"type": "function", "strict": True, **WEATHER}
        items = user(env.prompt)
        first = await self.respond(env, items, tools=[tool])
        calls = [item for item in first.output if item.type == "function_call"]
        items += [item.model_dump(exclude_none=True) for item in first.output]
        items += [{"type": "function_call_output", "call_id": c.call_id, "output": RESULT} for c in calls]
        second = await self.respond(env, items, tools=[tool])
        return f"{', '.join(f'{c.name}({c.arguments})' for c in calls)} | {shown(second.output_text)}"

    async def op_responses_tools_stream(self, env):
        tool = {"type": "function", "strict": True, **WEATHER}
        events = [event async for event in await self.respond(env, tools=[tool], stream=True)]
        done = [event for event in events if event.type == "response.function_call_arguments.done"]
        calls = [item for item in events[-1].response.output if item.type == "function_call"]
        return f"{', '.join(f'{c.name}({c.arguments})' for c in calls)} | {len(done)} done"

    async def op_responses_stored(self, env):
        return await self.op_responses(env, store=True)

    async def op_responses_previous(self, env):
        return await self.op_responses(env, previous_response_id="resp_1")
