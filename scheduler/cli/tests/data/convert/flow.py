from __future__ import annotations

from datetime import datetime

from airflow.decorators import dag, task, task_group
from airflow.operators.python import get_current_context
from airflow.exceptions import AirflowSkipException

RATES = {"eu": 1.0, "us": 1.1}


def rate_of(region: str) -> float:
    return RATES[region]


@dag(dag_id="flow", schedule="@daily", start_date=datetime(2026, 1, 1), catchup=False, default_args={"retries": 1})
def flow(region: str = "eu"):
    """Takes, makes, gives."""

    @task(multiple_outputs=True)
    def take(region: str, ds=None) -> dict:
        if region not in RATES:
            raise AirflowSkipException("no such region")
        return {"rows": [1, 2, 3], "day": ds}

    @task
    def make(rows, factor=rate_of("us")):
        return [row * factor for row in rows]

    @task.branch
    def choose(values):
        return "give.tell" if sum(values) > 5 else "nothing"

    @task.short_circuit
    def any_left(values):
        return bool(values)

    @task.sensor(poke_interval=5, timeout=60, mode="poke")
    def ready():
        context = get_current_context()
        return context["run_id"] != ""

    @task
    def nothing():
        pass

    @task_group(group_id="give")
    def give(values):
        @task
        def tell(values):
            print(values)

        tell(values)

    @task.bash
    def shell(day):
        return f"echo {day}"

    taken = take(region)
    values = make(taken["rows"])
    ready() >> taken
    gave = give(values)
    choose(values) >> [gave, nothing()]
    any_left(values) >> shell(taken["day"])


flow()
