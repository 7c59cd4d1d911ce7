"""LangChain's ChatOpenAI."""

from importlib.metadata import version

from langchain_core.messages import HumanMessage, ToolMessage
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

    async def op_tools_stream(self, env):
        whole = None
        async for chunk in self.model(env).bind_tools([get_weather]).astream(env.prompt):
            whole = chunk if whole is None else whole + chunk
        return ", ".join(f"{call['name']}({shown(call['args'])})" for call in whole.tool_calls)

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
        return streamed(pieces, counted(whole.usage_metadata, "input_tokens", "output_tokens"))

    async def op_responses_parse(self, env):
        return await self.structured(env, "json_schema", use_responses_api=True)

    async def op_responses_tools(self, env):
        return await self.tools(self.model(env, use_responses_api=True), env)
