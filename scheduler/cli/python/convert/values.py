"""What names of a DAG file can stand for. Nothing here runs code of the file: these are descriptions of it."""

import ast
import datetime

STEPS_MAX = 400_000
TASKS_MAX = 10_000
REMARKS_MAX = 2_000
TEXT_MAX = 1024 * 1024
ITEMS_MAX = 10_000


class TooMuch(Exception):
    """The file asks for more than a conversion may cost; the text says of what."""


class Unknown:
    """A value that only running the file would give; `why` says what stands there."""

    def __init__(self, line, why):
        self.line = line
        self.why = why


class Rendered(str):
    """A text that is known only when a template has been rendered. It can be put into other texts, and nothing else."""


PLAIN = (str, int, float, bool, bytes, type(None))


def is_literal(value, depth=0):
    """Whether `repr` gives Python that means the same."""
    if depth > 20:
        return False
    if isinstance(value, (list, tuple)):
        return all(is_literal(item, depth + 1) for item in value)
    if isinstance(value, dict):
        return all(is_literal(item, depth + 1) for pair in value.items() for item in pair)
    return isinstance(value, PLAIN) and not isinstance(value, Rendered)


class Ref:
    """Something that an import names: `airflow.sdk.DAG`."""

    def __init__(self, path):
        self.path = path

    @property
    def last(self):
        return self.path.rsplit(".", 1)[-1]

    @property
    def of_airflow(self):
        return self.path == "airflow" or self.path.startswith("airflow.")


class Binding:
    """A name's value, with the statement that gave it (none for what a call passes), and the `try` that this stands in."""

    def __init__(self, value, node=None):
        self.value = value
        self.node = node
        self.attempt = None


class Env:
    """Names of a module, a function or a comprehension."""

    def __init__(self, parent=None):
        self.names = {}
        self.parent = parent

    def find(self, name):
        env = self
        while env is not None:
            if name in env.names:
                return env.names[name]
            env = env.parent
        return None

    def bind(self, name, value, node=None):
        self.names[name] = Binding(value, node)

    def at_definition(self, function):
        """The names of a function: what its defaults name has the value of this moment, as in a loop (`lambda i=i: …`)."""
        spec = function.args
        inner = Env(self)
        for default in [*spec.defaults, *[one for one in spec.kw_defaults if one is not None]]:
            for node in ast.walk(default):
                binding = self.find(node.id) if isinstance(node, ast.Name) else None
                if binding is not None:
                    inner.names[node.id] = binding
        return inner if inner.names else self


class Func:
    """A function of the file, or a lambda. `decorators` are those of other libraries than Airflow."""

    def __init__(self, node, env, name):
        self.node = node
        self.env = env
        self.name = name
        self.decorators = []


class ClassDef:
    """A class of the file."""

    def __init__(self, node, env, bases):
        self.node = node
        self.env = env
        self.name = node.name
        self.bases = bases


class Curried:
    """`functools.partial`."""

    def __init__(self, func, args, kwargs):
        self.func = func
        self.args = args
        self.kwargs = kwargs


class Method:
    """An attribute of a value that is about to be called."""

    def __init__(self, owner, name):
        self.owner = owner
        self.name = name


class Moment:
    """A date and time on the clock of a zone; `zone` is None when the file names none."""

    def __init__(self, naive, zone=None):
        self.naive = naive
        self.zone = zone

    def text(self, zone):
        """As the format takes it below a DAG with this zone."""
        naive = self.naive.replace(microsecond=0)
        if self.zone is not None and self.zone != zone and self.zone != "UTC":
            return None
        if naive.time() == datetime.time(0):
            plain = naive.date().isoformat()
            if self.zone == zone or self.zone is None or zone is None:
                return plain
        return naive.isoformat() + ("+00:00" if self.zone == "UTC" and zone not in (None, "UTC") else "")


class Zone:
    """A time zone by its name."""

    def __init__(self, name):
        self.name = name


class File:
    """`pathlib.Path`, as text."""

    def __init__(self, text):
        self.text = text


class Param:
    """`Param(default, **schema)`."""

    def __init__(self, schema):
        self.schema = schema


class Asset:
    """An asset or data set; `kind` is asset, alias, or all and any of `parts`."""

    def __init__(self, name, uri, kind="asset", parts=()):
        self.name = name
        self.uri = uri
        self.kind = kind
        self.parts = parts

    def known(self):
        """Whether all that it says is known before the file runs."""
        if self.kind in ("all", "any"):
            return bool(self.parts) and all(isinstance(part, Asset) and part.known() for part in self.parts)
        texts = [part for part in (self.name, self.uri) if part is not None]
        return bool(texts) and all(isinstance(part, str) for part in texts)


class Label:
    """A text on an edge."""

    def __init__(self, before=None):
        self.before = before


class Timetable:
    """A schedule written as one of Airflow's timetables."""

    def __init__(self, name, args, kwargs):
        self.name = name
        self.args = args
        self.kwargs = kwargs


class Decorator:
    """`@task.bash(…)`, `@dag(…)`, `@task_group(…)`, before it has its function."""

    def __init__(self, kind, variant, kwargs, line):
        self.kind = kind
        self.variant = variant
        self.kwargs = kwargs
        self.line = line


class Decorated:
    """A function that makes a task, a group or a DAG when it is called."""

    def __init__(self, kind, variant, kwargs, func, line):
        self.kind = kind
        self.variant = variant
        self.kwargs = kwargs
        self.func = func
        self.line = line


class Partial:
    """An operator or a task's function with `.partial(…)`, waiting for `.expand(…)`."""

    def __init__(self, of, kwargs, line):
        self.of = of
        self.kwargs = kwargs
        self.line = line


class XCom:
    """What a task leaves: its return value, or the value of a key."""

    def __init__(self, task, key=None):
        self.task = task
        self.key = key


class Joined:
    """What tasks return, joined by `zip` or `concat` to be expanded over."""

    def __init__(self, kind, parts, fill=None):
        self.kind = kind
        self.parts = parts
        self.fill = fill


class Given:
    """A keyword argument's value and the line that it stands on."""

    def __init__(self, value, line):
        self.value = value
        self.line = line


class Dag:
    """A DAG of the file."""

    def __init__(self, kwargs, line):
        self.kwargs = kwargs
        self.line = line
        self.tasks = []
        self.groups = []
        self.root = Group(None, {}, line, self, None)


class Group:
    """A task group; the root of a DAG is one without a name."""

    def __init__(self, name, kwargs, line, dag, parent):
        self.name = name
        self.kwargs = kwargs
        self.line = line
        self.dag = dag
        self.parent = parent
        self.upstream = []

    def is_real(self):
        """Whether the format has it: a group that does not prefix its tasks' ids is only drawn."""
        return self.name is not None and not self.is_flat()

    def is_flat(self):
        given = self.kwargs.get("prefix_group_id")
        return given is not None and given.value is False

    def path(self):
        names = []
        group = self
        while group is not None and group.name is not None:
            if group.is_real():
                names.append(group.name)
            group = group.parent
        return ".".join(reversed(names))

    def contains(self, task_or_group):
        group = task_or_group.group if isinstance(task_or_group, Task) else task_or_group
        while group is not None:
            if group is self:
                return True
            group = group.parent
        return False


class Task:
    """A task of the file. `operator` is the class's name, `variant` that of a task decorator."""

    def __init__(self, label, operator, kwargs, line):
        self.label = label
        self.operator = operator
        self.kwargs = kwargs
        self.line = line
        self.dag = None
        self.group = None
        self.upstream = []
        self.variant = None
        self.path = None
        self.func = None
        self.call_args = []
        self.call_kwargs = {}
        self.expand = None
        self.files = []
        self.refused = None
        # Whether a function that it calls may be that of a module below the DAG folder.
        self.may_name_module = True
        self.pulled_by = False

    @property
    def task_id(self):
        prefix = self.group.path() if self.group is not None else ""
        return f"{prefix}.{self.label}" if prefix else self.label


class Remark:
    """Something about a line. `whole` says that the result does the same nevertheless."""

    def __init__(self, line, text, owner, whole):
        self.line = line
        self.text = text
        self.owner = owner
        self.whole = whole


class Report:
    """Everything that was noticed, each thing once."""

    def __init__(self):
        self.remarks = []
        self.seen = set()
        self.muted = 0

    def remark(self, line, text, owner=None):
        """Notes something that the result lacks."""
        self._add(line, text, owner, False)

    def note(self, line, text, owner=None):
        """Notes something that changes nothing of what the tasks do."""
        self._add(line, text, owner, True)

    def _add(self, line, text, owner, whole):
        if self.muted:
            return
        text = " ".join(text.split())
        if len(text) > 400:
            text = text[:399] + "…"
        key = (line, text, id(owner))
        if key in self.seen:
            return
        if len(self.remarks) >= REMARKS_MAX:
            raise TooMuch(f"there are more than {REMARKS_MAX} remarks")
        self.seen.add(key)
        self.remarks.append(Remark(line, text, owner, whole))


def ends_of(value, depth=0):
    """The tasks and groups that a value means in `a >> b`, or None when it means none."""
    if depth > 20:
        return None
    if isinstance(value, (Task, Group)):
        return [value]
    if isinstance(value, XCom):
        return [value.task]
    if isinstance(value, Dag):
        return None
    if isinstance(value, (list, tuple, set)):
        found = []
        for item in value:
            ends = ends_of(item, depth + 1)
            if ends is None:
                return None
            found.extend(ends)
        return found
    return None


def xcoms_in(value, depth=0):
    """All XComs in a value, however deep in lists and mappings."""
    if depth > 50:
        return
    if isinstance(value, XCom):
        yield value
    elif isinstance(value, Task):
        yield XCom(value)
    elif isinstance(value, Joined):
        for part in value.parts:
            yield from xcoms_in(part, depth + 1)
    elif isinstance(value, (list, tuple)):
        for item in value:
            yield from xcoms_in(item, depth + 1)
    elif isinstance(value, dict):
        for item in value.values():
            yield from xcoms_in(item, depth + 1)


def returns_mapping(task):
    """Whether a command's output is a mapping whose keys Airflow makes XComs of their own: here they are parts of one."""
    outputs = task.kwargs.get("multiple_outputs")
    return outputs is not None and outputs.value is True and (task.operator == "BashOperator" or task.variant == "bash")


def pull(xcom):
    """The template that gives an XCom."""
    task = xcom.task
    task_id = task.task_id
    # What a branch or a short circuit decides is left by the task before it that runs the code.
    if task.variant == "short_circuit":
        task_id += "__condition"
    key = f", key={xcom.key!r}" if isinstance(xcom.key, str) else ""
    if key and returns_mapping(task):
        return f"ti.xcom_pull(task_ids={task_id!r})[{xcom.key!r}]"
    return f"ti.xcom_pull(task_ids={task_id!r}{key})"
