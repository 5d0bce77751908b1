"""Names as Python resolves them: each task prints what it found."""

import datetime
import functools
from dataclasses import dataclass

from airflow.sdk import DAG, TaskGroup, Variable
from airflow.operators.python import PythonOperator

try:
    import no_such_module_anywhere
    FAST = True
except ImportError:
    no_such_module_anywhere = None
    FAST = False

COUNT = 10
row = "of the module"
SETTINGS = Variable.get("names_settings", deserialize_json=True, default={"depth": {"of": 3}})


def hash(text):
    return f"own hash of {text}"


def counted(function):
    @functools.wraps(function)
    def wrapper(*args, **kwargs):
        print("counted")
        return function(*args, **kwargs)

    return wrapper


@dataclass(frozen=True)
class Point:
    x: int
    y: int = COUNT


def scopes():
    global COUNT
    COUNT += 1
    kept = [row for row in (1, 2)]
    print("scopes", COUNT, kept, row, hash("x"))


@counted
def classes(point=Point(1)):
    print("classes", point, point == Point(1, 10))


def attempts():
    print("attempts", FAST, no_such_module_anywhere)


def settings():
    print("settings", SETTINGS["depth"]["of"] + 1)


with DAG("names", schedule=None, start_date=datetime.datetime(2026, 1, 1)) as dag:
    last = None
    for function in (scopes, classes, attempts, settings):
        task = PythonOperator(task_id=function.__name__, python_callable=function)
        if last is not None:
            last >> task
        last = task
    for i in range(2):
        PythonOperator(task_id=f"late_{i}", python_callable=lambda i=i: print("late", i))
    with TaskGroup("drawn", prefix_group_id=False, default_args={"retries": 4, "owner": "ann"}):
        PythonOperator(task_id="inherits", python_callable=scopes, owner="ben")
