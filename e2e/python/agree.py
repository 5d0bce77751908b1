"""Makes, extends and reads Iceberg tables with pyiceberg: `agree.py make|add|read TABLE`, a row a line in JSON.

Rows to be written come as such lines on standard input. Decimals, dates and instants are text, doubles that JSON has not are
text as well, nulls are null.
"""

import json
import os
import sys
from datetime import date, datetime, timezone
from decimal import Decimal

import pyarrow as pa
from pyiceberg.catalog.sql import SqlCatalog
from pyiceberg.partitioning import PartitionField, PartitionSpec
from pyiceberg.schema import Schema
from pyiceberg.transforms import MonthTransform
from pyiceberg.types import (
    BooleanType, DateType, DecimalType, DoubleType, IntegerType, LongType, NestedField, StringType, TimestampType, TimestamptzType,
)

COLUMNS = [
    ("id", LongType(), pa.int64()),
    ("whole", IntegerType(), pa.int32()),
    ("exact", DecimalType(18, 4), pa.decimal128(18, 4)),
    ("near", DoubleType(), pa.float64()),
    ("day", DateType(), pa.date32()),
    ("at", TimestamptzType(), pa.timestamp("us", tz="UTC")),
    ("clock", TimestampType(), pa.timestamp("us")),
    ("flag", BooleanType(), pa.bool_()),
    ("name", StringType(), pa.string()),
]


def catalog():
    return SqlCatalog("lake", **{
        "uri": os.environ["WINDLASS_LAKE_DATABASE_URL"].replace("postgres://", "postgresql+psycopg2://", 1),
        "warehouse": os.environ["WINDLASS_LAKE_WAREHOUSE"],
        "s3.endpoint": os.environ["AWS_ENDPOINT_URL"],
        "s3.region": os.environ["AWS_REGION"],
        "s3.access-key-id": os.environ["AWS_ACCESS_KEY_ID"],
        "s3.secret-access-key": os.environ["AWS_SECRET_ACCESS_KEY"],
    })


def make(name):
    fields = [NestedField(n, column, kind, required=column == "id") for n, (column, kind, _) in enumerate(COLUMNS, 1)]
    month = PartitionSpec(PartitionField(source_id=6, field_id=1000, transform=MonthTransform(), name="at_month"))
    catalog().create_namespace_if_not_exists(name.split(".")[0])
    catalog().create_table(name, Schema(*fields), partition_spec=month)


def parse(column, value):
    if value is None:
        return None
    match column:
        case "exact":
            return Decimal(value)
        case "near":
            return float(value)
        case "day":
            return date.fromisoformat(value)
        case "at" | "clock":
            return datetime.fromisoformat(value)
    return value


def add(name, lines):
    rows = [[parse(column, value) for (column, _, _), value in zip(COLUMNS, json.loads(line))] for line in lines]
    schema = pa.schema([pa.field(column, kind, nullable=column != "id") for column, _, kind in COLUMNS])
    arrays = [pa.array([row[n] for row in rows], kind) for n, (_, _, kind) in enumerate(COLUMNS)]
    catalog().load_table(name).append(pa.Table.from_arrays(arrays, schema=schema))


def text(value):
    match value:
        case float() if value != value or value in (float("inf"), float("-inf")):
            return {"nan": "NaN", "inf": "Infinity", "-inf": "-Infinity"}[str(value)]
        case datetime(tzinfo=None):
            return value.isoformat(timespec="microseconds")
        case datetime():
            return value.astimezone(timezone.utc).replace(tzinfo=None).isoformat(timespec="microseconds") + "Z"
        case Decimal() | date():
            return str(value)
    return value


def read(name):
    for row in catalog().load_table(name).scan().to_arrow().sort_by("id").to_pylist():
        print(json.dumps([text(row[column]) for column, _, _ in COLUMNS], ensure_ascii=False))


if __name__ == "__main__":
    command, table = sys.argv[1:]
    match command:
        case "make":
            make(table)
        case "add":
            add(table, sys.stdin)
        case "read":
            read(table)
