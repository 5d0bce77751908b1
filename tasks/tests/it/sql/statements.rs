//! Statements one by one.

use super::TestSql;

const NUMBERS: &str = "CREATE SCHEMA IF NOT EXISTS lake.work;
    CREATE TABLE IF NOT EXISTS lake.work.numbers (id BIGINT NOT NULL, note VARCHAR, day DATE) WITH (partitioning = ARRAY['month(day)']);
    INSERT INTO work.numbers SELECT 1 AS a, 'one' AS b, DATE '2026-01-01' AS c UNION ALL SELECT 2, 'two', DATE '2026-02-01'";

const ALL: &str = "SELECT id, note, day FROM work.numbers ORDER BY id";

#[tokio::test]
async fn rows_are_inserted_and_read_with_and_without_the_catalogue() {
    let sql = TestSql::new().await;
    assert_eq!(sql.run(NUMBERS).await.unwrap(), [2]);
    assert_eq!(
        sql.rows("SELECT id, note, day FROM lake.work.numbers ORDER BY id").await,
        ["1,one,2026-01-01", "2,two,2026-02-01"]
    );
    assert_eq!(
        sql.run("INSERT INTO lake.work.numbers (note, id) SELECT upper(note), id + 2 FROM work.numbers").await.unwrap(),
        [2]
    );
    assert_eq!(sql.rows(ALL).await, ["1,one,2026-01-01", "2,two,2026-02-01", "3,ONE,", "4,TWO,"]);
    assert_eq!(sql.rows("SELECT count(*) FROM work.numbers WHERE day >= DATE '2026-02-01'").await, ["1"]);
}

#[tokio::test]
async fn an_insert_of_nothing_commits_nothing() {
    let sql = TestSql::new().await;
    sql.run(NUMBERS).await.unwrap();
    assert_eq!(sql.run("INSERT INTO work.numbers SELECT * FROM work.numbers WHERE id > 5").await.unwrap(), [0]);
    assert_eq!(sql.snapshots("work.numbers").await, 1);
}

#[tokio::test]
async fn a_merge_updates_deletes_and_inserts_in_one_commit() {
    let sql = TestSql::new().await;
    sql.run(NUMBERS).await.unwrap();
    let merge = "MERGE INTO work.numbers AS t
        USING (SELECT 1 AS id, 'uno' AS note UNION ALL SELECT 2, 'dos' UNION ALL SELECT 3, 'tres') AS s ON t.id = s.id
        WHEN MATCHED AND t.id = 2 THEN DELETE
        WHEN MATCHED THEN UPDATE SET note = s.note
        WHEN NOT MATCHED THEN INSERT (id, note) VALUES (s.id, s.note)";
    assert_eq!(sql.run(merge).await.unwrap(), [3]);
    assert_eq!(sql.rows(ALL).await, ["1,uno,2026-01-01", "3,tres,"]);
    assert_eq!(sql.snapshots("work.numbers").await, 2);
}

#[tokio::test]
async fn a_merge_that_changes_nothing_commits_nothing() {
    let sql = TestSql::new().await;
    sql.run(NUMBERS).await.unwrap();
    let merge = "MERGE INTO work.numbers AS t USING (SELECT * FROM work.numbers) AS s ON t.id = s.id
        WHEN MATCHED THEN UPDATE SET note = s.note, day = s.day WHEN NOT MATCHED THEN INSERT VALUES (s.id, s.note, s.day)";
    assert_eq!(sql.run(merge).await.unwrap(), [0]);
    assert_eq!(sql.snapshots("work.numbers").await, 1);
}

#[tokio::test]
async fn a_merge_moves_a_row_to_another_partition_and_keeps_its_neighbours() {
    let sql = TestSql::new().await;
    sql.run(NUMBERS).await.unwrap();
    sql.run("INSERT INTO work.numbers SELECT 3, 'three', DATE '2026-01-31'").await.unwrap();
    let merge = "MERGE INTO work.numbers AS t USING (SELECT 1 AS id, DATE '2026-03-01' AS day) AS s ON t.id = s.id
        WHEN MATCHED THEN UPDATE SET day = s.day";
    assert_eq!(sql.run(merge).await.unwrap(), [1]);
    assert_eq!(sql.rows(ALL).await, ["1,one,2026-03-01", "2,two,2026-02-01", "3,three,2026-01-31"]);
}

#[tokio::test]
async fn two_source_rows_for_one_target_row_are_an_error() {
    let sql = TestSql::new().await;
    sql.run(NUMBERS).await.unwrap();
    let merge = "\n\nMERGE INTO work.numbers AS t USING (SELECT 1 AS id, 'a' AS note UNION ALL SELECT 1, 'b') AS s ON t.id = s.id
        WHEN MATCHED THEN UPDATE SET note = s.note";
    let message = sql.refusal(merge).await;
    assert!(
        message.starts_with("line 3, column 1: one row of the target matched more than one row of the source"),
        "{message}"
    );
    assert_eq!(sql.snapshots("work.numbers").await, 1);
}

#[tokio::test]
async fn mistakes_are_told_with_their_place_and_what_would_be_right() {
    let sql = TestSql::new().await;
    sql.run(NUMBERS).await.unwrap();
    for (statement, expected) in [
        ("SELECT *\nFROM work.number", "line 2, column 6: there is no table work.number; did you mean work.numbers?"),
        ("SELECT 1;\nSELECT id,\n  nota FROM work.numbers", "line 3, column 3: "),
        ("SELECT * FROM numbers", "line 1, column 15: numbers is no table of the lake; write schema.table"),
        ("SELECT * FROM '/etc/passwd'", "is no table of the lake"),
        (
            "INSERT INTO work.numbers SELECT 'x', 'y', DATE '2026-01-01'",
            "column id is BIGINT, but its value is VARCHAR",
        ),
        ("INSERT INTO work.numbers SELECT 1, 'y'", "3 columns of work.numbers are to be filled, but the query has 2"),
        ("INSERT INTO work.numbers (id, nota) SELECT 1, 'y'", "line 1, column 31: work.numbers has no column nota"),
        ("INSERT INTO work.nothing SELECT 1", "there is no table work.nothing"),
        ("INSERT INTO work.numbers (note) SELECT 'y'", "id"),
        ("DROP TABLE work.numbers", "allowed are SELECT, CREATE SCHEMA IF NOT EXISTS"),
        ("SELECT no_such_function(id) FROM work.numbers", "no_such_function"),
    ] {
        let message = sql.refusal(statement).await;
        assert!(message.contains(expected), "{statement}\n  {message}");
    }
    assert_eq!(sql.snapshots("work.numbers").await, 1);
}

#[tokio::test]
async fn writers_of_one_table_at_the_same_time_lose_nothing() {
    let sql = TestSql::new().await;
    sql.run(NUMBERS).await.unwrap();
    let count = |id: i64| {
        format!(
            "MERGE INTO work.numbers AS t USING (SELECT {id} AS id, (SELECT count(*) FROM work.numbers) AS n) AS s ON t.id = s.id
             WHEN NOT MATCHED THEN INSERT (id, note) VALUES (s.id, CAST(s.n AS varchar))"
        )
    };
    let (a, b) = (count(10), count(11));
    let (first, second) = tokio::join!(sql.run(&a), sql.run(&b));
    assert_eq!((first.unwrap(), second.unwrap()), (vec![1], vec![1]));
    let notes = sql.rows("SELECT note FROM work.numbers WHERE id >= 10 ORDER BY note").await;
    assert_eq!(notes, ["2", "3"], "the second one saw what the first one did");
}
