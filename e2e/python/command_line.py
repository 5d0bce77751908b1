"""Goes through every command of Airflow's own airflowctl, unmodified, and prints what it did not expect.

Usage: command_line.py URL USER PASSWORD. The server has the DAG `etl` of e2e/tests/it/rest_client.rs.

The program is started once, for the login; its other commands run in this process, which has it loaded already.
"""

import contextlib
import io
import json
import os
import re
import subprocess
import sys
import tempfile
import time
import traceback
from pathlib import Path

URL, USER, PASSWORD = sys.argv[1:4]
SECONDS_MAX = 60
DAG, RUN = "etl", "by_ctl"

home = tempfile.TemporaryDirectory()
# Without a keyring the tool keeps its token in a file.
os.environ.update(AIRFLOW_HOME=home.name, AIRFLOW_CLI_DEBUG_MODE="true", NO_COLOR="1", COLUMNS="400")

from airflowctl.__main__ import main as airflowctl  # noqa: E402, it reads the environment when it is loaded

failures = []
calls = 0


def run(*arguments):
    """Runs one command; its end and all that it said."""
    global calls
    calls += 1
    said = io.StringIO()
    sys.argv = ["airflowctl", *arguments]
    code = 0
    with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
        try:
            airflowctl()
        except SystemExit as end:
            code = end.code if isinstance(end.code, int) else int(end.code is not None)
            if isinstance(end.code, str):
                print(end.code)
        except Exception:  # What the tool does not catch ends it with a traceback, as here.
            code = 1
            traceback.print_exc()
    return code, said.getvalue()


def works(*arguments, has=""):
    """A command that is to succeed, and what it is to say."""
    code, said = run(*arguments)
    if code != 0 or has not in said:
        failures.append(f"{' '.join(arguments)}: {code}, expected {has!r}: {said[-800:]}")
    return said


def refused(*arguments, says):
    """A command that is to be refused with these words."""
    code, said = run(*arguments)
    flat = " ".join(said.split())
    if code == 0 or says not in flat:
        failures.append(f"{' '.join(arguments)}: {code}, expected a refusal with {says!r}: {said[-800:]}")


def broken_in_the_tool(*arguments, says):
    """A command that the tool itself can not carry out, whatever the server; named so that a mended one is noticed."""
    refused(*arguments, says=says)


def log_in():
    """Logs in by the program itself, as people do."""
    program = Path(sys.executable).with_name("airflowctl")
    login = ["auth", "login", "--api-url", URL, "--username", USER, "--password", PASSWORD]
    done = subprocess.run([program, *login], capture_output=True, text=True, timeout=SECONDS_MAX, check=False)
    if done.returncode != 0 or "Login successful" not in done.stdout:
        raise RuntimeError(f"login: {done.stdout}{done.stderr}")
    refused("auth", "login", "--api-url", URL, "--username", USER, "--password", "wrong", "--env", "bad", says="Login failed")
    works("auth", "token", "--api-url", URL, "--username", USER, "--password", PASSWORD, has="eyJ")
    works("auth", "list-envs", has="authenticated")
    works("version", "--remote", has="windlass")


def until(*arguments, has):
    """Waits until a command says something."""
    deadline = time.monotonic() + SECONDS_MAX
    while has not in run(*arguments)[1]:
        if time.monotonic() > deadline:
            raise TimeoutError(f"{' '.join(arguments)} does not say {has} within {SECONDS_MAX} s")
        time.sleep(0.2)


def in_file(name, value):
    """The name of a file that holds a value as JSON."""
    path = Path(home.name) / "files" / name
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(value))
    return str(path)


def dags():
    """DAGs, their versions and what is said of them."""
    until("dags", "list", has='"etl"')
    for command in ("get", "get-details", "list-version", "next-execution"):
        works("dags", command, DAG, has="2026-" if command == "next-execution" else '"dag_id": "etl"')
    works("dags", "get-version", DAG, "1", has='"version_number": "1"')
    refused("dags", "get", "nosuch", says="`nosuch` was not found")
    for command, word in (("pause", "True"), ("unpause", "False")):
        works("dags", command, DAG, has=f'"is_paused": "{word}"')
    works("dags", "update", DAG, "--is-paused", has='"is_paused": "True"')
    works("dags", "update", DAG, "--no-is-paused", has='"is_paused": "False"')
    works("dags", "list-import-errors", has="[]")
    works("dags", "list-warning", has="[]")
    refused("dags", "get-import-error", "1", says="was not found")
    # It asks for DAGs that are called by single letters.
    works("dags", "get-stats", DAG, has="[]")
    broken_in_the_tool("dags", "get-tags", says="non-dictionary data")


def runs():
    """Runs, and values that tasks leave."""
    works("dags", "trigger", DAG, "--dag-run-id", RUN, "--note", "by the tool", has='"state": "queued"')
    refused("dags", "trigger", DAG, "--dag-run-id", RUN, says="already exists")
    broken_in_the_tool("dags", "trigger", DAG, "--conf", '{"alpha": 2}', says="invalid dict value")
    until("dagrun", "get", DAG, RUN, has='"state": "success"')
    works("dagrun", "list", has=RUN)
    works("dagrun", "list", "--dag-id", DAG, "--state", "success", "--limit", "100", has=RUN)
    broken_in_the_tool("dagrun", "list", "--dag-id", DAG, "--start-date", "2026-11-01", says="invalid datetime value")
    xcom = [DAG, RUN, "extract"]
    works("xcom", "add", *xcom, "seen", "[1, 2]", has='"key": "seen"')
    works("xcom", "list", *xcom, has='"key": "seen"')
    works("xcom", "get", *xcom, "seen", has='"value": ["1", "2"]')
    works("xcom", "edit", *xcom, "seen", "2", has='"value": "2"')
    works("xcom", "delete", *xcom, "seen", has='"delete"')


def settings():
    """Variables, connections and pools."""
    works("variables", "create", "--key", "k", "--value", "v", has='"value": "v"')
    works("variables", "update", "--key", "k", "--value", "w", has='"value": "w"')
    works("variables", "get", "k", has='"value": "w"')
    works("variables", "list", has='"key": "k"')
    file = in_file("variables.json", {"k": "z", "other": {"value": "1", "description": "d"}})
    works("variables", "import", file, "-a", "overwrite", has="Import successful")
    refused("variables", "import", file, "-a", "fail", says="already exist")
    works("variables", "delete", "k", has='"delete"')

    db = ["--connection-id", "db", "--conn-type", "postgres"]
    works("connections", "create", *db, "--host", "h", "--password", "canary", "--port", "5432", has='"password": "***"')
    works("connections", "update", *db, "--host", "other", has='"host": "other"')
    works("connections", "get", "db", has='"password": "***"')
    works("connections", "list", has='"connection_id": "db"')
    file = in_file("connections.json", {"web": {"conn_type": "http", "host": "x"}})
    works("connections", "import", file, "-a", "skip", has="Successfully imported")
    refused("connections", "test", *db, says="Testing connections is disabled")
    broken_in_the_tool("connections", "create-defaults", says="NoneType")
    works("connections", "delete", "db", has='"delete"')

    works("pools", "create", "--name", "p", "--slots", "3", "--description", "d", has='"slots": "3"')
    works("pools", "update", "--pool", "p", "--slots", "4", "--include-deferred", has='"slots": "4"')
    works("pools", "get", "p", has='"slots": "4"')
    works("pools", "list", has="default_pool")
    file = in_file("pools.json", [])
    works("pools", "export", file, has="Exported 2")
    works("pools", "import", file, "-a", "overwrite", has="default_pool")
    works("pools", "delete", "p", has='"delete"')


def the_rest():
    """What a server tells of itself, and what waits for features."""
    works("jobs", "list", has="SchedulerJob")
    for command in (["providers", "list"], ["plugins", "list"], ["plugins", "list-import-errors"]):
        works(*command, has="[]")
    for command in (["get", "core", "x"], ["list"], ["lint"]):
        refused("config", *command, says="chose not to expose the configuration")

    works("backfill", "list", DAG, has="[]")
    refused("backfill", "get", "1", says="Backfill with id 1 not found")
    span = ["--dag-id", DAG, "--from-date", "2026-11-02", "--to-date", "2026-11-04"]
    made = re.search(r'"id": "?(\d+)', works("backfill", "create", *span, has="2026-11-02"))[1]
    works("backfill", "get", made, has="2026-11-04")
    broken_in_the_tool("backfill", "create-dry-run", *span, says="")
    deadline = time.monotonic() + SECONDS_MAX
    while "null" in works("backfill", "get", made) and time.monotonic() < deadline:
        time.sleep(0.2)
    for command in ("pause", "unpause", "cancel"):
        broken_in_the_tool("backfill", command, "1", says="Method Not Allowed")

    for command in (["list"], ["list-by-alias"], ["get-queued-events", "1"]):
        works("assets", *command, has="[]")
    refused("assets", "get", "1", says="The Asset with ID: `1` was not found")
    refused("assets", "get-dag-queued-event", DAG, "1", says="was not found")
    broken_in_the_tool("assets", "get-by-alias", "a", says="int_parsing")
    broken_in_the_tool("assets", "get-dag-queued-events", DAG, "x", says="valid datetime")
    refused("assets", "create-event", "--asset-id", "1", says="The Asset with ID: `1` was not found")
    refused("assets", "materialize", "1", says="was not found")
    for command in (["delete-queued-events", "1"], ["delete-dag-queued-events", DAG, "x"], ["delete-queued-event", DAG, "1"]):
        broken_in_the_tool("assets", *command, says="API route not found")
    works("dags", "delete", DAG, has='"delete"')


def main():
    log_in()
    for part in (dags, runs, settings, the_rest):
        try:
            part()
        except Exception as error:  # What is not tried any more is a failure, too.
            failures.append(f"{part.__name__}: {type(error).__name__}: {error}")
    for failure in failures:
        print(failure)
    print(f"{calls} calls, {len(failures)} failures")
    sys.exit(1 if failures else 0)


main()
