//! Completion as the shells do it.

use std::process::{Command, Stdio};

use crate::{printed, windlass};

/// The script for a shell, in a file.
fn script(shell: &str) -> tempfile::NamedTempFile {
    let output = windlass(&["completion", shell], &[]);
    assert!(output.status.success());
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), printed(&output)).unwrap();
    file
}

/// What bash offers for the last of these words.
fn offered(script: &str, words: &[&str]) -> Vec<String> {
    let quoted: Vec<String> = words.iter().map(|word| format!("'{word}'")).collect();
    let (last, before) = (words[words.len() - 1], words[words.len() - 2]);
    let program = format!(
        "source {script}; COMP_WORDS=({}); COMP_CWORD={}; _windlass windlass '{last}' '{before}'; printf '%s\\n' \"${{COMPREPLY[@]}}\"",
        quoted.join(" "),
        words.len() - 1
    );
    let output = Command::new("bash").args(["--norc", "-c", &program]).output().expect("bash is there");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).lines().map(str::to_owned).collect()
}

#[test]
fn bash_completes_commands_options_and_values() {
    let file = script("bash");
    let script = file.path().to_str().unwrap();
    assert_eq!(offered(script, &["windlass", "pau"]), [""], "pause is no command by itself");
    assert_eq!(offered(script, &["windlass", "dags", "unp"]), ["unpause"]);
    assert!(offered(script, &["windlass", "da"]).contains(&"dags".to_owned()));
    assert!(offered(script, &["windlass", "pools", "list", "--out"]).contains(&"--output".to_owned()));
    assert_eq!(offered(script, &["windlass", "pools", "list", "--output", "y"]), ["yaml"]);
    assert!(offered(script, &["windlass", "login", "--ser"]).contains(&"--server".to_owned()));
}

/// A shell that is not on this machine checks nothing, and the test says so.
fn accepts(shell: &str) {
    let file = script(shell);
    let text = std::fs::read_to_string(file.path()).unwrap();
    assert!(text.contains("windlass") && text.contains("unpause"), "{text}");
    let checked = Command::new(shell).arg("-n").arg(file.path()).stdin(Stdio::null()).output();
    match checked {
        Ok(output) => assert!(output.status.success(), "{shell}: {}", String::from_utf8_lossy(&output.stderr)),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => eprintln!("there is no {shell} here to read it"),
        Err(error) => panic!("{shell}: {error}"),
    }
}

#[test]
fn zsh_reads_its_script() {
    accepts("zsh");
}

#[test]
fn fish_reads_its_script() {
    accepts("fish");
}
