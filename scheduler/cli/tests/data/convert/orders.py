"""Orders, as a classic DAG with most operators."""

import json
import os
from datetime import datetime, timedelta
from functools import partial

import pendulum
from airflow import DAG
from airflow.models import Variable
from airflow.models.baseoperator import chain, cross_downstream
from airflow.operators.bash import BashOperator
from airflow.operators.dummy_operator import DummyOperator
from airflow.operators.python import BranchPythonOperator, PythonOperator, ShortCircuitOperator
from airflow.operators.trigger_dagrun import TriggerDagRunOperator
from airflow.providers.common.sql.operators.sql import SQLExecuteQueryOperator
from airflow.providers.common.sql.sensors.sql import SqlSensor
from airflow.providers.docker.operators.docker import DockerOperator
from airflow.providers.http.operators.http import SimpleHttpOperator
from airflow.providers.http.sensors.http import HttpSensor
from airflow.providers.postgres.operators.postgres import PostgresOperator
from airflow.sensors.external_task import ExternalTaskSensor
from airflow.sensors.filesystem import FileSensor
from airflow.utils.edgemodifier import Label
from airflow.utils.task_group import TaskGroup
from airflow.utils.trigger_rule import TriggerRule
from docker.types import Mount

TABLES = ["orders", "customers"]
DEFAULTS = {
    "owner": "data",
    "retries": 2,
    "retry_delay": timedelta(minutes=5),
    "email": ["a@example.com"],
    "email_on_failure": False,
    "depends_on_past": True,
    "conn_id": "shop",
}
BUCKET = Variable.get("bucket", default_var="raw")


def log_failure(context):
    print(context)


def count(table, limit=10, **context):
    ti = context["ti"]
    ti.xcom_push(key="table", value=table)
    return {"table": table, "limit": limit, "day": context["ds"]}


def pick(ds, **_):
    return "load.orders" if ds.endswith("1") else "nothing"


def is_open():
    day = datetime.now().isoweekday()
    return day < 6


with DAG(
    "orders",
    default_args=DEFAULTS,
    description="Orders, the old way",
    schedule_interval="30 2 * * 1-5",
    start_date=pendulum.datetime(2026, 1, 1, tz="Europe/Zurich"),
    max_active_runs=1,
    concurrency=4,
    dagrun_timeout=timedelta(hours=4),
    tags=["orders", "shop"],
    on_failure_callback=log_failure,
    params={"region": "eu"},
    template_searchpath=["/sql"],
) as dag:
    start = DummyOperator(task_id="start")
    wait = FileSensor(task_id="wait", filepath="/data/{{ ds }}.csv", poke_interval=30, timeout=60 * 60, mode="reschedule")
    api = HttpSensor(
        task_id="api",
        http_conn_id="shop_api",
        endpoint="v1/ready",
        response_check=lambda response: response.json()["state"] == "done" and response.status_code < 300,
    )
    rows = SqlSensor(task_id="rows", conn_id="shop", sql="SELECT count(*) FROM orders", success=lambda value: value > 10)
    other = ExternalTaskSensor(
        task_id="other", external_dag_id="customers", external_task_id="load", execution_delta=timedelta(hours=1)
    )
    start >> [wait, api, rows, other]
    with TaskGroup("load", tooltip="Everything that writes") as load:
        for table in TABLES:
            PostgresOperator(
                task_id=table,
                postgres_conn_id="shop",
                sql=f"INSERT INTO {table} SELECT * FROM staging_{table} WHERE day = '{{{{ ds }}}}'",
                autocommit=True,
            )
    branch = BranchPythonOperator(task_id="branch", python_callable=pick)
    cross_downstream([wait, api], [branch])
    nothing = DummyOperator(task_id="nothing", trigger_rule=TriggerRule.ALL_DONE)
    branch >> Label("full") >> load
    branch >> Label("none") >> nothing
    counted = [
        PythonOperator(
            task_id=f"count_{table}",
            python_callable=partial(count, limit=5),
            op_args=[table],
            op_kwargs={"extra": "{{ params.region }}"},
            pool="warehouse",
            priority_weight=10,
            execution_timeout=timedelta(minutes=15),
        )
        for table in TABLES
    ]
    chain(load, counted)
    gate = ShortCircuitOperator(task_id="gate", python_callable=is_open, ignore_downstream_trigger_rules=False)
    post = SimpleHttpOperator(
        task_id="post",
        http_conn_id="shop_api",
        endpoint="v1/days/{{ ds }}",
        method="PUT",
        data=json.dumps({"rows": 1}),
        headers={"Content-Type": "application/json"},
        response_check=lambda r: r.ok,
        response_filter=lambda r: r.json()["id"],
    )
    image = DockerOperator(
        task_id="image",
        image="loader:1.4",
        command=["load", "{{ ds }}", BUCKET],
        mounts=[Mount(source="/data", target="/in", type="bind", read_only=True)],
        auto_remove="success",
        environment={"A": "1"},
        retrieve_output=True,
    )
    again = TriggerDagRunOperator(
        task_id="again", trigger_dag_id="reports", conf={"day": "{{ ds }}"}, wait_for_completion=True, poke_interval=10
    )
    late = SQLExecuteQueryOperator(task_id="late", sql="sql/late.sql", parameters={"day": "{{ ds }}"})
    home = BashOperator(task_id="home", bash_command="ls " + os.environ["HOME"])
    counted >> gate >> [post, image] >> again
    again.set_downstream(late)
    home << late
