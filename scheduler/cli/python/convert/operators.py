"""Airflow's operators, each as the task that does the same."""

import datetime

import mapping
import waiting
from code_tasks import branch_python, own_operator, python_sensor, python_task, short_circuit
from jinja_lambda import template_of
from plain import NotPlain, duration, plain
from settings import params_of
from values import ClassDef, Func, Moment, XCom
from writer import Placeholder, bash_options, environment, fail

POSTGRES = {"PostgresOperator": "postgres_conn_id"}
OTHER_SQL = {
    "MySqlOperator": "mysql_conn_id",
    "SqliteOperator": "sqlite_conn_id",
    "MsSqlOperator": "mssql_conn_id",
    "OracleOperator": "oracle_conn_id",
    "SnowflakeOperator": "snowflake_conn_id",
    "TrinoOperator": "trino_conn_id",
    "RedshiftSQLOperator": "redshift_conn_id",
}
DOCKER = (
    "command", "entrypoint", "pull_policy", "force_pull", "docker_url", "docker_conn_id", "private_environment",
    "network_mode", "networks", "cpus", "mem_limit", "shm_size", "user", "working_dir", "hostname", "labels",
    "extra_hosts", "dns", "dns_search", "port_bindings", "cap_add", "privileged", "container_name", "mount_tmp_dir",
    "tmp_dir", "xcom_all", "skip_on_exit_code", "ipc_mode", "tty",
)  # fmt: skip
HTTP_OPTIONS = ("timeout", "allow_redirects", "max_redirects", "check_response", "verify")


def empty(writer, maker):
    writer.put("operator", "empty")


def marker(writer, maker):
    empty(writer, maker)
    for name in ("external_dag_id", "external_task_id", "recursion_depth", "logical_date", "execution_date"):
        writer.take(name)
    writer.remark(
        writer.task.line, "an ExternalTaskMarker is an empty task here: a clear of it does not reach the other DAG"
    )


def bash(writer, maker):
    writer.put("operator", "bash")
    given = writer.kwargs.get("bash_command")
    text = given.value if given is not None else None
    if isinstance(text, str) and text.strip().endswith((".sh", ".bash")) and " " not in text.strip():
        writer.remark(
            given.line,
            "Airflow reads the command from this file, as a template; here it is run: put it in the worker's reach",
        )
    if isinstance(text, (list, tuple)):
        raise Placeholder("bash_command is a list; write it as one text")
    fail(writer.need("bash_command"))
    bash_options(writer)


def sql(writer, maker):
    operator = writer.task.operator
    writer.put("operator", "sql")
    named = {**POSTGRES, **OTHER_SQL}.get(operator, "conn_id")
    if named not in writer.kwargs and "conn_id" in writer.kwargs:
        named = "conn_id"
    if operator in OTHER_SQL and operator != "TrinoOperator":
        writer.remark(writer.task.line, f"{operator}: SQL runs on connections of type postgres and on the lake only")
    elif operator == "SQLExecuteQueryOperator":
        writer.note(writer.task.line, "the connection has to be of type postgres, or `lake`")
    if named not in writer.kwargs and operator in POSTGRES:
        writer.put("conn_id", "postgres_default")
    else:
        fail(writer.need(named, "conn_id"))
    sql_text(writer)
    parameters(writer)
    split = writer.take("split_statements")
    if split is not None and split.value is False:
        writer.note(split.line, "statements are always split, and run as one transaction")
    committed = writer.take("autocommit")
    if committed is not None and committed.value is True:
        writer.remark(committed.line, "autocommit was left out: the statements of a task are one transaction")
    for name in ("return_last", "show_return_value_in_logs", "requires_result_fetch"):
        writer.take(name)
    if writer.task.pulled_by:
        writer.put("output", "rows")
        writer.remark(writer.task.line, "the rows that it returns are objects by column name here, not tuples")


def sql_text(writer):
    given = writer.kwargs.get("sql")
    if given is not None and isinstance(given.value, (list, tuple)) and not given.value:
        raise Placeholder("sql is empty")
    fail(writer.need("sql"))
    value = writer.entries[-1][1]
    for text in value if isinstance(value, list) else [value]:
        if not isinstance(text, str):
            raise Placeholder("sql is no text")
        if text.strip().endswith(".sql") and "\n" not in text.strip():
            writer.task.files.append((text.strip(), writer.entries[-1][2]))


def parameters(writer):
    given = writer.take("parameters")
    if given is None or given.value is None:
        return
    if not isinstance(given.value, dict):
        writer.remark(given.line, "parameters were left out: they have names here (`:name` in the SQL), not places")
        return
    try:
        writer.put("parameters", writer.plain(given.value, given.line), given.line)
    except NotPlain as error:
        writer.remark(given.line, f"parameters were left out: {error}")
        return
    writer.note(given.line, "a parameter is written `:name` in the SQL, not `%(name)s`")


def http(writer, maker):
    writer.put("operator", "http")
    request(writer, maker, "data")
    callable_template(writer, maker, "response_check", ["response"])
    callable_template(writer, maker, "response_filter", ["response"])
    writer.move("log_response")


def request(writer, maker, data):
    writer.move("http_conn_id")
    for name in ("endpoint", "method"):
        writer.move(name)
    given = writer.kwargs.get(data)
    if given is not None and isinstance(given.value, (list, tuple)):
        writer.move(data, "json")
    else:
        writer.move(data)
    headers(writer)
    options = writer.take("extra_options")
    if options is not None and isinstance(options.value, dict):
        known = {}
        for name, value in options.value.items():
            if name in HTTP_OPTIONS:
                known[name] = duration(value) if name == "timeout" and not isinstance(value, tuple) else plain(value)
            else:
                writer.remark(options.line, f"extra_options has no {name!r} here")
        if known:
            writer.put("extra_options", known, options.line)
    elif options is not None and options.value is not None:
        writer.remark(options.line, "extra_options were left out: they are known only when the file runs")
    keep = ("tcp_keep_alive", "tcp_keep_alive_idle", "tcp_keep_alive_count", "tcp_keep_alive_interval")
    for name in keep:
        writer.take(name)


def headers(writer):
    given = writer.take("headers")
    if given is None or given.value is None:
        return
    if not isinstance(given.value, dict):
        writer.remark(given.line, "headers were left out: they are known only when the file runs")
        return
    try:
        known = {str(name): writer.plain(value, given.line) for name, value in given.value.items()}
    except NotPlain as error:
        writer.remark(given.line, f"headers were left out: {error}")
        return
    if known:
        writer.put("headers", known, given.line)


def callable_template(writer, maker, name, names):
    """A function of one value, such as `lambda response: response.ok`, as a template."""
    given = writer.take(name)
    if given is None or given.value is None:
        return
    template = template_of(given.value, names) if isinstance(given.value, Func) else None
    if template is None:
        writer.remark(
            given.line, f"{name} was left out: it is a template here, and this function could not be written as one"
        )
        return
    writer.put(name, template, given.line)


def trigger_dag_run(writer, maker):
    writer.put("operator", "trigger_dag_run")
    fail(writer.need("trigger_dag_id"))
    writer.move("trigger_run_id")
    conf = writer.kwargs.get("conf")
    if conf is not None and not isinstance(conf.value, (dict, str, XCom, type(None))):
        writer.take("conf")
        writer.remark(conf.line, "conf was left out: it is known only when the file runs")
    writer.move("conf")
    for name in ("logical_date", "execution_date"):
        given = writer.take(name)
        if given is not None and given.value is None:
            writer.put("logical_date", None, given.line)
        elif given is not None:
            try:
                writer.put("logical_date", moment_text(writer, given), given.line)
            except NotPlain as error:
                writer.remark(given.line, f"{name} was left out: {error}")
    for name in ("reset_dag_run", "skip_when_already_exists", "fail_when_dag_is_paused", "wait_for_completion"):
        writer.move(name)
    writer.move("poke_interval", form=duration)
    ends_of_run(writer)
    waiting.deferrable(writer)
    writer.take("note")
    writer.take("openlineage_inject_parent_info")


def ends_of_run(writer):
    """Which ends of the run are a success, and which a failure; Airflow looks at the failures first."""
    allowed, failed = writer.kwargs.get("allowed_states"), writer.kwargs.get("failed_states")
    bad = failed.value if failed is not None and failed.value else ["failed"]
    if allowed is not None and isinstance(allowed.value, (list, tuple)) and isinstance(bad, (list, tuple)):
        good = [state for state in allowed.value if state not in bad]
        if len(good) < len(allowed.value):
            writer.note(
                allowed.line, "a state that is in allowed_states and in failed_states is a failure, as in Airflow"
            )
        allowed.value = good
    writer.move("allowed_states")
    writer.move("failed_states")


def moment_text(writer, given):
    if isinstance(given.value, Moment):
        return plain(given.value)
    return writer.plain(given.value, given.line)


def docker(writer, maker):
    writer.put("operator", "docker")
    fail(writer.need("image"))
    environment(writer, "environment")
    removed = writer.take("auto_remove")
    if removed is not None and removed.value is not None:
        words = {True: "success", False: "never"}
        writer.put("auto_remove", words.get(removed.value, removed.value), removed.line)
    elif removed is None:
        writer.put("auto_remove", "never")
    mounts = writer.take("mounts")
    if mounts is not None and mounts.value:
        docker_mounts(writer, maker, mounts)
    for name in DOCKER:
        writer.move(name)


def docker_mounts(writer, maker, given):
    found = []
    for one in given.value if isinstance(given.value, (list, tuple)) else []:
        mount = maker.mount(one)
        if mount is None:
            writer.remark(given.line, "a mount was left out: it is known only when the file runs")
        else:
            found.append(mount)
    if found:
        writer.put("mounts", found, given.line)


def latest_only(writer, maker):
    """Skips what follows unless the run is the newest."""
    writer.put("operator", "latest_only")


def followed(writer, name):
    given = writer.take(name)
    if given is None:
        raise Placeholder(f"{name} is missing")
    value = plain(given.value)
    return value


def branch_datetime(writer, maker):
    yes, no = followed(writer, "follow_task_ids_if_true"), followed(writer, "follow_task_ids_if_false")
    logical = writer.value("use_task_logical_date", writer.value("use_task_execution_date", False))
    now = "logical_date" if logical is True else "macros.datetime.utcnow()"
    lower, upper = writer.value("target_lower"), writer.value("target_upper")
    tests = []
    times = isinstance(lower, datetime.time) or isinstance(upper, datetime.time)
    for bound, sign in ((lower, ">="), (upper, "<=")):
        if bound is None:
            continue
        if isinstance(bound, datetime.time):
            tests.append(f"{now}.strftime('%H:%M:%S') {sign} '{bound.isoformat('seconds')}'")
        elif isinstance(bound, Moment) and bound.zone in (None, "UTC"):
            at = bound.naive
            text = f"{at.year}, {at.month}, {at.day}, {at.hour}, {at.minute}, {at.second}"
            tests.append(f"{now} {sign} macros.datetime({text})")
        else:
            raise Placeholder("its bounds are known only when the file runs; write a branch with a template")
    if not tests:
        raise Placeholder("it has no bounds")
    # A time of day that ends before it begins ends on the next day, counted from today.
    if times and isinstance(lower, datetime.time) and isinstance(upper, datetime.time) and upper < lower:
        tests = tests[:1]
    writer.put("operator", "branch")
    writer.put("follow", "{{ " + f"{yes!r} if {' and '.join(tests)} else {no!r}" + " }}")


def branch_weekday(writer, maker):
    yes, no = followed(writer, "follow_task_ids_if_true"), followed(writer, "follow_task_ids_if_false")
    days = waiting.weekdays(writer)
    logical = writer.value("use_task_logical_date", writer.value("use_task_execution_day", False))
    now = "logical_date" if logical is True else "macros.datetime.utcnow()"
    zone = maker.zone()
    if zone not in (None, "UTC") and logical is not True:
        now += f".in_timezone({zone!r})"
    writer.put("operator", "branch")
    writer.put("follow", "{{ " + f"{yes!r} if {now}.isoweekday() in {days!r} else {no!r}" + " }}")


def asking(writer, maker):
    """The operators that ask people."""
    is_approval = writer.task.operator == "ApprovalOperator"
    writer.put("operator", "approval" if is_approval else "choice")
    fail(writer.need("subject"))
    writer.move("body")
    mapping = writer.value("options_mapping")
    options = writer.kwargs.get("options")
    writer.move("options")
    if writer.task.operator == "HITLBranchOperator":
        known = plain(options.value, str) if options is not None else None
        if not isinstance(known, list) or not isinstance(mapping or {}, dict):
            raise Placeholder("options are known only when the file runs")
        writer.put("options_mapping", {str(one): str((mapping or {}).get(one, one)) for one in known})
    for name in ("defaults", "multiple", "fail_on_reject", "ignore_downstream_trigger_rules"):
        writer.move(name)
    writer.move("response_timeout", form=duration)
    users(writer)
    asked = writer.take("params")
    params = params_of(asked, writer.report, writer.owner)
    if params:
        writer.put("params", params, asked.line)
    told = writer.take("notifiers")
    if told is not None and told.value:
        writer.remark(told.line, "notifiers was left out: the page Required actions shows what waits")


def users(writer):
    """Who may answer."""
    for name in ("assigned_users", "respondents"):
        given = writer.take(name)
        if given is None or not given.value:
            continue
        try:
            writer.put("assigned_users", writer.plain(given.value, given.line), given.line)
        except NotPlain as error:
            raise Placeholder(f"{name}: {error}") from error


OPERATORS = {
    "ApprovalOperator": asking,
    "HITLOperator": asking,
    "HITLBranchOperator": asking,
    "HITLEntryOperator": asking,
    "EmptyOperator": empty,
    "DummyOperator": empty,
    "ExternalTaskMarker": marker,
    "BashOperator": bash,
    "PythonOperator": python_task,
    "PythonVirtualenvOperator": python_task,
    "ExternalPythonOperator": python_task,
    "BranchPythonOperator": branch_python,
    "BranchPythonVirtualenvOperator": branch_python,
    "BranchExternalPythonOperator": branch_python,
    "ShortCircuitOperator": short_circuit,
    "PythonSensor": python_sensor,
    "SQLExecuteQueryOperator": sql,
    **{name: sql for name in [*POSTGRES, *OTHER_SQL]},
    "HttpOperator": http,
    "SimpleHttpOperator": http,
    "TriggerDagRunOperator": trigger_dag_run,
    "DockerOperator": docker,
    "LatestOnlyOperator": latest_only,
    "BranchDateTimeOperator": branch_datetime,
    "BranchDayOfWeekOperator": branch_weekday,
    "FileSensor": waiting.file_sensor,
    "HttpSensor": waiting.http_sensor,
    "SqlSensor": waiting.sql_sensor,
    "ExternalTaskSensor": waiting.external_task_sensor,
    "BashSensor": waiting.bash_sensor,
    "TimeSensor": waiting.time_sensor,
    "TimeSensorAsync": waiting.time_sensor,
    "TimeDeltaSensor": waiting.time_delta_sensor,
    "TimeDeltaSensorAsync": waiting.time_delta_sensor,
    "DateTimeSensor": waiting.date_time_sensor,
    "DateTimeSensorAsync": waiting.date_time_sensor,
    "DayOfWeekSensor": waiting.weekday_sensor,
}
INSTEAD = {
    "SQLCheckOperator": "use sql_check: its query must give no row",
    "SQLValueCheckOperator": "use sql_check: its query must give no row",
    "SQLIntervalCheckOperator": "use sql_check: its query must give no row",
    "SQLThresholdCheckOperator": "use sql_check: its query must give no row",
    "SQLColumnCheckOperator": "use sql_check: its query must give no row",
    "SQLTableCheckOperator": "use sql_check: its query must give no row",
    "BranchSQLOperator": "use sql with output: rows, and a branch whose template reads them",
    "EmailOperator": "call your mail program in a bash task",
    "KubernetesPodOperator": "use docker",
    "SSHOperator": "use bash with ssh",
    "SubDagOperator": "use a task group, or trigger_dag_run",
    "ProduceToTopicOperator": "use kafka_produce",
    "ConsumeFromTopicOperator": "use kafka_consume",
    "AwaitMessageSensor": "use kafka_sensor",
}
VARIANTS = {
    "python": python_task,
    "virtualenv": python_task,
    "external_python": python_task,
    "branch": branch_python,
    "branch_virtualenv": branch_python,
    "branch_external_python": branch_python,
    "short_circuit": short_circuit,
    "sensor": python_sensor,
}


def convert(writer, maker):
    """Writes the keys of a task; Placeholder when it can not be converted."""
    task = writer.task
    if task.refused is not None:
        raise Placeholder(task.refused)
    if isinstance(task.func, ClassDef):
        own_operator(writer, maker)
        mapping.put(writer)
        return
    if task.variant == "bash":
        if task.expand is not None:
            raise Placeholder("@task.bash can not be expanded here: expand a task that returns the commands, and bash over it")
        waiting.task_bash(writer, maker)
        return
    if task.variant is not None:
        function = VARIANTS.get(task.variant)
        if function is None:
            raise Placeholder(f"@task.{task.variant} is not there; use docker or python")
        if task.expand is not None and function is not python_task:
            raise Placeholder(f"@task.{task.variant} can not be expanded here; expand what follows it")
        function(writer, maker)
        mapping.put(writer)
        return
    function = OPERATORS.get(task.operator)
    if function is None:
        advice = INSTEAD.get(task.operator, "there is no such operator here")
        raise Placeholder(f"{task.operator}: {advice}")
    if task.expand is not None and task.operator in mapping.OPERATORS:
        mapping.of_operator(writer, maker, function)
    elif task.expand is not None and function is not python_task:
        raise Placeholder(f"{task.operator} can not be expanded here")
    else:
        function(writer, maker)
    mapping.put(writer)


__all__ = ["Placeholder", "convert"]
