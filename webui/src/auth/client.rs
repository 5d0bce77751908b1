//! Where a request comes from: the peer, or what a trusted proxy says of it.
//!
//! `X-Forwarded-For` and `Forwarded` are written by anybody, so they are read only from addresses that the operator has named.

use std::{net::IpAddr, str::FromStr};

use axum::http::HeaderMap;

/// So many hops of a request are looked at; nobody has more.
const HOPS_MAX: usize = 16;

/// The address that a request comes from. Put into it by the guard.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Client(pub IpAddr);

/// The networks whose word about a client's address is taken: `10.0.0.0/8,192.168.1.7,fd00::/8`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TrustedProxies(Vec<Network>);

/// A text that names no networks.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no network: write addresses or networks such as 10.0.0.0/8 or fd00::/8, separated by commas")]
pub struct InvalidNetwork(String);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Network {
    address: IpAddr,
    prefix: u32,
}

impl FromStr for TrustedProxies {
    type Err = InvalidNetwork;

    fn from_str(text: &str) -> Result<Self, InvalidNetwork> {
        let parts = text.split(',').map(str::trim).filter(|part| !part.is_empty());
        parts
            .map(|part| network(part).ok_or_else(|| InvalidNetwork(part.to_owned())))
            .collect::<Result<_, _>>()
            .map(Self)
    }
}

fn network(text: &str) -> Option<Network> {
    let (address, prefix) = text.split_once('/').map_or((text, None), |(address, prefix)| (address, Some(prefix)));
    let address: IpAddr = address.parse().ok()?;
    let bits = if address.is_ipv4() { 32 } else { 128 };
    let prefix = prefix.map_or(Some(bits), |prefix| prefix.parse().ok())?;
    (prefix <= bits).then_some(Network { address: address.to_canonical(), prefix })
}

impl Network {
    fn has(self, address: IpAddr) -> bool {
        let beyond = |bits: u32| bits.saturating_sub(self.prefix);
        match (self.address, address) {
            (IpAddr::V4(own), IpAddr::V4(other)) => {
                (own.to_bits() ^ other.to_bits()).checked_shr(beyond(32)).unwrap_or(0) == 0
            }
            (IpAddr::V6(own), IpAddr::V6(other)) => {
                (own.to_bits() ^ other.to_bits()).checked_shr(beyond(128)).unwrap_or(0) == 0
            }
            (IpAddr::V4(_), IpAddr::V6(_)) | (IpAddr::V6(_), IpAddr::V4(_)) => false,
        }
    }
}

impl TrustedProxies {
    /// Whether a peer's word is taken.
    #[must_use]
    pub fn trusts(&self, address: IpAddr) -> bool {
        self.0.iter().any(|network| network.has(address.to_canonical()))
    }

    /// The client of a request: the last address on its way that is no trusted proxy. What can not be read, and two headers
    /// that disagree, say nothing: the last one that is known stands for it.
    #[must_use]
    pub fn client(&self, peer: IpAddr, headers: &HeaderMap) -> Client {
        let peer = peer.to_canonical();
        if !self.trusts(peer) {
            return Client(peer);
        }
        let hops = match (forwarded_for(headers), forwarded(headers)) {
            (hops, None) | (None, hops) => hops.unwrap_or_default(),
            (Some(one), Some(other)) if one == other => one,
            (Some(_), Some(_)) => Vec::new(),
        };
        let mut client = peer;
        for hop in hops.into_iter().rev().take(HOPS_MAX) {
            let Some(address) = hop else { break };
            client = address;
            if !self.trusts(address) {
                break;
            }
        }
        Client(client)
    }
}

/// `X-Forwarded-For: client, proxy`; none when there is no such header.
fn forwarded_for(headers: &HeaderMap) -> Option<Vec<Option<IpAddr>>> {
    listed(headers, "x-forwarded-for").map(|hops| hops.iter().map(|hop| address(hop)).collect())
}

/// `Forwarded: for=client;proto=https, for=proxy`.
fn forwarded(headers: &HeaderMap) -> Option<Vec<Option<IpAddr>>> {
    let of_hop = |hop: &String| {
        let mut pairs = hop.split(';').filter_map(|pair| pair.trim().split_once('='));
        pairs.find(|(name, _)| name.eq_ignore_ascii_case("for")).and_then(|(_, value)| address(value))
    };
    listed(headers, "forwarded").map(|hops| hops.iter().map(of_hop).collect())
}

fn listed(headers: &HeaderMap, name: &str) -> Option<Vec<String>> {
    let lines: Vec<&str> = headers.get_all(name).iter().map(|line| line.to_str().unwrap_or("")).collect();
    if lines.is_empty() {
        return None;
    }
    Some(lines.iter().flat_map(|line| line.split(',')).map(|hop| hop.trim().to_owned()).collect())
}

/// `192.0.2.1`, `192.0.2.1:80`, `[2001:db8::1]:80`, also in quotes.
fn address(text: &str) -> Option<IpAddr> {
    let text = text.trim().trim_matches('"');
    if let Some(inner) = text.strip_prefix('[') {
        return inner.split_once(']')?.0.parse::<IpAddr>().ok().map(|address| address.to_canonical());
    }
    let bare = || text.split_once(':').and_then(|(address, _)| address.parse().ok());
    text.parse().ok().or_else(bare).map(|address: IpAddr| address.to_canonical())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client(trusted: &str, peer: &str, headers: &[(&'static str, &'static str)]) -> String {
        let map = headers.iter().map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap())).collect();
        trusted.parse::<TrustedProxies>().unwrap().client(peer.parse().unwrap(), &map).0.to_string()
    }

    #[test]
    fn only_a_trusted_proxy_is_believed() {
        let spoofed = [("x-forwarded-for", "1.2.3.4")];
        assert_eq!(client("", "192.0.2.1", &spoofed), "192.0.2.1");
        assert_eq!(client("10.0.0.0/8", "192.0.2.1", &spoofed), "192.0.2.1");
        assert_eq!(client("192.0.2.0/24", "192.0.2.1", &spoofed), "1.2.3.4");
        assert_eq!(client("192.0.2.0/24", "::ffff:192.0.2.1", &spoofed), "1.2.3.4");
    }

    #[test]
    fn the_last_hop_that_is_no_proxy_is_the_client() {
        let way = [("x-forwarded-for", "6.6.6.6, 203.0.113.9, 10.1.1.1")];
        assert_eq!(client("10.0.0.0/8", "10.0.0.1", &way), "203.0.113.9");
        let odd = [("x-forwarded-for", "6.6.6.6, unknown, 10.1.1.1")];
        assert_eq!(client("10.0.0.0/8", "10.0.0.1", &odd), "10.1.1.1");
        let rfc = [("forwarded", "for=\"[2001:db8::9]:4711\";proto=https, for=10.1.1.1")];
        assert_eq!(client("10.0.0.0/8", "10.0.0.1", &rfc), "2001:db8::9");
    }

    #[test]
    fn headers_that_disagree_say_nothing() {
        let both = [("x-forwarded-for", "6.6.6.6"), ("forwarded", "for=203.0.113.9")];
        assert_eq!(client("10.0.0.0/8", "10.0.0.1", &both), "10.0.0.1");
        let same = [("x-forwarded-for", "203.0.113.9"), ("forwarded", "for=203.0.113.9")];
        assert_eq!(client("10.0.0.0/8", "10.0.0.1", &same), "203.0.113.9");
    }

    #[test]
    fn a_network_is_checked_when_it_is_named() {
        for bad in ["10.0.0.0/33", "ten", "10.0.0.0/-1", "fd00::/129"] {
            assert!(bad.parse::<TrustedProxies>().is_err(), "{bad}");
        }
        assert!("0.0.0.0/0".parse::<TrustedProxies>().unwrap().trusts("1.1.1.1".parse().unwrap()));
        assert!(!"0.0.0.0/0".parse::<TrustedProxies>().unwrap().trusts("::1".parse().unwrap()));
    }
}
