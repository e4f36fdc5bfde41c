//! Bytes that servers send, and what the client makes of them.

use std::net::TcpListener;

use clap::Parser as _;

use super::*;
use crate::args::Args;
use crate::connect::Endpoint;

/// What the client makes of these bytes, with which so many requests are answered before the connection ends.
fn read(bytes: &'static [u8], requests: usize) -> Vec<Result<Response, Broken>> {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    let server = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        for _ in 0..requests {
            // All of the request, so that closing resets nothing.
            let mut request = Vec::new();
            while !request.ends_with(b"\r\n\r\n") {
                let mut byte = [0];
                stream.read_exact(&mut byte).unwrap();
                request.extend(byte);
            }
            stream.write_all(bytes).unwrap();
        }
    });
    let args = Args::parse_from(["ntlm-probe", &url, "--user", "alice"]);
    let mut connection = Endpoint::new(&args, &args.url, None).unwrap().connect().unwrap();
    let request = Request { method: "GET", target: "/".to_owned(), authorization: None, body: None };
    let responses = (0..requests).map(|_| connection.exchange(&request)).collect();
    server.join().unwrap();
    responses
}

#[test]
fn a_body_ends_where_its_framing_says() {
    for (bytes, body, closes) in [
        (&b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabc"[..], &b"abc"[..], false),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n1;x=y\r\nc\r\n0\r\nT: u\r\n\r\n", b"abc", false),
        (b"HTTP/1.1 200 OK\r\n\r\nabc", b"abc", true),
        (b"HTTP/1.0 200 OK\r\nContent-Length: 3\r\n\r\nabc", b"abc", true),
        (b"HTTP/1.0 200 OK\r\nConnection: Keep-Alive\r\nContent-Length: 0\r\n\r\n", b"", false),
        (b"HTTP/1.1 204 No Content\r\n\r\n", b"", false),
        (b"HTTP/1.1 103 Early Hints\r\nLink: <a>\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nx", b"x", false),
    ] {
        // A second answer on the connection shows that nothing of the first was left over.
        for response in read(bytes, if closes { 1 } else { 2 }) {
            let response = response.unwrap();
            let seen = (response.body.as_slice(), response.closes());
            assert_eq!(seen, (body, closes), "{}", String::from_utf8_lossy(bytes));
        }
    }
}

#[test]
fn what_is_no_response_is_named() {
    for (bytes, cause) in [
        (&b"SSH-2.0-OpenSSH_9.2\r\n"[..], Cause::Unexpected),
        (b"HTTP/1.1 200 OK\r\n", Cause::Unexpected),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nab", Cause::Unexpected),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nx\r\n", Cause::Unexpected),
        // SETTINGS, as an HTTP/2 server greets.
        (b"\0\0\x06\x04\0\0\0\0\0\0\x03\0\0\0\x64", Cause::Http2Only),
    ] {
        match read(bytes, 1).remove(0) {
            Err(Broken::Failed(failure)) => assert_eq!(failure.cause, cause, "{failure:?}"),
            other => panic!("{other:?}"),
        }
    }
    assert!(matches!(read(b"", 1)[0], Err(Broken::Closed)));
}
