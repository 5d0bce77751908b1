"""The quality report of the stock pipeline: what the checks of each layer found, and how many rows each layer has.

The checks are SQL files (`sql/stock/checks`), run by the tasks named below; each leaves what it found as its XCom, a list
with an object for each check: `check` (name and rule), `rows` (how many rows break the rule) and `first` (the first of
them). The row counts are the XCom of the task `count_rows`. The report is printed for people, handed on as this task's
XCom `quality_report`, and kept as a file below the lake's directory. The task fails when a check found something or did
not run.
"""

import json
import os
import pathlib
import urllib.parse
from datetime import datetime, timezone

import windlass

# The tasks that check, in the order of the layers.
CHECK_TASKS = ["bronze_checks", "silver_checks", "gold_checks"]
COUNT_TASK = "count_rows"
# So much of a value is shown.
CELL_CHARACTERS_MAX = 60
# What a task hands on has at most 64 KiB; the rows are left out of a report that would not fit.
REPORT_BYTES_MAX = 60_000
# So many reports are kept.
REPORTS_KEPT = 30


def outcomes_of(task):
    """What the checks of a task found; a single failed entry when the task left nothing."""
    found = windlass.xcom_pull(task_ids=task)
    if not isinstance(found, list):
        return [{"task": task, "check": task, "rule": "the checks have run", "passed": False, "rows_failing": None, "rows": []}]
    outcomes = []
    for entry in found:
        name, _, rule = entry["check"].partition(": ")
        outcomes.append(
            {
                "task": task,
                "check": name,
                "rule": rule,
                "passed": entry["rows"] == 0,
                "rows_failing": entry["rows"],
                "rows": entry["first"],
            }
        )
    return outcomes


def counts():
    """How many rows each table has, and how many records silver refused by reason; empty when they could not be counted."""
    rows, rejected = {}, {}
    for record in windlass.xcom_pull(task_ids=COUNT_TASK) or []:
        (rows if record["kind"] == "rows" else rejected)[record["name"]] = record["records"]
    return rows, rejected


def shown(value):
    """A value as a cell of a table."""
    text = "NULL" if value is None else str(value)
    return text if len(text) <= CELL_CHARACTERS_MAX else text[: CELL_CHARACTERS_MAX - 1] + "…"


def table(rows, indent):
    """The lines of a table of dictionaries that have the same keys."""
    columns = list(rows[0])
    lines = [columns] + [[shown(row.get(column)) for column in columns] for row in rows]
    widths = [max(len(line[at]) for line in lines) for at in range(len(columns))]
    padded = ["  ".join(cell.ljust(width) for cell, width in zip(line, widths)).rstrip() for line in lines]
    padded.insert(1, "  ".join("-" * width for width in widths))
    return [indent + line for line in padded]


def sentence(outcome):
    """How one check went, in a line."""
    if outcome["rows_failing"] is None:
        return f"{outcome['check']}: the task left no result; its own log says why"
    return f"{outcome['check']}: {outcome['rule']}  ({outcome['rows_failing']:,} rows break it)"


def show(outcomes, rows, rejected):
    """Print the report."""
    print(f"Quality report: {len(outcomes)} checks\n")
    for outcome in outcomes:
        print(f"{'passed' if outcome['passed'] else 'FAILED'}  {sentence(outcome)}")
        if outcome["rows"]:
            print("\n".join(table(outcome["rows"], " " * 8)))
            if outcome["rows_failing"] > len(outcome["rows"]):
                print(f"        … and {outcome['rows_failing'] - len(outcome['rows']):,} more")
    print("\nRows" if rows else "\nRows could not be counted")
    for name, records in rows.items():
        print(f"  {name:<24} {records:>16,}")
    if rows:
        print("\nRejected by silver")
        for reason, records in rejected.items():
            print(f"  {reason:<48} {records:>12,}")
        if not rejected:
            print("  nothing")
    failed = sum(not outcome["passed"] for outcome in outcomes)
    print(f"\n{failed} of {len(outcomes)} checks failed" if failed else f"\nAll {len(outcomes)} checks passed")


def report():
    """The report as a JSON value."""
    outcomes = [outcome for task in CHECK_TASKS for outcome in outcomes_of(task)]
    rows, rejected = counts()
    show(outcomes, rows, rejected)
    return {
        "at": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "run_id": os.environ.get("WINDLASS_RUN_ID"),
        "checks": len(outcomes),
        "failed": [outcome["check"] for outcome in outcomes if not outcome["passed"]],
        "results": outcomes,
        "rows": rows,
        "rejected": rejected,
    }


def fitting(value):
    """The report, without the offending rows when it would be too large to be handed on."""
    if len(json.dumps(value)) <= REPORT_BYTES_MAX:
        return value
    return value | {"results": [outcome | {"rows": []} for outcome in value["results"]]}


def keep(value):
    """Keep the report as a file beside the lake's tables, when those lie in a directory."""
    location = urllib.parse.urlparse(os.environ.get("WINDLASS_LAKE_WAREHOUSE", ""))
    if location.scheme != "file":
        return
    # No table's name starts with an underscore.
    folder = pathlib.Path(urllib.parse.unquote(location.path)) / "_reports" / "stock_quality"
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / (value["at"].replace(":", "").replace("+0000", "Z") + ".json")
    # Written beside and moved, so that nobody reads half a report.
    part = path.with_suffix(".part")
    part.write_text(json.dumps(value, indent=2) + "\n", encoding="utf-8")
    part.replace(path)
    print(f"The report is kept as {path}")
    for old in sorted(folder.glob("*.json"))[:-REPORTS_KEPT]:
        old.unlink(missing_ok=True)


full = report()
# The module `windlass` reads the variable of this name as what the task returns.
result = fitting(full)
# Left for other tasks of the run, even when this one then fails.
windlass.xcom_push("quality_report", result)
try:
    keep(full)
except OSError as error:
    print(f"The report could not be kept as a file: {error}")
if full["failed"]:
    failed = [outcome for outcome in full["results"] if not outcome["passed"]]
    # The task's page shows this as its reason.
    windlass.fail(f"{len(failed)} of {full['checks']} checks failed: " + "; ".join(sentence(outcome) for outcome in failed))
