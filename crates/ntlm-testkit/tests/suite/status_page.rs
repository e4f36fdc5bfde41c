//! The page of `ntlm_status html;`, as a browser shows it.

use std::fmt::Write as _;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use ntlm_testkit::client::Login;
use ntlm_testkit::client::browser::Browser;
use ntlm_testkit::{Client, Nginx, Origin, Request, password_of};

/// The policy that the page asks of a browser. The page must work under it.
const POLICY: &str =
    "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; connect-src 'self'";

const STALE: &str = "document.querySelector('main').classList.contains('stale')";
const CURRENT: &str = "!document.querySelector('main').classList.contains('stale')";

/// The page at `/ntlm`, beside what else the server has.
async fn nginx(origin: &Origin, groups: &str) -> Nginx {
    Nginx::builder()
        .set("origin", &origin.address())
        .set("groups", groups)
        .conf(
            "{{groups}} upstream intranet { server {{origin}}; ntlm 50; } \
             server { listen 127.0.0.1:{{port}}; \
               location = /ntlm { ntlm_status html; } location / { proxy_pass http://intranet; } }",
        )
        .start()
        .await
}

fn worker_of(nginx: &Nginx) -> Pid {
    Pid::from_raw(i32::try_from(nginx.worker_pids()[0]).unwrap())
}

/// The text of an element, or "" if there is none.
async fn text_of(page: &mut Browser, selector: &str) -> String {
    let text = page.evaluate(&format!("document.querySelector({selector:?})?.innerText ?? ''")).await;
    text.as_str().unwrap().to_owned()
}

#[tokio::test]
async fn the_page_shows_the_numbers_as_they_change() {
    let origin = Origin::start().await;
    let nginx = nginx(&origin, "").await;
    let mut page = Browser::open(&nginx.url("/ntlm")).await;
    page.wait_text("All is well").await;
    assert!(page.text().await.contains("parked\n0\nof 50"), "{}", page.text().await);

    // While the page is open.
    let mut alice = Client::connect(&nginx).await;
    alice.login("alice", "/").await;
    for _ in 0..3 {
        assert_eq!(alice.get("/").await.identity(), "alice");
    }
    let mut bob = Client::connect(&nginx).await;
    bob.leg1("bob", "/").await;
    page.wait_text("parked\n2\nof 50").await;
    let text = page.text().await;
    assert!(text.contains("handshaking\n1\n"), "{text}");
    // The third leg and the three requests after it.
    assert!(text.contains("bound\n") && text.contains("/s\n2 in all\n"), "{text}");
    assert!(text.contains("4 in all\n") && text.contains("lost\n0"), "{text}");
    assert!(text.contains("sessions now\n2") && text.contains("full\n4 %\n2 of 50 wait"), "{text}");
    assert!(text.contains("logins\n") && text.contains("/s\n1 in all\nrefused\n"), "{text}");
    assert!(text.contains("NTLMv2\t1\t0") && text.contains("NTLMv1\t0\t0"), "{text}");
    assert!(text.contains("client left\t0"), "{text}");
    // Rates need two answers, and a line is drawn of them.
    page.wait_for("document.querySelectorAll('svg path.one')[2].getAttribute('d').includes('L')").await;

    assert!(text.contains(&format!("{}\t2\t0\t0", origin.address())), "{text}");
    alice.close().await;
    page.wait_text("parked\n1\nof 50").await;
    page.wait_text("client left\t1").await;
    assert_eq!(page.complaints(), [""; 0]);
}

#[tokio::test]
async fn the_page_shows_a_diagnosis_with_its_remedy() {
    let origin = Origin::start().await;
    let nginx = nginx(&origin, "").await;
    let mut page = Browser::open(&nginx.url("/ntlm")).await;
    page.wait_text("All is well").await;

    let mut alice = Client::connect(&nginx).await;
    alice.leg1("alice", "/?close=challenge").await;
    alice.closed().await;
    page.wait_text("1 diagnosis within the hour").await;
    assert!(!page.text().await.contains("All is well"));
    assert_eq!(text_of(&mut page, "#diagnoses a").await, "intranet");
    // The page repeats the log word for word.
    let [what, remedy] = ["#diagnoses .what", "#diagnoses .what + p"];
    let [what, remedy] = [text_of(&mut page, what).await, text_of(&mut page, remedy).await];
    assert!(what.contains("closes") && !remedy.is_empty(), "{what}: {remedy}");
    nginx.wait_log(|log| log.contains(&what) && log.contains(&remedy)).await;
    // A screen reader is told as well.
    assert!(text_of(&mut page, "#said").await.contains(&what));

    // Once more, and this time nginx learns of the end together with the challenge.
    let worker = worker_of(&nginx);
    let mut alice = Client::connect(&nginx).await;
    let leg = Login::new("NTLM", "alice", &password_of("alice")).first();
    alice.send(Request::get("/?gate=challenge&close=silent").header("Authorization", &leg)).await;
    origin.wait_gate("challenge").await;
    kill(worker, Signal::SIGSTOP).unwrap();
    origin.open_gate("challenge");
    origin.wait_open_connections(0).await;
    kill(worker, Signal::SIGCONT).unwrap();
    assert_eq!(alice.read_response().await.status, 401);
    page.wait_text("intranet, 2 times, last ").await;
    assert_eq!(page.complaints(), [""; 0]);
}

#[tokio::test]
async fn the_page_says_when_its_numbers_are_stale() {
    let origin = Origin::start().await;
    let nginx = nginx(&origin, "").await;
    let mut page = Browser::open(&nginx.url("/ntlm")).await;
    page.wait_text("All is well").await;
    assert_eq!(page.evaluate(CURRENT).await, true);

    // An nginx that hangs, and recovers.
    let worker = worker_of(&nginx);
    kill(worker, Signal::SIGSTOP).unwrap();
    page.wait_for(STALE).await;
    assert!(text_of(&mut page, "#line").await.starts_with("Stale: no answer for "));
    kill(worker, Signal::SIGCONT).unwrap();
    page.wait_for(CURRENT).await;
    page.wait_text("All is well").await;

    // One that is gone.
    nginx.stop().await;
    page.wait_for(STALE).await;
    assert!(text_of(&mut page, "#line").await.starts_with("Stale: no answer for "));
    assert!(text_of(&mut page, "#said").await.starts_with("Stale: no answer since "));
}

#[tokio::test]
async fn many_groups_with_long_names_fit_a_phone() {
    let origin = Origin::start().await;
    let mut groups = String::new();
    for i in 0..30 {
        let _ = writeln!(groups, "upstream {}-{i} {{ server {}; ntlm; }}", "x".repeat(70), origin.address());
    }
    let nginx = nginx(&origin, &groups).await;
    let mut page = Browser::open(&nginx.url("/ntlm")).await;
    page.width(320).await;
    page.wait_text("All 31 groups").await;
    assert_eq!(page.evaluate("document.documentElement.scrollWidth").await, 320);
    assert_eq!(page.evaluate("document.querySelectorAll('h2').length").await, 2 + 1 + 1 + 31);

    page.evaluate(
        "document.querySelector('#filter').focus(); document.execCommand('insertText', false, 'INTRA')",
    )
    .await;
    page.wait_for("document.querySelectorAll('#groups h2').length === 1").await;
    assert_eq!(text_of(&mut page, "#groups h2").await, "intranet");
    assert_eq!(page.complaints(), [""; 0]);
}

#[tokio::test]
async fn groups_are_listed_worst_first() {
    let origin = Origin::start().await;
    let groups: String = (0..4)
        .map(|i| format!("upstream calm{i} {{ server {}; ntlm {}; }}\n", origin.address(), 10 + i))
        .collect();
    let nginx = nginx(&origin, &groups).await;
    Client::connect(&nginx).await.leg1("alice", "/?close=challenge").await;
    let mut page = Browser::open(&nginx.url("/ntlm")).await;
    page.wait_text("1 diagnosis within the hour").await;
    let names = "[...document.querySelectorAll('#rows a')].map(a => a.textContent).join()";
    assert_eq!(page.evaluate(names).await, "intranet,calm0,calm1,calm2,calm3");
    assert_eq!(page.evaluate("document.querySelectorAll('#rows tr.bad').length").await, 1);
    assert_eq!(text_of(&mut page, "#rows tr.bad td:last-child").await, "1 diagnosis");
    let click = |key: &str| format!("document.querySelector('#heads [data-key={key}] button').click()");
    page.evaluate(&click("name")).await;
    assert_eq!(page.evaluate(names).await, "calm0,calm1,calm2,calm3,intranet");
    page.evaluate(&click("name")).await;
    assert_eq!(page.evaluate(names).await, "intranet,calm3,calm2,calm1,calm0");
    let order = "document.querySelector('#heads [data-key=name]').getAttribute('aria-sort')";
    assert_eq!(page.evaluate(order).await, "descending");
    // It fits a phone, and leads to the cards.
    page.width(360).await;
    assert_eq!(page.evaluate("document.documentElement.scrollWidth").await, 360);
    let leads = "!!document.querySelector(document.querySelector('#rows a').getAttribute('href'))";
    assert_eq!(page.evaluate(leads).await, true);
    assert_eq!(page.complaints(), [""; 0]);
}

#[tokio::test]
async fn many_refusals_stand_at_the_top() {
    let origin = Origin::start().await;
    let nginx = nginx(&origin, "").await;
    Client::connect(&nginx).await.login("bob", "/").await;
    let mut page = Browser::open(&nginx.url("/ntlm")).await;
    page.wait_text("All is well").await;
    for _ in 0..21 {
        Client::connect(&nginx).await.login_with("NTLM", "alice", "guessed", "/").await;
    }
    page.wait_text("intranet: 21 of 22 logins were refused.").await;
    page.wait_text("the origin refused most logins of the last five minutes").await;
    assert_eq!(page.evaluate("document.querySelector('#state').dataset.tone").await, "warn");
    page.wait_text("/s\n21 in all").await;
    // The chart has a line for them.
    page.wait_for("document.querySelector('svg path.two').getAttribute('d').includes('L')").await;
    assert_eq!(page.complaints(), [""; 0]);
}

#[tokio::test]
async fn page_without_a_group_says_what_to_do() {
    let nginx = Nginx::builder()
        .conf("server { listen 127.0.0.1:{{port}}; location = /ntlm { ntlm_status html; } }")
        .start()
        .await;
    let mut page = Browser::open(&nginx.url("/ntlm")).await;
    page.wait_text("No upstream group has “ntlm”").await;
    page.wait_text("upstream iis {").await;
    assert_eq!(page.complaints(), [""; 0]);
}

#[tokio::test]
async fn the_page_takes_a_name_for_text() {
    let origin = Origin::start().await;
    let group = format!("upstream '<s id=x>&amp; \"it\"' {{ server {}; ntlm; }}", origin.address());
    let nginx = nginx(&origin, &group).await;
    let mut page = Browser::open(&nginx.url("/ntlm")).await;
    page.wait_text("All 2 groups").await;
    page.wait_text("<s id=x>&amp; \"it\"").await;
    assert_eq!(page.evaluate("document.querySelector('#x')").await, serde_json::Value::Null);
}

#[tokio::test]
async fn the_page_needs_nothing_but_itself() {
    let origin = Origin::start().await;
    let nginx = nginx(&origin, "").await;
    let response = Client::connect(&nginx).await.get("/ntlm").await;
    assert_eq!(response.get("Content-Type"), Some("text/html; charset=utf-8"));
    assert!(
        response.get("Content-Security-Policy").is_some_and(|policy| policy.starts_with(POLICY)),
        "{response:?}"
    );
    let mut page = Browser::open(&nginx.url("/ntlm")).await;
    page.wait_text("All is well").await;
    // Everything it ever fetched.
    let fetched = page.evaluate("performance.getEntriesByType('resource').map(entry => entry.name)").await;
    let fetched = fetched.as_array().unwrap();
    assert!(
        !fetched.is_empty() && fetched.iter().all(|url| *url == nginx.url("/ntlm?format=json")),
        "{fetched:?}"
    );
    assert_eq!(page.complaints(), [""; 0]);
}
