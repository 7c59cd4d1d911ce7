"""Drives the CLI in its place through `claude-agent-sdk`; prints what each case saw, one JSON object a line."""

import asyncio
import json
import os
import sys
import traceback

from claude_agent_sdk import (
    AssistantMessage,
    ClaudeAgentOptions,
    ClaudeSDKClient,
    HookMatcher,
    PermissionResultAllow,
    PermissionResultDeny,
    ResultMessage,
    SystemMessage,
    TextBlock,
    ToolUseBlock,
    create_sdk_mcp_server,
    query,
    tool,
)
from claude_agent_sdk.types import StreamEvent

# None: the SDK looks for `claude` in PATH.
CLI = os.environ.get("SDKS_CLI") or None
CASES = {}
# Far beyond what a case takes on a busy machine.
PATIENCE = 60


def case(function):
    CASES[function.__name__.replace("_", "-")] = function
    return function


def options(**more):
    return ClaudeAgentOptions(cli_path=CLI, setting_sources=[], **more)


async def ask(client, prompt):
    await client.query(prompt)
    return [message async for message in client.receive_response()]


def text(messages):
    blocks = [block for message in messages if isinstance(message, AssistantMessage) for block in message.content]
    return "".join(block.text for block in blocks if isinstance(block, TextBlock))


def result(messages):
    (found,) = [message for message in messages if isinstance(message, ResultMessage)]
    return found


def init(messages):
    (found,) = [m for m in messages if isinstance(m, SystemMessage) and m.subtype == "init"]
    return found.data


async def refused(coroutine):
    try:
        await coroutine
    except Exception as error:  # noqa: BLE001 - what it says is the point
        return str(error)
    raise AssertionError("it was not refused")


async def one_shot(prompt, **more):
    return [message async for message in query(prompt=prompt, options=options(**more))]


@case
async def one_shot_query():
    messages = await one_shot("[[answer:echo]] hello")
    assert text(messages) == result(messages).result == "[[answer:echo]] hello"
    return f"{len(messages)} messages, {result(messages).subtype}"


@case
async def streamed_prompts():
    async def prompts():
        for word in ("one", "two"):
            yield {"type": "user", "message": {"role": "user", "content": f"[[answer:echo]] {word}"}}

    messages = await one_shot(prompts())
    words = [m.result.split()[-1] for m in messages if isinstance(m, ResultMessage)]
    assert words == ["one", "two"], words
    return " ".join(words)


@case
async def several_turns():
    async with ClaudeSDKClient(options()) as client:
        seen = [result(await ask(client, f"[[answer:echo]] turn {n}")).result for n in range(3)]
    assert [words.split()[-1] for words in seen] == ["0", "1", "2"], seen
    return "3 turns on one process"


@case
async def server_info():
    async with ClaudeSDKClient(options()) as client:
        info = await client.get_server_info()
    assert info["commands"] and info["models"] and info["account"], sorted(info)
    assert {"name", "description"} <= set(info["commands"][0]) and {"value", "displayName"} <= set(info["models"][0])
    return f"{len(info['commands'])} commands, {len(info['models'])} models"


@case
async def partial_messages():
    async with ClaudeSDKClient(options(include_partial_messages=True)) as client:
        messages = await ask(client, "[[answer:echo]] in several pieces, one after the other")
    events = [message.event for message in messages if isinstance(message, StreamEvent)]
    pieces = [event["delta"]["text"] for event in events if event["type"] == "content_block_delta"]
    assert len(pieces) > 1 and "".join(pieces) == text(messages), pieces
    assert events[0]["type"] == "message_start" and events[-1]["type"] == "message_stop"
    return f"{len(pieces)} pieces are the text"


@case
async def set_model():
    async with ClaudeSDKClient(options(model="haiku")) as client:
        before = init(await ask(client, "hello"))["model"]
        await client.set_model("sonnet")
        after = init(await ask(client, "hello"))["model"]
        await client.set_model(None)
        default = init(await ask(client, "hello"))["model"]
    assert ("haiku" in before, "sonnet" in after, "opus" in default) == (True, True, True), (before, after, default)
    return f"{before} → {after} → {default}"


@case
async def set_permission_mode():
    async with ClaudeSDKClient(options()) as client:
        await client.set_permission_mode("plan")
        mode = init(await ask(client, "hello"))["permissionMode"]
        error = await refused(client.set_permission_mode("bypassPermissions"))
    assert mode == "plan" and "was not launched with" in error, (mode, error)
    return "plan; bypassPermissions is refused"


@case
async def interrupt():
    async with ClaudeSDKClient(options(include_partial_messages=True)) as client:
        await client.query("[[answer:text+drip=60000]] hello")
        cut = None
        asked = False
        async for message in client.receive_response():
            if isinstance(message, StreamEvent) and message.event["type"] == "content_block_delta" and not asked:
                asked = True
                await client.interrupt()
            if isinstance(message, ResultMessage):
                cut = message
        after = result(await ask(client, "[[answer:echo]] after"))
    assert cut.subtype == "error_during_execution" and after.subtype == "success", (cut, after)
    return f"{cut.subtype}, then {after.subtype}"


@case
async def context_usage():
    async with ClaudeSDKClient(options()) as client:
        await ask(client, "hello")
        usage = await client.get_context_usage()
    assert usage["totalTokens"] > 0 and usage["maxTokens"] > usage["totalTokens"] and usage["categories"]
    return f"{usage['totalTokens']} tokens"


@case
async def mcp_status():
    async with ClaudeSDKClient(options()) as client:
        status = await client.get_mcp_status()
    assert status == {"mcpServers": []}, status
    return "no server"


@case
async def other_requests():
    async with ClaudeSDKClient(options()) as client:
        rewind = await refused(client.rewind_files("00000000-0000-4000-8000-000000000001"))
        reconnect = await refused(client.reconnect_mcp_server("nobody"))
        toggle = await refused(client.toggle_mcp_server("nobody", False))
        await client.stop_task("none")
    assert rewind == "File rewinding is not enabled.", rewind
    assert reconnect == toggle == "Server not found: nobody", (reconnect, toggle)
    return rewind


def permission(answer, seen):
    async def can_use_tool(name, given, context):
        seen.append((name, given, context.tool_use_id))
        return answer

    return can_use_tool


@case
async def permission_allowed():
    seen = []
    answer = PermissionResultAllow(updated_input={"command": "true", "description": "other"})
    async with ClaudeSDKClient(options(can_use_tool=permission(answer, seen))) as client:
        messages = await ask(client, "[[answer:use=Bash]]")
    uses = [b for m in messages if isinstance(m, AssistantMessage) for b in m.content if isinstance(b, ToolUseBlock)]
    assert [(u.name, u.input, u.id) for u in uses] == seen, (uses, seen)
    assert result(messages).result == "Bash: (Bash completed with no output)" and not result(messages).permission_denials
    return f"asked for {seen[0][0]}, done"


@case
async def permission_denied():
    seen = []
    answer = PermissionResultDeny(message="not today")
    async with ClaudeSDKClient(options(can_use_tool=permission(answer, seen))) as client:
        messages = await ask(client, "[[answer:use=Write]]")
        again = result(await ask(client, "[[answer:echo]] after"))
    last = result(messages)
    assert last.result == "Write: not today" and len(last.permission_denials) == 1 and again.subtype == "success", last
    return f"{last.result}; {len(last.permission_denials)} denial"


@case
async def permission_denied_and_interrupted():
    seen = []
    answer = PermissionResultDeny(message="stop", interrupt=True)
    async with ClaudeSDKClient(options(can_use_tool=permission(answer, seen))) as client:
        last = result(await ask(client, "[[answer:use]]"))
        again = result(await ask(client, "[[answer:echo]] after"))
    assert last.subtype == "error_during_execution" and again.subtype == "success", last
    return f"{last.subtype}, then {again.subtype}"


@case
async def permission_modes():
    async with ClaudeSDKClient(options()) as client:
        unasked = result(await ask(client, "[[answer:use]]"))
    async with ClaudeSDKClient(options(permission_mode="bypassPermissions")) as client:
        bypassed = result(await ask(client, "[[answer:use]]"))
    async with ClaudeSDKClient(options(allowed_tools=["Bash"])) as client:
        listed = result(await ask(client, "[[answer:use]]"))
    assert len(unasked.permission_denials) == 1 and not bypassed.permission_denials and not listed.permission_denials
    return "refused; bypassed; listed"


def hook(seen, answer=None):
    async def called(given, tool_use_id, context):
        seen.append(given["hook_event_name"])
        return answer or {}

    return called


@case
async def hooks():
    seen = []
    events = ("UserPromptSubmit", "PreToolUse", "PermissionRequest", "PostToolUse", "Stop")
    every = {event: [HookMatcher(hooks=[hook(seen)])] for event in events}
    asked = permission(PermissionResultAllow(), [])
    async with ClaudeSDKClient(options(hooks=every, can_use_tool=asked)) as client:
        await ask(client, "[[answer:use]]")
    assert tuple(seen) == events, seen
    # The one-shot form keeps stdin open only until the session is idle.
    seen.clear()
    await one_shot("[[answer:use]]", hooks=every, allowed_tools=["Bash"])
    assert seen == ["UserPromptSubmit", "PreToolUse", "PostToolUse", "Stop"], seen
    return " ".join(seen)


@case
async def hook_matchers():
    seen, others = [], []
    matchers = [HookMatcher(matcher="Bash|Read", hooks=[hook(seen)]), HookMatcher(matcher="Write", hooks=[hook(others)])]
    async with ClaudeSDKClient(options(hooks={"PreToolUse": matchers}, allowed_tools=["Bash"])) as client:
        await ask(client, "[[answer:use=Bash]]")
    assert (len(seen), len(others)) == (1, 0), (seen, others)
    return "one of two"


@case
async def hook_denies():
    decision = {"hookEventName": "PreToolUse", "permissionDecision": "deny", "permissionDecisionReason": "no"}
    matchers = {"PreToolUse": [HookMatcher(hooks=[hook([], {"hookSpecificOutput": decision})])]}
    async with ClaudeSDKClient(options(hooks=matchers)) as client:
        denied = result(await ask(client, "[[answer:use]]"))
    block = {"UserPromptSubmit": [HookMatcher(hooks=[hook([], {"decision": "block", "reason": "no such prompts"})])]}
    async with ClaudeSDKClient(options(hooks=block)) as client:
        blocked = result(await ask(client, "hello"))
    assert "hook error: no" in denied.result and "blocked by hook:\nno such prompts" in blocked.result
    return "a tool; a prompt"


@case
async def server_in_the_sdk():
    @tool("add", "Adds", {"a": int, "b": int})
    async def add(given):
        return {"content": [{"type": "text", "text": str(given["a"] + given["b"])}]}

    servers = {"calc": create_sdk_mcp_server("calc", tools=[add])}
    async with ClaudeSDKClient(options(mcp_servers=servers, allowed_tools=["mcp__calc__add"])) as client:
        messages = await ask(client, '[[answer:use=mcp__calc__add]] [[input:{"a": 1, "b": 2}]]')
        (status,) = (await client.get_mcp_status())["mcpServers"]
    assert result(messages).result == "mcp__calc__add: 3" and status["status"] == "connected", (messages, status)
    assert "mcp__calc__add" in init(messages)["tools"]
    return f"1 + 2 = {result(messages).result.split()[-1]}, {status['status']}"


@case
async def structured_output():
    schema = {"type": "object", "properties": {"name": {"type": "string"}}, "required": ["name"]}
    messages = await one_shot("Ada", output_format={"type": "json_schema", "schema": schema})
    found = result(messages).structured_output
    assert isinstance(found["name"], str), found
    return json.dumps(found)


@case
async def sessions():
    wanted = "00000000-0000-4000-8000-0000000000aa"
    named = result(await one_shot("hello", session_id=wanted)).session_id
    resumed = result(await one_shot("hello", resume=wanted)).session_id
    assert named == resumed == wanted, (named, resumed)
    return "named and resumed"


@case
async def every_option():
    """Whatever an option becomes on the command line is taken."""
    messages = await one_shot(
        "[[answer:echo]] hello", tools=["Bash", "Read"], allowed_tools=["Read"], disallowed_tools=["Write"],
        system_prompt={"type": "preset", "preset": "claude_code", "append": "be brief"}, permission_mode="acceptEdits",
        max_turns=3, max_budget_usd=1.5, model="sonnet", fallback_model="haiku", betas=["context-1m-2025-08-07"],
        add_dirs=["/tmp"], settings="{}", include_partial_messages=True, include_hook_events=True, effort="low",
        fork_session=True, strict_mcp_config=True, thinking={"type": "enabled", "budget_tokens": 2000},
        task_budget={"total": 1000}, plugins=[{"type": "local", "path": "/tmp"}], skills="all",
        agents={}, enable_file_checkpointing=True, resume_session_at="x", resume="00000000-0000-4000-8000-0000000000aa",
        mcp_servers={"other": {"command": "true"}}, sandbox={"enabled": False}, extra_args={"debug": None},
    )
    assert result(messages).result == "[[answer:echo]] hello"
    return "taken"


@case
async def api_error():
    async with ClaudeSDKClient(options()) as client:
        failed = result(await ask(client, "[[answer:api-error=529]]"))
        after = result(await ask(client, "[[answer:echo]] after"))
    error = await refused(one_shot("[[answer:api-error=529]]"))
    assert failed.is_error and failed.api_error_status == 529 and not after.is_error
    assert "API Error" in error, error
    return error[:60]


def tells_of_the_end(error):
    """Of a CLI that ends before it reads, the SDK says what it sees first: the end, or that nothing can be written."""
    return any(words in error for words in ("exit code 1", "exit code: 1", "Failed to write to process stdin"))


@case
async def cli_dies():
    killed = await refused(one_shot("hello", extra_args={"mock-fault": "crash"}))
    at_start = await refused(one_shot("hello", extra_args={"mock-fault": "crash-start"}))
    assert "exit code -9" in killed, killed
    assert tells_of_the_end(at_start), at_start
    return killed.splitlines()[0]


@case
async def unknown_flag():
    lines = []
    error = await refused(one_shot("hello", extra_args={"no-such-flag": None}, stderr=lines.append))
    assert tells_of_the_end(error), error
    # An SDK that has seen the end first does not read on.
    assert lines in ([], ["error: unknown option '--no-such-flag'"]), lines
    return "error: unknown option '--no-such-flag'"


async def main():
    for name, function in CASES.items():
        if sys.argv[1:] and not any(word in name for word in sys.argv[1:]):
            continue
        try:
            outcome = {"saw": await asyncio.wait_for(function(), PATIENCE)}
        except Exception:  # noqa: BLE001 - the table shows it
            outcome = {"failed": traceback.format_exc(limit=-3)}
        print(json.dumps({"case": name} | outcome), flush=True)


asyncio.run(main())
