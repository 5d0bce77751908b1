"""What a Python task of Windlass can use.

    from windlass import context, xcom_push, xcom_pull, skip, fail

    rows = xcom_pull(task_ids="extract")
    result = {"rows": len(rows)}        # a JSON value assigned to `result` is what the task returns

The module needs nothing but Python's standard library. It talks to the worker over a descriptor that the worker opened.
"""

import json as _json
import os as _os
import socket as _socket
import sys as _sys
import threading as _threading
import types as _types

__all__ = [
    "context", "xcom_push", "xcom_pull", "outlet_event", "inlet_events", "triggering_asset_events", "skip", "fail", "WindlassError",
]

RETURN_VALUE = "return_value"


class WindlassError(Exception):
    """The worker refused a request; the text says why."""


class _Ended(SystemExit):
    """The task has said how it ends; it passes `except Exception`."""


class _Channel:
    """One request at a time, one line each way."""

    def __init__(self):
        self._lock = _threading.Lock()
        self._stream = None

    def ask(self, **request):
        line = _json.dumps(request, allow_nan=False).encode() + b"\n"
        with self._lock:
            if self._stream is None:
                self._stream = self._open()
            self._stream.write(line)
            self._stream.flush()
            answer = self._stream.readline()
        if not answer:
            raise WindlassError("the worker does not answer")
        answer = _json.loads(answer)
        if "error" in answer:
            raise WindlassError(answer["error"])
        return answer.get("value")

    @staticmethod
    def _open():
        number = _os.environ.get("WINDLASS_TASK_FD")
        if number is None:
            raise WindlassError("this works only inside a task that Windlass runs")
        return _socket.socket(fileno=int(number)).makefile("rwb")


_channel = _Channel()

# Files whose frames are of no interest to the person who wrote the code.
_own_files = {__file__}

_DEPTH_MAX = 100
_INTEGERS = range(-(2**63), 2**64)


def _check(value, path, depth=0):
    """Raise WindlassError that says where `value` is something that would not arrive as it is."""
    if len(path) > 120:
        path = path[:60] + "…" + path[-59:]

    def refuse(what):
        raise WindlassError(f"`{path}` is no JSON value: {what}")

    if depth > _DEPTH_MAX:
        refuse(f"it is nested more than {_DEPTH_MAX} deep; pass it as text, or by a file")
    if value is None or isinstance(value, bool):
        return
    if isinstance(value, int):
        if value not in _INTEGERS:
            refuse(f"it is a whole number of {value.bit_length()} bits, and 64 are exact; pass it as text, str(…)")
    elif isinstance(value, float):
        if value != value or value in (float("inf"), float("-inf")):
            refuse(f"it is {value}, for which JSON has no form; pass None")
    elif isinstance(value, str):
        try:
            value.encode()
        except UnicodeEncodeError as error:
            code = ord(value[error.start])
            refuse(f"its character {error.start} is U+{code:04X}, half of a pair; decode the text with errors='replace'")
    elif isinstance(value, (list, tuple)):
        for index, item in enumerate(value):
            _check(item, f"{path}[{index}]", depth + 1)
    elif isinstance(value, dict):
        for key, item in value.items():
            if not isinstance(key, (str, int, float, bool, type(None))):
                refuse(f"it has a key of type {type(key).__name__}; keys are texts")
            _check(key, f"{path} key", depth + 1)
            _check(item, f"{path}[{key!r}]", depth + 1)
    else:
        refuse(f"it is of type {type(value).__name__}; pass a list, a dict, a text, a number, a truth value or None")


class _Context(dict):
    """The task instance's facts, asked for when they are first needed: context["ds"], context["params"] …"""

    _known = False

    def _load(self):
        if not self._known:
            self._known = True
            self.update(_channel.ask(op="context"))
        return self

    def __getitem__(self, key):
        return dict.__getitem__(self._load(), key)

    def __contains__(self, key):
        return dict.__contains__(self._load(), key)

    def __iter__(self):
        return dict.__iter__(self._load())

    def __len__(self):
        return dict.__len__(self._load())

    def __repr__(self):
        return dict.__repr__(self._load())

    def get(self, key, default=None):
        return dict.get(self._load(), key, default)

    def keys(self):
        return dict.keys(self._load())

    def values(self):
        return dict.values(self._load())

    def items(self):
        return dict.items(self._load())


context = _Context()


def xcom_push(key, value):
    """Leave a JSON value for other tasks of the run."""
    if not isinstance(key, str):
        raise WindlassError(f"the key of an XCom is a text, not {key!r}")
    _check(key, "key")
    _check(value, f"xcom_push({key!r})" if len(key) < 60 else "xcom_push(…)")
    _channel.ask(op="xcom_push", key=key, value=value)


def xcom_pull(task_ids=None, key=RETURN_VALUE, map_indexes=None, default=None):
    """A value that a task of the run has left; a list of task ids gives a list."""
    value = _channel.ask(op="xcom_pull", task_ids=task_ids, key=key, map_indexes=map_indexes)
    return default if value is None else value


def outlet_event(asset=None, extra=None, *, alias=None, name=None):
    """Say more of an asset that the task has written: `extra`, which consumers of the event see.

    `asset` is the uri or the name of an outlet. With `alias`, an outlet, it is the asset that was written for it.
    """
    extra = {} if extra is None else extra
    if not isinstance(extra, dict):
        raise WindlassError(f"extra is a dict, not {type(extra).__name__}")
    _check(extra, "extra")
    for what, text in (("asset", asset), ("alias", alias), ("name", name)):
        if text is not None and not isinstance(text, str):
            raise WindlassError(f"{what} is a text, not {text!r}")
    _channel.ask(op="outlet_event", uri=asset, name=name, alias=alias, extra=extra)


def inlet_events(asset=None):
    """The newest events of an inlet of the task, by its uri or name, oldest first; of all inlets a dict by uri."""
    return _events(_channel.ask(op="inlet_events"), asset)


def triggering_asset_events(asset=None):
    """The events that the run was made by: a dict by uri; of one asset, by its uri or name, a list."""
    return _events(_channel.ask(op="triggering_asset_events"), asset)


def _events(found, asset):
    if asset is None:
        return {one["uri"]: one["events"] for one in found}
    return [event for one in found if asset in (one["uri"], one["name"]) for event in one["events"]]


def skip(reason=""):
    """End the task as skipped."""
    _channel.ask(op="skip", reason=str(reason))
    raise _Ended(0)


def fail(reason=""):
    """End the task as failed, without another try."""
    _channel.ask(op="fail", reason=str(reason))
    raise _Ended(1)


def _run(script):
    """Run the script as a program and hand in its `result`."""
    with open(script, "rb") as file:
        code = compile(file.read(), script, "exec")
    # A module of its own, so that the code sees itself as `__main__` and nothing of this file.
    main = _types.ModuleType("__main__")
    main.__file__ = script
    _sys.modules["__main__"] = main
    exec(code, main.__dict__)
    result = main.__dict__.get("result")
    if result is not None:
        _check(result, "result")
        _channel.ask(op="result", value=result)


def _is_own(file):
    return file in _own_files or file.startswith("<frozen importlib")


def _main():
    script = _sys.argv[1]
    _sys.argv = _sys.argv[1:]
    try:
        _run(script)
    except Exception as error:
        import traceback

        trace = error.__traceback__
        while trace is not None and _is_own(trace.tb_frame.f_code.co_filename):
            trace = trace.tb_next
        traceback.print_exception(type(error), error, trace)
        _sys.stderr.flush()
        last = "".join(traceback.format_exception_only(type(error), error)).strip()
        if isinstance(error, SyntaxError):
            last = last.splitlines()[-1]
        try:
            _channel.ask(op="raised", reason=" ".join(last.encode(errors="replace").decode().split())[:900])
        except Exception:
            # The exit code says that it has failed.
            pass
        _sys.exit(1)


if __name__ == "__main__":
    # The script imports this file as the module `windlass`: there must be one of it.
    import windlass

    windlass._main()
