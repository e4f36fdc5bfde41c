//! Lines that `nginx -t` refuses, and errors that stay nginx's own.

use ntlm_testkit::{Client, Nginx};

use crate::configuration::{accepted, refused};

#[tokio::test]
async fn bad_lines_are_refused() {
    for (line, why) in [
        ("proxy_ntlm;", "invalid number of arguments"),
        (
            "proxy_ntlm yes;",
            "invalid value \"yes\" in \"proxy_ntlm\" directive, it must be \"on\" or \"off\"",
        ),
        ("proxy_ntlm on connections=0;", "invalid parameter \"connections=0\""),
        ("proxy_ntlm on connections=;", "invalid parameter \"connections=\""),
        ("proxy_ntlm on connections=-1;", "invalid parameter \"connections=-1\""),
        ("proxy_ntlm on connections=2147483648;", "a number from 1 to 2147483647"),
        ("proxy_ntlm on timeout=0;", "invalid parameter \"timeout=0\""),
        ("proxy_ntlm on timeout=soon;", "a time of more than 0"),
        ("proxy_ntlm on timeout=;", "a time of more than 0"),
        ("proxy_ntlm on 100;", "it must be \"connections=number\" or \"timeout=time\""),
        ("proxy_ntlm on timeout=1s timeout=2s;", "it is said twice"),
        ("proxy_ntlm off timeout=1s;", "\"off\" has none"),
        ("proxy_ntlm on timeout=1s connections=2 3;", "invalid number of arguments"),
        ("proxy_ntlm on; proxy_ntlm off;", "\"proxy_ntlm\" directive is duplicate"),
    ] {
        refused(&format!("{line}\n"), 1, why).await;
        refused(&format!("server {{\nlocation / {{\n{line}\n}}\n}}\n"), 3, why).await;
    }
    refused("upstream group {\nserver 127.0.0.1:1;\nproxy_ntlm on;\n}\n", 3, "is not allowed here").await;
}

#[tokio::test]
async fn lines_are_accepted_wherever_they_stand() {
    for line in [
        "proxy_ntlm on;",
        "proxy_ntlm ON;",
        "proxy_ntlm off;",
        "proxy_ntlm on connections=2147483647 timeout=1d;",
        "proxy_ntlm on timeout=1ms connections=1;",
    ] {
        accepted(&format!(
            "{line} server {{ {line} location / {{ {line} proxy_pass http://127.0.0.1:1; if ($arg_a) {{ {line} }}
                 location /a {{ return 200; }} limit_except GET {{ deny all; }} }} location @named {{ {line} }} }}"
        ))
        .await;
    }
}

#[tokio::test]
async fn errors_of_nginx_stay_its_own() {
    let conf = |line: &str| {
        format!(
            "{line} server {{ listen 127.0.0.1:{{{{port}}}}; set $nothing ''; set $name name.test;
                 location /host {{ proxy_pass http://$nothing; }}
                 location /resolver {{ proxy_pass http://$name:1; }}
                 location /refused {{ proxy_pass http://127.0.0.1:1; }}
                 location /refused/variable {{ set $address 127.0.0.1:1; proxy_pass http://$address; }}
                 location /scheme {{ proxy_pass ftp$nothing://name.test; }}
                 location /port {{ proxy_pass http://$name:0; }}
                 location /nowhere {{ proxy_pass http://unix:/nowhere$nothing:/; }} }}"
        )
    };
    let mut seen = Vec::new();
    for line in ["", "proxy_ntlm on;"] {
        let nginx = Nginx::builder().conf(&conf(line)).allow_log("[crit]").start().await;
        let mut told = Vec::new();
        for path in ["/host", "/resolver", "/refused", "/refused/variable", "/scheme", "/port", "/nowhere"] {
            for credentials in ["", "NTLM TlRM"] {
                let mut client = Client::connect(&nginx).await;
                told.push((
                    path,
                    credentials,
                    client.get_with(path, "Authorization", credentials).await.status,
                ));
            }
        }
        let errors = nginx.error_log().lines().filter(|line| line.contains("[error]")).count();
        seen.push((told, errors));
    }
    assert_eq!(seen[0], seen[1]);
}
