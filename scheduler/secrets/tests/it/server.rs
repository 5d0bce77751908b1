//! What the servers of these tests share.

use std::collections::BTreeMap;

use axum::Router;
use secrets::{Backends, Settings};

/// Serves on a free port of this machine until the test ends; answers its address.
pub async fn serve(router: Router) -> String {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
    address
}

/// The backends of settings; each name without its `WINDLASS_SECRETS_`.
pub fn backends(pairs: &[(&str, &str)]) -> Backends {
    let all: BTreeMap<String, String> =
        pairs.iter().map(|(name, value)| (format!("WINDLASS_SECRETS_{name}"), (*value).to_owned())).collect();
    Backends::open(&Settings::read(&|name| all.get(name).cloned()).unwrap()).unwrap()
}
