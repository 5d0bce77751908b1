"""The quality report of the stock pipeline: is what silver and gold hold complete, unique and plausible?

Every check is a rule in words, the table that it is about, and a query that gives the rows that break the rule. The
queries run on the lake through `windlass-tasks lake query`. The report says of each check how many rows it looked at, how
many break the rule, and which are the first of them. It is printed for people, handed on as the task's XCom
`quality_report`, and kept as a file below the lake's directory. The exit status is 1 when a check fails.

By hand: `python3 quality_report.py [FILE.sql …]`; the statements of the files are further checks. The comment lines right
above a statement say what it is: `-- check:`, `-- rule:` and `-- of:` (the table whose rows are counted).
"""

import json
import os
import pathlib
import subprocess
import sys
import urllib.parse
from datetime import datetime, timezone

try:
    import windlass
except ImportError:
    windlass = None

# A single query is never allowed to hold up the report for longer.
QUERY_SECONDS_MAX = 300
# So many offending rows are shown of a check.
ROWS_SHOWN = 10
# So much of a value is shown.
CELL_CHARACTERS_MAX = 60
# What a task hands on has at most 64 KiB; the rows are left out of a report that would not fit.
REPORT_BYTES_MAX = 60_000
# So many reports are kept.
REPORTS_KEPT = 30

CHECKS = [
    {
        "check": "silver.not_null",
        "rule": "a trade of silver has an id, a symbol, a time, a price and a size",
        "of": "silver.stock_trades",
        "sql": """SELECT trade_id, symbol, ts, price, size FROM lake.silver.stock_trades
                  WHERE trade_id IS NULL OR symbol IS NULL OR ts IS NULL OR price IS NULL OR size IS NULL""",
    },
    {
        "check": "silver.unique_trade_id",
        "rule": "silver has each trade once",
        "of": "silver.stock_trades",
        "sql": """SELECT trade_id, count(*) AS copies FROM lake.silver.stock_trades
                  GROUP BY trade_id HAVING count(*) > 1""",
    },
    {
        "check": "silver.accepted_range",
        "rule": "prices and sizes of silver are above zero",
        "of": "silver.stock_trades",
        "sql": """SELECT trade_id, symbol, price, size FROM lake.silver.stock_trades
                  WHERE NOT (price > 0 AND price < 1E9 AND size > 0)""",
    },
    {
        "check": "silver.reconciles_with_bronze",
        "rule": "every record of the ingest ledger is a trade of silver or was rejected",
        "of": "bronze.stock_ingest",
        "sql": """SELECT arrived, kept, rejected FROM (
                      SELECT
                          (SELECT coalesce(sum(rows), 0) FROM lake.bronze.stock_ingest) AS arrived,
                          (SELECT count(*) FROM lake.silver.stock_trades) AS kept,
                          (SELECT coalesce(sum(rejected), 0) FROM lake.silver.stock_rejects) AS rejected
                  ) AS totals WHERE arrived <> kept + rejected""",
    },
    {
        "check": "gold.unique_day",
        "rule": "gold has each symbol and day once",
        "of": "gold.stock_daily",
        "sql": """SELECT symbol, trade_date, count(*) AS copies FROM lake.gold.stock_daily
                  GROUP BY symbol, trade_date HAVING count(*) > 1""",
    },
    {
        "check": "gold.accepted_range",
        "rule": "open, close and vwap of a day lie between low and high, and something was traded",
        "of": "gold.stock_daily",
        "sql": """SELECT symbol, trade_date, open, high, low, close, vwap, volume, trade_count FROM lake.gold.stock_daily
                  WHERE NOT (low <= open AND open <= high AND low <= close AND close <= high
                             AND vwap >= low * 0.999999999 AND vwap <= high * 1.000000001
                             AND volume > 0 AND trade_count > 0)""",
    },
    {
        "check": "gold.reconciles_with_silver",
        "rule": "every day of gold has the trades and the volume that silver has of it",
        "of": "gold.stock_daily",
        "sql": """SELECT coalesce(s.symbol, g.symbol) AS symbol, coalesce(s.trade_date, g.trade_date) AS trade_date,
                         s.trades AS silver_trades, g.trade_count AS gold_trades,
                         s.volume AS silver_volume, g.volume AS gold_volume
                  FROM (SELECT symbol, CAST(ts AS date) AS trade_date, count(*) AS trades, sum(size) AS volume
                        FROM lake.silver.stock_trades GROUP BY symbol, CAST(ts AS date)) AS s
                  FULL JOIN lake.gold.stock_daily AS g ON g.symbol = s.symbol AND g.trade_date = s.trade_date
                  WHERE (s.trades IS DISTINCT FROM g.trade_count) OR (s.volume IS DISTINCT FROM g.volume)""",
    },
    {
        "check": "gold.metrics_reconcile_with_daily",
        "rule": "there are metrics of every day, made of its close",
        "of": "gold.stock_metrics",
        "sql": """SELECT coalesce(d.symbol, m.symbol) AS symbol, coalesce(d.trade_date, m.trade_date) AS trade_date,
                         d.close AS daily_close, m.close AS metrics_close
                  FROM lake.gold.stock_daily AS d
                  FULL JOIN lake.gold.stock_metrics AS m ON m.symbol = d.symbol AND m.trade_date = d.trade_date
                  WHERE d.close IS DISTINCT FROM m.close""",
    },
]

COUNTED = [
    "bronze.stock_trades",
    "bronze.stock_trades_dlq",
    "bronze.stock_ingest",
    "silver.stock_trades",
    "gold.stock_daily",
    "gold.stock_metrics",
]

REJECTS = "SELECT reason, sum(rejected) AS rejected FROM lake.silver.stock_rejects GROUP BY reason ORDER BY reason"


class QueryFailed(Exception):
    """A query gave no result; the text says why."""


def query(sql):
    """The rows of a query on the lake, each a dictionary."""
    command = ["windlass-tasks", "lake", "query", sql, "--format", "json"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=QUERY_SECONDS_MAX, check=False)
    except FileNotFoundError:
        raise QueryFailed("the program windlass-tasks is not on PATH") from None
    except subprocess.TimeoutExpired:
        raise QueryFailed(f"no answer within {QUERY_SECONDS_MAX} s") from None
    if done.returncode != 0:
        reasons = [line for line in done.stderr.splitlines() if line.strip()]
        raise QueryFailed(reasons[-1] if reasons else f"windlass-tasks ended with status {done.returncode}")
    try:
        return json.loads(done.stdout or "[]")
    except ValueError as error:
        raise QueryFailed(f"windlass-tasks did not print JSON: {error}") from None


def count(table):
    """How many rows a table has; none when it can not be read."""
    try:
        return query(f"SELECT count(*) AS rows FROM lake.{table}")[0]["rows"]
    except (QueryFailed, LookupError):
        return None


def run_check(check, counts):
    """How one check went: how many rows were looked at, how many break the rule, and the first of them."""
    outcome = {"check": check["check"], "rule": check["rule"], "passed": False}
    outcome["rows_checked"] = counts.get(check["of"])
    try:
        rows = query(f"SELECT * FROM ({check['sql']}) AS offending LIMIT {ROWS_SHOWN + 1}")
        failing = len(rows)
        if failing > ROWS_SHOWN:
            failing = query(f"SELECT count(*) AS rows FROM ({check['sql']}) AS offending")[0]["rows"]
    except QueryFailed as error:
        return outcome | {"error": str(error), "rows_failing": None, "rows": []}
    return outcome | {"passed": not rows, "rows_failing": failing, "rows": rows[:ROWS_SHOWN]}


def rejects():
    """How many records silver refused, by reason."""
    try:
        return {row["reason"]: row["rejected"] for row in query(REJECTS)}
    except (QueryFailed, LookupError):
        return {}


def checks_of_file(path):
    """The statements of a file as checks. Only what stands between semicolons at the ends of lines is told apart."""
    checks, said, lines = [], {}, []
    for line in pathlib.Path(path).read_text(encoding="utf-8").splitlines() + [";"]:
        words = line.strip()
        if words.startswith("--"):
            name, colon, text = words.lstrip("- ").partition(":")
            if colon and name in ("check", "rule", "of"):
                said[name] = text.strip()
            continue
        lines.append(line.rstrip())
        if not words.endswith(";"):
            continue
        statement = "\n".join(lines).strip().rstrip(";").strip()
        if statement:
            name = said.get("check", f"{path} #{len(checks) + 1}")
            checks.append({"check": name, "rule": said.get("rule", name), "of": said.get("of"), "sql": statement})
        said, lines = {}, []
    return checks


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


def number(rows):
    """A count for people."""
    return "?" if rows is None else format(rows, ",")


def show_check(outcome):
    """Print one check, with the first rows that break it below."""
    counts = f"{number(outcome['rows_failing'])} of {number(outcome['rows_checked'])} rows break it"
    print(f"{'passed' if outcome['passed'] else 'FAILED'}  {outcome['check']}: {outcome['rule']}  ({counts})")
    if "error" in outcome:
        print(f"        could not be checked: {outcome['error']}")
    if not outcome["rows"]:
        return
    print("\n".join(table(outcome["rows"], " " * 8)))
    if outcome["rows_failing"] > len(outcome["rows"]):
        print(f"        … and {outcome['rows_failing'] - len(outcome['rows']):,} more")


def show_counts(counts, rejected):
    """Print how many rows each layer has, and what silver refused."""
    print("\nRows")
    for name, rows in counts.items():
        print(f"  {name:<24} {'can not be read' if rows is None else format(rows, ','):>16}")
    print("\nRejected by silver")
    for reason, records in rejected.items():
        print(f"  {reason:<48} {records:>12,}")
    if not rejected:
        print("  nothing")


def report(files):
    """Check, print, and give the report as a JSON value."""
    checks = CHECKS + [check for path in files for check in checks_of_file(path)]
    print(f"Quality report: {len(checks)} checks\n")
    tables = COUNTED + sorted({check["of"] for check in checks if check["of"]} - set(COUNTED))
    counts = {name: count(name) for name in tables}
    outcomes = []
    for check in checks:
        outcome = run_check(check, counts)
        show_check(outcome)
        outcomes.append(outcome)
    rejected = rejects()
    show_counts(counts, rejected)
    failed = [outcome["check"] for outcome in outcomes if not outcome["passed"]]
    print(f"\n{len(failed)} of {len(outcomes)} checks failed" if failed else f"\nAll {len(outcomes)} checks passed")
    at = datetime.now(timezone.utc).isoformat(timespec="seconds")
    return {
        "at": at,
        "run_id": os.environ.get("WINDLASS_RUN_ID"),
        "checks": len(outcomes),
        "failed": failed,
        "results": outcomes,
        "rows": counts,
        "rejected": rejected,
    }


def fitting(value):
    """The report, without the offending rows when it would be too large to be handed on."""
    if len(json.dumps(value)) <= REPORT_BYTES_MAX:
        return value
    return value | {"results": [outcome | {"rows": []} for outcome in value["results"]]}


def hand_on(value):
    """Leave the report for other tasks of the run, even when this one then fails. By hand there is nobody to leave it to."""
    if windlass is not None:
        windlass.xcom_push("quality_report", value)


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


def complaint(value):
    """Which checks failed, and why, in a line."""
    reasons = []
    for outcome in value["results"]:
        if outcome["passed"]:
            continue
        if "error" in outcome:
            reasons.append(f"{outcome['check']} could not be checked: {outcome['error']}")
        else:
            first = ", ".join(f"{name}={shown(cell)}" for name, cell in outcome["rows"][0].items())
            reasons.append(f"{outcome['check']}: {outcome['rows_failing']} rows, first {first}")
    return f"{len(reasons)} of {value['checks']} checks failed: " + "; ".join(reasons)


# The module `windlass` reads the variable of this name as what the task returns.
full = report(sys.argv[1:])
result = fitting(full)
hand_on(result)
try:
    keep(full)
except OSError as error:
    print(f"The report could not be kept as a file: {error}")
if full["failed"]:
    if windlass is not None:
        # The task's page shows this as its reason.
        windlass.fail(complaint(full))
    sys.exit(complaint(full))
