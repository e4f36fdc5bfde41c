//! Bytes that are no response, and the cause that the probe names.

use std::io::{Read as _, Write as _};
use std::net::TcpListener;

use clap::Parser as _;

use super::*;
use crate::args::Args;
use crate::endpoint::Endpoint;

/// The outcome of a request that is answered with these bytes and the end of the connection.
fn read(bytes: &'static [u8]) -> Result<Response, Broken> {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    let server = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        // All of the request, so that closing resets nothing.
        let mut request = Vec::new();
        while !request.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            stream.read_exact(&mut byte).unwrap();
            request.extend(byte);
        }
        stream.write_all(bytes).unwrap();
    });
    let args = Args::parse_from(["ntlm-probe", &url, "--user", "alice"]);
    let mut connection = Endpoint::new(&args, &args.url, None).unwrap().connect().unwrap();
    let response = connection.exchange(Request::get("/"));
    server.join().unwrap();
    response
}

#[test]
fn a_broken_response_has_a_cause() {
    for (bytes, cause) in [
        (&b"SSH-2.0-OpenSSH_9.2\r\n"[..], Cause::Unexpected),
        (b"HTTP/1.1 200 OK\r\n", Cause::Unexpected),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nab", Cause::Unexpected),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nx\r\n", Cause::Unexpected),
        // SETTINGS, as an HTTP/2 server greets.
        (b"\0\0\x06\x04\0\0\0\0\0\0\x03\0\0\0\x64", Cause::Http2Only),
    ] {
        match read(bytes) {
            Err(Broken::Failed(failure)) => assert_eq!(failure.cause, cause, "{failure:?}"),
            other => panic!("{other:?}"),
        }
    }
    assert!(matches!(read(b""), Err(Broken::Closed)));
}
