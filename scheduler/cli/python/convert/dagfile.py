"""What Airflow's own names do in a DAG file: DAGs, groups, tasks, the arrows between them."""

import ast
import re

import library
from arrows import Arrows
from expressions import Expressions
from statements import Returned, Statements
from values import (
    TASKS_MAX,
    Asset,
    ClassDef,
    Dag,
    Decorated,
    Decorator,
    Env,
    Func,
    Given,
    Group,
    Joined,
    Label,
    Param,
    Partial,
    Ref,
    Rendered,
    Report,
    Task,
    Timetable,
    TooMuch,
    Unknown,
    XCom,
    ends_of,
    xcoms_in,
    is_literal,
)

GRAPH = {"chain", "chain_linear", "cross_downstream"}
TIMETABLES_END = ("Timetable", "OrTimeSchedule")
ID_MAX = 200


class Interpreter(Expressions, Statements, Arrows):
    """Follows one file."""

    def __init__(self, file_name):
        self.file_name = file_name
        self.report = Report()
        self.steps = 0
        self.depth = 0
        self.dags = []
        self.groups = []
        self.found = []
        self.task_count = 0
        self.orphans = []
        self.uncalled = {}
        # The calls that made DAGs, and the definitions that were reached.
        self.followed = set()

    def follow(self, tree):
        env = Env()
        document = ast.get_docstring(tree, clean=False)
        env.bind("__doc__", document)
        try:
            self.run(tree.body, env)
        except Returned:
            pass
        for decorated in self.uncalled.values():
            if decorated.kind == "dag":
                self.report.remark(decorated.line, f"`{decorated.func.name}` is never called, so it makes no DAG")
        self.look_for_unreached(tree, env)
        for task in self.orphans:
            if task.dag is None:
                self.report.remark(task.line, f"the task {task.label!r} belongs to no DAG and was left out")
        return self.found

    def look_for_unreached(self, tree, env):
        """Says where the file makes a DAG in code that could not be followed."""
        for node in ast.walk(tree):
            if node in self.followed:
                continue
            if isinstance(node, ast.Call) and self.is_airflows(node.func, "DAG", env):
                self.report.remark(node.lineno, "what makes this DAG could not be followed, so it is missing")
            if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)) and any(
                self.is_airflows(one.func if isinstance(one, ast.Call) else one, "dag", env)
                for one in node.decorator_list
            ):
                self.report.remark(node.lineno, f"what makes the DAG of `{node.name}` could not be followed, so it is missing")

    @staticmethod
    def is_airflows(node, last, env):
        """Whether a name of the module, or a path from one, is this thing of Airflow."""
        path = ast.unparse(node).split(".")
        binding = env.find(path[0])
        of = binding.value if binding is not None else None
        return isinstance(of, Ref) and of.of_airflow and ".".join([of.path, *path[1:]]).split(".")[-1] == last

    def imported(self, path):
        return library.imported(path)

    def owner(self):
        return self.dags[-1] if self.dags else None

    # What is called.

    def call_airflow(self, node, env, ref, args, kwargs, lines):
        last = ref.last
        given = {name: Given(value, lines.get(name, node.lineno)) for name, value in kwargs.items()}
        if last == "DAG" and (ref.of_airflow or "dag_id" in kwargs or "schedule" in kwargs):
            return self.make_dag(node, args, given)
        decorator = self.decorator_of(ref, args, given, node.lineno)
        if decorator is not None:
            if args and isinstance(args[0], (Func, Decorated)):
                return self.decorated(decorator, args[0], node.lineno)
            return decorator
        if last == "TaskGroup" and ref.of_airflow:
            return self.make_group(node, args, given)
        if last in GRAPH and ref.of_airflow:
            return self.arrows(node, last, args)
        if ref.of_airflow or "task_id" in kwargs:
            return self.call_named(node, ref, args, given)
        return NotImplemented

    def call_named(self, node, ref, args, given):
        last = ref.last
        if last == "Label":
            return Label()
        if last == "Param":
            return self.param(args, given)
        if last in ("Asset", "Dataset", "AssetAlias", "DatasetAlias", "Model", "AssetAny", "AssetAll"):
            return self.asset(last, args, given)
        if last == "XComArg" and args and isinstance(args[0], (Task, XCom)):
            key = given["key"].value if "key" in given else (args[1] if len(args) > 1 else None)
            task = args[0].task if isinstance(args[0], XCom) else args[0]
            return XCom(task, key if isinstance(key, str) and key != "return_value" else None)
        if ref.path.endswith("Variable.get") and args and isinstance(args[0], str):
            return self.variable(args, given)
        if last == "days_ago":
            return self.unknown(node, "`days_ago(…)` moves with the clock")
        if last == "parse" and "timezone" in ref.path and args and isinstance(args[0], str):
            return library.parse_moment(args[0])
        if last.endswith(TIMETABLES_END):
            return Timetable(last, args, {name: one.value for name, one in given.items()})
        if "task_id" in given or last.endswith(("Operator", "Sensor")):
            task = self.new_task(None, last, given, node.lineno, args)
            task.path = ref.path
            return task
        return NotImplemented

    def variable(self, args, given):
        name = args[0]
        default = given.get("default_var") or given.get("default")
        default = default.value if default is not None else (args[1] if len(args) > 1 else NotImplemented)
        is_json = "deserialize_json" in given and given["deserialize_json"].value is True
        form = "json" if is_json else "value"
        if default is NotImplemented:
            plain = name.isidentifier()
            return Rendered("{{ var." + form + (f".{name}" if plain else f"[{name!r}]") + " }}")
        if not is_literal(default):
            return Unknown(0, f"the default of the variable {name} is known only when the file runs")
        return Rendered("{{ var." + form + f".get({name!r}, {default!r}) " + "}}")

    def param(self, args, given):
        schema = {}
        if args:
            schema["default"] = args[0]
        if len(args) > 1:
            schema["description"] = args[1]
        for name, one in given.items():
            if name == "schema" and isinstance(one.value, dict):
                schema.update(one.value)
            elif name != "source":
                schema[name] = one.value
        return Param(schema)

    def asset(self, kind, args, given):
        texts = [arg for arg in args if isinstance(arg, str)]
        name = given["name"].value if "name" in given else None
        uri = given["uri"].value if "uri" in given else None
        if kind in ("Asset", "Dataset", "Model"):
            if len(texts) == 2:
                name, uri = texts
            elif texts and uri is None and name is None:
                name, uri = (None, texts[0]) if "://" in texts[0] else (texts[0], None)
            elif texts and uri is None:
                uri = texts[0]
            return Asset(name, uri)
        if kind.endswith("Alias"):
            return Asset(texts[0] if texts else name, None, "alias")
        return Asset(None, None, kind[len("Asset") :].lower(), list(args))

    def call_class(self, node, env, cls, args, kwargs, lines):
        """An operator of the file's own."""
        base = self.operator_base(cls)
        if base is None:
            return self.unknown(node)
        given = {name: Given(value, lines.get(name, node.lineno)) for name, value in kwargs.items()}
        task = self.new_task(None, base, given, node.lineno, args)
        task.func = cls
        return task

    def operator_base(self, cls, depth=0):
        """The operator class of Airflow that a class of the file comes from."""
        if depth > 10:
            return None
        for base in cls.bases:
            if isinstance(base, ClassDef):
                found = self.operator_base(base, depth + 1)
                if found is not None:
                    return found
            if isinstance(base, Ref) and base.last.endswith(("Operator", "Sensor")):
                return base.last
        return None

    def decorator_of(self, ref, args, given, line):
        """`@dag`, `@task…`, `@task_group`, `@setup`, `@teardown`, `@asset` of Airflow, or None."""
        given = {name: one if isinstance(one, Given) else Given(one, line) for name, one in given.items()}
        if not ref.of_airflow:
            return None
        parts = ref.path.split(".")
        if parts[-1] in ("dag", "asset"):
            if args and isinstance(args[0], str):
                given = {"dag_id": Given(args[0], line), **given}
            return Decorator(parts[-1], None, given, line)
        if parts[-1] == "task_group":
            if args and isinstance(args[0], str):
                given = {"group_id": Given(args[0], line), **given}
            return Decorator("group", None, given, line)
        if parts[-1] in ("setup", "teardown") and len(parts) <= 4:
            return Decorator("task", parts[-1], given, line)
        if parts[-1] == "task":
            return Decorator("task", "python", given, line)
        if len(parts) > 1 and parts[-2] == "task":
            return Decorator("task", parts[-1], given, line)
        return None

    def decorated(self, decorator, function, line):
        if isinstance(function, Decorated) and decorator.variant in ("setup", "teardown"):
            function.kwargs["is_" + decorator.variant] = Given(True, line)
            return function
        if not isinstance(function, Func):
            return self.unknown(function.func.node if isinstance(function, Decorated) else ast.Pass(lineno=line))
        kwargs = dict(decorator.kwargs)
        variant = decorator.variant
        if variant in ("setup", "teardown"):
            kwargs["is_" + variant] = Given(True, line)
            variant = "python"
        made = Decorated(decorator.kind, variant, kwargs, function, function.node.lineno)
        if decorator.kind == "asset":
            self.asset_dag(made)
        elif decorator.kind == "dag":
            self.uncalled[id(made)] = made
        return made

    def call_other(self, node, env, function, args, kwargs, lines):
        given = {name: Given(value, lines.get(name, node.lineno)) for name, value in kwargs.items()}
        if isinstance(function, Decorator) and args and isinstance(args[0], (Func, Decorated)):
            return self.decorated(function, args[0], node.lineno)
        if isinstance(function, Decorated) and function.kind == "dag":
            return self.call_dag(node, function, args, kwargs)
        if isinstance(function, Decorated) and function.kind == "group":
            return self.call_group(node, function, args, kwargs)
        if isinstance(function, Decorated) and function.kind == "task":
            return XCom(self.call_task(node, function, args, given))
        return NotImplemented

    # Methods of DAGs, groups, tasks and decorated functions.

    def call_method(self, node, env, method, args, kwargs, lines):
        owner, name = method.owner, method.name
        given = {key: Given(value, lines.get(key, node.lineno)) for key, value in kwargs.items()}
        if isinstance(owner, (Task, XCom, Group, Joined)):
            return self.of_graph(node, owner, name, args, given)
        if isinstance(owner, Decorated) and name == "override":
            return Decorated(owner.kind, owner.variant, {**owner.kwargs, **given}, owner.func, owner.line)
        if isinstance(owner, (Decorated, Partial, Ref, ClassDef)) and name in ("partial", "expand", "expand_kwargs"):
            return self.mapped(node, owner, name, args, given)
        if isinstance(owner, Dag):
            if name in ("test", "cli"):
                return None
            if name == "get_task" and args:
                return next((task for task in owner.tasks if task.task_id == args[0]), self.unknown(node))
        return NotImplemented

    def set_attribute(self, owner, name, value, line):
        """`task.doc_md = …`, `dag.doc_md = …`."""
        if isinstance(owner, XCom):
            owner = owner.task
        if isinstance(owner, (Task, Dag)):
            owner.kwargs[name] = Given(value, line)
            return True
        return False

    # DAGs, groups and tasks.

    def make_dag(self, node, args, given):
        if args:
            given = {"dag_id": Given(args[0], node.lineno), **given}
        for name, value in zip(("description", "schedule"), args[1:]):
            given.setdefault(name, Given(value, node.lineno))
        self.followed.add(node)
        dag = Dag(given, node.lineno)
        self.found.append(dag)
        return dag

    def call_dag(self, node, function, args, kwargs):
        self.uncalled.pop(id(function), None)
        given = dict(function.kwargs)
        given.setdefault("dag_id", Given(function.func.name, function.line))
        document = ast.get_docstring(function.func.node)
        if document and "doc_md" not in given:
            given["doc_md"] = Given(document, function.line)
        dag = Dag(given, function.line)
        self.found.append(dag)
        env = Env(function.func.env)
        if not self.bind_arguments(function.func, env, args, kwargs):
            self.report.remark(node.lineno, f"the arguments of `{function.func.name}` do not fit", dag)
            return dag
        params = {}
        for name, binding in list(env.names.items()):
            # An argument of the function is a param of the DAG, with its value as the default.
            params[name] = binding.value
            env.bind(name, Rendered("{{ params." + name + " }}"))
        if params:
            written = given.get("params")
            known = written.value if written is not None and isinstance(written.value, dict) else {}
            dag.kwargs["params"] = Given({**params, **known}, function.line)
        self.inside(dag, dag.root, lambda: self.run(function.func.node.body, env))
        return dag

    def inside(self, dag, group, follow):
        self.dags.append(dag)
        self.groups.append(group)
        self.depth += 1
        try:
            follow()
        except Returned as returned:
            return returned.value
        finally:
            self.depth -= 1
            self.groups.pop()
            self.dags.pop()
        return None

    def asset_dag(self, made):
        """`@asset` makes a DAG with one task, which writes the asset."""
        given = dict(made.kwargs)
        uri = given.pop("uri", None)
        name = given.pop("name", None)
        name = name.value if name is not None and isinstance(name.value, str) else made.func.name
        given.setdefault("dag_id", Given(name, made.line))
        dag = Dag(given, made.line)
        self.found.append(dag)
        outlet = Asset(name, uri.value if uri is not None and isinstance(uri.value, str) else None)
        function = Decorated("task", "python", {"outlets": Given([outlet], made.line)}, made.func, made.line)
        node = made.func.node
        self.inside(dag, dag.root, lambda: self.call_task(node, function, [], {}))

    def make_group(self, node, args, given):
        if args:
            given = {"group_id": Given(args[0], node.lineno), **given}
        for name, value in zip(("prefix_group_id", "parent_group"), args[1:]):
            given.setdefault(name, Given(value, node.lineno))
        parent = given.pop("parent_group", None)
        dag = given.pop("dag", None)
        dag = dag.value if dag is not None and isinstance(dag.value, Dag) else self.owner()
        parent = parent.value if parent is not None and isinstance(parent.value, Group) else None
        if parent is None:
            inside = self.groups and self.groups[-1].dag is dag
            parent = self.groups[-1] if inside else (dag.root if dag is not None else None)
        if dag is None:
            return self.unknown(node, "a task group outside of a DAG")
        return self.new_group(given, node.lineno, dag, parent)

    def new_group(self, given, line, dag, parent):
        name = given["group_id"].value if "group_id" in given else None
        if not isinstance(name, str) or not name:
            self.report.remark(line, "the group's id is known only when the file runs", dag)
            name = f"group_{len(dag.groups) + 1}"
        name = self.valid(name, "group", line, dag).replace(".", "_")
        taken = {group.name for group in dag.groups}
        fresh = name
        count = 1
        while fresh in taken:
            fresh = f"{name}__{count}"
            count += 1
        is_same_place = any(group.name == name and group.parent is parent for group in dag.groups)
        if fresh != name and not is_same_place:
            self.report.remark(
                line,
                f"there is another group {name!r} in this DAG; this one is {fresh!r}, and so its tasks' ids change",
                dag,
            )
        group = Group(fresh, given, line, dag, parent)
        dag.groups.append(group)
        return group

    def call_group(self, node, function, args, kwargs):
        dag = self.owner()
        if dag is None:
            return self.unknown(node, "a task group outside of a DAG")
        given = dict(function.kwargs)
        given.setdefault("group_id", Given(function.func.name, function.line))
        document = ast.get_docstring(function.func.node)
        if document and "tooltip" not in given:
            given["tooltip"] = Given(document.strip().splitlines()[0], function.line)
        group = self.new_group(given, node.lineno, dag, self.groups[-1])
        env = Env(function.func.env)
        if not self.bind_arguments(function.func, env, args, kwargs):
            self.report.remark(node.lineno, f"the arguments of `{function.func.name}` do not fit", dag)
            return group
        for value in [*args, *kwargs.values()]:
            for xcom in xcoms_in(value):
                # Only tasks inside that use it wait for it, as in Airflow.
                xcom.task.pulled_by = True
        returned = self.inside(dag, group, lambda: self.run(function.func.node.body, env))
        return returned if ends_of(returned) else group

    def call_task(self, node, function, args, given, mapped=False):
        """`function(…)` where the function is decorated with `@task`."""
        options = dict(function.kwargs)
        label = options.pop("task_id", None)
        label = label.value if label is not None else function.func.name
        document = ast.get_docstring(function.func.node)
        if document and "doc_md" not in options:
            options["doc_md"] = Given(document, function.line)
        if not isinstance(label, str):
            label = function.func.name
        task = self.new_task(label, "@task", options, node.lineno, [], suffix=True)
        task.variant = function.variant
        task.func = function.func
        task.call_args = args
        task.call_kwargs = {} if mapped and "**" in given else dict(given)
        for value in [*args, *[one.value for one in given.values()]]:
            self.feed(value, task)
        return task

    def new_task(self, label, operator, given, line, args, suffix=False):
        given = dict(given)
        if label is None:
            named = given.pop("task_id", None)
            label = named.value if named is not None else (args[0] if args else None)
        if args and "task_id" not in given and label is not args[0]:
            self.report.remark(line, f"arguments of {operator} without names are not read", self.owner())
        dag = given.pop("dag", None)
        group = given.pop("task_group", None)
        self.task_count += 1
        if self.task_count > TASKS_MAX:
            raise TooMuch(f"the file makes more than {TASKS_MAX} tasks")
        task = Task(label, operator, given, line)
        dag = dag.value if dag is not None and isinstance(dag.value, Dag) else self.owner()
        group = group.value if group is not None and isinstance(group.value, Group) else None
        if group is None and self.groups and self.groups[-1].dag is dag:
            group = self.groups[-1]
        inherit(given, group)
        if dag is None:
            self.orphans.append(task)
        else:
            self.adopt(task, dag, group)
        if not isinstance(label, str) or isinstance(label, Rendered):
            why = label.why if isinstance(label, Unknown) else "it is no text"
            task.label = f"task_{self.task_count}"
            self.report.remark(line, f"the task's id is not known ({why}); it is called {task.label!r}", task)
        else:
            task.label = self.valid(label, "task", line, task)
        if suffix and dag is not None:
            self.suffix(task)
        for one in given.values():
            self.feed(one.value, task)
        return task

    def valid(self, name, what, line, owner):
        """The id with characters that Windlass takes."""
        fresh = re.sub(r"[^A-Za-z0-9_.-]", "_", name)[:ID_MAX]
        if fresh != name:
            self.report.remark(
                line, f"the id {name!r} is not valid here (A-Z a-z 0-9 _ . -); the {what} is called {fresh!r}", owner
            )
        return fresh

    def adopt(self, task, dag, group):
        task.dag = dag
        task.group = group or dag.root
        dag.tasks.append(task)

    def suffix(self, task):
        """A function's second task in a group is `name__1`, as in Airflow."""
        taken = {other.task_id for other in task.dag.tasks if other is not task}
        label, count = task.label, 1
        while task.task_id in taken:
            task.label = f"{label}__{count}"
            count += 1


def inherit(given, group):
    """Gives a task the default_args of groups that are only drawn: the format has no such group that could hold them."""
    nearer = set()
    while group is not None and group.name is not None:
        defaults = group.kwargs.get("default_args")
        values = defaults.value if defaults is not None and isinstance(defaults.value, dict) else {}
        for name, value in values.items():
            if group.is_flat() and name not in nearer and isinstance(name, str):
                given.setdefault(name, Given(value, defaults.line))
        nearer.update(values)
        group = group.parent
