"""Tasks that are expanded, in every way that has a form in YAML."""

from airflow.providers.standard.operators.bash import BashOperator
from airflow.providers.standard.operators.python import PythonOperator
from airflow.sdk import DAG, task


def load(table, region="eu", **context):
    print("load", table, region, context["run_id"])


with DAG("mapped", schedule=None):

    @task
    def parts():
        return [1, 2, 3]

    @task
    def jobs():
        return [{"x": 1, "y": 2}, {"x": 3}]

    @task
    def commands():
        return [{"bash_command": "echo command $A", "env": {"A": "{{ ds }}"}}]

    @task(max_active_tis_per_dagrun=2)
    def add(x, y=10):
        return x + y

    @task
    def total(values):
        print("total", sorted(values))

    numbers = parts()
    others = parts.override(task_id="others")()
    total(add.partial(y=5).expand(x=numbers))
    add.override(task_id="product").expand(x=[1, 2], y=numbers)
    add.override(task_id="pairs").expand_kwargs(jobs())
    total.override(task_id="zipped").expand(values=numbers.zip(others))
    add.override(task_id="joined").expand(x=numbers.concat(others))
    words = BashOperator.partial(task_id="words", retries=2).expand(bash_command=["echo one", "echo {{ dag.dag_id }}"])
    BashOperator.partial(task_id="env", bash_command="echo env $A").expand(env=[{"A": "x"}, {"A": "y"}])
    BashOperator.partial(task_id="known").expand_kwargs([{"bash_command": "echo 1"}, {"bash_command": "echo 2", "env": {"X": "y"}}])
    BashOperator.partial(task_id="told").expand_kwargs(commands())
    PythonOperator.partial(task_id="tables", python_callable=load).expand(op_kwargs=[{"table": "a"}, {"table": "b", "region": "us"}])
