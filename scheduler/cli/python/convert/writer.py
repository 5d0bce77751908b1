"""One task of the format: keyword arguments taken one by one, so that what nobody has taken can be said."""

import re

import templates
from plain import NotPlain, duration, plain, why
from values import Asset, Rendered, Unknown

DURATIONS = {"retry_delay", "max_retry_delay", "execution_timeout"}
COMMON = (
    "trigger_rule", "retries", "retry_delay", "retry_exponential_backoff", "max_retry_delay", "execution_timeout", "pool",
    "pool_slots", "priority_weight", "weight_rule", "max_active_tis_per_dag", "max_active_tis_per_dagrun",
    "depends_on_past", "wait_for_downstream", "ignore_first_depends_on_past", "wait_for_past_depends_before_skipping",
    "do_xcom_push", "queue", "owner", "doc_md", "task_display_name", "email", "email_on_failure", "email_on_retry",
)  # fmt: skip
RENAMED = {"task_concurrency": "max_active_tis_per_dag", "xcom_push": "do_xcom_push"}
# Words that change nothing of what a task does.
COSMETIC = {
    "ui_color", "ui_fgcolor", "doc", "doc_rst", "doc_json", "doc_yaml", "show_return_value_in_logs",
    "provide_context", "logger_name", "display_name", "subdir", "run_as_owner",
}  # fmt: skip
# Words that ask for nothing when they have one of these values.
NOTHING = {
    "multiple_outputs": (False, None),
    "deferrable": (False, None),
    "start_from_trigger": (False,),
    "end_from_trigger": (False,),
    "allow_nested_operators": (True, None),
    "map_index_template": (None,),
    "sla": (None,),
    "params": (None, {}),
    "is_setup": (False,),
    "is_teardown": (False,),
    "on_failure_fail_dagrun": (False,),
    "templates_exts": (None, []),
    "render_template_as_native_obj": (False, None),
}
ADVICE = {
    "sla": "write the DAG's deadline",
    "executor": "a task can not choose its executor; `queue` chooses its workers",
    "executor_config": "a task can not set up its executor",
    "resources": "a task has no resources of its own; the worker's limits hold",
    "run_as_user": "a task runs as its worker's user",
    "map_index_template": "the task is not expanded here",
    "retry_policy": "write it as a list of rules, such as [{exit_code: 75, action: retry, delay: 1m}]",
    "pre_execute": "write a task that comes before",
    "post_execute": "write a task that follows",
    "multiple_outputs": "write multiple_outputs: true at the task",
    "deferrable": "the task holds its slot while it waits",
    "trigger_kwargs": "nothing is deferred",
}


class Placeholder(Exception):
    """The task can not be converted; the text says why, and what to do."""


class Writer:
    """The keys of one task, in their order."""

    def __init__(self, task, report, params, whole=()):
        self.task = task
        self.owner = task
        self.report = report
        self.params = params
        self.whole = whole
        self.kwargs = dict(task.kwargs)
        self.entries = []
        self.inherited = set()
        self.before = None
        # What the task is expanded over: the key, its value and line.
        self.expand = None

    def remark(self, line, text):
        self.report.remark(line, text, self.owner)

    def note(self, line, text):
        self.report.note(line, text, self.owner)

    def has(self, name):
        return name in self.kwargs

    def take(self, name):
        """The argument's value and line, or None; it is then taken."""
        return self.kwargs.pop(name, None)

    def value(self, name, default=None):
        """The argument's value, or the default; it is then taken."""
        given = self.take(name)
        return default if given is None else given.value

    def put(self, key, value, line=0):
        self.entries.append((key, value, line or self.task.line))

    def command(self, text, line):
        """The same for a command or SQL, without the blanks before its closing quotes."""
        return re.sub(r"\n[ \t]+\Z", "\n", self.template(text, line))

    def template(self, text, line, params=True):
        """A text whose template is looked at."""
        known = self.params if params else None
        return templates.converted(text, known, lambda words: self.remark(line, words), self.whole)

    def plain(self, value, line):
        """A value as YAML has it, its templates looked at."""
        return plain(value, lambda text: self.template(text, line))

    def move(self, name, key=None, form=None):
        """Takes an argument over as it is; false when it could not be."""
        given = self.take(name)
        if given is None or given.value is None:
            return True
        try:
            value = form(given.value) if form is not None else self.plain(given.value, given.line)
        except NotPlain as error:
            self.remark(given.line, f"{name} was left out: {error}")
            return False
        self.put(key or name, value, given.line)
        return True

    def need(self, name, key=None, form=None):
        """Takes over an argument that the operator can not do without; else the reason why it can not."""
        given = self.kwargs.get(name)
        if given is None and (key or name) in self.inherited:
            return None
        if given is None:
            return f"{name} is missing"
        if isinstance(given.value, Unknown):
            self.take(name)
            return f"{name}: {given.value.why}"
        text = self.command if name in ("bash_command", "sql") else self.template
        try:
            value = form(given.value) if form is not None else plain(given.value, lambda one: text(one, given.line))
        except NotPlain as error:
            self.take(name)
            return f"{name}: {error}"
        self.take(name)
        self.put(key or name, value, given.line)
        return None

    def common(self):
        """The keys that every task can have."""
        for old, new in RENAMED.items():
            given = self.take(old)
            if given is not None:
                self.kwargs.setdefault(new, given)
        for name in COMMON:
            given = self.kwargs.get(name)
            if given is None:
                continue
            if name == "weight_rule" and given.value not in ("downstream", "upstream", "absolute"):
                self.take(name)
                self.remark(
                    given.line, f"weight_rule {shown(given.value)} is not there; downstream, upstream or absolute are"
                )
                continue
            if name == "trigger_rule" and given.value in (
                "dummy",
                "none_failed_or_skipped",
                "none_failed_min_one_success",
            ):
                given.value = {"dummy": "always"}.get(given.value, "none_failed_min_one_success")
            self.move(name, form=duration if name in DURATIONS else None)
        self.assets("outlets")
        self.assets("inlets")

    def assets(self, name):
        given = self.take(name)
        if given is None:
            return
        value = given.value if isinstance(given.value, (list, tuple)) else [given.value]
        known = []
        for one in value:
            if isinstance(one, Asset) and one.kind in ("asset", "alias") and one.known():
                known.append(self.plain(one, given.line))
            else:
                self.remark(given.line, f"one of {name} was left out: its name is known only when the file runs")
        if known:
            self.put(name, known, given.line)

    def rest(self):
        """Says what nobody has taken."""
        for name, given in list(self.kwargs.items()):
            self.take(name)
            self.left(name, given)

    def left(self, name, given):
        if name == "**":
            self.remark(
                given.line, f"arguments that are known only when the file runs were left out ({why(given.value)})"
            )
            return
        if name in COSMETIC or name.startswith("_"):
            self.note(given.line, f"{name} is not shown")
            return
        if name in NOTHING and any(given.value is known or given.value == known for known in NOTHING[name]):
            return
        if name.startswith("on_") and name.endswith("_callback"):
            if given.value in (None, []):
                return
            self.remark(
                given.line, f"{name} was left out: write it as a webhook, slack, email, command or the name of a function"
            )
            return
        advice = ADVICE.get(name)
        self.remark(given.line, f"{name} was left out" + (f": {advice}" if advice else ": this task has no such key"))


def shown(value):
    if isinstance(value, str) and not isinstance(value, Rendered):
        return repr(value)
    return f"({why(value)})"


def fail(reason):
    """Ends the task's conversion when there is a reason."""
    if reason is not None:
        raise Placeholder(reason)


def environment(writer, name, key=None):
    """Variables of the environment: names with plain values."""
    given = writer.take(name)
    if given is None or given.value is None:
        return
    if not isinstance(given.value, dict):
        writer.remark(given.line, f"{name} was left out: it is known only when the file runs")
        return
    known = {}
    for variable, value in given.value.items():
        try:
            if isinstance(value, (dict, list, tuple)) or value is None:
                raise NotPlain("its value is no plain text")
            if not isinstance(variable, str) or not variable.isidentifier() or not variable.isascii():
                raise NotPlain("a variable's name has only letters, digits and _")
            known[variable] = writer.plain(value, given.line)
        except NotPlain as error:
            writer.remark(given.line, f"the variable {variable} was left out of {name}: {error}")
    if known:
        writer.put(key or name, known, given.line)


def bash_options(writer):
    """What a command has beside its text, whoever makes it."""
    environment(writer, "env")
    for name in ("append_env", "cwd", "skip_on_exit_code"):
        writer.move(name)
    processor = writer.take("output_processor")
    if processor is not None and getattr(processor.value, "path", "") != "json.loads":
        writer.remark(processor.line, "output_processor was left out; output that is JSON is parsed")
    # The keys of what it returns are read as parts of its one XCom.
    writer.take("multiple_outputs")
    writer.take("output_encoding")
