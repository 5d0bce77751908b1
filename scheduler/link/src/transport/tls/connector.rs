//! A worker's way to the leader over the network, wherever the leader is at the moment.

use std::{io, sync::Arc};

use futures::{FutureExt, future::BoxFuture};

use super::Caller;
use crate::transport::{Connector, WorkerLink, over_stream};

/// Knows where a leader may be.
pub trait Finder: Send + Sync {
    /// Addresses, `host:port`. They are all tried; none of them needs to be right.
    fn endpoints(&self) -> BoxFuture<'_, io::Result<Vec<String>>>;
}

/// A fixed list of addresses: every scheduler of the cluster, or some of them.
#[derive(Debug, Clone)]
pub struct ListedEndpoints(pub Vec<String>);

impl Finder for ListedEndpoints {
    fn endpoints(&self) -> BoxFuture<'_, io::Result<Vec<String>>> {
        std::future::ready(Ok(self.0.clone())).boxed()
    }
}

/// Finds the leader anew at each connect.
pub struct TcpConnector {
    caller: Caller,
    finder: Arc<dyn Finder>,
}

impl TcpConnector {
    /// Calls as `caller` at the addresses that `finder` tells.
    #[must_use]
    pub fn new(caller: Caller, finder: Arc<dyn Finder>) -> Self {
        Self { caller, finder }
    }
}

impl Connector for TcpConnector {
    fn connect(&self) -> BoxFuture<'_, io::Result<WorkerLink>> {
        async {
            let endpoints = self.finder.endpoints().await?;
            let stream = self.caller.reach(endpoints).await.map_err(io::Error::other)?;
            Ok(over_stream(stream))
        }
        .boxed()
    }
}

/// Reads a list of addresses, separated by commas.
///
/// # Errors
/// The address that is none, and what one looks like.
pub fn parse_endpoints(text: &str) -> Result<Vec<String>, String> {
    let parts = text.split(',').map(str::trim).filter(|part| !part.is_empty());
    let endpoints = parts.map(|part| if is_endpoint(part) { Ok(part.to_owned()) } else { Err(no_endpoint(part)) });
    let endpoints: Vec<String> = endpoints.collect::<Result<_, _>>()?;
    if endpoints.is_empty() { Err(no_endpoint(text)) } else { Ok(endpoints) }
}

fn is_endpoint(text: &str) -> bool {
    text.rsplit_once(':').is_some_and(|(host, port)| {
        let bare = !host.contains(':') || host.starts_with('[') && host.ends_with(']');
        let named = !host.is_empty() && !host.contains(['/', '@', ' ']);
        bare && named && port.parse::<u16>().is_ok_and(|port| port > 0)
    })
}

fn no_endpoint(text: &str) -> String {
    format!("{text:?} is no address; expected host:port, such as 10.0.0.5:8084 or [::1]:8084")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_have_a_host_and_a_port() {
        assert_eq!(parse_endpoints("a:1, [::1]:8084 ,").unwrap(), ["a:1", "[::1]:8084"]);
        for wrong in ["", "a", "a:0", "a:70000", ":1", "http://a:1", "::1:8084", "a:1,b"] {
            assert!(parse_endpoints(wrong).is_err(), "{wrong:?}");
        }
    }
}
