//! A Samba domain controller of a world's own: directory, KDC and `winbindd`, provisioned anew.
//!
//! It must never run outside a [`World`]: it wants its fixed ports and folders.

use std::fs::File;
use std::process::Stdio;

use tokio::process::{Child, Command};

use super::super::world::{AD_REALM, World};
use super::super::{USERS, finish, until};
use crate::origin::DOMAIN;
use crate::password_of;

/// Users, and the name of the service, written into the directory by Samba's own library: one process for all of it.
const POPULATE: &str = r#"
import sys, ldb
from samba.auth import system_session
from samba.credentials import Credentials
from samba.param import LoadParm
from samba.samdb import SamDB
lp = LoadParm()
lp.load_default()
creds = Credentials()
creds.guess(lp)
db = SamDB(url=lp.samdb_url(), session_info=system_session(), credentials=creds, lp=lp)
db.set_minPwdLength("1")
db.set_pwdProperties("0")
for pair in sys.argv[1:]:
    db.newuser(*pair.split(":"))
dc = db.search(base=db.domain_dn(), expression="sAMAccountName=dc$", attrs=["dn"])[0].dn
change = ldb.Message(dc)
change["spn"] = ldb.MessageElement(["HTTP/ad.example.com"], ldb.FLAG_MOD_ADD, "servicePrincipalName")
db.modify(change)
"#;

/// Lines added to the configuration that provisioning wrote: wget speaks NTLMv1.
const LINES: &str = "\ttls enabled = no\n\tntlm auth = ntlmv1-permitted\n";

/// A running domain controller; it ends when this is dropped.
#[derive(Debug)]
pub struct Samba {
    _child: Child,
}

impl Samba {
    /// Provisions it, starts it, and waits until it lets a user in.
    ///
    /// # Errors
    /// With the last words of what failed.
    pub async fn start(world: &World) -> Result<Self, String> {
        let mut provision = std::process::Command::new("samba-tool");
        provision.args(["domain", "provision", "--server-role=dc", "--dns-backend=NONE"]);
        provision.arg(format!("--realm={AD_REALM}")).arg(format!("--domain={DOMAIN}"));
        provision.args(["--host-name=dc", "--host-ip=127.0.0.1", "--adminpass=Throw-away-1"]);
        provision.args(["--option=interfaces=lo", "--option=bind interfaces only=yes"]);
        provision.arg("--option=server services=ldap, cldap, kdc, winbindd, rpc");
        finish(&mut provision)?;

        let path = "/etc/samba/smb.conf";
        let conf = std::fs::read_to_string(path).map_err(|error| format!("{path}: {error}"))?;
        let conf = conf.replacen("[global]\n", &format!("[global]\n{LINES}"), 1);
        std::fs::write(path, conf).map_err(|error| format!("{path}: {error}"))?;

        // Debian's Python, which has Samba's modules.
        let mut populate = std::process::Command::new("/usr/bin/python3");
        populate.args(["-c", POPULATE]);
        populate.args(USERS.iter().map(|user| format!("{user}:{}", password_of(user))));
        finish(&mut populate)?;

        let log = world.path().join("samba.log");
        let file = |error: std::io::Error| format!("{}: {error}", log.display());
        let output = File::create(&log).map_err(file)?;
        let child = Command::new("samba")
            .args(["--foreground", "--no-process-group"])
            .env("KRB5_CONFIG", world.krb5_config())
            .stdin(Stdio::null())
            .stdout(output.try_clone().map_err(file)?)
            .stderr(output)
            .kill_on_drop(true)
            .spawn()
            .map_err(|error| format!("cannot run samba: {error}"))?;
        until("the domain controller to let a user in", || {
            let mut login = std::process::Command::new("ntlm_auth");
            login.arg(format!("--domain={DOMAIN}")).arg(format!("--username={}", USERS[0]));
            finish(login.arg(format!("--password={}", password_of(USERS[0])))).map(drop)
        })
        .await?;
        until("the domain controller's KDC", || world.kinit(USERS[0], AD_REALM)).await?;
        for user in USERS {
            world.kinit(user, AD_REALM)?;
        }
        Ok(Self { _child: child })
    }
}
