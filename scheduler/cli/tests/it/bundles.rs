//! DAG files as revisions: deployed by a server's URL, run with the files of their version, rolled back.

use std::{fs, path::Path, time::Instant};

use crate::{
    clients::DAG,
    standalone::{Client, Place, Standalone},
};

/// A DAG whose task says what its script says, after it has waited for a file.
fn dag(go: &Path) -> String {
    format!(
        "dag_id: deployed\nschedule: null\nis_paused_upon_creation: false\ntasks:\n  - task_id: wait\n    operator: bash\n    \
         bash_command: \"until test -e {}; do sleep 0.1; done\"\n  - task_id: speak\n    operator: python\n    script: scripts/speak.py\n    \
         dependencies: [wait]\n",
        go.display()
    )
}

fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let since = Instant::now();
    while !is_so() {
        assert!(since.elapsed().as_secs() < 60, "never: {what}");
    }
}

fn write(folder: &Path, name: &str, text: &str) {
    let path = folder.join(name);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, text).unwrap();
}

fn version(client: &Client) -> serde_json::Value {
    let details = client.json(&["dags", "details", "deployed"]);
    let value = |name: &str| details.as_array()?.iter().find(|row| row["property"] == name)?.get("value").cloned();
    value("bundle_version").unwrap_or_default()
}

#[test]
fn a_folder_is_deployed_by_a_servers_url_and_its_runs_keep_the_files_of_their_version() {
    let standalone = Standalone::start(&[("etl.yaml", DAG)]);
    let client = Client::of(&standalone.url()).logged_in();
    let folder = tempfile::tempdir().unwrap();
    let go = folder.path().join("go");
    let dags = folder.path().join("team");
    write(&dags, "deployed.yaml", &dag(&go));
    write(&dags, "scripts/speak.py", "print('the first speaks')\n");
    let dags_path = dags.display().to_string();
    let deploy = ["dags", "deploy", dags_path.as_str(), "--message", "First"];

    let dry = client.run(&[&deploy[..], &["--dry-run"]].concat());
    assert!(crate::printed(&dry).contains("deployed  added"), "{}{}", crate::printed(&dry), crate::said(&dry));
    assert!(crate::said(&dry).contains("nothing was deployed"));
    assert!(client.bad(3, &["dags", "revisions", "team"]).contains("no bundle team"));
    client.good(&deploy);
    until("the DAG is there", || client.run(&["dags", "details", "deployed"]).status.success());
    let first = version(&client);
    client.good(&["dags", "trigger", "deployed", "--run-id", "of_the_first"]);
    until("it runs", || client.json(&["runs", "list", "deployed"])[0]["state"] == "running");

    // A newer revision comes while the run waits.
    write(&dags, "scripts/speak.py", "print('the second speaks')\n");
    let changed = client.json(&deploy);
    assert_eq!((&changed[0]["dag_id"], &changed[0]["change"]), (&"deployed".into(), &"changed".into()));
    until("the newer one is in force", || version(&client) != first);
    let second = version(&client);
    fs::write(&go, "").unwrap();
    until("the run succeeds", || client.json(&["runs", "list", "deployed"])[0]["state"] == "success");
    let log = |run: &str| client.good(&["tasks", "logs", "deployed", run, "speak"]);
    assert!(log("of_the_first").contains("the first speaks"), "{}", log("of_the_first"));
    client.good(&["dags", "trigger", "deployed", "--run-id", "of_the_second", "--wait"]);
    assert!(log("of_the_second").contains("the second speaks"));

    let revisions = client.json(&["dags", "revisions", "team"]);
    assert_eq!((&revisions[0]["bundle_version"], &revisions[1]["bundle_version"]), (&second, &first));
    assert_eq!((&revisions[0]["deployed_by"], &revisions[1]["message"]), (&"airflow".into(), &"First".into()));
    let first_text = first.as_str().unwrap();
    assert!(client.good(&["dags", "rollback", "team", &first_text[..10]]).contains(first_text));
    until("the first is in force again", || version(&client) == first);
    // Beside the standalone it is the same installation.
    let bundles = standalone.json(&["dags", "bundles"]);
    assert_eq!((&bundles[0]["name"], &bundles[1]["name"]), (&"dags-folder".into(), &"team".into()));
    assert_eq!((&bundles[1]["bundle_version"], &bundles[1]["dags"]), (&first, &1.into()));
    assert!(standalone.good(&deploy).contains("deployed  changed"));
    until("the folder is deployed from here, too", || version(&client) == second);

    what_is_wrong_is_not_deployed(&client, &dags);

    assert!(client.bad(4, &["dags", "undeploy", "team"]).contains("--yes"));
    client.good(&["dags", "undeploy", "team", "--yes"]);
    assert!(client.bad(3, &["dags", "undeploy", "team", "--yes"]).contains("no bundle team"));
    assert!(standalone.bad(4, &["dags", "undeploy", "dags-folder", "--yes"]).contains("DAG folder"));
}

fn what_is_wrong_is_not_deployed(client: &Client, dags: &Path) {
    let path = dags.display().to_string();
    write(dags, "deployed.yaml", "dag_id: deployed\ntasks: 7\n");
    let refused = client.bad(1, &["dags", "deploy", &path]);
    assert!(refused.contains("deployed.yaml:2") && refused.contains("nothing was deployed"), "{refused}");
    fs::remove_file(dags.join("deployed.yaml")).unwrap();
    assert!(client.bad(4, &["dags", "deploy", &path]).contains("--empty"));
    std::os::unix::fs::symlink("/etc/passwd", dags.join("out.sql")).unwrap();
    assert!(client.bad(4, &["dags", "deploy", &path]).contains("out.sql"));
    fs::remove_file(dags.join("out.sql")).unwrap();
    client.good(&["dags", "deploy", &path, "--empty"]);
    until("the DAG is out of force", || client.json(&["dags", "bundles"])[1]["dags"] == 0);
    assert!(client.bad(4, &["dags", "deploy", &path, "--empty", "--bundle", "dags-folder"]).contains("DAG folder"));
}

#[test]
fn settings_of_bundles_are_checked_before_anything_starts() {
    let dags = env!("CARGO_MANIFEST_DIR");
    let refused = |value: &str| {
        let output =
            crate::windlass(&["check-settings"], &[("WINDLASS_DAG_BUNDLES", value), ("WINDLASS_DAGS_FOLDER", dags)]);
        assert!(!output.status.success());
        crate::said(&output)
    };
    let unknown = refused(r#"[{"name": "a", "classpath": "x.S3DagBundle", "kwargs": {}}]"#);
    assert!(unknown.contains("WINDLASS_DAG_BUNDLES"), "{unknown}");
    assert!(refused("[{]").contains("dag_bundle_config_list"));
    assert!(refused("/nowhere/bundles.json").contains("path of a file"));
}
