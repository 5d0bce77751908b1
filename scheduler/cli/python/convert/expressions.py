"""Expressions: what can be known without running the file, else `Unknown` with what stands there."""

import ast
import datetime
import operator

import library
from values import (
    ITEMS_MAX,
    PLAIN,
    STEPS_MAX,
    TEXT_MAX,
    Asset,
    ClassDef,
    Dag,
    Decorated,
    Env,
    File,
    Func,
    Group,
    Method,
    Moment,
    Ref,
    Rendered,
    Task,
    TooMuch,
    Unknown,
    XCom,
    is_literal,
    pull,
)

BINARY = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv,
    ast.Mod: operator.mod,
}
COMPARE = {
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
    ast.Is: operator.is_,
    ast.IsNot: operator.is_not,
    ast.In: lambda a, b: a in b,
    ast.NotIn: lambda a, b: a not in b,
}
NUMBER_MAX = 2**64


def is_known(value, depth=0):
    """Whether a value is complete, also inside of lists and mappings."""
    if depth > 50 or isinstance(value, (Unknown, Rendered)):
        return False
    if isinstance(value, (list, tuple, set, frozenset)):
        return all(is_known(item, depth + 1) for item in value)
    if isinstance(value, dict):
        return all(is_known(item, depth + 1) for pair in value.items() for item in pair)
    return True


def is_truth_known(value):
    """Whether `if value:` can be decided. Tasks, and what stands for their XComs while the file is read, are true."""
    return not isinstance(value, (Unknown, Rendered, Method))


class Expressions:
    """The part of the interpreter that reads expressions."""

    def tick(self):
        self.steps += 1
        if self.steps > STEPS_MAX:
            raise TooMuch("its loops take too many steps; write out what they make")

    def text_of(self, node):
        """The expression on one line, as people recognise it."""
        try:
            text = " ".join(ast.unparse(node).split())
        except (RecursionError, ValueError):
            text = type(node).__name__
        return text if len(text) <= 120 else text[:119] + "…"

    def unknown(self, node, why=None):
        return Unknown(getattr(node, "lineno", 0), why or f"`{self.text_of(node)}` is known only when the file runs")

    def eval(self, node, env):
        self.tick()
        method = getattr(self, "eval_" + type(node).__name__, None)
        if method is None:
            return self.unknown(node)
        return method(node, env)

    def eval_Constant(self, node, env):
        return node.value

    def eval_Name(self, node, env):
        found = env.find(node.id)
        if found is not None:
            return found.value
        if node.id in library.BUILTINS:
            return Ref("builtins." + node.id)
        if node.id == "__file__":
            return self.file_name
        if node.id == "__name__":
            return self.file_name.rsplit("/", 1)[-1].rsplit(".", 1)[0]
        return self.unknown(node, f"the name `{node.id}` is not known here")

    def items(self, nodes, env):
        """The values of list items and positional arguments, with `*…` spread out."""
        found = []
        for node in nodes:
            if isinstance(node, ast.Starred):
                value = self.eval(node.value, env)
                if isinstance(value, (list, tuple, set, dict, str)):
                    found.extend(value)
                else:
                    found.append(self.unknown(node))
            else:
                found.append(self.eval(node, env))
            if len(found) > ITEMS_MAX:
                raise TooMuch(f"a list has more than {ITEMS_MAX} items")
        return found

    def eval_List(self, node, env):
        return self.items(node.elts, env)

    def eval_Tuple(self, node, env):
        return tuple(self.items(node.elts, env))

    def eval_Set(self, node, env):
        # A list keeps the order of the file; duplicates go.
        found = []
        for item in self.items(node.elts, env):
            if item not in found:
                found.append(item)
        return found

    def eval_Dict(self, node, env):
        found = {}
        for key_node, value_node in zip(node.keys, node.values):
            value = self.eval(value_node, env)
            if key_node is None:
                if not isinstance(value, dict):
                    return self.unknown(value_node)
                found.update(value)
                continue
            key = self.eval(key_node, env)
            try:
                found[key] = value
            except TypeError:
                return self.unknown(key_node)
        return found

    def eval_JoinedStr(self, node, env):
        parts = []
        rendered = False
        for part in node.values:
            value = self.eval(part, env)
            if isinstance(value, Unknown):
                return Unknown(node.lineno, value.why)
            rendered = rendered or isinstance(value, Rendered)
            parts.append(str(value))
        return self.bounded(node, (Rendered if rendered else str)("".join(parts)))

    def eval_FormattedValue(self, node, env):
        value = self.eval(node.value, env)
        form = self.eval(node.format_spec, env) if node.format_spec is not None else ""
        text = self.as_text(value)
        if text is None or isinstance(form, Unknown):
            return value if isinstance(value, Unknown) else self.unknown(node.value)
        if node.conversion == ord("r") and isinstance(value, PLAIN):
            return repr(value)
        if not form:
            return text
        if isinstance(value, (int, float)) or (isinstance(value, str) and not isinstance(value, Rendered)):
            return self.formatted(node, value, form)
        if isinstance(value, Moment):
            return value.naive.strftime(form)
        return self.unknown(node.value)

    def formatted(self, node, value, form):
        if len(form) > 20 or not library.is_plain_format(form):
            return self.unknown(node)
        try:
            return self.bounded(node, format(value, form))
        except (ValueError, OverflowError, MemoryError):
            return self.unknown(node)

    def as_text(self, value):
        """`str(value)`, or None."""
        if isinstance(value, (XCom, Task)):
            xcom = value if isinstance(value, XCom) else XCom(value)
            xcom.task.pulled_by = True
            return Rendered("{{ " + pull(xcom) + " }}")
        if isinstance(value, File):
            return value.text
        if isinstance(value, Moment):
            return str(value.naive)
        if isinstance(value, (datetime.time, datetime.timedelta)):
            return str(value)
        if isinstance(value, PLAIN):
            return value if isinstance(value, str) else str(value)
        if isinstance(value, (list, tuple, dict)) and is_known(value) and is_literal(value):
            return str(value)
        return None

    def bounded(self, node, value):
        if isinstance(value, (str, bytes, list, tuple)) and len(value) > TEXT_MAX:
            raise TooMuch(f"line {node.lineno} makes a text or list of more than {TEXT_MAX} items")
        return value

    def eval_BinOp(self, node, env):
        left = self.eval(node.left, env)
        right = self.eval(node.right, env)
        if isinstance(node.op, (ast.RShift, ast.LShift)):
            return self.shift(node, left, right)
        if isinstance(node.op, (ast.BitOr, ast.BitAnd)) and isinstance(left, Asset) and isinstance(right, Asset):
            kind = "any" if isinstance(node.op, ast.BitOr) else "all"
            parts = left.parts if left.kind == kind else [left]
            return Asset(None, None, kind, [*parts, right])
        if isinstance(left, File) and isinstance(node.op, ast.Div) and isinstance(right, (str, File)):
            return File(library.join(left.text, getattr(right, "text", right)))
        for value in (left, right):
            if isinstance(value, Unknown):
                return Unknown(node.lineno, value.why)
        moved = library.moved(node.op, left, right)
        if moved is not None:
            return moved
        if isinstance(node.op, ast.Add) and isinstance(left, (list, tuple)) and type(left) is type(right):
            return self.bounded(node, left + right)
        if isinstance(node.op, ast.BitOr) and isinstance(left, dict) and isinstance(right, dict):
            return self.bounded(node, left | right)
        if isinstance(left, Rendered) or isinstance(right, Rendered):
            if isinstance(node.op, ast.Add) and isinstance(left, str) and isinstance(right, str):
                return self.bounded(node, Rendered(str(left) + str(right)))
            return self.unknown(node)
        return self.calculated(node, left, right)

    def calculated(self, node, left, right):
        function = BINARY.get(type(node.op))
        sizes = (str, bytes, list, tuple)
        numbers = [value for value in (left, right) if isinstance(value, (int, float))]
        if function is None or not all(isinstance(value, (*PLAIN, list, tuple, dict)) for value in (left, right)):
            return self.unknown(node)
        if any(abs(number) > NUMBER_MAX for number in numbers):
            return self.unknown(node)
        if isinstance(node.op, ast.Mult) and isinstance(left, sizes) != isinstance(right, sizes):
            items, times = (left, right) if isinstance(left, sizes) else (right, left)
            if isinstance(times, int) and len(items) * times > TEXT_MAX:
                raise TooMuch(f"line {node.lineno} makes a text or list of more than {TEXT_MAX} items")
        if isinstance(node.op, ast.Mod) and isinstance(left, str):
            if not library.is_plain_format(left) or not is_known(right):
                return self.unknown(node)
        try:
            return self.bounded(node, function(left, right))
        except (TypeError, ValueError, ArithmeticError, MemoryError, KeyError):
            return self.unknown(node)

    def eval_UnaryOp(self, node, env):
        value = self.eval(node.operand, env)
        if isinstance(node.op, ast.Not):
            return (not value) if is_truth_known(value) else self.unknown(node)
        if isinstance(value, (int, float)) and isinstance(node.op, ast.USub):
            return -value
        if isinstance(value, (int, float)) and isinstance(node.op, ast.UAdd):
            return value
        return value if isinstance(value, Unknown) else self.unknown(node)

    def eval_BoolOp(self, node, env):
        value = None
        for part in node.values:
            value = self.eval(part, env)
            if not is_truth_known(value):
                return value if isinstance(value, Unknown) else self.unknown(node)
            if bool(value) is isinstance(node.op, ast.Or):
                return value
        return value

    def eval_Compare(self, node, env):
        left = self.eval(node.left, env)
        answer = True
        for op, right_node in zip(node.ops, node.comparators):
            right = self.eval(right_node, env)
            plain = (*PLAIN, list, tuple, dict)
            known = all(isinstance(value, plain) and is_known(value) for value in (left, right))
            is_none = isinstance(op, (ast.Is, ast.IsNot)) and right is None and is_truth_known(left)
            if not known and not is_none:
                return self.unknown(node)
            try:
                answer = COMPARE[type(op)](left, right)
            except TypeError:
                return self.unknown(node)
            if not answer:
                return False
            left = right
        return answer

    def eval_IfExp(self, node, env):
        test = self.eval(node.test, env)
        if not is_truth_known(test):
            return self.unknown(node)
        return self.eval(node.body if test else node.orelse, env)

    def eval_Lambda(self, node, env):
        return Func(node, env.at_definition(node), "<lambda>")

    def eval_NamedExpr(self, node, env):
        value = self.eval(node.value, env)
        env.bind(node.target.id, value, node)
        return value

    def eval_Starred(self, node, env):
        return self.unknown(node)

    def eval_Await(self, node, env):
        return self.unknown(node)

    def eval_Subscript(self, node, env):
        owner = self.eval(node.value, env)
        index = self.eval(node.slice, env)
        if isinstance(owner, XCom) and isinstance(index, str) and owner.key is None:
            return XCom(owner.task, index)
        if isinstance(owner, Unknown):
            return owner
        if isinstance(owner, (list, tuple, str, dict)) and not isinstance(owner, Rendered):
            if isinstance(index, (int, str, slice, float, bool, type(None), tuple)) and is_known(index):
                try:
                    return owner[index]
                except (KeyError, IndexError, TypeError, ValueError):
                    return self.unknown(node)
        return self.unknown(node)

    def eval_Slice(self, node, env):
        parts = [self.eval(part, env) if part is not None else None for part in (node.lower, node.upper, node.step)]
        if all(part is None or isinstance(part, int) for part in parts):
            return slice(*parts)
        return self.unknown(node)

    def eval_Attribute(self, node, env):
        owner = self.eval(node.value, env)
        name = node.attr
        if isinstance(owner, Unknown):
            return owner
        if isinstance(owner, Ref) and name == "partial" and owner.last.endswith(("Operator", "Sensor")):
            return Method(owner, name)
        if isinstance(owner, Ref):
            return library.attribute(owner, name)
        if isinstance(owner, (Task, XCom)):
            return self.of_task(owner.task if isinstance(owner, XCom) else owner, owner, name)
        if isinstance(owner, (Group, Dag)) and name in ("group_id", "label", "dag_id"):
            return self.of_named(owner, name, node)
        if isinstance(owner, File):
            return library.of_file(owner, name)
        if isinstance(owner, (Func, ClassDef)) and name == "__name__":
            return owner.name
        if isinstance(owner, Moment) and name in ("year", "month", "day", "hour", "minute", "second"):
            return getattr(owner.naive, name)
        return Method(owner, name)

    def of_task(self, task, owner, name):
        if name == "task_id":
            return task.task_id
        if name == "output":
            return XCom(task)
        if name == "operator":
            return task
        return Method(owner, name)

    def of_named(self, owner, name, node):
        if isinstance(owner, Dag):
            return owner.kwargs["dag_id"].value if "dag_id" in owner.kwargs else self.unknown(node)
        return owner.path()

    def comprehension(self, node, env, take):
        def loop(generators, env):
            if not generators:
                self.tick()
                take(env)
                return True
            first, rest = generators[0], generators[1:]
            values = self.iterable(self.eval(first.iter, env))
            if values is None:
                return False
            for value in values:
                inner = Env(env)
                if not self.assign(first.target, value, inner, None):
                    return False
                tests = [self.eval(test, inner) for test in first.ifs]
                if not all(is_truth_known(test) for test in tests):
                    return False
                if all(tests) and not loop(rest, inner):
                    return False
            return True

        done = loop(node.generators, env)
        if not done and self.makes(node, env):
            self.report.remark(
                node.lineno, f"left out: `{self.text_of(node)}` is known only when the file runs", self.owner()
            )
        return done

    def makes(self, node, env):
        """Whether an expression that is not followed calls what could make tasks or DAGs."""
        for call in ast.walk(node):
            if isinstance(call, ast.Call) and isinstance(call.func, ast.Name):
                found = env.find(call.func.id)
                value = found.value if found is not None else None
                if isinstance(value, (Func, Decorated, ClassDef)) or (isinstance(value, Ref) and value.of_airflow):
                    return True
        return False

    def eval_ListComp(self, node, env):
        found = []
        done = self.comprehension(node, env, lambda inner: found.append(self.eval(node.elt, inner)))
        return self.bounded(node, found) if done else self.unknown(node)

    eval_GeneratorExp = eval_ListComp
    eval_SetComp = eval_ListComp

    def eval_DictComp(self, node, env):
        found = {}

        def take(inner):
            key = self.eval(node.key, inner)
            if isinstance(key, PLAIN):
                found[key] = self.eval(node.value, inner)

        done = self.comprehension(node, env, take)
        return found if done else self.unknown(node)

    def iterable(self, value):
        """What a loop runs over, or None when that is not known."""
        if isinstance(value, dict):
            return list(value)
        if isinstance(value, (list, tuple)):
            return list(value)
        if isinstance(value, str) and not isinstance(value, Rendered):
            return list(value)
        return None

    def eval_Call(self, node, env):
        function = self.eval(node.func, env)
        args = self.items(node.args, env)
        kwargs = {}
        lines = {}
        for keyword in node.keywords:
            value = self.eval(keyword.value, env)
            if keyword.arg is not None:
                kwargs[keyword.arg] = value
                lines[keyword.arg] = keyword.value.lineno
            elif isinstance(value, dict):
                kwargs.update({name: value[name] for name in value if isinstance(name, str)})
                lines.update({name: node.lineno for name in value if isinstance(name, str)})
            else:
                kwargs["**"] = self.unknown(keyword.value)
                lines["**"] = keyword.value.lineno
        return self.call(node, env, function, args, kwargs, lines)

    def call(self, node, env, function, args, kwargs, lines):
        """Everything that can be called: what the file defines, what Airflow has, and harmless functions of Python."""
        if isinstance(function, Func):
            return self.call_func(node, function, args, kwargs)
        if isinstance(function, Ref):
            found = self.call_airflow(node, env, function, args, kwargs, lines)
            if found is not NotImplemented:
                return found
            found = library.call(self, node, function.path, args, kwargs)
            return self.unknown(node) if found is NotImplemented else found
        if isinstance(function, ClassDef):
            return self.call_class(node, env, function, args, kwargs, lines)
        if isinstance(function, Method):
            found = self.call_method(node, env, function, args, kwargs, lines)
            if found is not NotImplemented:
                return found
            found = library.call_method(self, node, function, args, kwargs)
            return self.unknown(node) if found is NotImplemented else found
        found = self.call_other(node, env, function, args, kwargs, lines)
        if found is not NotImplemented:
            return found
        return function if isinstance(function, Unknown) else self.unknown(node)

    def shift(self, node, left, right):
        """`a >> b` and `a << b`."""
        if isinstance(left, int) and isinstance(right, int):
            return self.unknown(node)
        return self.link(node, left, right, isinstance(node.op, ast.RShift))
