//! Documentation as people write it in DAG files: a part of Markdown, as a tree that the template prints.
//!
//! There is no HTML in it and none comes out of it: whatever is not one of the forms below is text, and the template
//! escapes every text. Links lead to `http`, `https` or our own pages.

use schemars::JsonSchema;
use serde::Serialize;

/// The longest text that is looked at; the rest is left out.
const CHARS_MAX: usize = 64 * 1024;
/// The longest address of a link.
const URL_BYTES_MAX: usize = 2 * 1024;

/// A part of a text, one below the other.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Block {
    /// `#`, `##` …
    Heading {
        /// What it says.
        spans: Vec<Span>,
    },
    /// Lines up to an empty one.
    Paragraph {
        /// What it says.
        spans: Vec<Span>,
    },
    /// `- …`, `* …`, `1. …`
    List {
        /// Whether it counts.
        ordered: bool,
        /// Its entries.
        items: Vec<Vec<Span>>,
    },
    /// Between fences.
    Code {
        /// As it was written.
        text: String,
    },
    /// `> …`
    Quote {
        /// What it says.
        spans: Vec<Span>,
    },
    /// `| … | … |`
    Table {
        /// Its first line.
        head: Vec<Vec<Span>>,
        /// The lines below the rule.
        rows: Vec<Vec<Vec<Span>>>,
    },
}

/// A part of a line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Span {
    /// How it looks.
    pub kind: SpanKind,
    /// Its text.
    pub text: String,
    /// Where it leads, for a link.
    pub url: String,
}

/// How a part of a line looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum SpanKind {
    /// As the rest.
    Text,
    /// `**…**`
    Strong,
    /// `*…*`, `_…_`
    Em,
    /// `` `…` ``
    Code,
    /// `[…](…)`
    Link,
}

/// Reads a text.
#[must_use]
pub fn blocks(text: &str) -> Vec<Block> {
    let cut: String = text.chars().take(CHARS_MAX).collect();
    let lines: Vec<&str> = cut.lines().collect();
    let mut found = Vec::new();
    let mut at = 0;
    while at < lines.len() {
        let (block, used) = block(&lines[at..]);
        found.extend(block);
        at += used;
    }
    found
}

/// The block at the beginning of some lines, and how many it takes: at least one.
fn block(lines: &[&str]) -> (Option<Block>, usize) {
    let line = lines[0].trim();
    if line.is_empty() {
        return (None, 1);
    }
    if line.starts_with("```") {
        let inside = lines[1..].iter().take_while(|line| !line.trim_start().starts_with("```")).count();
        return (Some(Block::Code { text: lines[1..=inside].join("\n") }), lines.len().min(inside + 2));
    }
    if let Some(title) = heading(line) {
        return (Some(Block::Heading { spans: spans(title) }), 1);
    }
    if line.starts_with('|') && lines.get(1).is_some_and(|rule| is_rule(rule)) {
        let count = lines.iter().take_while(|line| line.trim_start().starts_with('|')).count();
        let rows = lines[2..count].iter().map(|line| cells(line)).collect();
        return (Some(Block::Table { head: cells(line), rows }), count);
    }
    if let Some((kind, _)) = item(line) {
        return list(lines, kind);
    }
    if line.starts_with('>') {
        let count = lines.iter().take_while(|line| line.trim_start().starts_with('>')).count();
        let text: Vec<&str> =
            lines[..count].iter().map(|line| line.trim_start().trim_start_matches('>').trim()).collect();
        return (Some(Block::Quote { spans: spans(&text.join(" ")) }), count);
    }
    let count = 1 + lines[1..].iter().take_while(|line| !begins_a_block(line.trim())).count();
    let text: Vec<&str> = lines[..count].iter().map(|line| line.trim()).collect();
    (Some(Block::Paragraph { spans: spans(&text.join(" ")) }), count)
}

fn begins_a_block(line: &str) -> bool {
    line.is_empty()
        || line.starts_with("```")
        || line.starts_with('>')
        || line.starts_with('|')
        || heading(line).is_some()
        || item(line).is_some()
}

fn heading(line: &str) -> Option<&str> {
    let rest = line.trim_start_matches('#');
    (rest.len() < line.len() && rest.starts_with(' ')).then(|| rest.trim())
}

/// `|---|:--|`.
fn is_rule(line: &str) -> bool {
    let line = line.trim();
    line.starts_with('|') && line.contains('-') && line.chars().all(|c| matches!(c, '|' | '-' | ':' | ' '))
}

fn cells(line: &str) -> Vec<Vec<Span>> {
    line.trim().trim_matches('|').split('|').map(|cell| spans(cell.trim())).collect()
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Mark {
    Bullet,
    Number,
}

fn item(line: &str) -> Option<(Mark, &str)> {
    if let Some(rest) = line.strip_prefix("- ").or_else(|| line.strip_prefix("* ")) {
        return Some((Mark::Bullet, rest));
    }
    let (number, rest) = line.split_once(". ")?;
    (!number.is_empty() && number.len() < 4 && number.chars().all(|c| c.is_ascii_digit()))
        .then_some((Mark::Number, rest))
}

/// Entries may go on in the lines below them.
fn list(lines: &[&str], kind: Mark) -> (Option<Block>, usize) {
    let mut entries: Vec<String> = Vec::new();
    let mut used = 0;
    for line in lines {
        let line = line.trim();
        match (item(line), entries.last_mut()) {
            (Some((mark, text)), _) if mark == kind => entries.push(text.to_owned()),
            (None, Some(last)) if !begins_a_block(line) => {
                last.push(' ');
                last.push_str(line);
            }
            _ => break,
        }
        used += 1;
    }
    let items = entries.iter().map(|entry| spans(entry)).collect();
    (Some(Block::List { ordered: kind == Mark::Number, items }), used)
}

/// Cuts a line into its parts.
fn spans(text: &str) -> Vec<Span> {
    let mut found: Vec<Span> = Vec::new();
    let mut plain = String::new();
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        match marked(rest) {
            Some((span, used)) => {
                push_plain(&mut found, &mut plain);
                found.push(span);
                rest = &rest[used..];
            }
            None => {
                plain.push(first);
                rest = &rest[first.len_utf8()..];
            }
        }
    }
    push_plain(&mut found, &mut plain);
    found
}

fn push_plain(found: &mut Vec<Span>, plain: &mut String) {
    if !plain.is_empty() {
        found.push(Span { kind: SpanKind::Text, text: std::mem::take(plain), url: String::new() });
    }
}

/// The marked part at the beginning of a text, and its length.
fn marked(text: &str) -> Option<(Span, usize)> {
    let between = |mark: &str, kind: SpanKind| {
        let inner = text.strip_prefix(mark)?;
        let end = inner.find(mark).filter(|end| *end > 0)?;
        let span = Span { kind, text: inner[..end].to_owned(), url: String::new() };
        Some((span, end + 2 * mark.len()))
    };
    between("`", SpanKind::Code)
        .or_else(|| between("**", SpanKind::Strong))
        .or_else(|| between("*", SpanKind::Em).filter(|(span, _)| !span.text.starts_with(' ')))
        .or_else(|| link(text))
}

fn link(text: &str) -> Option<(Span, usize)> {
    // Only so far as a link can go: what is looked at again for each `[` has a bound.
    let inside = text.strip_prefix('[')?;
    let (label, rest) = inside.split_at(inside.find(['[', ']'])?);
    let rest = rest.strip_prefix("](")?;
    let (url, _) = rest[..rest.floor_char_boundary(URL_BYTES_MAX)].split_once(')')?;
    let is_label = !label.is_empty();
    let span = Span { kind: SpanKind::Link, text: label.to_owned(), url: url.to_owned() };
    (is_label && leads_somewhere(url)).then_some((span, label.len() + url.len() + 4))
}

/// Only the web and our own pages: `javascript:` and its kin stay text.
fn leads_somewhere(url: &str) -> bool {
    let is_plain = url.chars().all(|c| !c.is_control() && !c.is_whitespace() && c != '\\');
    let is_own = url.starts_with('/') && !url.starts_with("//");
    is_plain && (is_own || url.starts_with("https://") || url.starts_with("http://"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text_of(spans: &[Span]) -> String {
        let word = |span: &Span| match span.kind {
            SpanKind::Text => span.text.clone(),
            SpanKind::Link => format!("<{} {}>", span.text, span.url),
            kind => format!("<{kind:?} {}>", span.text),
        };
        spans.iter().map(word).collect()
    }

    #[test]
    fn a_line_has_marked_parts() {
        let line = "Run `a*b` **now**, *soon* or [read](https://a.example/x?y=1) 2 * 3 * 4";
        assert_eq!(
            text_of(&spans(line)),
            "Run <Code a*b> <Strong now>, <Em soon> or <read https://a.example/x?y=1> 2 * 3 * 4"
        );
    }

    #[test]
    fn a_link_leads_to_the_web_or_to_our_own_pages() {
        for bad in
            ["[x](javascript:alert(1))", "[x](//evil.example)", "[x](data:text/html,1)", "[x](/a\\b)", "[x]( /a)"]
        {
            assert!(spans(bad).iter().all(|span| span.kind == SpanKind::Text), "{bad}");
        }
        assert_eq!(text_of(&spans("[x](/dags)")), "<x /dags>");
    }

    #[test]
    fn a_text_has_headings_lists_tables_and_code() {
        let text = "# Title\nOne\ntwo\n\n- a\n  more\n- b\n1. c\n```\n<b>\n```\n| h | i |\n|---|---|\n| 1 | 2 |\n> said\n<script>";
        let kinds: Vec<String> = blocks(text)
            .iter()
            .map(|block| match block {
                Block::Heading { spans } => format!("# {}", text_of(spans)),
                Block::Paragraph { spans } => format!("p {}", text_of(spans)),
                Block::List { ordered, items } => {
                    format!("{ordered} {}", items.iter().map(|item| text_of(item)).collect::<Vec<_>>().join("|"))
                }
                Block::Code { text } => format!("code {text}"),
                Block::Quote { spans } => format!("> {}", text_of(spans)),
                Block::Table { head, rows } => format!("table {} {}", head.len(), rows.len()),
            })
            .collect();
        let expected =
            ["# Title", "p One two", "false a more|b", "true c", "code <b>", "table 2 1", "> said", "p <script>"];
        assert_eq!(kinds, expected);
    }

    #[test]
    fn a_text_of_openings_is_read_in_one_pass() {
        let started = std::time::Instant::now();
        for hostile in ["[", "[a](", "[a](b", "`", "*a", "**", "![", "[a]", "<", "|", "> ", "- ", "1. "] {
            assert!(!blocks(&hostile.repeat(CHARS_MAX / hostile.len())).is_empty(), "{hostile}");
        }
        // Each took minutes when every opening was looked after to the end of the text.
        assert!(started.elapsed() < std::time::Duration::from_secs(20), "{:?}", started.elapsed());
    }

    #[test]
    fn an_open_fence_ends_with_the_text() {
        assert_eq!(blocks("```\na"), [Block::Code { text: "a".to_owned() }]);
        assert_eq!(blocks("```"), [Block::Code { text: String::new() }]);
    }
}
