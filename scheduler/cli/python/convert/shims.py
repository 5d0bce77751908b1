"""Pieces that a script gets in place of what Airflow would give its function, each only when it is used."""

TASK_INSTANCE = '''\
class TaskInstance:
    """What Airflow's `ti` has, as far as Windlass gives it to a script."""

    def __init__(self):
        for name in ("dag_id", "run_id", "task_id", "map_index", "try_number", "max_tries"):
            setattr(self, name, context[name])

    def xcom_pull(
        self, task_ids=None, dag_id=None, key="return_value", include_prior_dates=False, *, map_indexes=None, default=None
    ):
        if dag_id not in (None, self.dag_id) or include_prior_dates:
            raise windlass.WindlassError("XComs of other DAGs and of earlier runs are not there")
        return windlass.xcom_pull(task_ids, key, map_indexes, default)

    def xcom_push(self, key, value):
        windlass.xcom_push(key, value)


'''
HEAD = '''\
def airflow_context():
    """Airflow's context, as far as this script uses it."""
    names = dict(context.items())
'''
DATE_LINES = """\
    for name in ("logical_date", "data_interval_start", "data_interval_end", "run_after"):
        if names.get(name):
            names[name] = datetime.datetime.fromisoformat(names[name].replace("Z", "+00:00"))
"""
# The lines that make each name, and the names that have to be there before.
LINES = {
    "ts_nodash": '    names["ts_nodash"] = names["logical_date"] and names["logical_date"].strftime("%Y%m%dT%H%M%S")\n',
    "test_mode": '    names["test_mode"] = False\n',
    "task_instance_key_str": """\
    last = names.get("ds_nodash") or names["run_id"]
    names["task_instance_key_str"] = "__".join([names["dag_id"], names["task_id"], last])
""",
    "ti": '    names["ti"] = names["task_instance"] = TaskInstance()\n',
    "dag": '    names["dag"] = types.SimpleNamespace(dag_id=names["dag_id"])\n',
    "task": '    names["task"] = types.SimpleNamespace(task_id=names["task_id"], dag_id=names["dag_id"])\n',
    "dag_run": """\
    of_run = ("dag_id", "run_id", "run_type", "conf", "logical_date", "data_interval_start", "data_interval_end", "run_after")
    names["dag_run"] = types.SimpleNamespace(**{name: names.get(name) for name in of_run})
""",
}
NEED_DATES = {"logical_date", "data_interval_start", "data_interval_end", "ts_nodash", "dag_run"}
NEED_TYPES = {"dag", "task", "dag_run"}


def made_names(keys):
    """The names that the context is to have beside Windlass's own; all of them for None."""
    if keys is None:
        return {*LINES, *NEED_DATES}
    return {"ti" if key == "task_instance" else key for key in keys}


def context_text(keys):
    """The function `airflow_context` with these names."""
    wanted = made_names(keys)
    text = TASK_INSTANCE if "ti" in wanted else ""
    text += HEAD
    if wanted & NEED_DATES:
        text += DATE_LINES
    text += "".join(lines for name, lines in LINES.items() if name in wanted)
    return text + "    return names\n"


def context_imports(keys):
    """What it imports."""
    wanted = made_names(keys)
    found = ["from windlass import context"]
    if wanted & NEED_DATES:
        found.append("import datetime")
    if wanted & NEED_TYPES:
        found.append("import types")
    if "ti" in wanted:
        found.append("import windlass")
    return found


CURRENT_CONTEXT = """\
def get_current_context():
    return airflow_context()
"""

EXCEPTIONS = '''\
class AirflowException(Exception):
    """The task fails, and is tried again as its retries say."""


class AirflowSkipException(AirflowException):
    """The task is skipped."""


class AirflowFailException(AirflowException):
    """The task fails for good."""
'''

POKE = '''\
class PokeReturnValue:
    """What a look of a sensor has found."""

    def __init__(self, is_done, xcom_value=None):
        self.is_done = is_done
        self.xcom_value = xcom_value

    def __bool__(self):
        return bool(self.is_done)
'''

VARIABLE = '''\
class Variable:
    """Airflow's variables that this script names; Windlass puts their values into its environment."""

    @staticmethod
    def get(key, default_var=None, deserialize_json=False, default=None):
        text = os.environ["VAR_" + key.upper()]
        if text == MISSING:
            return default_var if default is None else default
        return json.loads(text) if deserialize_json else text
'''

WEEKDAY = '''\
class WeekDay(enum.IntEnum):
    """Airflow's numbers of the days."""

    MONDAY = 1
    TUESDAY = 2
    WEDNESDAY = 3
    THURSDAY = 4
    FRIDAY = 5
    SATURDAY = 6
    SUNDAY = 7
'''

OPERATOR = '''\
class BaseOperator:
    """As much of Airflow's class as the operator below needs."""

    def __init__(self, task_id=None, **kwargs):
        self.task_id = task_id
        self.log = logging.getLogger(type(self).__name__)
'''

# What a script can have in place of a name that it imports from Airflow.
OF_AIRFLOW = {
    "AirflowException": "exceptions",
    "AirflowSkipException": "exceptions",
    "AirflowFailException": "exceptions",
    "get_current_context": "current_context",
    "PokeReturnValue": "poke",
    "Variable": "variable",
    "WeekDay": "weekday",
    "BaseOperator": "operator",
    "BaseSensorOperator": "operator",
}
ORDER = ("exceptions", "poke", "weekday", "variable", "operator", "context", "current_context")
TEXTS = {
    "exceptions": EXCEPTIONS,
    "poke": POKE,
    "variable": VARIABLE,
    "weekday": WEEKDAY,
    "operator": OPERATOR,
    "current_context": CURRENT_CONTEXT,
}
IMPORTS = {
    "variable": ["import json", "import os"],
    "weekday": ["import enum"],
    "operator": ["import logging"],
}

# Names that Airflow gives to a parameter of the same name; the first can be had from Windlass as they are.
SIMPLE = {"ds", "ds_nodash", "ts", "params", "run_id", "map_index", "try_number"}
MADE = {
    "ti": {"xcom_pull", "xcom_push", "dag_id", "run_id", "task_id", "map_index", "try_number", "max_tries"},
    "dag_run": {
        "dag_id", "run_id", "run_type", "conf", "logical_date", "data_interval_start", "data_interval_end", "run_after",
    },
    "dag": {"dag_id"},
    "task": {"task_id", "dag_id"},
    "logical_date": None,
    "data_interval_start": None,
    "data_interval_end": None,
    "ts_nodash": None,
    "test_mode": None,
    "task_instance_key_str": None,
}  # fmt: skip
MADE["task_instance"] = MADE["ti"]
DATES = {"logical_date", "data_interval_start", "data_interval_end"}
LACKING = {
    "conf", "var", "conn", "macros", "inlets", "outlets", "inlet_events", "outlet_events", "triggering_asset_events",
    "triggering_dataset_events", "prev_data_interval_start_success", "prev_data_interval_end_success",
    "prev_start_date_success", "prev_end_date_success", "templates_dict", "expanded_ti_count", "exception", "reason",
    "ts_nodash_with_tz", "execution_date", "next_execution_date", "prev_execution_date", "next_ds", "prev_ds",
    "yesterday_ds", "tomorrow_ds", "task_state_store", "asset_state_store", "partition_key",
}  # fmt: skip
