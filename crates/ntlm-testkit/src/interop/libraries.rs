//! Libraries that want a server of their own: `pypsrp` runs commands by WinRM, `exchangelib` asks Exchange Web Services, each straight and
//! through nginx, as all users at once.
//!
//! Messages of WinRM are encrypted with keys of the login, which belong to the connection: one that comes over another connection is not
//! understood. This test must never use TLS, over which the libraries do not encrypt so: it leaves the TLS of the recipe out.

use std::net::SocketAddr;
use std::path::Path;
use std::process::Stdio;

use tokio::process::{Child, Command};

use super::world::World;
use super::{USERS, until};
use crate::Nginx;
use crate::origin::DOMAIN;
use crate::password_of;
use crate::ports::Reserved;

/// A library, and the server that it asks.
struct Library {
    name: &'static str,
    /// File names with their texts.
    server: (&'static str, &'static str),
    client: (&'static str, &'static str),
    schemes: &'static [&'static str],
    /// The configuration of nginx in front of this server.
    conf: fn(SocketAddr) -> Result<String, String>,
}

const LIBRARIES: &[Library] = &[
    Library {
        name: "pypsrp",
        server: ("winrm_server.py", include_str!("../../interop/winrm_server.py")),
        client: ("winrm.py", include_str!("../../interop/winrm.py")),
        schemes: &["ntlm", "negotiate"],
        conf: recipe,
    },
    Library {
        name: "exchangelib",
        server: ("ews_server.py", include_str!("../../interop/ews_server.py")),
        client: ("ews.py", include_str!("../../interop/ews.py")),
        schemes: &["ntlm"],
        conf: plain,
    },
];

/// The part that both servers have in common.
const BOUND: &str = include_str!("../../interop/bound.py");
/// The part that both clients have in common.
const SESSIONS: &str = include_str!("../../interop/sessions.py");
const RECIPE: &str = include_str!("../../../../docs/recipes/winrm.conf");
/// How often each user asks.
const TIMES: usize = 3;
/// How many seconds WinRM keeps a request for output waiting.
const OUTPUT_AFTER: &str = "1";

/// Plays those whose name contains `wanted`; what went wrong.
///
/// # Errors
/// When a server does not start.
pub async fn run(world: &World, tools: &Path, wanted: &str) -> Result<Vec<String>, String> {
    let python = tools.join("python/bin/python");
    let mut findings = Vec::new();
    for library in LIBRARIES.iter().filter(|library| library.name.contains(wanted)) {
        let port = Reserved::v4().map_err(|error| format!("no free port: {error}"))?;
        let _server = start(world, &python, library, port.address()).await?;
        let nginx = Nginx::builder().conf(&(library.conf)(port.address())?).start().await;
        println!("\n{}, {} users at once, {TIMES} times each", library.name, USERS.len());
        for scheme in library.schemes {
            for (way, address) in [("straight", port.address()), ("through nginx", nginx.socket_addr(""))] {
                let (right, said) = play(world, &python, library, scheme, address).await?;
                println!("  {scheme:<9} {way}: {right} of {}", USERS.len() * TIMES);
                if right != USERS.len() * TIMES {
                    findings.push(format!("{}, {scheme}, {way}: {said}", library.name));
                }
            }
        }
        nginx.stop().await;
    }
    Ok(findings)
}

async fn start(
    world: &World,
    python: &Path,
    library: &Library,
    address: SocketAddr,
) -> Result<Child, String> {
    let (name, text) = library.server;
    world.write("bound.py", BOUND)?;
    let users: String = USERS.map(|user| format!("{DOMAIN}:{user}:{}\n", password_of(user))).concat();
    let mut server = Command::new(python);
    server.arg(world.write(name, text)?).args([&address.to_string(), OUTPUT_AFTER]);
    server.env("NTLM_USER_FILE", world.write("users-of-libraries", &users)?);
    server.stdin(Stdio::null()).stdout(Stdio::null()).kill_on_drop(true);
    let server = server.spawn().map_err(|error| format!("python does not run: {error}"))?;
    until(name, || std::net::TcpStream::connect(address).map(drop).map_err(|error| error.to_string()))
        .await?;
    Ok(server)
}

/// The smallest configuration.
fn plain(server: SocketAddr) -> Result<String, String> {
    Ok(format!(
        "upstream ews {{ server {server}; ntlm; }}
         server {{ listen 127.0.0.1:{{{{port}}}}; location / {{ proxy_pass http://ews; }} }}"
    ))
}

/// The recipe for WinRM, in front of this server and without TLS.
fn recipe(server: SocketAddr) -> Result<String, String> {
    let mut conf = String::new();
    let mut replaced = 0;
    for line in RECIPE.lines() {
        let words: Vec<&str> = line.trim().trim_end_matches(';').split_whitespace().collect();
        let line = match words[..] {
            ["server", place] if place != "{" => line.replace(place, &server.to_string()),
            ["listen", ..] => "    listen 127.0.0.1:{{port}};".to_owned(),
            ["proxy_pass", "https://winrm"] => line.replace("https://", "http://"),
            [name, ..] if name.starts_with("ssl_") || name.starts_with("proxy_ssl_") => continue,
            _ => {
                conf += &format!("{line}\n");
                continue;
            }
        };
        replaced += 1;
        conf += &format!("{line}\n");
    }
    if replaced == 3 {
        Ok(conf)
    } else {
        Err("docs/recipes/winrm.conf has other lines than expected".to_owned())
    }
}

/// How many answers were right, and all that the client said.
async fn play(
    world: &World,
    python: &Path,
    library: &Library,
    scheme: &str,
    address: SocketAddr,
) -> Result<(usize, String), String> {
    let (name, text) = library.client;
    world.write("sessions.py", SESSIONS)?;
    let mut client = Command::new(python);
    client.arg(world.write(name, text)?).args([&address.to_string(), scheme, &TIMES.to_string()]);
    client.args(USERS.map(|user| format!("{user}:{}", password_of(user))));
    // Without a ticket, these clients log in by NTLM.
    client.env("KRB5CCNAME", world.path().join("no-tickets")).env("KRB5_CONFIG", world.krb5_config());
    client.stdin(Stdio::null()).kill_on_drop(true);
    let output = tokio::time::timeout(super::LIMIT * 2, client.output()).await;
    let output = output.map_err(|_| format!("{name} does not end"))?.map_err(|error| error.to_string())?;
    let said =
        format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    let is_right = |line: &&str| USERS.iter().any(|user| *line == format!("ANSWER {user} for {user}"));
    Ok((said.lines().filter(is_right).count(), said))
}
