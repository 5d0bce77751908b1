//! Questions of tasks: listed and answered by clients of Airflow and on pages.

use std::time::Duration;

use serde_json::{Value, json};

use crate::support::Server;

const DAG: &str = r#"
dag_id: publish
is_paused_upon_creation: false
tasks:
  - task_id: approve
    operator: approval
    subject: "Publish {{ ds }}?"
    assigned_users: [user]
    params: {copies: {type: integer, minimum: 1, default: 2}}
  - task_id: publish
    operator: empty
    dependencies: [approve]
"#;

/// The task `approve` of every run of the DAG has put its question.
const ASKED: &str = "
    INSERT INTO task_instance (run_id, task_idx, map_index, try_number, state, live, started_at)
    SELECT r.id, t.task_idx, -1, 1, 13, false, now() FROM dag_run AS r JOIN dag_task AS t USING (dag_id)
    WHERE r.dag_id = 'publish' AND t.task_id = 'approve';
    INSERT INTO hitl_detail
        (run_id, task_idx, map_index, try_number, created_at, subject, body, options, defaults, multiple, params, assigned_users)
    SELECT run_id, task_idx, -1, 1, now(), 'Publish today?', 'It is **large**.', '{Approve,Reject}', '{Reject}', false,
           '{\"copies\": {\"value\": 2, \"schema\": {\"type\": \"integer\", \"minimum\": 1}, \"description\": null}}',
           '[{\"id\": \"user\", \"name\": \"user\"}]'
    FROM task_instance WHERE state = 13";

const QUESTION: &str = "/dags/publish/dagRuns/r/taskInstances/approve/-1/hitlDetails";

async fn asking() -> Server {
    let server = Server::start().await;
    let user = server.user("user").await;
    server.leader.take_in(DAG.to_owned());
    for _ in 0..200 {
        if user.get("/dags/publish").await.0 == 200 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let (status, body) = user.post("/dags/publish/dagRuns", json!({"dag_run_id": "r", "logical_date": null})).await;
    assert_eq!(status, 200, "{body}");
    sqlx::raw_sql(ASKED).execute(&server.pool).await.unwrap();
    server
}

#[tokio::test]
async fn a_question_is_listed_answered_once_and_told_with_its_answer() {
    let server = asking().await;
    let (viewer, user) = (server.user("viewer").await, server.user("user").await);
    for list in [
        "/dags/~/dagRuns/~/hitlDetails?response_received=false&state=awaiting_input&subject_search=today&order_by=-created_at",
        "/dags/publish/dagRuns/~/hitlDetails?task_id=approve&map_index=-1&body_search=large",
        "/dags/publish/dagRuns/r/hitlDetails?dag_id_pattern=publ&task_id_prefix_pattern=app&created_at_gte=2026-01-01",
    ] {
        let (status, body) = viewer.get(list).await;
        assert_eq!((status, &body["total_entries"]), (200, &json!(1)), "{list}: {body}");
        let one = &body["hitl_details"][0];
        assert_eq!((&one["subject"], &one["response_received"]), (&json!("Publish today?"), &json!(false)));
        assert_eq!(one["task_instance"]["state"], "awaiting_input");
        assert_eq!(one["assigned_users"], json!([{"id": "user", "name": "user"}]));
        assert_eq!((&one["defaults"], &one["params"]["copies"]["value"]), (&json!(["Reject"]), &json!(2)));
    }
    for (body, status, says) in [
        (json!({"chosen_options": []}), 422, "at least 1 item"),
        (json!({"chosen_options": ["Maybe"]}), 400, "not among the options"),
        (json!({"chosen_options": ["Approve"], "params_input": {"copies": 0}}), 400, "param copies"),
        (json!({"chosen_options": ["Approve"], "params_input": {"other": 0}}), 400, "param other"),
    ] {
        let (got, answer) = user.patch(QUESTION, body).await;
        assert!(got == status && answer.to_string().contains(says), "{got}: {answer}");
    }
    let admin = server.user("admin").await;
    assert_eq!(admin.patch(QUESTION, json!({"chosen_options": ["Approve"]})).await.0, 403, "others are asked");
    assert_eq!(viewer.patch(QUESTION, json!({"chosen_options": ["Approve"]})).await.0, 403);

    let (status, told) =
        user.patch(QUESTION, json!({"chosen_options": ["Approve"], "params_input": {"copies": 3}})).await;
    assert_eq!(
        (status, &told["chosen_options"], &told["params_input"]["copies"]),
        (200, &json!(["Approve"]), &json!(3))
    );
    assert_eq!(told["responded_by"], json!({"id": "user", "name": "user"}));
    assert_eq!(user.patch(QUESTION, json!({"chosen_options": ["Reject"]})).await.0, 409);
    let (status, one) = viewer.get(QUESTION).await;
    assert_eq!((status, &one["response_received"]), (200, &json!(true)), "{one}");
    let (status, one) = viewer.get(&format!("{QUESTION}/tries/1")).await;
    assert_eq!((status, &one["task_instance"]["try_number"]), (200, &json!(1)), "{one}");
    assert_eq!(viewer.get(&format!("{QUESTION}/tries/2")).await.0, 404);
    let (_, log) = admin.get("/eventLogs?event=update_hitl_detail").await;
    assert_eq!(log["event_logs"][0]["owner"], "user", "{log}");
}

#[tokio::test]
async fn a_question_is_answered_on_its_page() {
    let server = asking().await;
    let token = server.token("user").await;
    let (status, list) = server.page(&token, "/approvals").await;
    assert!(status == 200 && list.contains("Publish today?") && list.contains("approve"), "{status}: {list}");
    let page = "/dags/publish/runs/r/tasks/approve";
    let (status, shown) = server.page(&token, page).await;
    assert!(
        status == 200 && shown.contains("<strong>large</strong>") && shown.contains("name=\"param.copies\""),
        "{shown}"
    );
    let fields = [("map_index", "-1"), ("option.0", "true"), ("param.copies", "5")];
    let answered = server.submit(&token, page, &format!("{page}/answer"), &fields).await;
    assert_eq!(answered.status(), 303);
    let (_, shown) = server.page(&token, page).await;
    assert!(shown.contains("<b>Approve</b>") && shown.contains("by user") && !shown.contains("option.0"), "{shown}");
    let question: Value = server.user("user").await.get(QUESTION).await.1;
    assert_eq!(question["params_input"]["copies"], 5);
    let (_, list) = server.page(&token, "/approvals").await;
    assert!(list.contains("No task waits for an answer") && list.contains("Approve"), "{list}");
}
