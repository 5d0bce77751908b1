#!/usr/bin/env python3
"""Writes what our own OpenAPI document is compared with: the facts of Apache Airflow's REST API.

    pip download --no-deps apache-airflow-core==3.3.2 && unzip apache_airflow_core-*.whl -d core
    airflow_facts.py $(find core -name 'v2-*-generated.yaml') > airflow_facts.json

Operations by their id: method, path, query parameters, statuses, the schemas of body and answers. Schemas by their name:
members with their types, or the words of an enum. A name that ends in `?` may be left out; `!` marks a closed object.
"""
import json
import sys

import yaml

PRIMITIVES = {"string": "string", "integer": "integer", "number": "number", "boolean": "boolean", "null": "null"}


def kind(schema):
    """A schema as a short text, such as `[PoolResponse]` or `instant|null`; an inline object or enum as it is."""
    if "$ref" in schema:
        return schema["$ref"].rsplit("/", 1)[1]
    for union in ("anyOf", "oneOf", "allOf"):
        if union in schema:
            parts = [kind(part) for part in schema[union]]
            return "|".join(dict.fromkeys(part if isinstance(part, str) else "object" for part in parts))
    if "const" in schema or "enum" in schema:
        return "string"
    if schema.get("type") == "array":
        inner = kind(schema.get("items", {}))
        return f"[{inner if isinstance(inner, str) else 'object'}]"
    if schema.get("type") == "string" and schema.get("format") == "date-time":
        return "instant"
    return PRIMITIVES.get(schema.get("type"), "object" if schema.get("type") == "object" else "any")


def declared(schema):
    """What stands in the file for a named schema."""
    if "enum" in schema:
        return schema["enum"]
    if "properties" not in schema:
        return kind(schema)
    required = schema.get("required", [])
    members = {name + ("" if name in required else "?"): kind(of) for name, of in schema["properties"].items()}
    return members | ({"!": True} if schema.get("additionalProperties") is False else {})


def body(content):
    """The schema of JSON content, if there is any."""
    schema = (content or {}).get("application/json", {}).get("schema")
    return kind(schema) if schema else None


def main(files):
    operations, schemas = {}, {}
    for document in map(lambda name: yaml.safe_load(open(name)), files):
        schemas |= {name: declared(schema) for name, schema in document["components"]["schemas"].items()}
        for path, item in document["paths"].items():
            for method, operation in item.items():
                query = {one["name"]: one.get("required", False) for one in operation.get("parameters", []) if one["in"] == "query"}
                answers = {status: body(answer.get("content")) for status, answer in operation["responses"].items()}
                operations[operation["operationId"]] = {
                    "method": method,
                    "path": path,
                    "query": sorted(name + ("" if needed else "?") for name, needed in query.items()),
                    "answers": answers,
                    "body": body(operation.get("requestBody", {}).get("content")),
                }
    print("{")
    for at, (title, table) in enumerate((("operations", operations), ("schemas", schemas))):
        print(f'"{title}": {{')
        print(",\n".join(f"{json.dumps(name)}: {json.dumps(fact, separators=(',', ':'))}" for name, fact in sorted(table.items())))
        print("}," if at == 0 else "}")
    print("}")


if __name__ == "__main__":
    main(sys.argv[1:])
