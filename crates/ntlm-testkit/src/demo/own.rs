//! The demonstration on an origin of its own: the same requests straight, without the module, and with it.
//!
//! It must never favour the module: nginx without it gets every setting that could help it.

use super::proof::{self, Observed};
use super::scenario::{self, words};
use super::screen::Screen;
use super::{Demo, Options, Watched, address, print_configuration, start};
use crate::client::curl::{Curl, Outcome};
use crate::origin::{Entry, Leg};
use crate::{Nginx, Origin, password_of};

/// Without the module. `{{no_pool}}` is empty where an nginx pools nothing unless told to.
const WITHOUT: &str = r#"
proxy_http_version 1.1;
proxy_set_header Connection "";

upstream no_pool {
    server {{origin}};
    {{no_pool}}
}
server {
    listen 127.0.0.1:{{port:no_pool}};
    location / { proxy_pass http://no_pool; }
}

upstream pool {
    server {{origin}};
    keepalive 16;
}
server {
    listen 127.0.0.1:{{port:pool}};
    location / { proxy_pass http://pool; }
}
"#;

/// With it, and nothing else.
const WITH: &str = "\
upstream intranet {
    server {{origin}};
    ntlm;
}

server {
    listen 127.0.0.1:{{port}};
{{listen}}
    location / {
        proxy_pass http://intranet;
    }

    location = /ntlm-status {
        ntlm_status html;
    }
}
";

/// With it and what the pool of [`WITHOUT`] had.
const WITH_POOL: &str = r#"
upstream intranet_and_pool {
    server {{origin}};
    keepalive 16;
    ntlm;
}
server {
    listen 127.0.0.1:{{port:with_pool}};
    location / {
        proxy_pass http://intranet_and_pool;
        proxy_http_version 1.1;
        proxy_set_header Connection "";
    }
}
"#;

/// Since then nginx pools connections unless told not to.
const POOLS_BY_ITSELF: (u32, u32, u32) = (1, 29, 7);

pub(super) async fn show(options: &Options, screen: Screen) -> Result<Demo, String> {
    let origin = Origin::builder();
    let origin = ["alice", "bob"].iter().fold(origin, |origin, user| origin.user(user, &password_of(user)));
    let origin = origin.start().await;
    let version = Nginx::binary().version();
    let pools = version >= POOLS_BY_ITSELF;
    let no_pool = if pools { "keepalive 0;" } else { "" };
    let builder = || Nginx::builder().set("origin", &origin.address()).set("no_pool", no_pool);
    let conf = WITH.replace("{{listen}}", &options.listen_line());
    let with = start(builder().conf(&conf).conf(WITH_POOL), options).await?;
    let without = start(builder().without_module().conf(WITHOUT), options).await?;
    introduce(&origin, version, options, screen);

    let direct = scenario::play(&origin).await;
    let title = |text: &str| println!("\n{}", screen.bold(text));
    title("Straight to the server, no nginx");
    direct.print(screen);

    title("nginx without the module");
    println!("  Each request gets a connection of its own to the server{}.", pool_remark(pools));
    let unpooled = scenario::play(without.at("no_pool")).await;
    unpooled.print(screen);
    if !unpooled.alice_got_in() && unpooled.challenge_was_elsewhere() {
        let line =
            "Alice's password is right. Her answer came over another connection than the challenge did.";
        println!("  {}", screen.bad(line));
    }

    title("nginx without the module, connections pooled: \"keepalive 16;\"");
    let usual = if pools { ", in this version even unasked" } else { "" };
    println!("  Finished requests leave their connections to whoever comes next{usual}.");
    let pooled = scenario::play(without.at("pool")).await;
    pooled.print(screen);
    if pooled.leaks() > 0 {
        let line = "Whoever gets the connection is taken for the person who logged in on it.";
        println!("  {}", screen.bad(line));
    }

    title("nginx with the module: \"ntlm;\"");
    println!("  A connection on which somebody logs in is theirs alone, until they leave.");
    let bound = scenario::play(&with).await;
    bound.print(screen);
    match bound.alices_connection() {
        Some(connection) if bound.is_right() && !bound.bob_was_on(connection) => {
            let line = format!(
                "Connection #{connection} carried Alice's login and all that followed, and nobody else."
            );
            println!("  {}", screen.good(&line));
        }
        _ => println!("  {}", screen.bad("That is not as it has to be.")),
    }
    let bound_pool = scenario::play(with.at("with_pool")).await;
    let same = if bound_pool.is_right() { screen.good("the same") } else { screen.bad("NOT the same") };
    println!("  With \"keepalive 16;\" beside \"ntlm;\": {same}.");

    let curl = curl(&origin, &with, screen).await;
    let observed =
        Observed { direct, unpooled, pooled, bound, bound_pool, curl, complaints: with.complaints() };
    let verdict = proof::judge(&observed);

    println!();
    print_configuration(&with, &conf.replace("{{origin}}", &origin.address()), options, screen);
    if !options.once {
        invite(&with, &without, options, screen);
    }
    println!();
    let fine = match verdict {
        Ok(fine) => {
            println!("{} {fine}", screen.good("OK:"));
            true
        }
        Err(wrong) => {
            println!("This is not as it has to be:");
            for sentence in &wrong {
                println!("  - {sentence}");
            }
            println!("{} see above ({} findings)", screen.bad("FAILED:"), wrong.len());
            false
        }
    };
    let seen = origin.ledger().len();
    Ok(Demo { fine, _nginxes: vec![with, without], watched: Watched::Origin(Box::new(origin), seen), screen })
}

fn pool_remark(pools: bool) -> &'static str {
    if pools { " (\"keepalive 0;\", as before nginx 1.29.7)" } else { "" }
}

fn introduce(origin: &Origin, (major, minor, patch): (u32, u32, u32), options: &Options, screen: Screen) {
    let title =
        format!("Windows login (NTLM) through nginx {major}.{minor}.{patch}, without and with the module");
    println!("{}\n", screen.bold(&title));
    let place = if options.once { String::new() } else { format!(" at {}", origin.url("/")) };
    println!("  A server that demands a login was started{place}. Its users:");
    for user in ["alice", "bob"] {
        println!("    {user:<6} password {}", password_of(user));
    }
    println!(
        "
  A login takes three requests: one without a password, refused (401); one that asks for a
  challenge, which comes with another 401; and one that answers it. From then on everything on
  that connection to the server is served (200) as that user: the server remembers connections,
  and looks at no password again. The column \"connection\" has the server's own numbers."
    );
}

/// A foreign client, straight and through nginx.
async fn curl(origin: &Origin, with: &Nginx, screen: Screen) -> Option<(Outcome, Outcome)> {
    println!("\n{}", screen.bold("curl, straight and through nginx with the module"));
    if !has_curl().await {
        println!("  There is no curl here that can do NTLM: left out.");
        return None;
    }
    let to = |url: &dyn Fn(&str) -> String| {
        ["/mail/1", "/mail/2", "/mail/3"].iter().fold(Curl::ntlm("alice"), |curl, path| curl.url(url(path)))
    };
    let straight = to(&|path| origin.url(path)).run().await;
    let through = to(&|path| with.url(path)).run().await;
    for (name, outcome) in [("straight", &straight), ("through nginx", &through)] {
        let legs = outcome.legs();
        let statuses = words(&legs);
        let served = outcome.responses.last().and_then(|response| response.get("X-Identity"));
        println!(
            "  {name:<14} {} requests: {statuses}, served as {}",
            legs.len(),
            served.unwrap_or("nobody")
        );
    }
    Some((straight, through))
}

async fn has_curl() -> bool {
    let version = tokio::process::Command::new("curl").args(["-q", "--version"]).output().await;
    version.is_ok_and(|version| {
        String::from_utf8_lossy(&version.stdout).split_whitespace().any(|word| word == "NTLM")
    })
}

fn invite(with: &Nginx, without: &Nginx, options: &Options, screen: Screen) {
    let password = password_of("alice");
    println!("\n{}\n", screen.bold("Try it"));
    println!("  browser  {}   user alice, password {password}", screen.bold(&options.address(with, "/mail")));
    println!("           the page says who you are and on which connection; reload it");
    println!("  curl     curl --ntlm -u alice:{password} \\");
    let urls: Vec<String> = (1..=3).map(|n| options.address(with, &format!("/mail/{n}"))).collect();
    println!("         {}", urls.join(" "));
    println!("  status   {}", options.address(with, "/ntlm-status"));
    println!(
        "  probe    NTLM_PROBE_PASSWORD={password} cargo run -p ntlm-probe -- {} --user alice",
        options.address(with, "/mail")
    );
    println!(
        "\n  The same without the module: {}, with a pool: {}",
        address(without, "no_pool", "/mail"),
        address(without, "pool", "/mail")
    );
}

/// One line for a request the origin saw.
pub(super) fn print(entry: &Entry, screen: Screen) {
    let user = entry.identity.as_deref().unwrap_or("nobody");
    let status = format!("{:<7}", entry.status);
    let status = if entry.status == 401 { status } else { screen.good(&status) };
    let leg = match entry.leg {
        Leg::Negotiate => "  asks for a challenge",
        Leg::Authenticate => "  answers it",
        Leg::Other => "  with other credentials",
        Leg::None => "",
    };
    let connection = format!("#{}", entry.connection);
    println!("  {status} {connection:<11} {user:<10} {} {}{leg}", entry.method, entry.target);
}
