//! Here-documents: their delimiters, and their bodies once the line that names them has ended.

use super::{
    Kept,
    command::Role,
    item::{Item, Kind},
    lexer::{Read, Reader, Stop, Within},
    place::Quote,
    refusal::Why,
    word::{Before, Word},
};

/// A here-document whose body comes.
#[derive(Debug)]
pub(super) struct Here {
    delimiter: String,
    is_quoted: bool,
    strips_tabs: bool,
    /// A shell reads it.
    pub(super) is_code: bool,
}

impl Reader<'_> {
    /// The delimiter after `<<`.
    pub(super) fn here_delimiter(&mut self, strips_tabs: bool, is_code: bool) -> Read<()> {
        let word = self.word(Role::Delimiter)?;
        let Some(delimiter) = word.literal() else {
            return Err(Stop::Lost("a here-document whose delimiter has a `$`"));
        };
        let delimiter = delimiter.to_owned();
        self.pending.push(Here { delimiter, is_quoted: word.is_quoted, strips_tabs, is_code });
        Ok(())
    }

    /// The bodies of the here-documents that the line before this place has named.
    pub(super) fn here_documents(&mut self) -> Read<()> {
        for here in std::mem::take(&mut self.pending) {
            let from = self.at;
            let mut body_end = from;
            loop {
                let line_end = self.line_end(self.at, here.is_quoted);
                let line = self.items[self.at..line_end].to_vec();
                let text = text_of(&line, here.is_quoted);
                if text.as_ref().is_some_and(|text| self.ends_early(&here, text)) {
                    return Err(Stop::Lost("a here-document that ends in the line of its `)`"));
                }
                let is_end = text.is_some_and(|text| here.is_delimiter(&text));
                self.at = (line_end + 1).min(self.items.len());
                if is_end {
                    break;
                }
                body_end = self.at;
                if line_end >= self.items.len() {
                    break;
                }
            }
            let body = self.items[from..body_end].to_vec();
            let after = self.at;
            self.body(&here, body)?;
            self.at = after;
        }
        Ok(())
    }

    /// Where a line ends; bash joins lines before it looks for a delimiter without quotes.
    fn line_end(&self, from: usize, is_quoted: bool) -> usize {
        let mut at = from;
        let mut is_escaped = false;
        while let Some(item) = self.items.get(at) {
            match item.kind {
                Kind::Char('\n') if !is_escaped || is_quoted => return at,
                Kind::Char('\\') => is_escaped = !is_escaped,
                _ => is_escaped = false,
            }
            at += 1;
        }
        at
    }

    fn body(&mut self, here: &Here, body: Vec<Item>) -> Read<()> {
        let values: Vec<Item> = body.iter().filter(|item| item.is_value()).copied().collect();
        if values.is_empty() {
            return Ok(());
        }
        let copy = body.clone();
        let outer = std::mem::replace(&mut self.items, body);
        self.at = 0;
        let role = if here.is_code { Role::Code } else { Role::Argument };
        let read = if here.is_quoted {
            self.raw_body(role, here.strips_tabs)
        } else {
            self.expanded_body(role, here.strips_tabs)
        };
        self.items = outer;
        read?;
        self.check_lines(here, &copy, self.kept)
    }

    fn raw_body(&mut self, role: Role, strips_tabs: bool) -> Read<()> {
        let mut word = Word::new(role);
        while let Some(kind) = self.raw() {
            match kind {
                Kind::Value(_) => self.place(Quote::Raw { strips_tabs }, &mut word)?,
                Kind::Char(_) => self.advance(),
            }
        }
        Ok(())
    }

    fn expanded_body(&mut self, role: Role, strips_tabs: bool) -> Read<()> {
        let outer = std::mem::replace(&mut self.is_in_here, true);
        let read = self.expanded_lines(role, strips_tabs);
        self.is_in_here = outer;
        read
    }

    fn expanded_lines(&mut self, role: Role, strips_tabs: bool) -> Read<()> {
        let mut word = Word::new(role);
        while let Some(kind) = self.peek() {
            match kind {
                Kind::Value(_) => self.place(Quote::Here { strips_tabs }, &mut word)?,
                Kind::Char('\\') => {
                    self.advance();
                    self.escaped(&mut word)?;
                }
                Kind::Char('$') => self.dollar(&mut word, Within::Here)?,
                Kind::Char('`') => self.backticks(&mut word, Within::Here)?,
                Kind::Char(_) => {
                    word.before = Before::Other;
                    self.advance();
                }
            }
        }
        Ok(())
    }

    /// No line may be the delimiter once the values are there: those of the text alone are not, or the body would end there.
    fn check_lines(&self, here: &Here, body: &[Item], kept: &[Kept]) -> Read<()> {
        let mut whole = String::new();
        let mut value_in_line = None;
        for item in body {
            match item.kind {
                Kind::Char('\n') if !here.is_quoted && ends_escaped(&whole) => drop(whole.pop()),
                Kind::Char('\n') => {
                    self.check_line(here, &whole, value_in_line)?;
                    whole.clear();
                    value_in_line = None;
                }
                Kind::Char(c) => whole.push(c),
                Kind::Value(value) => {
                    let written = self.written.iter().find(|(start, _)| *start == item.start);
                    let written = written.map_or(kept[value].text.as_str(), |(_, text)| text);
                    value_in_line = Some(value);
                    let mut lines = written.split('\n');
                    whole.push_str(lines.next().unwrap_or_default());
                    for line in lines {
                        self.check_line(here, &whole, value_in_line)?;
                        line.clone_into(&mut whole);
                    }
                }
            }
        }
        self.check_line(here, &whole, value_in_line)
    }

    /// Within `$(…)` bash takes a line that begins with the delimiter and has a `)` for its end as well.
    fn ends_early(&self, here: &Here, line: &str) -> bool {
        let line = if here.strips_tabs { line.trim_start_matches('\t') } else { line };
        self.substitutions > 0 && line.strip_prefix(here.delimiter.as_str()).is_some_and(|rest| rest.contains(')'))
    }

    fn check_line(&self, here: &Here, line: &str, value: Option<usize>) -> Read<()> {
        match value {
            Some(value) if here.is_delimiter(line) || self.ends_early(here, line) => {
                Err(Stop::refused(value, Why::HereEnd(here.delimiter.clone())))
            }
            Some(_) | None => Ok(()),
        }
    }
}

impl Here {
    fn is_delimiter(&self, line: &str) -> bool {
        let line = if self.strips_tabs { line.trim_start_matches('\t') } else { line };
        line == self.delimiter
    }
}

/// Whether a backslash that nothing escapes is the last character.
pub(super) fn ends_escaped(line: &str) -> bool {
    line.bytes().rev().take_while(|byte| *byte == b'\\').count() % 2 == 1
}

/// The text of a line without values, as bash compares it with a delimiter.
fn text_of(line: &[Item], is_quoted: bool) -> Option<String> {
    let mut text = String::new();
    let mut items = line.iter().peekable();
    while let Some(item) = items.next() {
        match item.kind {
            Kind::Value(_) => return None,
            Kind::Char('\\') if !is_quoted && items.peek().is_some_and(|next| next.kind == Kind::Char('\n')) => {
                items.next();
            }
            Kind::Char(c) => text.push(c),
        }
    }
    Some(text)
}
