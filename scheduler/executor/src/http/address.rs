//! The address of a request: a connection's host, with its schema and port, and the endpoint below it.

use link::ConnectionFields;

/// As Airflow's HttpHook puts it together, but that a port belongs to the host even when a path follows it, and that one
/// slash parts base and endpoint.
pub(super) fn address(connection: &ConnectionFields, endpoint: &str) -> String {
    let host = connection.host.as_deref().unwrap_or_default().trim();
    let (scheme, rest) = match host.split_once("://") {
        Some((scheme, rest)) => (scheme, rest),
        None => (connection.schema.as_deref().filter(|schema| !schema.is_empty()).unwrap_or("http"), host),
    };
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let (authority, path) = rest.split_at(end);
    let authority = match connection.port {
        Some(port) => format!("{}:{port}", without_port(authority)),
        None => bracketed(authority),
    };
    let base = format!("{scheme}://{authority}{path}");
    if endpoint.is_empty() {
        return base;
    }
    match endpoint.chars().next() {
        // A query or fragment goes on where the base ends.
        Some('?' | '#') => format!("{base}{endpoint}"),
        _ => format!("{}/{}", base.trim_end_matches('/'), endpoint.trim_start_matches('/')),
    }
}

/// An IPv6 address, with the brackets that a URL wants.
fn bracketed(authority: &str) -> String {
    let is_bare_ipv6 = !authority.contains('@') && authority.parse::<std::net::Ipv6Addr>().is_ok();
    if is_bare_ipv6 { format!("[{authority}]") } else { authority.to_owned() }
}

fn without_port(authority: &str) -> String {
    let whole = bracketed(authority);
    let host_at = whole.rfind('@').map_or(0, |at| at + 1);
    let port_at = whole[host_at..].rfind(':').map(|at| host_at + at);
    match port_at {
        // A colon inside brackets is part of an address.
        Some(at) if !whole[at..].contains(']') => whole[..at].to_owned(),
        _ => whole,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(host: &str, schema: Option<&str>, port: Option<i32>, endpoint: &str) -> String {
        let connection =
            ConnectionFields { schema: schema.map(str::to_owned), port, ..super::super::tests::connection(host, "") };
        address(&connection, endpoint)
    }

    #[test]
    fn an_endpoint_is_put_below_its_connection() {
        assert_eq!(at("x.test", None, None, "v1/a"), "http://x.test/v1/a");
        assert_eq!(at("x.test", Some("https"), Some(8443), "/v1/a"), "https://x.test:8443/v1/a");
        assert_eq!(at("https://x.test/api/", None, None, "v1"), "https://x.test/api/v1");
        assert_eq!(at("https://x.test/api/", None, None, ""), "https://x.test/api/");
        assert_eq!(at("http://h:1/", None, None, "/v1/x"), "http://h:1/v1/x");
        assert_eq!(at("http://h/base", None, Some(8080), "/v1/x"), "http://h:8080/base/v1/x");
        assert_eq!(at("http://h:1/base", None, Some(8080), "v1"), "http://h:8080/base/v1");
        assert_eq!(at("http://h", None, None, "?q=1"), "http://h?q=1");
    }

    #[test]
    fn an_ipv6_address_has_its_brackets_once() {
        assert_eq!(at("::1", None, Some(8080), "a"), "http://[::1]:8080/a");
        assert_eq!(at("::1", None, None, "a"), "http://[::1]/a");
        assert_eq!(at("http://[::1]:80", None, Some(8080), "a"), "http://[::1]:8080/a");
        assert_eq!(at("http://[::1]/b", None, Some(8080), "a"), "http://[::1]:8080/b/a");
    }
}
