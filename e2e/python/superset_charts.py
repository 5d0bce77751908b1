"""Asks Superset for the data of every chart of the stock dashboard, and compares with what Trino itself says.

Makes the gold tables first when they are empty: closes from the expected days, the metrics by the shipped model.
Needs SUPERSET_URL, SUPERSET_ADMIN_PASSWORD and TRINO (http://host:port); the standard library is enough.
"""

import csv
import json
import os
import re
import urllib.error
import urllib.request
from pathlib import Path

PROJECT = Path(__file__).resolve().parents[2]
GOLD = PROJECT / "dags/sql/stock"
SUPERSET = os.environ["SUPERSET_URL"]
TRINO = os.environ["TRINO"]
# Of each symbol: enough for the windows of 20 days, little enough for one statement.
DAYS = 60


def ask(url, body=None, headers=None):
    data = body if isinstance(body, (bytes, type(None))) else json.dumps(body).encode()
    # A type without a body is refused.
    kind = {} if data is None else {"Content-Type": "application/json"}
    request = urllib.request.Request(url, data, {**kind, **(headers or {})})
    try:
        with urllib.request.urlopen(request, timeout=120) as answer:
            return json.load(answer)
    except urllib.error.HTTPError as error:
        raise SystemExit(f"{url} answered {error.code}: {error.read().decode()[:2000]}") from None


def trino(sql):
    rows, page = [], ask(f"{TRINO}/v1/statement", sql.encode(), {"X-Trino-User": "test"})
    while True:
        if "error" in page:
            raise SystemExit(f"Trino refuses {sql[:200]}: {page['error']['message']}")
        rows += page.get("data", [])
        if "nextUri" not in page:
            return rows
        page = ask(page["nextUri"])


def statements(model):
    """A model's statements as the sql operator would send them in a run that is not a full refresh."""
    text = re.sub(r"--.*", "", (GOLD / model).read_text()).replace("{{ params.full_refresh }}", "false")
    return [statement for statement in text.split(";") if statement.strip()]


def last_days():
    """The newest days of each symbol as literals in the order of stock_daily's columns."""
    by_symbol = {}
    with open(PROJECT / "dags/data/stocks/expected_daily.csv") as file:
        for row in csv.DictReader(file):
            by_symbol.setdefault(row["symbol"], []).append(row)
    for rows in by_symbol.values():
        for row in rows[-DAYS:]:
            prices = [f"DOUBLE '{row[name]}'" for name in ("open", "high", "low", "close")]
            # The file has no vwap; no chart shows it.
            yield f"('{row['symbol']}', DATE '{row['trade_date']}', {', '.join(prices)}, {row['volume']}, {prices[3]}, {row['trade_count']}, 1)"


def fill():
    for model in ("gold_daily.sql", "gold_metrics.sql"):
        for statement in statements(model):
            if statement.lstrip().startswith("CREATE"):
                trino(statement)
    if trino("SELECT count(*) FROM lake.gold.stock_daily") == [[0]]:
        trino(f"INSERT INTO lake.gold.stock_daily VALUES {', '.join(last_days())}")
    if trino("SELECT count(*) FROM lake.gold.stock_metrics") == [[0]]:
        trino(statements("gold_metrics.sql")[-1])


class Superset:
    def __init__(self):
        login = {"username": "admin", "password": os.environ["SUPERSET_ADMIN_PASSWORD"], "provider": "db"}
        token = ask(f"{SUPERSET}/api/v1/security/login", login)["access_token"]
        self.headers = {"Authorization": f"Bearer {token}"}

    def get(self, path):
        return ask(f"{SUPERSET}/api/v1/{path}", headers=self.headers)

    def rows(self, chart):
        """What the chart's stored query gives, straight from Trino and whole."""
        (result,) = self.get(f"chart/{chart['id']}/data/?force=true")["result"]
        assert result["status"] == "success" and not result["error"], (chart, result["error"])
        assert result["rowcount"] > 0, f"{chart['slice_name']} has no rows"
        return result["data"]


def main():
    fill()
    superset = Superset()
    # Importing again must find what is there.
    for kind, count in {"database": 1, "dataset": 2, "chart": 7, "dashboard": 1}.items():
        assert superset.get(f"{kind}/")["count"] == count, f"not {count} of {kind}"

    charts = superset.get("dashboard/stock-market/charts")["result"]
    assert len(charts) == 7, charts
    data = {chart["slice_name"]: superset.rows(chart) for chart in charts}
    for name, rows in sorted(data.items()):
        print(f"{name}: {len(rows)} rows")

    closes = dict(trino("SELECT symbol, max_by(close, trade_date) FROM lake.gold.stock_daily GROUP BY symbol"))
    assert {row["symbol"]: row["last_close"] for row in data["Latest day"]} == closes
    for symbol, close in closes.items():
        days = [row[symbol] for row in data["Close"] if row.get(symbol) is not None]
        assert days[-1] == close, (symbol, days[-1], close)
    volume = sum(value for row in data["Volume by month"] for name, value in row.items() if name in closes and value)
    assert [[volume]] == trino("SELECT sum(volume) FROM lake.gold.stock_daily"), volume
    ((move,),) = trino("SELECT max(abs(daily_return)) FROM lake.gold.stock_metrics")
    assert abs(data["Biggest moves"][0]["daily_return"]) == move


main()
