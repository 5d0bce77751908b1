//! A Trino asked by its own protocol, for tests that look at what it sees.

use anyhow::ensure;
use serde_json::Value;

/// Runs a statement on `http://server`, as `user`, and gives its rows.
///
/// # Errors
/// When the server does not answer, or refuses the statement; then its name and text of the error.
pub async fn rows(server: &str, user: &str, sql: &str) -> anyhow::Result<Vec<Value>> {
    let http = reqwest::Client::new();
    let read = async |request: reqwest::RequestBuilder| {
        request.header("x-trino-user", user).send().await?.error_for_status()?.json::<Value>().await
    };
    let statement = http.post(format!("http://{server}/v1/statement")).body(sql.to_owned());
    // Without it instants come in milliseconds.
    let mut page = read(statement.header("x-trino-client-capabilities", "PARAMETRIC_DATETIME")).await?;
    let mut rows = Vec::new();
    loop {
        ensure!(page["error"].is_null(), "{}: {}", page["error"]["errorName"], page["error"]["message"]);
        rows.extend(page["data"].as_array().cloned().unwrap_or_default());
        let Some(next) = page["nextUri"].as_str() else { return Ok(rows) };
        page = read(http.get(next)).await?;
    }
}
