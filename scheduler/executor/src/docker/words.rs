//! Takes a command line apart as a shell does, without running one: Airflow's commands are texts.

use model::container::Words;

use crate::{TemplateError, template::Renderer};

/// Renders a command line and takes it apart.
pub(super) fn render(renderer: &Renderer, field: &str, words: &Words) -> Result<Vec<String>, TemplateError> {
    match words {
        // What comes from params, conf or XComs is a part of one word and no more.
        Words::Text(text) => renderer.words(field, text, split),
        Words::List(list) => renderer.list(field, list),
    }
}

/// The words of a text: spaces part them, quotes and backslashes keep them together.
pub(super) fn split(text: &str) -> Result<Vec<String>, &'static str> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        match c {
            c if c.is_whitespace() => words.extend(word.take()),
            '\'' => {
                let quoted = word.get_or_insert_default();
                single_quoted(&mut chars, quoted)?;
            }
            '"' => {
                let quoted = word.get_or_insert_default();
                double_quoted(&mut chars, quoted)?;
            }
            '\\' => word.get_or_insert_default().push(chars.next().ok_or("it ends with a backslash")?),
            c => word.get_or_insert_default().push(c),
        }
    }
    words.extend(word);
    Ok(words)
}

fn single_quoted(chars: &mut std::str::Chars<'_>, word: &mut String) -> Result<(), &'static str> {
    for c in chars {
        if c == '\'' {
            return Ok(());
        }
        word.push(c);
    }
    Err("a ' is not closed; a list of words needs no quotes")
}

fn double_quoted(chars: &mut std::str::Chars<'_>, word: &mut String) -> Result<(), &'static str> {
    const OPEN: &str = "a \" is not closed; a list of words needs no quotes";
    while let Some(c) = chars.next() {
        match c {
            '"' => return Ok(()),
            '\\' => match chars.next().ok_or(OPEN)? {
                escaped @ ('"' | '\\' | '$' | '`') => word.push(escaped),
                other => word.extend(['\\', other]),
            },
            c => word.push(c),
        }
    }
    Err(OPEN)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_taken_apart_as_a_shell_does() {
        for (text, words) in [
            ("", vec![]),
            ("  load  it ", vec!["load", "it"]),
            ("sh -c 'echo \"a b\"; exit 3'", vec!["sh", "-c", "echo \"a b\"; exit 3"]),
            (r#"echo "a \"b\" \n" c\ d"#, vec!["echo", r#"a "b" \n"#, "c d"]),
            ("a''b '' \"\"", vec!["ab", "", ""]),
        ] {
            assert_eq!(split(text).unwrap(), words, "{text}");
        }
        for open in ["echo 'a", "echo \"a", "echo a\\"] {
            assert!(split(open).is_err(), "{open}");
        }
    }
}
