//! Documentation as people write it in DAG files: CommonMark with tables, task lists and strikethrough, as a tree that the
//! template prints.
//!
//! No HTML comes out of it: what an author wrote as HTML is text, and the template escapes every text. Links lead to `http`,
//! `https` or our own pages; a picture is its description, since pages load nothing from elsewhere.

use pulldown_cmark::{Event, Options, Parser, Tag, TagEnd};
use schemars::JsonSchema;
use serde::Serialize;

/// The longest text that is looked at; the rest is left out.
const CHARS_MAX: usize = 64 * 1024;
/// The longest address of a link.
const URL_BYTES_MAX: usize = 2 * 1024;
/// Lists and quotes within each other: what lies deeper stands at this depth, since the template prints them one within the
/// other.
const DEPTH_MAX: usize = 12;

/// A part of a text, one below the other.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Block {
    /// `#`, `##` …
    Heading {
        /// What it says.
        spans: Vec<Span>,
        /// 1 for the largest.
        level: u8,
    },
    /// Lines up to an empty one.
    Paragraph {
        /// What it says.
        spans: Vec<Span>,
    },
    /// The text of an entry whose list has no empty lines.
    Line {
        /// What it says.
        spans: Vec<Span>,
    },
    /// `- …`, `* …`, `1. …`
    List {
        /// Whether it counts.
        counts: bool,
        /// The number that it counts from.
        start: u64,
        /// Its entries.
        items: Vec<Item>,
    },
    /// Between fences, or set in.
    Code {
        /// As it was written.
        text: String,
    },
    /// `> …`
    Quote {
        /// What it says.
        blocks: Vec<Block>,
    },
    /// `| … | … |`
    Table {
        /// Its first line.
        head: Vec<Vec<Span>>,
        /// The lines below the rule.
        rows: Vec<Vec<Vec<Span>>>,
    },
    /// `---`
    Rule,
}

/// An entry of a list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Item {
    /// In a list of tasks whether it is done: a sign, and what that says.
    pub mark: Option<(char, &'static str)>,
    /// What it says.
    pub blocks: Vec<Block>,
}

/// A part of a line, and how it looks.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Span {
    /// Its text.
    pub text: String,
    /// `` `…` ``
    pub code: bool,
    /// `**…**`
    pub strong: bool,
    /// `*…*`
    pub em: bool,
    /// `~~…~~`
    pub gone: bool,
    /// Where it leads.
    pub url: Option<String>,
    /// Whether a new line begins after it.
    pub ends_line: bool,
}

impl Span {
    fn looks_like(&self, other: &Self) -> bool {
        let look = |of: &Self| (of.code, of.strong, of.em, of.gone, of.ends_line);
        look(self) == look(other) && self.url == other.url
    }
}

/// Reads a text.
#[must_use]
pub fn blocks(text: &str) -> Vec<Block> {
    let end = text.char_indices().nth(CHARS_MAX).map_or(text.len(), |(at, _)| at);
    let forms = Options::ENABLE_TABLES | Options::ENABLE_STRIKETHROUGH | Options::ENABLE_TASKLISTS;
    let mut tree = Tree::default();
    for event in Parser::new_ext(&text[..end], forms) {
        tree.take(event);
    }
    tree.finish()
}

/// A part that holds others and has not ended.
#[derive(Debug)]
enum Open {
    Quote(Vec<Block>),
    List(Option<u64>, Vec<Item>),
    Item(Item),
    /// It lies too deep: its parts belong to what is around it.
    TooDeep,
}

/// A table that has not ended.
#[derive(Debug, Default)]
struct OpenTable {
    head: Vec<Vec<Span>>,
    rows: Vec<Vec<Vec<Span>>>,
    row: Vec<Vec<Span>>,
}

/// The tree as far as it has been read.
#[derive(Debug, Default)]
struct Tree {
    whole: Vec<Block>,
    /// The innermost is the last.
    open: Vec<Open>,
    table: OpenTable,
    code: Option<String>,
    /// The line that is being read.
    spans: Vec<Span>,
    /// How often each look is in force.
    strong: usize,
    em: usize,
    gone: usize,
    /// The links around the text, with the addresses that may be followed.
    urls: Vec<Option<String>>,
}

impl Tree {
    fn take(&mut self, event: Event<'_>) {
        match event {
            Event::Start(tag) => self.begin(tag),
            Event::End(tag) => self.end(tag),
            Event::Text(text) => match &mut self.code {
                Some(code) => code.push_str(&text),
                None => self.say(&text, false),
            },
            Event::Code(text) => self.say(&text, true),
            Event::SoftBreak => self.say(" ", false),
            Event::HardBreak => self.spans.push(Span { ends_line: true, ..Span::default() }),
            // As its author wrote it, and never as markup.
            Event::Html(text)
            | Event::InlineHtml(text)
            | Event::InlineMath(text)
            | Event::DisplayMath(text)
            | Event::FootnoteReference(text) => self.say(&text, false),
            Event::Rule => {
                self.flush();
                self.put(Block::Rule);
            }
            Event::TaskListMarker(done) => {
                if let Some(Open::Item(item)) = self.open.last_mut() {
                    item.mark = Some(if done { ('☑', "done") } else { ('☐', "to do") });
                }
            }
        }
    }

    fn begin(&mut self, tag: Tag<'_>) {
        match tag {
            Tag::BlockQuote(_) => self.descend(Open::Quote(Vec::new())),
            Tag::List(start) => self.descend(Open::List(start, Vec::new())),
            Tag::Item => self.descend(Open::Item(Item { mark: None, blocks: Vec::new() })),
            Tag::CodeBlock(_) => {
                self.flush();
                self.code = Some(String::new());
            }
            Tag::Table(_) => {
                self.flush();
                self.table = OpenTable::default();
            }
            Tag::Emphasis => self.em += 1,
            Tag::Strong => self.strong += 1,
            Tag::Strikethrough => self.gone += 1,
            Tag::Link { dest_url, .. } | Tag::Image { dest_url, .. } => {
                self.urls.push(leads_somewhere(&dest_url).then(|| dest_url.into_string()));
            }
            Tag::Paragraph | Tag::Heading { .. } | Tag::HtmlBlock => self.flush(),
            // Parts of a table, and what is no part of CommonMark.
            _ => {}
        }
    }

    fn end(&mut self, tag: TagEnd) {
        match tag {
            TagEnd::Paragraph | TagEnd::HtmlBlock => {
                let spans = std::mem::take(&mut self.spans);
                self.put(Block::Paragraph { spans });
            }
            TagEnd::Heading(level) => {
                let spans = std::mem::take(&mut self.spans);
                self.put(Block::Heading { spans, level: level as u8 });
            }
            TagEnd::BlockQuote(_) | TagEnd::List(_) | TagEnd::Item => self.ascend(),
            TagEnd::CodeBlock => {
                let text = self.code.take().unwrap_or_default();
                self.put(Block::Code { text: text.strip_suffix('\n').unwrap_or(&text).to_owned() });
            }
            TagEnd::TableCell => self.table.row.push(std::mem::take(&mut self.spans)),
            TagEnd::TableHead => self.table.head = std::mem::take(&mut self.table.row),
            TagEnd::TableRow => self.table.rows.push(std::mem::take(&mut self.table.row)),
            TagEnd::Table => {
                let OpenTable { head, rows, .. } = std::mem::take(&mut self.table);
                self.put(Block::Table { head, rows });
            }
            TagEnd::Emphasis => self.em = self.em.saturating_sub(1),
            TagEnd::Strong => self.strong = self.strong.saturating_sub(1),
            TagEnd::Strikethrough => self.gone = self.gone.saturating_sub(1),
            TagEnd::Link | TagEnd::Image => drop(self.urls.pop()),
            _ => {}
        }
    }

    /// Adds to the line, in the look that is in force.
    fn say(&mut self, text: &str, code: bool) {
        let span = Span {
            text: text.to_owned(),
            code,
            strong: self.strong > 0,
            em: self.em > 0,
            gone: self.gone > 0,
            url: self.urls.iter().rev().flatten().next().cloned(),
            ends_line: false,
        };
        match self.spans.last_mut() {
            Some(last) if last.looks_like(&span) => last.text.push_str(&span.text),
            _ => self.spans.push(span),
        }
    }

    /// Text of an entry that is in no paragraph ends where something else begins.
    fn flush(&mut self) {
        if !self.spans.is_empty() {
            let spans = std::mem::take(&mut self.spans);
            self.put(Block::Line { spans });
        }
    }

    fn descend(&mut self, part: Open) {
        self.flush();
        let belongs = match &part {
            Open::Item(_) => matches!(self.open.last(), Some(Open::List(..))),
            Open::Quote(_) | Open::List(..) | Open::TooDeep => self.open.len() < DEPTH_MAX,
        };
        self.open.push(if belongs { part } else { Open::TooDeep });
    }

    fn ascend(&mut self) {
        self.flush();
        match self.open.pop() {
            Some(Open::Quote(blocks)) => self.put(Block::Quote { blocks }),
            Some(Open::List(start, items)) => {
                self.put(Block::List { counts: start.is_some(), start: start.unwrap_or(1), items });
            }
            Some(Open::Item(item)) => {
                if let Some(Open::List(_, items)) = self.open.last_mut() {
                    items.push(item);
                }
            }
            Some(Open::TooDeep) | None => {}
        }
    }

    /// Adds a block to the innermost part that holds blocks.
    fn put(&mut self, block: Block) {
        let around = self.open.iter_mut().rev().find_map(|open| match open {
            Open::Quote(blocks) | Open::Item(Item { blocks, .. }) => Some(blocks),
            Open::List(..) | Open::TooDeep => None,
        });
        around.unwrap_or(&mut self.whole).push(block);
    }

    fn finish(mut self) -> Vec<Block> {
        self.flush();
        self.whole
    }
}

/// Only the web and our own pages: whatever else an address says, `javascript:` for example, is not followed.
fn leads_somewhere(url: &str) -> bool {
    let is_plain = url.chars().all(|c| !c.is_control() && !c.is_whitespace() && c != '\\');
    let is_own = url.starts_with('/') && !url.starts_with("//");
    let is_web = url.starts_with("https://") || url.starts_with("http://");
    url.len() <= URL_BYTES_MAX && is_plain && (is_own || is_web)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text_of(spans: &[Span]) -> String {
        let word = |span: &Span| {
            let mut text = span.text.clone();
            let looks = [(span.code, "code"), (span.strong, "strong"), (span.em, "em"), (span.gone, "gone")];
            for (_, look) in looks.into_iter().filter(|(has, _)| *has) {
                text = format!("<{look} {text}>");
            }
            let text = span.url.as_ref().map_or(text.clone(), |url| format!("<a {url} {text}>"));
            if span.ends_line { format!("{text}⏎") } else { text }
        };
        spans.iter().map(word).collect()
    }

    fn told(blocks: &[Block]) -> Vec<String> {
        let one = |block: &Block| match block {
            Block::Heading { spans, level } => format!("h{level} {}", text_of(spans)),
            Block::Paragraph { spans } => format!("p {}", text_of(spans)),
            Block::Line { spans } => text_of(spans),
            Block::List { counts, start, items } => {
                let item = |item: &Item| match item.mark {
                    Some((_, mark)) => format!("[{mark}] {}", told(&item.blocks).join("; ")),
                    None => told(&item.blocks).join("; "),
                };
                format!(
                    "list {} ({})",
                    if *counts { start.to_string() } else { "-".to_owned() },
                    items.iter().map(item).collect::<Vec<_>>().join(" | ")
                )
            }
            Block::Code { text } => format!("code {text}"),
            Block::Quote { blocks } => format!("quote ({})", told(blocks).join("; ")),
            Block::Table { head, rows } => {
                let line =
                    |cells: &Vec<Vec<Span>>| cells.iter().map(|cell| text_of(cell)).collect::<Vec<_>>().join(",");
                format!("table {} / {}", line(head), rows.iter().map(line).collect::<Vec<_>>().join(" / "))
            }
            Block::Rule => "rule".to_owned(),
        };
        blocks.iter().map(one).collect()
    }

    #[test]
    fn a_line_has_marked_parts_also_within_each_other() {
        let line = "Run `a*b` **now *or* ~~never~~**, [read `it`](https://a.example/x?y=1) 2 * 3 * 4  \nend";
        assert_eq!(
            told(&blocks(line)),
            ["p Run <code a*b> <strong now ><em <strong or>><strong  ><gone <strong never>>, \
              <a https://a.example/x?y=1 read ><a https://a.example/x?y=1 <code it>> 2 * 3 * 4⏎end"]
        );
    }

    #[test]
    fn a_link_leads_to_the_web_or_to_our_own_pages() {
        for bad in [
            "[x](javascript:alert(1))",
            "[x](JavaScript:alert(1))",
            "[x](&#106;avascript:alert(1))",
            "<javascript:alert(1)>",
            "[x](//evil.example)",
            "[x](data:text/html,1)",
            "[x](/a\\\\b)",
            "[x](vbscript:x)",
            "![x](javascript:alert(1))",
            "[x]\n\n[x]: javascript:alert(1)",
        ] {
            let found = format!("{:?}", blocks(bad));
            assert!(!found.contains("url: Some"), "{bad}: {found}");
        }
        assert_eq!(told(&blocks("[x](/dags)")), ["p <a /dags x>"]);
        assert_eq!(told(&blocks("![a chart](https://a.example/c.png)")), ["p <a https://a.example/c.png a chart>"]);
    }

    #[test]
    fn a_text_has_headings_lists_tables_and_code() {
        let text = "# Title\nOne\ntwo\n\n- a\n  more\n  - deeper\n- b\n\n3. c\n4. d\n\n```\n<b>\n```\n\n| h | i |\n|---|---|\n| 1 | `2` |\n\n\
            > said\n> - x\n\n---\n\n- [x] done\n- [ ] open\n";
        let expected = [
            "h1 Title",
            "p One two",
            "list - (a more; list - (deeper) | b)",
            "list 3 (c | d)",
            "code <b>",
            "table h,i / 1,<code 2>",
            "quote (p said; list - (x))",
            "rule",
            "list - ([done] done | [to do] open)",
        ];
        assert_eq!(told(&blocks(text)), expected);
    }

    #[test]
    fn html_is_text() {
        assert_eq!(told(&blocks("a <b onclick=x>b</b>")), ["p a <b onclick=x>b</b>"]);
        assert_eq!(told(&blocks("<script>\nalert(1)\n</script>")), ["p <script>\nalert(1)\n</script>"]);
    }

    fn depth(blocks: &[Block]) -> usize {
        let inner = |block: &Block| match block {
            Block::Quote { blocks } => depth(blocks),
            Block::List { items, .. } => items.iter().map(|item| depth(&item.blocks)).max().unwrap_or(0),
            _ => 0,
        };
        1 + blocks.iter().map(inner).max().unwrap_or(0)
    }

    #[test]
    fn what_lies_deep_stands_at_the_last_depth_and_nothing_is_lost() {
        for mark in ["> ", "- ", "1. ", "> - "] {
            let found = blocks(&format!("{}end", mark.repeat(500)));
            assert!(depth(&found) <= DEPTH_MAX + 1, "{mark}: {}", depth(&found));
            assert!(format!("{found:?}").contains("end"), "{mark}");
        }
    }

    #[test]
    fn a_text_is_cut_at_its_longest_and_hostile_ones_are_read() {
        for hostile in
            ["[", "[a](", "[a](b", "`", "*a", "**", "![", "[a]", "<", "|", "> ", "- ", "1. ", "a|b\n-|-\n", "é"]
        {
            let found = blocks(&hostile.repeat(2 * CHARS_MAX / hostile.len()));
            assert!(depth(&found) <= DEPTH_MAX + 1, "{hostile}");
        }
        let cut = blocks(&"a ".repeat(CHARS_MAX));
        let [Block::Paragraph { spans }] = cut.as_slice() else { panic!("{}", cut.len()) };
        assert_eq!(spans.iter().map(|span| span.text.chars().count()).sum::<usize>(), CHARS_MAX - 1);
    }
}
