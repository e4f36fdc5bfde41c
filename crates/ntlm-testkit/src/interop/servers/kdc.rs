//! A MIT KDC of a world's own, and the key of the service `HTTP/www.example.com`.
//!
//! It must never use a database that was there before.

use std::process::{Command as Blocking, Stdio};

use tokio::process::{Child, Command};

use super::super::world::{MIT_KDC, MIT_REALM, World};
use super::super::{USERS, finish, until};
use crate::password_of;

/// A running KDC; it ends when this is dropped.
#[derive(Debug)]
pub struct Kdc {
    _child: Child,
}

impl Kdc {
    /// Makes its database and starts it; the key of the service goes to `http.keytab` in the world's folder.
    ///
    /// # Errors
    /// With the last words of what failed.
    pub async fn start(world: &World) -> Result<Self, String> {
        let folder = world.path().display();
        let profile = format!(
            "[kdcdefaults]\n kdc_listen = {MIT_KDC}\n kdc_tcp_listen = {MIT_KDC}\n\
             [realms]\n {MIT_REALM} = {{\n  database_name = {folder}/principals\n  key_stash_file = {folder}/stash\n  \
             acl_file = {folder}/acl\n }}\n"
        );
        let profile = world.write("kdc.conf", &profile)?;
        let environment = [("KRB5_CONFIG", world.krb5_config()), ("KRB5_KDC_PROFILE", profile)];
        let run = |program: &str, arguments: &[&str]| {
            let mut command = Blocking::new(program);
            finish(command.args(["-r", MIT_REALM]).args(arguments).envs(environment.clone())).map(drop)
        };
        run("kdb5_util", &["create", "-s", "-P", "throw-away"])?;
        for user in USERS {
            run("kadmin.local", &["addprinc", "-pw", &password_of(user), user])?;
        }
        run("kadmin.local", &["addprinc", "-randkey", "HTTP/www.example.com"])?;
        run("kadmin.local", &["ktadd", "-k", &format!("{folder}/http.keytab"), "HTTP/www.example.com"])?;
        let child = Command::new("krb5kdc")
            .args(["-n", "-r", MIT_REALM])
            .envs(environment)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .map_err(|error| format!("cannot run krb5kdc: {error}"))?;
        until("the KDC", || world.kinit(USERS[0], MIT_REALM)).await?;
        for user in USERS {
            world.kinit(user, MIT_REALM)?;
        }
        Ok(Self { _child: child })
    }
}
