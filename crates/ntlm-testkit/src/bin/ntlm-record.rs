//! Records the `Authorization` and `WWW-Authenticate` fields of real logins: `ntlm-record FOLDER` writes a file for each
//! client and scheme. They are seeds of the fuzz targets and test data of the core.
//!
//! It must never be given the password of a person: what it writes can be guessed from.

use std::path::PathBuf;

use ntlm_testkit::client::curl::Curl;
use ntlm_testkit::record::Recorder;
use ntlm_testkit::{Client, Origin, client::Scheme, password_of};

const USER: &str = "alice";

#[tokio::main]
async fn main() {
    let folder = PathBuf::from(std::env::args().nth(1).expect("usage: ntlm-record FOLDER"));
    std::fs::create_dir_all(&folder).expect("the folder");
    let origin = Origin::start().await;
    let recorder = Recorder::start(origin.socket_addr()).await;
    let relay = recorder.address();

    let written = |name: &str| {
        let record = recorder.take().expect("a connection with credentials");
        assert!(record.lines().filter(|line| line.starts_with("> Authorization:")).count() >= 2, "{record}");
        std::fs::write(folder.join(name), record).expect("a file in the folder");
    };

    for (name, curl) in [("curl-ntlm.txt", Curl::ntlm(USER)), ("curl-negotiate.txt", Curl::negotiate(USER))] {
        let outcome = curl.url(format!("http://{relay}/")).run().await;
        assert_eq!(outcome.last().status, 200, "{outcome:?}");
        written(name);
    }
    for (name, scheme) in [
        ("sspi-ntlm.txt", Scheme::from("NTLM")),
        ("sspi-negotiate-bare.txt", Scheme::from("Negotiate")),
        ("sspi-negotiate-spnego.txt", Scheme::spnego()),
    ] {
        let mut client = Client::connect(relay).await;
        client.get("/").await;
        let responses = client.login_with(scheme, USER, &password_of(USER), "/?mutual").await;
        assert_eq!(responses.last().map(|last| last.status), Some(200), "{responses:?}");
        written(name);
    }
}
