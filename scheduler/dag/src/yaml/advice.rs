//! What to do about a text that needs quotes and has none: the parser's own sentence tells of aliases or mappings.

/// A value is shown in quotes when it is not longer.
const SHOWN_CHARS_MAX: usize = 60;

/// Characters that a text without quotes can not begin with.
const INDICATORS: &str = "*&!%@`|>?[]{},";

/// Advice on a line that can not be read.
pub(super) fn of_line(text: &str, line: usize) -> Option<String> {
    let line = text.lines().nth(line.checked_sub(1)?)?;
    let line = line.trim_start().trim_start_matches("- ").trim_start();
    if let Some((before, _)) = line.split_once("{{").or_else(|| line.split_once("{%")) {
        if before.matches('"').count() % 2 == 1 || before.matches('\'').count() % 2 == 1 {
            return None;
        }
        let key = before.trim_end().strip_suffix(':').map(last_word);
        return Some(match key {
            Some(key) if !key.is_empty() => format!("write it in quotes: {key}: \"{{{{ … }}}}\""),
            _ => "write a text with {{ }} in quotes".to_owned(),
        });
    }
    let (key, value) = line.split_once(": ")?;
    let value = value.trim();
    let is_key = !key.is_empty() && key.chars().all(|c| c.is_alphanumeric() || "_-.".contains(c));
    let needs_quotes = value.starts_with(|c| "*&!%@`".contains(c))
        || (!value.starts_with(['"', '\'']) && !value.starts_with(|c| INDICATORS.contains(c)) && value.contains(": "));
    (is_key && needs_quotes).then(|| format!("write it in quotes: {key}: {}", quoted(value)))
}

/// What is said of an alias whose anchor there is none.
pub(super) fn no_anchor(name: &str) -> String {
    format!("*{name} refers to no anchor &{name} before it; if it is a text, write it in quotes")
}

/// What is said of a list or mapping in a key's place.
pub(super) fn no_key(kind: &str) -> String {
    format!("expected a key, found {kind}; write a text with {{{{ }}}} in quotes, such as \"{{{{ ds }}}}\"")
}

fn last_word(text: &str) -> &str {
    let start = text.rfind(|c: char| !c.is_alphanumeric() && !"_-.".contains(c));
    start.map_or(text, |index| text[index..].trim_start_matches(|c: char| !c.is_alphanumeric()))
}

fn quoted(value: &str) -> String {
    if value.chars().count() > SHOWN_CHARS_MAX {
        return "\"…\"".to_owned();
    }
    if value.contains(['"', '\\']) { format!("'{}'", value.replace('\'', "''")) } else { format!("\"{value}\"") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_that_needs_quotes_is_shown_with_them() {
        let advice = |line: &str| of_line(line, 1);
        let quotes = |text: &str| Some(format!("write it in quotes: {text}"));
        assert_eq!(advice("  - schedule: */15 * * * *"), quotes("schedule: \"*/15 * * * *\""));
        assert_eq!(advice("schedule: @daily"), quotes("schedule: \"@daily\""));
        assert_eq!(advice("bash_command: echo \"a: b\""), quotes("bash_command: 'echo \"a: b\"'"));
        assert_eq!(advice("bash_command: {{ params.x }} --all"), quotes("bash_command: \"{{ … }}\""));
        assert_eq!(advice("x: [{a: {{ ds }}}]"), quotes("a: \"{{ … }}\""));
        assert_eq!(advice("tags: [a, {{ ds }} b]"), Some("write a text with {{ }} in quotes".to_owned()));
        for plain in ["", "a", "a: b", "a: [b: c", "a: \"b: {{ c }}", "- x"] {
            assert_eq!(advice(plain), None, "{plain}");
        }
    }
}
