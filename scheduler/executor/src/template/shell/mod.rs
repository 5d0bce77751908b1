//! A value in a shell command is quoted for the place where it stands.
//!
//! **The idea** is that of HTML templates that know HTML. A template is rendered in two steps. First, what each expression
//! gives that can depend on params, conf or an XCom ([`doubt`]) is kept aside, and a mark stands for it in the text. Then the
//! text is read as bash reads it ([`lexer`]): at each mark it is known whether a bare word is being written, a text in
//! quotes, a here-document, arithmetic, a comment …, however deep substitutions nest ([`command`] follows what the words of
//! a command are to it). There the value is written so that bash reads it back as it is ([`quote`]), or the task fails with
//! the expression's place and what to write instead ([`place`]).
//!
//! **The invariant**: in front of a mark, the reader is in the state in which bash is when it comes there. It holds because
//! the reader looks only at text whose author is trusted (template text, `ds`, `var`, `| unquoted` …), in the order in which
//! bash does, and because what it writes for a mark leaves bash in the state in which the reader goes on: a quoted text is
//! whole, a bare word continues as a bare word. So a value never decides how the rest is read. Where bash's own reading
//! depends on more than the text before (an arithmetic command that turns out to be a subshell, a quote that is never
//! closed), the reader gives up: from there on a value passes only when no shell interprets any of its characters.
//!
//! What another program makes of its arguments is not known here; the exceptions are shells and the builtins of bash that
//! read an argument as code, as a number or as the name of a variable. `| quote` adds a level of quoting, for such places.
//! `| unquoted` says that the value is code: it is read like the text around it.
//!
//! A mark holds a number that is drawn at each rendering, so no value can contain one.

mod command;
mod doubt;
mod expansion;
mod here;
mod item;
mod lexer;
mod place;
mod quote;
mod refusal;
#[cfg(test)]
mod tests;
mod word;

use std::{
    fmt,
    sync::{Arc, Mutex, PoisonError},
};

use minijinja::{
    Environment, Error, ErrorKind, Value,
    value::{Object, ObjectRepr},
};

use super::datetime::{DateTime, Timedelta};
use item::Marks;
pub(super) use refusal::Refusal;

/// The filter that keeps a value aside; no template can name it, for it is no identifier that a person would write.
const KEEP: &str = "windlass_shell_value";

/// A value that is kept aside while the text is rendered.
#[derive(Debug, Clone)]
struct Kept {
    /// Which expression of the template gave it.
    expression: usize,
    text: String,
    form: Form,
}

/// How a value asks to be written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    /// So that it is read back as it is.
    Value,
    /// As a word in quotes, whose text is shell code that means the value.
    Quoted,
}

/// What went through `| quote` or `| unquoted`.
#[derive(Debug)]
enum Filtered {
    Quoted(String),
    Unquoted(String),
}

impl Object for Filtered {
    fn repr(self: &Arc<Self>) -> ObjectRepr {
        ObjectRepr::Plain
    }

    fn is_true(self: &Arc<Self>) -> bool {
        match &**self {
            Self::Quoted(text) | Self::Unquoted(text) => !text.is_empty(),
        }
    }

    fn render(self: &Arc<Self>, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &**self {
            Self::Quoted(text) => f.write_str(&quote::word(text)),
            Self::Unquoted(text) => f.write_str(text),
        }
    }
}

/// Adds the filters that people name.
pub(super) fn add_to(environment: &mut Environment<'static>) {
    environment.add_filter("quote", |value: Value| Value::from_object(Filtered::Quoted(value.to_string())));
    environment.add_filter("unquoted", |value: Value| Value::from_object(Filtered::Unquoted(value.to_string())));
}

/// A template for a shell, ready to be rendered.
pub(super) struct Guarded {
    /// The template with its doubtful expressions wrapped. Lines stay where they are.
    pub(super) source: String,
    /// The environment that knows how to keep values aside.
    pub(super) environment: Environment<'static>,
    expressions: Vec<doubt::Expression>,
    marks: Marks,
    kept: Arc<Mutex<Vec<Kept>>>,
}

impl Guarded {
    /// Wraps the expressions of a template.
    ///
    /// # Errors
    /// [`Refusal`] for what a template for a shell can not do.
    pub(super) fn new(environment: &Environment<'static>, source: &str) -> Result<Self, Refusal> {
        let (source, expressions) = doubt::wrapped(environment, source, KEEP)?;
        let marks = Marks::new();
        let kept = Arc::new(Mutex::new(Vec::new()));
        let mut environment = environment.clone();
        let store = Arc::clone(&kept);
        environment.add_filter(KEEP, move |value: Value, expression: usize| keep(&store, marks, value, expression));
        Ok(Self { source, environment, expressions, marks, kept })
    }

    /// The command, from what was rendered.
    ///
    /// # Errors
    /// [`Refusal`] when a value can not be written where it stands.
    pub(super) fn command(&self, rendered: &str) -> Result<String, Refusal> {
        let kept = self.kept();
        let items = item::items(rendered, self.marks, kept.len())?;
        if items.iter().all(|item| !item.is_value()) {
            return Ok(rendered.to_owned());
        }
        let written = lexer::read(&items, &kept).map_err(|refusal| refusal.at(&self.expressions, &kept))?;
        Ok(item::put_together(rendered, &items, &written))
    }

    /// The words of a command line that no shell reads, split by `split` with the marks still in them: a value is a part of
    /// one word, whatever its characters are.
    ///
    /// # Errors
    /// [`Refusal`] when a value would become code of a shell that the words start.
    pub(super) fn words(&self, words: Vec<String>) -> Result<Vec<String>, Refusal> {
        let kept = self.kept();
        let mut simple = command::Simple::default();
        let mut found = Vec::with_capacity(words.len());
        for word in words {
            let items = item::items(&word, self.marks, kept.len())?;
            let is_code = simple.next_is_code(&word);
            let mut written = Vec::new();
            for item in &items {
                let Some(value) = item.value() else { continue };
                if is_code && !quote::is_plain(&kept[value].text) && kept[value].form == Form::Value {
                    return Err(Refusal::of(value, refusal::Why::Code).at(&self.expressions, &kept));
                }
                let text = &kept[value];
                let text =
                    if is_code && text.form == Form::Quoted { quote::word(&text.text) } else { text.text.clone() };
                written.push((item.start, text));
            }
            let whole = item::put_together(&word, &items, &written);
            simple.push_literal((!items.iter().any(item::Item::is_value)).then_some(whole.as_str()));
            found.push(whole);
        }
        Ok(found)
    }

    fn kept(&self) -> Vec<Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// Keeps a value aside and gives its mark. Instants and what `| unquoted` gave are text as any other.
fn keep(store: &Mutex<Vec<Kept>>, marks: Marks, value: Value, expression: usize) -> Result<Value, Error> {
    if value.is_undefined() {
        return Err(Error::from(ErrorKind::UndefinedError));
    }
    let is_time =
        value.downcast_object_ref::<DateTime>().is_some() || value.downcast_object_ref::<Timedelta>().is_some();
    if is_time {
        return Ok(value);
    }
    let (text, form) = match value.downcast_object_ref::<Filtered>() {
        Some(Filtered::Unquoted(_)) => return Ok(value),
        Some(Filtered::Quoted(text)) => (text.clone(), Form::Quoted),
        None => (value.to_string(), Form::Value),
    };
    let mut kept = store.lock().unwrap_or_else(PoisonError::into_inner);
    // A text that was put together with `{% set %}…{% endset %}` may have marks in it: then it is the text with the values.
    let text = item::resolved(&text, marks, &kept);
    kept.push(Kept { expression, text, form });
    Ok(marks.mark(kept.len() - 1).into())
}
