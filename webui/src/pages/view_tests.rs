//! Templates held against the shapes of their views: by reading them, so that a name in a branch that no sample takes is found
//! as well, and by printing them.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value, json};
use tera::{
    Context, Template, Tera,
    ast::{Expr, ExprVal, Forloop, MacroCall, Node},
};

use super::{Parts, all};
use crate::assets::ENGINE;

/// The shape of a value: a JSON Schema, or several of which one holds. None is of a value that has no members, a number of the
/// template itself for example.
type Shape<'s> = Vec<&'s Value>;
type Names<'s> = BTreeMap<String, Shape<'s>>;

/// One template read with the shape of its view.
struct Reading<'s> {
    tera: &'s Tera,
    root: &'s Value,
    /// Macros that have been read with arguments of these shapes: they may call themselves.
    read: BTreeSet<(String, String, String)>,
    /// Templates that have been used.
    used: BTreeSet<String>,
    mistakes: BTreeSet<String>,
}

impl<'s> Reading<'s> {
    fn of(tera: &'s Tera, name: &str, root: &'s Value) -> Self {
        let (read, used, mistakes) = (BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
        let mut reading = Self { tera, root, read, used, mistakes };
        let properties = reading.forms(root).into_iter().filter_map(|form| form.get("properties")?.as_object());
        let names = properties.flatten().map(|(name, shape)| (name.clone(), vec![shape])).collect();
        reading.template(name, &names);
        reading
    }

    /// The alternatives of a shape, references followed and null left out.
    fn forms(&self, shape: &'s Value) -> Shape<'s> {
        let mut found = vec![shape];
        if let Some(path) = shape.get("$ref").and_then(Value::as_str) {
            let inner = self.root.pointer(path.trim_start_matches('#')).expect("a reference leads somewhere");
            found.extend(self.forms(inner));
        }
        for several in ["anyOf", "oneOf", "allOf"] {
            for one in shape.get(several).and_then(Value::as_array).into_iter().flatten() {
                found.extend(self.forms(one));
            }
        }
        found
    }

    /// What a name after a dot leads to: a member, or a number in a tuple.
    fn member(&self, of: &Shape<'s>, name: &str) -> Option<Shape<'s>> {
        let forms = of.iter().flat_map(|shape| self.forms(shape));
        let found: Shape<'s> = forms
            .filter_map(|form| {
                let named = form.get("properties").and_then(|members| members.get(name));
                let numbered = name.parse::<usize>().ok().and_then(|at| form.get("prefixItems")?.get(at));
                // Of a map any name may be asked for.
                let keyed = form.get("additionalProperties").filter(|inner| inner.is_object());
                named.or(numbered).or(keyed)
            })
            .collect();
        (!found.is_empty()).then_some(found)
    }

    /// What a loop over it walks.
    fn items(&self, of: &Shape<'s>) -> Option<(Shape<'s>, bool)> {
        let forms: Vec<&Value> = of.iter().flat_map(|shape| self.forms(shape)).collect();
        let lists: Shape<'s> = forms.iter().filter_map(|form| form.get("items")).collect();
        let maps: Shape<'s> = forms
            .iter()
            .filter_map(|form| form.get("additionalProperties").filter(|inner| inner.is_object()))
            .collect();
        match (lists.is_empty(), maps.is_empty()) {
            (false, _) => Some((lists, false)),
            (true, false) => Some((maps, true)),
            (true, true) => None,
        }
    }

    fn template(&mut self, name: &str, names: &Names<'s>) {
        self.used.insert(name.to_owned());
        let Some(template) = self.tera.templates.get(name) else {
            self.mistakes.insert(format!("there is no template {name}"));
            return;
        };
        self.nodes(template, &template.ast, &mut names.clone());
        if let Some(parent) = &template.parent {
            self.template(parent, names);
        }
        for (file, _) in &template.imported_macro_files {
            self.used.insert(file.clone());
        }
    }

    fn nodes(&mut self, template: &'s Template, nodes: &'s [Node], names: &mut Names<'s>) {
        for node in nodes {
            match node {
                Node::VariableBlock(_, expr) => drop(self.expr(template, expr, names)),
                Node::Include(_, files, _) => files.iter().for_each(|file| self.template(file, names)),
                Node::Set(_, set) => {
                    let shape = self.expr(template, &set.value, names);
                    names.insert(set.key.clone(), shape);
                }
                Node::FilterSection(_, section, _) => self.nodes(template, &section.body, names),
                Node::Block(_, block, _) => self.nodes(template, &block.body, names),
                Node::Forloop(_, each, _) => self.each(template, each, names),
                Node::If(choice, _) => {
                    for (_, condition, body) in &choice.conditions {
                        self.expr(template, condition, names);
                        self.nodes(template, body, &mut names.clone());
                    }
                    if let Some((_, body)) = &choice.otherwise {
                        self.nodes(template, body, &mut names.clone());
                    }
                }
                Node::Super
                | Node::Text(_)
                | Node::MacroDefinition(..)
                | Node::Extends(..)
                | Node::ImportMacro(..)
                | Node::Raw(..)
                | Node::Break(_)
                | Node::Continue(_)
                | Node::Comment(..) => {}
            }
        }
    }

    fn each(&mut self, template: &'s Template, each: &'s Forloop, names: &Names<'s>) {
        let container = self.expr(template, &each.container, names);
        let mut inner = names.clone();
        let found = self.items(&container);
        if found.is_none() && !container.is_empty() {
            self.mistakes.insert(format!("{}: a loop over {:?}, which is no list", template.name, each.container.val));
        }
        let (items, _) = found.unwrap_or_default();
        inner.insert(each.value.clone(), items);
        inner.extend(each.key.iter().map(|key| (key.clone(), Vec::new())));
        self.nodes(template, &each.body, &mut inner);
        if let Some(body) = &each.empty_body {
            self.nodes(template, body, &mut names.clone());
        }
    }

    /// The shape of an expression; empty when it has no members.
    fn expr(&mut self, template: &'s Template, expr: &'s Expr, names: &Names<'s>) -> Shape<'s> {
        for argument in expr.filters.iter().flat_map(|filter| filter.args.values()) {
            self.expr(template, argument, names);
        }
        let shape = match &expr.val {
            ExprVal::Ident(path) => self.path(template, path, names),
            ExprVal::Math(math) => self.all(template, [&*math.lhs, &*math.rhs], names),
            ExprVal::Logic(logic) => self.all(template, [&*logic.lhs, &*logic.rhs], names),
            ExprVal::In(one) => self.all(template, [&*one.lhs, &*one.rhs], names),
            ExprVal::Array(values) => self.all(template, values, names),
            ExprVal::FunctionCall(call) => self.all(template, call.args.values(), names),
            ExprVal::Test(test) => {
                self.path(template, &test.ident, names);
                self.all(template, &test.args, names)
            }
            ExprVal::StringConcat(parts) => {
                for part in &parts.values {
                    if let ExprVal::Ident(path) = part {
                        self.path(template, path, names);
                    }
                }
                Vec::new()
            }
            ExprVal::MacroCall(call) => {
                self.call(template, call, names);
                Vec::new()
            }
            ExprVal::String(_) | ExprVal::Int(_) | ExprVal::Float(_) | ExprVal::Bool(_) => Vec::new(),
        };
        if expr.filters.is_empty() { shape } else { Vec::new() }
    }

    fn all(&mut self, in_: &'s Template, of: impl IntoIterator<Item = &'s Expr>, names: &Names<'s>) -> Shape<'s> {
        of.into_iter().for_each(|expr| drop(self.expr(in_, expr, names)));
        Vec::new()
    }

    fn path(&mut self, template: &Template, path: &str, names: &Names<'s>) -> Shape<'s> {
        let mut parts = path.split('.');
        let first = parts.next().unwrap_or_default();
        if first == "loop" {
            return Vec::new();
        }
        let mut found = names.get(first).cloned();
        for part in parts {
            found = found.and_then(|shape| self.member(&shape, part));
        }
        found.unwrap_or_else(|| {
            self.mistakes.insert(format!("{}: `{path}` is nothing that its view has", template.name));
            Vec::new()
        })
    }

    fn call(&mut self, template: &'s Template, call: &'s MacroCall, names: &Names<'s>) {
        let file = match call.namespace.as_str() {
            "self" => Some(template.name.clone()),
            name => template.imported_macro_files.iter().find(|(_, known)| known == name).map(|(file, _)| file.clone()),
        };
        let arguments: Names<'s> =
            call.args.iter().map(|(name, expr)| (name.clone(), self.expr(template, expr, names))).collect();
        let found = file.and_then(|file| self.tera.templates.get(&file));
        let Some((of, called)) = found.and_then(|of| Some((of, of.macros.get(&call.name)?))) else {
            self.mistakes.insert(format!("{}: there is no macro {}::{}", template.name, call.namespace, call.name));
            return;
        };
        let mut inner = Names::new();
        for (name, default) in &called.args {
            match (arguments.get(name), default) {
                (Some(shape), _) => drop(inner.insert(name.clone(), shape.clone())),
                (None, Some(_)) => drop(inner.insert(name.clone(), Vec::new())),
                (None, None) => {
                    self.mistakes.insert(format!("{}: {} is called without `{name}`", template.name, call.name));
                    inner.insert(name.clone(), Vec::new());
                }
            }
        }
        let key = (of.name.clone(), call.name.clone(), format!("{inner:?}"));
        if self.read.insert(key) {
            self.used.insert(of.name.clone());
            self.nodes(of, &called.body, &mut inner);
        }
    }
}

/// Values of every form of a shape: absent and there, empty and filled, every word and variant. Not every combination: the
/// forms of the members are gone through side by side.
struct Samples<'s> {
    root: &'s Value,
}

impl Samples<'_> {
    /// `within` are the references that lead here. A shape that holds itself does so in a list or as what may be absent, so the
    /// end is an empty list or null.
    fn of<'a>(&'a self, shape: &'a Value, within: &[&'a str]) -> Vec<Value> {
        let mut found: Vec<Value> = Vec::new();
        if let Some(word) = shape.get("const") {
            return vec![word.clone()];
        }
        found.extend(shape.get("enum").and_then(Value::as_array).into_iter().flatten().cloned());
        for several in ["anyOf", "oneOf"] {
            for one in shape.get(several).and_then(Value::as_array).into_iter().flatten() {
                found.extend(self.of(one, within));
            }
        }
        if let Some(path) = shape.get("$ref").and_then(Value::as_str) {
            // Deeper, the number of samples would grow by a factor of a hundred with each step.
            if within.contains(&path) {
                return Vec::new();
            }
            let inner = self.root.pointer(path.trim_start_matches('#')).expect("a reference leads somewhere");
            found.extend(self.of(inner, &[within, &[path]].concat()));
        }
        if found.is_empty() || shape.get("properties").is_some() {
            let kinds = match &shape["type"] {
                Value::Array(kinds) => kinds.iter().filter_map(Value::as_str).collect(),
                kind => kind.as_str().into_iter().collect::<Vec<_>>(),
            };
            let own: Vec<Value> = kinds.into_iter().flat_map(|kind| self.of_kind(kind, shape, within)).collect();
            found = match (found.is_empty(), own.as_slice()) {
                (true, _) => own,
                // A variant has its tag beside the members of its content.
                (false, []) => found,
                (false, [tag, ..]) => found.into_iter().map(|inner| merged(inner, tag)).collect(),
            };
        }
        found
    }

    fn of_kind<'a>(&'a self, kind: &str, shape: &'a Value, within: &[&'a str]) -> Vec<Value> {
        match kind {
            "null" => vec![Value::Null],
            "boolean" => vec![json!(false), json!(true)],
            "integer" => vec![json!(0), json!(7)],
            "number" => vec![json!(0.0), json!(1.5)],
            "string" => vec![json!("<b>&'text\""), json!("")],
            "array" => match shape.get("prefixItems").and_then(Value::as_array) {
                Some(items) => {
                    let all: Vec<(usize, Vec<Value>)> =
                        items.iter().map(|item| self.of(item, within)).enumerate().collect();
                    side_by_side(&all, |pairs| pairs.into_iter().map(|(_, value)| value).collect())
                }
                None => vec![json!([]), Value::from(self.of(&shape["items"], within))],
            },
            "object" => {
                let members = shape.get("properties").and_then(Value::as_object);
                let all: Vec<(String, Vec<Value>)> = members
                    .into_iter()
                    .flatten()
                    .map(|(name, member)| (name.clone(), self.of(member, within)))
                    .collect();
                side_by_side(&all, |pairs| pairs.into_iter().collect::<Map<_, _>>().into())
            }
            other => panic!("no sample of a {other}: {shape}"),
        }
    }
}

fn merged(mut inner: Value, tag: &Value) -> Value {
    if let (Value::Object(members), Value::Object(more)) = (&mut inner, tag) {
        members.extend(more.clone());
    }
    inner
}

/// So many values as the member with the most forms has; the second time with the forms of neighbours shifted.
fn side_by_side<K: Clone>(all: &[(K, Vec<Value>)], build: impl Fn(Vec<(K, Value)>) -> Value) -> Vec<Value> {
    let longest = all.iter().map(|(_, values)| values.len()).max().unwrap_or(1);
    let one = |number: usize, shift: usize| {
        let pick = |(at, (key, values)): (usize, &(K, Vec<Value>))| {
            (key.clone(), values.get((number + shift * at) % values.len().max(1)).cloned().unwrap_or_default())
        };
        build(all.iter().enumerate().map(pick).collect())
    };
    (0..longest).map(|number| one(number, 0)).chain((0..longest.min(4)).map(|number| one(number, 1))).collect()
}

fn print(tera: &Tera, template: &str, shape: &Value) -> Vec<String> {
    let samples = Samples { root: shape }.of(shape, &[]);
    assert!(!samples.is_empty(), "{template}");
    let printed = samples.iter().map(|sample| {
        let context = Context::from_serialize(sample).unwrap();
        tera.render(template, &context).map_err(|error| {
            let form: String = sample.to_string().chars().take(500).collect();
            format!("{template}: {error:?}\nfrom {form}")
        })
    });
    printed.filter_map(Result::err).collect()
}

#[test]
fn every_template_names_only_what_its_view_has() {
    let mut used = BTreeSet::new();
    let mut mistakes = BTreeSet::new();
    let mut folders = BTreeSet::new();
    for (folder, parts, shape) in all() {
        assert!(folders.insert(folder), "two views print {folder}");
        let live = (parts == Parts::WithLive).then_some("live");
        for part in ["page"].into_iter().chain(live) {
            let reading = Reading::of(&ENGINE, &format!("{folder}/{part}.html"), shape.as_value());
            used.extend(reading.used);
            mistakes.extend(reading.mistakes);
        }
    }
    assert_eq!(mistakes, BTreeSet::new());
    let unused: Vec<&str> = ENGINE.get_template_names().filter(|name| !used.contains(*name)).collect();
    assert!(unused.is_empty(), "no view prints {unused:?}");
}

#[test]
fn every_template_prints_every_form_of_its_view() {
    for (folder, parts, shape) in all() {
        let live = (parts == Parts::WithLive).then_some("live");
        for part in ["page"].into_iter().chain(live) {
            let errors = print(&ENGINE, &format!("{folder}/{part}.html"), shape.as_value());
            assert!(errors.is_empty(), "{} of a view: {}", errors.len(), errors[0]);
        }
    }
}

mod planted {
    use schemars::JsonSchema;
    use serde::Serialize;

    use super::*;

    #[derive(Serialize, JsonSchema)]
    #[allow(dead_code, reason = "its shape is looked at")]
    struct View {
        title: String,
        note: Option<String>,
        rows: Vec<Row>,
        content: Content,
    }

    #[derive(Serialize, JsonSchema)]
    #[allow(dead_code, reason = "its shape is looked at")]
    struct Row {
        name: String,
        pair: (String, i64),
        rows: Vec<Row>,
    }

    #[derive(Serialize, JsonSchema)]
    #[serde(tag = "kind", rename_all = "snake_case")]
    #[allow(dead_code, reason = "its shape is looked at")]
    enum Content {
        Log { text: String },
        Table(Row),
        Nothing,
    }

    const MACROS: &str = "{% macro row(row) %}{{ row.name }}{% for one in row.rows %}{{ self::row(row=one) }}{% endfor %}{% endmacro row %}\
         {% macro bad(row) %}{% if row.title %}x{% endif %}{% endmacro bad %}";

    fn shape() -> Value {
        schemars::generate::SchemaSettings::draft2020_12()
            .for_serialize()
            .into_generator()
            .into_root_schema_for::<View>()
            .to_value()
    }

    fn engine(page: &str) -> Tera {
        let mut tera = Tera::default();
        let base = "{{ title }}{% block inner %}{% endblock inner %}";
        tera.add_raw_templates([("macros.html", MACROS), ("base.html", base), ("part.html", "{{ note }}")]).unwrap();
        tera.add_raw_template("page.html", &format!("{{% import \"macros.html\" as ui %}}{page}")).unwrap();
        tera
    }

    #[test]
    fn what_a_view_has_is_no_mistake() {
        for page in [
            "{% if note %}{{ note }}{% endif %}{% for row in rows %}{{ ui::row(row=row) }}{{ row.pair.1 + 1 }}{% endfor %}",
            "{% include \"part.html\" %}{{ rows | length }}{{ loop.index }}",
            "{% if content.kind == \"log\" %}{{ content.text }}{% elif content.kind == \"table\" %}{{ content.name }}{% endif %}",
        ] {
            assert_eq!(Reading::of(&engine(page), "page.html", &shape()).mistakes, BTreeSet::new(), "{page}");
        }
        let page = "{% if content.kind == \"log\" %}{{ content.text }}{% elif content.kind == \"table\" %}{{ content.name }}{% endif %}";
        assert_eq!(print(&engine(page), "page.html", &shape()), Vec::<String>::new());
    }

    #[test]
    fn what_a_view_lacks_is_found_wherever_it_stands() {
        for page in [
            "{{ titel }}",
            "{% if note and titel %}x{% endif %}",
            "{% if note %}{% else %}{{ titel }}{% endif %}",
            "{% for row in rows %}{{ row.title }}{% endfor %}",
            "{% for row in rows %}{% for one in row.rows %}{{ one.pair.2 }}{% endfor %}{% endfor %}",
            "{% for row in rows %}{{ ui::bad(row=row) }}{% endfor %}",
            "{{ ui::row(line=rows) }}",
            "{{ ui::gone(row=rows) }}",
            "{% for letter in title %}x{% endfor %}",
            "{% set name = title %}{{ name.first }}",
            "{% if content.kind == \"log\" %}{{ content.texts }}{% endif %}",
            "{{ rows | join(sep=titel) }}",
            "{% include \"gone.html\" ignore missing %}",
        ] {
            assert!(!Reading::of(&engine(page), "page.html", &shape()).mistakes.is_empty(), "{page}");
        }
    }

    #[test]
    fn what_can_not_be_printed_of_some_form_is_found() {
        for page in ["{{ content.text }}", "{{ title + 1 }}", "{% for row in rows %}{{ row.name + 1 }}{% endfor %}"] {
            assert!(!print(&engine(page), "page.html", &shape()).is_empty(), "{page}");
        }
    }
}
