"""Python callables as scripts: the function's text, with the names that it needs, and a call with what it is given."""

import ast
import datetime
import keyword
import pprint
import re
import symtable
import sys
import textwrap

import shims
from plain import NotPlain, plain
from templates import has_template
from values import ClassDef, Decorated, Func, Moment, Rendered, Task, Unknown, XCom, is_literal, pull

MISSING = "windlass: no such variable"
NAMES_MAX = 500
# The template of `Variable.get(…, deserialize_json=True)`.
JSON_VARIABLE = re.compile(r"\{\{ var\.json(?:(?! \| tojson)(?!\{\{).)* \}\}", re.DOTALL)


class NotConverted(Exception):
    """The callable can not become a script; the text says why."""


class Script:
    """The script of one task, while it is made."""

    def __init__(self, source_lines, file_name, task, remark):
        self.source_lines = source_lines
        self.file_name = file_name
        self.task = task
        self.remark = remark
        self.imports = {}
        self.parts = {}
        self.pieces = set()
        self.env = {}
        self.modules = set()
        self.done = set()
        self.context_keys = set()
        self.given = set()

    # What a function needs.

    def need(self, names, env, line):
        for name in sorted(names):
            if name in self.done or len(self.done) > NAMES_MAX:
                continue
            binding = env.find(name)
            if name == "__file__":
                self.done.add(name)
                self.remark(line, "the code uses `__file__`, which is the script's own file there")
            if binding is None:
                continue
            self.done.add(name)
            self.need_one(name, binding, env, line)

    def need_one(self, name, binding, env, line):
        value, node = binding.value, binding.node
        if binding.attempt is not None and self.add_attempt(binding.attempt, env):
            return
        if isinstance(node, (ast.Import, ast.ImportFrom)):
            self.need_import(name, node, line)
        elif isinstance(value, Func) and not isinstance(value.node, ast.Lambda):
            self.add_function(value)
        elif isinstance(value, ClassDef):
            self.add_class(value)
        elif isinstance(value, Decorated):
            self.remark(line, f"the code uses `{name}`, which makes a task and is no function there")
        elif is_literal(value):
            at = getattr(node, "lineno", 0)
            self.parts[name] = (at, f"{name} = {pprint.pformat(value, width=100, sort_dicts=False)}")
        elif isinstance(value, Rendered) and "<sys" not in value:
            self.parts[name] = (getattr(node, "lineno", 0), f"{name} = {self.from_environment(name, value)}")
        elif isinstance(node, (ast.Assign, ast.AnnAssign)) and not isinstance(value, (Task, XCom)):
            self.parts[name] = (node.lineno, self.segment(node))
            self.need(free_names(node), env, node.lineno)
        else:
            self.remark(line, f"the code uses `{name}`, which has no value outside of the DAG file")

    def add_attempt(self, attempt, env):
        """The whole `try` that gives a name; false when it can not stand in a script."""
        own = [node for node in ast.walk(attempt) if isinstance(node, (ast.Import, ast.ImportFrom))]
        if any((getattr(node, "module", None) or node.names[0].name).split(".")[0] == "airflow" for node in own):
            return False
        key = f"try@{attempt.lineno}"
        if key not in self.parts:
            self.parts[key] = (attempt.lineno, self.segment(attempt))
            self.need(free_names(attempt), env, attempt.lineno)
            for node in own:
                module = (node.module or "") if isinstance(node, ast.ImportFrom) else node.names[0].name
                self.check_module(ast.unparse(node), module.split(".")[0], node, node.lineno)
        return True

    def need_import(self, name, node, line):
        for alias in node.names:
            bound = alias.asname or alias.name.split(".")[0]
            if bound != name:
                continue
            module = (node.module or "") if isinstance(node, ast.ImportFrom) else alias.name
            root = module.split(".")[0]
            known = shims.OF_AIRFLOW.get(alias.name) if isinstance(node, ast.ImportFrom) else None
            if root == "airflow" and known is not None:
                self.piece(known)
                if bound != alias.name:
                    self.parts[bound] = (node.lineno, f"{bound} = {alias.name}")
                return
            as_name = f" as {alias.asname}" if alias.asname else ""
            if isinstance(node, ast.ImportFrom):
                dots = "." * node.level
                text = f"from {dots}{module} import {alias.name}{as_name}"
            else:
                text = f"import {alias.name}{as_name}"
            self.imports[text] = node.lineno
            self.check_module(text, root, node, line)

    def check_module(self, text, root, node, line):
        if root == "airflow":
            self.remark(
                line, f"the code needs Airflow (`{text}`): the script fails there; replace it by what does the same"
            )
        elif isinstance(node, ast.ImportFrom) and node.level:
            self.remark(line, f"the code needs a file beside the DAG file (`{text}`), which a script does not find")
        elif root and root not in getattr(sys, "stdlib_module_names", {root}):
            self.modules.add(root)

    def piece(self, name):
        if name in self.pieces:
            return
        self.pieces.add(name)
        for text in shims.IMPORTS.get(name, []):
            self.imports.setdefault(text, 0)
        if name == "current_context":
            self.context(None)

    def context(self, keys):
        """Airflow's context with these names, or with all that can be had."""
        self.piece("context")
        if keys is None or self.context_keys is None:
            self.context_keys = None
        else:
            self.context_keys |= keys
        for text in shims.context_imports(self.context_keys):
            self.imports.setdefault(text, 0)

    def add_function(self, function):
        self.done.add(function.name)
        text = self.decorated(self.segment(function.node), function.decorators, function.env)
        self.parts[function.name] = (function.node.lineno, text)
        self.need(free_names(function.node), function.env, function.node.lineno)
        self.local_imports(function.node)

    def decorated(self, text, decorators, env):
        """The definition below its decorators, and what they need."""
        for decorator in reversed(decorators):
            text = f"@{ast.unparse(decorator)}\n{text}"
            self.need(free_names(ast.Expr(value=decorator)), env, decorator.lineno)
        return text

    def add_class(self, cls):
        self.done.add(cls.name)
        text = self.decorated(self.segment(cls.node), cls.node.decorator_list, cls.env)
        self.parts[cls.name] = (cls.node.lineno, text)
        self.need(free_names(cls.node), cls.env, cls.node.lineno)
        self.local_imports(cls.node)

    def local_imports(self, function):
        """Imports inside of the function stay there; those of Airflow are looked at."""
        for node in ast.walk(function):
            if isinstance(node, (ast.Import, ast.ImportFrom)):
                module = (node.module or "") if isinstance(node, ast.ImportFrom) else node.names[0].name
                if module == "__future__":
                    continue
                self.check_module(" ".join(ast.unparse(node).split()), module.split(".")[0], node, node.lineno)

    def segment(self, node):
        """The statement's own text, without decorators and without the indentation of its block."""
        lines = self.source_lines[node.lineno - 1 : node.end_lineno]
        text = textwrap.dedent("\n".join(lines)).rstrip()
        try:
            ast.parse(text)
        except (SyntaxError, ValueError):
            # Several statements on one line, or a text whose lines begin before the block.
            node = ast.parse(ast.unparse(node)).body[0]
            if hasattr(node, "decorator_list"):
                node.decorator_list = []
            text = ast.unparse(node)
        return text

    # What it is given.

    def argument(self, name, value, line, render=True):
        """The Python that gives an argument: a literal, an XCom, or a text that a template gives."""
        if isinstance(value, (XCom, Task)):
            self.imports.setdefault("from windlass import xcom_pull", 0)
            xcom = value if isinstance(value, XCom) else XCom(value)
            xcom.task.pulled_by = True
            text = pull(xcom).replace("ti.", "", 1)
            return text
        if isinstance(value, str) and (isinstance(value, Rendered) or (render and has_template(value))):
            return self.from_environment(name, value)
        if isinstance(value, (list, tuple)):
            items = [self.argument(f"{name}_{index}", item, line, render) for index, item in enumerate(value)]
            return (
                "[" + ", ".join(items) + "]"
                if isinstance(value, list)
                else "(" + "".join(i + ", " for i in items) + ")"
            )
        if isinstance(value, dict):
            items = [f"{key!r}: {self.argument(f'{name}_{key}', item, line, render)}" for key, item in value.items()]
            return "{" + ", ".join(items) + "}"
        if isinstance(value, Unknown):
            raise NotConverted(f"its argument `{name}`: {value.why}")
        if isinstance(value, datetime.timedelta):
            self.imports.setdefault("import datetime", 0)
            return f"datetime.timedelta(seconds={value.total_seconds():g})"
        if isinstance(value, Moment):
            self.imports.setdefault("import datetime", 0)
            return f"datetime.datetime.fromisoformat({plain(value)!r})"
        if is_literal(value):
            return repr(value)
        try:
            return repr(plain(value))
        except NotPlain as error:
            raise NotConverted(f"its argument `{name}`: {error}") from None

    def from_environment(self, name, value):
        """A text that Windlass renders into a variable of the environment; the value of a variable in JSON is read again."""
        self.imports.setdefault("import os", 0)
        if JSON_VARIABLE.fullmatch(value):
            self.imports.setdefault("import json", 0)
            return f"json.loads({self.from_environment(name, value[:-3] + ' | tojson }}')})"
        variable = "ARG_" + re.sub(r"\W", "_", name.upper(), flags=re.ASCII)
        while self.env.get(variable, value) != value:
            variable += "_"
        self.env[variable] = value
        return f'os.environ["{variable}"]'

    def variables(self, tree_nodes):
        """`Variable.get("key")` of the code: templates of the environment give the values."""
        for node in tree_nodes:
            for call in ast.walk(node):
                is_get = isinstance(call, ast.Call) and isinstance(call.func, ast.Attribute) and call.func.attr == "get"
                if not is_get or not isinstance(call.func.value, ast.Name) or call.func.value.id != "Variable":
                    continue
                key = call.args[0] if call.args else None
                if not isinstance(key, ast.Constant) or not isinstance(key.value, str) or not key.value.isidentifier():
                    self.remark(
                        call.lineno, "the key of this variable is known only when the code runs; it is not there"
                    )
                    continue
                has_default = len(call.args) > 1 or any(k.arg in ("default_var", "default") for k in call.keywords)
                template = f"var.value.get({key.value!r}, {MISSING!r})" if has_default else f"var.value.{key.value}"
                self.env["VAR_" + key.value.upper()] = "{{ " + template + " }}"

    def context_names(self, node, line):
        """Looks at how the code uses Airflow's context and says what is not there; the keys of `**kwargs` that it uses, or
        None for all of them."""
        spec = node.args
        rest = spec.kwarg.arg if spec.kwarg is not None else None
        aliases = {name: name for name in parameter_names(spec) if name in shims.MADE or name in shims.LACKING}
        contexts = {rest} if rest else set()
        for inner in ast.walk(node):
            if isinstance(inner, ast.Assign) and len(inner.targets) == 1 and isinstance(inner.targets[0], ast.Name):
                key = context_key(inner.value, contexts)
                if key is not None:
                    aliases[inner.targets[0].id] = key
                if is_call_of(inner.value, "get_current_context"):
                    contexts.add(inner.targets[0].id)
        said, used = set(), set()
        lookups = 0
        for inner in ast.walk(node):
            key = context_key(inner, contexts)
            lookups += key is not None
            if key is not None:
                used.add(key)
            if key is not None and key in shims.LACKING and key not in said and key not in self.given:
                said.add(key)
                self.remark(inner.lineno, f"the code uses `{key}` of Airflow's context, which is not there")
            if isinstance(inner, ast.Call) and isinstance(inner.func, ast.Attribute) and inner.func.attr == "xcom_pull":
                for lacking in [
                    one for one in inner.keywords if one.arg in ("dag_id", "include_prior_dates", "run_id")
                ]:
                    self.remark(
                        inner.lineno, f"`xcom_pull(…, {lacking.arg}=…)`: XComs of other DAGs and runs are not there"
                    )
            if isinstance(inner, ast.Attribute):
                owner = inner.value
                of = aliases.get(owner.id) if isinstance(owner, ast.Name) else context_key(owner, contexts)
                self.check_attribute(inner, of, said)
        uses = sum(isinstance(inner, ast.Name) and inner.id in contexts for inner in ast.walk(node))
        made = sum(is_call_of(getattr(inner, "value", None), "get_current_context") for inner in ast.walk(node))
        return used if uses - made == lookups else None

    def check_attribute(self, node, of, said):
        allowed = set(dir(datetime.datetime)) if of in shims.DATES else shims.MADE.get(of) if of else None
        if allowed is None or node.attr in allowed or (of, node.attr) in said:
            return
        said.add((of, node.attr))
        advice = "; it is a datetime of Python's own there" if of in shims.DATES else ""
        self.remark(node.lineno, f"the code uses `{of}.{node.attr}`, which is not there{advice}")

    # The whole.

    def text(self, call):
        """The script, with `call` at its end."""
        if "variable" in self.pieces:
            self.parts["MISSING"] = (-1, f"MISSING = {MISSING!r}")
        if any(re.match(r"(import|from) logging\b", line) for line in self.imports):
            # What is logged is shown, as in Airflow.
            self.imports.setdefault("import logging", 0)
            call = ['logging.basicConfig(level=logging.INFO, format="%(levelname)s %(message)s")', *call]
        file_name = self.file_name.rsplit("/", 1)[-1]
        first = f'"""The task {self.task.task_id} of {file_name}, line {self.task.line}."""'
        blocks = [first + "\n\nfrom __future__ import annotations"]
        imports = sorted(joined(self.imports), key=lambda line: (line.startswith("from"), line))
        if imports:
            blocks.append("\n".join(imports))
        for name in shims.ORDER:
            if name in self.pieces:
                text = shims.context_text(self.context_keys) if name == "context" else shims.TEXTS[name]
                blocks.append("\n" + text.rstrip())
        for _, part in sorted(self.parts.values(), key=lambda part: part[0]):
            apart = is_definition(part) or (is_definition(blocks[-1].strip()) and len(blocks) > 2)
            blocks.append(("\n" if apart else "") + part)
        blocks.append("\n" + "\n".join(call))
        return "\n\n".join(blocks) + "\n"


def is_definition(text):
    """Whether a piece of code is a function or a class."""
    return text.startswith(("def ", "async def ", "class ", "@"))


def joined(imports):
    """The imports, those of Windlass's module in one line."""
    head = "from windlass import "
    names = sorted(line[len(head) :] for line in imports if line.startswith(head))
    rest = [line for line in imports if not line.startswith(head)]
    return [*rest, head + ", ".join(names)] if names else rest


def parameter_names(spec):
    return [arg.arg for arg in [*getattr(spec, "posonlyargs", []), *spec.args, *spec.kwonlyargs]]


def context_key(node, contexts):
    """The key of `context["ti"]` or `context.get("ti")`, or None."""
    if isinstance(node, ast.Subscript) and isinstance(node.value, ast.Name) and node.value.id in contexts:
        key = node.slice
        return key.value if isinstance(key, ast.Constant) and isinstance(key.value, str) else None
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in ("get", "pop"):
        owner = node.func.value
        if (
            isinstance(owner, ast.Name)
            and owner.id in contexts
            and node.args
            and isinstance(node.args[0], ast.Constant)
        ):
            return node.args[0].value if isinstance(node.args[0].value, str) else None
    return None


def is_call_of(node, name):
    return isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == name


class Unannotated(ast.NodeTransformer):
    """Takes annotations out of code: a script never evaluates them."""

    def visit_arg(self, node):
        return ast.arg(arg=node.arg)

    def visit_FunctionDef(self, node):
        node.returns = None
        return self.generic_visit(node)

    visit_AsyncFunctionDef = visit_FunctionDef

    def visit_AnnAssign(self, node):
        value = node.value if node.value is not None else ast.Constant(value=None)
        return self.generic_visit(ast.Assign(targets=[node.target], value=value))


def free_names(node):
    """Names of the module that a piece of code uses, as Python itself resolves them; its own name, and what its annotations and
    its own decorators use, do not count."""
    statement = Unannotated().visit(ast.parse(ast.unparse(node)).body[0])
    if hasattr(statement, "decorator_list"):
        statement.decorator_list = []
    found = set()

    def visit(table):
        for symbol in table.get_symbols():
            of_module = table.get_type() == "module" or symbol.is_global()
            if of_module and (symbol.is_referenced() or symbol.is_declared_global()):
                found.add(symbol.get_name())
        for inner in table.get_children():
            visit(inner)

    visit(symtable.symtable(ast.unparse(ast.fix_missing_locations(statement)), "code", "exec"))
    return found - {getattr(statement, "name", None)}


def identifier(text):
    """A name for a function."""
    name = re.sub(r"\W", "_", text, flags=re.ASCII)
    if not name or name[0].isdigit() or keyword.iskeyword(name):
        name = "task_" + name
    return name
