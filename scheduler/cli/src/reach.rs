//! Where a command can be carried out, so that one that a server can not carry out says so instead of working on another
//! installation than the one that was named.

use crate::{
    exit::{Exit, Failure},
    server::ServerChoice,
};

/// Where a command can be carried out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reach {
    /// By databases or by a server.
    Anywhere,
    /// By the databases of the installation only: the REST API does not have it.
    Databases,
    /// On this machine only, whatever installation there is.
    Machine,
}

impl Reach {
    /// Refuses a command for a server that it can not be carried out by.
    ///
    /// # Errors
    /// When a server is named, for a command of this machine only in the command itself.
    pub fn check(self, server: &ServerChoice) -> anyhow::Result<()> {
        let Some(url) = &server.url else { return Ok(()) };
        let text = match self {
            Self::Databases => format!(
                "this needs the databases of the installation, which a server does not give: run it where DATABASE_URL or \
                 WINDLASS_HOME names the installation, without --server and WINDLASS_SERVER_URL ({url})"
            ),
            Self::Machine if server.is_explicit => {
                format!("this is done on this machine and not by a server: leave --server {url} out")
            }
            Self::Anywhere | Self::Machine => return Ok(()),
        };
        Err(Failure::of(Exit::Usage, text))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_server_can_not_do_is_refused_and_never_done_elsewhere() {
        let named =
            |is_explicit| ServerChoice { url: Some("http://h:1".parse().unwrap()), is_explicit, token_file: None };
        for (reach, is_explicit, fine) in [
            (Reach::Anywhere, true, true),
            (Reach::Databases, true, false),
            (Reach::Databases, false, false),
            (Reach::Machine, true, false),
            (Reach::Machine, false, true),
        ] {
            let done = reach.check(&named(is_explicit));
            assert_eq!(done.is_ok(), fine, "{reach:?} {is_explicit}");
        }
        assert!(Reach::Databases.check(&ServerChoice::default()).is_ok());
    }
}
