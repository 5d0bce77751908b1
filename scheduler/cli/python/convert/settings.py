"""A DAG's own keys: schedule, dates, params, defaults for its tasks."""

import datetime
import inspect

from plain import NotPlain, duration, plain, seconds, why
from values import Asset, Given, Moment, Param, Rendered, Timetable, Unknown, Zone
from writer import Writer

AS_IT_IS = (
    "is_paused_upon_creation", "max_active_runs", "max_active_tasks", "max_consecutive_failed_dag_runs", "fail_fast", "allowed_run_types",
    "render_template_as_native_obj",
)  # fmt: skip
RENAMED = {"concurrency": "max_active_tasks", "fail_stop": "fail_fast", "schedule_interval": "schedule"}
COSMETIC = {
    "default_view", "orientation", "owner_links", "auto_register", "disable_bundle_versioning",
    "full_filepath", "rerun_with_latest_version",
}  # fmt: skip
ADVICE = {
    "template_searchpath": "write it as template_searchpath: a list of folders below the DAG folder",
    "user_defined_macros": "write values below user_defined_macros; functions can not be macros",
    "user_defined_filters": "a template has no filters of your own",
    "access_control": "access rules for one DAG are not there yet",
    "sla_miss_callback": "write a deadline with its callback",
    "deadline": "write it as deadline: {reference: …, interval: …, callback: …}",
    "jinja_environment_kwargs": "templates have fixed settings",
    "template_undefined": "a name without a value is an error",
}
DEFAULT_KEYS = ("conn_id", "http_conn_id", "fs_conn_id", "soft_fail", "env", "append_env")
DEFAULT_DURATIONS = ("poke_interval", "timeout")


class Holder:
    """What a Writer needs of a task, for the defaults of a DAG or a group."""

    def __init__(self, kwargs, line):
        self.kwargs = kwargs
        self.line = line


class Settings:
    """Reads the keyword arguments of one DAG."""

    def __init__(self, dag, report, stem):
        self.dag = dag
        self.report = report
        self.given = dict(dag.kwargs)
        self.stem = stem
        self.entries = []
        self.defaults = {}
        for old, new in RENAMED.items():
            if old in self.given and new not in self.given:
                self.given[new] = self.given.pop(old)
        self.used_old_schedule = "schedule_interval" in dag.kwargs

    def remark(self, line, text):
        self.report.remark(line, text, self.dag)

    def note(self, line, text):
        self.report.note(line, text, self.dag)

    def put(self, key, value, line=0):
        self.entries.append((key, value, line or self.dag.line))

    def dag_id(self):
        given = self.given.pop("dag_id", None)
        if given is not None and isinstance(given.value, str) and not isinstance(given.value, Rendered) and given.value:
            return given.value
        reason = why(given.value) if given is not None else "there is none"
        self.remark(self.dag.line, f"the dag_id is not known ({reason}); it is called {self.stem!r}")
        return self.stem

    def read(self):
        """All entries but dag_id, params, groups and tasks."""
        self.take_defaults()
        self.text("dag_display_name")
        self.text("description")
        self.text("doc_md")
        zone = self.zone()
        self.schedule()
        if zone not in (None, "UTC"):
            self.put("timezone", zone)
        for name in ("start_date", "end_date"):
            self.date(name, zone)
        self.catchup()
        for name in AS_IT_IS:
            self.move(name)
        self.move("dagrun_timeout", duration)
        tags = self.given.get("tags")
        if tags is not None and isinstance(tags.value, (list, tuple)) and not tags.value:
            self.given.pop("tags")
        self.move("tags")
        if self.defaults:
            self.put("default_args", self.defaults, self.dag.line)
        self.rest()

    def text(self, name):
        given = self.given.get(name)
        if (
            given is not None
            and isinstance(given.value, str)
            and name == "doc_md"
            and given.value.strip().endswith(".md")
        ):
            if "\n" not in given.value.strip():
                self.remark(given.line, "doc_md was the name of a file; write the text itself")
                self.given.pop(name)
                return
        if given is not None and isinstance(given.value, str):
            given = Given(clean(given.value), given.line)
            self.given[name] = given
        self.move(name)

    def move(self, name, form=plain):
        given = self.given.pop(name, None)
        if given is None or given.value is None:
            return
        try:
            self.put(name, form(given.value), given.line)
        except NotPlain as error:
            self.remark(given.line, f"{name} was left out: {error}")

    def zone(self):
        """The DAG's zone is that of its start_date."""
        given = self.given.get("start_date") or self.default_dates.get("start_date")
        if given is not None and isinstance(given.value, Moment):
            return given.value.zone
        return None

    def date(self, name, zone):
        given = self.given.pop(name, None) or self.default_dates.get(name)
        if given is None or given.value is None:
            return
        if isinstance(given.value, Moment):
            text = given.value.text(zone)
            if text is not None:
                self.put(name, text, given.line)
                return
            self.remark(given.line, f"{name} was left out: it is in another zone than the DAG")
            return
        advice = "; write a fixed date" if name == "start_date" else ""
        self.remark(given.line, f"{name} was left out: {why(given.value)}{advice}")

    def catchup(self):
        given = self.given.pop("catchup", None)
        if given is not None and isinstance(given.value, bool):
            self.put("catchup", given.value, given.line)
        elif given is not None:
            self.remark(given.line, f"catchup was left out: {why(given.value)}")
        elif self.used_old_schedule:
            self.note(self.dag.line, "without catchup Airflow 2 made up for missed runs, Airflow 3 and Windlass do not")

    def schedule(self):
        given = self.given.pop("schedule", None) or self.given.pop("timetable", None)
        for name in ("schedule_interval", "timetable"):
            self.given.pop(name, None)
        if given is None:
            self.put("schedule", None)
            return
        value, reason = schedule_of(given.value)
        if reason is not None:
            self.remark(given.line, reason)
        self.put("schedule", value, given.line)

    def take_defaults(self):
        self.default_dates = {}
        given = self.given.pop("default_args", None)
        if given is None or given.value is None:
            return
        if not isinstance(given.value, dict):
            self.remark(given.line, f"default_args were left out: {why(given.value)}")
            return
        values = {name: Given(value, given.line) for name, value in given.value.items() if isinstance(name, str)}
        for name in ("start_date", "end_date"):
            if name in values:
                self.default_dates[name] = values.pop(name)
        self.defaults = task_defaults(values, given.line, self.report, self.dag)

    def rest(self):
        for name, given in self.given.items():
            if name in COSMETIC:
                self.note(given.line, f"{name} is not shown")
            elif given.value in (None, False) or given.value == [] or given.value == {}:
                continue
            elif name.startswith("on_") and name.endswith("_callback"):
                self.remark(
                    given.line,
                    f"{name} was left out: write it as a webhook, slack, email, command or the name of a function",
                )
            else:
                advice = ADVICE.get(name, "a DAG has no such key")
                self.remark(given.line, f"{name} was left out: {advice}")


def task_defaults(values, line, report, owner):
    """The values of default_args that tasks can inherit."""
    writer = Writer(Holder(values, line), report, None)
    writer.owner = owner
    writer.common()
    for name in DEFAULT_KEYS:
        writer.move(name)
    for name in DEFAULT_DURATIONS:
        writer.move(name, form=duration)
    # Tasks whose operator has another name for its connection take it over by themselves.
    for name in [name for name in writer.kwargs if name.endswith("_conn_id")]:
        writer.take(name)
    writer.rest()
    return {key: value for key, value, _ in writer.entries}


def clean(text):
    """A docstring or an indented text, without the indentation."""
    return inspect.cleandoc(text)


def schedule_of(value):
    """The schedule, and the reason when it is not the one that was written."""
    assets = "the schedule was left out: which assets it waits for is known only when the file runs"
    if value is None or (isinstance(value, str) and not isinstance(value, Rendered)):
        return value, None
    if isinstance(value, datetime.timedelta):
        return seconds(value), None
    if isinstance(value, Asset):
        return (of_assets([value]), None) if value.known() else (None, assets)
    if isinstance(value, (list, tuple)):
        if value and all(isinstance(one, str) and not isinstance(one, Rendered) for one in value):
            return list(value), None
        if value and all(isinstance(one, Asset) and one.known() for one in value):
            return of_assets(value), None
        return None, assets if any(isinstance(one, Asset) for one in value) else "the schedule was left out: " + why(
            value
        )
    if isinstance(value, Timetable):
        return timetable(value)
    if isinstance(value, Unknown):
        return None, f"the schedule was left out: {value.why}"
    return None, "the schedule was left out: its form is not known"


def of_assets(value):
    """A schedule by assets: one condition, or a list of which all have to change."""
    if len(value) == 1 and value[0].kind in ("all", "any"):
        return plain(value[0])
    return [plain(one) for one in value]


def asset_or_time(value):
    kwargs = dict(value.kwargs)
    time, assets = kwargs.pop("timetable", None), kwargs.pop("assets", kwargs.pop("datasets", None))
    listed = list(assets) if isinstance(assets, (list, tuple)) else [assets]
    if not isinstance(time, Timetable) or not all(isinstance(one, Asset) and one.known() for one in listed):
        return None, "the schedule was left out: its time or its assets are known only when the file runs"
    made, reason = timetable(time)
    if not isinstance(made, dict):
        return of_assets(listed), reason
    condition = of_assets(listed)
    return {**made, "or_assets": condition}, reason or left_over(kwargs)


def timetable(value):
    words = {
        "CronTriggerTimetable": "cron_trigger",
        "MultipleCronTriggerTimetable": "cron_trigger",
        "CronDataIntervalTimetable": "cron_data_interval",
        "DeltaTriggerTimetable": "delta_trigger",
        "DeltaDataIntervalTimetable": "delta_data_interval",
    }
    if value.name in ("AssetOrTimeSchedule", "DatasetOrTimeSchedule"):
        return asset_or_time(value)
    if value.name == "NullTimetable":
        return None, None
    if value.name in ("OnceTimetable", "ContinuousTimetable"):
        return {"OnceTimetable": "@once", "ContinuousTimetable": "@continuous"}[value.name], None
    if value.name not in words:
        return None, f"the schedule was left out: there is no timetable {value.name}"
    kwargs = dict(value.kwargs)
    zone = kwargs.pop("timezone", None)
    first = value.args[0] if value.args else kwargs.pop("cron", kwargs.pop("delta", None))
    if value.name.startswith("Delta"):
        if not isinstance(first, datetime.timedelta):
            return None, "the schedule was left out: its pause is known only when the file runs"
        return {"duration": seconds(first), "timetable": words[value.name]}, left_over(kwargs)
    crons = [one for one in (value.args or [first]) if isinstance(one, str)]
    if not crons:
        return None, "the schedule was left out: its cron is known only when the file runs"
    made = {"cron": crons[0] if len(crons) == 1 else crons}
    if isinstance(zone, (str, Zone)):
        made["timezone"] = getattr(zone, "name", zone)
    made["timetable"] = words[value.name]
    if made["timetable"] == "cron_trigger":
        made.update(ticks(kwargs))
    return made, left_over(kwargs)


def ticks(kwargs):
    """What is said of runs at ticks; what is known only when the file runs stays among the arguments."""
    made = {}
    if isinstance(kwargs.get("interval"), datetime.timedelta):
        interval = kwargs.pop("interval")
        if interval:
            made["interval"] = seconds(interval)
    first = kwargs.get("run_immediately")
    if first is True or isinstance(first, datetime.timedelta):
        kwargs.pop("run_immediately")
        made["run_immediately"] = True if first is True else seconds(first)
    return made


def left_over(kwargs):
    names = [name for name, one in kwargs.items() if one not in (None, False)]
    return f"of the timetable, {', '.join(names)} was left out" if names else None


def params_of(given, report, dag):
    """The DAG's params as the format has them."""
    if given is None or given.value is None:
        return {}
    if not isinstance(given.value, dict):
        report.remark(given.line, f"params were left out: {why(given.value)}", dag)
        return {}
    found = {}
    for name, value in given.value.items():
        try:
            known = plain(value)
        except NotPlain as error:
            if isinstance(value, Param) and "default" in value.schema:
                rest = {key: one for key, one in value.schema.items() if key != "default"}
                try:
                    found[str(name)] = {**plain(Param(rest)), "default": None}
                except NotPlain:
                    found[str(name)] = None
                else:
                    make_nullable(found[str(name)])
            else:
                found[str(name)] = None
            report.remark(given.line, f"the default of the param {name!r} was left out: {error}", dag)
            continue
        # A mapping that is the value itself stands below default, so that it is not read as a schema.
        found[str(name)] = {"default": known} if isinstance(value, dict) else known
    return found


def make_nullable(schema):
    """Lets a param be null whose default was left out."""
    kind = schema.get("type")
    if isinstance(kind, str):
        schema["type"] = [kind, "null"]
    elif isinstance(kind, list) and "null" not in kind:
        schema["type"] = [*kind, "null"]
