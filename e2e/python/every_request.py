"""schemathesis sends requests of every kind to every operation of the REST API, good ones and bad ones, and checks what comes
back against our own OpenAPI document. Usage: every_request.py URL USER PASSWORD SECONDS"""

import json
import subprocess
import sys
import urllib.request
from pathlib import Path

URL, USER, PASSWORD, SECONDS = sys.argv[1:]
HERE = Path(__file__).parent
SEED = "20261130"
# The first would end the session that the others use. The second is a stream that lasts as long as its run, and a run of a DAG that
# one of these requests has paused lasts for ever: webui/tests/it has its tests.
EXCLUDED = "^(logout|wait_dag_run_until_finished)$"


def ask(method: str, path: str, body: object, token: str | None = None) -> object:
    headers = {"content-type": "application/json"} | ({"authorization": f"Bearer {token}"} if token else {})
    request = urllib.request.Request(URL + path, json.dumps(body).encode(), headers, method=method)
    with urllib.request.urlopen(request, timeout=30) as answer:
        return json.load(answer)


def make_things(token: str) -> None:
    for number in range(1, 5):
        for dag in ("etl", "spare"):
            ask("POST", f"/api/v2/dags/{dag}/dagRuns", {"dag_run_id": f"r{number}", "logical_date": None}, token)
        ask("POST", "/api/v2/pools", {"name": f"p{number}", "slots": number}, token)
        ask("POST", "/api/v2/connections", {"connection_id": f"c{number}", "conn_type": "http", "host": "h"}, token)
    for key in ("v1", "v2", "a/b"):
        ask("POST", "/api/v2/variables", {"key": key, "value": {"password": "x", "host": "h"}}, token)
    xcoms = "/api/v2/dags/etl/dagRuns/r1/taskInstances/extract/xcomEntries"
    ask("POST", xcoms, {"key": "k1", "value": {"a": [1, None]}}, token)


def main() -> int:
    token = ask("POST", "/auth/token", {"username": USER, "password": PASSWORD})["access_token"]
    make_things(token)
    program = Path(sys.executable).parent / "schemathesis"
    command = [program, "--config-file", HERE / "every_request.toml", "run", f"{URL}/openapi.json"]
    # One worker: two of them make CPython's parser fail now and then ("AST constructor recursion depth mismatch").
    command += ["--header", f"Authorization: Bearer {token}", "--workers", "1", "--seed", SEED, "--max-time", SECONDS]
    command += ["--generation-database", "none", "--suppress-health-check", "all", "--warnings", "off", "--no-color"]
    command += ["--max-examples", "8", "--continue-on-failure", "--exclude-operation-id-regex", EXCLUDED]
    return subprocess.run(command, check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
