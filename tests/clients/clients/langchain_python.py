"""LangChain's ChatOpenAI."""

import asyncio
from importlib.metadata import version

from langchain_core.messages import AIMessage, HumanMessage, SystemMessage, ToolMessage
from langchain_openai import ChatOpenAI

from .common import RESULT, Client, Person, counted, get_weather, shown, streamed
from .openai_python import ONE_PIXEL


class LangChain(Client):
    key = "langchain"
    name = f"langchain-openai {version('langchain-openai')}"

    def model(self, env, **more):
        return ChatOpenAI(
            model=env.model,
            base_url=env.base,
            api_key=env.key,
            max_retries=env.retries,
            timeout=env.timeout,
            stream_usage=True,
            **more,
        )

    async def op_text(self, env):
        reply = await self.model(env).ainvoke(env.prompt)
        usage = counted(reply.usage_metadata, "input_tokens", "output_tokens")
        return f"{shown(reply.content)} | {reply.response_metadata['finish_reason']} | {usage}"

    op_usage = op_text

    async def op_sync(self, env):
        def ask():
            model = self.model(env)
            pieces = [chunk.content for chunk in model.stream(env.prompt)]
            return f"{shown(model.invoke(env.prompt).content)}, then {streamed(pieces)}"

        return await asyncio.to_thread(ask)

    async def op_conversation(self, env):
        messages = [
            SystemMessage("Be brief."),
            HumanMessage([{"type": "text", "text": "Hello"}, {"type": "text", "text": "there"}]),
            AIMessage("Hello!"),
            HumanMessage(env.prompt, name="ada"),
        ]
        return shown((await self.model(env).ainvoke(messages)).content)

    async def op_ignored(self, env):
        given = {"temperature": 0.1, "top_p": 0.5, "seed": 7, "max_tokens": 100, "model_kwargs": {"user": "ada"}}
        reply = await self.model(env, include_response_headers=True, **given).ainvoke(env.prompt)
        return f"200, ignored: {reply.response_metadata['headers'].get('x-ccw-ignored')}"

    async def op_stop(self, env):
        whole = await self.model(env).ainvoke(env.prompt, stop=["and", "world"])
        pieces = [chunk.content async for chunk in self.model(env).astream(env.prompt, stop=["world"])]
        finish = whole.response_metadata["finish_reason"]
        return f"{shown(whole.content)!r}, then {''.join(pieces)!r} | {finish}"

    async def op_stream(self, env):
        whole, pieces = None, []
        async for chunk in self.model(env).astream(env.prompt):
            whole = chunk if whole is None else whole + chunk
            if chunk.content:
                pieces.append(chunk.content)
                env.first_piece()
        finish = whole.response_metadata.get("finish_reason")
        return streamed(pieces, finish, counted(whole.usage_metadata, "input_tokens", "output_tokens"))

    async def structured(self, env, method, **more):
        return shown(await self.model(env, **more).with_structured_output(Person, method=method).ainvoke(env.prompt))

    async def op_schema(self, env):
        return await self.structured(env, "json_schema")

    async def op_function_calling(self, env):
        return await self.structured(env, "function_calling")

    async def op_json_object(self, env):
        env.prompt += " in JSON"
        model = self.model(env).with_structured_output(None, method="json_mode")
        return shown(await model.ainvoke(env.prompt))

    async def op_schema_stream(self, env):
        last = None
        async for value in self.model(env).with_structured_output(Person, method="json_schema").astream(env.prompt):
            last = value
        return shown(last)

    async def op_schema_lenient(self, env):
        shape = {"name": "Person", "schema": Person.model_json_schema(), "strict": False}
        model = self.model(env).bind(response_format={"type": "json_schema", "json_schema": shape})
        return shown((await model.ainvoke(env.prompt)).content)

    async def tools(self, model, env):
        model = model.bind_tools([get_weather])
        messages = [HumanMessage(env.prompt)]
        first = await model.ainvoke(messages)
        messages += [first, *(ToolMessage(RESULT, tool_call_id=call["id"]) for call in first.tool_calls)]
        second = await model.ainvoke(messages)
        told = ", ".join(f"{call['name']}({shown(call['args'])})" for call in first.tool_calls)
        return f"{told} | {shown(second.text)}"

    async def op_tools(self, env):
        return await self.tools(self.model(env), env)

    async def tools_stream(self, model, env):
        whole = None
        async for chunk in model.bind_tools([get_weather]).astream(env.prompt):
            whole = chunk if whole is None else whole + chunk
        return ", ".join(f"{call['name']}({shown(call['args'])})" for call in whole.tool_calls)

    async def op_tools_stream(self, env):
        return await self.tools_stream(self.model(env), env)

    async def op_tools_required(self, env):
        told = []
        for choice in ("any", "get_weather", "none"):
            model = self.model(env).bind_tools([get_weather], tool_choice=choice)
            told.append([call["name"] for call in (await model.ainvoke(env.prompt)).tool_calls])
        return f"required: {told[0]}, named: {told[1]}, none: {told[2]}"

    async def op_several(self, env):
        return shown((await self.model(env, n=2).ainvoke(env.prompt)).content)

    async def op_image(self, env):
        parts = [{"type": "text", "text": env.prompt}, {"type": "image_url", "image_url": {"url": ONE_PIXEL}}]
        return shown((await self.model(env).ainvoke([HumanMessage(parts)])).content)

    async def op_responses(self, env):
        reply = await self.model(env, use_responses_api=True).ainvoke(env.prompt)
        return f"{shown(reply.text)} | {counted(reply.usage_metadata, 'input_tokens', 'output_tokens')}"

    async def op_responses_stream(self, env):
        whole, pieces = None, []
        async for chunk in self.model(env, use_responses_api=True).astream(env.prompt):
            whole = chunk if whole is None else whole + chunk
            if chunk.text:
                pieces.append(str(chunk.text))
                env.first_piece()
        return streamed(pieces, counted(whole.usage_metadata, "input_tokens", "output_tokens"))

    async def op_responses_parse(self, env):
        return await self.structured(env, "json_schema", use_responses_api=True)

    async def op_responses_parse_stream(self, env):
        model = self.model(env, use_responses_api=True).with_structured_output(Person, method="json_schema")
        last = None
        async for value in model.astream(env.prompt):
            last = value
        return shown(last)

    async def op_responses_stored(self, env):
        return shown((await self.model(env, use_responses_api=True, store=True).ainvoke(env.prompt)).text)

    async def op_responses_previous(self, env):
        model = self.model(env, use_responses_api=True)
        return shown((await model.ainvoke(env.prompt, previous_response_id="resp_1")).text)

    async def op_responses_tools_stream(self, env):
        return await self.tools_stream(self.model(env, use_responses_api=True), env)

    async def op_responses_tools(self, env):
        return await self.tools(self.model(env, use_responses_api=True), env)
