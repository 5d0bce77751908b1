//! What a task's retry policy says of a failure: the first rule that fits decides.
//!
//! It is asked where the failure happened, because a rule may look for a line of the attempt's log.

use model::{EndKind, RetryAction, RetryRule};
use regex::Regex;

use crate::{Attempt, Outcome};

/// The outcome as the policy has it. Only a failure that a further try could follow is judged.
pub(crate) async fn judged(attempt: &Attempt, outcome: Outcome) -> Outcome {
    let rules = &attempt.assignment.retry_policy;
    if outcome.kind() != EndKind::Failed || rules.is_empty() {
        return outcome;
    }
    let Some(index) = fitting(attempt, rules, &outcome).await else { return outcome };
    let number = index + 1;
    match rules[index].action {
        RetryAction::Fail => {
            let reason = format!("{}; rule {number} of its retry_policy: fail", outcome.reason());
            outcome.for_good().because(reason)
        }
        RetryAction::Retry { delay_secs } => {
            attempt.log.system(&format!("Rule {number} of the retry_policy fits: retry."));
            outcome.retry_after(delay_secs)
        }
    }
}

/// The first rule of which all that it names fits. The log is read once at most, however many rules look into it.
async fn fitting(attempt: &Attempt, rules: &[RetryRule], outcome: &Outcome) -> Option<usize> {
    let mut without_log = None;
    let (mut places, mut patterns) = (Vec::new(), Vec::new());
    for (index, rule) in rules.iter().enumerate() {
        if !rule.exit_codes.is_empty() && outcome.code().is_none_or(|code| !rule.exit_codes.contains(&code)) {
            continue;
        }
        match rule.log_matches.as_deref().map(Regex::new) {
            Some(Ok(pattern)) if !pattern.is_match(outcome.reason()) => {
                places.push(index);
                patterns.push(pattern);
            }
            // The DAG's reader has seen that it is one; a pattern of a newer version that is none here fits nothing.
            Some(Err(_)) => {}
            None | Some(Ok(_)) => {
                without_log = Some(index);
                break;
            }
        }
    }
    let in_log = if patterns.is_empty() { None } else { attempt.log.first_of(patterns).await };
    in_log.map(|first| places[first]).or(without_log)
}
