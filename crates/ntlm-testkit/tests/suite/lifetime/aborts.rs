//! A client that leaves, at whatever moment: its upstream connection is closed at once, and nothing is left of it.

use std::net::{Ipv4Addr, SocketAddr};

use ntlm_testkit::{Client, Nginx, Origin, Request, within};
use tokio::io::AsyncReadExt as _;
use tokio::net::{TcpListener, TcpSocket, TcpStream};

use super::logged_in;
use crate::common::front;

/// Leaves by RST if `abort`, or else in order.
async fn leave(client: Client, abort: bool) {
    if abort {
        client.abort();
    } else {
        client.close().await;
    }
}

/// An nginx that passes everything to one `server` by `scheme`.
async fn in_front_of(scheme: &str, server: SocketAddr) -> Nginx {
    Nginx::builder()
        .set("server", &server.to_string())
        .set("scheme", scheme)
        .conf(
            "upstream backend { server {{server}}; ntlm; } \
             server { listen 127.0.0.1:{{port}}; location / { proxy_pass {{scheme}}://backend; } }",
        )
        .start()
        .await
}

/// The first request of a login, by a ticket.
fn with_credentials(target: &str) -> Request {
    Request::get(target).header("Authorization", "Negotiate S1JCLVNJTTphbGljZTphbGljZS1wYXNzd29yZA==")
}

/// Whether this machine has a connection to `server` that is not answered yet.
fn is_connecting_to(server: SocketAddr) -> bool {
    let SocketAddr::V4(server) = server else { panic!("{server} is no IPv4 address") };
    let address = format!("{:08X}:{:04X}", u32::from(*server.ip()).swap_bytes(), server.port());
    let connections = std::fs::read_to_string("/proc/net/tcp").unwrap();
    connections.lines().any(|line| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        fields.get(2) == Some(&address.as_str()) && fields.get(3) == Some(&"02")
    })
}

#[tokio::test]
async fn client_leaving_around_legs_leaves_no_connection() {
    let (origin, nginx) = front("ntlm;").await;
    for abort in [false, true] {
        for legs in 0..3 {
            let mut alice = Client::connect(&nginx).await;
            if legs == 1 {
                alice.leg1("alice", "/").await;
            } else if legs == 2 {
                alice.login("alice", "/").await;
            }
            assert_eq!(origin.open_connections(), usize::from(legs > 0));
            leave(alice, abort).await;
            origin.wait_open_connections(0).await;
        }
    }
    nginx.stop().await;
}

#[tokio::test]
async fn client_leaving_before_the_answer_leaves_no_connection() {
    let origin = Origin::start().await;
    for setting in ["", "proxy_buffering off;"] {
        let nginx = Nginx::builder().conf(setting).in_front_of(&[&origin], "ntlm;").start().await;
        for abort in [false, true] {
            for bound in [false, true] {
                for gate in ["/?gate=shut", "/?size=100000&gate_body=shut"] {
                    let mut alice =
                        if bound { logged_in(&nginx).await.0 } else { Client::connect(&nginx).await };
                    alice.send(with_credentials(gate)).await;
                    origin.wait_gate("shut").await;
                    if abort {
                        alice.abort();
                    } else {
                        drop(alice);
                    }
                    origin.wait_gate_deserted("shut").await;
                    origin.wait_open_connections(0).await;
                }
            }
        }
        nginx.stop().await;
    }
}

#[tokio::test]
async fn client_leaving_within_its_request_leaves_no_connection() {
    let origin = Origin::start().await;
    for setting in ["", "proxy_request_buffering off;"] {
        let nginx = Nginx::builder().conf(setting).in_front_of(&[&origin], "ntlm;").start().await;
        for abort in [false, true] {
            let (mut alice, _) = logged_in(&nginx).await;
            alice.send_raw(b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000\r\n\r\nhalf").await;
            leave(alice, abort).await;
            origin.wait_open_connections(0).await;
        }
        nginx.stop().await;
    }
}

#[tokio::test]
async fn client_leaving_an_unread_response_leaves_no_connection() {
    let origin = Origin::start().await;
    for setting in ["", "proxy_buffering off;", "proxy_max_temp_file_size 0;"] {
        let nginx = Nginx::builder().conf(setting).in_front_of(&[&origin], "ntlm;").start().await;
        for abort in [false, true] {
            let (mut alice, _) = logged_in(&nginx).await;
            origin.clear_ledger();
            alice.send(Request::get("/?size=20000000")).await;
            origin.wait_for(|ledger| !ledger.is_empty()).await;
            if abort {
                alice.abort();
            } else {
                drop(alice);
            }
            origin.wait_open_connections(0).await;
        }
        nginx.stop().await;
    }
}

#[tokio::test]
async fn ignored_client_abort_lets_the_request_finish() {
    let origin = Origin::start().await;
    let nginx =
        Nginx::builder().conf("proxy_ignore_client_abort on;").in_front_of(&[&origin], "ntlm;").start().await;
    for bound in [false, true] {
        origin.close_gate("wait");
        let mut alice = if bound { logged_in(&nginx).await.0 } else { Client::connect(&nginx).await };
        alice.send(with_credentials("/?gate=wait")).await;
        origin.wait_gate("wait").await;
        origin.clear_ledger();
        alice.abort();
        // Once bob has been served, nginx has seen what happened before.
        assert_eq!(Client::connect(&nginx).await.get("/?close=after").await.status, 401);
        origin.open_gate("wait");
        origin.wait_for(|ledger| ledger.iter().any(|entry| entry.identity.as_deref() == Some("alice"))).await;
        nginx.wait_access_log(|log| log.contains("gate=wait")).await;
        let mut bob = Client::connect(&nginx).await;
        assert_eq!(bob.get("/").await.identity(), "anonymous");
        let alices = origin.ledger().iter().find(|entry| entry.identity.is_some()).unwrap().connection;
        origin.wait_closed(alices).await;
    }
    nginx.stop().await;
}

#[tokio::test]
async fn half_closed_client_counts_as_gone() {
    let (origin, nginx) = front("ntlm;").await;
    let (mut idle, _) = logged_in(&nginx).await;
    idle.finish_writing().await;
    idle.closed().await;
    origin.wait_open_connections(0).await;

    let (mut busy, _) = logged_in(&nginx).await;
    busy.send(Request::get("/?gate=shut")).await;
    origin.wait_gate("shut").await;
    busy.finish_writing().await;
    busy.closed().await;
    origin.wait_open_connections(0).await;

    let patient =
        Nginx::builder().conf("proxy_ignore_client_abort on;").in_front_of(&[&origin], "ntlm;").start().await;
    let (mut busy, _) = logged_in(&patient).await;
    busy.send(Request::get("/?gate=open")).await;
    origin.wait_gate("open").await;
    busy.finish_writing().await;
    origin.open_gate("open");
    assert_eq!(busy.read_response().await.identity(), "alice");
    busy.closed().await;
    origin.wait_open_connections(0).await;
}

#[tokio::test]
async fn client_leaving_while_nginx_connects_ends_the_attempt() {
    // The kernel accepts one connection more than the queue has room for, and lets the next wait.
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind((Ipv4Addr::LOCALHOST, 0).into()).unwrap();
    let full = socket.listen(1).unwrap();
    let server = full.local_addr().unwrap();
    let _queued = [TcpStream::connect(server).await.unwrap(), TcpStream::connect(server).await.unwrap()];

    let nginx = in_front_of("http", server).await;
    let mut alice = Client::connect(&nginx).await;
    alice.send(with_credentials("/")).await;
    nginx.wait_log(|_| is_connecting_to(server)).await;
    alice.abort();
    nginx.wait_access_log(|log| log.contains("status=499")).await;
    nginx.wait_log(|_| !is_connecting_to(server)).await;
    nginx.stop().await;
}

#[tokio::test]
async fn client_leaving_during_upstream_tls_handshake_ends_it() {
    let silent = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let nginx = in_front_of("https", silent.local_addr().unwrap()).await;
    let mut alice = Client::connect(&nginx).await;
    alice.send(with_credentials("/")).await;
    let left = async {
        let (mut upstream, _) = silent.accept().await.unwrap();
        let mut hello = Vec::new();
        assert_ne!(upstream.read_buf(&mut hello).await.unwrap(), 0);
        alice.abort();
        // Whether it ends by FIN or RST is the kernel's business.
        let _ = upstream.read_to_end(&mut hello).await;
    };
    within(left, || "nginx does not close the upstream connection".to_owned()).await;
    nginx.wait_access_log(|log| log.contains("status=499")).await;
    nginx.stop().await;
}
