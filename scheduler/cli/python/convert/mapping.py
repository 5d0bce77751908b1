"""Tasks that are expanded over values: what `partial`, `expand` and `expand_kwargs` become."""

from plain import NotPlain, plain
from templates import has_template
from values import Func, Given, Joined, Task, XCom, xcoms_in
from writer import Placeholder, Writer

# Operators whose arguments may be expanded here, too.
OPERATORS = {
    "BashOperator", "SQLExecuteQueryOperator", "PostgresOperator", "TrinoOperator", "HttpOperator", "SimpleHttpOperator",
    "TriggerDagRunOperator", "DockerOperator", "FileSensor", "HttpSensor", "SqlSensor", "ExternalTaskSensor",
}  # fmt: skip
# Those whose code becomes a script.
CODE = {"PythonOperator", "PythonVirtualenvOperator", "ExternalPythonOperator"}
# Names that something else has already in the context of a script, or that are keys of its task.
TAKEN = {
    "args", "conf", "conn", "dag", "dag_id", "dag_run", "data_interval_end", "data_interval_start", "ds", "ds_nodash", "env",
    "logical_date", "macros", "map_index", "map_index_template", "max_tries", "owner", "params", "pass_env", "pool", "python",
    "python_bin", "queue", "retries", "run_after", "run_id", "run_type", "script", "task", "task_id", "task_instance",
    "task_instance_key_str", "test_mode", "ti", "try_number", "ts", "ts_nodash", "ts_nodash_with_tz", "var",
}  # fmt: skip
# Keys that are expanded by another name.
RENAMED = {"external_task_id": "external_task_ids"}
MAPPINGS = {"env", "environment", "private_environment", "headers", "parameters", "conf", "labels", "params"}
SAMPLE = "windlass_sample"
# So many arguments that an operator can not do without are looked for.
MISSING_MAX = 5


def over(value, text=None):
    """What a task is expanded over, as YAML has it; NotPlain when it has no such form."""
    if isinstance(value, (XCom, Task)):
        return output(value if isinstance(value, XCom) else XCom(value))
    if isinstance(value, Joined):
        joined = {value.kind: [over(part, text) for part in value.parts]}
        if value.fill is not None:
            joined["fillvalue"] = plain(value.fill.value, text)
        return joined
    if any(True for _ in xcoms_in(value)):
        raise NotPlain("a list with what tasks return in it has no form here")
    if isinstance(value, dict):
        return [[key, item] for key, item in plain(value, text).items()]
    if isinstance(value, (list, tuple)):
        return plain(list(value), text)
    raise NotPlain("it is known only when the file runs")


def output(xcom):
    task = xcom.task
    if xcom.key is not None:
        raise NotPlain("a task is expanded over what another one returns, not over one of its keys")
    if task.variant in ("branch", "short_circuit") or "Branch" in task.operator or "ShortCircuit" in task.operator:
        raise NotPlain("a branch returns nothing to expand over")
    task.pulled_by = True
    return f"{task.task_id}.output"


def rendered(value):
    """Whether a template stands somewhere in a value: Airflow renders the arguments of a function."""
    if isinstance(value, str):
        return has_template(value)
    if isinstance(value, dict):
        return any(rendered(item) for item in value.values())
    return isinstance(value, (list, tuple)) and any(rendered(item) for item in value)


def of_function(script, writer, function):
    """What a script's function is given by the elements of its instance: by parameter, and whole lists and mappings of them.

    NotPlain when the task can not be expanded."""
    expand = writer.task.expand
    if any(rendered(given.value) for given in expand.values()):
        raise NotPlain("templates in its values are not rendered")
    texts, starred = {}, []
    if "**" in expand:
        writer.expand = ("expand_kwargs", over(expand["**"].value), expand["**"].line)
        starred.append("**" + of_mappings(writer, function))
    else:
        names = {}
        for key, given in expand.items():
            name = f"each_{key}" if key in TAKEN or not key.isidentifier() else key
            names[name] = over(given.value)
            if key in ("op_args", "op_kwargs") and writer.task.variant is None:
                starred.append(("*" if key == "op_args" else "**") + f'context["{name}"]')
            else:
                texts[key] = f'context["{name}"]'
        writer.expand = ("expand", names, writer.task.line)
    script.imports.setdefault("from windlass import context", 0)
    return texts, starred


def of_mappings(writer, function):
    """The parameters that an element of `expand_kwargs` may give: they are among the names of the context."""
    if not isinstance(function, Func) or function.node.args.kwarg is not None:
        raise NotPlain("which names its mappings have is known only in a run")
    spec = function.node.args
    names = [arg.arg for arg in [*getattr(spec, "posonlyargs", []), *spec.args, *spec.kwonlyargs]]
    free = [name for name in names if name not in writer.task.call_kwargs]
    if any(name in TAKEN for name in free):
        raise NotPlain("a parameter is called as something of the context is")
    return "{name: context[name] for name in (" + "".join(f"{name!r}, " for name in free) + ") if name in context}"


def map_index_template(writer):
    given = writer.take("map_index_template")
    if given is not None and isinstance(given.value, str) and writer.expand is not None:
        writer.put("map_index_template", writer.template(given.value, given.line), given.line)
        writer.note(given.line, "map_index_template knows the names below expand, not what the code puts into its context")


def put(writer):
    """Writes what the task is expanded over."""
    if writer.expand is not None:
        writer.put(*writer.expand)
        map_index_template(writer)


def of_operator(writer, maker, function):
    """An operator of Airflow's whose arguments are expanded: each becomes a key here, with its values converted one by one."""
    task = writer.task
    probing = Probing(writer, maker, function)
    if "**" in task.expand:
        mappings(writer, probing, task.expand["**"])
        return
    keys, names = {}, {}
    for name, given in task.expand.items():
        key = "params" if name == "params" else probing.key_of(name)
        if key is None:
            raise Placeholder(f"{name}: this task has no such key here, and can not be expanded over it")
        keys[name] = key
        names[RENAMED.get(key, key)] = probing.values(name, key, given)
    for name, given in task.expand.items():
        if name != "params":
            writer.kwargs[name] = Given(sample(name), given.line)
    function(writer, maker)
    writer.entries = [entry for entry in writer.entries if entry[0] not in keys.values()]
    writer.expand = ("expand", names, task.line)


def mappings(writer, probing, given):
    """`expand_kwargs`: mappings that are known are converted, others have to name keys of this task."""
    value = given.value
    missing = probing.missing(value)
    for name in missing:
        writer.kwargs[name] = Given(sample(name), given.line)
    probing.function(writer, probing.maker)
    keys = {probing.key_of(name) for name in missing}
    writer.entries = [entry for entry in writer.entries if entry[0] not in keys]
    if isinstance(value, (list, tuple)) and all(isinstance(element, dict) for element in value):
        elements = []
        for element in value:
            known = {}
            for name, one in element.items():
                key = probing.key_of(name)
                if key is None:
                    raise Placeholder(f"{name}: this task has no such key here, and can not be expanded over it")
                known[RENAMED.get(key, key)] = probing.value(name, key, Given(one, given.line))
            elements.append(known)
        writer.expand = ("expand_kwargs", elements, given.line)
        return
    writer.expand = ("expand_kwargs", over(value), given.line)
    writer.remark(given.line, "the mappings that it is expanded over have to name keys of this task, as they are called here")


def sample(name):
    return {SAMPLE: "x"} if name in MAPPINGS else SAMPLE


class Probing:
    """Converts single arguments, each as if the task had no other value of it."""

    def __init__(self, writer, maker, function):
        self.writer = writer
        self.maker = maker
        self.function = function
        self.fill = {}

    def entries(self, arguments):
        probe = Writer(self.writer.task, self.writer.report, self.writer.params, self.writer.whole)
        probe.kwargs = {**self.writer.kwargs, **arguments}
        probe.inherited = self.writer.inherited
        self.writer.report.muted += 1
        try:
            self.function(probe, self.maker)
        finally:
            self.writer.report.muted -= 1
        return {key: value for key, value, _ in probe.entries}

    def missing(self, value):
        """The arguments that the operator can not do without, and that only its elements give."""
        known = {}
        if isinstance(value, (list, tuple)) and value and isinstance(value[0], dict):
            known = {name: Given(sample(name), 0) for name in value[0]}
        for _ in range(MISSING_MAX):
            try:
                self.entries(known)
                break
            except Placeholder as error:
                name, _, rest = str(error).partition(" is missing")
                if rest or not name.isidentifier() or name in known:
                    raise
                known[name] = Given(sample(name), 0)
        self.fill = known
        return list(known)

    def key_of(self, name):
        """What an argument is called here; None when this task has nothing of the kind."""
        wanted = sample(name)
        others = {one: Given(sample(one), 0) for one in self.writer.task.expand if one not in ("**", "params")}
        found = self.entries({**others, **self.fill, name: Given(wanted, 0)})
        if name not in MAPPINGS:
            wanted = f"{SAMPLE}_{name}"
            found = self.entries({**others, **self.fill, name: Given(wanted, 0)})
        return next((key for key, value in found.items() if value == wanted or value == [wanted]), None)

    def values(self, name, key, given):
        value = given.value
        if isinstance(value, (list, tuple)) and not any(True for _ in xcoms_in(value)):
            return [self.value(name, key, Given(one, given.line)) for one in value]
        return over(value)

    def value(self, name, key, given):
        if name == "params":
            return plain(given.value)
        others = {one: Given(sample(one), 0) for one in self.writer.task.expand if one not in ("**", "params")}
        found = self.entries({**others, **self.fill, name: given})
        if key not in found:
            raise Placeholder(f"{name}: one of the values that it is expanded over has no form here")
        return found[key]
