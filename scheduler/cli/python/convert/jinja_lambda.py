"""A function of one expression, such as `lambda response: response.json()["done"]`, as a template."""

import ast

CONSTANTS = {True: "true", False: "false", None: "none"}
OPERATORS = {
    ast.Eq: "==", ast.NotEq: "!=", ast.Lt: "<", ast.LtE: "<=", ast.Gt: ">", ast.GtE: ">=", ast.In: "in",
    ast.NotIn: "not in", ast.Add: "+", ast.Sub: "-", ast.Mult: "*", ast.Div: "/", ast.FloorDiv: "//", ast.Mod: "%",
}  # fmt: skip
METHODS = {
    "json", "get", "keys", "values", "items", "upper", "lower", "strip", "startswith", "endswith", "split", "replace",
    "count", "find",
}  # fmt: skip


class NoTemplate(Exception):
    """The expression has no form in a template."""


def template_of(function, names):
    """The template, or None. `names` are what the template calls the function's parameters, in their order."""
    expression = returned(function.node)
    spec = function.node.args
    parameters = [arg.arg for arg in spec.args]
    if expression is None or spec.vararg or spec.kwonlyargs or not 1 <= len(parameters) <= len(names):
        return None
    try:
        return "{{ " + write(expression, dict(zip(parameters, names))) + " }}"
    except NoTemplate:
        return None


def returned(node):
    """The expression of a lambda, or of a function that only returns one."""
    if isinstance(node, ast.Lambda):
        return node.body
    body = [one for one in node.body if not (isinstance(one, ast.Expr) and isinstance(one.value, ast.Constant))]
    if len(body) == 1 and isinstance(body[0], ast.Return):
        return body[0].value
    return None


def write(node, names):
    if isinstance(node, ast.Name) and node.id in names:
        return names[node.id]
    if isinstance(node, ast.Constant):
        return constant(node.value)
    if isinstance(node, ast.Attribute) and not node.attr.startswith("_"):
        return f"{write(node.value, names)}.{node.attr}"
    if isinstance(node, ast.Subscript) and not isinstance(node.slice, (ast.Slice, ast.Tuple)):
        return f"{write(node.value, names)}[{write(node.slice, names)}]"
    if isinstance(node, ast.Compare) and all(type(op) in OPERATORS or is_none(op, right) for op, right in pairs(node)):
        return compare(node, names)
    if isinstance(node, ast.BoolOp):
        word = " and " if isinstance(node.op, ast.And) else " or "
        return "(" + word.join(write(part, names) for part in node.values) + ")"
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, (ast.Not, ast.USub)):
        return ("not " if isinstance(node.op, ast.Not) else "-") + write(node.operand, names)
    if isinstance(node, ast.BinOp) and type(node.op) in OPERATORS:
        return f"({write(node.left, names)} {OPERATORS[type(node.op)]} {write(node.right, names)})"
    if isinstance(node, (ast.List, ast.Tuple)):
        return "[" + ", ".join(write(item, names) for item in node.elts) + "]"
    if isinstance(node, ast.IfExp):
        return f"({write(node.body, names)} if {write(node.test, names)} else {write(node.orelse, names)})"
    if isinstance(node, ast.Call) and not node.keywords:
        return call(node, names)
    raise NoTemplate


def pairs(node):
    return zip(node.ops, node.comparators)


def is_none(op, right):
    return isinstance(op, (ast.Is, ast.IsNot)) and isinstance(right, ast.Constant) and right.value is None


def compare(node, names):
    parts = []
    left = write(node.left, names)
    for op, right_node in pairs(node):
        right = write(right_node, names)
        sign = OPERATORS.get(type(op)) or ("==" if isinstance(op, ast.Is) else "!=")
        parts.append(f"{left} {sign} {right}")
        left = right
    return parts[0] if len(parts) == 1 else "(" + " and ".join(parts) + ")"


def call(node, names):
    args = [write(arg, names) for arg in node.args]
    if isinstance(node.func, ast.Name) and node.func.id in ("len", "int", "float", "str", "bool") and len(args) == 1:
        word = {"len": "length", "str": "string"}.get(node.func.id, node.func.id)
        return f"({args[0]} | {word})"
    if isinstance(node.func, ast.Attribute) and node.func.attr in METHODS:
        return f"{write(node.func.value, names)}.{node.func.attr}({', '.join(args)})"
    raise NoTemplate


def constant(value):
    if isinstance(value, bool) or value is None:
        return CONSTANTS[value]
    if isinstance(value, (int, float)):
        return repr(value)
    if isinstance(value, str) and "\n" not in value and "{" not in value and "}" not in value:
        return repr(value)
    raise NoTemplate
