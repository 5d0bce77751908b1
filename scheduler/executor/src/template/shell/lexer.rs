//! Reads a text as bash reads it, as far as that decides how a value in it is to be written.
//!
//! A reading goes from left to right. `commands` reads lists of commands and knows where a command begins, which decides
//! about words such as `case` and `[[`; `word` reads one word with all that nests in it; the functions below it read what is
//! between one kind of quotes or braces. Each ends where bash ends it, or the reading stops as lost.

use std::collections::BTreeSet;

use super::{
    Kept,
    command::{Role, Simple},
    here::Here,
    item::{Item, Kind},
    place::Quote,
    quote,
    refusal::{Refusal, Why},
    word::{Before, Word},
};

/// Deeper nesting is nothing that a person reads either.
const DEPTH_MAX: usize = 40;

/// Why a reading ended early.
#[derive(Debug)]
pub(super) enum Stop {
    /// A value can not be written.
    Refused(Refusal),
    /// It can not be told how bash goes on.
    Lost(&'static str),
}

impl Stop {
    pub(super) fn refused(value: usize, why: Why) -> Self {
        Self::Refused(Refusal::of(value, why))
    }
}

/// What reading gives.
pub(super) type Read<T> = Result<T, Stop>;

/// What ends a list of commands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    Text,
    Paren,
    CaseItem,
}

/// What has ended it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ended {
    Here,
    Esac,
}

/// In what an expansion stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Within {
    Bare,
    Double,
    Here,
}

/// A reading.
pub(super) struct Reader<'k> {
    pub(super) items: Vec<Item>,
    pub(super) at: usize,
    pub(super) kept: &'k [Kept],
    /// What stands for each mark, by the place where the mark begins.
    pub(super) written: Vec<(usize, String)>,
    /// Pairs of backticks around this place, from the outermost: what each stands in.
    pub(super) backticks: Vec<Within>,
    depth: usize,
    /// Substitutions in parentheses around this place.
    pub(super) substitutions: usize,
    /// Whether this place is in a here-document in which bash expands.
    pub(super) is_in_here: bool,
    /// Whether what is put out here is read as code: a substitution in code, or one that a shell reads.
    pub(super) feeds_code: bool,
    /// Values of this command that may be put out as they are.
    pub(super) own: Vec<usize>,
    /// Those of the commands before it in its pipeline.
    piped: Vec<usize>,
    /// Compound commands that have begun and not ended.
    compounds: usize,
    /// Here-documents that begin at the next line.
    pub(super) pending: Vec<Here>,
    /// Variables whose values are calculated.
    pub(super) integers: BTreeSet<String>,
    pub(super) all_integers: bool,
}

/// What stands for each mark, by the place where the mark begins.
///
/// # Errors
/// [`Refusal`] of the first value that can not be written.
pub(super) fn read(items: &[Item], kept: &[Kept]) -> Result<Vec<(usize, String)>, Refusal> {
    let mut reader = Reader {
        items: items.to_vec(),
        at: 0,
        kept,
        written: Vec::new(),
        backticks: Vec::new(),
        depth: 0,
        substitutions: 0,
        is_in_here: false,
        feeds_code: false,
        own: Vec::new(),
        piped: Vec::new(),
        compounds: 0,
        pending: Vec::new(),
        integers: BTreeSet::new(),
        all_integers: false,
    };
    let read = if keeps_history(items) { Err(Stop::Lost("`set -H`")) } else { reader.commands(End::Text) };
    match read {
        Ok(_) => Ok(reader.written),
        Err(Stop::Refused(refusal)) => Err(refusal),
        Err(Stop::Lost(what)) => reader.rest(items, what),
    }
}

/// A shell that looks for `!` in its lines: those that run scripts do it only when told.
fn keeps_history(items: &[Item]) -> bool {
    let text: String =
        items.iter().filter_map(|item| if let Kind::Char(c) = item.kind { Some(c) } else { None }).collect();
    text.contains("histexpand") || text.contains("set -H")
}

impl Reader<'_> {
    /// What is left once the reading is lost: only what no shell interprets.
    fn rest(mut self, items: &[Item], what: &'static str) -> Result<Vec<(usize, String)>, Refusal> {
        for item in items {
            let Some(value) = item.value() else { continue };
            if self.written.iter().any(|(start, _)| *start == item.start) {
                continue;
            }
            let kept = &self.kept[value];
            match kept.form {
                super::Form::Quoted => self.written.push((item.start, quote::word(&kept.text))),
                super::Form::Value if quote::is_plain(&kept.text) => self.written.push((item.start, kept.text.clone())),
                super::Form::Value => return Err(Refusal::of(value, Why::Lost(what))),
            }
        }
        Ok(self.written)
    }

    /// Passes over a backslash with the end of its line: bash takes both away.
    fn join(&mut self) {
        while self.is_join(self.at) {
            self.at += 2;
        }
    }

    fn is_join(&self, at: usize) -> bool {
        let char_at = |at: usize| self.items.get(at).map(|item| item.kind);
        char_at(at) == Some(Kind::Char('\\')) && char_at(at + 1) == Some(Kind::Char('\n'))
    }

    /// The item after so many others; joined lines are one.
    pub(super) fn nth(&self, n: usize) -> Option<Kind> {
        let mut at = self.at;
        let mut left = n;
        loop {
            while self.is_join(at) {
                at += 2;
            }
            if left == 0 {
                return self.items.get(at).map(|item| item.kind);
            }
            left -= 1;
            at += 1;
        }
    }

    pub(super) fn peek(&mut self) -> Option<Kind> {
        self.join();
        self.raw()
    }

    /// The next item where lines are not joined.
    pub(super) fn raw(&self) -> Option<Kind> {
        self.items.get(self.at).map(|item| item.kind)
    }

    pub(super) fn current(&self) -> Option<Item> {
        self.items.get(self.at).copied()
    }

    pub(super) fn advance(&mut self) {
        self.at += 1;
    }

    fn next_is(&mut self, c: char) -> bool {
        self.peek() == Some(Kind::Char(c))
    }

    pub(super) fn deeper<T>(&mut self, read: impl FnOnce(&mut Self) -> Read<T>) -> Read<T> {
        if self.depth >= DEPTH_MAX {
            return Err(Stop::Lost("substitutions that nest too deep"));
        }
        self.depth += 1;
        let found = read(self);
        self.depth -= 1;
        found
    }

    /// Commands to the end of the text; for what stands in backticks and here-documents.
    pub(super) fn all_commands(&mut self) -> Read<()> {
        self.commands(End::Text).map(|_| ())
    }

    /// Commands to the parenthesis that ends them.
    pub(super) fn commands_to_paren(&mut self) -> Read<()> {
        self.commands(End::Paren).map(|_| ())
    }

    fn commands(&mut self, end: End) -> Read<Ended> {
        self.deeper(|reader| reader.list(end))
    }

    /// Reads what may be put out into code, when `is_code` or what is around it is read so.
    pub(super) fn feeding<T>(&mut self, is_code: bool, read: impl FnOnce(&mut Self) -> Read<T>) -> Read<T> {
        let outer = self.feeds_code;
        self.feeds_code |= is_code;
        let found = read(self);
        self.feeds_code = outer;
        found
    }

    /// A command ends. What a pipeline brings to a shell that reads its input is code.
    fn end_command(&self, simple: &Simple) -> Read<()> {
        match self.piped.first() {
            Some(value) if simple.takes_code() => Err(Stop::refused(*value, Why::Code)),
            Some(_) | None => Ok(()),
        }
    }

    /// A pipeline ends, unless what is around it may still be piped as a whole.
    fn end_pipeline(&mut self) {
        if self.depth == 1 && self.compounds == 0 {
            self.own.clear();
            self.piped.clear();
        }
    }

    fn list(&mut self, end: End) -> Read<Ended> {
        let mut simple = Simple::default();
        // Whether the language's own words are known here.
        let mut fresh = true;
        loop {
            let c = match self.peek() {
                None if end == End::Text => {
                    self.end_command(&simple)?;
                    return Ok(Ended::Here);
                }
                None => return Err(Stop::Lost("a substitution or group that is not closed")),
                Some(Kind::Char(c)) => c,
                Some(Kind::Value(_)) => {
                    self.simple_word(&mut simple, &mut fresh, end)?;
                    continue;
                }
            };
            match c {
                ' ' | '\t' => self.advance(),
                '\n' => {
                    self.end_command(&simple)?;
                    self.advance();
                    self.here_documents()?;
                    self.end_pipeline();
                    (simple, fresh) = (Simple::default(), true);
                }
                '#' => self.comment()?,
                '&' if self.nth(1) == Some(Kind::Char('>')) => {
                    self.both_outputs()?;
                    fresh = false;
                }
                ';' | '&' | '|' => {
                    self.end_command(&simple)?;
                    let is_pipe = c == '|' && self.nth(1) != Some(Kind::Char('|'));
                    if self.operator(end, c)? {
                        return Ok(Ended::Here);
                    }
                    if is_pipe {
                        self.piped.append(&mut self.own);
                    } else {
                        self.end_pipeline();
                    }
                    (simple, fresh) = (Simple::default(), true);
                }
                '(' => {
                    self.group(fresh)?;
                    (simple, fresh) = (Simple::default(), true);
                }
                ')' if end == End::Paren => {
                    self.end_command(&simple)?;
                    self.advance();
                    return Ok(Ended::Here);
                }
                ')' => return Err(Stop::Lost("a `)` without its `(`")),
                '<' | '>' if self.nth(1) != Some(Kind::Char('(')) => {
                    self.redirection(&simple)?;
                    fresh = false;
                }
                _ => {
                    if self.simple_word(&mut simple, &mut fresh, end)? == Ended::Esac {
                        return Ok(Ended::Esac);
                    }
                }
            }
        }
    }

    /// `&>` or `&>>` and its file.
    fn both_outputs(&mut self) -> Read<()> {
        self.advance();
        self.join();
        self.advance();
        if self.next_is('>') {
            self.advance();
        }
        self.blanks();
        self.word(Role::Argument).map(|_| ())
    }

    /// `;`, `&` or `|` and what belongs to it; whether it ends an item of a `case`.
    fn operator(&mut self, end: End, c: char) -> Read<bool> {
        self.advance();
        match (c, self.peek()) {
            (';', Some(Kind::Char(';' | '&'))) if end == End::CaseItem => {
                self.advance();
                if self.next_is('&') {
                    self.advance();
                }
                Ok(true)
            }
            (';', Some(Kind::Char(';' | '&'))) => Err(Stop::Lost("a `;;` outside of a case")),
            ('|', Some(Kind::Char('&' | '|'))) => {
                self.advance();
                Ok(false)
            }
            _ => Ok(false),
        }
    }

    /// `((…))` or `(…)`.
    fn group(&mut self, fresh: bool) -> Read<()> {
        self.advance();
        if fresh && self.next_is('(') {
            self.advance();
            return self.deeper(Self::arithmetic);
        }
        self.commands(End::Paren).map(|_| ())
    }

    /// A word of a simple command, with all of the clause that it begins.
    fn simple_word(&mut self, simple: &mut Simple, fresh: &mut bool, end: End) -> Read<Ended> {
        let before = self.at;
        let word = self.word(simple.role())?;
        if self.at == before {
            return Err(Stop::Lost("something that is no word"));
        }
        let is_before_redirection = matches!(self.peek(), Some(Kind::Char('<' | '>')));
        if is_before_redirection && word.reserved().is_some_and(is_descriptor) {
            *fresh = false;
            return Ok(Ended::Here);
        }
        if std::mem::take(fresh)
            && let Some(text) = word.reserved()
        {
            match text {
                "esac" if end == End::CaseItem => return Ok(Ended::Esac),
                "coproc" => return Err(Stop::Lost("a coproc")),
                "case" => {
                    self.deeper(Self::case)?;
                    *fresh = true;
                    return Ok(Ended::Here);
                }
                "for" | "select" => {
                    self.compounds += 1;
                    *fresh = self.for_names(simple)?;
                    return Ok(Ended::Here);
                }
                "function" => {
                    self.blanks();
                    self.word(Role::Argument)?;
                    *fresh = true;
                    return Ok(Ended::Here);
                }
                "[[" => {
                    self.conditional()?;
                    *fresh = true;
                    return Ok(Ended::Here);
                }
                "{" | "if" | "while" | "until" => {
                    self.compounds += 1;
                    *fresh = true;
                    return Ok(Ended::Here);
                }
                "}" | "fi" | "done" => {
                    self.compounds = self.compounds.saturating_sub(1);
                    *fresh = true;
                    return Ok(Ended::Here);
                }
                "!" | "then" | "elif" | "else" | "do" | "time" | "esac" => {
                    *fresh = true;
                    return Ok(Ended::Here);
                }
                _ => {}
            }
        }
        self.take_word(simple, &word);
        Ok(Ended::Here)
    }

    fn take_word(&mut self, simple: &mut Simple, word: &Word) {
        match word.role {
            Role::Command if word.assigned.is_some() => return,
            Role::Declared { integer: true, .. } => match &word.assigned {
                Some(name) => drop(self.integers.insert(name.clone())),
                None => match word.literal() {
                    Some(name) => drop(self.integers.insert(name.to_owned())),
                    None => self.all_integers = true,
                },
            },
            _ => {}
        }
        simple.push_literal(word.literal());
        if simple.reads_code() {
            self.pending.iter_mut().for_each(|here| here.is_code = true);
        }
    }

    fn redirection(&mut self, simple: &Simple) -> Read<()> {
        let mut operator = String::new();
        while let Some(Kind::Char(c @ ('<' | '>' | '&' | '|' | '-'))) = self.peek() {
            let longer = format!("{operator}{c}");
            if !["<", ">", "<<", ">>", "<<<", "<<-", "<>", ">|", "<&", ">&", "<&-", ">&-"].contains(&longer.as_str()) {
                break;
            }
            operator = longer;
            self.advance();
        }
        self.blanks();
        match operator.as_str() {
            "<<" | "<<-" => self.here_delimiter(operator == "<<-", simple.reads_code()),
            "<&-" | ">&-" => Ok(()),
            "<<<" if simple.reads_code() => self.word(Role::Code).map(|_| ()),
            "<" if simple.reads_code() => self.word(Role::AfterShell).map(|_| ()),
            _ => self.word(Role::Argument).map(|_| ()),
        }
    }

    pub(super) fn blanks(&mut self) {
        while matches!(self.peek(), Some(Kind::Char(' ' | '\t'))) {
            self.advance();
        }
    }

    /// Blanks, ends of lines and comments.
    fn space(&mut self) -> Read<()> {
        loop {
            match self.peek() {
                Some(Kind::Char(' ' | '\t')) => self.advance(),
                Some(Kind::Char('\n')) => {
                    self.advance();
                    self.here_documents()?;
                }
                Some(Kind::Char('#')) => self.comment()?,
                _ => return Ok(()),
            }
        }
    }

    /// A comment, to the end of its line.
    fn comment(&mut self) -> Read<()> {
        let mut word = Word::new(Role::Argument);
        loop {
            match self.raw() {
                None | Some(Kind::Char('\n')) => return Ok(()),
                Some(Kind::Value(_)) => self.place(Quote::Comment, &mut word)?,
                Some(Kind::Char(_)) => self.advance(),
            }
        }
    }

    /// `case` from its word to its `esac`.
    fn case(&mut self) -> Read<()> {
        self.space()?;
        self.word(Role::Argument)?;
        self.space()?;
        if self.word(Role::Argument)?.reserved() != Some("in") {
            return Err(Stop::Lost("a case without its `in`"));
        }
        loop {
            self.space()?;
            let has_paren = self.next_is('(');
            if has_paren {
                self.advance();
            }
            self.blanks();
            let first = self.word(Role::Pattern)?;
            if !has_paren && first.reserved() == Some("esac") {
                return Ok(());
            }
            loop {
                self.blanks();
                match self.peek() {
                    Some(Kind::Char('|')) => {
                        self.advance();
                        self.blanks();
                        self.word(Role::Pattern)?;
                    }
                    Some(Kind::Char(')')) => break self.advance(),
                    _ => return Err(Stop::Lost("a pattern of a case")),
                }
            }
            if self.commands(End::CaseItem)? == Ended::Esac {
                return Ok(());
            }
        }
    }

    /// What is between `for` and its words; whether a command comes next.
    fn for_names(&mut self, simple: &mut Simple) -> Read<bool> {
        self.blanks();
        if self.next_is('(') && self.nth(1) == Some(Kind::Char('(')) {
            self.advance();
            self.advance();
            self.deeper(Self::arithmetic)?;
            return Ok(true);
        }
        self.word(Role::Name)?;
        self.space()?;
        let before = self.at;
        match self.word(Role::Argument)?.reserved() {
            Some("in") => *simple = Simple::list(),
            Some("do" | "{") => return Ok(true),
            Some("") if self.at == before && self.next_is(';') => return Ok(true),
            _ => return Err(Stop::Lost("a for without its `in`")),
        }
        Ok(false)
    }

    /// `[[ … ]]` from behind its beginning. An operator such as `-eq` calculates what is beside it.
    fn conditional(&mut self) -> Read<()> {
        let mut values = Vec::new();
        let mut calculates = false;
        let mut names = false;
        let mut is_regex = false;
        loop {
            self.space()?;
            let word = match self.peek() {
                None => return Err(Stop::Lost("a `[[` that is not closed")),
                Some(Kind::Char(c @ ('&' | '|' | '(' | ')' | '<' | '>' | ';'))) if !is_regex => {
                    self.advance();
                    if !matches!(c, '<' | '>') {
                        (calculates, names) = (false, false);
                        values.clear();
                    }
                    continue;
                }
                Some(_) if is_regex => self.regex()?,
                Some(_) => self.word(Role::Pattern)?,
            };
            is_regex = word.reserved() == Some("=~");
            match word.reserved() {
                Some("]]") => return Ok(()),
                Some("-eq" | "-ne" | "-lt" | "-le" | "-gt" | "-ge") => calculates = true,
                Some("-v" | "-R") => names = true,
                _ => {}
            }
            values.extend(word.values);
            for value in &values {
                let text = &self.kept[*value].text;
                if calculates && quote::number(text).is_none() {
                    return Err(Stop::refused(*value, Why::Number));
                }
                if names && !quote::is_plain(text) {
                    return Err(Stop::refused(*value, Why::Name));
                }
            }
        }
    }

    /// The operand of `=~`: groups and bars are a part of it.
    fn regex(&mut self) -> Read<Word> {
        let mut word = Word::new(Role::Pattern);
        let mut depth = 0_usize;
        loop {
            match self.peek() {
                Some(Kind::Char('(')) => depth += 1,
                Some(Kind::Char(')')) if depth > 0 => depth -= 1,
                Some(Kind::Char('|')) => {}
                Some(Kind::Char(' ' | '\t')) if depth > 0 => {}
                None | Some(Kind::Char(' ' | '\t' | '\n' | ')' | ';' | '&' | '<' | '>')) => return Ok(word),
                Some(_) => {
                    self.word_part(&mut word, Quote::Forced)?;
                    continue;
                }
            }
            self.advance();
            word.is_literal = false;
        }
    }

    /// One word, to the first character that ends it.
    pub(super) fn word(&mut self, role: Role) -> Read<Word> {
        let mut word = Word::new(role);
        loop {
            match self.peek() {
                None | Some(Kind::Char(' ' | '\t' | '\n' | ';' | '&' | '|' | ')')) => return Ok(word),
                Some(Kind::Char('<' | '>')) => {
                    if self.nth(1) != Some(Kind::Char('(')) {
                        return Ok(word);
                    }
                    self.advance();
                    self.advance();
                    let is_code = self.is_code(&word) || role == Role::AfterShell;
                    self.feeding(is_code, Self::substitution)?;
                    word.is_literal = false;
                }
                Some(Kind::Char('(')) if word.may_be_array() => {
                    self.advance();
                    self.deeper(Self::array)?;
                    word.is_literal = false;
                }
                Some(Kind::Char('(')) if word.may_have_pattern() => {
                    if word.reserved() == Some("!") {
                        return Err(Stop::Lost("a `!(`, which is a pattern or a group"));
                    }
                    self.advance();
                    self.pattern(&mut word)?;
                }
                Some(Kind::Char('(')) => return Ok(word),
                Some(Kind::Char('[')) if word.may_have_subscript() => {
                    self.advance();
                    self.deeper(|reader| reader.brackets())?;
                    word.has_subscript = true;
                }
                Some(_) => self.word_part(&mut word, Quote::Bare)?,
            }
        }
    }

    /// The next part of a word: a value, a quoted text, an expansion, or a character.
    fn word_part(&mut self, word: &mut Word, quote: Quote) -> Read<()> {
        match self.peek() {
            None => {}
            Some(Kind::Value(_)) => self.place(quote, word)?,
            Some(Kind::Char('\'')) => {
                self.advance();
                word.is_quoted = true;
                self.single(word)?;
            }
            Some(Kind::Char('"')) => {
                self.advance();
                word.is_quoted = true;
                self.double(word)?;
            }
            Some(Kind::Char('\\')) => {
                self.advance();
                word.is_quoted = true;
                self.escaped(word)?;
            }
            Some(Kind::Char('$')) => self.dollar(word, Within::Bare)?,
            Some(Kind::Char('`')) => self.backticks(word, Within::Bare)?,
            Some(Kind::Char(c)) => {
                word.push(c);
                self.advance();
            }
        }
        Ok(())
    }

    /// The character after a backslash.
    pub(super) fn escaped(&mut self, word: &mut Word) -> Read<()> {
        match self.raw() {
            Some(Kind::Value(value)) => return Err(Stop::refused(value, Why::AfterBackslash)),
            Some(Kind::Char(c)) => {
                word.text.push(c);
                word.before = Before::Other;
                self.advance();
            }
            None => {}
        }
        Ok(())
    }

    /// `@(…|…)` and the like, from behind the parenthesis.
    fn pattern(&mut self, word: &mut Word) -> Read<()> {
        let mut depth = 1_usize;
        word.is_literal = false;
        while depth > 0 {
            match self.peek() {
                None | Some(Kind::Char('\n' | ';' | '&' | '<' | '>')) => {
                    return Err(Stop::Lost("a pattern in parentheses"));
                }
                Some(Kind::Char('(')) => depth += 1,
                Some(Kind::Char(')')) => depth -= 1,
                Some(Kind::Char('|' | ' ' | '\t')) => {}
                Some(_) => {
                    self.word_part(word, Quote::Forced)?;
                    continue;
                }
            }
            self.advance();
        }
        Ok(())
    }

    /// The values of an array, from behind the parenthesis.
    fn array(&mut self) -> Read<()> {
        if !self.pending.is_empty() {
            return Err(Stop::Lost("a here-document before an array"));
        }
        loop {
            self.space()?;
            match self.peek() {
                Some(Kind::Char(')')) => {
                    self.advance();
                    return Ok(());
                }
                Some(Kind::Char('[')) => {
                    self.advance();
                    self.brackets()?;
                }
                _ => {}
            }
            let before = self.at;
            self.word(Role::Element)?;
            if self.at == before && !matches!(self.peek(), Some(Kind::Char(' ' | '\t' | '\n' | ')'))) {
                return Err(Stop::Lost("an array"));
            }
        }
    }
}

/// Whether the word before a redirection is the descriptor that it means.
fn is_descriptor(word: &str) -> bool {
    let is_number = !word.is_empty() && word.bytes().all(|byte| byte.is_ascii_digit());
    is_number || (word.starts_with('{') && word.ends_with('}') && word.len() > 2)
}
