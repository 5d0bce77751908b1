//! Which modules a Python file imports, so that those of the DAG folder come along with it.
//!
//! Lines that begin with `import` or `from` are read, wherever they stand; what only a run knows (`importlib`, `__import__`) is
//! not seen. A line of a text that looks like an import names a module too many, which does no harm.

/// So many imports of one file are looked at.
const IMPORTS_MAX: usize = 1_000;

/// One imported module.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Import {
    /// How many dots stand before its name: 0 for one that is looked for from the top.
    pub(crate) dots: usize,
    /// Its name, which is empty in `from . import x`.
    pub(crate) module: String,
    /// The names taken from it, which may be modules, too.
    pub(crate) names: Vec<String>,
}

/// The imports of a file, in its order.
pub(crate) fn imports(text: &str) -> Vec<Import> {
    let mut found = Vec::new();
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        let line = code(line);
        if !(line.starts_with("import ") || line.starts_with("from ")) || found.len() >= IMPORTS_MAX {
            continue;
        }
        let mut statement = line.to_owned();
        while statement.ends_with('\\') || (statement.contains('(') && !statement.contains(')')) {
            let Some(next) = lines.next() else { break };
            statement.truncate(statement.trim_end_matches('\\').len());
            statement.push(' ');
            statement.push_str(code(next));
        }
        found.extend(read(&statement));
    }
    found.truncate(IMPORTS_MAX);
    found
}

/// A line without its comment.
fn code(line: &str) -> &str {
    line.split('#').next().unwrap_or_default().trim()
}

fn read(statement: &str) -> Vec<Import> {
    if let Some(modules) = statement.strip_prefix("import ") {
        let of_module = |module: &str| Import { dots: 0, module: module.to_owned(), names: Vec::new() };
        return names(modules).iter().map(|module| of_module(module)).collect();
    }
    let Some((module, taken)) = statement.strip_prefix("from ").and_then(|rest| rest.split_once(" import")) else {
        return Vec::new();
    };
    let module = module.trim();
    let name = module.trim_start_matches('.');
    if !is_dotted(name) && !name.is_empty() {
        return Vec::new();
    }
    let import = Import { dots: module.len() - name.len(), module: name.to_owned(), names: names(taken) };
    if import.dots == 0 && import.module.is_empty() { Vec::new() } else { vec![import] }
}

/// The names of a list such as `(a, b as c)`.
fn names(list: &str) -> Vec<String> {
    let all = list.split([',', '(', ')', ';']);
    let first = all.filter_map(|item| item.split_whitespace().next());
    first.filter(|name| is_dotted(name)).map(str::to_owned).collect()
}

/// Whether a text is names with dots between them.
pub(crate) fn is_dotted(text: &str) -> bool {
    text.split('.').all(|part| {
        let mut chars = part.chars();
        chars.next().is_some_and(|c| c.is_alphabetic() || c == '_') && chars.all(|c| c.is_alphanumeric() || c == '_')
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn import(dots: usize, module: &str, names: &[&str]) -> Import {
        Import { dots, module: module.to_owned(), names: names.iter().map(|name| (*name).to_owned()).collect() }
    }

    #[test]
    fn every_form_of_an_import_is_seen() {
        let text = "import a\nimport b.c as d, e  # f\nfrom g import h\nfrom i.j import (  # why\n    k,\n    l as m,\n)\n\
             from . import n\nfrom ..o.p import q, \\\n    r\n    import s\nfrom t import *\nx = 'import y'\nimportant = 1\n\
             try: import z\nfrom\nfrom import\nimport 5\n";
        let expected = [
            import(0, "a", &[]),
            import(0, "b.c", &[]),
            import(0, "e", &[]),
            import(0, "g", &["h"]),
            import(0, "i.j", &["k", "l"]),
            import(1, "", &["n"]),
            import(2, "o.p", &["q", "r"]),
            import(0, "s", &[]),
            import(0, "t", &[]),
        ];
        assert_eq!(imports(text), expected);
    }

    #[test]
    fn a_statement_without_an_end_ends_with_the_file() {
        assert_eq!(imports("from a import (b,\n"), [import(0, "a", &["b"])]);
        assert_eq!(imports("import a \\"), [import(0, "a", &[])]);
    }
}
