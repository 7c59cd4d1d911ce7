"""What was seen beside what was expected."""

import collections


def markdown(clients, results, expected):
    """The report: a matrix, what is not as expected, and what each client saw."""
    names = {client.key: client.name for client in clients}
    cases = list(dict.fromkeys(result.case for result in results))
    seen = {(result.client, result.case): result for result in results}
    lines = ["# What the clients saw", "", "Written by `tests/clients/run`. `ok`: as expected; `–`: the client has no such thing.", ""]
    lines += [f"| case | {' | '.join(names.values())} |", "| --- |" + " --- |" * len(names)]
    for case in cases:
        marks = [_mark(seen.get((client, case)), expected) for client in names]
        lines.append(f"| {case} | {' | '.join(marks)} |")
    for client, name in names.items():
        lines += ["", f"## {name}", "", "| case | over the wire | what it saw |", "| --- | --- | --- |"]
        for result in results:
            if result.client == client:
                lines.append(f"| {result.case} | {result.requests} | {_cell(result.saw)} |")
                lines += [f"| | **defect** | {_cell(defect)} |" for defect in result.defects]
    return "\n".join(lines) + "\n"


def wrong(result, expected):
    """In words, why a result is not what it should be; none when it is."""
    want = expected.get(result.client, {}).get(result.case)
    if want is None:
        return [f"saw {result.saw!r} ({result.requests}); nothing is expected of it in expected.toml"]
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
    counts = collections.Counter(result.client for result in results)
    return ", ".join(f"{client} {count}" for client, count in counts.items())


def _mark(result, expected):
    if result is None:
        return "–"
    return "**NO**" if wrong(result, expected) else "ok"


def _cell(text):
    return text.replace("|", "\\|").replace("\n", " ")[:600]
