"""Values as YAML has them."""

import datetime

from values import Asset, File, Given, Moment, Param, Rendered, Task, Unknown, XCom, Zone, pull

INTEGERS = range(-(2**63), 2**64)


class NotPlain(Exception):
    """The value has no form in YAML; the text says why."""


def seconds(delta):
    """A duration as people write it: `5m`, `1h30m`, `2 days` as `48h`."""
    total = delta.total_seconds()
    if total != int(total) or total <= 0:
        return f"{total:g}s"
    rest = int(total)
    parts = []
    for unit, length in (("h", 3600), ("m", 60), ("s", 1)):
        if rest >= length:
            parts.append(f"{rest // length}{unit}")
            rest %= length
    return "".join(parts)


def duration(value):
    """A duration in any of Airflow's forms, or NotPlain."""
    if isinstance(value, datetime.timedelta):
        if value < datetime.timedelta(0):
            raise NotPlain("a duration below 0 has no form here")
        return seconds(value)
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return value
    if isinstance(value, str) and not isinstance(value, Rendered):
        return value
    raise NotPlain(why(value))


def why(value):
    if isinstance(value, Unknown):
        return value.why
    return f"a value of the kind {type(value).__name__} has no form here"


def plain(value, text=None, depth=0):
    """A value as JSON has it; `text` is what becomes of each text."""
    if depth > 30:
        raise NotPlain("it is nested too deeply")
    if isinstance(value, bool) or value is None:
        return value
    if isinstance(value, int):
        if value not in INTEGERS:
            raise NotPlain("a whole number of more than 64 bits has no form here")
        return value
    if isinstance(value, float):
        if value != value or value in (float("inf"), float("-inf")):
            raise NotPlain(f"{value} has no form here")
        return value
    if isinstance(value, Rendered) and "<sys.executable>" in value:
        raise NotPlain("`sys.executable` is Airflow's own Python")
    if isinstance(value, str):
        if "\0" in value:
            raise NotPlain("a text with a NUL has no form here")
        if any("\ud800" <= c <= "\udfff" for c in value):
            raise NotPlain("a text with half of a surrogate pair has no form here")
        return text(str(value)) if text is not None else str(value)
    if isinstance(value, datetime.timedelta):
        return duration(value)
    return of_objects(value, text, depth)


def of_objects(value, text, depth):
    if isinstance(value, (XCom, Task)):
        xcom = value if isinstance(value, XCom) else XCom(value)
        xcom.task.pulled_by = True
        return "{{ " + pull(xcom) + " }}"
    if isinstance(value, Given):
        return plain(value.value, text, depth)
    if isinstance(value, File):
        return value.text
    if isinstance(value, Zone):
        return value.name
    if isinstance(value, Moment):
        return value.naive.isoformat() + ("+00:00" if value.zone == "UTC" else "")
    if isinstance(value, datetime.time):
        return value.isoformat()
    if isinstance(value, (list, tuple, set, frozenset)):
        return [plain(item, text, depth + 1) for item in value]
    if isinstance(value, dict):
        return {key_text(key): plain(item, text, depth + 1) for key, item in value.items()}
    if isinstance(value, Param):
        return {key: plain(item, text, depth + 1) for key, item in value.schema.items()}
    if isinstance(value, Asset) and value.known():
        if value.kind == "alias":
            return {"alias": value.name}
        if value.kind in ("all", "any"):
            return {value.kind: [plain(part, text, depth + 1) for part in value.parts]}
        return {name: item for name, item in (("name", value.name), ("uri", value.uri)) if item is not None}
    raise NotPlain(why(value))


def key_text(key):
    if isinstance(key, bool) or key is None:
        return {True: "true", False: "false", None: "null"}[key]
    if isinstance(key, (str, int, float)):
        return plain(str(key))
    raise NotPlain(why(key))
