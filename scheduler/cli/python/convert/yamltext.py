"""YAML as a person would write it, each line with the line of the Python file that it comes from."""

import json
import re

PLAIN = re.compile(r"[A-Za-z_/.][A-Za-z0-9_./@+() -]*\Z")
DATE = re.compile(r"\d{4}-\d\d-\d\d(T\d\d:\d\d:\d\d(\+00:00)?)?\Z")
WORDS = {"true", "false", "null", "yes", "no", "on", "off", "y", "n", "~", ".nan", ".inf", "nan", "inf"}
WIDTH = 110


class Yaml:
    """Lines of a document."""

    def __init__(self):
        self.lines = []

    def line(self, indent, text, python_line=0):
        self.lines.append(("  " * indent + text if text else "", python_line))

    def comment(self, indent, text, python_line=0):
        text = "".join(c if c.isprintable() else "?" for c in text)
        self.line(indent, f"# {text}", python_line)

    def entry(self, indent, key, value, python_line=0, prefix=""):
        """`key: value`, in the form that suits the value; `prefix` is `- ` for the first key of a list's item."""
        head = f"{prefix}{scalar(key)}:"
        if isinstance(value, str) and is_block(value):
            self.block(indent, head, value, python_line, extra=1 if prefix else 0)
            return
        flow = flow_text(value)
        if not isinstance(value, (dict, list)) or not value or len(flow) + 2 * indent + len(head) < WIDTH:
            self.line(indent, f"{head} {flow}", python_line)
            return
        self.line(indent, head, python_line)
        self.nested(indent + 1 + (1 if prefix else 0), value, python_line)

    def nested(self, indent, value, python_line):
        if isinstance(value, dict):
            for key, item in value.items():
                self.entry(indent, key, item, python_line)
            return
        for item in value:
            if isinstance(item, dict) and item and len(flow_text(item)) + 2 * indent >= WIDTH:
                first = True
                for key, part in item.items():
                    self.entry(indent if first else indent + 1, key, part, python_line, "- " if first else "")
                    first = False
            else:
                self.line(indent, f"- {flow_text(item)}", python_line)

    def block(self, indent, head, value, python_line, extra=0):
        """A text of several lines."""
        body = value.rstrip("\n")
        ends = len(value) - len(body)
        chomp = "-" if ends == 0 else ("" if ends == 1 else "+")
        first = next((line for line in body.split("\n") if line.strip()), "")
        indicator = "2" if first[:1] in (" ", "\t") else ""
        self.line(indent, f"{head} |{indicator}{chomp}", python_line)
        for line in body.split("\n"):
            self.line(indent + 1 + extra, line, python_line)
        for _ in range(ends - 1):
            self.line(0, "", python_line)

    def text(self):
        return "".join(line + "\n" for line, _ in self.lines)

    def python_lines(self):
        return [python_line for _, python_line in self.lines]


def is_block(text):
    """Whether a text is best written as a block."""
    if "\n" not in text.rstrip("\n") or not text.strip():
        return False
    return all(c == "\n" or c == "\t" or c.isprintable() for c in text) and not text.rstrip("\n").endswith((" ", "\t"))


def scalar(value):
    """A value on one line."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (int, float)):
        return json.dumps(value)
    if DATE.match(value):
        return value
    if PLAIN.match(value) and value == value.strip() and value.lower() not in WORDS and not is_numeric(value):
        return value
    if "'" not in value and all(c.isprintable() for c in value) and ('"' in value or "\\" in value):
        return f"'{value}'"
    return json.dumps(value, ensure_ascii=not all(c.isprintable() or c in "\n\t" for c in value))


def is_numeric(text):
    return bool(re.match(r"[.+-]?[0-9]|\.(inf|nan)", text, re.IGNORECASE))


def flow_text(value):
    """A value in one line, lists and mappings in brackets."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{flow_key(key)}: {flow_text(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(flow_text(item) for item in value) + "]"
    return scalar(value)


def flow_key(key):
    return scalar(key)
