"""The quality report of the stock pipeline: is what silver and gold hold complete, unique and plausible?

Every check is a query that gives the rows that break it. The queries run on the lake through `windlass-tasks lake query`.
The report is printed, handed on as the task's result, and the exit status is 1 when a check fails.

By hand: `python3 quality_report.py [FILE.sql …]`; the statements of the files are further checks.
"""

import json
import pathlib
import subprocess
import sys

# A single query is never allowed to hold up the report for longer.
QUERY_SECONDS_MAX = 300
# So many offending rows are shown of a check; a query is asked for one more, to know whether there are others.
ROWS_SHOWN = 10

CHECKS = [
    (
        "silver: no trade without its values",
        """SELECT trade_id, symbol, ts, price, size FROM lake.silver.stock_trades
           WHERE trade_id IS NULL OR symbol IS NULL OR ts IS NULL OR price IS NULL OR size IS NULL""",
    ),
    (
        "silver: each trade once",
        """SELECT trade_id, count(*) AS copies FROM lake.silver.stock_trades
           GROUP BY trade_id HAVING count(*) > 1""",
    ),
    (
        "silver: prices and sizes above zero",
        """SELECT trade_id, symbol, price, size FROM lake.silver.stock_trades
           WHERE NOT (price > 0 AND price < 1E9 AND size > 0)""",
    ),
    (
        "silver: every record of the ledger is a trade or was rejected",
        """SELECT arrived, kept, rejected FROM (
               SELECT
                   (SELECT coalesce(sum(rows), 0) FROM lake.bronze.stock_ingest) AS arrived,
                   (SELECT count(*) FROM lake.silver.stock_trades) AS kept,
                   (SELECT coalesce(sum(rejected), 0) FROM lake.silver.stock_rejects) AS rejected
           ) AS totals WHERE arrived <> kept + rejected""",
    ),
    (
        "gold: each symbol and day once",
        """SELECT symbol, trade_date, count(*) AS copies FROM lake.gold.stock_daily
           GROUP BY symbol, trade_date HAVING count(*) > 1""",
    ),
    (
        "gold: prices of a day in order",
        """SELECT symbol, trade_date, open, high, low, close, vwap FROM lake.gold.stock_daily
           WHERE NOT (low <= open AND open <= high AND low <= close AND close <= high
                      AND vwap >= low * 0.999999999 AND vwap <= high * 1.000000001
                      AND volume > 0 AND trade_count > 0)""",
    ),
    (
        "gold: every day agrees with silver",
        """SELECT coalesce(s.symbol, g.symbol) AS symbol, coalesce(s.trade_date, g.trade_date) AS trade_date,
                  s.trades AS silver_trades, g.trade_count AS gold_trades, s.volume AS silver_volume, g.volume AS gold_volume
           FROM (SELECT symbol, CAST(ts AS date) AS trade_date, count(*) AS trades, sum(size) AS volume
                 FROM lake.silver.stock_trades GROUP BY symbol, CAST(ts AS date)) AS s
           FULL JOIN lake.gold.stock_daily AS g ON g.symbol = s.symbol AND g.trade_date = s.trade_date
           WHERE (s.trades IS DISTINCT FROM g.trade_count) OR (s.volume IS DISTINCT FROM g.volume)""",
    ),
    (
        "gold: metrics for every day, from its close",
        """SELECT coalesce(d.symbol, m.symbol) AS symbol, coalesce(d.trade_date, m.trade_date) AS trade_date,
                  d.close AS daily_close, m.close AS metrics_close
           FROM lake.gold.stock_daily AS d
           FULL JOIN lake.gold.stock_metrics AS m ON m.symbol = d.symbol AND m.trade_date = d.trade_date
           WHERE d.close IS DISTINCT FROM m.close""",
    ),
]

COUNTED = [
    "bronze.stock_trades",
    "bronze.stock_trades_dlq",
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


def run_check(name, sql):
    """One line of the report: the check, how it went, and the rows that break it."""
    try:
        rows = query(f"SELECT * FROM ({sql}) AS offending LIMIT {ROWS_SHOWN + 1}")
    except QueryFailed as error:
        return {"check": name, "passed": False, "error": str(error), "rows": []}
    return {"check": name, "passed": not rows, "rows": rows}


def count(table):
    """How many rows a table has; none when it can not be read."""
    try:
        return query(f"SELECT count(*) AS rows FROM lake.{table}")[0]["rows"]
    except (QueryFailed, LookupError):
        return None


def rejects():
    """How many records silver refused, by reason."""
    try:
        return {row["reason"]: row["rejected"] for row in query(REJECTS)}
    except (QueryFailed, LookupError):
        return {}


def checks_of_file(path):
    """The statements of a file as checks. Only what stands between semicolons at the ends of lines is told apart."""
    text = pathlib.Path(path).read_text(encoding="utf-8")
    lines = [line for line in text.splitlines() if not line.lstrip().startswith("--")]
    statements = [part.strip() for part in ("\n".join(lines) + "\n").split(";\n")]
    statements = [statement.rstrip(";") for statement in statements if statement]
    return [(f"{path} #{number}", statement) for number, statement in enumerate(statements, start=1)]


def show_check(outcome):
    """Print one check, with the rows that break it below."""
    print(f"{'passed' if outcome['passed'] else 'FAILED'}  {outcome['check']}")
    if "error" in outcome:
        print(f"        could not be checked: {outcome['error']}")
    for row in outcome["rows"][:ROWS_SHOWN]:
        print("        " + ", ".join(f"{name}={value}" for name, value in row.items()))
    if len(outcome["rows"]) > ROWS_SHOWN:
        print(f"        … and more than these {ROWS_SHOWN} rows")


def show_counts(counts, rejected):
    """Print how many rows each layer has, and what silver refused."""
    print("\nRows")
    for table, rows in counts.items():
        print(f"  {table:<24} {'can not be read' if rows is None else format(rows, ','):>16}")
    print("\nRejected by silver")
    for reason, records in rejected.items():
        print(f"  {reason:<48} {records:>12,}")
    if not rejected:
        print("  nothing")


def report(files):
    """Check, print, and give the report as a JSON value."""
    checks = CHECKS + [check for path in files for check in checks_of_file(path)]
    print(f"Quality report: {len(checks)} checks\n")
    outcomes = []
    for name, sql in checks:
        outcome = run_check(name, sql)
        show_check(outcome)
        outcomes.append(outcome)
    counts = {table: count(table) for table in COUNTED}
    rejected = rejects()
    show_counts(counts, rejected)
    failed = [outcome["check"] for outcome in outcomes if not outcome["passed"]]
    print(f"\n{len(failed)} of {len(outcomes)} checks failed" if failed else f"\nAll {len(outcomes)} checks passed")
    return {"checks": len(outcomes), "failed": failed, "rows": counts, "rejected": rejected}


def hand_on(value):
    """Leave the report for other tasks of the run, even when this one then fails. By hand there is nobody to leave it to."""
    try:
        import windlass
    except ImportError:
        return
    windlass.xcom_push("quality_report", value)


# The module `windlass` reads the variable of this name as what the task returns.
result = report(sys.argv[1:])
hand_on(result)
if result["failed"]:
    sys.exit(1)
