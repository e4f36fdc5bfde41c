//! `ntlm-origin`: the test kit's origin as a command, for demonstrations and for trying things by hand.
//!
//! It must never be put where others than its user can reach it: it listens on loopback unless told otherwise.

use std::net::SocketAddr;

use clap::Parser;
use ntlm_testkit::Origin;
use tokio::signal::unix::{SignalKind, signal};

/// An HTTP origin that authenticates connections by NTLM and Negotiate, as IIS does.
#[derive(Debug, Parser)]
#[command(name = "ntlm-origin")]
struct Arguments {
    /// Where to listen; port 0 is a free one.
    #[arg(long, default_value = "127.0.0.1:0")]
    listen: SocketAddr,
    /// Speak TLS, with a certificate made for this run.
    #[arg(long)]
    tls: bool,
    /// The name in X-Origin.
    #[arg(long, default_value = "origin")]
    name: String,
    /// A user and its password; may be repeated.
    #[arg(long = "user", value_name = "NAME:PASSWORD", default_value = "alice:alice-password", value_parser = user)]
    users: Vec<(String, String)>,
}

fn user(text: &str) -> Result<(String, String), String> {
    match text.split_once(':') {
        Some((name, password)) if !name.is_empty() => Ok((name.to_owned(), password.to_owned())),
        _ => Err("expected name:password".to_owned()),
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let arguments = Arguments::parse();
    let mut builder = Origin::builder().name(&arguments.name).listen(arguments.listen).echo();
    if arguments.tls {
        builder = builder.tls();
    }
    for (name, password) in &arguments.users {
        builder = builder.user(name, password);
    }
    let origin = builder.start().await;
    println!("listening on {}", origin.url("/"));
    if origin.is_tls() {
        println!("authority {}", origin.files().ca.display());
    }
    let mut terminated = signal(SignalKind::terminate()).expect("a handler for SIGTERM");
    tokio::select! {
        _ = terminated.recv() => {}
        // Without a handler there is nothing to wait for either.
        _ = tokio::signal::ctrl_c() => {}
    }
}
