"""Graphiti's two clients, with its own prompts and models."""

import importlib
import inspect
from importlib.metadata import version

import pydantic
import tenacity
from graphiti_core.llm_client.client import LLMClient
from graphiti_core.llm_client.config import LLMConfig
from graphiti_core.llm_client.openai_client import OpenAIClient
from graphiti_core.llm_client.openai_generic_client import OpenAIGenericClient
from graphiti_core.prompts import prompt_library
from graphiti_core.prompts.extract_nodes import ExtractedEntities
from graphiti_core.prompts.models import Message

from .common import Client, shown
from .openai_python import client_of

# It waits 5 to 120 s between its own tries; that they come is what we look at.
LLMClient._generate_response_with_retry.retry.wait = tenacity.wait_none()

MODULES = (
    "dedupe_edges", "dedupe_nodes", "eval", "extract_edges", "extract_nodes", "extract_nodes_and_edges",
    "summarize_nodes", "summarize_sagas",
)  # fmt: skip


def all_models():
    """Every model that one of Graphiti's prompts asks for."""
    for name in MODULES:
        module = importlib.import_module(f"graphiti_core.prompts.{name}")
        for _, item in inspect.getmembers(module, inspect.isclass):
            if issubclass(item, pydantic.BaseModel) and item.__module__ == module.__name__:
                yield item


def messages(env):
    return prompt_library.extract_nodes.extract_message(
        {
            "entity_types": [{"entity_type_id": 0, "entity_type_name": "Entity", "entity_type_description": "any"}],
            "previous_episodes": [],
            "episode_content": f"Ada: I met Grace in London. {env.prompt}",
            "episode_timestamp": "2026-01-01T00:00:00Z",
            "custom_extraction_instructions": "",
            "custom_prompt": "",
            "source_description": "chat",
        }
    )


class Graphiti(Client):
    key = "graphiti"
    name = f"graphiti-core {version('graphiti-core')}"

    def generic(self, env, client, **more):
        config = LLMConfig(api_key=env.key, model=env.model, small_model=env.model, base_url=env.base)
        return OpenAIGenericClient(config=config, client=client, **more)

    def default(self, env, client):
        config = LLMConfig(api_key=env.key, model=env.model, small_model=env.model, base_url=env.base)
        return OpenAIClient(config=config, client=client)

    async def op_schema(self, env):
        """Graphiti always asks for JSON."""
        async with client_of(env) as client:
            made = await self.generic(env, client).generate_response(messages(env), response_model=ExtractedEntities)
            return shown(ExtractedEntities(**made))

    async def op_ignored(self, env):
        """It gives a temperature and a limit of tokens with every request."""
        env.prompt = env.prompt.replace("[[answer:echo]]", "[[answer:schema]]")
        return await self.op_schema(env)

    async def op_json_object(self, env):
        async with client_of(env) as client:
            graphiti = self.generic(env, client, structured_output_mode="json_object")
            made = await graphiti.generate_response(messages(env), response_model=ExtractedEntities)
            return shown(ExtractedEntities(**made))

    async def op_free(self, env):
        """Without a model: any JSON object."""
        async with client_of(env) as client:
            asked = [Message(role="system", content="Answer in JSON."), Message(role="user", content=env.prompt)]
            return shown(await self.generic(env, client).generate_response(asked))

    async def every(self, env, graphiti):
        made = []
        for model in all_models():
            asked = [Message(role="system", content="Extract."), Message(role="user", content=env.prompt)]
            value = await graphiti.generate_response(asked, response_model=model)
            model.model_validate(value)
            made.append(model.__name__)
        return " ".join(made)

    async def op_every_model(self, env):
        async with client_of(env) as client:
            return await self.every(env, self.generic(env, client))

    async def op_responses_every_model(self, env):
        async with client_of(env) as client:
            return await self.every(env, self.default(env, client))

    async def op_responses_parse(self, env):
        async with client_of(env) as client:
            graphiti = self.default(env, client)
            made = await graphiti.generate_response(messages(env), response_model=ExtractedEntities, prompt_name="nodes")
            usage = graphiti.token_tracker.get_total_usage()
            counts = "usage adds up" if usage.input_tokens > 0 and usage.output_tokens > 0 else f"usage {usage}"
            return f"{shown(ExtractedEntities(**made))} | {counts}"

    async def op_responses_free(self, env):
        async with client_of(env) as client:
            asked = [Message(role="system", content="Answer in JSON."), Message(role="user", content=env.prompt)]
            return shown(await self.default(env, client).generate_response(asked))
