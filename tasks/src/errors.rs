//! How a failure is told to a person: one sentence, causes behind colons, nothing twice.

/// The error with its causes, leaving out a cause that the text before already repeats.
pub fn sentence(error: &anyhow::Error) -> String {
    let mut told = String::new();
    for cause in error.chain() {
        let text = cause.to_string();
        if !told.contains(&text) {
            if !told.is_empty() {
                told.push_str(": ");
            }
            told.push_str(&text);
        }
    }
    told
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("cannot read the file: {source}")]
    struct Outer {
        source: std::io::Error,
    }

    #[test]
    fn a_cause_is_told_once() {
        let outer = Outer { source: std::io::Error::other("disk on fire") };
        let error = anyhow::Error::from(outer).context("cannot start");
        assert_eq!(sentence(&error), "cannot start: cannot read the file: disk on fire");
    }
}
