//! How a container's end counts.

use bollard::models::ContainerState;
use model::container::{AutoRemove, Docker, DockerReturns};
use nix::sys::signal::Signal;
use serde_json::Value;

use super::DockerError;
use crate::{
    Outcome,
    log::{Part, Stream},
    output::LastLine,
};

/// A shell's exit codes for signals start after this one.
const SIGNAL_CODES_START: i32 = 128;
/// Lines beyond this are not kept: XComs have a limit, and a value over it is refused with its size.
const LINES_BYTES_MAX: usize = 2 * model::XComValue::BYTES_MAX;

/// What an attempt returns, collected line by line.
#[derive(Debug, Default)]
pub(super) struct Returned {
    last: LastLine,
    lines: Vec<String>,
    bytes: usize,
}

impl Returned {
    /// Takes the next line of a stream.
    pub(super) fn see(&mut self, stream: Stream, part: Part<'_>) {
        if stream != Stream::Out {
            return;
        }
        self.last.see(part);
        let Some(line) = part.lasting() else { return };
        if self.bytes <= LINES_BYTES_MAX {
            self.bytes += line.len() + 1;
            self.lines.push(line.to_owned());
        }
    }

    fn value(self, returns: DockerReturns) -> Result<Option<Value>, String> {
        match returns {
            DockerReturns::LastLine => self.last.value(),
            DockerReturns::AllLines => Ok(Some(self.lines.into())),
        }
    }
}

/// The outcome of an attempt whose container ended by itself.
pub(super) fn outcome(keys: &Docker, push: Push, state: &ContainerState, returned: Returned) -> Outcome {
    let code = exit_code(state);
    match code {
        0 if push == Push::Wanted => match returned.value(keys.returns) {
            Ok(Some(value)) => Outcome::success().returned(value),
            Ok(None) => Outcome::success(),
            Err(why) => Outcome::failed(why),
        },
        0 => Outcome::success(),
        code if keys.skip_on_exit_code.contains(&code) => Outcome::skipped(format!("exit code {code}")),
        _ => Outcome::failed(sentence(state, keys.container.mem_limit)),
    }
    .exit_code(code)
}

/// The outcome of an attempt whose container did not start.
pub(super) fn not_started(error: &DockerError) -> Outcome {
    let outcome = Outcome::failed(error.to_string());
    match error.exit_code() {
        Some(code) => outcome.exit_code(code),
        None => outcome,
    }
}

/// Whether the value is wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Push {
    Wanted,
    Unwanted,
}

/// The exit code that the engine tells.
pub(super) fn exit_code(state: &ContainerState) -> i32 {
    state.exit_code.and_then(|code| i32::try_from(code).ok()).unwrap_or(-1)
}

/// How a container ended badly, in one sentence.
pub(super) fn sentence(state: &ContainerState, mem_limit: Option<u64>) -> String {
    let code = exit_code(state);
    let said = state.error.as_deref().filter(|error| !error.is_empty()).map(|error| format!(": {error}"));
    let meaning = match code {
        _ if state.oom_killed == Some(true) => match mem_limit {
            Some(bytes) => format!(" (killed for memory: it used more than its mem_limit of {})", size(bytes)),
            None => " (killed for memory: the engine's machine had none left; give it a mem_limit)".to_owned(),
        },
        125 => " (the container could not be run)".to_owned(),
        126 => " (a program that may not be executed)".to_owned(),
        127 => " (a program that the image does not have)".to_owned(),
        code => match Signal::try_from(code.saturating_sub(SIGNAL_CODES_START)) {
            Ok(signal) if code > SIGNAL_CODES_START => format!(" ({signal})"),
            Ok(_) | Err(_) => String::new(),
        },
    };
    format!("exit code {code}{meaning}{}", said.unwrap_or_default())
}

/// Whether a container goes after its attempt.
pub(super) fn goes(auto_remove: AutoRemove, end: End) -> bool {
    match (auto_remove, end) {
        // Whoever has the task now has a container of its own.
        (_, End::TakenAway) | (AutoRemove::Force, _) | (AutoRemove::Success, End::Succeeded) => true,
        (AutoRemove::Never, _) | (AutoRemove::Success, End::Failed) => false,
    }
}

/// How the attempt of a container ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    Succeeded,
    Failed,
    TakenAway,
}

fn size(bytes: u64) -> String {
    for (unit, shift) in [("GiB", 30), ("MiB", 20), ("KiB", 10)] {
        if bytes >= 1 << shift && bytes.trailing_zeros() >= shift {
            return format!("{} {unit}", bytes >> shift);
        }
    }
    format!("{bytes} bytes")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ended(exit_code: i64, oom_killed: bool) -> ContainerState {
        ContainerState { exit_code: Some(exit_code), oom_killed: Some(oom_killed), ..ContainerState::default() }
    }

    #[test]
    fn a_bad_end_says_what_its_exit_code_means() {
        for (state, limit, says) in [
            (ended(3, false), None, "exit code 3"),
            (
                ended(137, true),
                Some(64 << 20),
                "exit code 137 (killed for memory: it used more than its mem_limit of 64 MiB)",
            ),
            (ended(137, false), None, "exit code 137 (SIGKILL)"),
            (ended(143, false), None, "exit code 143 (SIGTERM)"),
            (ended(126, false), None, "exit code 126 (a program that may not be executed)"),
            (ended(127, false), None, "exit code 127 (a program that the image does not have)"),
            (ended(255, false), None, "exit code 255"),
        ] {
            assert_eq!(sentence(&state, limit), says);
        }
    }

    #[test]
    fn the_last_line_is_returned_as_json_and_all_lines_as_text() {
        let seen = || {
            let mut returned = Returned::default();
            returned.see(Stream::Out, Part::Line("first"));
            returned.see(Stream::Out, Part::Line("{\"rows\": 2}"));
            returned.see(Stream::Err, Part::Line("a warning"));
            returned.see(Stream::Out, Part::Line(" "));
            returned
        };
        assert_eq!(seen().value(DockerReturns::LastLine).unwrap(), Some(serde_json::json!({"rows": 2})));
        assert_eq!(
            seen().value(DockerReturns::AllLines).unwrap(),
            Some(serde_json::json!(["first", "{\"rows\": 2}", " "]))
        );
        assert_eq!(Returned::default().value(DockerReturns::LastLine), Ok(None));
        let mut long = Returned::default();
        long.see(Stream::Out, Part::Piece(&"x".repeat(130_000)));
        long.see(Stream::Out, Part::Line("rest"));
        assert!(long.value(DockerReturns::LastLine).unwrap_err().contains("130004 bytes"));
    }

    #[test]
    fn a_container_goes_as_it_was_asked_to_unless_its_attempt_was_taken_away() {
        use AutoRemove as A;
        for (auto_remove, end, gone) in [
            (A::Never, End::Succeeded, false),
            (A::Never, End::TakenAway, true),
            (A::Success, End::Succeeded, true),
            (A::Success, End::Failed, false),
            (A::Force, End::Failed, true),
        ] {
            assert_eq!(goes(auto_remove, end), gone, "{auto_remove:?} {end:?}");
        }
    }
}
