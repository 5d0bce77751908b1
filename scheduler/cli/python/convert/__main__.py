"""Reads an Airflow DAG file from standard input and writes what it becomes as JSON. The file is never executed.

Arguments: its name, `inline` or `files` (where scripts go), and what Windlass's reader has refused of an earlier answer, as
JSON: a list of [the DAG's place, mark, key, message].
"""

import ast
import io
import json
import resource
import sys
import tokenize
import warnings

from dagfile import Interpreter
from document import Document
from values import Task, TooMuch

VERSION_MIN = (3, 9)
MEMORY_MAX = 1024 * 1024 * 1024
SECONDS_MAX = 50
OUTPUT_MAX = 32 * 1024 * 1024


class Stop(Exception):
    """The file can not be converted at all."""

    def __init__(self, line, text):
        super().__init__(text)
        self.line = line
        self.text = text


def source_of(data):
    """The file's text."""
    try:
        encoding, _ = tokenize.detect_encoding(io.BytesIO(data).readline)
    except SyntaxError as error:
        words, encoding = str(error.msg or error), "utf-8"
    else:
        words = None
    try:
        text = data.decode(encoding)
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise Stop(line, f"byte {error.start} of the file is no text in {encoding}; save it as UTF-8") from None
    if words is not None:
        raise Stop(1, f"its encoding is not known: {words}")
    return text


def tree_of(data):
    try:
        return ast.parse(data)
    except SyntaxError as error:
        raise Stop(error.lineno or 1, f"this is no Python that this machine's python3 reads: {error.msg}") from None
    except ValueError as error:
        raise Stop(1, f"this is no Python: {error}") from None
    except (RecursionError, MemoryError):
        raise Stop(1, "it is nested too deeply") from None


def answer(data, name, inline, refusals):
    source = source_of(data)
    tree = tree_of(data)
    interpreter = Interpreter(name)
    try:
        dags = interpreter.follow(tree)
        lines = source.splitlines() if "\f" not in source else source.replace("\f", " ").splitlines()
        made, ids = [], set()
        for dag in dags:
            document = Document(dag, interpreter, lines, inline, refusals.get(len(made), {}))
            if document.dag_id in ids:
                interpreter.report.remark(
                    dag.line, f"there is another DAG {document.dag_id!r} in this file; this one was left out"
                )
                continue
            ids.add(document.dag_id)
            found = document.build()
            found["remarks"] = [
                [one.line, one.text, one.whole]
                for one in interpreter.report.remarks
                if one.owner is dag or (isinstance(one.owner, Task) and one.owner.dag is dag)
            ]
            made.append(found)
    except TooMuch as error:
        raise Stop(1, str(error)) from None
    except RecursionError:
        raise Stop(1, "it is nested too deeply") from None
    rest = [
        [one.line, one.text, one.whole]
        for one in interpreter.report.remarks
        if one.owner is None or (isinstance(one.owner, Task) and one.owner.dag is None)
    ]
    return {"dags": made, "remarks": rest}


def main():
    if sys.version_info < VERSION_MIN:
        raise SystemExit("Python 3.9 or newer is needed")
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_MAX, MEMORY_MAX))
    resource.setrlimit(resource.RLIMIT_CPU, (SECONDS_MAX, SECONDS_MAX))
    sys.setrecursionlimit(2500)
    warnings.simplefilter("ignore")
    name, mode, refused = sys.argv[1], sys.argv[2], json.loads(sys.argv[3] if len(sys.argv) > 3 else "[]")
    refusals = {}
    for index, mark, key, message in refused:
        refusals.setdefault(index, {}).setdefault(mark, []).append((key, message))
    data = sys.stdin.buffer.read()
    try:
        found = answer(data, name, mode == "inline", refusals)
    except Stop as stop:
        found = {"error": {"line": stop.line, "message": stop.text}}
    except MemoryError:
        found = {"error": {"line": 1, "message": "it takes too much memory"}}
    # Halves of surrogate pairs have no form in UTF-8.
    text = json.dumps(found, ensure_ascii=False).encode("utf-8", "replace")
    if len(text) > OUTPUT_MAX:
        text = json.dumps({"error": {"line": 1, "message": f"what it makes has more than {OUTPUT_MAX} bytes"}}).encode()
    sys.stdout.buffer.write(text)


if __name__ == "__main__":
    main()
