"""Sensors, and tasks whose command a function makes."""

import datetime

from code_tasks import before as script_before
from code_tasks import called, known_result, loop_lines, new_script, put_script, sensor_numbers
from jinja_lambda import template_of
from plain import NotPlain, duration, plain
from values import Func, Moment
from writer import Placeholder, bash_options, environment, fail

SENSOR = ("poke_interval", "timeout", "max_wait")
SENSOR_PLAIN = ("soft_fail", "silent_fail", "never_fail", "exponential_backoff")
DAYS = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")
WEEK = 604_800


def deferrable(writer):
    """How a task frees its slot while it waits: of the two ways Airflow takes deferrable."""
    given = writer.kwargs.get("deferrable")
    if given is not None and given.value is True:
        writer.move("deferrable")
        writer.take("mode")
        return
    mode = writer.kwargs.get("mode")
    if mode is not None and mode.value == "reschedule":
        writer.move("mode")
    for name in ("mode", "deferrable"):
        given = writer.take(name)
        if given is not None and given.value not in ("poke", False, None):
            writer.remark(given.line, f"{name} was left out: it is known only when the file runs")


def sensor(writer):
    for name in SENSOR:
        writer.move(name, form=duration)
    for name in SENSOR_PLAIN:
        writer.move(name)
    deferrable(writer)


def file_sensor(writer, maker):
    writer.put("operator", "file_sensor")
    fail(writer.need("filepath"))
    writer.move("fs_conn_id")
    writer.move("recursive")
    sensor(writer)


def http_sensor(writer, maker):
    from operators import callable_template, request

    writer.put("operator", "http_sensor")
    request(writer, maker, "request_params")
    writer.move("response_error_codes_allowlist")
    check = writer.kwargs.get("response_check")
    if check is not None and isinstance(check.value, Func) and template_of(check.value, ["response"]) is None:
        raise Placeholder("response_check is a template here, and this function could not be written as one")
    callable_template(writer, maker, "response_check", ["response"])
    sensor(writer)


def sql_sensor(writer, maker):
    from operators import callable_template, parameters, sql_text

    writer.put("operator", "sql_sensor")
    fail(writer.need("conn_id"))
    sql_text(writer)
    parameters(writer)
    for name in ("success", "failure"):
        given = writer.kwargs.get(name)
        if (
            given is not None
            and given.value is not None
            and (not isinstance(given.value, Func) or template_of(given.value, ["value"]) is None)
        ):
            raise Placeholder(f"{name} is a template here, and this function could not be written as one")
        callable_template(writer, maker, name, ["value"])
    writer.move("fail_on_empty")
    sensor(writer)


def external_task_sensor(writer, maker):
    writer.put("operator", "external_task_sensor")
    for name, words in (
        ("execution_date_fn", "say by execution_delta how much earlier the other run's date is"),
        ("external_task_group_id", "name the group's last tasks by external_task_ids"),
    ):
        given = writer.take(name)
        if given is not None and given.value is not None:
            raise Placeholder(f"{name} is not there; {words}")
    fail(writer.need("external_dag_id"))
    writer.move("external_task_id")
    writer.move("external_task_ids")
    writer.move("execution_delta", form=duration)
    of_run = not any(key.startswith("external_task_id") for key, _, _ in writer.entries)
    for name in ("allowed_states", "failed_states", "skipped_states"):
        given = writer.kwargs.get(name)
        if of_run and given is not None and isinstance(given.value, (list, tuple)):
            known = ("queued", "running", "success", "failed")
            lost = [one for one in given.value if one not in known]
            if lost:
                writer.remark(given.line, f"{name}: a run has no state {', '.join(map(str, lost))}")
                given.value = [one for one in given.value if one in known]
        if given is not None and given.value == []:
            writer.take(name)
        writer.move(name)
    writer.move("check_existence")
    sensor(writer)


def bash_sensor(writer, maker):
    """The command again and again, until it succeeds."""
    given = writer.take("bash_command")
    if given is None or not isinstance(given.value, str):
        raise Placeholder("bash_command is known only when the file runs")
    pause, limit, soft = sensor_numbers(writer)
    codes = writer.take("retry_exit_code")
    other = (
        f"  if [ $code -ne {codes.value} ]; then exit $code; fi\n"
        if codes is not None and codes.value is not None
        else ""
    )
    text = (
        f"until (\n{given.value.strip()}\n); do\n  code=$?\n{other}"
        f'  if [ $SECONDS -ge {int(limit)} ]; then echo "the time to wait is over" >&2; exit {99 if soft else 1}; fi\n'
        f"  sleep {min(pause, limit):g}\ndone\n"
    )
    writer.put("operator", "bash")
    writer.put("bash_command", writer.template(text, given.line), given.line)
    environment(writer, "env")
    writer.take("output_encoding")


def wait_until(writer, maker, lines, extra_imports=()):
    """A script that waits for the moment `until`, which the lines bind."""
    script = new_script(writer, maker)
    for text in ("import datetime", *extra_imports):
        script.imports.setdefault(text, 0)
    look = ["found = datetime.datetime.now(datetime.timezone.utc) > until"]
    nap = "max(0.1, (until - datetime.datetime.now(datetime.timezone.utc)).total_seconds()), "
    put_script(writer, maker, script, [*lines, *loop_lines(script, look, writer, nap)])
    for name in ("start_from_trigger", "end_from_trigger", "trigger_kwargs"):
        writer.take(name)


def time_delta_sensor(writer, maker):
    delta = writer.value("delta")
    if isinstance(delta, int) and not isinstance(delta, bool):
        delta = datetime.timedelta(minutes=delta)
    if not isinstance(delta, datetime.timedelta):
        raise Placeholder("delta is known only when the file runs")
    lines = [
        'until = context["data_interval_end"] or context["run_after"]',
        'until = datetime.datetime.fromisoformat(until.replace("Z", "+00:00"))',
        f"until += datetime.timedelta(seconds={delta.total_seconds():g})",
    ]
    wait_until(writer, maker, lines, ["from windlass import context"])


def time_sensor(writer, maker):
    target = writer.value("target_time")
    if not isinstance(target, datetime.time):
        raise Placeholder("target_time is known only when the file runs")
    zone = maker.zone()
    is_utc = zone in (None, "UTC")
    zone_text = "datetime.timezone.utc" if is_utc else f"zoneinfo.ZoneInfo({zone!r})"
    lines = [
        f"zone = {zone_text}",
        f'target = datetime.time.fromisoformat("{target.isoformat()}")',
        "until = datetime.datetime.combine(datetime.datetime.now(zone).date(), target, zone)",
    ]
    wait_until(writer, maker, lines, [] if is_utc else ["import zoneinfo"])


def date_time_sensor(writer, maker):
    given = writer.take("target_time")
    target = given.value if given is not None else None
    if isinstance(target, Moment):
        target = plain(target)
    if not isinstance(target, str):
        raise Placeholder("target_time is known only when the file runs")
    lines = [
        'until = datetime.datetime.fromisoformat(os.environ["TARGET_TIME"].replace("Z", "+00:00"))',
        "until = until if until.tzinfo else until.replace(tzinfo=datetime.timezone.utc)",
    ]
    wait_until(writer, maker, lines, ["import os"])
    writer.put("env", {"TARGET_TIME": writer.template(target, given.line)}, given.line)


def weekdays(writer):
    """The numbers of `week_day`, Monday being 1."""
    value = writer.value("week_day")
    days = value if isinstance(value, (list, tuple, set)) else [value]
    numbers = []
    for day in days:
        if not isinstance(day, str) or day.lower() not in DAYS:
            raise Placeholder("week_day is known only when the file runs")
        numbers.append(DAYS.index(day.lower()) + 1)
    return sorted(numbers)


def weekday_sensor(writer, maker):
    days = weekdays(writer)
    logical = writer.value("use_task_logical_date", writer.value("use_task_execution_day", False)) is True
    script = new_script(writer, maker)
    script.imports.setdefault("import datetime", 0)
    if logical:
        script.imports.setdefault("from windlass import context", 0)
        look = [
            'day = context["logical_date"] or context["run_after"]',
            f'found = datetime.datetime.fromisoformat(day.replace("Z", "+00:00")).isoweekday() in {days}',
        ]
    else:
        look = [f"found = datetime.datetime.now(datetime.timezone.utc).isoweekday() in {days}"]
    put_script(writer, maker, script, loop_lines(script, look, writer))


def task_bash(writer, maker):
    """`@task.bash`: the function gives the command."""
    what = called(writer)
    known = known_result(maker, what)
    if isinstance(known, str) and "<sys.executable>" not in known:
        writer.put("operator", "bash")
        try:
            line = writer.task.line
            writer.put("bash_command", plain(known, lambda text: writer.command(text, line)))
        except NotPlain as error:
            raise Placeholder(str(error)) from None
    else:
        script_before(writer, maker, what, "__command")
        writer.put("operator", "bash")
        pulled = "ti.xcom_pull(task_ids=" + repr(writer.task.task_id + "__command") + ")"
        writer.put("bash_command", "{{ " + pulled + " | unquoted }}")
        writer.note(writer.task.line, "templates in the command that the function returns are not rendered")
    bash_options(writer)
