//! What a run is given: a `conf` over the DAG's params, checked against their JSON Schemas.

use serde_json::{Map, Value};

use crate::compiled::Dag;

/// How many mismatches of one value are told.
const MISMATCHES_MAX: usize = 3;

/// Why a value does not fit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Mismatch {
    /// The schema is not one.
    Schema(String),
    /// The value breaks it.
    Value(String),
}

impl Dag {
    /// The params of a run with this conf: the DAG's defaults with the conf over them. A key of the conf that is no param
    /// is kept, as in Airflow.
    ///
    /// # Errors
    /// A sentence for each param whose value breaks its schema, beginning with the param's name.
    pub fn validate_conf(&self, conf: &Map<String, Value>) -> Result<Map<String, Value>, Vec<String>> {
        let mut values: Map<String, Value> =
            self.params.iter().map(|(name, param)| (name.clone(), param.default.clone())).collect();
        values.extend(conf.iter().map(|(name, value)| (name.clone(), value.clone())));
        let mismatch = |(name, param): (&String, &crate::Param)| {
            let given = conf.contains_key(name);
            match check_value(&param.schema, values.get(name).unwrap_or(&Value::Null)) {
                Ok(()) => None,
                Err(_) if !given && param.default.is_null() => Some(format!("param {name}: a value is missing")),
                Err(Mismatch::Value(why) | Mismatch::Schema(why)) => Some(format!("param {name}: {why}")),
            }
        };
        let mismatches: Vec<String> = self.params.iter().filter_map(mismatch).collect();
        if mismatches.is_empty() { Ok(values) } else { Err(mismatches) }
    }
}

/// Checks a value against a JSON Schema. References to other documents are not followed.
pub(crate) fn check_value(schema: &Value, value: &Value) -> Result<(), Mismatch> {
    if schema.as_object().is_some_and(Map::is_empty) {
        return Ok(());
    }
    let validator = jsonschema::options()
        .with_retriever(NothingElsewhere)
        .build(schema)
        .map_err(|why| Mismatch::Schema(why.to_string()))?;
    let mismatches: Vec<String> = validator
        .iter_errors(value)
        .take(MISMATCHES_MAX)
        .map(|error| match error.instance_path.to_string() {
            path if path.is_empty() => error.to_string(),
            path => format!("{path}: {error}"),
        })
        .collect();
    if mismatches.is_empty() { Ok(()) } else { Err(Mismatch::Value(mismatches.join("; "))) }
}

/// Refuses references to other documents: a DAG file must not make the leader call addresses or read files.
struct NothingElsewhere;

impl jsonschema::Retrieve for NothingElsewhere {
    fn retrieve(&self, _uri: &jsonschema::Uri<String>) -> Result<Value, Box<dyn std::error::Error + Send + Sync>> {
        Err("a param's schema can only refer to itself".into())
    }
}
