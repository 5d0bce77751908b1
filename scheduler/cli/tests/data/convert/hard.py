"""What can not be converted, and is told."""

import datetime
import random

from airflow import DAG
from airflow.operators.bash import BashOperator
from airflow.providers.amazon.aws.operators.s3 import S3CopyObjectOperator
from airflow.sdk import Asset, task, teardown
from airflow.utils.dates import days_ago
from mycompany.operators import LoadOperator


def make(dag_id, schedule):
    dag = DAG(dag_id, schedule=schedule, start_date=days_ago(1), surprise=5)
    with dag:
        a = BashOperator(
            task_id="a",
            bash_command="echo {{ macros.dateutil }} {{ inlet_events }} {{ params.x }} {{ ds | wordwrap }} {{ yesterday_ds }}",
            unheard_of=1,
            on_failure_callback=print,
        )
        b = S3CopyObjectOperator(task_id="b", source_bucket_key="x")
        c = LoadOperator(task_id="c", table="t")
        d = BashOperator.partial(task_id="d").expand(bash_command=["echo 1", "echo 2"])
        a >> b >> c >> d
        while random.random() > 2:
            pass
        for i in range(random.randint(1, 3)):
            BashOperator(task_id=f"x{i}", bash_command="echo")
        if random.random() > 0.5:
            BashOperator(task_id="maybe", bash_command="echo")
        a.unknown_method()
    return dag


for name in ("one", "two"):
    globals()[name] = make(name, datetime.timedelta(days=31))

with DAG("three", schedule=[Asset("s3://b/k")]):

    @task
    def numbers():
        return [1, 2]

    @task
    def double(x):
        return 2 * x

    @teardown
    def clean():
        pass

    double.expand(x=numbers()) >> clean()
