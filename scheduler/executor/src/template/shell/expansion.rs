//! Reads what nests in words: quotes, expansions, substitutions, arithmetic.

use super::{
    command::Role,
    item::{Item, Kind},
    lexer::{Read, Reader, Stop, Within},
    place::Quote,
    refusal::Why,
    word::{Before, Word},
};

impl Reader<'_> {
    /// From behind a `'` to the next one.
    pub(super) fn single(&mut self, word: &mut Word) -> Read<()> {
        loop {
            match self.raw() {
                None => return Err(Stop::Lost("a `'` that is not closed")),
                Some(Kind::Value(_)) => self.place(Quote::Single, word)?,
                Some(Kind::Char('\'')) => {
                    self.advance();
                    word.before = Before::Other;
                    return Ok(());
                }
                Some(Kind::Char(c)) => {
                    word.text.push(c);
                    self.advance();
                }
            }
        }
    }

    /// From behind a `"` to the next one.
    pub(super) fn double(&mut self, word: &mut Word) -> Read<()> {
        word.before = Before::Other;
        loop {
            match self.peek() {
                None => return Err(Stop::Lost("a `\"` that is not closed")),
                Some(Kind::Value(_)) => self.place(Quote::Double, word)?,
                Some(Kind::Char('"')) => {
                    self.advance();
                    word.before = Before::Other;
                    return Ok(());
                }
                Some(Kind::Char('\\')) => {
                    self.advance();
                    self.escaped(word)?;
                }
                Some(Kind::Char('$')) => self.dollar(word, Within::Double)?,
                Some(Kind::Char('`')) => self.backticks(word, Within::Double)?,
                Some(Kind::Char(c)) => {
                    word.text.push(c);
                    word.before = Before::Other;
                    self.advance();
                }
            }
        }
    }

    /// From behind `$'` to the closing quote.
    fn ansi(&mut self, word: &mut Word) -> Read<()> {
        word.is_literal = false;
        loop {
            match self.raw() {
                None => return Err(Stop::Lost("a `$'` that is not closed")),
                Some(Kind::Value(_)) => self.place(Quote::Ansi, word)?,
                Some(Kind::Char('\'')) => {
                    self.advance();
                    return Ok(());
                }
                Some(Kind::Char('\\')) => {
                    self.advance();
                    let is_control = self.raw() == Some(Kind::Char('c'));
                    self.escaped(word)?;
                    if let (true, Some(Kind::Value(value))) = (is_control, self.raw()) {
                        return Err(Stop::refused(value, Why::AfterBackslash));
                    }
                }
                Some(Kind::Char(_)) => self.advance(),
            }
        }
    }

    /// What a `$` begins.
    pub(super) fn dollar(&mut self, word: &mut Word, within: Within) -> Read<()> {
        self.advance();
        word.before = Before::Dollar;
        let is_code = self.is_code(word);
        let Some(Kind::Char(c)) = self.peek() else { return Ok(()) };
        match c {
            '(' if self.nth(1) == Some(Kind::Char('(')) => {
                self.advance();
                self.advance();
                self.deeper(Self::arithmetic)?;
            }
            '(' => {
                self.advance();
                self.feeding(is_code, Self::substitution)?;
            }
            '{' => {
                self.advance();
                self.feeding(is_code, |reader| reader.deeper(|reader| reader.parameter(within)))?;
            }
            '[' => {
                self.advance();
                self.deeper(Self::brackets)?;
            }
            '\'' if within == Within::Bare => {
                self.advance();
                word.is_quoted = true;
                self.ansi(word)?;
            }
            '"' if within == Within::Bare => {
                self.advance();
                word.is_quoted = true;
                self.double(word)?;
            }
            c if c.is_ascii_alphabetic() || c == '_' => {
                while matches!(self.peek(), Some(Kind::Char(c)) if c.is_ascii_alphanumeric() || c == '_') {
                    self.advance();
                }
                word.is_literal = false;
                word.before = Before::Name;
                return Ok(());
            }
            c if c.is_ascii_digit() || "@*#?-$!".contains(c) => self.advance(),
            // A `$` that means itself.
            _ => {
                word.text.push('$');
                return Ok(());
            }
        }
        word.is_literal = false;
        word.before = Before::Other;
        Ok(())
    }

    /// `$(…)`, `<(…)` or `>(…)` from behind the parenthesis.
    pub(super) fn substitution(&mut self) -> Read<()> {
        let outer = std::mem::take(&mut self.pending);
        let from = self.at;
        self.substitutions += 1;
        self.commands_to_paren()?;
        self.substitutions -= 1;
        let breaks_line = self.items[from..self.at].iter().any(|item| item.kind == Kind::Char('\n'));
        if !self.pending.is_empty() || (breaks_line && !outer.is_empty()) {
            return Err(Stop::Lost("a here-document beside a substitution"));
        }
        self.pending = outer;
        Ok(())
    }

    /// `${…}` from behind the brace.
    fn parameter(&mut self, within: Within) -> Read<()> {
        if matches!(self.peek(), Some(Kind::Char(' ' | '\t' | '\n' | '|'))) {
            return Err(Stop::Lost("a `${ …; }`"));
        }
        let mut word = Word::new(Role::Argument);
        loop {
            match self.peek() {
                None => return Err(Stop::Lost("a `${` that is not closed")),
                Some(Kind::Value(_)) => self.place(Quote::Parameter, &mut word)?,
                Some(Kind::Char('}')) => {
                    self.advance();
                    return Ok(());
                }
                Some(Kind::Char('\\')) => {
                    self.advance();
                    self.escaped(&mut word)?;
                }
                // Whether these are quotes there depends on the operator and on the shell.
                Some(Kind::Char('\'')) if within != Within::Bare => return Err(Stop::Lost("a `'` inside \"${…}\"")),
                Some(Kind::Char('"')) if within == Within::Here => {
                    return Err(Stop::Lost("a `\"` inside ${…} in a here-document"));
                }
                Some(Kind::Char('\'')) => {
                    self.advance();
                    self.plain_quotes('\'')?;
                }
                Some(Kind::Char('"')) => {
                    self.advance();
                    self.plain_quotes('"')?;
                }
                Some(Kind::Char('$')) => self.dollar(&mut word, within)?,
                Some(Kind::Char('`')) => self.backticks(&mut word, within)?,
                Some(Kind::Char(_)) => self.advance(),
            }
        }
    }

    /// Quotes inside `${…}`: a value in them could still be an operator's pattern, so none may be there.
    fn plain_quotes(&mut self, quote: char) -> Read<()> {
        let mut word = Word::new(Role::Argument);
        loop {
            match self.raw() {
                None => return Err(Stop::Lost("a quote inside ${…} that is not closed")),
                Some(Kind::Value(_)) => self.place(Quote::Parameter, &mut word)?,
                Some(Kind::Char(c)) if c == quote => {
                    self.advance();
                    return Ok(());
                }
                Some(Kind::Char('\\')) if quote == '"' => {
                    self.advance();
                    self.escaped(&mut word)?;
                }
                Some(Kind::Char('$')) if quote == '"' => self.dollar(&mut word, Within::Double)?,
                Some(Kind::Char('`')) if quote == '"' => self.backticks(&mut word, Within::Double)?,
                Some(Kind::Char(_)) => self.advance(),
            }
        }
    }

    /// From behind `((` to `))`.
    pub(super) fn arithmetic(&mut self) -> Read<()> {
        let mut word = Word::new(Role::Number);
        let mut depth = 0_usize;
        loop {
            match self.peek() {
                Some(Kind::Char('(')) => {
                    depth += 1;
                    self.advance();
                }
                Some(Kind::Char(')')) if depth > 0 => {
                    depth -= 1;
                    self.advance();
                }
                Some(Kind::Char(')')) => {
                    self.advance();
                    if self.peek() != Some(Kind::Char(')')) {
                        return Err(Stop::Lost("a `((` that is no arithmetic; write `( (`"));
                    }
                    self.advance();
                    return Ok(());
                }
                _ => self.calculation(&mut word)?,
            }
        }
    }

    /// From behind a `[` to its `]`: a subscript or `$[…]`.
    pub(super) fn brackets(&mut self) -> Read<()> {
        let mut word = Word::new(Role::Number);
        let mut depth = 1_usize;
        while depth > 0 {
            match self.peek() {
                Some(Kind::Char('[')) => {
                    depth += 1;
                    self.advance();
                }
                Some(Kind::Char(']')) => {
                    depth -= 1;
                    self.advance();
                }
                Some(Kind::Char('\n')) => return Err(Stop::Lost("a `[` that its line does not close")),
                _ => self.calculation(&mut word)?,
            }
        }
        Ok(())
    }

    /// The next part of something that is calculated.
    fn calculation(&mut self, word: &mut Word) -> Read<()> {
        match self.peek() {
            None => Err(Stop::Lost("arithmetic that is not closed")),
            Some(Kind::Value(_)) => self.place(Quote::Arithmetic, word),
            Some(Kind::Char('"')) => {
                self.advance();
                self.double(word)
            }
            Some(Kind::Char('\'')) => Err(Stop::Lost("a `'` in arithmetic")),
            Some(Kind::Char('\\')) => {
                self.advance();
                self.escaped(word)
            }
            Some(Kind::Char('$')) => self.dollar(word, Within::Double),
            Some(Kind::Char('`')) => self.backticks(word, Within::Double),
            Some(Kind::Char(_)) => {
                word.before = Before::Other;
                self.advance();
                Ok(())
            }
        }
    }

    /// `` `…` ``: a backslash before `` ` ``, `$` or `\` goes, and what is left is read as commands.
    pub(super) fn backticks(&mut self, word: &mut Word, within: Within) -> Read<()> {
        self.advance();
        let mut inner: Vec<Item> = Vec::new();
        loop {
            let Some(item) = self.current() else { return Err(Stop::Lost("a backtick that is not closed")) };
            self.advance();
            match item.kind {
                Kind::Char('`') => break,
                Kind::Char('\\') => match self.current() {
                    Some(Item { kind: Kind::Value(value), .. }) => {
                        return Err(Stop::refused(value, Why::AfterBackslash));
                    }
                    Some(Item { kind: Kind::Char(c), end, .. })
                        if matches!(c, '`' | '$' | '\\') || (c == '"' && within == Within::Double) =>
                    {
                        self.advance();
                        inner.push(Item { kind: Kind::Char(c), start: item.start, end });
                    }
                    _ => inner.push(item),
                },
                _ => inner.push(item),
            }
        }
        let outer = std::mem::replace(&mut self.items, inner);
        let at = std::mem::replace(&mut self.at, 0);
        let pending = std::mem::take(&mut self.pending);
        self.backticks.push(within);
        let read = self.feeding(self.is_code(word), Self::all_commands);
        self.backticks.pop();
        self.items = outer;
        self.at = at;
        if read.is_ok() && !self.pending.is_empty() {
            return Err(Stop::Lost("a here-document in backticks"));
        }
        self.pending = pending;
        word.is_literal = false;
        word.before = Before::Other;
        read
    }
}
