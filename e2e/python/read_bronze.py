"""Reads both bronze tables with engines of others, and the topic's schema with Confluent's client; prints the row counts."""

import os

from confluent_kafka.schema_registry import SchemaRegistryClient
from confluent_kafka.schema_registry.avro import AvroDeserializer
from deltalake import DeltaTable
from pyiceberg.catalog.sql import SqlCatalog

database = os.environ["WINDLASS_LAKE_DATABASE_URL"].replace("postgres://", "postgresql+psycopg2://", 1)
warehouse = os.environ["WINDLASS_LAKE_WAREHOUSE"]

catalog = SqlCatalog("lake", uri=database, warehouse=warehouse)
bronze = catalog.load_table("bronze.stock_trades").scan().to_arrow()
offsets = set(zip(bronze["kafka_partition"].to_pylist(), bronze["kafka_offset"].to_pylist()))
assert len(offsets) == bronze.num_rows, "a message is in bronze twice"
print("iceberg", bronze.num_rows)

delta = DeltaTable(f"{warehouse}/bronze_delta/stock_trades").to_pyarrow_table()
print("delta", delta.num_rows)

registry = SchemaRegistryClient({"url": os.environ["REGISTRY"]})
latest = registry.get_latest_version("stock_trades-value")
assert registry.get_schema(latest.schema_id).schema_str == latest.schema.schema_str
assert AvroDeserializer(registry, latest.schema.schema_str) is not None
