//! Finds the expressions of a template without evaluating anything.

/// A piece of a template's source; all pieces together are the source.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Piece<'a> {
    /// Text, comments and raw blocks.
    Text(&'a str),
    /// `{{ … }}`, in its parts: what opens it, the expression, what closes it.
    Expression {
        /// `{{`, `{{-` or `{{+`.
        open: &'a str,
        /// What is between.
        expression: &'a str,
        /// `}}`, `-}}` or `+}}`.
        close: &'a str,
    },
    /// `{% … %}` whole.
    Tag {
        /// Its text.
        text: &'a str,
        /// Its first word.
        keyword: &'a str,
    },
}

/// Takes the source apart. What is not closed is text: the template engine will say so.
pub(super) fn pieces(source: &str) -> Vec<Piece<'_>> {
    let mut found = Vec::new();
    let mut rest = source;
    while let Some(at) = next_opening(rest) {
        let (text, inside) = rest.split_at(at);
        let Some((piece, length)) = piece(inside) else { break };
        if !text.is_empty() {
            found.push(Piece::Text(text));
        }
        found.push(piece);
        rest = &inside[length..];
    }
    if !rest.is_empty() {
        found.push(Piece::Text(rest));
    }
    found
}

/// The expression, when the source is exactly one `{{ … }}`.
pub(super) fn only_expression(source: &str) -> Option<&str> {
    match pieces(source.trim()).as_slice() {
        [Piece::Expression { expression, .. }] => Some(expression.trim()),
        _ => None,
    }
}

fn next_opening(text: &str) -> Option<usize> {
    text.match_indices('{').map(|(at, _)| at).find(|at| matches!(text.as_bytes().get(at + 1), Some(b'{' | b'%' | b'#')))
}

/// The piece at the start of the text, and its length.
fn piece(text: &str) -> Option<(Piece<'_>, usize)> {
    match &text[..2] {
        "{#" => text.find("#}").map(|at| (Piece::Text(&text[..at + 2]), at + 2)),
        "{{" => {
            let end = closing(text, "}}")?;
            Some((expression(&text[..end]), end))
        }
        _ => {
            let end = closing(text, "%}")?;
            let keyword = keyword(&text[..end]);
            if keyword == "raw" {
                let length = raw_length(text, end)?;
                return Some((Piece::Text(&text[..length]), length));
            }
            Some((Piece::Tag { text: &text[..end], keyword }, end))
        }
    }
}

fn expression(text: &str) -> Piece<'_> {
    let inner = &text[2..text.len() - 2];
    let open = 2 + usize::from(inner.starts_with(['-', '+']));
    let close = 2 + usize::from(inner.len() > open - 2 && inner.ends_with(['-', '+']));
    Piece::Expression {
        open: &text[..open],
        expression: &text[open..text.len() - close],
        close: &text[text.len() - close..],
    }
}

fn keyword(tag: &str) -> &str {
    let inner = tag[2..].trim_start_matches(['-', '+']).trim_start();
    let end = inner.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(inner.len());
    &inner[..end]
}

/// Where what was opened at the start ends, after `close`; texts in quotes, and braces within, do not close it.
fn closing(text: &str, close: &str) -> Option<usize> {
    let mut quote = None;
    let mut escaped = false;
    let mut depth = 0_usize;
    for (at, c) in text.char_indices().skip(2) {
        match (quote, c) {
            (Some(_), _) if escaped => escaped = false,
            (Some(_), '\\') => escaped = true,
            (Some(open), c) if c == open => quote = None,
            (Some(_), _) => {}
            (None, '\'' | '"') => quote = Some(c),
            (None, '{') => depth += 1,
            (None, '}') if depth > 0 => depth -= 1,
            (None, _) if depth == 0 && text[at..].starts_with(close) => return Some(at + close.len()),
            (None, _) => {}
        }
    }
    None
}

/// The length of a raw block whose opening tag is `opened` long.
fn raw_length(text: &str, opened: usize) -> Option<usize> {
    let mut from = opened;
    loop {
        let start = from + text[from..].find("{%")?;
        let end = start + text[start..].find("%}")? + 2;
        if keyword(&text[start..end]) == "endraw" {
            return Some(end);
        }
        from = start + 2;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn expressions(source: &str) -> Vec<&str> {
        let pieces = pieces(source).into_iter();
        pieces
            .filter_map(|piece| if let Piece::Expression { expression, .. } = piece { Some(expression) } else { None })
            .collect()
    }

    #[test]
    fn expressions_are_found_whatever_is_around_and_in_them() {
        assert_eq!(expressions("a {{ x }} b {{- y -}}"), [" x ", " y "]);
        assert_eq!(
            expressions(r#"{{ "}}" ~ '\'}}' }}{{ {"a": {"b": 1}}.a }}"#),
            [r#" "}}" ~ '\'}}' "#, r#" {"a": {"b": 1}}.a "#]
        );
        assert_eq!(expressions("{# {{ no }} #}{% raw %}{{ no }}{% if %}{% endraw %}{{ yes }}"), [" yes "]);
        assert_eq!(expressions("${x} {y} {{ open"), Vec::<&str>::new());
    }

    #[test]
    fn pieces_put_together_are_the_source() {
        let source = "a{{ b }}{%- if x -%}c{# d #}{% endif %}{{- e -}} f";
        let whole: String = pieces(source)
            .into_iter()
            .map(|piece| match piece {
                Piece::Text(text) | Piece::Tag { text, .. } => text.to_owned(),
                Piece::Expression { open, expression, close } => format!("{open}{expression}{close}"),
            })
            .collect();
        assert_eq!(whole, source);
    }

    #[test]
    fn only_a_single_expression_is_a_value() {
        assert_eq!(only_expression(" {{ ['a', 'b'] }}\n"), Some("['a', 'b']"));
        assert_eq!(only_expression("{{ a }}{{ b }}"), None);
        assert_eq!(only_expression("x"), None);
    }
}
