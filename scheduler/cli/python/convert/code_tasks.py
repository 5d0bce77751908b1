"""Tasks that call Python: the callable becomes a script, a branch or a condition with a script before it, or a sensor's loop."""

import ast
import sys

import mapping
import shims
from plain import NotPlain
from templates import has_template
from values import Curried, Decorated, Func, Method, Ref, Rendered, Unknown
from writer import Placeholder, environment

from scripts import NotConverted, Script, free_names, identifier, parameter_names

WEEK = 604_800
OF_VIRTUALENV = (
    "python_version", "use_dill", "serializer", "system_site_packages", "pip_install_options", "index_urls",
    "index_urls_from_connection_ids", "venv_cache_path", "string_args", "expect_airflow", "expect_pendulum",
    "use_airflow_context", "inherit_env",
)  # fmt: skip


class Called:
    """What a task calls, and with what."""

    def __init__(self, func, args, kwargs):
        self.func = func
        self.args = list(args)
        self.kwargs = dict(kwargs)


def called(writer):
    """The callable of a task, with its arguments."""
    task = writer.task
    if task.variant is not None:
        return Called(task.func, task.call_args, {name: one.value for name, one in task.call_kwargs.items()})
    given = writer.take("python_callable")
    if given is None:
        raise Placeholder("python_callable is missing")
    function = given.value
    args = writer.value("op_args", [])
    kwargs = writer.value("op_kwargs", {})
    for value, kind in ((args, (list, tuple)), (kwargs, dict)):
        if not isinstance(value, kind):
            raise Placeholder("its arguments are known only when the file runs")
    args, kwargs = list(args), dict(kwargs)
    while isinstance(function, Curried):
        args, kwargs = [*function.args, *args], {**function.kwargs, **kwargs}
        function = function.func
    if isinstance(function, Decorated):
        function = function.func
    if isinstance(function, Unknown):
        raise Placeholder(f"python_callable: {function.why}")
    if isinstance(function, Method):
        raise Placeholder(
            "python_callable is a method of an object, which is there only when the file runs; write a function"
        )
    return Called(function, args, kwargs)


def new_script(writer, maker):
    return Script(maker.source_lines, maker.file_name, writer.task, writer.remark)


def function_name(script, function, writer):
    """The name by which the script calls the function; its text is in the script then."""
    if isinstance(function, Ref):
        module, _, name = function.path.rpartition(".")
        if not module or function.path.startswith("builtins"):
            raise Placeholder(f"python_callable: `{function.path}` is no function of a module")
        script.imports[f"from {module} import {name}"] = writer.task.line
        root = module.split(".")[0]
        if root == "airflow":
            writer.remark(writer.task.line, f"the code needs Airflow (`{module}`): the script fails there")
        else:
            writer.note(writer.task.line, f"the worker's Python has to find the module `{module}`")
        return name
    if isinstance(function.node, ast.Lambda):
        name = identifier(writer.task.label)
        head = f"def {name}({ast.unparse(function.node.args)}):"
        script.parts[name] = (function.node.lineno, f"{head}\n    return {ast.unparse(function.node.body)}")
        script.need(free_names(ast.Expr(value=function.node)), function.env, function.node.lineno)
        return name
    if any(isinstance(node, (ast.Yield, ast.YieldFrom)) for node in ast.walk(function.node)):
        writer.remark(function.node.lineno, "the function yields; only what it returns becomes an XCom here")
    script.add_function(function)
    return function.name


def call_lines(script, writer, what, expand, bind_to="result"):
    """The lines that call the function, its context included."""
    task = writer.task
    name = function_name(script, what.func, writer)
    lines = []
    texts, positional, takes_context = {}, [], False
    given, starred, looped = {}, [], None
    if expand is not None:
        try:
            given, starred = mapping.of_function(script, writer, what.func)
        except NotPlain as error:
            looped = str(error)
    if writer.has("templates_dict"):
        script.given.add("templates_dict")
    if isinstance(what.func, Func):
        named = {**expand, "**": None} if starred else expand
        positional, takes_context = fitted(script, writer, what, named, texts)
        keys = script.context_names(what.func.node, task.line)
        # A function that looks at none of `**kwargs` is given none.
        takes_context = takes_context and keys != set()
        if takes_context:
            script.context(keys)
        script.variables([what.func.node])
    else:
        positional = [script.argument(f"{index}", value, task.line) for index, value in enumerate(what.args)]
        texts = {key: script.argument(key, value, task.line) for key, value in what.kwargs.items()}
    texts.update(given)
    positional.extend(text for text in starred if not text.startswith("**"))
    starred = [text for text in starred if text.startswith("**")]
    parameters = parameter_names(what.func.node.args) if isinstance(what.func, Func) else []
    templates_dict(script, writer, texts, takes_context, parameters)
    if takes_context:
        lines.append("names = airflow_context()")
        if texts:
            lines.append("names.update(" + ", ".join(f"{key}={text}" for key, text in texts.items()) + ")")
        lines.extend(f"names.update({text.removeprefix('**')})" for text in starred)
        arguments = [*positional, "**names"]
    else:
        arguments = [*positional, *[f"{key}={text}" for key, text in texts.items()], *starred]
    is_async = isinstance(what.func, Func) and isinstance(what.func.node, ast.AsyncFunctionDef)

    def one(extra):
        text = f"{name}({', '.join([*arguments, *extra])})"
        if is_async:
            script.imports.setdefault("import asyncio", 0)
            text = f"asyncio.run({text})"
        return text

    if looped is None:
        lines.append(f"{bind_to} = {one([])}")
    else:
        lines.extend(expanded(script, writer, expand, one, takes_context, (name, looped)))
    return lines


def fitted(script, writer, what, expand, texts):
    """Fills `texts` with what each parameter is given; the positional rest, and whether the function takes all of the context."""
    spec = what.func.node.args
    names = parameter_names(spec)
    positional = []
    free = [arg.arg for arg in [*getattr(spec, "posonlyargs", []), *spec.args]]
    for index, value in enumerate(what.args):
        text = script.argument(free[index] if index < len(free) else str(index), value, writer.task.line)
        if index < len(free) and not getattr(spec, "posonlyargs", []) and spec.vararg is None:
            texts[free[index]] = text
        else:
            positional.append(text)
    taken = set(free[: len(what.args)])
    for key, value in what.kwargs.items():
        if key == "**" or (expand is not None and key in expand):
            continue
        texts[key] = script.argument(key, value, writer.task.line)
    defaults = set(free[len(free) - len(spec.defaults) :]) if spec.defaults else set()
    defaults |= {arg.arg for arg, default in zip(spec.kwonlyargs, spec.kw_defaults) if default is not None}
    for name in names:
        if name in texts or name in taken or (expand is not None and (name in expand or "**" in expand)):
            continue
        of_context(script, writer, name, texts, name in defaults, what.func.node.lineno)
    return positional, spec.kwarg is not None


def of_context(script, writer, name, texts, has_default, line):
    """A parameter that Airflow fills from its context."""
    if name in shims.SIMPLE:
        script.imports.setdefault("from windlass import context", 0)
        texts[name] = f'context["{name}"]' if name not in ("ds", "ds_nodash", "ts") else f'context.get("{name}")'
    elif name in shims.MADE:
        script.context({name})
        texts[name] = f'airflow_context()["{name}"]'
    elif name in shims.LACKING:
        if name == "templates_dict" and writer.has("templates_dict"):
            return
        writer.remark(
            line, f"the parameter `{name}` of Airflow's context is not there" + ("" if has_default else "; it is None")
        )
        if not has_default:
            texts[name] = "None"
    elif not has_default:
        writer.remark(line, f"the parameter `{name}` is given no value")


def templates_dict(script, writer, texts, takes_context, parameters):
    given = writer.take("templates_dict")
    endings = writer.take("templates_exts")
    if given is not None and given.value is not None and (takes_context or "templates_dict" in parameters):
        texts["templates_dict"] = script.argument("templates_dict", given.value, given.line)
    if endings is not None and isinstance(endings.value, (list, tuple)) and endings.value:
        writer.remark(
            endings.line, "templates_exts was left out: a file's name stays a name; read the file in the function"
        )


def expanded(script, writer, expand, one, takes_context, told):
    """`.expand(…)` over what can not be expanded here: one task that runs its values one after the other."""
    name, reason = told
    writer.remark(
        writer.task.line,
        f"`{name}` is expanded: its values run in one task, one after the other, and a retry runs all of them; {reason}",
    )
    if "**" in expand:
        values = script.argument("values", expand["**"].value, expand["**"].line)
        return [f"result = [{one(['**each'])} for each in {values}]"]
    loops, extra = [], []
    for key, given in expand.items():
        loops.append(f"for {key} in {script.argument(key, given.value, given.line)}")
        extra.append(f"{key}={key}")
    if takes_context:
        inner = one([]).replace("**names", "**{**names, " + ", ".join(f'"{key}": {key}' for key in expand) + "}")
        return [f"result = [{inner} {' '.join(loops)}]"]
    return [f"result = [{one(extra)} {' '.join(loops)}]"]


def guarded(script, lines):
    """The lines with Airflow's exceptions as Windlass's ends."""
    if "exceptions" not in script.pieces:
        return lines
    script.imports.setdefault("import windlass", 0)
    return [
        "try:",
        *["    " + line for line in lines],
        "except AirflowSkipException as reason:",
        "    windlass.skip(str(reason))",
        "except AirflowFailException as reason:",
        "    windlass.fail(str(reason))",
    ]


def put_script(writer, maker, script, lines, into=None, suffix=""):
    """Puts the keys of a `python` task."""
    entries = writer.entries if into is None else into
    text = script.text(lines)
    line = writer.task.line
    entries.append(("operator", "python", line))
    if script.modules:
        writer.note(line, f"the worker's Python has to have: {', '.join(sorted(script.modules))}")
    entries.append(maker.code(writer.task, text, suffix, line))
    if script.env:
        entries.append(("env", {name: writer.template(str(value), line) for name, value in script.env.items()}, line))


def interpreter(writer):
    """`python_bin`, and what can not be had of environments."""
    for name in OF_VIRTUALENV:
        writer.take(name)
    needs = writer.take("requirements")
    if needs is not None or (writer.task.variant or "").endswith("virtualenv") or "Virtualenv" in writer.task.operator:
        value = needs.value if needs is not None else []
        words = (
            ", ".join(str(item) for item in value) if isinstance(value, (list, tuple)) and value else "what it needs"
        )
        writer.remark(
            needs.line if needs is not None else writer.task.line,
            f"no environment is made: make one that has {words}, and name its interpreter by python_bin",
        )
    python = writer.take("python")
    if python is None:
        return
    if isinstance(python.value, str) and not isinstance(python.value, Rendered):
        writer.put("python_bin", python.value, python.line)
    elif isinstance(python.value, Rendered) and python.value == "<sys.executable>":
        writer.note(python.line, "`sys.executable` is the worker's python3 here")
    else:
        writer.remark(python.line, "the interpreter is known only when the file runs; name it by python_bin")


def of_module(writer, what):
    """The path of an imported function that may lie below the DAG folder; None when the task needs a script."""
    task = writer.task
    if task.variant is not None or task.expand is not None or not isinstance(what.func, Ref) or not task.may_name_module:
        return None
    module, _, name = what.func.path.rpartition(".")
    known = {"airflow", "builtins", *getattr(sys, "stdlib_module_names", ())}
    if not module or module.split(".")[0] in known or not all(part.isidentifier() for part in [*module.split("."), name]):
        return None
    return what.func.path if is_plain([what.args, what.kwargs]) else None


def is_plain(value):
    """Whether a value comes as it is from YAML; what a task returned would come as text."""
    if isinstance(value, (list, tuple)):
        return all(is_plain(item) for item in value)
    if isinstance(value, dict):
        return all(isinstance(key, str) and key != "**" and is_plain(item) for key, item in value.items())
    return value is None or isinstance(value, (str, bool, int, float))


def module_task(writer, what, path):
    """A task that calls a function of a module of the DAG folder, which stays where it is."""
    line = writer.task.line
    writer.put("operator", "python_callable")
    writer.put("python_callable", path)
    for name, given in (("op_args", what.args), ("op_kwargs", what.kwargs)):
        if given:
            writer.put(name, made(lambda given=given: writer.plain(given, line)))
    writer.move("templates_dict")
    writer.move("multiple_outputs")
    writer.note(line, f"the module of `{path}` and what it imports of the DAG folder belong to the DAG's version")
    interpreter(writer)
    environment(writer, "env_vars", "env")


def python_task(writer, maker):
    what = called(writer)
    path = of_module(writer, what)
    if path is not None:
        module_task(writer, what, path)
        return
    script = new_script(writer, maker)
    lines = guarded(script, made(lambda: call_lines(script, writer, what, writer.task.expand)))
    outputs = writer.take("multiple_outputs")
    if is_split(outputs, writer.task, what.func):
        script.imports.setdefault("from windlass import xcom_push", 0)
        lines = [*lines, "for key, value in (result or {}).items():", "    xcom_push(key, value)"]
    put_script(writer, maker, script, lines)
    interpreter(writer)
    environment(writer, "env_vars", "env")
    codes = writer.take("skip_on_exit_code")
    if codes is not None and codes.value is not None:
        writer.remark(codes.line, "skip_on_exit_code was left out: a script skips by windlass.skip()")


def is_split(outputs, task, function):
    """Whether each key of what is returned is an XCom of its own."""
    if outputs is not None:
        return outputs.value is True
    if task.variant is None or not isinstance(function, Func) or isinstance(function.node, ast.Lambda):
        return False
    returns = function.node.returns
    text = ast.unparse(returns) if returns is not None else ""
    return text.strip("'\"").split("[")[0].rsplit(".", 1)[-1] in ("dict", "Dict", "Mapping", "TypedDict")


def made(make):
    """What `make` gives; a reason that it can not becomes the task's."""
    try:
        return make()
    except NotConverted as error:
        raise Placeholder(str(error)) from None
    except NotPlain as error:
        raise Placeholder(str(error)) from None


def known_result(maker, what):
    """What the function returns, when that can be known now; else Unknown."""
    if not isinstance(what.func, Func):
        return Unknown(0, "")
    for node in ast.walk(what.func.node):
        if isinstance(
            node, (ast.If, ast.For, ast.While, ast.Raise, ast.Try, ast.With, ast.Import, ast.ImportFrom, ast.Await)
        ):
            return Unknown(0, "")
    return maker.evaluated(what)


def branch_python(writer, maker):
    what = called(writer)
    known = known_result(maker, what)
    known = [known] if isinstance(known, str) and not isinstance(known, Rendered) else known
    if isinstance(known, list) and known and all(isinstance(one, str) and not has_template(one) for one in known):
        writer.put("operator", "branch")
        writer.put("follow", known[0] if len(known) == 1 else "{{ " + repr([str(one) for one in known]) + " }}")
        for name in ("python", "requirements", *OF_VIRTUALENV):
            writer.take(name)
        return
    before(writer, maker, what, "__choice")
    writer.put("operator", "branch")
    writer.put("follow", "{{ ti.xcom_pull(task_ids=" + repr(writer.task.task_id + "__choice") + ") }}")


def short_circuit(writer, maker):
    what = called(writer)
    known = known_result(maker, what)
    ignore = writer.take("ignore_downstream_trigger_rules")
    if isinstance(known, bool) and not writer.task.pulled_by:
        writer.put("operator", "short_circuit")
        writer.put("condition", "{{ true }}" if known else "{{ false }}")
    else:
        before(writer, maker, what, "__condition")
        writer.put("operator", "short_circuit")
        pulled = "ti.xcom_pull(task_ids=" + repr(writer.task.task_id + "__condition") + ")"
        writer.put("condition", "{{ not not " + pulled + " }}")
    if ignore is not None and ignore.value is False:
        writer.put("ignore_downstream_trigger_rules", False, ignore.line)


def before(writer, maker, what, suffix):
    """A `python` task before a branch or a short circuit: it runs the code, and they read what it returns."""
    script = new_script(writer, maker)
    lines = guarded(script, made(lambda: call_lines(script, writer, what, None)))
    entries = []
    put_script(writer, maker, script, lines, entries, suffix)
    mark = len(writer.entries)
    interpreter(writer)
    entries.extend(writer.entries[mark:])
    del writer.entries[mark:]
    writer.before = (suffix, entries)


def sensor_numbers(writer):
    """How a sensor that becomes a loop waits: the pause, the end, and what happens then."""
    numbers = {}
    for name, default in (("poke_interval", 60), ("timeout", WEEK)):
        given = writer.take(name)
        value = given.value if given is not None else default
        if hasattr(value, "total_seconds"):
            value = value.total_seconds()
        if not isinstance(value, (int, float)) or isinstance(value, bool):
            writer.remark(given.line, f"{name} was left out: it is known only when the file runs")
            value = default
        numbers[name] = value
    soft = writer.value("soft_fail", False) is True
    for name in ("mode", "deferrable"):
        given = writer.take(name)
        if given is not None and given.value not in ("poke", False):
            writer.remark(given.line, f"{name} was left out: the task holds its slot while it waits")
    for name in ("exponential_backoff", "silent_fail", "never_fail", "max_wait"):
        given = writer.take(name)
        if given is not None and given.value not in (False, None):
            writer.remark(given.line, f"{name} was left out: this sensor is a loop in Python")
    return numbers["poke_interval"], numbers["timeout"], soft


def loop_lines(script, look, writer, nap=""):
    """A sensor's loop around the lines of one look, which bind `found`; `nap` is a further bound of its pauses."""
    pause, limit, soft = sensor_numbers(writer)
    script.imports.setdefault("import time", 0)
    script.imports.setdefault("import windlass", 0)
    end = "skip" if soft else "fail"
    return [
        f"deadline = time.monotonic() + {limit:g}",
        "while True:",
        *["    " + line for line in look],
        "    if found:",
        "        break",
        "    if time.monotonic() >= deadline:",
        f'        windlass.{end}("the time to wait is over")',
        f"    time.sleep(min({pause:g}, {nap}max(0, deadline - time.monotonic())))",
    ]


def python_sensor(writer, maker):
    what = called(writer)
    script = new_script(writer, maker)
    look = made(lambda: call_lines(script, writer, what, None, bind_to="found"))
    lines = [*loop_lines(script, look, writer), 'result = getattr(found, "xcom_value", None)']
    put_script(writer, maker, script, guarded(script, lines))


def own_operator(writer, maker):
    """An operator that the file defines itself: its class in a script, with as much of BaseOperator as it needs."""
    task, cls = writer.task, writer.task.func
    if task.operator not in ("BaseOperator", "BaseSensorOperator"):
        raise Placeholder(f"the class {cls.name} is built on {task.operator}, which a script does not have")
    methods = {node.name for node in cls.node.body if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))}
    is_sensor = task.operator == "BaseSensorOperator"
    run = "poke" if is_sensor else "execute"
    if run not in methods:
        raise Placeholder(f"the class {cls.name} has no method {run} of its own")
    script = new_script(writer, maker)
    script.add_class(cls)
    fields = template_fields(cls)
    given = {name: one for name, one in writer.kwargs.items() if name not in maker.common_names}
    expand = task.expand
    arguments = []
    for name, one in given.items():
        if name in ("poke_interval", "timeout", "soft_fail", "mode", "deferrable") and is_sensor:
            continue
        writer.take(name)
        text = made(lambda name=name, one=one: script.argument(name, one.value, one.line, name in fields))
        arguments.append(f"{name}={text}")
    script.variables([cls.node])
    for node in cls.node.body:
        if isinstance(node, ast.FunctionDef) and node.name == run:
            names = parameter_names(node.args)
            script.context(of_method(script, node, names[1] if len(names) > 1 else None))
    own = [f"task_id={task.task_id!r}", *arguments]
    if expand is not None:
        one = lambda extra: f"{cls.name}({', '.join([*own, *extra])}).{run}(airflow_context())"  # noqa: E731
        try:
            given, starred = mapping.of_function(script, writer, None)
            lines = [f"result = {one([*[f'{key}={text}' for key, text in given.items()], *starred])}"]
        except NotPlain as error:
            told = (cls.name, str(error))
            lines = made(lambda: expanded(script, writer, expand, one, False, told))
    elif is_sensor:
        lines = [f"sensor = {cls.name}({', '.join(own)})"]
        lines += loop_lines(script, ["found = sensor.poke(airflow_context())"], writer)
        lines.append('result = getattr(found, "xcom_value", None)')
    else:
        lines = [f"result = {cls.name}({', '.join(own)}).execute(airflow_context())"]
    put_script(writer, maker, script, guarded(script, lines))


def of_method(script, node, context):
    """Looks at what `execute(self, context)` takes of the context."""
    if context is None:
        return set()
    spec = ast.arguments(
        posonlyargs=[], args=[], vararg=None, kwonlyargs=[], kw_defaults=[], kwarg=ast.arg(arg=context), defaults=[]
    )
    stand_in = ast.FunctionDef(name=node.name, args=spec, body=node.body, decorator_list=[], lineno=node.lineno)
    return script.context_names(stand_in, node.lineno)


def template_fields(cls):
    for node in cls.node.body:
        if isinstance(node, (ast.Assign, ast.AnnAssign)) and node.value is not None:
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            if any(isinstance(target, ast.Name) and target.id == "template_fields" for target in targets):
                return {one.value for one in ast.walk(node.value) if isinstance(one, ast.Constant)}
    return set()
