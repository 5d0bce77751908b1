//! `windlass dags convert`, with the machine's own python3.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Output,
};

use serde_json::Value;

use crate::{printed, said, windlass, windlass_in};

const PART: i32 = 8;

fn data(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/convert").join(name)
}

/// Converts files into a folder of the test's own.
fn convert(files: &[&Path], more: &[&str]) -> (tempfile::TempDir, Output) {
    let out = tempfile::tempdir().unwrap();
    let mut arguments = vec!["dags", "convert"];
    arguments.extend(files.iter().map(|file| file.to_str().unwrap()));
    let folder = out.path().join("dags").display().to_string();
    if !more.contains(&"--check") {
        arguments.extend(["--out", &folder]);
    }
    arguments.extend(more);
    let output = windlass(&arguments, &[]);
    (out, output)
}

/// Writes a file, converts it to standard output, and gives all of what came.
fn converted(python: &str) -> (Output, String) {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("example.py"), python).unwrap();
    let output = windlass_in(folder.path(), &["dags", "convert", "example.py"], &[]);
    let yaml = printed(&output);
    (output, yaml)
}

/// The body of a DAG with the usual imports.
fn in_dag(body: &str) -> String {
    let head = "\
import datetime
import pendulum
from airflow.sdk import BaseOperator, DAG, Asset, Label, Param, TaskGroup, chain, cross_downstream, dag, task, task_group
from airflow.providers.standard.operators.bash import BashOperator
from airflow.providers.standard.operators.empty import EmptyOperator
from airflow.operators.python import BranchPythonOperator, PythonOperator, ShortCircuitOperator
from airflow.sensors.filesystem import FileSensor
from airflow.sensors.time_sensor import TimeSensor
from airflow.operators.latest_only import LatestOnlyOperator
from airflow.providers.standard.operators.trigger_dagrun import TriggerDagRunOperator
with DAG('d', schedule='@daily', start_date=pendulum.datetime(2026, 1, 1)) as d:
";
    let body: String = body.lines().map(|line| format!("    {line}\n")).collect();
    format!("{head}{body}")
}

/// Compares a file that was made with the one that is kept; WINDLASS_KEEP_CONVERTED keeps what is made now.
fn same(made: &Path, expected: &str) {
    let made = fs::read_to_string(made).unwrap();
    let kept = data(expected);
    if std::env::var_os("WINDLASS_KEEP_CONVERTED").is_some() {
        fs::write(&kept, &made).unwrap();
    }
    assert_eq!(made, fs::read_to_string(kept).unwrap(), "{expected}");
}

#[test]
fn a_classic_file_becomes_what_is_written_down_and_its_losses_are_told() {
    let (out, output) = convert(&[&data("orders.py")], &[]);
    assert_eq!(output.status.code(), Some(PART), "{}", said(&output));
    let dags = out.path().join("dags");
    same(&dags.join("orders.yaml"), "orders.yaml");
    same(&dags.join("scripts/orders__count_orders.py"), "orders__count_orders.py.txt");
    let told = said(&output);
    for words in [
        "orders.py:94: autocommit was left out",
        "orders.py:132: retrieve_output was left out",
        "orders.py:138: home was not converted: bash_command: `os.environ['HOME']`",
        "sql/late.sql\" is not beside the Python file",
    ] {
        assert!(told.contains(words), "{words} is not in\n{told}");
    }
}

#[test]
fn a_taskflow_file_converts_whole_and_runs() {
    let (out, output) = convert(&[&data("flow.py")], &[]);
    assert_eq!(output.status.code(), Some(0), "{}", said(&output));
    assert!(printed(&output).contains("1 files: 1 whole, 0 in part"), "{}", printed(&output));
    let dags = out.path().join("dags");
    same(&dags.join("flow.yaml"), "flow.yaml");
    same(&dags.join("scripts/flow__take.py"), "flow__take.py.txt");
    let arguments = ["dags", "test", "flow.yaml", "-l", "2026-01-02", "--conf", r#"{"region": "us"}"#];
    let temporary = tempfile::Builder::new().prefix("wc").tempdir().unwrap();
    let run = windlass_in(&dags, &arguments, &[("TMPDIR", temporary.path().to_str().unwrap())]);
    let text = printed(&run);
    assert!(run.status.success(), "{text}{}", said(&run));
    assert!(text.contains("give.tell | [1.1, 2.2, 3.3"), "{text}");
    assert!(text.contains("shell | 2026-01-02"), "{text}");
    assert!(text.contains("nothing | [skipped"), "{text}");
}

#[test]
fn expanded_tasks_are_expanded_here_and_run() {
    let (out, output) = convert(&[&data("mapped.py")], &[]);
    let dags = out.path().join("dags");
    same(&dags.join("mapped.yaml"), "mapped.yaml");
    let temporary = tempfile::Builder::new().prefix("wc").tempdir().unwrap();
    let arguments = ["dags", "test", "mapped.yaml"];
    let run = windlass_in(&dags, &arguments, &[("TMPDIR", temporary.path().to_str().unwrap())]);
    let text = printed(&run);
    assert!(run.status.success(), "{text}{}{}", said(&run), said(&output));
    for line in [
        "total [6, 7, 8]",
        "total [1, 1]",
        "one",
        "mapped",
        "env x",
        "env y",
        "command {{ ds }}",
        "load a eu",
        "load b us",
    ] {
        assert!(text.contains(line), "{line} is not in\n{text}");
    }
}

#[test]
fn names_are_what_python_resolves_them_to() {
    let (out, output) = convert(&[&data("names.py")], &[]);
    assert_eq!(output.status.code(), Some(0), "{}", said(&output));
    let dags = out.path().join("dags");
    let yaml = fs::read_to_string(dags.join("names.yaml")).unwrap();
    let inherits = yaml.split("task_id: inherits").nth(1).unwrap();
    assert!(inherits.contains("retries: 4") && inherits.contains("owner: ben"), "{yaml}");
    let temporary = tempfile::Builder::new().prefix("wc").tempdir().unwrap();
    let arguments = ["dags", "test", "names.yaml"];
    let run = windlass_in(&dags, &arguments, &[("TMPDIR", temporary.path().to_str().unwrap())]);
    let text = printed(&run);
    assert!(run.status.success(), "{text}{}", said(&run));
    for line in [
        "scopes | scopes 11 [1, 2] of the module own hash of x",
        "classes | counted",
        "classes | classes Point(x=1, y=10) True",
        "attempts | attempts False None",
        "settings | settings 4",
        "late_0 | late 0",
        "late_1 | late 1",
    ] {
        assert!(text.contains(line), "{line} is not in\n{text}");
    }
}

#[test]
fn a_dag_or_task_whose_making_can_not_be_followed_is_told() {
    let python = "\
from airflow.sdk import DAG, dag
from airflow.operators.bash import BashOperator
import company.dags
from company.tasks import load_task
class Maker:
    def build(self):
        with DAG('of_a_method', schedule=None):
            BashOperator(task_id='a', bash_command='true')
        @dag(schedule=None)
        def of_a_decorator():
            BashOperator(task_id='a', bash_command='true')
        of_a_decorator()
Maker().build()
made = company.dags.make('x')
for name in ('a', 'b'):
    globals()[name] = load_task(name)
with DAG('d', schedule=None):
    loaded = load_task('x')
    several = [load_task(name) for name in ('a', 'b')]
    BashOperator(task_id='a', bash_command='true')
";
    let (output, _) = converted(python);
    assert_eq!(output.status.code(), Some(PART));
    let told = said(&output);
    for words in [
        "example.py:7: what makes this DAG could not be followed",
        "example.py:10: what makes the DAG of `of_a_decorator` could not be followed",
        "example.py:14: left out: `company.dags.make('x')`",
        "example.py:16: left out: `load_task(name)`",
        "example.py:19: left out: `load_task(name)`",
        "example.py:18: left out: `load_task('x')` is known only when the file runs; a task that it makes is missing",
    ] {
        assert!(told.contains(words), "{words} is not in\n{told}");
    }
}

#[test]
fn what_can_not_be_converted_is_told_line_by_line_and_fails_when_it_runs() {
    let (out, output) = convert(&[&data("hard.py")], &[]);
    assert_eq!(output.status.code(), Some(PART), "{}", said(&output));
    for name in ["one", "three"] {
        same(&out.path().join(format!("dags/{name}.yaml")), &format!("hard_{name}.yaml"));
    }
    let checked = windlass(&["dags", "check", out.path().join("dags").to_str().unwrap()], &[]);
    assert!(checked.status.success(), "{}", printed(&checked));
}

/// Each: the body of a DAG, what its YAML has, what is told.
const CONSTRUCTS: &[(&str, &[&str], &[&str])] = &[
    (
        "BranchPythonOperator.partial(task_id='a').expand(python_callable=[print])",
        &["task_id: a__0"],
        &["'a' was written out as 1 tasks, a__0, a__1 …: BranchPythonOperator can not be expanded here"],
    ),
    (
        "@task\ndef f(x):\n    return x\nf.expand(x=['{{ ds }}', 'b'])",
        &["task_id: f"],
        &["one after the other, and a retry runs all of them; templates in its values are not rendered"],
    ),
    ("FileSensor.partial(task_id='a').expand(filepath=['x', 'y'])", &["expand: {filepath: [x, \"y\"]}"], &[]),
    ("BashOperator.partial(task_id='a').expand(params=[{'b': 1}], bash_command=['x'])", &["params: [{b: 1}]"], &[]),
    ("a = EmptyOperator(task_id='a')\nb = EmptyOperator(task_id='b')\na >> b", &["dependencies: [a]"], &[]),
    (
        "a = EmptyOperator(task_id='a')\nb = EmptyOperator(task_id='b')\na << b",
        &["task_id: a\n    operator: empty\n    dependencies: [b]"],
        &[],
    ),
    ("a = EmptyOperator(task_id='a')\nb = EmptyOperator(task_id='b')\nb.set_upstream(a)", &["dependencies: [a]"], &[]),
    (
        "ts = [EmptyOperator(task_id=f't{i}') for i in range(3)]\nchain(*ts)",
        &["dependencies: [t0]", "dependencies: [t1]"],
        &[],
    ),
    (
        "x = [EmptyOperator(task_id=i) for i in 'ab']\ny = [EmptyOperator(task_id=i) for i in 'cd']\ncross_downstream(x, y)",
        &["task_id: c\n    operator: empty\n    dependencies: [a, b]"],
        &[],
    ),
    (
        "a = EmptyOperator(task_id='a')\nb = EmptyOperator(task_id='b')\na >> Label('yes') >> b",
        &["dependencies: [a]"],
        &["note: labels"],
    ),
    (
        "with TaskGroup('g', tooltip='T', default_args={'retries': 3}) as g:\n    a = EmptyOperator(task_id='a')\nb = EmptyOperator(task_id='b')\ng >> b",
        &["group_name: g", "tooltip: T", "default_args: {retries: 3}", "task_group_name: g", "dependencies: [g]"],
        &[],
    ),
    (
        "with TaskGroup('g', prefix_group_id=False) as g:\n    a = EmptyOperator(task_id='a')\n    c = EmptyOperator(task_id='c')\n    a >> c\nb = EmptyOperator(task_id='b')\nz = EmptyOperator(task_id='z')\nz >> g >> b",
        &[
            "task_id: a\n    operator: empty\n    dependencies: [z]",
            "task_id: b\n    operator: empty\n    dependencies: [c]",
        ],
        &["is not drawn"],
    ),
    ("BranchPythonOperator(task_id='b', python_callable=lambda: 'x')", &["operator: branch", "follow: x"], &[]),
    (
        "import random\nBranchPythonOperator(task_id='b', python_callable=lambda: random.choice('xy'))",
        &["task_id: b__choice", "import random", "follow: \"{{ ti.xcom_pull(task_ids='b__choice') }}\""],
        &[],
    ),
    ("ShortCircuitOperator(task_id='s', python_callable=lambda: False)", &["condition: \"{{ false }}\""], &[]),
    ("LatestOnlyOperator(task_id='l')", &["operator: latest_only"], &[]),
    (
        "TimeSensor(task_id='t', target_time=datetime.time(6, 30), deferrable=True)",
        &["fromisoformat(\"06:30:00\")"],
        &["deferrable was left out"],
    ),
    (
        "FileSensor(task_id='f', filepath='/x', soft_fail=True, poke_interval=datetime.timedelta(seconds=90))",
        &["soft_fail: true", "poke_interval: \"1m30s\""],
        &[],
    ),
    ("FileSensor(task_id='f', filepath='/x', mode='reschedule')", &["mode: reschedule"], &[]),
    ("FileSensor(task_id='f', filepath='/x', mode='reschedule', deferrable=True)", &["deferrable: true"], &[]),
    (
        "TriggerDagRunOperator(task_id='t', trigger_dag_id='y', wait_for_completion=True, deferrable=True)",
        &["wait_for_completion: true", "deferrable: true"],
        &[],
    ),
    (
        "from airflow.providers.standard.operators.hitl import ApprovalOperator\nApprovalOperator(task_id='a', subject='Publish {{ ds }}?', defaults='Reject', execution_timeout=datetime.timedelta(hours=1), fail_on_reject=True)",
        &["operator: approval", "subject: \"Publish {{ ds }}?\"", "defaults: Reject", "fail_on_reject: true"],
        &[],
    ),
    (
        "from airflow.providers.standard.operators.hitl import HITLBranchOperator\nHITLBranchOperator(task_id='b', subject='Which?', options=['all', 'part'], options_mapping={'part': 'some'}, multiple=True)\nEmptyOperator(task_id='all')\nEmptyOperator(task_id='some')",
        &["operator: choice", "all: all", "part: some", "multiple: true"],
        &[],
    ),
    (
        "BashOperator(task_id='b', bash_command='echo {{ execution_date }} {{ tomorrow_ds }}')",
        &["{{ logical_date }}", "{{ macros.ds_add(ds, 1) }}"],
        &[],
    ),
    (
        "BashOperator(task_id='b', bash_command='x', retry_exponential_backoff=True, max_retry_delay=datetime.timedelta(hours=1), trigger_rule='one_failed', queue='q', pool='p', wait_for_downstream=True)",
        &[
            "retry_exponential_backoff: true",
            "max_retry_delay: \"1h\"",
            "trigger_rule: one_failed",
            "queue: q",
            "pool: p",
            "wait_for_downstream: true",
        ],
        &[],
    ),
    (
        "BashOperator(task_id='b', bash_command='x', trigger_rule='never_heard_of')",
        &["bash_command: x"],
        &["trigger_rule was left out: "],
    ),
    (
        "BashOperator(task_id='b', bash_command='x', skip_on_exit_code=999)",
        &["windlass.fail("],
        &["b was not converted: "],
    ),
    (
        "BashOperator(task_id='b', bash_command='x', outlets=[Asset('s3://b/k')])",
        &["outlets: [{uri: \"s3://b/k\"}]"],
        &[],
    ),
    (
        "BashOperator(task_id='b', bash_command='x', **({'retries': 1, 'owner': 'a'} | {'retries': 3}))",
        &["retries: 3", "owner: a"],
        &[],
    ),
    ("BashOperator(task_id='b', bash_command='x', task_display_name='Step 1')", &["task_display_name: Step 1"], &[]),
    (
        "d.doc_md = 'Text'\nt = BashOperator(task_id='b', bash_command='x')\nt.doc_md = 'Words'",
        &["doc_md: Text", "doc_md: Words"],
        &[],
    ),
    (
        "@task\ndef a():\n    return 1\n@task\ndef b(x):\n    print(x)\nb(a())",
        &["xcom_pull(task_ids='a')", "dependencies: [a]"],
        &[],
    ),
    (
        "@task\ndef a(**context):\n    print(context['var'])\na()",
        &["operator: python"],
        &["`var` of Airflow's context"],
    ),
    (
        "@task\ndef a(logical_date=None):\n    print(logical_date.to_date_string())\na()",
        &["fromisoformat"],
        &["logical_date.to_date_string"],
    ),
    ("@task.virtualenv(requirements=['numpy'])\ndef a():\n    pass\na()", &["operator: python"], &["has numpy"]),
    (
        "@task.external_python(python='/opt/venv/bin/python')\ndef a():\n    pass\na()",
        &["python_bin: /opt/venv/bin/python"],
        &[],
    ),
    ("@task.kubernetes(image='x')\ndef a():\n    pass\na()", &["windlass.fail("], &["@task.kubernetes is not there"]),
    ("@task.bash\ndef a(ds):\n    return f'echo {ds}'\na()", &["bash_command: \"echo {{ ds }}\""], &[]),
    (
        "@task\ndef a():\n    return 1\na.override(task_id='z', retries=4)()\na()\na()",
        &["task_id: z", "retries: 4", "task_id: a\n", "task_id: a__1"],
        &[],
    ),
    (
        "async_limit = 3\n@task\nasync def a():\n    return async_limit\na()",
        &["async_limit = 3", "asyncio.run(a())"],
        &[],
    ),
    (
        "from airflow.models import Variable\n@task\ndef a():\n    return Variable.get('k'), Variable.get('m', default_var='n')\na()",
        &["VAR_K: \"{{ var.value.k }}\"", "var.value.get('m'"],
        &[],
    ),
    (
        "from airflow.hooks.base import BaseHook\n@task\ndef a():\n    return BaseHook.get_connection('x')\na()",
        &["import BaseHook"],
        &["the code needs Airflow"],
    ),
    (
        "try:\n    import numpy\nexcept ImportError:\n    numpy = None\n@task\ndef a():\n    return numpy.pi\na()",
        &["import numpy"],
        &["note: the worker's Python has to have: numpy"],
    ),
    ("if 1 + 1 == 2:\n    EmptyOperator(task_id='a')\nelse:\n    EmptyOperator(task_id='b')", &["task_id: a"], &[]),
    (
        "for t in open('tables'):\n    EmptyOperator(task_id=t)\nEmptyOperator(task_id='z')",
        &["task_id: z"],
        &["the loop was left out"],
    ),
    (
        "class Own(BaseOperator):\n    template_fields = ('x',)\n    def __init__(self, x, **kw):\n        super().__init__(**kw)\n        self.x = x\n    def execute(self, context):\n        return self.x + context['ds']\nOwn(task_id='o', x='{{ ds }}')",
        &["class Own(BaseOperator)"],
        &[],
    ),
];

#[test]
fn each_construct_has_its_form() {
    for (body, has, told) in CONSTRUCTS {
        let (output, yaml) = converted(&in_dag(body));
        let said = said(&output);
        assert!([Some(0), Some(PART)].contains(&output.status.code()), "{body}\n{said}");
        for words in *has {
            assert!(yaml.contains(words), "{words}\nis not what becomes of\n{body}\n{yaml}");
        }
        for words in *told {
            assert!(said.contains(words), "{words}\nis not told of\n{body}\n{said}");
        }
        let lost = said.lines().any(|line| line.starts_with("example.py:") && !line.contains(": note: "));
        assert_eq!(output.status.code(), Some(if lost { PART } else { 0 }), "{body}\n{said}");
    }
}

/// A DAG's own arguments, what its YAML has, what is told.
const SETTINGS: &[(&str, &[&str], &[&str])] = &[
    ("schedule=None", &["schedule: null"], &[]),
    ("schedule='@once'", &["schedule: \"@once\""], &[]),
    ("schedule_interval='5 4 * * *'", &["schedule: \"5 4 * * *\""], &["note: without catchup"]),
    ("schedule=datetime.timedelta(minutes=90)", &["schedule: \"1h30m\""], &[]),
    ("schedule='61 * * * *'", &["schedule: null"], &["schedule was left out"]),
    ("schedule=[Asset('a')]", &["schedule: [{name: a}]"], &[]),
    ("schedule=[Asset(open('x').read())]", &["schedule: null"], &["which assets it waits for"]),
    ("schedule=(Asset('a') | Asset('b') | (Asset('c') & Asset('d')))", &["any: ", "all: "], &[]),
    (
        "schedule=AssetOrTimeSchedule(timetable=CronTriggerTimetable('0 1 * * *', timezone='UTC'), assets=[Asset('a')])",
        &["cron: \"0 1 * * *\"", "or_assets: "],
        &[],
    ),
    (
        "schedule=CronTriggerTimetable('0 1 * * *', timezone='Europe/Rome')",
        &["cron: \"0 1 * * *\"", "timezone: Europe/Rome"],
        &[],
    ),
    (
        "start_date=pendulum.datetime(2026, 3, 1, 6, 30, tz='Asia/Tokyo'), schedule=None",
        &["start_date: 2026-03-01T06:30:00", "timezone: Asia/Tokyo"],
        &[],
    ),
    ("start_date=datetime.datetime.now(), schedule=None", &["dag_id: d"], &["start_date was left out"]),
    (
        "catchup=True, max_active_runs=2, dagrun_timeout=datetime.timedelta(hours=2), tags={'x'}, start_date=datetime.datetime(2026, 1, 1)",
        &["catchup: true", "max_active_runs: 2", "dagrun_timeout: \"2h\"", "tags: [x]"],
        &[],
    ),
    (
        "params={'n': Param(3, type='integer', minimum=1), 'm': {'a': 1}}",
        &["type: integer", "m: {default: {a: 1}}"],
        &[],
    ),
    (
        "default_args={'retries': 1, 'retry_delay': datetime.timedelta(minutes=2), 'sla': 5}",
        &["default_args: {retries: 1, retry_delay: \"2m\"}"],
        &["sla was left out"],
    ),
    ("user_defined_macros={'x': 1}", &["dag_id: d"], &["user_defined_macros was left out"]),
];

#[test]
fn each_argument_of_a_dag_has_its_form() {
    let head = "import datetime\nimport pendulum\nfrom airflow.sdk import DAG, Asset, AssetOrTimeSchedule, Param, CronTriggerTimetable\nfrom \
                airflow.operators.empty import EmptyOperator\n";
    for (arguments, has, told) in SETTINGS {
        let (output, yaml) = converted(&format!("{head}with DAG('d', {arguments}):\n    EmptyOperator(task_id='a')\n"));
        let said = said(&output);
        assert!([Some(0), Some(PART)].contains(&output.status.code()), "{arguments}\n{said}");
        for words in *has {
            assert!(yaml.contains(words), "{words}\nis not what becomes of\n{arguments}\n{yaml}");
        }
        for words in *told {
            assert!(said.contains(words), "{words}\nis not told of\n{arguments}\n{said}");
        }
    }
}

#[test]
fn several_dags_of_a_file_are_one_file_on_standard_output_and_all_load() {
    let (output, yaml) = converted(
        "from airflow.sdk import DAG\nfrom airflow.operators.bash import BashOperator\nfor n in ('a', 'b'):\n    with DAG(n, \
         schedule=None):\n        BashOperator(task_id='t', bash_command='''\n  one\n\n  two\n''')\n",
    );
    assert!(output.status.success(), "{}", said(&output));
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("both.yaml"), &yaml).unwrap();
    let checked = windlass(&["dags", "check", folder.path().to_str().unwrap()], &[]);
    assert!(checked.status.success(), "{yaml}\n{}", printed(&checked));
    assert_eq!(printed(&checked).matches("is well").count(), 2, "{}", printed(&checked));
}

/// What YAML could read as something else.
const TEXTS: &[&str] = &[
    "plain",
    "",
    " lead",
    "trail ",
    "two\nlines",
    "two\nlines\n",
    "three\n\n\n",
    "\n\nlead",
    "  indented\n text",
    "\ttab\n\tx",
    "quote ' and \"",
    "\\ back",
    "# no comment",
    "a: b",
    "- x",
    "yes",
    "null",
    "~",
    "1.5",
    "2026-01-01",
    "{x}",
    "[y]",
    "*a",
    "&b",
    "!c",
    "%d",
    "@e",
    "`f",
    "é ü 漢字",
    "\u{7f}",
    "\u{85}",
    "\u{2028}x",
    "tab\there",
    "\r\n",
    "x\ry",
    "\u{feff}bom",
    "|",
    ">",
    "trail \nx \n",
    "a\n \nb",
    "?",
    ":",
    "a :b",
    "x #y",
    "true",
    ".inf",
    "0o17",
    "1_000",
    "=",
    "<<",
];

#[test]
fn texts_of_every_kind_are_the_same_after_they_were_yaml() {
    let calls: String = TEXTS
        .iter()
        .enumerate()
        .map(|(at, text)| format!("    BashOperator(task_id='t{at}', bash_command='x', env={{'X': {text:?}}})\n"))
        .collect::<String>()
        // Rust writes \u{7f} where Python writes \u007f.
        .replace("\\u{7f}", "\\x7f")
        .replace("\\u{85}", "\\x85")
        .replace("\\u{2028}", "\\u2028")
        .replace("\\u{feff}", "\\ufeff");
    let (output, yaml) = converted(&format!(
        "from airflow.sdk import DAG\nfrom airflow.operators.bash import BashOperator\nwith DAG('d', schedule=None):\n{calls}"
    ));
    assert_eq!(output.status.code(), Some(0), "{}\n{yaml}", said(&output));
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("d.yaml");
    fs::write(&file, &yaml).unwrap();
    let loaded = dag::load("d.yaml", &yaml, &NoFiles);
    assert_eq!(loaded.errors, vec![], "{yaml}");
    for (at, text) in TEXTS.iter().enumerate() {
        let task = loaded.dags[0].dag.tasks.iter().find(|task| task.task_id.as_str() == format!("t{at}")).unwrap();
        let model::Operator::Bash(bash) = &task.operator else { panic!("no bash task") };
        assert_eq!(bash.env["X"], *text, "{yaml}");
    }
}

struct NoFiles;

impl dag::ReadFile for NoFiles {
    fn read(&self, _: &str) -> Result<Vec<u8>, dag::FileProblem> {
        Err(dag::FileProblem::Missing)
    }
}

/// Files that would harm whoever follows them blindly; each ends in time, with an error or a result.
#[test]
fn hostile_files_end_in_time_with_words() {
    let dag = "from airflow import DAG\nfrom airflow.operators.bash import BashOperator\nwith DAG('d') as d:\n";
    let cases: &[(Vec<u8>, &str)] = &[
        (b"x = (\n".to_vec(), "never closed"),
        (b"x = 1\ny = 2 +\n".to_vec(), "example.py:2: error"),
        (b"x = 1\n\0\n".to_vec(), "null bytes"),
        (b"x = 1\ny = '\xe9'\n".to_vec(), "example.py:2: error: byte 11"),
        (b"# coding: nope\n".to_vec(), "unknown encoding"),
        ([b"x = ".as_slice(), &b"(".repeat(5000), b"1", &b")".repeat(5000)].concat(), "nested"),
        ([b"x = 1".as_slice(), &b" + 1".repeat(20_000)].concat(), "nested too deeply"),
        (b"x = 'a' * 1000000\nx = x + x\nx = x + x\n".to_vec(), "more than"),
        (b"for a in range(10000):\n  for b in range(10000):\n    x = 1\n".to_vec(), "too many steps"),
        (format!("{dag}  for a in range(9999):\n    for b in '12':\n      BashOperator(task_id=f't{{a}}{{b}}', bash_command='x')\n").into_bytes(), "more than 10000 tasks"),
        (format!("{dag}  BashOperator(task_id='a', bash_command='{}')\n", "{{ \\\"".repeat(60_000)).into_bytes(), "was not looked at"),
        (format!("{dag}  l = []\n  l.append(l)\n  a = BashOperator(task_id='a', bash_command='x', env={{'x': l}})\n  a >> l\n").into_bytes(), "an arrow was left out"),
        (format!("{dag}  BashOperator(task_id='a', bash_command='\\0')\n").into_bytes(), "NUL"),
        (format!("{dag}  BashOperator(task_id='a', bash_command='\\ud800')\n").into_bytes(), "surrogate"),
        (format!("{dag}  BashOperator(task_id='a', bash_command='x', **{{'k\\n# y: 1': 2}})\n").into_bytes(), "k # y: 1 was left out"),
        (b"import os\nos.system('touch MARK')\nraise SystemExit(1)\n".to_vec(), "it defines no DAG"),
    ];
    for (python, words) in cases {
        let folder = tempfile::tempdir().unwrap();
        let mark = folder.path().join("was-run");
        let text = String::from_utf8(python.clone()).map(|text| text.replace("MARK", mark.to_str().unwrap()));
        fs::write(folder.path().join("example.py"), text.map_or_else(|_| python.clone(), String::into_bytes)).unwrap();
        let began = std::time::Instant::now();
        let output = windlass_in(folder.path(), &["dags", "convert", "example.py"], &[]);
        assert!(began.elapsed().as_secs() < 60, "{words} took too long");
        assert!(said(&output).contains(words), "{words} is not in {}", said(&output));
        assert!(!mark.exists(), "the file was run");
    }
}

#[test]
fn nothing_is_overwritten_unasked() {
    let (out, first) = convert(&[&data("flow.py")], &[]);
    assert!(first.status.success());
    let dags = out.path().join("dags").display().to_string();
    let file = data("flow.py").display().to_string();
    fs::write(out.path().join("dags/flow.yaml"), "mine").unwrap();
    let second = windlass(&["dags", "convert", &file, "--out", &dags], &[]);
    assert_eq!(second.status.code(), Some(1));
    assert!(said(&second).contains("nothing was written") && said(&second).contains("flow.yaml"), "{}", said(&second));
    assert_eq!(fs::read_to_string(out.path().join("dags/flow.yaml")).unwrap(), "mine");
    let third = windlass(&["dags", "convert", &file, "--out", &dags, "--force"], &[]);
    assert!(third.status.success(), "{}", said(&third));
    assert!(fs::read_to_string(out.path().join("dags/flow.yaml")).unwrap().contains("dag_id: flow"));
}

#[test]
fn a_file_that_a_dag_names_goes_along() {
    let folder = tempfile::tempdir().unwrap();
    let python = "from airflow.sdk import DAG\nfrom airflow.providers.common.sql.operators.sql import \
                  SQLExecuteQueryOperator\nwith DAG('d', schedule=None):\n    SQLExecuteQueryOperator(task_id='a', \
                  conn_id='shop', sql='sql/a.sql')\n";
    fs::create_dir(folder.path().join("sql")).unwrap();
    fs::write(folder.path().join("sql/a.sql"), "SELECT 1").unwrap();
    fs::write(folder.path().join("example.py"), python).unwrap();
    let output = windlass_in(folder.path(), &["dags", "convert", "example.py", "--out", "dags"], &[]);
    assert_eq!(output.status.code(), Some(0), "{}", said(&output));
    assert_eq!(fs::read_to_string(folder.path().join("dags/sql/a.sql")).unwrap(), "SELECT 1");
    let checked = windlass_in(folder.path(), &["dags", "check", "dags"], &[]);
    assert!(checked.status.success(), "{}", printed(&checked));
}

#[test]
fn a_check_writes_nothing_and_json_and_yaml_have_every_remark() {
    let (out, output) = convert(&[&data("flow.py"), &data("hard.py")], &["--check", "--output", "json"]);
    assert_eq!(output.status.code(), Some(PART), "{}", said(&output));
    assert_eq!(fs::read_dir(out.path()).unwrap().count(), 0);
    let rows: Vec<Value> = serde_json::from_slice(&output.stdout).unwrap();
    let results: Vec<_> =
        rows.iter().map(|row| (row["dag_id"].as_str().unwrap(), row["result"].as_str().unwrap())).collect();
    assert_eq!(results, [("flow", "whole"), ("one", "in part"), ("two", "in part"), ("three", "whole")]);
    let lost = |row: &Value| row["remarks"].as_array().unwrap().iter().filter(|remark| remark["lost"] == true).count();
    assert_eq!(lost(&rows[0]), 0);
    assert!(lost(&rows[1]) > 10 && rows[1]["remarks"][0]["line"].as_u64().unwrap() > 0, "{}", rows[1]);
    let (_, same) = convert(&[&data("flow.py"), &data("hard.py")], &["--check", "--output", "yaml"]);
    let yaml = printed(&same);
    assert_eq!(yaml.matches("lost: true").count(), rows.iter().map(lost).sum::<usize>(), "{yaml}");
}

#[test]
fn mistakes_of_the_call_are_told() {
    let two = [data("flow.py").display().to_string(), data("hard.py").display().to_string()];
    let output = windlass(&["dags", "convert", &two[0], &two[1]], &[]);
    assert!(said(&output).contains("--out DIR"), "{}", said(&output));
    let output = windlass(&["dags", "convert", "nowhere.py"], &[]);
    assert!(said(&output).contains("nowhere.py can not be read"), "{}", said(&output));
    let output = windlass(&["dags", "convert", data(".").to_str().unwrap()], &[]);
    assert!(said(&output).contains("is no file"), "{}", said(&output));
    let empty = tempfile::tempdir().unwrap();
    let output = windlass(&["dags", "convert", &two[0]], &[("PATH", empty.path().to_str().unwrap())]);
    assert_eq!(output.status.code(), Some(1));
    assert!(said(&output).contains("no python3 is on PATH"), "{}", said(&output));
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("large.py"), " ".repeat(2 * 1024 * 1024)).unwrap();
    let output = windlass_in(folder.path(), &["dags", "convert", "large.py"], &[]);
    assert!(said(&output).contains("at most 1048576"), "{}", said(&output));
}

#[test]
fn a_function_that_is_imported_from_a_module_of_the_folder_stays_in_it() {
    let folder = tempfile::tempdir().unwrap();
    let python = "\
from airflow import DAG
from airflow.operators.python import PythonOperator
from etl.orders import load
from gone.module import other
with DAG('d', schedule=None) as d:
    one = PythonOperator(task_id='one', python_callable=load, op_args=[1], op_kwargs={'region': '{{ ds }}'})
    two = PythonOperator(task_id='two', python_callable=other)
    three = PythonOperator(task_id='three', python_callable=load, op_args=[two.output])
";
    fs::write(folder.path().join("example.py"), python).unwrap();
    fs::create_dir(folder.path().join("etl")).unwrap();
    fs::write(folder.path().join("etl/orders.py"), "from etl import names\ndef load(x, region): pass\n").unwrap();
    fs::write(folder.path().join("etl/names.py"), "").unwrap();
    let output = windlass_in(folder.path(), &["dags", "convert", "example.py", "--out", "out"], &[]);
    let yaml = fs::read_to_string(folder.path().join("out/d.yaml"))
        .or_else(|_| fs::read_to_string(folder.path().join("out/example.yaml")))
        .unwrap_or_else(|error| panic!("{error}: {}", said(&output)));
    assert!(yaml.contains("python_callable: etl.orders.load\n    op_args: [1]\n"), "{yaml}");
    // What no module of the folder has, and what another task returned, goes by a script as before.
    assert_eq!(yaml.matches("operator: python_callable").count(), 1, "{yaml}");
    assert_eq!(yaml.matches("operator: python\n").count(), 2, "{yaml}");
    for copied in ["out/etl/orders.py", "out/etl/names.py"] {
        assert!(folder.path().join(copied).exists(), "{copied}: {}", said(&output));
    }
}
