"""Python's own functions, as far as DAG files use them to make ids, texts, dates and lists."""

import ast
import datetime
import json
import posixpath
import re
import textwrap

from values import Curried, File, Method, Moment, Ref, Rendered, Timetable, TooMuch, Unknown, Zone, is_literal

RANGE_MAX = 10_000
BUILTINS = {
    "range", "len", "enumerate", "zip", "sorted", "reversed", "list", "dict", "tuple", "set", "frozenset", "str", "int",
    "float", "bool", "min", "max", "sum", "any", "all", "abs", "round", "print", "map", "filter", "isinstance", "repr",
    "globals", "locals", "vars", "open", "getattr", "setattr", "hasattr", "type", "object", "super", "Exception",
    "ValueError", "TypeError", "RuntimeError", "ImportError", "KeyError", "iter", "next", "callable", "id", "exec",
    "eval", "compile", "__import__", "input", "format", "chr", "ord", "hash", "slice", "property", "staticmethod",
    "classmethod", "ConnectionError", "OSError", "StopIteration", "NotImplementedError", "AssertionError",
}  # fmt: skip
ENUMS = {
    "TriggerRule", "WeightRule", "State", "TaskInstanceState", "DagRunState", "TerminalTIState", "WeekDay",
    "DagRunType",
}  # fmt: skip
TEXT_METHODS = {
    "format", "join", "upper", "lower", "strip", "lstrip", "rstrip", "replace", "split", "rsplit", "splitlines",
    "startswith", "endswith", "title", "capitalize", "zfill", "partition", "rpartition", "removeprefix",
    "removesuffix", "count", "find", "isdigit", "encode", "decode", "ljust", "rjust", "center",
}  # fmt: skip
DURATIONS = ("days", "seconds", "microseconds", "milliseconds", "minutes", "hours", "weeks")


def attribute(ref, name):
    """`ref.name`: a value when it is a word of one of Airflow's lists."""
    path = f"{ref.path}.{name}"
    if ref.last in ENUMS and name.isupper():
        return name.title() if ref.last == "WeekDay" else name.lower()
    if ref.last in ENUMS and name.islower() and ref.last == "State":
        return name.lower()
    if path in ("datetime.timezone.utc", "datetime.UTC", "pendulum.UTC", "pytz.utc", "pytz.UTC"):
        return Zone("UTC")
    if ref.of_airflow and ref.last == "timezone" and name == "utc":
        return Zone("UTC")
    if path == "sys.executable":
        return Rendered("<sys.executable>")
    if path == "typing.TYPE_CHECKING":
        return False
    return Ref(path)


def imported(path):
    """What `from module import name` gives, when that is a value."""
    if path == "typing.TYPE_CHECKING":
        return False
    if path in ("datetime.UTC", "datetime.timezone.utc", "pytz.utc", "pytz.UTC"):
        return Zone("UTC")
    return Ref(path)


def join(*parts):
    return posixpath.normpath(posixpath.join(*parts)) if parts else ""


def is_plain_format(text):
    """Whether `%` with this text can not ask for an endless width."""
    return not re.search(r"\*|\d{4,}", text)


def moved(op, left, right):
    """Arithmetic with dates and durations; None when it is none."""
    deltas = (isinstance(left, datetime.timedelta), isinstance(right, datetime.timedelta))
    try:
        if isinstance(left, Moment) and deltas[1] and isinstance(op, (ast.Add, ast.Sub)):
            naive = left.naive + right if isinstance(op, ast.Add) else left.naive - right
            return Moment(naive, left.zone)
        if all(deltas) and isinstance(op, ast.Add):
            return left + right
        if all(deltas) and isinstance(op, ast.Sub):
            return left - right
        if any(deltas) and isinstance(op, ast.Mult):
            other = right if deltas[0] else left
            if isinstance(other, (int, float)):
                return left * right
        if deltas[0] and isinstance(op, ast.Div) and isinstance(right, (int, float)) and right:
            return left / right
    except OverflowError:
        return None
    return None


def of_file(file, name):
    base = posixpath.basename(file.text)
    if name == "stem":
        return base.rsplit(".", 1)[0] if "." in base[1:] else base
    if name == "name":
        return base
    if name == "suffix":
        return posixpath.splitext(base)[1]
    if name == "parent":
        return File(posixpath.dirname(file.text) or ".")
    return Method(file, name)


def zone_of(value):
    """A zone's name: `UTC`, `pendulum.timezone("Europe/Zurich")` or a text."""
    if isinstance(value, Zone):
        return value.name
    if isinstance(value, str):
        return value
    return None


def moment(args, kwargs, default_zone):
    """`datetime.datetime(…)`, `pendulum.datetime(…)`."""
    zone_given = kwargs.get("tzinfo", kwargs.get("tz"))
    parts = [value for value in args if isinstance(value, int) and not isinstance(value, bool)]
    if len(parts) < len(args):
        zone_given = args[-1]
        if len(parts) != len(args) - 1:
            return NotImplemented
    names = ("year", "month", "day", "hour", "minute", "second", "microsecond")
    numbers = dict(zip(names, parts))
    for name, value in kwargs.items():
        if name in names and isinstance(value, int):
            numbers[name] = value
        elif name not in ("tzinfo", "tz", "fold"):
            return NotImplemented
    zone = zone_of(zone_given) if zone_given is not None else default_zone
    if zone_given is not None and zone is None:
        return NotImplemented
    try:
        return Moment(datetime.datetime(**numbers), zone)
    except (TypeError, ValueError, OverflowError):
        return NotImplemented


def duration(args, kwargs):
    if any(not isinstance(value, (int, float)) for value in [*args, *kwargs.values()]):
        return NotImplemented
    kwargs = dict(kwargs)
    years, months = kwargs.pop("years", 0), kwargs.pop("months", 0)
    if years or months or any(name not in DURATIONS for name in kwargs):
        return NotImplemented
    try:
        return datetime.timedelta(*args, **kwargs)
    except (TypeError, OverflowError, ValueError):
        return NotImplemented


def parse_moment(text):
    try:
        found = datetime.datetime.fromisoformat(text.replace("Z", "+00:00"))
    except ValueError:
        return NotImplemented
    if found.tzinfo is None:
        return Moment(found, "UTC")
    return Moment(found.astimezone(datetime.timezone.utc).replace(tzinfo=None), "UTC")


def call(interp, node, path, args, kwargs):
    """Calls a function of Python's library, or gives `NotImplemented`."""
    if path.startswith("builtins."):
        return builtin(interp, node, path[9:], args, kwargs)
    if path in ("datetime.datetime", "datetime.datetime.datetime"):
        return moment(args, kwargs, None)
    if path in ("pendulum.datetime", "pendulum.DateTime") or path.endswith(".timezone.datetime"):
        return moment(args, kwargs, "UTC")
    if path == "pendulum.parse" and len(args) == 1 and isinstance(args[0], str):
        return parse_moment(args[0])
    if path == "datetime.datetime.strptime" and len(args) == 2 and all(isinstance(arg, str) for arg in args):
        try:
            return Moment(datetime.datetime.strptime(*args))
        except ValueError:
            return NotImplemented
    if path == "datetime.datetime.fromisoformat" and len(args) == 1 and isinstance(args[0], str):
        return parse_moment(args[0])
    if path in ("datetime.timedelta", "pendulum.duration", "pendulum.Duration"):
        return duration(args, kwargs)
    if path in ("datetime.time", "pendulum.time") and all(
        isinstance(value, int) for value in [*args, *kwargs.values()]
    ):
        try:
            return datetime.time(*args, **kwargs)
        except (TypeError, ValueError):
            return NotImplemented
    if path in ("pendulum.timezone", "pendulum.tz.timezone", "zoneinfo.ZoneInfo", "pytz.timezone"):
        return Zone(args[0]) if args and isinstance(args[0], str) else NotImplemented
    return of_modules(interp, node, path, args, kwargs)


def of_modules(interp, node, path, args, kwargs):
    texts = all(isinstance(arg, (str, File)) and not isinstance(arg, Rendered) for arg in args)
    plain = [getattr(arg, "text", arg) for arg in args]
    if path in ("pathlib.Path", "pathlib.PurePath", "pathlib.PosixPath") and texts:
        return File(join(*plain) if plain else ".")
    if path.startswith("os.path.") and texts and plain:
        name = path[8:]
        if name == "join":
            return join(*plain)
        if name in ("dirname", "basename"):
            return getattr(posixpath, name)(plain[0])
        if name in ("abspath", "realpath", "normpath"):
            return plain[0]
        if name == "splitext":
            return list(posixpath.splitext(plain[0]))
    if path in ("os.environ.get", "os.getenv") and args and isinstance(args[0], str):
        default = args[1] if len(args) > 1 else kwargs.get("default")
        interp.report.remark(
            node.lineno,
            f"the environment variable {args[0]} was read when the file was parsed; "
            + (f"its default {default!r} stands there now" if default is not None else "its value is missing now"),
            interp.owner(),
        )
        return default if default is not None else interp.unknown(node)
    if path == "textwrap.dedent" and len(args) == 1 and isinstance(args[0], str):
        return type(args[0])(textwrap.dedent(args[0]))
    if path == "inspect.cleandoc" and len(args) == 1 and isinstance(args[0], str):
        return textwrap.dedent(args[0]).strip()
    if path == "json.dumps" and args and is_literal(args[0]):
        try:
            return json.dumps(
                args[0], **{name: value for name, value in kwargs.items() if name in ("indent", "sort_keys")}
            )
        except (TypeError, ValueError):
            return NotImplemented
    if path == "json.loads" and len(args) == 1 and isinstance(args[0], str) and not isinstance(args[0], Rendered):
        try:
            return json.loads(args[0])
        except (ValueError, RecursionError):
            return NotImplemented
    if path.endswith("types.Mount"):
        return Timetable("Mount", args, kwargs)
    if path == "functools.partial" and args:
        return Curried(args[0], args[1:], kwargs)
    return NotImplemented


def builtin(interp, node, name, args, kwargs):
    known = all(not isinstance(arg, Unknown) for arg in args)
    if name == "str" and len(args) == 1:
        text = interp.as_text(args[0])
        return NotImplemented if text is None else text
    if name == "print":
        return None
    if not known:
        return next(arg for arg in args if isinstance(arg, Unknown))
    if name == "range" and args and all(isinstance(arg, int) and abs(arg) <= 10**12 for arg in args):
        try:
            numbers = range(*args)
        except (TypeError, ValueError):
            return NotImplemented
        if len(numbers) > RANGE_MAX:
            raise TooMuch(
                f"line {node.lineno}: a range has {len(numbers)} numbers; at most {RANGE_MAX} are written out"
            )
        return list(numbers)
    return of_items(interp, name, args, kwargs)


def of_items(interp, name, args, kwargs):
    if name == "dict":
        first = args[0] if args else {}
        if isinstance(first, dict):
            return {**first, **kwargs}
        if isinstance(first, list) and all(isinstance(item, tuple) and len(item) == 2 for item in first):
            return {**dict(first), **kwargs}
        return NotImplemented
    if name in ("list", "tuple", "set", "frozenset") and not args:
        return () if name == "tuple" else []
    if name in ("int", "float", "bool", "repr", "len", "abs", "round") and args:
        if not is_literal(args[0]) and not (name == "len" and isinstance(args[0], (list, tuple, dict))):
            return NotImplemented
        if isinstance(args[0], str) and len(args[0]) > 1000 and name != "len":
            return NotImplemented
        functions = {"int": int, "float": float, "bool": bool, "repr": repr, "len": len, "abs": abs, "round": round}
        try:
            return functions[name](*args)
        except (TypeError, ValueError, OverflowError):
            return NotImplemented
    lists = [interp.iterable(arg) for arg in args]
    if not args or lists[0] is None:
        return NotImplemented
    if name in ("list", "set", "frozenset"):
        return lists[0]
    if name == "tuple":
        return tuple(lists[0])
    if name == "enumerate":
        start = kwargs.get("start", args[1] if len(args) > 1 else 0)
        return (
            [(start + index, item) for index, item in enumerate(lists[0])] if isinstance(start, int) else NotImplemented
        )
    if name == "zip" and all(items is not None for items in lists):
        return [tuple(items) for items in zip(*lists)]
    if name == "reversed":
        return lists[0][::-1]
    if name in ("sorted", "min", "max", "sum") and len(args) == 1 and not kwargs and is_literal(lists[0]):
        functions = {"sorted": sorted, "min": min, "max": max, "sum": sum}
        try:
            return functions[name](lists[0])
        except (TypeError, ValueError):
            return NotImplemented
    if name in ("any", "all") and is_literal(lists[0]):
        return any(lists[0]) if name == "any" else all(lists[0])
    return NotImplemented


def call_method(interp, node, method, args, kwargs):
    """Methods of texts, lists, mappings, dates and paths."""
    owner, name = method.owner, method.name
    if isinstance(owner, str) and name in TEXT_METHODS:
        return of_text(interp, node, owner, name, args, kwargs)
    if isinstance(owner, list):
        return of_list(owner, name, args)
    if isinstance(owner, dict):
        return of_dict(owner, name, args, kwargs)
    if isinstance(owner, Moment):
        return of_moment(owner, name, args, kwargs)
    if isinstance(owner, datetime.timedelta) and name == "total_seconds":
        return owner.total_seconds()
    if isinstance(owner, File):
        if name in ("resolve", "absolute", "expanduser"):
            return owner
        if name in ("as_posix", "__str__"):
            return owner.text
        if name == "joinpath" and all(isinstance(arg, str) for arg in args):
            return File(join(owner.text, *args))
    return NotImplemented


def of_text(interp, node, text, name, args, kwargs):
    if isinstance(text, Rendered):
        return NotImplemented
    values = [*args, *kwargs.values()]
    texts = [interp.as_text(value) for value in values] if name == "format" else None
    if name == "format":
        if any(value is None for value in texts) or re.search(r"\d{4,}", text) or re.search(r"\{[^}]*[.\[]", text):
            return NotImplemented
        rendered = any(isinstance(value, Rendered) for value in texts)
        shown = dict(zip(kwargs, texts[len(args) :])) if rendered else kwargs
        shown_args = texts[: len(args)] if rendered else args
        try:
            return interp.bounded(node, (Rendered if rendered else str)(text.format(*shown_args, **shown)))
        except (KeyError, IndexError, ValueError, TypeError, AttributeError):
            return NotImplemented
    if name == "join" and len(args) == 1:
        items = [interp.as_text(item) for item in (interp.iterable(args[0]) or [None])]
        if any(item is None for item in items):
            return "" if args[0] in ([], ()) else NotImplemented
        rendered = any(isinstance(item, Rendered) for item in items)
        return interp.bounded(node, (Rendered if rendered else str)(text.join(items)))
    if not all(is_literal(value) for value in values):
        return NotImplemented
    if any(isinstance(value, int) and abs(value) > 10_000 for value in values):
        return NotImplemented
    try:
        return interp.bounded(node, getattr(text, name)(*args, **kwargs))
    except (TypeError, ValueError, AttributeError, LookupError):
        return NotImplemented


def of_list(items, name, args):
    if name == "append" and len(args) == 1:
        items.append(args[0])
        return None
    if name == "extend" and len(args) == 1 and isinstance(args[0], (list, tuple)):
        items.extend(args[0])
        return None
    if name == "insert" and len(args) == 2 and isinstance(args[0], int):
        items.insert(*args)
        return None
    if name == "pop" and items and all(isinstance(arg, int) and -len(items) <= arg < len(items) for arg in args):
        return items.pop(*args)
    if name == "add" and len(args) == 1:
        items.append(args[0])
        return None
    if name == "copy":
        return list(items)
    if name == "reverse":
        items.reverse()
        return None
    return NotImplemented


def of_dict(mapping, name, args, kwargs):
    try:
        if name == "get" and 1 <= len(args) <= 2:
            return mapping.get(*args)
        if name == "update":
            if args and not isinstance(args[0], dict):
                return NotImplemented
            mapping.update(*args, **kwargs)
            return None
        if name == "pop" and args and (args[0] in mapping or len(args) == 2):
            return mapping.pop(*args)
        if name == "setdefault" and len(args) == 2:
            return mapping.setdefault(*args)
    except TypeError:
        return NotImplemented
    if name == "items":
        return [tuple(pair) for pair in mapping.items()]
    if name == "keys":
        return list(mapping)
    if name == "values":
        return list(mapping.values())
    if name == "copy":
        return dict(mapping)
    return NotImplemented


def of_moment(owner, name, args, kwargs):
    try:
        if name in ("add", "subtract"):
            delta = args[0] if args else duration([], kwargs)
            if not isinstance(delta, datetime.timedelta):
                return NotImplemented
            return Moment(owner.naive + delta if name == "add" else owner.naive - delta, owner.zone)
        if name == "replace":
            zone = zone_of(kwargs.pop("tzinfo", None)) or owner.zone
            return Moment(owner.naive.replace(**kwargs), zone)
        if name == "strftime" and args and isinstance(args[0], str):
            return owner.naive.strftime(args[0])
        if name in ("isoformat", "to_iso8601_string"):
            return owner.naive.isoformat() + ("+00:00" if owner.zone == "UTC" else "")
        if name == "date":
            return owner
    except (TypeError, ValueError, OverflowError):
        return NotImplemented
    return NotImplemented
