"""Opens the stock dashboard in a browser as a person does, and looks that every chart is drawn.

What the page asks for must be what the charts' stored queries ask for. Needs SUPERSET_URL and SUPERSET_ADMIN_PASSWORD,
Chromium and chromedriver; an argument names the file for a picture.
"""

import base64
import contextlib
import json
import os
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request

SUPERSET = os.environ["SUPERSET_URL"]
# On a busy machine the first page of a new server takes most of it.
PATIENCE_SECS = 120
ARGUMENTS = [
    "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--hide-scrollbars",
    "--disable-background-networking", "--disable-component-update", "--disable-sync", "--window-size=1600,2000",
]
# By title: a canvas, or a row of a table.
DRAWN = """
return [...document.querySelectorAll('.dashboard-component-chart-holder')].map(holder => ({
  title: (holder.querySelector('.header-title, [data-test="slice-header"]') || holder).innerText.split('\\n')[0],
  marks: holder.querySelectorAll('canvas, tbody tr').length,
  alerts: [...holder.querySelectorAll('[role=alert]')].map(alert => alert.innerText),
  loading: holder.querySelectorAll('.loading').length,
}))
"""


class Browser:
    def __init__(self, server):
        self.server = server
        self.session = ""

    def call(self, method, path, body=None):
        data = None if body is None else json.dumps(body).encode()
        url = f"{self.server}{self.session}{path}"
        request = urllib.request.Request(url, data, {"Content-Type": "application/json"}, method=method)
        with urllib.request.urlopen(request, timeout=PATIENCE_SECS) as answer:
            return json.load(answer)["value"]

    def start(self, profile):
        options = {"args": [*ARGUMENTS, f"--user-data-dir={profile}"]}
        wanted = {"goog:chromeOptions": options, "goog:loggingPrefs": {"performance": "ALL"}}
        made = self.call("POST", "/session", {"capabilities": {"alwaysMatch": wanted}})
        self.session = f"/session/{made['sessionId']}"

    def script(self, text):
        return self.call("POST", "/execute/sync", {"script": text, "args": []})

    def element(self, css):
        (found,) = self.call("POST", "/element", {"using": "css selector", "value": css}).values()
        return f"/element/{found}"

    def chart_queries(self):
        """The queries that the page has posted, by the id of their chart."""
        queries = {}
        for entry in self.call("POST", "/se/log", {"type": "performance"}):
            message = json.loads(entry["message"])["message"]
            if message["method"] != "Network.requestWillBeSent":
                continue
            request = message["params"]["request"]
            if "/api/v1/chart/data" in request["url"] and "postData" in request:
                body = json.loads(request["postData"])
                queries[body["form_data"].get("slice_id")] = body["queries"]
        return queries


def until(what, condition):
    end = time.monotonic() + PATIENCE_SECS
    while time.monotonic() < end:
        with contextlib.suppress(urllib.error.URLError):
            if found := condition():
                return found
        time.sleep(0.2)
    raise SystemExit(f"not seen within {PATIENCE_SECS} s: {what}")


@contextlib.contextmanager
def chromedriver():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        driver = subprocess.Popen(["chromedriver", f"--port={port}"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        browser = Browser(f"http://127.0.0.1:{port}")
        try:
            until("chromedriver", lambda: browser.call("GET", "/status"))
            browser.start(profile)
            yield browser
            browser.call("DELETE", "")
        finally:
            driver.terminate()
            driver.wait()


def log_in(browser):
    browser.call("POST", "/url", {"url": f"{SUPERSET}/login/"})
    user = until("the form for the password", lambda: browser.element("#username"))
    browser.call("POST", f"{user}/value", {"text": "admin"})
    browser.call("POST", f"{browser.element('#password')}/value", {"text": os.environ["SUPERSET_ADMIN_PASSWORD"]})
    browser.call("POST", f"{browser.element('button[type=submit]')}/click", {})
    until("the page after the login", lambda: "/login" not in browser.call("GET", "/url"))


def all_drawn(browser):
    charts = browser.script(DRAWN)
    done = len(charts) == 7 and all(chart["alerts"] or (chart["marks"] and not chart["loading"]) for chart in charts)
    return charts if done else None


def stored_queries(browser, chart):
    stored = browser.script(
        f"const r = new XMLHttpRequest(); r.open('GET', '/api/v1/chart/{chart}', false); r.send(); return r.responseText"
    )
    return json.loads(json.loads(stored)["result"]["query_context"])["queries"]


def main():
    with chromedriver() as browser:
        log_in(browser)
        browser.call("POST", "/url", {"url": f"{SUPERSET}/superset/dashboard/stock-market/"})
        charts = until("seven drawn charts", lambda: all_drawn(browser))
        if len(sys.argv) > 1:
            with open(sys.argv[1], "wb") as picture:
                picture.write(base64.b64decode(browser.call("GET", "/screenshot")))
        for chart in charts:
            assert not chart["alerts"], chart
            print(f"{chart['title']}: drawn")
        posted = {chart: queries for chart, queries in browser.chart_queries().items() if chart}
        assert len(posted) == 7, posted.keys()
        for chart, queries in posted.items():
            stored = stored_queries(browser, chart)
            for mine, theirs in zip(stored, queries, strict=True):
                asked = {key: theirs.get(key) for key in mine}
                assert mine == asked, f"chart {chart} asks for {asked}, and {mine} is stored"


main()
