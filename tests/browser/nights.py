"""Makes many nights of the one that is in a history: all that a page over nights can show, and text that would break it.

Usage: nights.py HISTORY
"""

import json
import sqlite3
import sys

HOSTILE = "<script>alert(1)</script> \"><img src=x onerror=alert(2)> \u202e & 'a-word-without-an-end" + "-and-on" * 40
DAY = 86_400
NIGHTS = 40
# 2026-03-01 at ten minutes to midnight: the first day of the axis stands right above the first night.
FIRST = 1_772_409_000
# Nights that were not: of a weekend, and of a week.
MISSING = {5, 6, 20, 21, 22, 23, 24, 25, 26}
COLUMNS = "started, commit_id, environment, verdict, conclusion, summary, controls, build, folder, comparison, remarks"
SIGNAL = "name, class, verdict, per_restart, tolerance, first, last, max"
TARGET = "scenario, target, verdict, restarts, requests, seconds, server_rss_mb, tree_rss_mb, latency"


def comparison(change):
    return json.dumps({
        "baseline": 1, "scenario": "restarts", "restarts": 1250, "change": change, "reason": f"it is so: {HOSTILE}",
        "baseline_slopes": [1.0] * 5, "candidate_slopes": [200.0] * 5, "effect": 199.0, "p": 0.004, "beside": [],
    })


def night(at, environment):
    """What is different in the night of this day: verdict, summary, comparison, remarks."""
    verdict, compared, remarks = "PASS", comparison("none"), []
    if at % 9 == 4:
        verdict = "LEAK"
    elif at % 9 == 7:
        verdict = "SATURATING"
    elif at % 11 == 9:
        verdict = "INVALID"
    elif at % 13 == 12:
        compared = comparison("regression")
    elif at % 13 == 2:
        compared, remarks = None, [{"means": "over_budget", "what": f"too much {HOSTILE}", "owner": HOSTILE}]
    environment = dict(environment, started_unix=environment["started_unix"] + at * DAY)
    if at > 30:
        environment["kernel"] = f"7.0 {HOSTILE}"
    if at % 7 == 0:
        environment["commit"] = HOSTILE
    summary = "no leak" if verdict == "PASS" else f"it is {verdict.lower()}: {HOSTILE}"
    return environment, verdict, summary, compared, json.dumps(remarks)


def copy(db, first, at, environment):
    environment, verdict, summary, compared, remarks = night(at, environment)
    row = (environment["started_unix"], environment.get("commit"), json.dumps(environment), verdict, "pass", summary, 18,
           None, "reports", compared, remarks)
    (new,) = db.execute(f"INSERT INTO night ({COLUMNS}) VALUES (?,?,?,?,?,?,?,?,?,?,?) RETURNING id", row).fetchone()
    for (run,) in db.execute("SELECT run FROM target WHERE night = ?", (first,)).fetchall():
        # A night that proved nothing did not come as far as the second target.
        if verdict == "INVALID" and run > 0:
            continue
        db.execute(f"INSERT INTO target (night, run, {TARGET}) SELECT ?, run, {TARGET} FROM target "
                   "WHERE night = ? AND run = ?", (new, first, run))
        db.execute("UPDATE target SET verdict = ?, server_rss_mb = server_rss_mb + ? WHERE night = ? AND run = ?",
                   (verdict, 0.05 * at, new, run))
        db.execute(f"INSERT INTO signal (night, run, {SIGNAL}) SELECT ?, run, {SIGNAL} FROM signal "
                   "WHERE night = ? AND run = ?", (new, first, run))
    db.execute("UPDATE signal SET per_restart = ?, tolerance = 32.0, verdict = ? WHERE night = ? AND name = 'anon_pss'",
               ((at * 37 % 41) - 9.5, verdict if verdict != "INVALID" else "PASS", new))
    if verdict == "LEAK":
        db.execute("UPDATE signal SET per_restart = 0.01, verdict = 'LEAK' WHERE night = ? AND name = 'fds_pipe'", (new,))
        db.execute("UPDATE signal SET per_restart = 4096.5, verdict = 'LEAK' WHERE night = ? AND name = 'heap_bytes'", (new,))
    if at in (1, 33):
        db.execute("INSERT INTO baseline (night, accepted, accepted_by, reason, build, commit_id, environment) "
                   "VALUES (?, ?, ?, ?, 'x', ?, ?)",
                   (new, environment["started_unix"], HOSTILE, HOSTILE, None, json.dumps(environment)))


def main():
    db = sqlite3.connect(sys.argv[1])
    with db:
        first, text = db.execute("SELECT id, environment FROM night").fetchone()
        text = json.dumps(dict(json.loads(text), started_unix=FIRST))
        db.execute("UPDATE night SET started = ?, environment = ?", (FIRST, text))
        for at in range(1, NIGHTS):
            if at not in MISSING:
                copy(db, first, at, json.loads(text))
    db.close()


main()
