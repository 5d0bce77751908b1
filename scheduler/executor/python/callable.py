"""Calls the function of a task with what it asks for, as Airflow's PythonOperator does."""

import sys

sys.dont_write_bytecode = True

import datetime
import importlib
import importlib.abc
import importlib.machinery
import importlib.util
import inspect
import json
import types

import windlass

_ask = windlass._channel.ask
windlass._own_files.add(__file__)

_DATES = ("logical_date", "data_interval_start", "data_interval_end", "run_after")
_PREVIOUS = (
    "prev_data_interval_start_success",
    "prev_data_interval_end_success",
    "prev_start_date_success",
    "prev_end_date_success",
)
_current = {}


def _date(text):
    """An instant: pendulum's where that is installed, for its methods; else Python's own."""
    if text is None:
        return None
    at = datetime.datetime.fromisoformat(text.replace("Z", "+00:00"))
    try:
        import pendulum
    except ImportError:
        return at
    return pendulum.instance(at)


class _Variables:
    """`var.value` and `var.json`."""

    def __init__(self, as_json):
        self._as_json = as_json

    def __getattr__(self, key):
        if key.startswith("__"):
            raise AttributeError(key)
        return self._get(key)

    def _get(self, key, *default):
        found = _ask(op="variable", key=key)
        if "value" not in found:
            if default:
                return default[0]
            raise KeyError(f"there is no variable {key!r}: {found['missing']}")
        return json.loads(found["value"]) if self._as_json else found["value"]

    def get(self, key, default=None):
        return self._get(key, default)


class _Connection(types.SimpleNamespace):
    @property
    def extra_dejson(self):
        return json.loads(self.extra) if self.extra else {}


class _Connections:
    """`conn`."""

    def __getattr__(self, conn_id):
        if conn_id.startswith("__"):
            raise AttributeError(conn_id)
        return self._get(conn_id)

    def _get(self, conn_id, *default):
        found = _ask(op="connection", conn_id=conn_id)
        if "value" not in found:
            if default:
                return default[0]
            raise KeyError(f"there is no connection {conn_id!r}: {found['missing']}")
        return _Connection(**found["value"])

    def get(self, conn_id, default=None):
        return self._get(conn_id, default)


class TaskInstance:
    """What Airflow's `ti` has, as far as it makes sense here."""

    def __init__(self, facts):
        for name in ("dag_id", "run_id", "task_id", "map_index", "try_number", "max_tries"):
            setattr(self, name, facts[name])

    def xcom_pull(
        self, task_ids=None, dag_id=None, key="return_value", include_prior_dates=False, *, map_indexes=None, default=None
    ):
        if dag_id not in (None, self.dag_id) or include_prior_dates:
            raise windlass.WindlassError("XComs of other DAGs and of earlier runs are not there")
        if isinstance(task_ids, (tuple, set)):
            task_ids = list(task_ids)
        return windlass.xcom_pull(task_ids, key, map_indexes, default)

    def xcom_push(self, key, value):
        windlass.xcom_push(key, value)


class _Context(dict):
    """Airflow's context. What has to be asked for is asked when it is named."""

    def __missing__(self, key):
        if key not in _PREVIOUS:
            raise KeyError(key)
        self.update({name: _date(value) for name, value in _ask(op="previous_success").items()})
        return self[key]

    def __contains__(self, key):
        return dict.__contains__(self, key) or key in _PREVIOUS

    def get(self, key, default=None):
        return self[key] if key in self else default

    def whole(self):
        self[_PREVIOUS[0]]
        return self


def _context(call):
    facts = _ask(op="context")
    names = _Context(facts)
    for name in _DATES:
        names[name] = _date(facts.get(name))
    at = names["logical_date"]
    if at is None:
        # A run without a date has no such names, as in Airflow.
        for name in _DATES[:3]:
            del names[name]
    else:
        names["ts_nodash"] = at.strftime("%Y%m%dT%H%M%S")
        names["ts_nodash_with_tz"] = at.strftime("%Y%m%dT%H%M%S") + "+0000"
    names["ti"] = names["task_instance"] = TaskInstance(facts)
    names["dag"] = types.SimpleNamespace(**{**facts["dag"], "dag_id": facts["dag_id"]})
    names["task"] = types.SimpleNamespace(
        task_id=facts["task_id"], dag_id=facts["dag_id"], owner=facts["dag"].get("owner"), op_args=call["args"], op_kwargs=call["kwargs"]
    )
    of_run = ("dag_id", "run_id", "run_type", "conf")
    names["dag_run"] = types.SimpleNamespace(
        **{name: facts[name] for name in of_run},
        **{name: names.get(name) for name in _DATES},
        start_date=_date(facts["run_started_at"]),
    )
    names["var"] = types.SimpleNamespace(value=_Variables(False), json=_Variables(True))
    names["conn"] = _Connections()
    if call.get("happened") is not None:
        _tell(names, call["happened"])
    names["templates_dict"] = call["templates_dict"]
    names["test_mode"] = False
    last = facts.get("ds_nodash") or facts["run_id"]
    names["task_instance_key_str"] = "__".join([facts["dag_id"], facts["task_id"], last])
    return names


def _tell(names, happened):
    """What Airflow tells a callback beside the context of a task."""
    names.update(happened)
    ti, notification = names["ti"], happened["notification"]
    if notification.get("exception"):
        names["exception"] = AirflowException(notification["exception"])
    ti.state, ti.log_url = notification["task_state"], notification["url"]
    ti.start_date, ti.end_date = names["dag_run"].start_date, _date(notification["at"])
    ti.hostname, ti.operator, ti.duration = "", "", None
    names["dag_run"].state = notification["run_state"]


class AirflowException(Exception):
    """The task fails, and is tried again as its retries say."""


class AirflowSkipException(AirflowException):
    """The task is skipped."""


class AirflowFailException(AirflowException):
    """The task fails for good."""


class BaseNotifier:
    """What Airflow's notifiers are made of."""

    template_fields = ()

    def __init__(self, **kwargs):
        pass

    def notify(self, context):
        raise NotImplementedError

    def __call__(self, context):
        return self.notify(context)


class Variable:
    """Airflow's variables."""

    @staticmethod
    def get(key, default_var=AirflowException, deserialize_json=False, default=AirflowException):
        given = [value for value in (default, default_var) if value is not AirflowException]
        return _Variables(deserialize_json)._get(key, *given[:1])


def get_current_context():
    return _current["context"]


class _Airflow(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """What functions import of Airflow most, where Airflow itself is not installed."""

    _exceptions = {
        "AirflowException": AirflowException,
        "AirflowSkipException": AirflowSkipException,
        "AirflowFailException": AirflowFailException,
    }
    _modules = {
        "airflow": {},
        "airflow.exceptions": _exceptions,
        "airflow.models": {"Variable": Variable, "TaskInstance": TaskInstance},
        "airflow.models.taskinstance": {"TaskInstance": TaskInstance},
        "airflow.models.variable": {"Variable": Variable},
        "airflow.notifications": {},
        "airflow.notifications.basenotifier": {"BaseNotifier": BaseNotifier},
        "airflow.sdk.bases": {},
        "airflow.sdk.bases.notifier": {"BaseNotifier": BaseNotifier},
        "airflow.operators": {},
        "airflow.operators.python": {"get_current_context": get_current_context},
        "airflow.providers": {},
        "airflow.providers.standard": {},
        "airflow.providers.standard.operators": {},
        "airflow.providers.standard.operators.python": {"get_current_context": get_current_context},
        "airflow.sdk": {**_exceptions, "Variable": Variable, "get_current_context": get_current_context, "Context": dict},
        "airflow.sdk.exceptions": _exceptions,
        "airflow.utils": {},
        "airflow.utils.context": {"Context": dict},
    }

    def find_spec(self, name, path=None, target=None):
        if name in self._modules:
            return importlib.machinery.ModuleSpec(name, self, is_package=True)
        if name.partition(".")[0] == "airflow":
            raise ModuleNotFoundError(
                f"Airflow is not installed where this task runs, and {name} is not among what Windlass has of it: do without "
                "it, or name by python_bin an interpreter that has Airflow",
                name=name,
            )
        return None

    def create_module(self, spec):
        return None

    def exec_module(self, module):
        module.__dict__.update(self._modules[module.__name__])

        def missing(name):
            # Python looks for a module of that name first; what is asked here is something else of Airflow.
            if name.startswith("__"):
                raise AttributeError(name)
            raise ImportError(
                f"Airflow is not installed where this task runs, and {module.__name__}.{name} is not among what Windlass has "
                "of it: do without it, or name by python_bin an interpreter that has Airflow"
            )

        if module.__name__ in self._modules and self._modules[module.__name__]:
            module.__getattr__ = missing


def _load(call):
    """The function. Its module has the name that it has seen from the DAG folder, so that it can import its neighbours."""
    root, file = call["root"], call["file"]
    folder = file.rpartition("/")[0]
    sys.path[1:1] = [root, f"{root}/{folder}"] if folder else [root]
    sys.meta_path.append(_Airflow())
    name = file.removesuffix(".py").removesuffix("/__init__").replace("/", ".")
    if file.endswith(".py") and all(part.isidentifier() for part in name.split(".")):
        spec = importlib.util.spec_from_file_location(name, f"{root}/{file}")
        for at in range(1, name.count(".") + 1):
            importlib.import_module(".".join(name.split(".")[:at]))
    else:
        loader = importlib.machinery.SourceFileLoader("task", f"{root}/{file}")
        spec = importlib.util.spec_from_file_location("task", f"{root}/{file}", loader=loader)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    found = module
    for part in call["function"].split("."):
        if not hasattr(found, part):
            windlass.fail(f"file {file!r} has no {call['function']!r}")
        found = getattr(found, part)
    # What a decorator of Airflow has made of a function.
    found = found if callable(found) and not hasattr(found, "operator_class") else getattr(found, "function", found)
    if not callable(found):
        windlass.fail(f"{call['function']!r} in {file!r} is of type {type(found).__name__}, and can not be called")
    return found


def _arguments(function, call, context):
    """By name what the function has a parameter for: the context, and over it what the task gives."""
    args, given = call["args"], {**call["kwargs"], "templates_dict": call["templates_dict"]}
    try:
        parameters = inspect.signature(function).parameters
    except ValueError:
        return args, call["kwargs"]
    for name in list(parameters)[: len(args)]:
        if name in given or name in context:
            raise ValueError(f"The key {name!r} in args is a part of kwargs and therefore reserved.")
    kinds = {parameter.kind for parameter in parameters.values()}
    if inspect.Parameter.VAR_KEYWORD in kinds:
        return args, {**context.whole(), **given}
    for name in call["kwargs"]:
        if name not in parameters:
            print(f"op_kwargs has {name!r}, for which {call['function']} has no parameter: it is left out", file=sys.stderr)
    names = [
        name
        for name, parameter in parameters.items()
        if parameter.kind in (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    ]
    by_name = {name: context[name] for name in names if name not in given and name in context}
    return args, {**by_name, **{name: given[name] for name in names if name in given}}


def _call_back(function, kwargs, context):
    """A callback is given the whole context, and a notifier is made first."""
    if inspect.isclass(function):
        notifier = function(**kwargs)
        return notifier.notify(context) if hasattr(notifier, "notify") else notifier(context)
    return function(context, **kwargs)


def _call():
    call = _ask(op="call")
    context = _current["context"] = _context(call)
    try:
        function = _load(call)
        if call.get("happened") is not None:
            value = _call_back(function, call["kwargs"], context.whole())
        else:
            args, kwargs = _arguments(function, call, context)
            value = function(*args, **kwargs)
        if inspect.isawaitable(value):
            import asyncio

            async def wait():
                return await value

            value = asyncio.run(wait())
    except Exception as error:
        # Those of an installed Airflow count, too.
        names = {kind.__name__ for kind in type(error).__mro__}
        if "AirflowSkipException" in names:
            windlass.skip(str(error))
        if "AirflowFailException" in names:
            windlass.fail(str(error))
        raise
    if call["returns"] == "proceed":
        _ask(op="proceed", proceed=bool(value))
    return value


result = _call()
