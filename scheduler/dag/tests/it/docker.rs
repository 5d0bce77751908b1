//! Containers: the operator `docker` and services with an image.

use dag::json_schema;
use expect_test::expect;
use model::{
    Capability, Operator,
    container::{AutoRemove, Docker, DockerReturns, Mount, MountAccess, MountSource, PullPolicy, Words},
};

use crate::support::{load, messages, one};

fn docker(keys: &str) -> Docker {
    let text = format!("dag_id: x\ntasks:\n  - task_id: a\n    operator: docker\n{keys}");
    let compiled = one(&text);
    let again = one(&compiled.canonical_yaml);
    assert_eq!(again.dag.tasks, compiled.dag.tasks, "{}", compiled.canonical_yaml);
    match compiled.dag.tasks.into_iter().next().map(|task| task.operator) {
        Some(Operator::Docker(docker)) => *docker,
        other => panic!("expected docker, found {other:?}"),
    }
}

#[test]
fn absent_keys_have_docker_operators_defaults() {
    let keys = docker("    image: busybox\n");
    assert_eq!(keys.auto_remove, AutoRemove::Never);
    assert_eq!(keys.tmp_dir.as_deref(), Some("/tmp/airflow"));
    assert_eq!(keys.returns, DockerReturns::LastLine);
    assert_eq!(keys.container.pull_policy, PullPolicy::Missing);
    assert_eq!((keys.command, keys.skip_on_exit_code.len(), keys.container.cpus), (None, 0, None));
}

#[test]
fn every_key_is_read_and_comes_back_from_the_canonical_form() {
    let keys = docker(concat!(
        "    image: 'loader:{{ params.tag }}'\n    command: [load, 5]\n    entrypoint: /bin/sh -c\n    force_pull: true\n",
        "    docker_url: tcp://127.0.0.1:2375\n    docker_conn_id: registry\n    environment: {A: 1}\n    private_environment: {B: secret}\n",
        "    pass_env: STOCK_*\n    mounts:\n      - {source: /data, target: /in, type: bind, read_only: true}\n",
        "      - {source: cache, target: /cache}\n      - {target: /scratch, type: tmpfs, tmpfs_size: 64m}\n",
        "    mount_tmp_dir: false\n    network_mode: host\n    networks: [one, two]\n    cpus: 0.5\n    mem_limit: 512m\n    shm_size: 67108864\n",
        "    user: 1000\n    working_dir: /in\n    hostname: h\n    ipc_mode: host\n    labels: {team: data}\n    extra_hosts: {db.local: 10.0.0.1}\n",
        "    dns: 10.0.0.2\n    dns_search: [local]\n    port_bindings: {80: 8080, 53/udp: '127.0.0.1:5353'}\n    cap_add: [SYS_PTRACE]\n",
        "    privileged: true\n    tty: true\n    healthcheck: 'true'\n    container_name: 'n-{{ ds }}'\n    auto_remove: force\n",
        "    xcom_all: true\n    skip_on_exit_code: 99\n    stop_timeout: 30s\n",
    ));
    assert_eq!(keys.command, Some(Words::List(vec!["load".into(), "5".into()])));
    assert_eq!(keys.container.entrypoint, Some(Words::Text("/bin/sh -c".into())));
    assert_eq!(keys.container.pull_policy, PullPolicy::Always);
    assert_eq!(keys.container.mem_limit, Some(512 << 20));
    assert_eq!(keys.container.port_bindings["80/tcp"], "8080");
    let [bind, volume, tmpfs] = keys.container.mounts.as_slice() else { panic!("expected three mounts") };
    let source = MountSource::Bind("/data".into());
    assert_eq!(*bind, Mount { target: "/in".into(), source, access: MountAccess::ReadOnly });
    assert_eq!(volume.source, MountSource::Volume(Some("cache".into())));
    assert_eq!(tmpfs.source, MountSource::Tmpfs(Some(64 << 20)));
    assert_eq!((keys.tmp_dir, keys.stop_timeout_secs), (None, Some(30.0)));
    assert_eq!(keys.skip_on_exit_code, [99]);
}

#[test]
fn a_task_asks_for_a_worker_with_docker_unless_it_names_an_engine() {
    let of = |keys: &str| Operator::Docker(Box::new(docker(keys))).capability();
    assert_eq!(of("    image: x\n"), Capability::Docker);
    assert_eq!(of("    image: x\n    docker_url: tcp://engine:2375\n"), Capability::Light);
}

#[test]
fn mistakes_are_named_with_line_and_field() {
    let loaded = load(concat!(
        "dag_id: x\ntasks:\n  - {task_id: a, operator: DockerOperator}\n",
        "  - {task_id: b, operator: docker, image: x, comand: y, tls_verify: true}\n",
        "  - {task_id: c, operator: docker, image: x, mem_limit: lots}\n",
        "  - {task_id: d, operator: docker, image: x, auto_remove: succes}\n",
        "  - {task_id: e, operator: docker, image: x, mounts: [{source: /a, target: /b}]}\n",
        "  - {task_id: f, operator: docker, image: x, mounts: [{source: a, target: b, typ: bind}]}\n",
        "  - {task_id: g, operator: docker, image: x, port_bindings: {http: 80}}\n",
        "  - {task_id: h, operator: docker, image: x, docker_url: localhost}\n",
        "  - {task_id: i, operator: docker, image: x, force_pull: true, pull_policy: never}\n",
        "  - {task_id: j, operator: docker, image: x, env: {A: 1}, environment: {B: 2}}\n",
    ));
    expect![[r#"
        dags/x.yaml:3:5: tasks[0]: image is missing
        dags/x.yaml:4:46: tasks[1].comand: unknown field; did you mean "command"?
        dags/x.yaml:4:57: tasks[1].tls_verify: not supported yet: engines behind TLS; reach it by an SSH tunnel to its socket and name that by docker_url
        dags/x.yaml:5:57: tasks[2].mem_limit: expected a size such as 512m, 2g or a number of bytes, found the text "lots"
        dags/x.yaml:6:59: tasks[3].auto_remove: expected one of never, success, force, found "succes"; did you mean "success"?
        dags/x.yaml:7:64: tasks[4].mounts[0].source: /a is a path: say type: bind, or name a volume
        dags/x.yaml:8:75: tasks[5].mounts[0].target: expected a path from the root such as /data, found "b"
        dags/x.yaml:8:78: tasks[5].mounts[0].typ: unknown field; did you mean "type"?
        dags/x.yaml:9:68: tasks[6].port_bindings.http: expected a port of the container with one of the machine, such as 80/tcp: 8080 or 80/tcp: "127.0.0.1:8080", found http: 80
        dags/x.yaml:10:58: tasks[7].docker_url: expected unix:///path/to/docker.sock or tcp://host:port, found "localhost"
        dags/x.yaml:11:58: tasks[8].force_pull: pull_policy and force_pull are both given; keep pull_policy: force_pull: true is always
        dags/x.yaml:12:46: tasks[9].env: env and environment mean the same; keep environment
    "#]]
    .assert_eq(&messages(&loaded));
}

#[test]
fn a_service_is_a_program_or_an_image() {
    let text = concat!(
        "dag_id: x\ntasks:\n  - task_id: a\n    operator: service\n    services:\n      - name: cache\n        image: redis:7\n",
        "        port_bindings: {6379: 6379}\n        healthcheck: redis-cli ping\n      - {name: sink, command: [sink]}\n",
    );
    let compiled = one(text);
    assert_eq!(one(&compiled.canonical_yaml).dag.tasks, compiled.dag.tasks, "{}", compiled.canonical_yaml);
    let Operator::Service(task) = &compiled.dag.tasks[0].operator else { panic!("expected service") };
    let capabilities: Vec<_> = task.services.iter().map(model::operator::ServiceSpec::capability).collect();
    assert_eq!(capabilities, [Capability::Docker, Capability::Process]);
    let loaded = load(concat!(
        "dag_id: x\ntasks:\n  - task_id: a\n    operator: service\n    services:\n      - {name: cache, comand: [x]}\n",
        "      - {name: sink, command: [sink], user: me}\n      - {name: s, image: x, imag: y}\n",
    ));
    expect![[r#"
        dags/x.yaml:6:9: tasks[0].services[0]: command is missing
        dags/x.yaml:6:23: tasks[0].services[0].comand: unknown field; did you mean "command"?
        dags/x.yaml:7:45: tasks[0].services[1].user: only a service with an image has this; image is missing
        dags/x.yaml:8:29: tasks[0].services[2].imag: unknown field; did you mean "image"?
    "#]]
    .assert_eq(&messages(&loaded));
}

#[test]
fn the_json_schema_knows_containers() {
    let validator = jsonschema::validator_for(&json_schema()).expect("it is a JSON Schema");
    let task = |keys: &str| {
        let text = format!(r#"{{"dag_id": "x", "tasks": [{{"task_id": "a", "operator": "docker"{keys}}}]}}"#);
        serde_json::from_str::<serde_json::Value>(&text).expect("the text is JSON")
    };
    let mounts = r#", "image": "x", "mounts": [{"source": "/a", "target": "/b", "type": "bind"}], "mem_limit": "1g""#;
    assert!(validator.is_valid(&task(mounts)));
    for keys in [r#", "image": "x", "comand": "y""#, r#", "image": "x", "mounts": [{"source": "/a"}]"#] {
        assert!(!validator.is_valid(&task(keys)), "{keys}");
    }
}
