//! Many users at once: eight threads of a Python client, each with a session of its own and one of four users.
//!
//! It must never count an answer as right that was not served as the user who asked.

use std::process::Stdio;
use std::time::Duration;

use tokio::process::Command;

use super::USERS;
use super::front::Way;
use super::matrix::Stage;
use super::servers::Site;
use super::world::MIT_REALM;

const SCRIPT: &str = include_str!("../../interop/mixed.py");
/// How many requests there are, all of them to be answered rightly.
const REQUESTS: usize = 400;

/// Plays it at `site` by `way`; what went wrong.
pub async fn run(stage: &Stage<'_>, site: &Site, way: Way) -> Vec<String> {
    let library = if site.ntlm { "ntlm" } else { "gssapi" };
    let script = stage.world.write("mixed.py", SCRIPT).expect("a file of the world");
    let base = stage.fronts.base(site, way);
    let mut python = Command::new(stage.tools.join("python/bin/python"));
    python.arg(script).args([library, &base, &REQUESTS.to_string()]);
    for user in USERS {
        let tickets = stage.world.tickets(user, site.realm.unwrap_or(MIT_REALM)).display().to_string();
        python.arg(format!("{user}:{}:{tickets}", crate::password_of(user)));
    }
    python.env("KRB5_CONFIG", stage.world.krb5_config()).env("REQUESTS_CA_BUNDLE", stage.fronts.ca());
    python.stdin(Stdio::null()).kill_on_drop(true);
    let name = format!("mixed users at {}, {way}", site.name);
    let output = match tokio::time::timeout(Duration::from_secs(120), python.output()).await {
        Ok(Ok(output)) => output,
        Ok(Err(error)) => return vec![format!("{name}: python does not run: {error}")],
        Err(_) => return vec![format!("{name}: did not end")],
    };
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let right = text.lines().filter(|line| *line == "RIGHT").count();
    println!("\n{name}: {right} right answers of {REQUESTS}");
    if right == REQUESTS && output.status.success() {
        return Vec::new();
    }
    let errors = String::from_utf8_lossy(&output.stderr).into_owned();
    let wrong: String = text.lines().filter(|line| *line != "RIGHT").take(10).collect::<Vec<_>>().join("\n");
    vec![format!("{name}: {right} right answers of {REQUESTS}\n{wrong}\n{errors}")]
}
