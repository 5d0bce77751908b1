//! The words of containers: the operator `docker` with the names of Airflow's DockerOperator, and services with an image.

use model::container::{AutoRemove, PullPolicy};

use super::{ENV, Key, NotYet, OperatorKeys, PASS_ENV, Shape, key};

/// Keys of what a container is made of.
pub(crate) const CONTAINER: &[Key] = &[
    key("image", Shape::Text, "The image, with its tag; a template."),
    key("entrypoint", Shape::Texts, "What starts the command; the image's own when absent."),
    key("pull_policy", Shape::OneOf(PullPolicy::WORDS), "When the image is pulled; missing when absent."),
    key("force_pull", Shape::Bool, "Airflow's word for pull_policy: always."),
    key("docker_url", Shape::Text, "The engine, unix://… or tcp://…; the worker's DOCKER_HOST or socket when absent."),
    key("docker_conn_id", Shape::Text, "The connection with the login of the image's registry."),
    key("private_environment", Shape::Environment, "Variables of its environment that nobody sees."),
    key("mounts", Shape::Definition("mounts"), "What of the machine it sees."),
    key("network_mode", Shape::Text, "The network that it starts in: bridge, host, none, container:… or a name."),
    key("networks", Shape::Texts, "Further networks that it is in."),
    key("cpus", Shape::Number, "Its share of the processors against others, 1 when absent."),
    key("mem_limit", Shape::Definition("bytes"), "The most memory that it may use: 512m, 2g or bytes."),
    key("shm_size", Shape::Definition("bytes"), "The size of its /dev/shm."),
    key("user", Shape::Text, "Whom it runs as: a name or number, with a group after a colon."),
    key("working_dir", Shape::Text, "Its working directory."),
    key("hostname", Shape::Text, "Its host name."),
    key("labels", Shape::Environment, "Labels beside Windlass's own."),
    key("extra_hosts", Shape::Environment, "Host names with their addresses."),
    key("dns", Shape::Texts, "Its name servers."),
    key("port_bindings", Shape::Environment, "Its ports with those of the machine that lead there: {80/tcp: 8080}."),
    key("cap_add", Shape::Texts, "Capabilities of the kernel beside the usual ones."),
    key("privileged", Shape::Bool, "Whether it may do what the machine's root may."),
    key("healthcheck", Shape::Text, "A command of the image's shell that succeeds while the container is well."),
];

/// Keys that a task has beside them.
const OWN: &[Key] = &[
    key("command", Shape::Texts, "What it runs, as text or words; a template. The image's own when absent."),
    key("environment", Shape::Environment, "Variables of its environment."),
    ENV,
    PASS_ENV,
    key("container_name", Shape::Text, "Its name; one is made up when absent."),
    key("auto_remove", Shape::OneOf(AutoRemove::WORDS), "When it goes: never (when absent), after success, or always."),
    key("mount_tmp_dir", Shape::Bool, "Whether the attempt's own directory is mounted at tmp_dir; true when absent."),
    key("tmp_dir", Shape::Text, "Where that directory is in the container; /tmp/airflow when absent."),
    key("xcom_all", Shape::Bool, "Whether all lines of standard output are returned, or only the last."),
    key("skip_on_exit_code", Shape::ExitCodes, "Exit codes that mean skipped; none when absent."),
    key("stop_timeout", Shape::Duration, "How long it may take to end after TERM before it is killed."),
    key("dns_search", Shape::Texts, "Domains that short host names are looked up in."),
    key("ipc_mode", Shape::Text, "Whose processes' memory it shares."),
    key("tty", Shape::Bool, "Whether it has a terminal; both of its streams are one then."),
];

/// The operator.
pub(super) const OPERATOR: OperatorKeys = OperatorKeys {
    name: "docker",
    synonyms: &[
        "DockerOperator",
        "airflow.providers.docker.operators.docker.DockerOperator",
        "airflow.operators.docker_operator.DockerOperator",
    ],
    tables: &[CONTAINER, OWN],
    required: &["image"],
};

/// Keys of a mount, as those of the Docker SDK's `Mount`.
pub(crate) const MOUNT: &[Key] = &[
    key("target", Shape::Text, "The path in the container."),
    key("source", Shape::Text, "A path of the engine's machine, or a volume's name."),
    key("type", Shape::OneOf(MOUNT_TYPES), "bind, volume (when absent) or tmpfs."),
    key("read_only", Shape::Bool, "Whether it can only be read."),
    key("tmpfs_size", Shape::Definition("bytes"), "The most memory that a tmpfs may take."),
];

/// What can be mounted.
pub(crate) const MOUNT_TYPES: &[&str] = &["bind", "volume", "tmpfs"];

/// What DockerOperator has and this version has not.
pub(crate) const NOT_YET: &[NotYet] = &[
    ("tls_ca_cert", TLS),
    ("tls_client_cert", TLS),
    ("tls_client_key", TLS),
    ("tls_hostname", TLS),
    ("tls_verify", TLS),
    ("tls_ssl_version", TLS),
    ("retrieve_output", "pickled output; write the value as the last line of standard output, as JSON"),
    ("retrieve_output_path", "pickled output; write the value as the last line of standard output, as JSON"),
    ("env_file", "files of variables; name them below environment"),
    ("device_requests", "devices such as GPUs"),
    ("devices", "devices such as GPUs"),
    ("ulimits", "limits of a container's processes"),
    ("host_tmp_dir", "another place for the attempt's directory; the worker's own is mounted"),
    ("log_opts_max_size", "the engine's log options; Windlass keeps the log"),
    ("log_opts_max_file", "the engine's log options; Windlass keeps the log"),
];

const TLS: &str = "engines behind TLS; reach it by an SSH tunnel to its socket and name that by docker_url";
