"""What was seen beside what was expected."""

import collections

HEAD = """\
# What the clients saw

Each client, from its registry at the version in the head of its column, against a running `cc-openai-wrapper serve` with
`mock-claude` behind it. Made by

    tests/clients/setup
    cargo build --release -p cc-openai-wrapper -p leakgate -p async-openai-worker --bins
    tests/clients/run --reference

which fails when a client sees anything else than `tests/clients/expected.toml` says, when a cell is missing, and when a
client is said not to be able to do what it can. {objects} replies and events of this run were held, in strict mode, against
the types of the `openai` package, which is made from OpenAI's published description of its API. After each case the
server's `/health` had to say that nobody is busy and nobody waits; after each that the client broke off, the next request
had to be served.

`ok`: as expected, and shown in full below. `–`: not possible with this client; why stands below its table.
"""

ERRORS = """
## What each client raises

The exception with the fields that programs look at (status, code, param), and in brackets what went over the wire:
the status of each try. `waited`: the client kept to `Retry-After` before the next one; `too early`: it did not; `cut`: the
client went away before the end. Graphiti's own waits between its tries, of 5 s and more, are left out in this run. Where a case says nothing else, the client was told to try up to 2 times more on a 4xx,
once on a 500, and not at all on the rest, so one status shows that it obeyed `x-should-retry: false`.
"""


def markdown(clients, results, expected):
    """The report: a matrix, what each client raises, and what each client saw."""
    names = {client.key: client.name for client in clients}
    cases = list(dict.fromkeys(result.case for result in results))
    seen = {(result.client, result.case): result for result in results}
    lines = [HEAD.format(objects=sum(result.objects for result in results))]
    lines += _matrix(names, cases, lambda key, case: _mark(seen[key, case], expected))
    lines.append(ERRORS)
    refusals = [case for case in cases if any(_is_raised(result) for result in results if result.case == case)]
    lines += _matrix(names, refusals, lambda key, case: _raised(seen[key, case]))
    for client, name in names.items():
        lines += ["", f"## {name}", "", "| case | over the wire | what it saw |", "| --- | --- | --- |"]
        reasons = collections.defaultdict(list)
        for result in results:
            if result.client != client:
                continue
            if result.untried:
                reasons[_cannot(result, expected) or "**nobody says why**"].append(result.case)
                continue
            lines.append(f"| {result.case} | {_wire(result.requests)} | {_cell(result.saw)} |")
            lines += [f"| | **defect** | {_cell(defect)} |" for defect in result.defects]
        if reasons:
            lines += ["", "Not possible:"]
            lines += [f"- {reason}: {'; '.join(which)}" for reason, which in reasons.items()]
    return "\n".join(lines) + "\n"


def _matrix(names, cases, cell):
    yield f"| case | {' | '.join(names.values())} |"
    yield "| --- |" + " --- |" * len(names)
    for case in cases:
        yield f"| {case} | {' | '.join(cell(key, case) for key in names)} |"


def wrong(result, expected):
    """In words, why a result is not what it should be; none when it is."""
    want = expected.get(result.client, {}).get(result.case)
    if result.untried:
        if want is None:
            return ["it was not tried: the client has no operation for it, and expected.toml does not say why"]
        if want.get("cannot") == "":
            return ["it was not tried, and expected.toml gives an empty reason"]
        return [] if "cannot" in want else ["it was not tried, though expected.toml says what it has to see"]
    if want is None:
        return [f"saw {result.saw!r} ({result.requests}); nothing is expected of it in expected.toml"]
    if "cannot" in want:
        return [f"it can: it saw {result.saw!r} ({result.requests}); expected.toml says: {want['cannot']}"]
    found = list(result.defects)
    if result.saw != want["saw"]:
        found.append(f"saw      {result.saw}\n    expected {want['saw']}")
    allowed = want["requests"]
    if result.requests not in ([allowed] if isinstance(allowed, str) else allowed):
        found.append(f"over the wire {result.requests}; expected {allowed}")
    return found


def absent(results, expected):
    """What is expected and did not happen."""
    seen = {(result.client, result.case) for result in results}
    return [(client, case) for client, cases in expected.items() for case in cases if (client, case) not in seen]


def tally(results):
    counts = collections.Counter(result.client for result in results if not result.untried)
    return ", ".join(f"{client} {count}" for client, count in counts.items())


def _cannot(result, expected):
    return expected.get(result.client, {}).get(result.case, {}).get("cannot", "")


def _mark(result, expected):
    if wrong(result, expected):
        return "**NO**"
    return "–" if result.untried else "ok"


def _is_raised(result):
    return any(word[:1] in "45" or word.startswith("cut") for word in result.requests.split(", ") if word)


def _raised(result):
    return "–" if result.untried else f"{_cell(result.saw)} ({_wire(result.requests)})"


def _wire(requests):
    """The same status many times over is told once."""
    words = requests.split(", ")
    return f"{words[0]} × {len(words)}" if len(words) > 3 and len(set(words)) == 1 else requests


def _cell(text):
    return text.replace("|", "\\|").replace("\n", " ")[:600]
