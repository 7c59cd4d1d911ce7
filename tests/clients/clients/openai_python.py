"""The official package for Python."""

import base64

import openai

from .common import RESULT, TOOL, WEATHER, Client, Person, counted, shown, streamed

ONE_PIXEL = "data:image/png;base64," + base64.b64encode(b"\x89PNG").decode()


def client_of(env):
    return openai.AsyncOpenAI(base_url=env.base, api_key=env.key, max_retries=env.retries, timeout=env.timeout)


def user(text):
    return [{"role": "user", "content": text}]


def conversation(env):
    """Every kind of message, and a developer's."""
    return [
        {"role": "developer", "content": "Be brief."},
        {"role": "user", "content": [{"type": "text", "text": "Hello"}, {"type": "text", "text": "there"}]},
        {"role": "assistant", "content": "Hello!"},
        {"role": "user", "content": env.prompt, "name": "ada"},
    ]


class OpenAIPython(Client):
    key = "openai-python"
    name = f"openai {openai.__version__} (Python)"

    async def op_text(self, env):
        async with client_of(env) as client:
            reply = await client.chat.completions.create(model=env.model, messages=user(env.prompt))
            choice = reply.choices[0]
            usage = counted(reply.usage, "prompt_tokens", "completion_tokens")
            return f"{shown(choice.message.content)} | {choice.finish_reason} | {usage}"

    op_usage = op_text

    async def op_sync(self, env):
        with openai.OpenAI(base_url=env.base, api_key=env.key, max_retries=0) as client:
            reply = client.chat.completions.create(model=env.model, messages=user(env.prompt))
            with client.chat.completions.create(model=env.model, messages=user(env.prompt), stream=True) as stream:
                pieces = [chunk.choices[0].delta.content or "" for chunk in stream]
            return f"{shown(reply.choices[0].message.content)}, then {streamed(pieces)}"

    async def op_conversation(self, env):
        async with client_of(env) as client:
            reply = await client.chat.completions.create(model=env.model, messages=conversation(env))
            return shown(reply.choices[0].message.content)

    async def op_stream(self, env):
        async with client_of(env) as client:
            options = {"include_usage": True}
            create = client.chat.completions.create
            stream = await create(model=env.model, messages=user(env.prompt), stream=True, stream_options=options)
            pieces, usage, finish = [], None, None
            async for chunk in stream:
                usage = chunk.usage or usage
                for choice in chunk.choices:
                    finish = choice.finish_reason or finish
                    if choice.delta.content:
                        pieces.append(choice.delta.content)
                        env.first_piece()
            return streamed(pieces, finish, counted(usage, "prompt_tokens", "completion_tokens"))

    async def op_ignored(self, env):
        async with client_of(env) as client:
            raw = await client.chat.completions.with_raw_response.create(
                model=env.model, messages=user(env.prompt), temperature=0.1, top_p=0.5, seed=7, max_tokens=100, user="ada"
            )
            return f"{raw.status_code}, ignored: {raw.headers.get('x-ccw-ignored')}"

    async def op_stop(self, env):
        async with client_of(env) as client:
            create = client.chat.completions.create
            whole = await create(model=env.model, messages=user(env.prompt), stop=["and", "world"])
            stream = await create(model=env.model, messages=user(env.prompt), stop="world", stream=True)
            pieces = [chunk.choices[0].delta.content or "" async for chunk in stream]
            choice = whole.choices[0]
            return f"{shown(choice.message.content)!r}, then {''.join(pieces)!r} | {choice.finish_reason}"

    async def op_schema(self, env):
        async with client_of(env) as client:
            parse = client.chat.completions.parse
            reply = await parse(model=env.model, messages=user(env.prompt), response_format=Person)
            return shown(reply.choices[0].message.parsed)

    async def op_schema_stream(self, env):
        async with client_of(env) as client:
            stream = client.chat.completions.stream
            async with stream(model=env.model, messages=user(env.prompt), response_format=Person) as events:
                async for event in events:
                    if event.type == "content.delta":
                        env.first_piece()
                return shown((await events.get_final_completion()).choices[0].message.parsed)

    async def op_schema_lenient(self, env):
        """`strict: false`: whatever comes is passed on."""
        shape = {"name": "Person", "schema": Person.model_json_schema(), "strict": False}
        async with client_of(env) as client:
            reply = await client.chat.completions.create(
                model=env.model,
                messages=user(env.prompt),
                response_format={"type": "json_schema", "json_schema": shape},
            )
            extra = reply.model_extra or {}
            return f"{shown(reply.choices[0].message.content)} | schema_error: {'schema_error' in extra}"

    async def op_json_object(self, env):
        async with client_of(env) as client:
            shape = {"type": "json_object"}
            create = client.chat.completions.create
            reply = await create(model=env.model, messages=user(env.prompt + " in JSON"), response_format=shape)
            return shown(reply.choices[0].message.content)

    async def op_tools(self, env):
        messages = user(env.prompt)
        async with client_of(env) as client:
            first = await client.chat.completions.create(model=env.model, messages=messages, tools=[TOOL])
            choice = first.choices[0]
            calls = choice.message.tool_calls or []
            messages.append(choice.message.to_dict())
            messages += [{"role": "tool", "tool_call_id": call.id, "content": RESULT} for call in calls]
            second = await client.chat.completions.create(model=env.model, messages=messages, tools=[TOOL])
            told = ", ".join(f"{call.function.name}({call.function.arguments})" for call in calls)
            return f"{told} | {choice.finish_reason} | {shown(second.choices[0].message.content)}"

    async def op_tools_stream(self, env):
        async with client_of(env) as client:
            stream = client.chat.completions.stream
            tool = {"type": "function", "function": {**WEATHER, "strict": True}}
            async with stream(model=env.model, messages=user(env.prompt), tools=[tool]) as events:
                done = [event async for event in events if event.type == "tool_calls.function.arguments.done"]
                final = await events.get_final_completion()
            calls = final.choices[0].message.tool_calls or []
            told = ", ".join(f"{call.function.name}({call.function.arguments})" for call in calls)
            return f"{told} | {final.choices[0].finish_reason} | {len(done)} done"

    async def op_tools_required(self, env):
        async with client_of(env) as client:
            named = {"type": "function", "function": {"name": "get_weather"}}
            create = client.chat.completions.create
            replies = [
                await create(model=env.model, messages=user(env.prompt), tools=[TOOL], tool_choice=choice)
                for choice in ("required", named, "none")
            ]
            told = [[call.function.name for call in r.choices[0].message.tool_calls or []] for r in replies]
            return f"required: {told[0]}, named: {told[1]}, none: {told[2]}"

    async def op_models(self, env):
        async with client_of(env) as client:
            ids = sorted([model.id async for model in await client.models.list()])
            one = await client.models.retrieve(ids[0])
            return f"{', '.join(ids)} | retrieved {one.id}"

    async def op_model_unknown(self, env):
        async with client_of(env) as client:
            return shown(await client.models.retrieve("nope"))

    async def op_several(self, env):
        """More than one reply, which the CLI cannot give."""
        async with client_of(env) as client:
            return shown(await client.chat.completions.create(model=env.model, messages=user(env.prompt), n=2))

    async def op_image(self, env):
        parts = [{"type": "text", "text": env.prompt}, {"type": "image_url", "image_url": {"url": ONE_PIXEL}}]
        async with client_of(env) as client:
            messages = [{"role": "user", "content": parts}]
            return shown(await client.chat.completions.create(model=env.model, messages=messages))

    async def op_responses(self, env):
        async with client_of(env) as client:
            reply = await client.responses.create(model=env.model, input=env.prompt, instructions="Be brief.")
            return f"{shown(reply.output_text)} | {reply.status} | {counted(reply.usage, 'input_tokens', 'output_tokens')}"

    async def op_responses_stream(self, env):
        async with client_of(env) as client:
            pieces, kinds, final = [], [], None
            async for event in await client.responses.create(model=env.model, input=env.prompt, stream=True):
                if event.type not in kinds:
                    kinds.append(event.type)
                if event.type == "response.output_text.delta":
                    pieces.append(event.delta)
                    env.first_piece()
                final = getattr(event, "response", final)
            usage = counted(final.usage, "input_tokens", "output_tokens")
            kinds = " ".join(kind.removeprefix("response.") for kind in kinds)
            return streamed(pieces, final.status, usage, kinds)

    async def op_responses_parse(self, env):
        async with client_of(env) as client:
            reply = await client.responses.parse(model=env.model, input=env.prompt, text_format=Person)
            return shown(reply.output_parsed)

    async def op_responses_parse_stream(self, env):
        async with client_of(env) as client:
            async with client.responses.stream(model=env.model, input=env.prompt, text_format=Person) as events:
                async for _ in events:
                    env.first_piece()
                return shown((await events.get_final_response()).output_parsed)

    async def op_responses_tools(self, env):
        tool = {"type": "function", "strict": True, **WEATHER}
        async with client_of(env) as client:
            items = user(env.prompt)
            first = await client.responses.create(model=env.model, input=items, tools=[tool])
            calls = [item for item in first.output if item.type == "function_call"]
            items += [item.to_dict() for item in first.output]
            items += [{"type": "function_call_output", "call_id": c.call_id, "output": RESULT} for c in calls]
            second = await client.responses.create(model=env.model, input=items, tools=[tool])
            return f"{', '.join(f'{c.name}({c.arguments})' for c in calls)} | {shown(second.output_text)}"

    async def op_responses_tools_stream(self, env):
        tool = {"type": "function", "strict": True, **WEATHER}
        async with client_of(env) as client:
            async with client.responses.stream(model=env.model, input=env.prompt, tools=[tool]) as events:
                done = [e async for e in events if e.type == "response.function_call_arguments.done"]
                final = await events.get_final_response()
            calls = [item for item in final.output if item.type == "function_call"]
            return f"{', '.join(f'{c.name}({c.arguments})' for c in calls)} | {len(done)} done"

    async def op_responses_stored(self, env):
        async with client_of(env) as client:
            return shown(await client.responses.create(model=env.model, input=env.prompt, store=True))

    async def op_responses_previous(self, env):
        async with client_of(env) as client:
            return shown(await client.responses.create(model=env.model, input=env.prompt, previous_response_id="resp_1"))
