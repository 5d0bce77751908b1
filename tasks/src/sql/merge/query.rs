//! The query behind a `MERGE`: which rows change, and into what.
//!
//! It is put together from the statement's own expressions, so an error of the planner still has its line and column.
//! Its result has the target's columns, then [`CLAUSE_COLUMN`] and the address of the row that the new one replaces.

use datafusion::sql::sqlparser::ast::{
    BinaryOperator, CaseWhen, Expr, GroupByExpr, Ident, Join, JoinConstraint, JoinOperator, ObjectName, ObjectNamePart,
    Query, Select, SelectFlavor, SelectItem, SetExpr, TableAlias, TableFactor, TableWithJoins, Value,
    WildcardAdditionalOptions, helpers::attached_token::AttachedToken,
};

use super::super::error::{Position, SqlError};
use super::super::names::{CATALOG, lower};
use super::super::scan::{FILE_COLUMN, ROW_COLUMN};
use super::{Action, Clause, Merge};

/// The number, from 1, of the clause that decides about a row; 0 stands for a row that stays as it is.
pub(super) const CLAUSE_COLUMN: &str = "_windlass_clause";

/// Schema and table under which the target with addresses is known to the query.
pub(in super::super) const TARGET: (&str, &str) = ("_windlass", "merge_target");

/// What the query has to know of the target.
#[derive(Clone, Copy)]
pub(in super::super) struct Target<'a> {
    /// The names of its columns.
    pub(in super::super) columns: &'a [String],
    /// Whether there is anything to join with.
    pub(in super::super) rows: TargetRows,
}

/// Whether a target has rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in super::super) enum TargetRows {
    /// It never had any; the table [`TARGET`] has one row of nulls instead.
    None,
    /// It may have some.
    Some,
}

/// Builds the query of a merge.
///
/// # Errors
/// [`SqlError::Statement`] when a clause names a column that the target lacks, or gives too few values.
pub(in super::super) fn of(merge: &Merge, target: Target<'_>) -> Result<Query, SqlError> {
    let columns = target.columns;
    merge.clauses.iter().try_for_each(|clause| check_columns(clause, columns))?;
    let names = Names { target: &merge.alias };
    let mut projection: Vec<SelectItem> = columns
        .iter()
        .enumerate()
        .map(|(at, column)| named(names.new_value(&merge.clauses, column, at), column))
        .collect();
    projection.push(named(names.clause(&merge.clauses), CLAUSE_COLUMN));
    projection.extend([FILE_COLUMN, ROW_COLUMN].map(|column| named(names.old(column), column)));
    let changes = select(projection, joined(merge, target.rows), None);
    let inner = TableFactor::Derived {
        lateral: false,
        subquery: Box::new(changes),
        alias: Some(alias(Ident::new("changes"))),
        sample: None,
    };
    let is_change = binary(quoted(CLAUSE_COLUMN), BinaryOperator::Gt, number(0));
    let everything = SelectItem::Wildcard(WildcardAdditionalOptions::default());
    Ok(select(vec![everything], TableWithJoins { relation: inner, joins: Vec::new() }, Some(is_change)))
}

/// The query that reads just the source of a merge: its tables are those that the statement reads.
pub(in super::super) fn source(merge: &Merge) -> Query {
    let everything = SelectItem::Wildcard(WildcardAdditionalOptions::default());
    let conditions = merge.clauses.iter().filter_map(|clause| clause.condition.clone());
    let conditions = conditions.fold(merge.on.clone(), |all, one| binary(all, BinaryOperator::And, one));
    select(vec![everything], TableWithJoins { relation: merge.source.clone(), joins: Vec::new() }, Some(conditions))
}

fn check_columns(clause: &Clause, columns: &[String]) -> Result<(), SqlError> {
    for name in clause.action.columns() {
        if !columns.contains(&lower(name)) {
            let position = Position::of_span(name.span).unwrap_or(clause.position);
            let message = format!("the target has no column {name}; its columns are {}", columns.join(", "));
            return Err(SqlError::at(position, message));
        }
    }
    match &clause.action {
        Action::Insert { columns: named, values } if named.is_empty() && values.len() != columns.len() => {
            let message = format!(
                "INSERT gives {} values for the {} columns {}",
                values.len(),
                columns.len(),
                columns.join(", ")
            );
            Err(SqlError::at(clause.position, message))
        }
        Action::Insert { .. } | Action::Update(_) | Action::Delete => Ok(()),
    }
}

/// Writes expressions with the statement's name for the target.
struct Names<'a> {
    target: &'a Ident,
}

impl Names<'_> {
    fn old(&self, column: &str) -> Expr {
        Expr::CompoundIdentifier(vec![self.target.clone(), Ident::with_quote('"', column)])
    }

    /// When a clause is the one for a row, provided that none before it is.
    fn fits(&self, clause: &Clause) -> Expr {
        let row = Box::new(self.old(ROW_COLUMN));
        let kind = match clause.action {
            Action::Update(_) | Action::Delete => Expr::IsNotNull(row),
            Action::Insert { .. } => Expr::IsNull(row),
        };
        match &clause.condition {
            Some(condition) => binary(kind, BinaryOperator::And, Expr::Nested(Box::new(condition.clone()))),
            None => kind,
        }
    }

    /// The number of the clause that changes the row. An update that gives every column its old value is no change.
    fn clause(&self, clauses: &[Clause]) -> Expr {
        let numbered = clauses.iter().zip(1..).map(|(clause, place)| {
            let result = match self.differs(&clause.action) {
                Some(differs) => case(vec![when(differs, number(place))], number(0)),
                None => number(place),
            };
            when(self.fits(clause), result)
        });
        case(numbered.collect(), number(0))
    }

    fn differs(&self, action: &Action) -> Option<Expr> {
        let Action::Update(assignments) = action else { return None };
        let differs = |(column, value): &(Ident, Expr)| {
            Expr::IsDistinctFrom(Box::new(Expr::Nested(Box::new(value.clone()))), Box::new(self.old(&lower(column))))
        };
        assignments.iter().map(differs).reduce(|one, other| binary(one, BinaryOperator::Or, other))
    }

    /// What a column holds after the clause that fits.
    fn new_value(&self, clauses: &[Clause], column: &str, at: usize) -> Expr {
        let result = |clause: &Clause| match (clause.action.value_of(column, at), &clause.action) {
            (Some(value), _) => value.clone(),
            (None, Action::Insert { .. }) => Expr::value(Value::Null),
            (None, Action::Update(_) | Action::Delete) => self.old(column),
        };
        let whens = clauses.iter().map(|clause| when(self.fits(clause), result(clause))).collect();
        case(whens, Expr::value(Value::Null))
    }
}

/// `source LEFT JOIN target ON …`; for a target without rows the one row of nulls that stands for it, beside each row of
/// the source: what the join would give, and nothing of the source has to be kept for it.
fn joined(merge: &Merge, rows: TargetRows) -> TableWithJoins {
    let target = target(alias(merge.alias.clone()));
    let source = merge.source.clone();
    let (relation, join) = match rows {
        TargetRows::Some => (
            source,
            Join {
                relation: target,
                global: false,
                join_operator: JoinOperator::Left(JoinConstraint::On(merge.on.clone())),
            },
        ),
        TargetRows::None => (
            target,
            Join { relation: source, global: false, join_operator: JoinOperator::CrossJoin(JoinConstraint::None) },
        ),
    };
    TableWithJoins { relation, joins: vec![join] }
}

fn target(alias: TableAlias) -> TableFactor {
    let name = [CATALOG, TARGET.0, TARGET.1].map(|part| ObjectNamePart::Identifier(Ident::new(part)));
    TableFactor::Table {
        name: ObjectName(name.into()),
        alias: Some(alias),
        args: None,
        with_hints: Vec::new(),
        version: None,
        with_ordinality: false,
        partitions: Vec::new(),
        json_path: None,
        sample: None,
        index_hints: Vec::new(),
    }
}

fn select(projection: Vec<SelectItem>, from: TableWithJoins, selection: Option<Expr>) -> Query {
    let select = Select {
        select_token: AttachedToken::empty(),
        optimizer_hint: None,
        distinct: None,
        select_modifiers: None,
        top: None,
        top_before_distinct: false,
        projection,
        exclude: None,
        into: None,
        from: vec![from],
        lateral_views: Vec::new(),
        prewhere: None,
        selection,
        connect_by: Vec::new(),
        group_by: GroupByExpr::Expressions(Vec::new(), Vec::new()),
        cluster_by: Vec::new(),
        distribute_by: Vec::new(),
        sort_by: Vec::new(),
        having: None,
        named_window: Vec::new(),
        qualify: None,
        window_before_qualify: false,
        value_table_mode: None,
        flavor: SelectFlavor::Standard,
    };
    Query {
        with: None,
        body: Box::new(SetExpr::Select(Box::new(select))),
        order_by: None,
        limit_clause: None,
        fetch: None,
        locks: Vec::new(),
        for_clause: None,
        settings: None,
        format_clause: None,
        pipe_operators: Vec::new(),
    }
}

fn alias(name: Ident) -> TableAlias {
    TableAlias { explicit: true, name, columns: Vec::new() }
}

fn named(expr: Expr, column: &str) -> SelectItem {
    SelectItem::ExprWithAlias { expr, alias: Ident::with_quote('"', column) }
}

fn quoted(column: &str) -> Expr {
    Expr::Identifier(Ident::with_quote('"', column))
}

fn number(value: usize) -> Expr {
    Expr::value(Value::Number(value.to_string(), false))
}

fn binary(left: Expr, op: BinaryOperator, right: Expr) -> Expr {
    Expr::BinaryOp { left: Box::new(left), op, right: Box::new(right) }
}

fn when(condition: Expr, result: Expr) -> CaseWhen {
    CaseWhen { condition, result }
}

fn case(conditions: Vec<CaseWhen>, otherwise: Expr) -> Expr {
    Expr::Case {
        case_token: AttachedToken::empty(),
        end_token: AttachedToken::empty(),
        operand: None,
        conditions,
        else_result: Some(Box::new(otherwise)),
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::command::Command;
    use super::super::super::script::parse;
    use super::*;

    fn query(sql: &str) -> Result<String, String> {
        let Command::Merge(merge) = parse(sql).map_err(|error| error.to_string())?.remove(0).command else {
            panic!("not a MERGE");
        };
        let columns = ["k".to_owned(), "v".to_owned()];
        of(&merge, Target { columns: &columns, rows: TargetRows::Some })
            .map(|query| query.to_string())
            .map_err(|error| error.to_string())
    }

    #[test]
    fn a_merge_becomes_a_join_that_tells_what_changes() {
        let text = query(
            "MERGE INTO g.t AS t USING (SELECT 1 AS k, 2 AS v) AS s ON t.k = s.k \
             WHEN MATCHED THEN UPDATE SET v = s.v WHEN NOT MATCHED THEN INSERT (k, v) VALUES (s.k, s.v)",
        )
        .unwrap();
        assert!(
            text.contains("(SELECT 1 AS k, 2 AS v) AS s LEFT JOIN lake._windlass.merge_target AS t ON t.k = s.k"),
            "{text}"
        );
        assert!(text.contains("CASE WHEN (s.v) IS DISTINCT FROM t.\"v\" THEN 1 ELSE 0 END"), "{text}");
        assert!(text.ends_with("WHERE \"_windlass_clause\" > 0"), "{text}");
    }

    #[test]
    fn mistakes_in_clauses_have_their_place() {
        let merge = |clauses: &str| {
            query(&format!("MERGE INTO g.t USING (SELECT 1 AS k) AS s ON t.k = s.k\n{clauses}")).unwrap_err()
        };
        assert!(
            merge("WHEN MATCHED THEN UPDATE SET w = 1")
                .starts_with("line 2, column 30: the target has no column w; its columns are k, v")
        );
        assert!(
            merge("WHEN NOT MATCHED THEN INSERT (k, v) VALUES (1)")
                .starts_with("line 2, column 1: INSERT names 2 columns and gives 1 values")
        );
        assert!(merge("WHEN NOT MATCHED THEN INSERT VALUES (1)").contains("1 values for the 2 columns k, v"));
        assert!(merge("WHEN MATCHED THEN UPDATE SET t.v = 1").contains("write the column's name alone"));
        assert!(merge("WHEN NOT MATCHED BY SOURCE THEN DELETE").contains("a clause is WHEN MATCHED"));
        let no_key =
            query("MERGE INTO g.t USING (SELECT 1 AS k) AS s ON t.k > s.k WHEN MATCHED THEN DELETE").unwrap_err();
        assert!(no_key.contains("compare a key of the target with ="), "{no_key}");
    }
}
