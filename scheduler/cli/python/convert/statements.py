"""Statements: the file is followed from top to bottom, as Python would run it, as far as that can be known."""

import ast
import sys

from expressions import is_truth_known
from values import ClassDef, Dag, Decorated, Decorator, Env, Func, Group, Ref, Task, TooMuch, Unknown, XCom

CALLS_DEEP_MAX = 25
LOOP_MAX = 10_000
STANDARD_LIBRARY = getattr(sys, "stdlib_module_names", frozenset())


def is_setup(task):
    """Whether others need what a task makes."""
    given = task.kwargs.get("is_setup")
    return given is not None and given.value is True


class Returned(Exception):
    """A `return` inside a function that is being followed."""

    def __init__(self, value):
        super().__init__()
        self.value = value


class Left(Exception):
    """`break` or `continue`."""

    def __init__(self, is_break):
        super().__init__()
        self.is_break = is_break


class Statements:
    """The part of the interpreter that follows statements."""

    def run(self, body, env):
        for statement in body:
            self.tick()
            method = getattr(self, "run_" + type(statement).__name__, None)
            if method is None:
                self.skip(statement, f"a statement `{type(statement).__name__}` is not followed")
            else:
                method(statement, env)

    def skip(self, node, why):
        """A statement that is left out: said where it can matter."""
        if self.matters():
            self.report.remark(node.lineno, why, self.owner())

    def matters(self):
        return bool(self.dags) or self.depth > 0

    def run_Import(self, node, env):
        for alias in node.names:
            name = alias.asname or alias.name.split(".")[0]
            env.bind(name, Ref(alias.name if alias.asname else name), node)

    def run_ImportFrom(self, node, env):
        module = "." * node.level + (node.module or "")
        if module == "__future__":
            return
        for alias in node.names:
            if alias.name == "*":
                self.report.note(node.lineno, f"what `from {module} import *` brings is not known here", self.owner())
                continue
            separator = "" if module.endswith(".") else "."
            env.bind(alias.asname or alias.name, self.imported(f"{module}{separator}{alias.name}"), node)

    def run_Assign(self, node, env):
        value = self.eval(node.value, env)
        self.look_for_dags(node, node.value, value, env)
        for target in node.targets:
            if not self.assign(target, value, env, node):
                self.skip(node, f"`{self.text_of(target)} = …` is not followed")

    def run_AnnAssign(self, node, env):
        if node.value is not None:
            self.assign(node.target, self.eval(node.value, env), env, node)

    def run_AugAssign(self, node, env):
        combined = ast.copy_location(ast.BinOp(left=load(node.target), op=node.op, right=node.value), node)
        self.assign(node.target, self.eval(combined, env), env, node)

    def assign(self, target, value, env, node):
        """Binds a target; false when it is none that is followed."""
        if isinstance(target, ast.Name):
            env.bind(target.id, value, node)
            return True
        if isinstance(target, (ast.Tuple, ast.List)):
            return self.unpack(target, value, env, node)
        if isinstance(target, ast.Attribute):
            owner = self.eval(target.value, env)
            if isinstance(owner, (ClassDef, Func)):
                self.report.remark(target.lineno, f"`{self.text_of(target)} = …` was left out of the scripts that use it")
                return True
            return self.set_attribute(owner, target.attr, value, target.lineno)
        if isinstance(target, ast.Subscript):
            owner = self.eval(target.value, env)
            key = self.eval(target.slice, env)
            if isinstance(owner, dict) and isinstance(key, (str, int)):
                owner[key] = value
                return True
            if isinstance(owner, list) and isinstance(key, int) and -len(owner) <= key < len(owner):
                owner[key] = value
                return True
            # `globals()[dag_id] = dag` is how DAGs made in a loop are found; here they are found anyway.
            return isinstance(value, Dag)
        return False

    def unpack(self, target, value, env, node):
        items = self.iterable(value)
        starred = [index for index, part in enumerate(target.elts) if isinstance(part, ast.Starred)]
        if items is None or (not starred and len(items) != len(target.elts)) or len(items) < len(target.elts) - 1:
            for part in target.elts:
                part = part.value if isinstance(part, ast.Starred) else part
                self.assign(
                    part,
                    Unknown(target.lineno, f"`{self.text_of(target)}` is known only when the file runs"),
                    env,
                    node,
                )
            return True
        if starred:
            at, after = starred[0], len(target.elts) - starred[0] - 1
            items = [*items[:at], items[at : len(items) - after], *items[len(items) - after :]]
        for part, item in zip(target.elts, items):
            self.assign(part.value if isinstance(part, ast.Starred) else part, item, env, node)
        return True

    def run_Expr(self, node, env):
        if isinstance(node.value, ast.Constant):
            return
        value = self.eval(node.value, env)
        self.look_for_dags(node, node.value, value, env)
        if not isinstance(value, Unknown) or not (self.matters() or self.concerns_dags(node.value, env)):
            return
        if isinstance(node.value, ast.Call) and is_logging(node.value.func):
            return
        self.report.remark(node.lineno, f"left out: {value.why}", self.owner() or self.concerns_dags(node.value, env))

    def look_for_dags(self, statement, call, value, env):
        """Says when a call of what another file defines may have made a DAG or a task, of which nothing is known here."""
        if isinstance(value, list):
            value = next((item for item in value if isinstance(item, Unknown)), None)
        if isinstance(call, ast.ListComp):
            call = call.elt
        if not isinstance(value, Unknown) or not isinstance(call, ast.Call):
            return
        root = call.func
        while isinstance(root, ast.Attribute):
            root = root.value
        binding = env.find(root.id) if isinstance(root, ast.Name) else None
        of = binding.value if binding is not None else None
        if not isinstance(of, Ref) or of.of_airflow or of.path.split(".")[0] in STANDARD_LIBRARY:
            return
        is_of_dags = "dag" in self.text_of(call.func).lower() or is_global(statement)
        if self.dags:
            self.report.remark(
                statement.lineno, f"left out: {value.why}; a task that it makes is missing", self.owner()
            )
        elif is_of_dags:
            self.report.remark(statement.lineno, f"left out: {value.why}; a DAG that it makes is missing")

    def concerns_dags(self, node, env):
        """The DAG that a statement outside of it is given, such as `add_tasks(dag)`."""
        for name in ast.walk(node):
            binding = env.find(name.id) if isinstance(name, ast.Name) else None
            value = binding.value if binding is not None else None
            if isinstance(value, Dag):
                return value
            if isinstance(value, (Task, Group)):
                return value.dag
            if isinstance(value, XCom):
                return value.task.dag
        return None

    def run_Return(self, node, env):
        raise Returned(self.eval(node.value, env) if node.value is not None else None)

    def run_Pass(self, node, env):
        pass

    def run_Global(self, node, env):
        pass

    run_Nonlocal = run_Global
    run_Assert = run_Global

    def run_Delete(self, node, env):
        for target in node.targets:
            if isinstance(target, ast.Name):
                env.names.pop(target.id, None)

    def run_Break(self, node, env):
        raise Left(True)

    def run_Continue(self, node, env):
        raise Left(False)

    def run_Raise(self, node, env):
        self.skip(node, "the file would stop here with an exception; what follows was converted nevertheless")

    def run_FunctionDef(self, node, env):
        self.followed.add(node)
        value = Func(node, env.at_definition(node), node.name)
        for decorator in reversed(node.decorator_list):
            made = self.eval(decorator, env)
            value = self.decorate(decorator, made, value)
        env.bind(node.name, value, node)

    run_AsyncFunctionDef = run_FunctionDef

    def decorate(self, node, decorator, function):
        if isinstance(decorator, Ref):
            found = self.decorator_of(decorator, {}, {}, node.lineno)
            if found is not None:
                decorator = found
        if isinstance(decorator, Decorator):
            return self.decorated(decorator, function, node.lineno)
        # What it does is seen when the function runs: it stays with the code.
        inner = function.func if isinstance(function, Decorated) else function
        inner.decorators.insert(0, node)
        return function

    def run_ClassDef(self, node, env):
        bases = [self.eval(base, env) for base in node.bases]
        env.bind(node.name, ClassDef(node, env, bases), node)

    def run_If(self, node, env):
        if is_main(node.test):
            return
        test = self.eval(node.test, env)
        if is_truth_known(test):
            self.run(node.body if test else node.orelse, env)
            return
        taken, other = node.body, node.orelse
        if weight(other) > weight(taken):
            taken, other = other, taken
        words = f"whether `{self.text_of(node.test)}` holds is known only when the file runs"
        if weight(node.body) or weight(node.orelse) or self.matters():
            which = "its second branch" if taken is node.orelse else "its first branch"
            self.report.remark(node.lineno, f"{words}; {which} was converted", self.owner())
        self.run(taken, env)

    def run_Match(self, node, env):
        self.skip(node, "`match` is not followed; what is in it was left out")

    def run_For(self, node, env):
        value = self.eval(node.iter, env)
        values = self.iterable(value)
        if values is None:
            if weight(node.body) or self.matters():
                why = (
                    value.why
                    if isinstance(value, Unknown)
                    else f"`{self.text_of(node.iter)}` is known only when the file runs"
                )
                self.report.remark(node.lineno, f"the loop was left out: {why}", self.owner())
            return
        if len(values) > LOOP_MAX:
            raise TooMuch(
                f"the loop of line {node.lineno} runs {len(values)} times; at most {LOOP_MAX} are written out"
            )
        for item in values:
            self.assign(node.target, item, env, None)
            try:
                self.run(node.body, env)
            except Left as left:
                if left.is_break:
                    return
        self.run(node.orelse, env)

    run_AsyncFor = run_For

    def run_While(self, node, env):
        if weight(node.body) or self.matters():
            self.report.remark(
                node.lineno, "the loop was left out: `while` is not followed; write a `for` over a list", self.owner()
            )

    def run_Try(self, node, env):
        before = dict(env.names)
        self.run(node.body, env)
        self.run(node.orelse, env)
        self.run(node.finalbody, env)
        for name, binding in env.names.items():
            if binding is not before.get(name):
                binding.attempt = node
        if any(weight(handler.body) for handler in node.handlers):
            self.report.remark(node.handlers[0].lineno, "what stands below `except` was left out", self.owner())

    run_TryStar = run_Try

    def run_With(self, node, env):
        opened = []
        for item in node.items:
            value = self.eval(item.context_expr, env)
            if item.optional_vars is not None:
                self.assign(item.optional_vars, value, env, node)
            if isinstance(value, Dag):
                self.dags.append(value)
                self.groups.append(value.root)
                opened.append(value)
            elif isinstance(value, Group):
                self.groups.append(value)
                opened.append(value)
            elif isinstance(value, (XCom, Task)):
                opened.append(
                    (value.task if isinstance(value, XCom) else value, len(self.dags[-1].tasks) if self.dags else 0)
                )
            else:
                self.skip(
                    node, f"`with {self.text_of(item.context_expr)}` is not followed; what is in it was converted"
                )
        try:
            self.run(node.body, env)
        finally:
            for one in reversed(opened):
                self.close(one)

    run_AsyncWith = run_With

    def close(self, opened):
        if isinstance(opened, tuple):
            self.wrap(*opened)
            return
        self.groups.pop()
        if isinstance(opened, Dag):
            self.dags.pop()

    def wrap(self, teardown, first):
        """`with teardown_task:` puts what is inside between its setups and itself."""
        dag = teardown.dag
        if dag is None:
            return
        inside = [task for task in dag.tasks[first:] if task is not teardown]
        setups = [before for before in teardown.upstream if isinstance(before, Task) and is_setup(before)]
        for task in inside:
            if not any(before in inside for before in self.reached(task)):
                for setup in setups:
                    if setup is not task:
                        self.precede(setup, task)
            if not any(task in self.reached(after) for after in inside):
                self.precede(task, teardown)

    @staticmethod
    def reached(task):
        """The tasks directly before a task, those of groups included."""
        found = []
        for before in task.upstream:
            found.extend(
                [before] if isinstance(before, Task) else [one for one in before.dag.tasks if before.contains(one)]
            )
        return found

    def call_func(self, node, function, args, kwargs):
        """Follows a function of the file that is called while the file is read."""
        if self.depth >= CALLS_DEEP_MAX:
            return self.unknown(node, f"`{function.name}` calls itself too often to be followed")
        if function.decorators:
            return self.unknown(node, f"what the decorators of `{function.name}` make of it is known only when it runs")
        env = Env(function.env)
        if not self.bind_arguments(function, env, args, kwargs):
            return self.unknown(node, f"the arguments of `{function.name}` do not fit")
        if isinstance(function.node, ast.Lambda):
            return self.eval(function.node.body, env)
        if isinstance(function.node, ast.AsyncFunctionDef) or is_generator(function.node):
            return self.unknown(node)
        self.depth += 1
        try:
            self.run(function.node.body, env)
        except Returned as returned:
            return returned.value
        finally:
            self.depth -= 1
        return None

    def bind_arguments(self, function, env, args, kwargs):
        """Gives a function's parameters their values; false when the arguments do not fit."""
        spec = function.node.args
        names = [arg.arg for arg in [*getattr(spec, "posonlyargs", []), *spec.args]]
        kwargs = dict(kwargs)
        if "**" in kwargs:
            return False
        for name, value in zip(names, args):
            env.bind(name, value)
        if len(args) > len(names):
            if spec.vararg is None:
                return False
        if spec.vararg is not None:
            env.bind(spec.vararg.arg, tuple(args[len(names) :]))
        defaults = dict(zip(names[len(names) - len(spec.defaults) :], spec.defaults))
        defaults.update({arg.arg: node for arg, node in zip(spec.kwonlyargs, spec.kw_defaults) if node is not None})
        for name in [*names[len(args) :], *[arg.arg for arg in spec.kwonlyargs]]:
            if name in kwargs:
                env.bind(name, kwargs.pop(name))
            elif name in defaults:
                env.bind(name, self.eval(defaults[name], function.env))
            else:
                return False
        if kwargs and spec.kwarg is None:
            return False
        if spec.kwarg is not None:
            env.bind(spec.kwarg.arg, kwargs)
        return True


def load(target):
    """The target of `x += …` as an expression."""
    text = ast.unparse(target)
    return ast.copy_location(ast.parse(text, mode="eval").body, target)


def is_global(statement):
    """`globals()[name] = …`, as DAGs made in a loop are kept."""
    targets = statement.targets if isinstance(statement, ast.Assign) else []
    return any(
        isinstance(target, ast.Subscript)
        and isinstance(target.value, ast.Call)
        and isinstance(target.value.func, ast.Name)
        and target.value.func.id == "globals"
        for target in targets
    )


def is_main(test):
    return isinstance(test, ast.Compare) and isinstance(test.left, ast.Name) and test.left.id == "__name__"


def is_generator(function):
    for node in ast.walk(function):
        if isinstance(node, (ast.Yield, ast.YieldFrom)):
            return True
    return False


def is_logging(function):
    """`log.info(…)`: nothing that a DAG is made of."""
    return isinstance(function, ast.Attribute) and function.attr in (
        "debug", "info", "warning", "error", "exception", "critical", "basicConfig", "setLevel",
    )  # fmt: skip


def weight(body):
    """How many statements of a body can make tasks: definitions, blocks, assignments and calls that are no logging."""
    count = 0
    for statement in body:
        for node in ast.walk(statement):
            if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.With)):
                count += 5
            elif isinstance(node, ast.Call) and not is_logging(node.func):
                count += 1
            elif isinstance(node, ast.BinOp) and isinstance(node.op, (ast.RShift, ast.LShift)):
                count += 1
    return count
