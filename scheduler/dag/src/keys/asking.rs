//! The keys of `approval` and `choice`.

use super::{Key, Shape, key, operators::OperatorKeys};

/// The class of a choice that is a branch.
pub(crate) const BRANCH_CLASS: &str = "HITLBranchOperator";

/// What the options of an approval are called when a task names none, as in Airflow: yes, and no.
pub(crate) const APPROVE_OR_REJECT: [&str; 2] = ["Approve", "Reject"];

/// What the only option of a choice is called that names none, as in Airflow.
pub(crate) const OK: &str = "OK";

const QUESTION: &[Key] = &[
    key("subject", Shape::Text, "The question, one line; a template."),
    key("body", Shape::TextOrNull, "What there is to know about it, in Markdown; a template."),
    key("options", Shape::TextList, "What can be answered."),
    key("defaults", Shape::Texts, "What counts as the answer when nobody gives one in time."),
    key(
        "params",
        Shape::Definition("params"),
        "Values that are asked for beside the options; of a task that asks nobody, those that its templates have over the DAG's.",
    ),
    key("assigned_users", Shape::List, "Who may answer: user names, or mappings with id and name."),
    key("response_timeout", Shape::Duration, "How long it waits for an answer; execution_timeout when absent."),
    key("timeout", Shape::Duration, "Another word for response_timeout."),
];

pub(super) const APPROVAL: OperatorKeys = OperatorKeys {
    name: "approval",
    synonyms: &["ApprovalOperator", "airflow.providers.standard.operators.hitl.ApprovalOperator"],
    tables: &[
        QUESTION,
        &[
            key(
                "fail_on_reject",
                Shape::Bool,
                "Whether a rejection fails the task; it skips what follows when absent.",
            ),
            key(
                "ignore_downstream_trigger_rules",
                Shape::Bool,
                "Whether a rejection skips all tasks after it, or only the next; the next when absent.",
            ),
        ],
    ],
    required: &["subject"],
};

pub(super) const CHOICE: OperatorKeys = OperatorKeys {
    name: "choice",
    synonyms: &[
        "HITLOperator",
        "HITLEntryOperator",
        BRANCH_CLASS,
        "airflow.providers.standard.operators.hitl.HITLOperator",
        "airflow.providers.standard.operators.hitl.HITLEntryOperator",
        "airflow.providers.standard.operators.hitl.HITLBranchOperator",
    ],
    tables: &[
        QUESTION,
        &[
            key("multiple", Shape::Bool, "Whether several options can be chosen."),
            key(
                "options_mapping",
                Shape::Any,
                "A mapping of options to tasks or groups: what is chosen goes on, what else follows is skipped.",
            ),
        ],
    ],
    required: &["subject"],
};
