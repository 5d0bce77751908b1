//! What bash makes of commands with values in them.

use std::{collections::BTreeMap, process::Command};

use minijinja::context;
use proptest::{
    prelude::*,
    test_runner::{Config, TestRunner},
};
use serde_json::json;

use super::{super::environment, *};

/// What a value would run if it were code.
const CANARY: &str = "canary";

fn command(template: &str, params: &serde_json::Value) -> Result<String, String> {
    let environment = environment();
    let guarded = Guarded::new(&environment, template).map_err(|refusal| refusal.to_string())?;
    let at = DateTime::from("2026-01-30T13:45:10Z".parse::<chrono::DateTime<chrono::Utc>>().unwrap());
    let names = context! {
        params, ds => "2026-01-30", conf => json!({"who": "$(id)"}),
        dag_run => context! { conf => params, run_after => Value::from_object(at), run_id => "manual__1" },
    };
    let text = guarded.environment.render_str(&guarded.source, names).map_err(|error| error.to_string())?;
    guarded.command(&text).map_err(|refusal| refusal.to_string())
}

fn with_value(template: &str, value: &str) -> Result<String, String> {
    command(template, &json!({"v": value}))
}

/// What a script prints, in a folder of its own; whether a canary is there afterwards.
fn run(script: &str) -> (String, String, bool) {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("script.sh");
    std::fs::write(&file, script).unwrap();
    let output = Command::new("bash").arg(&file).current_dir(dir.path()).env("LC_ALL", "C.UTF-8").output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
    (text(output.stdout), text(output.stderr), dir.path().join(CANARY).exists())
}

/// Places for a value `{{ params.v }}`, each a command of its own, and what they print: `V` is the value.
const PLACES: &[(&str, &str)] = &[
    ("printf '%s\\0' {{ params.v }}", "V"),
    ("printf '%s\\0' a{{ params.v }}b{{ params.v }}", "aVbV"),
    ("printf '%s\\0' '{{ params.v }}'", "V"),
    ("printf '%s\\0' 'it is '\\''{{ params.v }}'\\'' '", "it is 'V' "),
    ("printf '%s\\0' \"{{ params.v }}\"", "V"),
    ("printf '%s\\0' \"x $NONE{{ params.v }} y\"", "x V y"),
    ("printf '%s\\0' \"x${NONE}{{ params.v }}\"$NONE{{ params.v }}", "xVV"),
    ("printf '%s\\0' \"costs ${{ params.v }}\"", "costs $V"),
    ("printf '%s\\0' $'a\\tb{{ params.v }}'", "a\tbV"),
    ("printf '%s\\0' $'\\x4{{ params.v }}'", "\u{4}V"),
    ("printf '%s\\0' $\"{{ params.v }}\"", "V"),
    ("X={{ params.v }}; printf '%s\\0' \"$X\"", "V"),
    ("X=a{{ params.v }}b Y=\"{{ params.v }}\"; printf '%s\\0' \"$X$Y\"", "aVbV"),
    ("X+={{ params.v }}; X=; X+='{{ params.v }}'; printf '%s\\0' \"$X\"", "V"),
    (
        "A=({{ params.v }} \"{{ params.v }}\" # {{ params.v }}\n '{{ params.v }}'); printf '%s' \"${A[@]}\"; printf '\\0'",
        "VVV",
    ),
    ("A[0]={{ params.v }}; printf '%s\\0' \"${A[0]}\"", "V"),
    ("printf '%s\\0' \"$(printf '%s_' {{ params.v }})\"", "V_"),
    ("printf '%s\\0' \"$(printf '%s_' \"{{ params.v }}\" # {{ params.v }}\n)\"", "V_"),
    ("printf '%s\\0' \"$(printf '%s_' \"$(printf '%s_' '{{ params.v }}')\")\"", "V__"),
    ("printf '%s\\0' \"`printf '%s_' {{ params.v }}`\"", "V_"),
    ("X=`printf '%s_' \"{{ params.v }}\"`; printf '%s\\0' \"$X\"", "V_"),
    ("X=`Y=\\`printf '%s_' {{ params.v }}\\`; printf '%s' \"$Y\"`; printf '%s\\0' \"$X\"", "V_"),
    ("X=`Y=\\`printf '%s_' \"{{ params.v }}\"\\`; printf '%s' \"$Y\"`; printf '%s\\0' \"$X\"", "V_"),
    ("X=\"`printf '%s_' '{{ params.v }}'`\"; printf '%s\\0' \"$X\"", "V_"),
    ("cat <<EOF\nx {{ params.v }} $NONE \\$ `printf y`\nEOF\nprintf '\\0'", "x V  $ y\n"),
    ("cat <<'EOF' # {{ params.v }}\nx {{ params.v }} $NONE\nEOF\nprintf '\\0'", "x V $NONE\n"),
    ("cat <<\\EOF | cat; printf '\\0'\nx {{ params.v }}'\nEOF", "x V'\n"),
    ("cat <<-EOF\n\tx {{ params.v }}\n\tEOF\nprintf '\\0'", "x V\n"),
    ("cat <<A; cat <<\"B\"; printf '\\0'\n1{{ params.v }}\nA\n2{{ params.v }}\nB", "1V\n2V\n"),
    ("X=$(cat <<EOF\n{{ params.v }}_\nEOF\n); printf '%s\\0' \"$X\"", "V_"),
    (
        "cat <<EOF\n$(printf '%s_' {{ params.v }})${NONE:-$(printf '%s_' \"{{ params.v }}\")}\nEOF\nprintf '\\0'",
        "V_V_\n",
    ),
    ("cat <<< {{ params.v }}; printf '\\0'", "V\n"),
    ("cat <<<\"a{{ params.v }}\"; printf '\\0'", "aV\n"),
    (
        "case {{ params.v }} in x{{ params.v }}) ;; {{ params.v }} | y) printf '%s\\0' \"{{ params.v }}\";; *) printf 'no\\0';; esac",
        "V",
    ),
    ("printf '%s\\0' \"$(case a in (a) printf '%s_' {{ params.v }};; esac)\"", "V_"),
    ("[[ {{ params.v }} == {{ params.v }} && x{{ params.v }} = \"x{{ params.v }}\" ]] && printf 'yes\\0'", "yes"),
    ("[[ a{{ params.v }} =~ ^(a|b){{ params.v }}$ ]] && printf 'yes\\0'", "yes"),
    ("[ x{{ params.v }} = x{{ params.v }} ] && printf 'yes\\0'", "yes"),
    ("true # {{ params.v }}\nprintf 'after\\0'", "after"),
    ("for i in {{ params.v }} \"{{ params.v }}\"; do printf '%s' \"$i\"; done; printf '\\0'", "VV"),
    ("f() { printf '%s\\0' \"$1\"; }; f {{ params.v }}", "V"),
    (
        "if true; then printf '%s' {{ params.v }}; elif false; then :; else :; fi && { printf '%s\\0' {{ params.v }}; }",
        "VV",
    ),
    ("while true; do printf '%s\\0' {{ params.v }}; break; done", "V"),
    ("(printf '%s' {{ params.v }}); ! (printf '%s\\0' {{ params.v }} && false)", "VV"),
    ("export E={{ params.v }}; declare D={{ params.v }}; printf '%s\\0' \"$E$D\"", "VV"),
    ("bash -c 'printf \"%s\\0\" \"$1\"' _ {{ params.v }}", "V"),
    ("bash -c \"printf '%s\\0' {{ params.v | quote }}\"", "V"),
    ("bash -c 'printf \"%s\\0\" {{ params.v | quote }}'", "V"),
    ("eval printf \"'%s\\0'\" {{ params.v | quote }}", "V"),
    ("eval \"printf '%s\\0' {{ params.v | quote }}\"", "V"),
    ("bash <<EOF\nprintf '%s\\0' {{ params.v | quote }}\nEOF", "V"),
    ("eval \"$(printf '%s' \"printf '%s_\\0' {{ params.v | quote }}_\")\"", "V__"),
    ("printf '%s' \"printf '%s\\0' {{ params.v | quote }}\" | bash", "V"),
    ("bash -c 'printf \"%s\\0\" \"$1\"' _ {{ params.v }} || printf '%s' {{ params.v }} && true | bash", "V"),
    ("{ :; }; : {{ params.v }}; printf 'printf \"y\\\\0\"' | bash", "y"),
    ("cat <(printf '%s' {{ params.v }}); printf '\\0'", "V"),
    ("printf '%s\\0' {{ params.v }}>&1", "V"),
    ("printf '%s\\0' 2>&1 >&1 {{ params.v }} &>/dev/stdout", "V"),
    ("printf '%s\\0' \"${NONE:-$(printf '%s_' {{ params.v }})}\" \\\n", "V_"),
    ("printf '%s\\0' \\\n  {{ params.v }} \\\n", "V"),
    ("printf '%s\\0' $((1 + 2 * (3 - 1) << 1))\"{{ params.v }}\"", "10V"),
    ("((1 < 2)) && printf '%s\\0' {{ params.v }}", "V"),
    ("for ((i = 0; i < 1; i++)); do printf '%s\\0' {{ params.v }}; done", "V"),
    ("A=(a b); printf '%s\\0' {% raw %}${#A[@]}{% endraw %}{{ params.v }}${A[1]}", "2Vb"),
    ("{% for x in [params.v, 'k l'] %}printf '%s' {{ x }};{% endfor %} printf '\\0'", "Vk l"),
    ("{% set x = params.v ~ '!' %}printf '%s\\0' \"{{ x }}\"", "V!"),
    ("{% set x %}a {{ params.v }}{% endset %}printf '%s\\0' \"{{ x }}\"", "a V"),
    ("{% macro m(x) %}printf '%s\\0' {{ x }}{% endmacro %}{{ m(params.v) }}", "V"),
    ("printf '%s\\0' {{ dag_run.conf.v }} # it's {{ ds }}", "V"),
    ("printf '%s\\0' {{ params.v | quote }}", "V"),
];

/// Whether the place may refuse the value: a here-document with a line that is its delimiter, or tabs after `<<-`.
fn may_refuse(template: &str, value: &str) -> bool {
    let lines = ["EOF", "A", "B"];
    if template.starts_with("cat <<EOF\n$(") && value.contains("\\\n") {
        return true;
    }
    if template.starts_with("A=({{") && value.contains(['\u{1}', '\u{7f}']) {
        return true;
    }
    template.contains("<<")
        && (value.split('\n').any(|line| lines.iter().any(|end| line.trim_start_matches('\t').starts_with(end)))
            || value.contains('\t'))
}

fn check(value: &str) -> Result<(), TestCaseError> {
    // Without a process for each.
    let mut script = "cat() { local x; IFS= read -r -d '' x < \"${1:-/dev/stdin}\"; printf '%s' \"$x\"; }\n".to_owned();
    let mut expected = String::new();
    for (template, prints) in PLACES {
        match with_value(template, value) {
            Ok(command) => {
                script += &format!("{command}\n");
                expected += &prints.replace('V', value);
                expected.push('\0');
            }
            Err(why) => prop_assert!(may_refuse(template, value), "{template} with {value:?}: {why}"),
        }
    }
    let (found, errors, canary) = run(&script);
    let (found, expected): (Vec<_>, Vec<_>) = (found.split('\0').collect(), expected.split('\0').collect());
    let difference = found.iter().zip(&expected).position(|(found, expected)| found != expected);
    if let Some(at) = difference.or((found.len() != expected.len()).then_some(found.len().min(expected.len()))) {
        return Err(TestCaseError::fail(format!(
            "{value:?} at place {at}: {:?} for {:?}\n{errors}\n{script}",
            found.get(at),
            expected.get(at)
        )));
    }
    prop_assert!(!canary, "{value:?} ran a command:\n{script}");
    Ok(())
}

/// Pieces of values that mean something to a shell, put together in any order.
#[allow(clippy::too_many_lines, reason = "it is a list")]
fn values() -> impl Strategy<Value = String> {
    let piece = prop::sample::select(vec![
        "'",
        "\"",
        "\\",
        "$",
        "`",
        "!",
        "\n",
        " ",
        "\t",
        "\r",
        "\u{1}",
        "$(touch canary)",
        "`touch canary`",
        ";touch canary;",
        "\ntouch canary\n",
        "&touch canary&",
        "|touch canary|",
        "${x:=$(touch canary)}",
        "$((a[$(touch canary)]))",
        "<(touch canary)",
        "-n",
        "--",
        "-",
        "*",
        "?",
        "[",
        "]",
        "[[",
        "]]",
        "{a,b}",
        "{",
        "}",
        "~",
        "~root",
        "#",
        "&",
        "|",
        "<",
        ">",
        "<<EOF",
        "(",
        ")",
        "=",
        "X=1",
        "%s",
        "%n",
        "$x",
        "${x}",
        "$1",
        "EOF",
        "A",
        "0",
        "08",
        "-3",
        "a",
        "in",
        "esac",
        "done",
        ";;",
        "é",
        "😀",
        "\u{a0}",
        "\u{2028}",
        "\u{f8e0}",
        "\u{f8e1}",
        "\u{f8e0}0\u{f8e1}",
        "V",
        "^",
        "/",
        ".",
        "\\x41",
        "$'a'",
        "+",
        "@(a)",
    ]);
    prop_oneof![
        4 => prop::collection::vec(piece, 0..7).prop_map(|pieces| pieces.concat()),
        1 => "[^\\x00]{0,12}",
        1 => "[a-z0-9_.-]{0,8}",
    ]
}

#[test]
fn bash_reads_any_value_back_in_every_place_and_runs_none() {
    for value in ["", "EOF", "-n", "it's", "a\nEOF\nb", "\\", "a\\", "\n", "\n\n", "'\"'\"'", "$(touch canary)"] {
        // `V` would stand for itself in what is expected.
        check(value).unwrap();
    }
    let mut runner = TestRunner::new(Config { cases: 1000, failure_persistence: None, ..Config::default() });
    runner
        .run(&values().prop_filter("V stands for the value", |value| !value.contains('V')), |value| check(&value))
        .unwrap();
}

/// Places where only a whole number, a plain word or nothing can stand.
const STRICT: &[&str] = &[
    "echo $(({{ params.v }} + 1))",
    "echo $((x{{ params.v }}))",
    "(( {{ params.v }} )) || true",
    "echo $[{{ params.v }}]",
    "let x={{ params.v }}",
    "let 'x={{ params.v }}'",
    "a[{{ params.v }}]=1",
    "a=([{{ params.v }}]=1)",
    "declare -i x={{ params.v }}",
    "declare -i x; x={{ params.v }}",
    "declare -i x; declare x=\"{{ params.v }}\"",
    "declare -a x='{{ params.v }}'",
    "declare '{{ params.v }}'",
    "unset {{ params.v }}",
    "printf -v {{ params.v }} x",
    "read '{{ params.v }}' <<< x",
    "test -v {{ params.v }}",
    "[ -v '{{ params.v }}' ]",
    "[[ -v {{ params.v }} ]]",
    "[[ {{ params.v }} -eq 1 ]]",
    "[[ 1 -lt \"{{ params.v }}\" ]]",
    "echo ${x:{{ params.v }}}",
    "echo \"${x:-{{ params.v }}}\"",
    "echo ${x:-'{{ params.v }}'}",
    "echo ${x@{{ params.v }}}",
    "echo ${{ '{' }}{{ params.v }}}",
    "PS4='{{ params.v }}'; set -x; :",
    "bash -c 'echo {{ params.v }}'",
    "bash -ec \"echo '{{ params.v }}'\"",
    "sudo -u me bash -o pipefail -c \"{{ params.v }}\"",
    "bash -euo pipefail -c 'echo {{ params.v }}'",
    "bash -euxo pipefail <<EOF\necho {{ params.v }}\nEOF",
    "su - me -c 'echo {{ params.v }}'",
    "\"$SHELL\" -c 'echo {{ params.v }}'",
    "xargs -I@ sh -c 'echo {{ params.v }}'",
    "find . -exec sh -c 'echo {{ params.v }}' \\;",
    "eval \"echo {{ params.v }}\"",
    "eval {{ params.v }}",
    "trap '{{ params.v }}' EXIT",
    "ssh host 'rm {{ params.v }}'",
    "bash <<'EOF'\necho {{ params.v }}\nEOF",
    "cat <<EOF | bash\necho {{ params.v }}\nEOF",
    "bash <<< \"echo {{ params.v }}\"",
    "bash -s a b <<EOF\necho {{ params.v }}\nEOF",
    "bash /dev/stdin <<< \"echo {{ params.v }}\"",
    ". /dev/stdin <<EOF\necho {{ params.v }}\nEOF",
    "source <(echo \"echo {{ params.v }}\")",
    "bash <(printf '%s' {{ params.v }})",
    "bash < <(printf '%s' {{ params.v }})",
    "eval \"$(printf '%s' {{ params.v }})\"",
    "eval `printf '%s' {{ params.v }}`",
    "bash -c \"${x:-$(cat <<EOF\n{{ params.v }}\nEOF\n)}\"",
    "compgen -W '{{ params.v }}'",
    "echo \"echo {{ params.v }}\" | bash",
    "echo {{ params.v }} | tr a a | sudo -u me sh",
    "echo {{ params.v | quote }} | bash",
    "{ echo a; echo '{{ params.v }}'; } |& bash -e",
    "(echo '{{ params.v }}'; :) | bash",
    "for x in {{ params.v }}; do echo \"$x\"; done | bash",
    "echo {{ params.v }} | (bash)",
    "echo {{ params.v }} | { bash; }",
    "x=$(echo {{ params.v }} | bash)",
    "echo {{ params.v }} | ssh -p 22 host",
    "echo {{ params.v }} | ssh host bash -s",
    "echo {{ params.v }} | sudo parallel",
    "{{ params.v }}",
    "x{{ params.v }} y",
    "true && {{ params.v }}",
    "cat <<{{ params.v }}\na\nEOF",
    "echo \\{{ params.v }}",
    "echo \"\\{{ params.v }}\"",
    "echo ${{ params.v }}",
    "echo $'\\c{{ params.v }}'",
    "cat <<EOF\n$x{{ params.v }}\n\\{{ params.v }}\nEOF",
    "echo $( (echo a); ((echo b); echo {{ params.v }}))",
    "echo \"${x:-'a'}\" '{{ params.v }}'",
    "if !(true); then echo {{ params.v }}; fi",
    "coproc x { echo {{ params.v }}; }",
    "set -H; echo \"{{ params.v }}\"",
];

#[test]
fn a_place_that_can_not_be_made_safe_refuses_with_the_line_and_what_to_do() {
    for template in STRICT {
        for value in ["$(touch canary)", "a[$(touch canary)]", "x y;touch canary", "'", "`touch canary`"] {
            match with_value(template, value) {
                Err(why) => assert!(why.starts_with("line "), "{template}: {why}"),
                Ok(command) => assert!(!run(&command).2, "{template} with {value:?}: {command}"),
            }
        }
        assert!(with_value(template, "a[$(touch canary)]; touch canary").is_err(), "{template}");
    }
    let why = with_value("echo a\n  echo $((1 + {{ params.v }}))", "x").unwrap_err();
    assert!(why.starts_with("line 2, column 15: {{ params.v }} stands where the shell calculates"), "{why}");
}

#[test]
fn a_whole_number_can_be_calculated_with() {
    for (template, value, prints) in [
        ("echo $((5-{{ params.v }}))", json!(-3), "8\n"),
        ("echo $(({{ params.v }} + 1))", json!("08"), "9\n"),
        ("a=(x y z); echo ${a[{{ params.v }}]} $((10#{{ params.v }}))", json!(2), "z 2\n"),
        ("x=abcdef; echo ${x:{{ params.v }}:2}", json!("2"), "cd\n"),
        ("[[ {{ params.v }} -gt 3 ]] && let y={{ params.v }}-1 && echo $y", json!(4), "3\n"),
        ("for ((i = 0; i < {{ params.v }}; i++)); do printf $i; done", json!(3), "012"),
        ("echo {1..{{ params.v }}}", json!(3), "1 2 3\n"),
        ("echo {{ params.v }} '{{ params.v }}' \"{{ params.v }}\"", json!(1.5), "1.5 1.5 1.5\n"),
        ("seq {{ params.v }} | tail -1 2>/dev/null", json!(3), "3\n"),
    ] {
        let command = command(template, &json!({"v": value})).unwrap();
        let (found, errors, _) = run(&command);
        assert_eq!(found, prints, "{command}: {errors}");
    }
}

#[test]
fn what_is_not_from_outside_is_text_as_any_other() {
    for (template, expected) in [
        (
            "echo {{ ds }} {{ dag_run.run_after }} {{ dag_run.run_id }}",
            "echo 2026-01-30 2026-01-30 13:45:10+00:00 manual__1",
        ),
        ("{% set opts = '-a -b' %}ls {{ opts }} {{ params.v }}", "ls -a -b 'a b'"),
        ("{% if params.v %}echo {{ ds }}; ls | wc{% endif %}", "echo 2026-01-30; ls | wc"),
        ("{% raw %}{{ params.v }}{% endraw %}", "{{ params.v }}"),
        ("echo {{- params.v | unquoted }}; echo {{ params.v | quote }}", "echoa b; echo 'a b'"),
        ("{{ params.v | unquoted }} '{{ params.v }}'", "a b 'a b'"),
        ("echo \"hello {{ params.v }}\" 'hello {{ params.v }}'", "echo \"hello a b\" 'hello a b'"),
        ("{{ params.safe }} --day={{ ds }}", "'a-1' --day=2026-01-30"),
        ("echo {{ params.v }} | ssh -p 22 host 'cat > f'", "echo 'a b' | ssh -p 22 host 'cat > f'"),
        ("echo {{ params.v }} | bash f.sh", "echo 'a b' | bash f.sh"),
        (
            "echo {{ params.v }} | while read -r x; do trap : EXIT; done",
            "echo 'a b' | while read -r x; do trap : EXIT; done",
        ),
    ] {
        assert_eq!(command(template, &json!({"v": "a b", "safe": "a-1"})).unwrap(), expected, "{template}");
    }
}

#[test]
fn nothing_in_a_template_fakes_trust() {
    let evil = json!({"v": "x; touch canary"});
    for template in [
        "echo {{ params.v | upper | lower }}",
        "echo {{ params.v | safe }}",
        "echo {{ params.v | e }}",
        "echo {{ params | tojson }}",
        "echo {{ 'x' ~ (params.v | quote) ~ params.v }}",
        "echo {{ conf.who }}",
        "echo {{ dag_run['conf']['v'] }}",
        "{% set ds = params.v %}echo {{ ds }}",
        "{% set a = params %}{% set b = a.v %}echo {{ b }}",
        "{% set ns = namespace(x='') %}{% set ns.x = params.v %}echo {{ ns.x }}",
        "echo {% for p in params.values() %}{{ p }}{{ loop.last }}{% endfor %}",
        "echo {% for k, p in params.items() %}{{ p }}{% endfor %}",
        "echo {% with x = conf.who, y = params.v %}{{ x }}{{ y }}{% endwith %}",
        "{% macro m(x) %}{{ x }}{% endmacro %}echo {{ m(params.v) }}",
        "{% macro m(x) %}echo {{ caller(x) }}{% endmacro %}{% call(y) m(params.v) %}{{ y }}{% endcall %}",
    ] {
        let command = command(template, &evil).unwrap_or_else(|why| panic!("{template}: {why}"));
        assert!(!run(&command).2, "{template}: {command}");
    }
    for template in [
        "{% set x %}{{ params.v }}{% endset %}{% if x == 'a' %}a{% endif %}",
        "{% set x %}{{ params.v }}{% endset %}echo {{ x | upper }}",
        "{% set x %}{{ params.v }}{% endset %}echo {{ x[:3] }}",
        "{% filter upper %}echo {{ params.v }}{% endfilter %}",
        "{% set x | upper %}{{ params.v }}{% endset %}echo {{ x }}",
    ] {
        assert!(command(template, &evil).is_err(), "{template}");
    }
}

#[test]
fn a_value_is_a_part_of_one_word_of_a_command_line_without_a_shell() {
    let words = |template: &str| {
        let guarded = Guarded::new(&environment(), template).unwrap();
        let names = BTreeMap::from([("params", json!({"v": "a 'b' $c"}))]);
        let text = guarded.environment.render_str(&guarded.source, names).unwrap();
        guarded.words(text.split(' ').map(str::to_owned).collect()).map_err(|refusal| refusal.to_string())
    };
    assert_eq!(words("load --name={{ params.v }} x").unwrap(), ["load", "--name=a 'b' $c", "x"]);
    assert!(words("sh -c {{ params.v }}").unwrap_err().contains("stands in code"));
    assert_eq!(words("sh -c echo${IFS}{{ params.v | quote }}").unwrap()[2], "echo${IFS}'a '\\''b'\\'' $c'");
    assert_eq!(words("sh -c $0 {{ params.v }}").unwrap()[3], "a 'b' $c");
}
