"""One DAG as a file of the format: its keys, groups and tasks, with a comment for everything that was left out."""

from operators import OTHER_SQL, POSTGRES, convert
from plain import NotPlain, plain
from settings import DEFAULT_KEYS, Settings, clean, params_of, task_defaults
from templates import has_template
from values import Given, Group, Moment, Rendered, Task, Timetable, Unknown, returns_mapping
from writer import COMMON, COSMETIC, NOTHING, RENAMED, Placeholder, Writer
from yamltext import Yaml

RENDERED_NAMES = {"ds", "ds_nodash", "ts", "ts_nodash", "run_id", "task_instance_key_str"}
# Keys that a task can do without when the reader refuses them.
SPARED = {*COMMON, "outlets", "inlets"}
# The key of a function in a module; when the reader finds no such module, the task becomes a script.
OF_MODULE = "python_callable"
# What runs before a branch has these keys; the branch itself the others.
OF_BRANCH = ("doc_md", "outlets", "inlets")

# Which operators take a connection by which name; default_args can name it for all of them.
OF_CONNECTION = {}
for _operator, _name in [*POSTGRES.items(), *OTHER_SQL.items()]:
    OF_CONNECTION.setdefault(_name, []).append(_operator)


class Made:
    """A task as it will be written."""

    def __init__(self, task, suffix, entries, dependencies):
        self.task = task
        self.label = task.label + suffix
        self.entries = entries
        self.dependencies = dependencies


class Document:
    """Makes the file of one DAG."""

    def __init__(self, dag, interpreter, source_lines, inline, refusals):
        self.dag = dag
        self.interpreter = interpreter
        self.report = interpreter.report
        self.source_lines = source_lines
        self.file_name = interpreter.file_name
        self.inline = inline
        self.refusals = refusals
        self.scripts = {}
        self.placeholders = 0
        stem = self.file_name.rsplit("/", 1)[-1].rsplit(".", 1)[0]
        self.settings = Settings(dag, self.report, stem)
        self.dag_id = interpreter.valid(self.settings.dag_id(), "DAG", dag.line, dag)
        self.whole = {task.task_id for task in dag.tasks if returns_mapping(task)}
        self.common_names = {*COMMON, *COSMETIC, *NOTHING, *RENAMED, "outlets", "inlets", "executor_config", "executor"}

    # What tasks ask for while they are converted.

    def zone(self):
        return self.settings.zone()

    def code(self, task, text, suffix, line):
        """The entry that names a script, or has it."""
        if self.inline:
            return ("python", text, line)
        name = f"scripts/{self.dag_id}__{task.task_id}{suffix}.py"
        self.scripts[name] = text
        return ("script", name, line)

    def mount(self, value):
        """A mount of a container, written as `Mount(…)`."""
        if not isinstance(value, Timetable) or value.name != "Mount":
            return None
        kwargs = dict(zip(("target", "source", "type", "read_only"), value.args))
        kwargs.update(value.kwargs)
        try:
            return plain({name: one for name, one in kwargs.items() if one is not None})
        except NotPlain:
            return None

    def evaluated(self, what):
        """What a function returns, when it is followed now."""
        spec = what.func.node.args
        if spec.vararg is not None:
            return Unknown(0, "")
        kwargs = {name: opaque(value) for name, value in what.kwargs.items()}
        names = [arg.arg for arg in [*getattr(spec, "posonlyargs", []), *spec.args, *spec.kwonlyargs]]
        for name in names[len(what.args) :]:
            if name in RENDERED_NAMES and name not in kwargs:
                kwargs[name] = Rendered("{{ " + name + " }}")
        node = what.func.node
        self.report.muted += 1
        try:
            return self.interpreter.call_func(node, what.func, [opaque(value) for value in what.args], kwargs)
        finally:
            self.report.muted -= 1

    # The whole.

    def build(self):
        """Everything about the DAG, as JSON has it."""
        settings = self.settings
        params_given = settings.given.pop("params", None)
        settings.read()
        params = params_of(params_given, self.report, self.dag)
        self.task_params(params)
        names = set(params)
        made = [one for task in self.dag.tasks for one in self.task(task, names)]
        groups = [self.group(group) for group in self.dag.groups if group.is_real() and self.tasks_of(group)]
        for group in self.dag.groups:
            if not group.is_real() and group.is_flat():
                self.report.note(
                    group.line, f"the group {group.name!r} does not prefix its tasks' ids, so it is not drawn", self.dag
                )
        if not made:
            self.report.remark(self.dag.line, f"the DAG {self.dag_id!r} has no task; it can not be written", self.dag)
        return self.write(params, groups, made)

    def task_params(self, params):
        """Params of tasks become params of the DAG, unless the DAG has others of the name."""
        for task in self.dag.tasks:
            given = task.kwargs.get("params")
            # A task that asks people asks for its params.
            asks = task.operator in ("ApprovalOperator", "HITLOperator", "HITLBranchOperator", "HITLEntryOperator")
            if asks or given is None or not isinstance(given.value, dict) or not given.value:
                continue
            task.kwargs.pop("params")
            for name, value in params_of(given, self.report, task).items():
                if name in params and params[name] != value:
                    self.report.remark(
                        given.line, f"the task's own value of the param {name!r} was left out: the DAG's holds", task
                    )
                elif name not in params:
                    params[name] = value
                    self.report.note(given.line, f"the task's param {name!r} is a param of the DAG", task)

    def tasks_of(self, group):
        return [task for task in self.dag.tasks if group.contains(task) and not self.is_dropped(task)]

    def refused(self, mark):
        return self.refusals.get(mark, [])

    def refused_task(self, task):
        """Why the reader refuses more of a task than a key that it can do without."""
        return [words for key, words in self.refused("t:" + task.task_id) if key not in (*SPARED, OF_MODULE)]

    def is_dropped(self, task):
        return len(self.refused_task(task)) > 2

    def task(self, task, params):
        """The task, with the one that runs before it when there is one; nothing when it is left out."""
        refused = self.refused_task(task)
        if self.is_dropped(task):
            self.report.remark(task.line, f"the task {task.task_id!r} was left out: {refused[-1]}", self.dag)
            return []
        writer = Writer(task, self.report, params, self.whole)
        self.inherit(writer)
        for key, words in self.refused("t:" + task.task_id):
            given = writer.take(key) if key in SPARED else None
            if given is not None:
                writer.remark(given.line, f"{key} was left out: {words}")
            if key == OF_MODULE:
                task.may_name_module = False
        if refused:
            task.refused = refused[0]
        if len(refused) > 1:
            for name in (*COMMON, "outlets", "inlets"):
                writer.take(name)
        self.words_of(writer)
        try:
            convert(writer, self)
        except Placeholder as error:
            return self.placeholder(task, writer, str(error), params)
        except NotPlain as error:
            return self.placeholder(task, writer, str(error), params)
        mark = len(writer.entries)
        writer.common()
        self.setup(writer)
        self.dates(writer)
        writer.rest()
        own, common = writer.entries[:mark], writer.entries[mark:]
        if writer.before is None:
            return [Made(task, "", own + common, self.dependencies(task, task.upstream))]
        suffix, entries = writer.before
        first = Made(
            task,
            suffix,
            entries + [one for one in common if one[0] not in OF_BRANCH],
            self.dependencies(task, task.upstream),
        )
        second = Made(task, "", own + [one for one in common if one[0] in OF_BRANCH], [task.task_id + suffix])
        return [first, second]

    def inherit(self, writer):
        """What the task takes from default_args that its own keys are made of."""
        given = self.dag.kwargs.get("default_args")
        layers = [given.value] if given is not None and isinstance(given.value, dict) else []
        group = writer.task.group
        while group is not None:
            given = group.kwargs.get("default_args")
            if given is not None and isinstance(given.value, dict):
                layers.append(given.value)
            group = group.parent
        for layer in layers:
            for name, value in layer.items():
                if (
                    name.endswith("_conn_id")
                    and name not in writer.kwargs
                    and writer.task.operator in OF_CONNECTION.get(name, ())
                ):
                    writer.kwargs[name] = Given(value, writer.task.line)
            writer.inherited.update(name for name in layer if name in DEFAULT_KEYS)

    def words_of(self, writer):
        """Texts for people, without their indentation."""
        given = writer.kwargs.get("doc_md")
        if given is not None and isinstance(given.value, str):
            writer.kwargs["doc_md"] = Given(clean(given.value), given.line)

    def setup(self, writer):
        """What is set up and taken away; the setups of a teardown are among its dependencies."""
        teardown, setup = writer.take("is_teardown"), writer.take("is_setup")
        fails_run = writer.take("on_failure_fail_dagrun")
        if teardown is not None and teardown.value is True:
            # Airflow gives a teardown its rule, whatever it was given before.
            writer.entries = [entry for entry in writer.entries if entry[0] != "trigger_rule"]
            writer.put("teardown", True, teardown.line)
            if fails_run is not None and fails_run.value is True:
                writer.put("on_failure_fail_dagrun", True, fails_run.line)
        elif setup is not None and setup.value is True:
            writer.put("setup", True, setup.line)

    def dates(self, writer):
        """The dates whose runs have the task."""
        for name in ("start_date", "end_date"):
            given = writer.take(name)
            if given is None or given.value is None:
                continue
            own = self.dag.kwargs.get(name)
            if own is not None and own.value == given.value:
                continue
            text = given.value.text(self.zone()) if isinstance(given.value, Moment) else None
            if text is None:
                writer.remark(given.line, f"{name} was left out: it is no fixed date in the DAG's zone")
            else:
                writer.put(name, text, given.line)

    def placeholder(self, task, writer, reason, params):
        """A task that fails, with the reason, in place of one that could not be converted."""
        self.placeholders += 1
        self.report.remark(task.line, f"{task.task_id} was not converted: {reason}", task)
        text = f"{reason} ({self.file_name.rsplit('/', 1)[-1]}, line {task.line})"
        code = f"import windlass\n\nwindlass.fail({('not converted: ' + text)!r})\n"
        fresh = Writer(task, self.report, params)
        spared = {key for key, _ in self.refused("t:" + task.task_id)}
        fresh.kwargs = {name: given for name, given in fresh.kwargs.items() if name not in spared}
        if len(self.refused_task(task)) > 1:
            fresh.kwargs = {}
        fresh.put("operator", "python")
        fresh.put("python", code)
        self.report.muted += 1
        try:
            fresh.common()
            self.setup(fresh)
        finally:
            self.report.muted -= 1
        # There is no use in trying again what can not succeed.
        entries = [entry for entry in fresh.entries if entry[0] not in ("retries", "doc_md")]
        for name in list(writer.kwargs):
            if name in COMMON or name in COSMETIC or name in ("outlets", "inlets"):
                writer.take(name)
        return [Made(task, "", entries, self.dependencies(task, task.upstream))]

    # Arrows.

    def ends_before(self, before):
        """The names that stand for a task or group in `dependencies`."""
        if isinstance(before, Task):
            if self.is_dropped(before):
                return [name for one in before.upstream for name in self.ends_before(one)]
            return [before.task_id]
        inside = self.tasks_of(before)
        if not inside:
            return [name for one in before.upstream for name in self.ends_before(one)]
        if before.is_real():
            return [before.path()]
        leaves = [task for task in inside if not any(task in other.upstream for other in inside)]
        return [task.task_id for task in leaves]

    def dependencies(self, target, upstream):
        """What `dependencies` of a task or group has."""
        found = []
        scope = target.group.path() if isinstance(target, Task) else (target.parent.path() if target.parent else "")
        if isinstance(target, Task):
            upstream = [*upstream, *self.of_flat_groups(target)]
        for before in upstream:
            if isinstance(before, Group) and before.contains(target):
                self.report.remark(
                    target.line, f"an arrow from the group {before.name!r} into itself was left out", self.dag
                )
                continue
            if isinstance(before, Task) and isinstance(target, Group) and target.contains(before):
                self.report.remark(
                    target.line, f"an arrow from {before.task_id!r} to its own group was left out", self.dag
                )
                continue
            if isinstance(before, Task) and before.dag is not None and before.dag is not self.dag:
                self.report.remark(
                    target.line, f"an arrow from {before.task_id!r} of another DAG was left out", self.dag
                )
                continue
            for name in self.ends_before(before):
                if self.is_shadowed(name, scope):
                    self.report.remark(
                        target.line,
                        f"an arrow from {name!r} was left out: in the group, that name means another task",
                        self.dag,
                    )
                elif name not in found:
                    found.append(name)
        return found

    def of_flat_groups(self, task):
        """What comes before groups that are only drawn and that the task begins."""
        found = []
        group = task.group
        while group is not None:
            if group.name is not None and not group.is_real():
                inside = self.tasks_of(group)
                if not any(before in inside for before in task.upstream):
                    found.extend(group.upstream)
            group = group.parent
        return found

    def is_shadowed(self, name, scope):
        ids = {task.task_id for task in self.dag.tasks} | {group.path() for group in self.dag.groups if group.is_real()}
        while scope:
            if f"{scope}.{name}" in ids:
                return True
            scope = scope.rpartition(".")[0]
        return False

    def group(self, group):
        entries = [("group_name", group.name, group.line)]
        parent = group.parent
        while parent is not None and parent.name is not None and not parent.is_real():
            parent = parent.parent
        if parent is not None and parent.name is not None:
            entries.append(("parent_group_name", parent.name, group.line))
        for name, given in group.kwargs.items():
            if name in ("group_id", "prefix_group_id", "add_suffix_on_collision") or given.value in (None, "", {}):
                continue
            if name == "tooltip" and isinstance(given.value, str):
                entries.append((name, given.value, given.line))
            elif name == "default_args" and isinstance(given.value, dict):
                values = {key: Given(one, given.line) for key, one in given.value.items() if isinstance(key, str)}
                known = task_defaults(values, given.line, self.report, self.dag)
                if known:
                    entries.append((name, known, given.line))
            elif name in ("ui_color", "ui_fgcolor", "group_display_name", "doc_md"):
                self.report.note(given.line, f"{name} of a group is not shown", self.dag)
            else:
                self.report.remark(
                    given.line, f"{name} of the group {group.name!r} was left out: a group has no such key", self.dag
                )
        before = self.dependencies(group, group.upstream)
        if before:
            entries.append(("dependencies", before, group.line))
        return entries

    # Text.

    def remarks_of(self, owner):
        return sorted((one for one in self.report.remarks if one.owner is owner), key=lambda one: one.line)

    def write(self, params, groups, made):
        yaml = Yaml()
        marks = []

        def mark(word):
            marks.extend([word] * (len(yaml.lines) - len(marks)))

        yaml.comment(0, f"Converted from {self.file_name.rsplit('/', 1)[-1]}, line {self.dag.line}.")
        for one in self.remarks_of(self.dag):
            yaml.comment(0, comment(one), one.line)
        mark("")
        yaml.entry(0, "dag_id", self.dag_id, self.dag.line)
        mark("d:dag_id")
        entries = [*self.settings.entries]
        if params:
            entries.append(("params", params, self.dag.line))
        for key, value, line in entries:
            if key == "default_args" and self.refused("d:" + key):
                value = self.spared_defaults(yaml, value, line)
                if value:
                    yaml.entry(0, key, value, line)
                    mark("d:" + key)
                continue
            if self.refused("d:" + key):
                line_text = self.refused("d:" + key)[0][1]
                self.report.remark(line, f"{key} was left out: {line_text}", self.dag)
                yaml.comment(0, f"line {line}: {key} was left out: {line_text}", line)
                if key != "schedule":
                    continue
                value = None
            yaml.entry(0, key, value, line)
            mark("d:" + key)
        if groups:
            yaml.line(0, "task_groups:", self.dag.line)
            for entries in groups:
                self.item(yaml, entries)
            mark("d:task_groups")
        yaml.line(0, "tasks:", self.dag.line)
        mark("d:tasks")
        seen = set()
        for one in made:
            if id(one.task) not in seen:
                seen.add(id(one.task))
                for remark in self.remarks_of(one.task):
                    yaml.comment(1, comment(remark), remark.line)
            self.item(yaml, self.entries_of(one))
            mark("t:" + one.task.task_id)
        return {
            "dag_id": self.dag_id,
            "line": self.dag.line,
            "yaml": yaml.text() if made else "",
            "python_lines": yaml.python_lines(),
            "marks": marks,
            "scripts": self.scripts,
            "files": [[name, line] for task in self.dag.tasks for name, line in task.files],
            "tasks": len(made),
            "placeholders": self.placeholders,
        }

    def spared_defaults(self, yaml, defaults, line):
        """The defaults without those that the reader refuses."""
        defaults = dict(defaults)
        for key, words in self.refused("d:default_args"):
            defaults.pop(key, None)
            text = f"{key} of default_args was left out: {words}"
            self.report.remark(line, text, self.dag)
            yaml.comment(0, f"line {line}: {text}", line)
        # What is refused as a whole goes as a whole.
        return defaults if all(key != "default_args" for key, _ in self.refused("d:default_args")) else {}

    def entries_of(self, made):
        task = made.task
        entries = [("task_id", made.label, task.line)]
        group = task.group
        while group is not None and not group.is_real() and group.name is not None:
            group = group.parent
        if group is not None and group.name is not None:
            entries.append(("task_group_name", group.name, task.line))
        entries.extend(made.entries)
        if made.dependencies:
            entries.append(("dependencies", made.dependencies, task.line))
        return entries

    @staticmethod
    def item(yaml, entries):
        first = True
        for key, value, line in entries:
            yaml.entry(1 if first else 2, key, value, line, "- " if first else "")
            first = False


def comment(remark):
    return f"{'note, ' if remark.whole else ''}line {remark.line}: {remark.text}"


def opaque(value):
    """A text with a template is known only when it has been rendered."""
    if isinstance(value, str) and has_template(value):
        return Rendered(value)
    return value
