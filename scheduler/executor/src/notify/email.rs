//! Mails, by the SMTP server of a connection.

use std::{collections::BTreeSet, time::Duration};

use futures::{FutureExt as _, future::BoxFuture};
use lettre::{
    AsyncSmtpTransport, AsyncTransport as _, Message, Tokio1Executor,
    message::{Mailbox, MessageBuilder, header::ContentType},
    transport::smtp::{
        authentication::Credentials,
        client::{Tls, TlsParameters},
    },
};
use link::ConnectionFields;
use model::{NotificationId, callback::Email};
use serde_json::{Map, Value, json};

use super::until_stopped;
use crate::{Attempt, Executor, Outcome, Stop};

/// What a mail says that says nothing of its own.
const SUBJECT: &str = "Windlass alert: {{ notification.summary }}";
const BODY: &str = "{{ notification.summary }}

{% for name, value in notification | items %}{% if value is not none and value != '' %}{{ name }}: {{ value }}
{% endif %}{% endfor %}";
/// How long the whole exchange may take unless the connection says otherwise.
const TIMEOUT: Duration = Duration::from_secs(30);
/// The longest time that a connection may say.
const TIMEOUT_MAX: Duration = Duration::from_secs(120);

pub(super) struct EmailExecutor {
    keys: Email,
    id: NotificationId,
}

/// A mail whose texts are rendered.
struct Rendered {
    conn_id: String,
    to: BTreeSet<String>,
    cc: BTreeSet<String>,
    bcc: BTreeSet<String>,
    from: Option<String>,
    subject: String,
    text: String,
    kind: ContentType,
}

impl EmailExecutor {
    pub(super) fn new(keys: Email, id: NotificationId) -> Self {
        Self { keys, id }
    }

    async fn outcome(&self, attempt: &Attempt) -> Result<Outcome, Outcome> {
        let rendered = self.render(attempt).await?;
        attempt.log_rendered(json!({"to": rendered.to, "subject": rendered.subject}));
        let connection = attempt.connection(&rendered.conn_id).await.map_err(|no| Outcome::failed(no.to_string()))?;
        let extra = connection
            .extra_settings()
            .map_err(|_| Outcome::failed(format!("connection {:?}: extra is no JSON object", rendered.conn_id)))?;
        let message = self.message(&rendered, &connection, &extra).map_err(Outcome::failed_for_good)?;
        let mailer = mailer(&connection, &extra).map_err(Outcome::failed)?;
        match mailer.send(message).await {
            Ok(answer) => {
                attempt.log.system(&format!("sent to {} address(es): {}", rendered.to.len(), answer.code()));
                Ok(Outcome::success())
            }
            // What the server refuses for good is refused again.
            Err(error) if error.is_permanent() => Err(Outcome::failed_for_good(told(&connection, &error))),
            Err(error) => Err(Outcome::failed(told(&connection, &error))),
        }
    }

    async fn render(&self, attempt: &Attempt) -> Result<Rendered, Outcome> {
        let keys = self.keys.clone();
        let rendered = attempt.render(move |renderer| {
            let addresses = |field: &str, sources: &[String]| {
                let texts = renderer.list(field, sources)?;
                let one = |text: &String| text.split([',', ';']).map(|one| one.trim().to_owned()).collect::<Vec<_>>();
                Ok(texts.iter().flat_map(one).filter(|address| !address.is_empty()).collect::<BTreeSet<_>>())
            };
            let subject = keys.subject.as_deref().unwrap_or(SUBJECT);
            let (text, kind) = match (&keys.html_content, &keys.body) {
                (Some(html), _) => (renderer.text("html_content", html)?, ContentType::TEXT_HTML),
                (None, body) => (renderer.text("body", body.as_deref().unwrap_or(BODY))?, ContentType::TEXT_PLAIN),
            };
            Ok(Rendered {
                conn_id: renderer.text("smtp_conn_id", &keys.smtp_conn_id)?,
                to: addresses("to", &keys.to)?,
                cc: addresses("cc", &keys.cc)?,
                bcc: addresses("bcc", &keys.bcc)?,
                from: keys.from_email.as_ref().map(|from| renderer.text("from_email", from)).transpose()?,
                // A header is one line.
                subject: renderer.text("subject", subject)?.split_whitespace().collect::<Vec<_>>().join(" "),
                text,
                kind,
            })
        });
        Ok(rendered.await?)
    }

    fn message(
        &self,
        rendered: &Rendered,
        connection: &ConnectionFields,
        extra: &Map<String, Value>,
    ) -> Result<Message, String> {
        let of_connection = || extra.get("from_email").and_then(Value::as_str).map(str::to_owned);
        let login = || connection.login.clone().filter(|login| login.contains('@'));
        let from = rendered.from.clone().or_else(of_connection).or_else(login).ok_or_else(|| {
            format!(
                "the mail has no sender: write from_email, or from_email into the extra of connection {:?}",
                rendered.conn_id
            )
        })?;
        let mut builder = Message::builder()
            .from(mailbox(&from)?)
            .subject(rendered.subject.clone())
            // The same for each try, so that a reader may drop what comes twice.
            .message_id(Some(format!("<{}@windlass>", self.id)))
            .header(rendered.kind.clone());
        builder = with_all(builder, &rendered.to, MessageBuilder::to)?;
        builder = with_all(builder, &rendered.cc, MessageBuilder::cc)?;
        builder = with_all(builder, &rendered.bcc, MessageBuilder::bcc)?;
        builder.body(rendered.text.clone()).map_err(|error| format!("the mail can not be made: {error}"))
    }
}

impl Executor for EmailExecutor {
    fn run<'a>(&'a self, attempt: &'a Attempt, stop: &'a Stop) -> BoxFuture<'a, Outcome> {
        until_stopped(stop, self.outcome(attempt).boxed()).boxed()
    }
}

fn with_all(
    builder: MessageBuilder,
    addresses: &BTreeSet<String>,
    add: fn(MessageBuilder, Mailbox) -> MessageBuilder,
) -> Result<MessageBuilder, String> {
    addresses.iter().try_fold(builder, |builder, address| Ok(add(builder, mailbox(address)?)))
}

fn mailbox(address: &str) -> Result<Mailbox, String> {
    address.parse().map_err(|error| format!("{address:?} is no address: {error}"))
}

/// As Airflow's SMTP connections have it: TLS from the first byte on unless `disable_ssl`, else STARTTLS unless `disable_tls`.
fn mailer(
    connection: &ConnectionFields,
    extra: &Map<String, Value>,
) -> Result<AsyncSmtpTransport<Tokio1Executor>, String> {
    let name = &connection.conn_id;
    let host = connection.host.as_deref().map(str::trim).filter(|host| !host.is_empty());
    let host = host.ok_or_else(|| format!("connection {name:?} has no host"))?;
    let is_set = |key: &str| match extra.get(key) {
        Some(Value::Bool(set)) => *set,
        Some(Value::String(text)) => matches!(text.to_ascii_lowercase().as_str(), "true" | "1" | "yes"),
        Some(_) | None => false,
    };
    let tls = || TlsParameters::new(host.to_owned()).map_err(|error| format!("TLS to {host}: {error}"));
    let (tls, absent) = match (is_set("disable_ssl"), is_set("disable_tls")) {
        (false, _) => (Tls::Wrapper(tls()?), 465),
        (true, false) => (Tls::Required(tls()?), 587),
        (true, true) => (Tls::None, 25),
    };
    let port = match connection.port {
        Some(port) => u16::try_from(port).map_err(|_| format!("connection {name:?}: {port} is no port"))?,
        None => absent,
    };
    let timeout = extra.get("timeout").and_then(Value::as_f64).and_then(|secs| Duration::try_from_secs_f64(secs).ok());
    let mut builder = AsyncSmtpTransport::<Tokio1Executor>::builder_dangerous(host)
        .port(port)
        .tls(tls)
        .timeout(Some(timeout.unwrap_or(TIMEOUT).min(TIMEOUT_MAX)));
    if let Some(login) = connection.login.clone().filter(|login| !login.is_empty()) {
        builder = builder.credentials(Credentials::new(login, connection.password.clone().unwrap_or_default()));
    }
    Ok(builder.build())
}

fn told(connection: &ConnectionFields, error: &lettre::transport::smtp::Error) -> String {
    let host = connection.host.as_deref().unwrap_or_default();
    let mut sentence = format!("mail by {host}: {error}");
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !sentence.contains(&cause_text) {
            sentence = format!("{sentence}: {cause_text}");
        }
        source = cause.source();
    }
    sentence
}
