//! Tasks that ask people.

use model::{
    EndKind, Operator,
    operator::{Approval, Asking, OnReject, SkipReach},
};

use crate::rig::Rig;

fn approval(subject: &str, body: Option<&str>) -> Operator {
    let asking = Asking {
        subject: subject.to_owned(),
        body: body.map(str::to_owned),
        options: vec!["Approve".to_owned(), "Reject".to_owned()],
        defaults: Vec::new(),
        multiple: false,
        params: serde_json::Map::new(),
        assigned_users: Vec::new(),
        response_timeout_secs: None,
    };
    Operator::Approval(Box::new(Approval { asking, on_reject: OnReject::Skip(SkipReach::DirectDownstream) }))
}

#[tokio::test]
async fn a_question_is_rendered_and_ends_the_attempt() {
    let ran = Rig::new().run(approval(" {{ dag.dag_id }}? ", Some("Try *{{ ti.try_number }}*"))).await;
    assert_eq!(ran.end.kind, EndKind::Asked, "{}", ran.text());
    let question = ran.end.question.as_deref().unwrap();
    assert!(question.subject.ends_with('?') && !question.subject.contains("{{"), "{question:?}");
    assert_eq!(question.body.as_deref(), Some("Try *1*"));
    assert!(ran.lines("sys").iter().any(|line| line.starts_with("Asks: ") && line.contains("(Approve, Reject)")));
}

#[tokio::test]
async fn a_question_that_can_not_be_put_fails() {
    for (subject, says) in [("{{ nothing }}", "nothing"), ("{{ '' }}", "subject gives nothing")] {
        let end = Rig::new().run(approval(subject, None)).await.end;
        assert!(end.kind == EndKind::Failed && end.reason.contains(says), "{}", end.reason);
    }
}
