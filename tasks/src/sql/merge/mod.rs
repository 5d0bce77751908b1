//! `MERGE INTO t USING (SELECT …) AS s ON … WHEN …`, which neither DataFusion nor Iceberg's library has.
//!
//! [`query`] turns the statement into one query: the source joined with the target, whose rows carry their address, gives
//! for each row that changes what becomes of it. [`apply`] streams that query: new rows go straight into new files,
//! addresses of replaced rows into one bit each; then the files with such rows are read again without them, and one swap
//! puts everything in place. A row that an update leaves as it is does not count as changed, so a merge without news
//! commits nothing.

pub(super) mod apply;
mod marks;
pub(super) mod query;

use datafusion::sql::sqlparser::ast::{
    self, Assignment, AssignmentTarget, BinaryOperator, Expr, Ident, MergeAction, MergeClauseKind, MergeInsertKind,
    ObjectName, Spanned, TableFactor,
};

use super::command::refused;
use super::error::{Position, SqlError};
use super::names::lower;

/// A `MERGE` as the engine runs it.
#[derive(Clone, Debug)]
pub struct Merge {
    /// The table that changes.
    pub target: ObjectName,
    /// What the statement calls it.
    pub alias: Ident,
    /// Where the news come from.
    pub source: TableFactor,
    /// When a row of the source is about a row of the target.
    pub on: Expr,
    /// What is done; the first clause that fits a row counts.
    pub clauses: Vec<Clause>,
}

/// One `WHEN … THEN …`.
#[derive(Clone, Debug)]
pub struct Clause {
    /// The condition behind `AND`.
    pub condition: Option<Expr>,
    /// What is done.
    pub action: Action,
    /// Where the clause starts.
    pub position: Position,
}

/// What a clause does; the first two are for matched rows, the last for rows that the target lacks.
#[derive(Clone, Debug)]
pub enum Action {
    /// `UPDATE SET column = value, …`.
    Update(Vec<(Ident, Expr)>),
    /// `DELETE`.
    Delete,
    /// `INSERT (columns) VALUES (values)`; all columns when none is named.
    Insert {
        /// The columns.
        columns: Vec<Ident>,
        /// A value for each.
        values: Vec<Expr>,
    },
}

impl Merge {
    /// Takes a parsed `MERGE`, or says why not.
    pub(super) fn read(merge: ast::Merge, start: Position) -> Result<Self, SqlError> {
        let TableFactor::Table { name, alias, args: None, .. } = merge.table else {
            return Err(refused("MERGE INTO something else than a table", start));
        };
        if merge.output.is_some() || !merge.into {
            return Err(refused("this form of MERGE", start));
        }
        let alias = match (alias, name.0.last().and_then(|part| part.as_ident())) {
            (Some(alias), _) => alias.name,
            (None, Some(last)) => last.clone(),
            (None, None) => return Err(refused("MERGE INTO something else than a table", start)),
        };
        if !matches!(merge.source, TableFactor::Derived { .. } | TableFactor::Table { args: None, .. }) {
            return Err(refused("USING anything but a table or a (SELECT …)", start));
        }
        if !has_equality(&merge.on) {
            let position = Position::of_span(merge.on.span()).unwrap_or(start);
            return Err(SqlError::at(
                position,
                "ON must compare a key of the target with = (further conditions may follow with AND)",
            ));
        }
        let clauses =
            merge.clauses.into_iter().map(|clause| read_clause(clause, start)).collect::<Result<Vec<_>, _>>()?;
        if clauses.is_empty() {
            return Err(SqlError::at(start, "MERGE needs at least one WHEN clause"));
        }
        Ok(Self { target: name, alias, source: merge.source, on: *merge.on, clauses })
    }
}

fn read_clause(clause: ast::MergeClause, start: Position) -> Result<Clause, SqlError> {
    let position = Position::of_span(clause.when_token.0.span).unwrap_or(start);
    let action = match (clause.clause_kind, clause.action) {
        (MergeClauseKind::Matched, MergeAction::Update(update))
            if update.update_predicate.is_none() && update.delete_predicate.is_none() =>
        {
            Action::Update(
                update.assignments.into_iter().map(|one| read_assignment(one, position)).collect::<Result<_, _>>()?,
            )
        }
        (MergeClauseKind::Matched, MergeAction::Delete { .. }) => Action::Delete,
        (MergeClauseKind::NotMatched, MergeAction::Insert(insert)) if insert.insert_predicate.is_none() => {
            read_insert(insert, position)?
        }
        _ => {
            let message = "a clause is WHEN MATCHED [AND …] THEN UPDATE SET … or DELETE, or WHEN NOT MATCHED [AND …] THEN INSERT (…) VALUES (…)";
            return Err(SqlError::at(position, message));
        }
    };
    Ok(Clause { condition: clause.predicate, action, position })
}

fn read_assignment(assignment: Assignment, start: Position) -> Result<(Ident, Expr), SqlError> {
    let Assignment { target, value } = assignment;
    let column = match &target {
        AssignmentTarget::ColumnName(name) if name.0.len() == 1 => name.0[0].as_ident().cloned(),
        AssignmentTarget::ColumnName(_) | AssignmentTarget::Tuple(_) => None,
    };
    let position = Position::of_span(target.span()).unwrap_or(start);
    let column = column.ok_or_else(|| {
        SqlError::at(position, format!("SET {target} = …: write the column's name alone, as Trino wants it"))
    })?;
    Ok((column, value))
}

fn read_insert(insert: ast::MergeInsertExpr, position: Position) -> Result<Action, SqlError> {
    let columns: Option<Vec<Ident>> = insert.columns.iter().map(|name| name.0.last()?.as_ident().cloned()).collect();
    match (columns, insert.kind) {
        (Some(columns), MergeInsertKind::Values(values)) if values.rows.len() == 1 => {
            let values = values.rows.into_iter().next().unwrap_or_default();
            if !columns.is_empty() && columns.len() != values.len() {
                let message = format!("INSERT names {} columns and gives {} values", columns.len(), values.len());
                return Err(SqlError::at(position, message));
            }
            Ok(Action::Insert { columns, values })
        }
        _ => Err(SqlError::at(position, "THEN INSERT takes (columns) VALUES (one value for each)")),
    }
}

/// Whether a condition compares with `=` in one of its `AND` parts.
fn has_equality(on: &Expr) -> bool {
    match on {
        Expr::BinaryOp { op: BinaryOperator::Eq, .. } => true,
        Expr::BinaryOp { left, op: BinaryOperator::And, right } => has_equality(left) || has_equality(right),
        Expr::Nested(inner) => has_equality(inner),
        _ => false,
    }
}

impl Action {
    /// The expression that the action gives to a column, if it names it; `at` is the column's place in the table.
    fn value_of(&self, column: &str, at: usize) -> Option<&Expr> {
        match self {
            Self::Update(assignments) => {
                assignments.iter().find(|(name, _)| lower(name) == column).map(|(_, value)| value)
            }
            Self::Delete => None,
            Self::Insert { columns, values } if columns.is_empty() => values.get(at),
            Self::Insert { columns, values } => {
                columns.iter().position(|name| lower(name) == column).and_then(|at| values.get(at))
            }
        }
    }

    /// The columns that the action names.
    fn columns(&self) -> Vec<&Ident> {
        match self {
            Self::Update(assignments) => assignments.iter().map(|(name, _)| name).collect(),
            Self::Delete => Vec::new(),
            Self::Insert { columns, .. } => columns.iter().collect(),
        }
    }
}
