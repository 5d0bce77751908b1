"""Arrows between tasks, and tasks that are expanded over values."""

import ast
import itertools

from mapping import CODE, OPERATORS, rendered
from values import (
    ClassDef,
    Dag,
    Decorated,
    Given,
    Joined,
    Label,
    Partial,
    Ref,
    Task,
    TooMuch,
    Unknown,
    XCom,
    ends_of,
    xcoms_in,
)

EXPANDED_MAX = 200


class Arrows:
    """The part of the interpreter that links tasks."""

    def precede(self, before, after):
        """`before >> after`."""
        if before is after:
            return
        for task, other in ((before, after), (after, before)):
            if isinstance(task, Task) and task.dag is None and getattr(other, "dag", None) is not None:
                self.adopt(task, other.dag, None)
        if before not in after.upstream:
            after.upstream.append(before)

    def link(self, node, left, right, forward):
        if isinstance(right, Label):
            return Label(left if not isinstance(left, Label) else left.before)
        result = right
        if isinstance(left, Label):
            self.report.note(node.lineno, "labels of arrows are not shown", self.owner())
            if left.before is None:
                return right
            left = left.before
        left_ends, right_ends = ends_of(left), ends_of(right)
        if left_ends is None or right_ends is None:
            bad = left if left_ends is None else right
            # A task into a DAG: `dag >> task` in old files.
            if isinstance(bad, Dag):
                return result
            why = bad.why if isinstance(bad, Unknown) else "one side is no task"
            side = node.left if isinstance(node, ast.BinOp) and left_ends is None else node
            self.report.remark(node.lineno, f"an arrow was left out (`{self.text_of(side)}`): {why}", self.owner())
            return right if right_ends is not None else left
        for before in left_ends:
            for after in right_ends:
                if forward:
                    self.precede(before, after)
                else:
                    self.precede(after, before)
        return result

    def arrows(self, node, name, args):
        if any(isinstance(arg, Unknown) for arg in args):
            bad = next(arg for arg in args if isinstance(arg, Unknown))
            self.report.remark(node.lineno, f"`{name}(…)` was left out: {bad.why}", self.owner())
            return None
        if name == "cross_downstream" and len(args) == 2:
            return self.link(node, args[0], args[1], True)
        args = [arg for arg in args if not isinstance(arg, Label)]
        for before, after in zip(args, args[1:]):
            both = isinstance(before, (list, tuple)) and isinstance(after, (list, tuple))
            if both and name == "chain" and len(before) == len(after):
                for one, other in zip(before, after):
                    self.link(node, one, other, True)
            else:
                self.link(node, before, after, True)
        return None

    def of_graph(self, node, owner, name, args, given):
        if name in ("zip", "concat") and isinstance(owner, (XCom, Joined, Task)):
            return Joined(name, [owner, *args], given.get("fillvalue"))
        task = owner.task if isinstance(owner, XCom) else owner
        if name in ("set_upstream", "set_downstream") and args:
            self.link(node, owner, args[0], name == "set_downstream")
            return None
        if name in ("as_setup", "as_teardown") and isinstance(task, Task):
            task.kwargs["is_setup" if name == "as_setup" else "is_teardown"] = Given(True, node.lineno)
            if "on_failure_fail_dagrun" in given:
                task.kwargs["on_failure_fail_dagrun"] = given["on_failure_fail_dagrun"]
            setups = given["setups"].value if "setups" in given else (args[0] if args else [])
            for setup in ends_of(setups if isinstance(setups, list) else [setups]) or []:
                if isinstance(setup, Task):
                    setup.kwargs["is_setup"] = Given(True, node.lineno)
                    self.precede(setup, task)
            return owner
        if name == "map":
            return self.unknown(node)
        return NotImplemented

    def mapped(self, node, owner, name, args, given):
        if name == "partial":
            return Partial(owner, given, node.lineno)
        fixed = {}
        of = owner
        if isinstance(owner, Partial):
            fixed, of = owner.kwargs, owner.of
        values = given if name == "expand" else {"**": Given(args[0] if args else None, node.lineno)}
        if isinstance(of, Decorated) and of.kind == "group":
            return self.mapped_group(node, of, fixed, values)
        if isinstance(of, Decorated):
            task = self.call_task(
                node, of, [], {**fixed, **{k: v for k, v in values.items() if k != "**"}}, mapped=True
            )
            task.expand = values
            self.expand_edges(values, task)
            return XCom(task)
        if isinstance(of, ClassDef):
            base = self.operator_base(of)
            if base is None:
                return self.unknown(node)
            task = self.new_task(None, base, fixed, node.lineno, [])
            task.func = of
        else:
            last = of.last if isinstance(of, Ref) else "operator"
            lists = {name: self.iterable(one.value) for name, one in values.items()}
            is_known = "**" not in lists and all(items is not None for items in lists.values())
            all_values = list(lists.values())
            has_form = last in OPERATORS or (last in CODE and not rendered(all_values))
            if is_known and (not has_form or any(True for _ in xcoms_in(all_values))):
                return self.written_out(node, last, fixed, lists)
            task = self.new_task(None, last, fixed, node.lineno, [])
        task.expand = values
        self.expand_edges(values, task)
        return task

    def written_out(self, node, operator, fixed, lists):
        """An operator that is expanded over what is known: a task for each of its values."""
        made = []
        label = fixed["task_id"].value if "task_id" in fixed else operator
        combined = list(itertools.islice(itertools.product(*lists.values()), EXPANDED_MAX + 1))
        if len(combined) > EXPANDED_MAX:
            raise TooMuch(f"line {node.lineno} expands a task more than {EXPANDED_MAX} times")
        for index, values in enumerate(combined):
            given = {name: Given(value, node.lineno) for name, value in zip(lists, values)}
            given = {**fixed, **given, "task_id": Given(f"{label}__{index}", node.lineno)}
            made.append(self.new_task(None, operator, given, node.lineno, []))
        self.report.remark(
            node.lineno,
            f"{label!r} was written out as {len(made)} tasks, {label}__0, {label}__1 …: {operator} can not be expanded here over these values",
            self.owner(),
        )
        return made

    def expand_edges(self, values, task):
        for one in values.values():
            self.feed(one.value, task)

    def feed(self, value, task):
        """What a task is given by other tasks comes before it."""
        for xcom in xcoms_in(value):
            xcom.task.pulled_by = True
            self.precede(xcom.task, task)

    def mapped_group(self, node, of, fixed, values):
        """A mapped group over what is known is written out, a group for each value."""
        lists = {name: self.iterable(one.value) for name, one in values.items()}
        if len(lists) == 1 and "**" not in lists and all(items is not None for items in lists.values()):
            name, items = next(iter(lists.items()))
            if len(items) <= 100:
                plain = {key: one.value for key, one in fixed.items()}
                self.report.remark(
                    node.lineno,
                    f"the mapped group {of.func.name!r} was written out {len(items)} times: a group can not be expanded yet",
                    self.owner(),
                )
                made = [self.call_group(node, of, [], {**plain, name: item}) for item in items]
                return [one for one in made if ends_of(one) is not None]
        self.report.remark(
            node.lineno,
            f"the group {of.func.name!r} is expanded over what is known only in a run, and stands there once: "
            "groups can not be expanded yet",
            self.owner(),
        )
        plain = {key: one.value for key, one in {**fixed, **values}.items() if key != "**"}
        return self.call_group(node, of, [], plain)
