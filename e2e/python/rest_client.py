"""Goes through the REST API with Airflow's own client, unmodified, and prints what it did not expect.

Usage: rest_client.py URL USER PASSWORD. The server has the DAG `etl` of e2e/tests/it/rest_client.rs.
"""

import json
import sys
import time
import urllib.request

import airflow_client.client as airflow
from airflow_client.client.exceptions import ApiException

URL, USER, PASSWORD = sys.argv[1:4]
DAG = "etl"
RUN = "by_client"
SECONDS_MAX = 60

failures = []
calls = 0


def guarded(name, function, *arguments, **named):
    """Runs what uses the client; a failure is noted, and the rest goes on."""
    try:
        return function(*arguments, **named)
    except ApiException as error:
        failures.append(f"{name}: {error.status} {error.body}")
    except Exception as error:  # Whatever the client raises is what its user would see.
        failures.append(f"{name}: {type(error).__name__}: {error}")
    return None


def call(name, function, *arguments, **named):
    """Calls one operation that is to succeed."""
    global calls
    calls += 1
    return guarded(name, function, *arguments, **named)


def refused(name, status, function, *arguments, **named):
    """Calls one operation that is to be refused with a status and a detail."""
    global calls
    calls += 1
    try:
        function(*arguments, **named)
        failures.append(f"{name}: was not refused")
    except ApiException as error:
        detail = json.loads(error.body).get("detail")
        if error.status != status or not detail:
            failures.append(f"{name}: {error.status} {error.body}, expected {status} with a detail")


def same(name, found, expected):
    """Notes what is not as expected."""
    if found != expected:
        failures.append(f"{name}: {found!r}, expected {expected!r}")


def log_in():
    """A token, as every client gets it."""
    body = json.dumps({"username": USER, "password": PASSWORD}).encode()
    request = urllib.request.Request(f"{URL}/auth/token", body, {"Content-Type": "application/json"})
    with urllib.request.urlopen(request) as answer:
        same("login", answer.status, 201)
        return json.load(answer)["access_token"]


def until_read(api):
    """Waits until the server has read the DAG's file."""
    deadline = time.monotonic() + SECONDS_MAX
    while DAG not in [dag.dag_id for dag in airflow.DAGApi(api).get_dags().dags]:
        if time.monotonic() > deadline:
            raise TimeoutError(f"the DAG {DAG} is not there after {SECONDS_MAX} s")
        time.sleep(0.1)


def ended(runs, run_id):
    """The run once it has ended."""
    deadline = time.monotonic() + SECONDS_MAX
    while time.monotonic() < deadline:
        run = runs.get_dag_run(DAG, run_id)
        if run.state in ("success", "failed"):
            return run
        time.sleep(0.1)
    raise TimeoutError(f"{run_id} has not ended within {SECONDS_MAX} s")


def installation(api):
    """What is asked of the whole installation."""
    call("version", airflow.VersionApi(api).get_version)
    health = call("health", airflow.MonitorApi(api).get_health)
    same("health", health and health.scheduler.status, "healthy")
    jobs = call("jobs", airflow.JobApi(api).get_jobs, is_alive=True)
    same("a scheduler among the jobs", any(job.job_type == "SchedulerJob" for job in jobs.jobs), True)
    call("plugins", airflow.PluginApi(api).get_plugins)
    call("plugin errors", airflow.PluginApi(api).import_errors)
    call("providers", airflow.ProviderApi(api).get_providers)
    refused("config", 403, airflow.ConfigApi(api).get_config)
    refused("config value", 403, airflow.ConfigApi(api).get_config_value, "core", "parallelism")
    call("import errors", airflow.ImportErrorApi(api).get_import_errors)
    refused("an import error", 404, airflow.ImportErrorApi(api).get_import_error, 1)
    call("warnings", airflow.DagWarningApi(api).list_dag_warnings)
    assets = airflow.AssetApi(api)
    call("assets", assets.get_assets)
    call("asset aliases", assets.get_asset_aliases)
    call("asset events", assets.get_asset_events)
    refused("an asset", 404, assets.get_asset, 1)
    call("queued events of a DAG", assets.get_dag_asset_queued_events, DAG)


def dags(api):
    """DAGs, their versions, tasks and text."""
    dags, versions, tasks = airflow.DAGApi(api), airflow.DagVersionApi(api), airflow.TaskApi(api)
    listed = call("dags", dags.get_dags, tags=["try"], order_by=["-dag_id"], owners=["data"])
    same("dags", [dag.dag_id for dag in listed.dags], [DAG])
    call("dag", dags.get_dag, DAG)
    details = call("details", dags.get_dag_details, DAG)
    same("params in the file's order", list(details.params or {}), ["zeta", "alpha"])
    refused("an unknown dag", 404, dags.get_dag, "nothing")
    same("tags", call("tags", dags.get_dag_tags).tags, ["rest", "try"])
    paused = call("pause", dags.patch_dag, DAG, airflow.DAGPatchBody(is_paused=True))
    same("pause", paused and paused.is_paused, True)
    active = call("bulk", dags.patch_dags, airflow.DAGPatchBody(is_paused=False), dag_id_pattern=DAG)
    same("bulk", active and [dag.is_paused for dag in active.dags], [False])
    none = call("bulk without a pattern", dags.patch_dags, airflow.DAGPatchBody(is_paused=True))
    same("bulk without a pattern", none and none.total_entries, 0)
    call("favorite", dags.favorite_dag, DAG)
    marked = call("favorites", dags.get_dags, is_favorite=True)
    same("favorites", marked and [dag.dag_id for dag in marked.dags], [DAG])
    call("no favorite", dags.unfavorite_dag, DAG)
    call("stats", airflow.DagStatsApi(api).get_dag_stats, dag_ids=[DAG])
    found = call("versions", versions.get_dag_versions, DAG)
    call("version", versions.get_dag_version, DAG, found.dag_versions[0].version_number)
    call("versions of all", versions.get_dag_versions, "~", order_by=["-version_number"])
    source = call("source", airflow.DagSourceApi(api).get_dag_source, DAG, accept="application/json")
    same("the file's own text", source and source.content.startswith("# The DAG that clients try"), True)
    call("tasks", tasks.get_tasks, DAG)
    call("task", tasks.get_task, DAG, "extract")
    refused("an unknown task", 404, tasks.get_task, DAG, "nothing")


def runs(api):
    """Runs, from the trigger to the end; the id of one that stays."""
    runs = airflow.DagRunApi(api)
    body = airflow.TriggerDAGRunPostBody(dag_run_id=RUN, conf={"alpha": 2}, logical_date=None, note="first")
    same("trigger", call("trigger", runs.trigger_dag_run, DAG, body).dag_run_id, RUN)
    refused("the same run", 409, runs.trigger_dag_run, DAG, body)
    wrong = airflow.TriggerDAGRunPostBody(dag_run_id="wrong", conf={"alpha": 0}, logical_date=None)
    refused("a conf that does not fit", 400, runs.trigger_dag_run, DAG, wrong)
    waited = runs.wait_dag_run_until_finished_without_preload_content(DAG, RUN, interval=0.2, result=["extract"])
    lines = [json.loads(line) for line in waited.read().decode().splitlines()]
    same("wait", lines[-1], {"state": "success", "results": {"extract": "42"}})
    same("the run", ended(runs, RUN).state, "success")
    listed = call("runs", runs.get_dag_runs, DAG, state=["success"], order_by=["-start_date"], limit=5)
    same("runs", RUN in [run.dag_run_id for run in listed.dag_runs], True)
    call("runs of all", runs.get_dag_runs, "~", cursor="")
    call("batch", runs.get_list_dag_runs_batch, "~", airflow.DAGRunsBatchBody(dag_ids=[DAG], states=["success"]))
    noted = call("note", runs.patch_dag_run, DAG, RUN, airflow.DAGRunPatchBody(note="second"))
    same("note", noted and noted.note, "second")
    call("asset events of a run", runs.get_upstream_asset_events, DAG, RUN)
    call("clear, dry", runs.clear_dag_run_without_preload_content, DAG, RUN, airflow.DAGRunClearBody(dry_run=True))
    cleared = call("clear", runs.clear_dag_run, DAG, RUN, airflow.DAGRunClearBody(dry_run=False))
    same("clear", cleared and cleared.actual_instance.dag_run_id, RUN)
    same("the cleared run", ended(runs, RUN).state, "success")


def many_runs(api):
    """Several runs in one request."""
    runs = airflow.DagRunApi(api)
    for number in ("1", "2"):
        body = airflow.TriggerDAGRunPostBody(dag_run_id=f"bulk_{number}", logical_date=None)
        call("trigger", runs.trigger_dag_run, DAG, body)
    for number in ("1", "2"):
        ended(runs, f"bulk_{number}")
    entities = [airflow.BulkDAGRunBody(dag_run_id=f"bulk_{number}", state="failed", note="by bulk") for number in "12"]
    update = airflow.BulkUpdateActionBulkDAGRunBody(action="update", entities=entities)
    body = airflow.BulkBodyBulkDAGRunBody(actions=[airflow.ActionsInner(update)])
    done = call("bulk update", runs.bulk_dag_runs, DAG, body)
    same("bulk update", done and sorted(done.update.success), [f"{DAG}.bulk_1", f"{DAG}.bulk_2"])
    same("the state by bulk", runs.get_dag_run(DAG, "bulk_2").state, "failed")
    entities = [airflow.BulkDAGRunBody(dag_run_id=f"bulk_{number}") for number in "12"]
    dry = airflow.BulkDAGRunClearBody(dag_runs=entities, dry_run=True)
    call("clear several, dry", runs.clear_dag_runs_without_preload_content, DAG, dry)
    wish = airflow.BulkDAGRunClearBody(dag_runs=entities, dry_run=False)
    cleared = call("clear several", runs.clear_dag_runs, DAG, wish)
    same("clear several", cleared and cleared.actual_instance.total_entries, 2)
    for number in "12":
        ended(runs, f"bulk_{number}")
    names = [airflow.EntitiesInner(f"bulk_{number}") for number in "123"]
    delete = airflow.BulkDeleteActionBulkDAGRunBody(action="delete", entities=names, action_on_non_existence="skip")
    body = airflow.BulkBodyBulkDAGRunBody(actions=[airflow.ActionsInner(delete)])
    done = call("bulk delete", runs.bulk_dag_runs, DAG, body)
    same("bulk delete", done and sorted(done.delete.success), [f"{DAG}.bulk_1", f"{DAG}.bulk_2"])
    body = airflow.TriggerDAGRunPostBody(dag_run_id="to_delete", logical_date=None)
    call("trigger", runs.trigger_dag_run, DAG, body)
    call("fail", runs.patch_dag_run, DAG, "to_delete", airflow.DAGRunPatchBody(state="failed"))
    ended(runs, "to_delete")
    call("delete", runs.delete_dag_run, DAG, "to_delete")
    refused("the deleted run", 404, runs.get_dag_run, DAG, "to_delete")


def instances(api, run=RUN):
    """Task instances of an ended run: read, mark, clear."""
    tasks, extract = airflow.TaskInstanceApi(api), (DAG, run, "extract")
    listed = call("instances", tasks.get_task_instances, DAG, run, order_by=["map_index"])
    same("instances", sorted(one.task_id for one in listed.task_instances), ["extract", "last", "load.one", "load.two"])
    call("instances of all", tasks.get_task_instances, "~", "~", state=["success"], limit=3)
    batch = airflow.TaskInstancesBatchBody(dag_ids=[DAG], dag_run_ids=[run], state=["success"])
    call("batch", tasks.get_task_instances_batch, "~", "~", batch)
    same("instance", call("instance", tasks.get_task_instance, *extract).state, "success")
    call("instance by map index", tasks.get_mapped_task_instance, *extract, -1)
    refused("no expanded task", 404, tasks.get_mapped_task_instances, *extract)
    same("tries", call("tries", tasks.get_task_instance_tries, *extract).total_entries, 2)
    call("a try", tasks.get_task_instance_try_details, *extract, 1)
    call("tries by map index", tasks.get_mapped_task_instance_tries, *extract, -1)
    call("a try by map index", tasks.get_mapped_task_instance_try_details, *extract, 2, -1)
    call("dependencies", tasks.get_task_instance_dependencies, *extract)
    call("dependencies by map index", tasks.get_task_instance_dependencies_by_map_index, *extract, -1)
    log = call("log", tasks.get_log, *extract, 1, full_content=True, accept="application/json")
    same("log", log and any("42" in str(line) for line in log.content.actual_instance), True)
    refused("log of no try", 404, tasks.get_log, *extract, 9, accept="application/json")
    refused("external log", 400, tasks.get_external_log_url, *extract, 1)
    call("links", airflow.ExtraLinksApi(api).get_extra_links, *extract)
    call("questions to people", tasks.get_hitl_details, DAG, run)
    wish = airflow.PatchTaskInstanceBody(new_state="failed")
    dry = call("mark, dry", tasks.patch_task_instance_dry_run, DAG, run, "last", wish)
    same("mark, dry", dry and dry.total_entries, 1)
    call("mark, dry, by map index", tasks.patch_task_instance_dry_run_by_map_index, DAG, run, "last", -1, wish)
    call("mark", tasks.patch_task_instance, DAG, run, "last", wish)
    noted = airflow.PatchTaskInstanceBody(new_state="success", note="seen")
    call("mark by map index", tasks.patch_task_instance_by_map_index, DAG, run, "last", -1, noted)
    same("the note", tasks.get_task_instance(DAG, run, "last").note, "seen")
    group = call("group", tasks.patch_task_group_instances, DAG, run, "load", wish)
    same("group", group and sorted(one.task_id for one in group.task_instances), ["load.one", "load.two"])
    call("group, dry", tasks.patch_task_group_instances_dry_run, DAG, run, "load", noted)
    refused("no group", 404, tasks.patch_task_group_instances, DAG, run, "nothing", wish)
    entities = [airflow.BulkTaskInstanceBody(task_id=task, new_state="success") for task in ("load.one", "load.two")]
    update = airflow.BulkUpdateActionBulkTaskInstanceBody(action="update", entities=entities)
    body = airflow.BulkBodyBulkTaskInstanceBody(actions=[airflow.ActionsInner1(update)])
    done = call("bulk", tasks.bulk_task_instances, DAG, run, body)
    same("bulk", done and sorted(done.update.success), [f"{DAG}.{run}.load.one[-1]", f"{DAG}.{run}.load.two[-1]"])
    ended(airflow.DagRunApi(api), run)


def clears(api, run=RUN):
    """Clearing tasks of an ended run, with and without letting the run go on."""
    tasks, runs = airflow.TaskInstanceApi(api), airflow.DagRunApi(api)
    chosen = [airflow.ClearTaskInstancesBodyTaskIdsInner("last")]
    body = airflow.ClearTaskInstancesBody(dag_run_id=run, task_ids=chosen, only_failed=False, reset_dag_runs=False)
    found = call("clear, dry", tasks.post_clear_task_instances, DAG, body)
    same("clear, dry", found and found.total_entries, 1)
    body.dry_run = False
    call("clear, the run stays", tasks.post_clear_task_instances, DAG, body)
    same("the run stays ended", runs.get_dag_run(DAG, run).state, "success")
    same("the task is cleared", tasks.get_task_instance(DAG, run, "last").state, None)
    body.reset_dag_runs = True
    call("clear, the run goes on", tasks.post_clear_task_instances, DAG, body)
    same("the run", ended(runs, run).state, "success")
    same("the task ran again", tasks.get_task_instance(DAG, run, "last").state, "success")


def xcoms(api, run=RUN):
    """XComs of a task."""
    xcoms, of = airflow.XComApi(api), (DAG, "extract", run)
    call("xcoms", xcoms.get_xcom_entries, DAG, run, "extract")
    call("xcoms of all", xcoms.get_xcom_entries, "~", "~", "~")
    value = call("xcom", xcoms.get_xcom_entry, *of, "return_value")
    same("xcom", value and value.actual_instance.value, "42")
    mine = airflow.XComCreateBody(key="mine", value={"rows": [1, 2]}, map_index=-1)
    call("create", xcoms.create_xcom_entry, *of, mine)
    refused("create again", 409, xcoms.create_xcom_entry, *of, mine)
    call("update", xcoms.update_xcom_entry, *of, "mine", airflow.XComUpdateBody(value=3))
    call("as text", xcoms.get_xcom_entry, *of, "mine", stringify=True)
    call("delete", xcoms.delete_xcom_entry, *of, "mine")
    refused("the deleted xcom", 404, xcoms.get_xcom_entry, *of, "mine")


def variables(api):
    """Variables, one and many."""
    variables = airflow.VariableApi(api)
    call("variable", variables.post_variable, airflow.VariableBody(key="limit", value={"rows": 1}, description="most"))
    refused("the same variable", 409, variables.post_variable, airflow.VariableBody(key="limit", value=1))
    call("variables", variables.get_variables, order_by=["-key"], variable_key_pattern="lim")
    same("value", call("variable", variables.get_variable, "limit").value, '{"rows": 1}')
    limit = airflow.VariableBody(key="limit", value="2")
    call("patch", variables.patch_variable, "limit", limit, update_mask=["value"])
    entities = [airflow.VariableBody(key=key, value="1") for key in ("a", "limit")]
    create = airflow.BulkCreateActionVariableBody(action="create", action_on_existence="overwrite", entities=entities)
    done = call("bulk", variables.bulk_variables, airflow.BulkBodyVariableBody(actions=[airflow.ActionsInner4(create)]))
    same("bulk", done and sorted(done.create.success), ["a", "limit"])
    for key in ("a", "limit"):
        call("delete", variables.delete_variable, key)
    refused("the deleted variable", 404, variables.get_variable, "limit")


def connections(api):
    """Connections, one and many."""
    connections = airflow.ConnectionApi(api)
    named = {"connection_id": "db", "conn_type": "postgres"}
    db = airflow.ConnectionBody(**named, host="h", port=5432, password="p", extra='{"a": 1}')
    same("password", call("connection", connections.post_connection, db).password, "***")
    refused("the same connection", 409, connections.post_connection, db)
    call("connections", connections.get_connections, order_by=["-connection_id"])
    call("connection", connections.get_connection, "db")
    changed = airflow.ConnectionBody(**named, host="i")
    call("patch", connections.patch_connection, "db", changed, update_mask=["host"])
    delete = airflow.BulkDeleteActionConnectionBody(action="delete", entities=[airflow.EntitiesInner2("db")])
    body = airflow.BulkBodyConnectionBody(actions=[airflow.ActionsInner2(delete)])
    done = call("bulk", connections.bulk_connections, body)
    same("bulk", done and done.delete.success, ["db"])
    refused("test", 403, connections.test_connection, db)
    refused("the deleted connection", 404, connections.delete_connection, "db")


def pools(api):
    """Pools, one and many."""
    pools = airflow.PoolApi(api)
    call("pool", pools.post_pool, airflow.PoolBody(name="narrow", slots=2, description="d", include_deferred=False))
    refused("the same pool", 409, pools.post_pool, airflow.PoolBody(name="narrow", slots=2))
    call("pools", pools.get_pools, order_by=["-name"])
    call("pool", pools.get_pool, "narrow")
    call("patch", pools.patch_pool, "narrow", airflow.PoolPatchBody(pool="narrow", slots=3, include_deferred=True))
    update = airflow.BulkUpdateActionPoolBody(action="update", entities=[airflow.PoolBody(name="narrow", slots=4)])
    done = call("bulk", pools.bulk_pools, airflow.BulkBodyPoolBody(actions=[airflow.ActionsInner3(update)]))
    same("bulk", done and done.update.success, ["narrow"])
    call("delete", pools.delete_pool, "narrow")
    refused("the default pool", 400, pools.delete_pool, "default_pool")


def events(api):
    """The audit log has what was done."""
    events = airflow.EventLogApi(api)
    found = call("event logs", events.get_event_logs, order_by=["-event_log_id"], limit=10)
    call("event log", events.get_event_log, found.event_logs[0].event_log_id)


def backfills(api):
    """Runs for the dates of a range, from the dry run to the end."""
    backfills = airflow.BackfillApi(api)
    same("backfills", call("backfills", backfills.list_backfills, DAG).total_entries, 0)
    refused("a backfill", 404, backfills.get_backfill, 1)
    wish = airflow.BackfillPostBody(dag_id=DAG, from_date="2026-11-01T00:00:00Z", to_date="2026-11-02T00:00:00Z")
    dry = call("dry run", backfills.create_backfill_dry_run, wish)
    same("dry run", dry and [str(date.logical_date.date()) for date in dry.backfills], ["2026-11-01", "2026-11-02"])
    # While the DAG is paused its runs wait, however slow this program is.
    def paused(is_paused):
        call("patch", airflow.DAGApi(api).patch_dag, DAG, airflow.DAGPatchBody(is_paused=is_paused))

    paused(True)
    made = call("create", backfills.create_backfill, wish)
    refused("a second one", 409, backfills.create_backfill, wish)
    call("pause", backfills.pause_backfill, made.id)
    same("unpaused", call("unpause", backfills.unpause_backfill, made.id).is_paused, False)
    paused(False)
    deadline = time.monotonic() + SECONDS_MAX
    while call("get", backfills.get_backfill, made.id).completed_at is None and time.monotonic() < deadline:
        time.sleep(0.2)
    found = call("runs", airflow.DagRunApi(api).get_dag_runs, DAG, run_type=["backfill"])
    same("runs", found and {str(run.state.value) for run in found.dag_runs}, {"success"})
    refused("pause of one that is over", 409, backfills.pause_backfill, made.id)
    again = airflow.BackfillPostBody(
        dag_id=DAG, from_date="2026-11-01T00:00:00Z", to_date="2026-11-02T00:00:00Z", reprocess_behavior="completed",
        run_backwards=True, max_active_runs=1,
    )
    paused(True)
    again = call("create again", backfills.create_backfill, again)
    cancelled = call("cancel", backfills.cancel_backfill, again.id)
    same("cancelled", cancelled and cancelled.completed_at is not None, True)
    paused(False)


SECTIONS = (
    installation, dags, runs, many_runs, instances, clears, xcoms, variables, connections, pools, events, backfills,
)


def main():
    configuration = airflow.Configuration(host=URL, access_token=log_in())
    with airflow.ApiClient(configuration) as api:
        until_read(api)
        for section in SECTIONS:
            guarded(section.__name__, section, api)
    for failure in failures:
        print(failure)
    print(f"{calls} calls, {len(failures)} failures")
    sys.exit(1 if failures else 0)


main()
