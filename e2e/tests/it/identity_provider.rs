//! Logins by a real OpenID provider: panva's certified oidc-provider, as it comes from npm, in a process of its own. A client goes
//! the way of a browser, through the provider's pages for login and consent and back; and so does a real Chromium.

use std::{
    collections::BTreeMap,
    io::{BufRead as _, BufReader},
    process::{Child, Command, Stdio},
    time::Duration,
};

use reqwest::{Client, Method, Url, redirect::Policy};
use windlass_e2e::{
    Browser,
    fleet::{Fleet, Size, USER},
    program, project,
    standalone::free_port,
};

const SIZE: Size = Size { schedulers: 1, workers: 0, apis: 0 };
const PACKAGE: &str = "oidc-provider@9.13.3";
const SECRET: &str = "s3cret:of & the client";
/// A page of a browser comes within this.
const WAIT: Duration = Duration::from_secs(30);
/// More steps than a login has.
const STEPS_MAX: usize = 20;

/// The provider's process; it ends with the test.
struct Provider {
    process: Child,
    issuer: String,
}

impl Drop for Provider {
    fn drop(&mut self) {
        self.process.kill().expect("it is a child of ours");
        self.process.wait().expect("it is a child of ours");
    }
}

impl Provider {
    /// Starts one whose client comes back to this address; its package is kept beside the build.
    fn start(redirect_uri: &str) -> Self {
        let folder = program("node-identity-provider");
        if !folder.join("complete").exists() {
            std::fs::create_dir_all(&folder).unwrap();
            std::fs::write(folder.join("package.json"), "{\"private\": true}").unwrap();
            let output =
                Command::new("npm").args(["install", "--silent", PACKAGE]).current_dir(&folder).output().unwrap();
            assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
            std::fs::write(folder.join("complete"), "").unwrap();
        }
        let port = free_port();
        let mut process = Command::new("node")
            .arg(project().join("e2e/node/identity_provider.mjs"))
            .arg(folder)
            .args([&port.to_string(), redirect_uri, SECRET])
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("node starts");
        let mut lines = BufReader::new(process.stdout.take().unwrap()).lines().map_while(Result::ok);
        assert!(lines.any(|line| line == "ready"), "the provider listens");
        // Whatever it says later must find a reader.
        std::thread::spawn(move || lines.for_each(drop));
        Self { process, issuer: format!("http://127.0.0.1:{port}") }
    }
}

/// A browser without scripts: it follows redirects, keeps cookies of each server, and fills forms.
struct Walker {
    client: Client,
    cookies: BTreeMap<(u16, String), String>,
    /// Where it has been sent.
    way: Vec<String>,
}

/// A page that is no redirect.
struct Page {
    url: Url,
    status: u16,
    text: String,
}

impl Walker {
    fn new() -> Self {
        let client = Client::builder().redirect(Policy::none()).build().unwrap();
        Self { client, cookies: BTreeMap::new(), way: Vec::new() }
    }

    fn cookie(&self, url: &Url, name: &str) -> Option<&String> {
        self.cookies.get(&(url.port().unwrap(), name.to_owned()))
    }

    /// Goes to an address and wherever it is sent from there.
    async fn go(&mut self, method: Method, url: Url, form: &[(&str, &str)]) -> Page {
        let (mut method, mut url, mut form) = (method, url, form);
        for _ in 0..STEPS_MAX {
            self.way.push(url.to_string());
            let port = url.port().unwrap();
            let mine = self.cookies.iter().filter(|((of, _), _)| *of == port);
            let cookies: Vec<String> = mine.map(|((_, name), value)| format!("{name}={value}")).collect();
            let mut request = self.client.request(method.clone(), url.clone()).header("cookie", cookies.join("; "));
            if method == Method::POST {
                request = request.form(form).header("origin", url.origin().ascii_serialization());
            }
            let answer = request.send().await.unwrap();
            for line in answer.headers().get_all("set-cookie") {
                let pair = line.to_str().unwrap().split(';').next().unwrap().to_owned();
                let (name, value) = pair.split_once('=').unwrap();
                self.cookies.insert((port, name.to_owned()), value.to_owned());
            }
            let Some(next) = answer.headers().get("location") else {
                return Page { url, status: answer.status().as_u16(), text: answer.text().await.unwrap() };
            };
            url = url.join(next.to_str().unwrap()).unwrap();
            (method, form) = (Method::GET, &[]);
        }
        panic!("no page after {STEPS_MAX} steps: {:?}", self.way);
    }

    /// Logs in at the provider, as somebody who agrees to everything, and comes back.
    async fn log_in(&mut self, api: &str, somebody: &str) -> Page {
        let begin = format!("{api}/auth/oidc/login?next=/users").parse().unwrap();
        let login = self.go(Method::GET, begin, &[]).await;
        assert!(login.text.contains("name=\"login\""), "{}", login.text);
        let fields = [("prompt", "login"), ("login", somebody), ("password", "any")];
        let consent = self.go(Method::POST, login.url, &fields).await;
        assert!(consent.text.contains("value=\"consent\""), "{}", consent.text);
        self.go(Method::POST, consent.url, &[("prompt", "consent")]).await
    }
}

/// What the audit log says of logins: who, what, from where and by what door.
async fn audit(fleet: &Fleet) -> Vec<(String, String, Option<String>, Option<String>)> {
    let query = "SELECT who, action, address, door FROM audit_log WHERE action LIKE 'login%' OR action = 'create_user' \
                 ORDER BY id";
    sqlx::query_as(query).fetch_all(&fleet.pool).await.unwrap()
}

/// A provider, and an installation whose people it knows, at this address.
async fn installation() -> (Provider, Fleet, String) {
    let port = free_port();
    let api = format!("http://127.0.0.1:{port}");
    let provider = Provider::start(&format!("{api}/auth/oidc/callback"));
    let settings = [
        ("WINDLASS_OIDC_ISSUER", provider.issuer.clone()),
        ("WINDLASS_OIDC_CLIENT_ID", "windlass".to_owned()),
        ("WINDLASS_OIDC_CLIENT_SECRET", SECRET.to_owned()),
        ("WINDLASS_OIDC_ROLES", "data-admins:Admin,people:Viewer".to_owned()),
        ("WINDLASS_BASE_URL", api.clone()),
    ];
    let mut fleet = Fleet::start_with(SIZE, &[], &settings).await;
    fleet.add_api_at(port).await;
    (provider, fleet, api)
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Node.js 20 or later and npm: the full set installs them"]
async fn people_of_a_real_provider_log_in_with_the_roles_of_their_groups() {
    let (_provider, fleet, api) = installation().await;
    let mut ann = Walker::new();
    let page = ann.log_in(&api, "ann").await;
    assert_eq!((page.url.path(), page.status), ("/users", 200), "data-admins are Admin: {:?}", ann.way);
    assert!(page.text.contains("ann"), "{}", page.text);
    assert!(ann.cookie(&page.url, "_oidc").is_some_and(String::is_empty), "what was taken along is gone");

    let mut ben = Walker::new();
    let page = ben.log_in(&api, "ben").await;
    assert_eq!((page.url.path(), page.status), ("/users", 403), "people are Viewer");
    let runs = ben.go(Method::GET, format!("{api}/runs").parse().unwrap(), &[]).await;
    assert_eq!((runs.url.path(), runs.status), ("/runs", 200));

    let mut cyd = Walker::new();
    let page = cyd.log_in(&api, "cyd").await;
    assert!(page.status == 403 && page.text.contains("in no group"), "{}", page.text);
    assert!(cyd.cookie(&page.url, "_token").is_none());
    // The name of a local user is not had by having it at the provider.
    let page = Walker::new().log_in(&api, "eve").await;
    assert!(page.status == 403 && page.text.contains("another user"), "{}", page.text);

    // A way back that was gone once is good for nobody.
    let back = ann.way.iter().find(|url| url.contains("/auth/oidc/callback")).unwrap().parse::<Url>().unwrap();
    for walker in [&mut Walker::new(), &mut ann] {
        assert_eq!(walker.go(Method::GET, back.clone(), &[]).await.status, 403);
    }
    let expected = [("ann", "create_user"), ("ann", "login_oidc"), ("ben", "create_user"), ("ben", "login_oidc")];
    // A way back that no login began is none that was tried.
    let refused = [("cyd", "login_failed"), (USER.0, "login_failed")];
    let expected = expected.iter().chain(&refused);
    let line = |(who, action): &(&str, &str)| {
        let (address, door) = (Some("127.0.0.1".to_owned()), Some("ui".to_owned()));
        ((*who).to_owned(), (*action).to_owned(), address, door)
    };
    assert_eq!(audit(&fleet).await, expected.map(line).collect::<Vec<_>>());
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Node.js 20 or later and npm: the full set installs them"]
async fn people_of_a_real_provider_log_in_and_out_in_a_browser() {
    let (_provider, _fleet, api) = installation().await;
    let browser = Browser::start().await.unwrap();
    browser.open(&format!("{api}/users")).await.unwrap();
    browser.click("a[href*='/auth/oidc/login']").await.unwrap();
    browser.write("[name=login]", "ann").await.unwrap();
    browser.write("[name=password]", "any").await.unwrap();
    browser.click("[type=submit]").await.unwrap();
    browser.until_text("Authorize", WAIT).await.unwrap();
    browser.click("[type=submit]").await.unwrap();
    // The page that was asked for before anybody was known.
    browser.until_text("ann", WAIT).await.unwrap();
    assert_eq!(browser.script("return location.href").await.unwrap(), format!("{api}/users"));
    // No script reads what the session hangs on.
    assert_eq!(browser.script("return document.cookie.includes('_token')").await.unwrap(), false);
    browser.script("document.querySelector('form[action=\"/auth/logout\"]').requestSubmit()").await.unwrap();
    browser.until_text("Log in", WAIT).await.unwrap();
    browser.open(&format!("{api}/users")).await.unwrap();
    assert_eq!(browser.script("return location.pathname").await.unwrap(), "/login");
}
