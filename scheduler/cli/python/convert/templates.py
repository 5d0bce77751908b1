"""Jinja in texts: which names Windlass's templates have, and what to write in place of the others."""

import re

NAMES = {
    "dag", "dag_run", "task", "ti", "task_instance", "run_id", "try_number", "map_index", "params", "conf", "var", "conn",
    "macros", "test_mode", "task_instance_key_str", "data_interval_start", "data_interval_end", "logical_date", "ds",
    "ds_nodash", "ts", "ts_nodash", "ts_nodash_with_tz", "prev_data_interval_start_success",
    "prev_data_interval_end_success", "prev_start_date_success", "prev_end_date_success", "loop", "range", "dict",
    "namespace", "response", "value", "row", "message",
}  # fmt: skip
WORDS = {
    "and", "or", "not", "in", "is", "if", "else", "elif", "endif", "for", "endfor", "set", "endset", "true", "false",
    "none", "True", "False", "None", "recursive", "macro", "endmacro", "call", "endcall", "filter", "endfilter",
    "raw", "endraw", "with", "endwith", "do", "defined", "undefined", "even", "odd", "string", "number", "mapping",
    "sequence", "iterable", "divisibleby", "sameas", "eq", "ne", "lt", "gt", "le", "ge", "ignore", "missing",
}  # fmt: skip
TAGS = {"if", "elif", "else", "endif", "for", "endfor", "set", "endset", "macro", "endmacro", "raw", "endraw", "with",
        "endwith", "filter", "endfilter", "call", "endcall"}  # fmt: skip
MACROS = {"ds_add", "ds_format", "datetime", "timedelta", "json", "uuid", "random"}
FILTERS = {
    "abs", "attr", "batch", "bool", "capitalize", "default", "d", "dictsort", "escape", "e", "first", "float", "format",
    "groupby", "indent", "int", "items", "join", "last", "length", "count", "lines", "list", "lower", "map", "max",
    "min", "pprint", "reject", "rejectattr", "replace", "reverse", "round", "safe", "select", "selectattr", "slice",
    "sort", "split", "string", "sum", "title", "tojson", "trim", "truncate", "unique", "upper", "urlencode", "zip",
    "ds", "ds_nodash", "ts", "ts_nodash", "ts_nodash_with_tz", "quote", "unquoted",
}  # fmt: skip
# Names that Airflow 3 has no more, with what means the same.
OLD = {
    "execution_date": "logical_date",
    "yesterday_ds": "macros.ds_add(ds, -1)",
    "tomorrow_ds": "macros.ds_add(ds, 1)",
    "yesterday_ds_nodash": "(macros.ds_add(ds, -1) | ds_nodash)",
    "tomorrow_ds_nodash": "(macros.ds_add(ds, 1) | ds_nodash)",
}
TI = {
    "xcom_pull", "dag_id", "task_id", "run_id", "map_index", "try_number", "max_tries", "id",
}  # fmt: skip
CLOSING = {"{{": "}}", "{%": "%}", "{#": "#}"}
# A longer expression, or a text with more to look at, is nothing that people have written.
EXPRESSION_MAX = 10_000
LOOKED_AT_MAX = 200_000
TOKENS = re.compile(
    r"""(?P<text>"(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*')|(?P<name>[A-Za-z_]\w*)|(?P<number>\d[\w.]*)|(?P<sign>[^\s\w])""",
    re.DOTALL,
)


def has_template(text):
    return "{{" in text or "{%" in text


PULLED = re.compile(
    r"""xcom_pull\(\s*(?:task_ids\s*=\s*)?(?P<task>'[^']*'|"[^"]*")\s*,\s*key\s*=\s*(?P<key>'[^']*'|"[^"]*")\s*,?\s*\)"""
)


def pieces(text):
    """The text in pieces: what opens each (nothing for plain text), and the piece itself."""
    found, at = [], 0
    while True:
        openings = [(start, mark) for start, mark in ((text.find(mark, at), mark) for mark in CLOSING) if start >= 0]
        start, mark = min(openings) if openings else (-1, "")
        end = text.find(CLOSING[mark], start + 2) if start >= 0 else -1
        if end < 0:
            return [*found, ("", text[at:])]
        found += [("", text[at:start]), (mark, text[start : end + 2])]
        at = end + 2


def converted(text, params, say, whole=()):
    """The text as Windlass's templates take it; `say(words)` is called with each thing that they do not have. `whole` are
    tasks whose keys are parts of what they return."""
    if not has_template(text):
        return text
    if len(text) > LOOKED_AT_MAX:
        say(f"its template has more than {LOOKED_AT_MAX} characters and was not looked at")
        return text
    parts = [(mark, replace_old(part) if mark in ("{{", "{%") else part) for mark, part in pieces(text)]
    if whole:
        parts = [
            (mark, PULLED.sub(lambda pulled: part_of(pulled, whole), part) if mark else part) for mark, part in parts
        ]
    tags = [inner(part) for mark, part in parts if mark == "{%"]
    local = set().union(*(locals_of(tag) for tag in tags)) if tags else set()
    for mark, part in parts:
        if mark not in ("{{", "{%"):
            continue
        code = inner(part)
        if mark == "{%":
            keyword = code.strip().split(None, 1)[0] if code.strip() else ""
            if keyword not in TAGS:
                say(f"the tag {{% {keyword[:40]} %}} is not there in templates")
                continue
        if len(code) > EXPRESSION_MAX:
            say(f"an expression of its template has more than {EXPRESSION_MAX} characters and was not looked at")
            continue
        check(code, local, params, say)
    return "".join(part for _, part in parts)


def inner(part):
    """What stands between the marks."""
    return part[2:-2].strip("-+")


def part_of(pulled, whole):
    """`xcom_pull(task_ids='t', key='k')` as a part of what the task returns."""
    if pulled["task"][1:-1] not in whole or pulled["key"][1:-1] == "return_value":
        return pulled.group(0)
    return f"xcom_pull(task_ids={pulled['task']})[{pulled['key']}]"


def replace_old(part):
    """The piece with names that Airflow has no more replaced."""
    if len(part) > EXPRESSION_MAX or not any(name in part for name in OLD):
        return part
    out, before, at = [], "", 0
    for token in TOKENS.finditer(part):
        name = token.group("name")
        out.append(part[at : token.start()])
        out.append(OLD[name] if name in OLD and before != "." else token.group(0))
        before, at = token.group(0), token.end()
    return "".join([*out, part[at:]])


def locals_of(tag):
    """Names that `set`, `for` and `macro` make."""
    words = tag.strip().split(None, 1)
    if len(words) < 2:
        return set()
    if words[0] == "for":
        return set(re.findall(r"\w+", words[1].split(" in ", 1)[0]))
    if words[0] in ("set", "with"):
        return set(re.findall(r"\w+", words[1].split("=", 1)[0]))
    if words[0] == "macro":
        return set(re.findall(r"\w+", words[1]))
    return set()


def check(code, local, params, say):
    tokens = [match for match in TOKENS.finditer(code)]
    for index, token in enumerate(tokens):
        name = token.group("name")
        if name is None:
            continue
        before = tokens[index - 1].group(0) if index else ""
        after = [one.group(0) for one in tokens[index + 1 : index + 6]]
        if before == ".":
            continue
        if before == "|":
            if name not in FILTERS:
                say(f"the filter `{name}` is not there in templates")
            continue
        is_keyword = after[:1] == ["="] and after[1:2] != ["="] and before in ("(", ",")
        if name in WORDS or name in local or is_keyword:
            continue
        if name not in NAMES:
            say(f"the name `{name}` is not there in templates")
            continue
        member(name, after, params, say)


def member(name, after, params, say):
    """`params.x`, `macros.x`, `ti.x`."""
    attribute = after[1] if after[:1] == ["."] and len(after) > 1 else None
    if attribute is None and after[:1] == ["["] and len(after) > 2 and after[2] == "]":
        attribute = after[1].strip("'\"") if after[1][:1] in "'\"" else None
    if attribute is None:
        return
    if name == "macros" and attribute not in MACROS:
        say(f"`macros.{attribute}` is not there in templates")
    if name in ("ti", "task_instance") and attribute not in TI:
        say(f"`{name}.{attribute}` is not there in templates")
    if name == "task" and attribute not in ("task_id", "dag_id"):
        say(f"`task.{attribute}` is not there in templates")
    if name == "conf":
        say(f"`conf` is the run's conf here, not Airflow's configuration; `conf.{attribute}` may not be there")
    if (
        name == "params"
        and params is not None
        and attribute not in params
        and attribute not in ("get", "items", "keys", "values")
    ):
        say(f"the DAG has no param {attribute!r}, and a template that names one fails; declare it below params")
