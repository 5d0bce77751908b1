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
    for (index, rule) in rules.iter().enumerate() {
        if !fits(attempt, rule, &outcome).await {
            continue;
        }
        let number = index + 1;
        return match rule.action {
            RetryAction::Fail => {
                let reason = format!("{}; rule {number} of its retry_policy: fail", outcome.reason());
                outcome.for_good().because(reason)
            }
            RetryAction::Retry { delay_secs } => {
                attempt.log.system(&format!("Rule {number} of the retry_policy fits: retry."));
                outcome.retry_after(delay_secs)
            }
        };
    }
    outcome
}

/// Whether all that a rule names fits.
async fn fits(attempt: &Attempt, rule: &RetryRule, outcome: &Outcome) -> bool {
    let by_code = rule.exit_codes.is_empty() || outcome.code().is_some_and(|code| rule.exit_codes.contains(&code));
    let Some(pattern) = rule.log_matches.as_deref().filter(|_| by_code) else { return by_code };
    // The DAG's reader has seen that it is one; a pattern of a newer version that is none here fits nothing.
    let Ok(pattern) = Regex::new(pattern) else { return false };
    pattern.is_match(outcome.reason()) || attempt.log.has_line(pattern).await
}
