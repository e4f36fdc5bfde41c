//! Two nginx with the module behind a balancer of connections: HAProxy in `mode tcp`, and nginx's `stream` with the PROXY
//! protocol. A client connection stays with the nginx it was given to, and so does its binding.
//!
//! It must never balance by address: every client here has the same.

use std::process::Stdio;

use tokio::process::{Child, Command};

use super::clients::{Client, Job};
use super::servers::Site;
use super::until;
use super::world::World;
use crate::Nginx;
use crate::pki::pki;
use crate::ports::Reserved;

/// Where Debian has the `stream` module.
const STREAM: &str = "/usr/lib/nginx/modules/ngx_stream_module.so";

/// A balancer, by how it is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Balancer {
    HaProxy,
    Stream,
}

impl Balancer {
    fn name(self) -> &'static str {
        match self {
            Self::HaProxy => "HAProxy, mode tcp",
            Self::Stream => "nginx stream, PROXY protocol",
        }
    }

    /// Starts it in front of `behind`.
    async fn start(self, world: &World, behind: &[String]) -> Result<(Child, Reserved), String> {
        let port = Reserved::v4().map_err(|error| format!("no free port: {error}"))?;
        let (listen, folder) = (port.address(), world.path().display());
        let servers = |line: fn(usize, &str) -> String| -> String {
            behind.iter().enumerate().map(|(index, address)| line(index, address)).collect()
        };
        let mut command = match self {
            Self::HaProxy => {
                let servers = servers(|index, address| format!(" server nginx{index} {address}\n"));
                let conf = format!(
                    "defaults\n mode tcp\n timeout connect 5s\n timeout client 60s\n timeout server 60s\n\
                     listen nginx\n bind {listen}\n balance roundrobin\n{servers}"
                );
                let mut haproxy = Command::new("haproxy");
                haproxy.arg("-db").arg("-f").arg(world.write("haproxy.conf", &conf)?);
                haproxy
            }
            Self::Stream => {
                let servers = servers(|_, address| format!("server {address};\n"));
                let conf = format!(
                    "load_module {STREAM};\ndaemon off;\nuser root;\nworker_processes 1;\npid {folder}/stream.pid;\n\
                     error_log {folder}/stream.log;\nevents {{}}\n\
                     stream {{ upstream nginx {{\n{servers}}}\n\
                     server {{ listen {listen}; proxy_pass nginx; proxy_protocol on; }} }}\n"
                );
                let mut nginx = Command::new("/usr/sbin/nginx");
                nginx.arg("-e").arg(world.path().join("stream.log"));
                nginx.arg("-c").arg(world.write("stream.conf", &conf)?);
                nginx
            }
        };
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).kill_on_drop(true);
        let child = command.spawn().map_err(|error| format!("{}: {error}", self.name()))?;
        until(self.name(), || {
            std::net::TcpStream::connect(listen).map(drop).map_err(|error| error.to_string())
        })
        .await?;
        Ok((child, port))
    }
}

/// Plays sessions of `clients` through each balancer; what went wrong.
///
/// # Errors
/// When a balancer does not start.
pub async fn run(
    world: &World,
    tools: &std::path::Path,
    site: &Site,
    clients: &[Client],
) -> Result<Vec<String>, String> {
    let mut findings = Vec::new();
    let clients: Vec<&Client> =
        clients.iter().filter(|client| client.suits(site) && client.quick && client.steady).collect();
    if clients.is_empty() {
        return Ok(findings);
    }
    let ca = pki().write_to(world.path()).map_err(|error| error.to_string())?.ca;
    for balancer in [Balancer::HaProxy, Balancer::Stream] {
        let (one, two) = (instance(site, balancer).await, instance(site, balancer).await);
        let behind = [&one, &two].map(|nginx| nginx.socket_addr("").to_string());
        let (_child, port) = balancer.start(world, &behind).await?;
        println!("\n{} in front of two nginx", balancer.name());
        let mut sessions = 0;
        for client in &clients {
            for user in super::USERS {
                let base = format!("http://{}:{}", site.host, port.port());
                let said = client.play(&Job { world, tools, ca: &ca, base, site, user }).await;
                sessions += 1;
                let right = said.answers.len() == client.answers
                    && said.answers.iter().all(|(status, name)| matches!(status, 200 | 101) && name == user);
                if !right {
                    let finding = format!("{} through {}: {said}", client.name, balancer.name());
                    println!("    FAILS {finding}");
                    findings.push(finding);
                }
            }
        }
        let shares = [&one, &two].map(|nginx| nginx.access_log().lines().count());
        println!("  {sessions} sessions; {} and {} requests", shares[0], shares[1]);
        if shares.contains(&0) {
            findings.push(format!("{}: one nginx had nothing to do: {shares:?}", balancer.name()));
        }
        one.stop().await;
        two.stop().await;
    }
    Ok(findings)
}

/// An nginx with the module, in front of all servers of `site`.
async fn instance(site: &Site, balancer: Balancer) -> Nginx {
    let servers: String = site.plain.iter().map(|server| format!("server {server}; ")).collect();
    let proxied = balancer == Balancer::Stream;
    let (listen, real) = if proxied {
        (" proxy_protocol", "set_real_ip_from 127.0.0.1; real_ip_header proxy_protocol;")
    } else {
        ("", "")
    };
    let conf = format!(
        "upstream site {{ {servers} ntlm; }}
server {{
    listen 127.0.0.1:{{{{port}}}}{listen}; {real}
    client_max_body_size 0;
    large_client_header_buffers 4 64k;
    location / {{
        proxy_pass http://site;
        proxy_http_version 1.1;
        proxy_set_header Host $host;
        proxy_set_header Upgrade $http_upgrade;
        proxy_set_header Connection $connection_upgrade;
    }}
}}"
    );
    let map = "map $http_upgrade $connection_upgrade { default upgrade; '' ''; }";
    Nginx::builder().conf(map).conf(&conf).start().await
}
