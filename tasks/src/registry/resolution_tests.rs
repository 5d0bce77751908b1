//! The classic cases of schema resolution, each asked in both directions.

use super::*;
use FaultKind as F;

fn kinds(reader: &str, writer: &str) -> Vec<FaultKind> {
    let (reader, writer) = (AvroSchema::parse(reader).unwrap(), AvroSchema::parse(writer).unwrap());
    faults(&reader, &writer, Direction::NewReadsOld).iter().map(|fault| fault.kind).collect()
}

fn record(fields: &str) -> String {
    format!(r#"{{"type":"record","name":"R","namespace":"n","fields":[{fields}]}}"#)
}

/// What `a` reading `b`, and `b` reading `a`, find.
fn both(a: &str, b: &str) -> (Vec<FaultKind>, Vec<FaultKind>) {
    // Whatever is compared here, the library takes for a schema.
    for text in [a, b] {
        apache_avro::Schema::parse_str(text).unwrap_or_else(|error| panic!("{text}: {error}"));
    }
    (kinds(a, b), kinds(b, a))
}

#[test]
fn numbers_promote_upwards_only_and_bytes_and_strings_both_ways() {
    let order = ["int", "long", "float", "double"].map(|kind| format!("\"{kind}\""));
    for (at, small) in order.iter().enumerate() {
        for large in &order[at + 1..] {
            assert_eq!(both(large, small), (vec![], vec![F::TypeMismatch]), "{large} and {small}");
        }
    }
    assert_eq!(both("\"bytes\"", "\"string\""), (vec![], vec![]));
    assert_eq!(both("\"boolean\"", "\"int\""), (vec![F::TypeMismatch], vec![F::TypeMismatch]));
    assert_eq!(both("\"null\"", "\"string\""), (vec![F::TypeMismatch], vec![F::TypeMismatch]));
    assert_eq!(
        both(r#"{"type":"array","items":"long"}"#, r#"{"type":"array","items":"int"}"#),
        (vec![], vec![F::TypeMismatch])
    );
    assert_eq!(
        both(r#"{"type":"map","values":"long"}"#, r#"{"type":"map","values":"int"}"#),
        (vec![], vec![F::TypeMismatch])
    );
    assert_eq!(both(r#"{"type":"map","values":"int"}"#, r#"{"type":"array","items":"int"}"#).0, [F::TypeMismatch]);
}

#[test]
fn a_logical_type_is_read_as_what_it_is_made_of_but_decimals_agree_in_their_digits() {
    let micros = r#"{"type":"long","logicalType":"timestamp-micros"}"#;
    assert_eq!(both(micros, "\"long\""), (vec![], vec![]));
    let date = r#"{"type":"int","logicalType":"date"}"#;
    assert_eq!(both("\"long\"", date), (vec![], vec![F::TypeMismatch]));
    let decimal = |scale: u8| format!(r#"{{"type":"bytes","logicalType":"decimal","precision":10,"scale":{scale}}}"#);
    assert_eq!(both(&decimal(2), &decimal(2)), (vec![], vec![]));
    assert_eq!(both(&decimal(2), &decimal(3)), (vec![F::TypeMismatch], vec![F::TypeMismatch]));
    assert_eq!(both(&decimal(2), "\"bytes\""), (vec![], vec![]));
}

#[test]
fn a_new_field_needs_a_default_and_an_old_one_may_go() {
    let one = record(r#"{"name":"a","type":"long"}"#);
    let with = |field: &str| record(&format!(r#"{{"name":"a","type":"long"}},{field}"#));
    assert_eq!(both(&with(r#"{"name":"b","type":"int"}"#), &one), (vec![F::ReaderFieldMissingDefaultValue], vec![]));
    assert_eq!(both(&with(r#"{"name":"b","type":"int","default":0}"#), &one), (vec![], vec![]));
    // A default of null is a default.
    assert_eq!(both(&with(r#"{"name":"b","type":["null","int"],"default":null}"#), &one), (vec![], vec![]));
    assert_eq!(both(&with(r#"{"name":"b","type":["null","int"]}"#), &one).0, [F::ReaderFieldMissingDefaultValue]);
    // The order of fields is of no account.
    let swapped = record(r#"{"name":"b","type":"int"},{"name":"a","type":"long"}"#);
    assert_eq!(both(&with(r#"{"name":"b","type":"int"}"#), &swapped), (vec![], vec![]));
}

#[test]
fn aliases_of_the_reader_find_fields_and_types_of_the_writer() {
    let old = record(r#"{"name":"a","type":"long"}"#);
    let renamed = record(r#"{"name":"b","aliases":["a"],"type":"long"}"#);
    assert_eq!(both(&renamed, &old), (vec![], vec![F::ReaderFieldMissingDefaultValue]));
    let retyped = record(r#"{"name":"b","aliases":["a"],"type":"int"}"#);
    assert_eq!(both(&retyped, &old).0, [F::TypeMismatch]);
    let moved = old.replace(r#""name":"R","namespace":"n""#, r#""name":"S","aliases":["n.R"],"namespace":"m""#);
    assert_eq!(both(&moved, &old), (vec![], vec![F::NameMismatch]));
    // Another namespace alone is the same name.
    assert_eq!(both(&old.replace(r#""namespace":"n""#, r#""namespace":"m""#), &old), (vec![], vec![]));
    assert_eq!(
        both(&old.replace(r#""name":"R""#, r#""name":"S""#), &old),
        (vec![F::NameMismatch], vec![F::NameMismatch])
    );
}

#[test]
fn a_reader_of_an_enum_knows_all_symbols_or_has_a_default() {
    let of = |symbols: &str, more: &str| format!(r#"{{"type":"enum","name":"E","symbols":[{symbols}]{more}}}"#);
    let (two, three) = (of(r#""A","B""#, ""), of(r#""A","B","C""#, ""));
    assert_eq!(both(&three, &two), (vec![], vec![F::MissingEnumSymbols]));
    let defaulted = of(r#""A","B""#, r#","default":"A""#);
    assert_eq!(both(&three, &defaulted), (vec![], vec![]));
    assert_eq!(both(&two, &two.replace("\"E\"", "\"F\"")).0, [F::NameMismatch]);
    assert_eq!(both(&two, "\"string\"").0, [F::TypeMismatch]);
}

#[test]
fn a_fixed_type_keeps_its_name_and_size() {
    let of = |name: &str, size: u8| format!(r#"{{"type":"fixed","name":"{name}","size":{size}}}"#);
    assert_eq!(both(&of("F", 4), &of("F", 4)), (vec![], vec![]));
    assert_eq!(both(&of("F", 4), &of("F", 8)), (vec![F::FixedSizeMismatch], vec![F::FixedSizeMismatch]));
    assert_eq!(both(&of("F", 4), &of("G", 4)).0, [F::NameMismatch]);
    assert_eq!(both(&of("F", 4), "\"bytes\"").0, [F::TypeMismatch]);
}

#[test]
fn a_union_may_grow_for_readers_and_shrink_for_writers() {
    assert_eq!(both(r#"["null","string"]"#, "\"string\""), (vec![], vec![F::TypeMismatch]));
    assert_eq!(both(r#"["null","int","string"]"#, r#"["null","int"]"#), (vec![], vec![F::MissingUnionBranch]));
    // A branch of the reader may be a promotion of the writer's.
    assert_eq!(both(r#"["null","long"]"#, r#"["null","int"]"#), (vec![], vec![F::MissingUnionBranch]));
    // A reader without a union takes every branch, or does not fit.
    assert_eq!(both("\"double\"", r#"["int","float"]"#).0, []);
    assert_eq!(both("\"long\"", r#"["int","float"]"#).0, [F::TypeMismatch]);
    assert_eq!(both(r#"["null"]"#, r#"["int"]"#).0, [F::MissingUnionBranch]);
    let a = record(r#"{"name":"a","type":"int"}"#);
    let b = record(r#"{"name":"a","type":"int"},{"name":"b","type":"int"}"#);
    assert_eq!(both(&format!("[\"null\",{b}]"), &format!("[\"null\",{a}]")), (vec![F::MissingUnionBranch], vec![]));
}

#[test]
fn recursive_types_are_compared_to_an_end() {
    let tree = |value: &str| {
        format!(
            r#"{{"type":"record","name":"Tree","fields":[{{"name":"value","type":"{value}"}},
               {{"name":"children","type":{{"type":"array","items":"Tree"}}}},
               {{"name":"next","type":["null","Tree"],"default":null}}]}}"#
        )
    };
    assert_eq!(both(&tree("long"), &tree("long")), (vec![], vec![]));
    assert_eq!(both(&tree("long"), &tree("int")), (vec![], vec![F::TypeMismatch]));
    // One level more written out, under its own name, is another type; a reference where the other has the definition is not.
    let inline = r#"{"type":"record","name":"R","fields":[{"name":"x","type":{"type":"fixed","name":"F","size":2}},{"name":"y","type":"F"}]}"#;
    let swapped = r#"{"type":"record","name":"R","fields":[{"name":"y","type":{"type":"fixed","name":"F","size":2}},{"name":"x","type":"F"}]}"#;
    assert_eq!(both(inline, swapped), (vec![], vec![]));
}

#[test]
fn what_was_found_to_fit_by_an_assumption_falls_with_it() {
    // The reader's first branch fails in its last field, after its list was taken to fit by the very assumption that it
    // fits; the second branch holds the same list.
    let list = |last: &str| {
        format!(
            r#"{{"type":"record","name":"A","fields":[
               {{"name":"list","type":{{"type":"array","items":["null","A"]}}}},{{"name":"last","type":"{last}"}}]}}"#
        )
    };
    assert_eq!(kinds(&format!("[{}]", list("int")), &list("long")), [F::MissingUnionBranch]);
    assert_eq!(
        kinds(&format!("[{},{{\"type\":\"array\",\"items\":[\"null\",\"A\"]}}]", list("int")), &list("long")),
        [F::MissingUnionBranch]
    );
}

#[test]
fn long_chains_of_types_end_in_a_fault_and_wide_ones_quickly() {
    let chain = |length: usize, last: &str| {
        let mut union = vec![format!(r#"{{"type":"record","name":"R0","fields":[{{"name":"a","type":"{last}"}}]}}"#)];
        for at in 1..length {
            let before = at - 1;
            union.push(format!(
                r#"{{"type":"record","name":"R{at}","fields":[{{"name":"a","type":"R{before}"}},{{"name":"b","type":"R{before}"}}]}}"#
            ));
        }
        union.reverse();
        format!("[{}]", union.into_iter().rev().collect::<Vec<_>>().join(","))
    };
    assert_eq!(kinds(&chain(60, "long"), &chain(60, "int")), []);
    assert!(!kinds(&chain(60, "int"), &chain(60, "long")).is_empty());
    let holder = |length: usize| {
        let parts: Vec<String> = (1..length)
            .map(|at| format!(r#"{{"name":"f{at}","type":{{"type":"record","name":"R{at}","fields":[{{"name":"a","type":["null",{}]}}]}}}}"#,
                if at == 1 { "\"int\"".to_owned() } else { format!("\"R{}\"", at - 1) }))
            .rev()
            .collect();
        let ordered: Vec<String> = parts.into_iter().rev().collect();
        record(&ordered.join(","))
    };
    // Types are compared from the first on, so each is known when the next one refers to it.
    assert_eq!(kinds(&holder(2_000), &holder(2_000)), []);
}

#[test]
fn a_fault_tells_its_place_and_which_schema_lacks_what() {
    let old = record(r#"{"name":"a","type":{"type":"array","items":{"type":"record","name":"I","fields":[]}}}"#);
    let new = record(
        r#"{"name":"a","type":{"type":"array","items":{"type":"record","name":"I","fields":[{"name":"x","type":"int"}]}}}"#,
    );
    let (old, new) = (AvroSchema::parse(&old).unwrap(), AvroSchema::parse(&new).unwrap());
    let found = faults(&new, &old, Direction::NewReadsOld);
    assert_eq!(found[0].path, "/fields/0/type/items/fields/0");
    assert_eq!(
        found[0].to_string(),
        "{errorType:'READER_FIELD_MISSING_DEFAULT_VALUE', description:'The field 'x' at path \
         '/fields/0/type/items/fields/0' of the new schema has no default value and is missing in the old schema', \
         additionalInfo:'x'}"
    );
    let forward = faults(&new, &old, Direction::OldReadsNew);
    assert!(forward[0].to_string().contains("of the old schema has no default value and is missing in the new schema"));
}
