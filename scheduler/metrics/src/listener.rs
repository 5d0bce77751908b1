//! A port for `/metrics` alone, for processes that have no other web server.

use std::{
    io,
    net::{Ipv4Addr, SocketAddr},
    str::FromStr,
};

use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::Page;

/// Where a process shows its metrics.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Listen {
    /// Nowhere.
    Off,
    /// Where it does unless it is told otherwise: a second process on the machine goes without.
    Usually(SocketAddr),
    /// Where somebody wants it: a port that can not be had is an error.
    At(SocketAddr),
}

/// A text is neither `off` nor an address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NotAnAddress(String);

impl std::fmt::Display for NotAnAddress {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:?} is no address to listen on; expected ip:port, such as 0.0.0.0:8085, or off", self.0)
    }
}

impl std::error::Error for NotAnAddress {}

impl Listen {
    /// A port of the loopback interface, unless it is told otherwise.
    #[must_use]
    pub fn usually(port: u16) -> Self {
        Self::Usually(SocketAddr::from((Ipv4Addr::LOCALHOST, port)))
    }

    /// The address, when there is one.
    #[must_use]
    pub const fn address(self) -> Option<SocketAddr> {
        match self {
            Self::Off => None,
            Self::Usually(address) | Self::At(address) => Some(address),
        }
    }
}

impl FromStr for Listen {
    type Err = NotAnAddress;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.trim() {
            "off" => Ok(Self::Off),
            address => address.parse().map(Self::At).map_err(|_| NotAnAddress(address.to_owned())),
        }
    }
}

/// Serves a page until `stop`, and gives the address; none when it is off, or when the usual port is taken.
///
/// # Errors
/// When an address that somebody chose can not be listened on.
pub async fn serve(page: Page, listen: Listen, stop: CancellationToken) -> io::Result<Option<SocketAddr>> {
    let Some(address) = listen.address() else { return Ok(None) };
    let listener = match (TcpListener::bind(address).await, listen) {
        (Ok(listener), _) => listener,
        (Err(error), Listen::Usually(_)) => {
            tracing::warn!(%error, "metrics are not served: {address} can not be had; WINDLASS_METRICS_LISTEN sets another address, or off");
            return Ok(None);
        }
        (Err(error), Listen::Off | Listen::At(_)) => return Err(error),
    };
    let address = listener.local_addr()?;
    tokio::spawn(async move {
        let served = axum::serve(listener, page.router()).with_graceful_shutdown(stop.cancelled_owned()).await;
        if let Err(error) = served {
            tracing::warn!(%error, "metrics are served no more");
        }
    });
    tracing::info!("metrics are on http://{address}/metrics");
    Ok(Some(address))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_or_off_is_said_and_nothing_else() {
        assert_eq!("off".parse(), Ok(Listen::Off));
        assert_eq!("127.0.0.1:1".parse(), Ok(Listen::At("127.0.0.1:1".parse().unwrap())));
        let error = "8085".parse::<Listen>().unwrap_err();
        assert!(error.to_string().contains("ip:port"), "{error}");
    }

    #[tokio::test]
    async fn a_taken_port_is_an_error_only_when_somebody_chose_it() {
        let taken = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = taken.local_addr().unwrap();
        let page = || Page::new(crate::registry("1"));
        let stop = CancellationToken::new();
        assert!(serve(page(), Listen::At(address), stop.clone()).await.is_err());
        assert_eq!(serve(page(), Listen::Usually(address), stop.clone()).await.unwrap(), None);
        assert_eq!(serve(page(), Listen::Off, stop.clone()).await.unwrap(), None);
        let free = serve(page(), Listen::usually(0), stop).await.unwrap();
        assert!(free.is_some_and(|free| free.port() > 0));
    }
}
