//! The servers of the table: nginx with a page for each mistake, and some that are no web servers.

use std::sync::Arc;

use ntlm_testkit::origin::Protection;
use ntlm_testkit::{Nginx, Origin};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

use crate::{KEEP, front};

/// A place whose name is longer than names may be (RFC 1035 §2.3.4), so that nobody is asked for it.
pub(crate) const TOO_LONG: &str = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa:80";

/// The rows of the table below a heading.
pub(crate) fn table(manual: &str, title: &str) -> Vec<String> {
    let below = manual.split_once(&format!("\n{title}\n")).map_or("", |(_, below)| below);
    let lines = below.lines().skip_while(|line| !line.starts_with("| --- ")).skip(1);
    lines.take_while(|line| line.starts_with('|')).map(str::to_owned).collect()
}

/// nginx with the module in front of an origin, and a page for each mistake of an administrator.
pub(crate) async fn pages(origin: &Origin) -> Nginx {
    let scheme = if origin.is_tls() { "https" } else { "http" };
    let conf = format!(
        "upstream backend {{ server {address}; ntlm; }}
         map $http_authorization $leg {{ ~TlRMTVNTUAAD 3; default 1; }}
         # The first leg in place of the last.
         map $leg $first {{ 3 'NTLM TlRMTVNTUAABAAAAB4IIAAAAAAAAAAAAAAAAAAAAAAA='; default $http_authorization; }}
         server {{
             listen 127.0.0.1:{{{{port}}}};
             listen 127.0.0.1:{{{{port:tls}}}} ssl;
             ssl_certificate {{{{cert}}}}; ssl_certificate_key {{{{key}}}};
             {KEEP}
             location / {{ return 404; }}
             location = /444 {{ return 444; }}
             location = /silent {{ proxy_pass {scheme}://backend/; }}
             location /open/ {{ proxy_pass {scheme}://backend/; }}
             location = /owa {{ return 302 /owa/auth/logon.aspx?replaceCurrent=1; }}
             location = /form {{ default_type text/html; return 200 '<form><input name=p type=\"password\"></form>'; }}
             location = /moved {{ return 301 https://www.example.com/; }}
             location = /403 {{ return 403; }}
             location = /404 {{ return 404; }}
             location = /host {{ return 400 '<h2>Bad Request - Invalid Hostname</h2>'; }}
             location = /basic {{
                 add_header WWW-Authenticate 'Basic realm=\"a, NTLM, b\"' always;
                 add_header WWW-Authenticate 'Digest realm=\"c\", qop=\"auth\"' always;
                 return 401;
             }}
             location = /hidden {{ proxy_hide_header WWW-Authenticate; proxy_pass {scheme}://backend/; }}
             location = /cleared {{ proxy_set_header Authorization ''; proxy_pass {scheme}://backend/; }}
             location = /unkept {{ keepalive_timeout 0; proxy_pass {scheme}://backend/; }}
             location = /closing {{ proxy_set_header Connection 'close, te'; proxy_pass {scheme}://backend/; }}
             location = /badly {{ if ($leg = 3) {{ return 400; }} proxy_pass {scheme}://backend/; }}
             location = /again {{ proxy_set_header Authorization $first; proxy_pass {scheme}://backend/; }}
         }}",
        address = origin.address()
    );
    Nginx::builder().conf(&conf).start().await
}

/// nginx with these lines, which passes everything on but its own pages.
pub(crate) async fn in_front(origin: &Origin, group: &str, lines: &str) -> Nginx {
    front(origin, group, &format!("{KEEP} location = /sorry {{ return 200 sorry; }} {lines}")).start().await
}

/// nginx in front of an origin, whose offer of Negotiate it takes away.
pub(crate) async fn offers_only_ntlm(origin: &Origin) -> Nginx {
    let conf = format!(
        "upstream backend {{ server {}; ntlm; }}
         map $upstream_http_www_authenticate $offer {{ ~^NTLM $upstream_http_www_authenticate; ~. NTLM; }}
         server {{
             listen 127.0.0.1:{{{{port}}}};
             location / {{
                 proxy_hide_header WWW-Authenticate; add_header WWW-Authenticate $offer always;
                 proxy_pass http://backend;
             }}
         }}",
        origin.address()
    );
    Nginx::builder().conf(&conf).start().await
}

/// A server that says this to everybody, whatever it is asked.
pub(crate) async fn answers(text: &'static str) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let _ = stream.write_all(text.as_bytes()).await;
            let _ = stream.read(&mut [0; 4096]).await;
        }
    });
    url
}

/// A server that reads, and closes.
pub(crate) async fn closed_without_answer() -> String {
    answers("").await
}

/// A TLS server that agrees on nothing but HTTP/2, and resets each stream with HTTP_1_1_REQUIRED.
pub(crate) async fn http2_only(origin: &Origin) -> String {
    let files = origin.files();
    let chain = vec![CertificateDer::from_pem_file(&files.cert).unwrap()];
    let key = PrivateKeyDer::from_pem_file(&files.key).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .unwrap();
    config.alpn_protocols = vec![b"h2".to_vec()];
    let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("https://{}/", listener.local_addr().unwrap());
    tokio::spawn(async move {
        while let Ok((tcp, _)) = listener.accept().await {
            let Ok(tls) = acceptor.accept(tcp).await else { continue };
            let Ok(mut connection) = h2::server::handshake(tls).await else { continue };
            while let Some(Ok((_, mut respond))) = connection.accept().await {
                respond.send_reset(h2::Reason::HTTP_1_1_REQUIRED);
            }
        }
    });
    url
}

/// nginx with TLS of its own in front of an origin with TLS and Extended Protection: with the origin's certificate,
/// or with another.
pub(crate) async fn protected(protection: Protection, same_certificate: bool) -> (Origin, Nginx, String) {
    let origin = Origin::builder().tls().extended_protection(protection).start().await;
    let (cert, key) =
        if same_certificate { ("{{cert}}", "{{key}}") } else { ("{{client_cert}}", "{{client_key}}") };
    let tls = format!(
        "server {{ listen 127.0.0.1:{{{{port:tls}}}} ssl; ssl_certificate {cert}; ssl_certificate_key {key}; {KEEP} \
         location / {{ proxy_pass https://backend; }} }}"
    );
    let nginx = front(&origin, "ntlm;", KEEP).conf(&tls).start().await;
    let url = format!("https://{}/", nginx.socket_addr("tls"));
    (origin, nginx, url)
}
