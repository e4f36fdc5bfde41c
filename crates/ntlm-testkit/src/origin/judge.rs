//! Credentials judged by an outside program: each connection asks a process of its own, in the words of Samba's
//! `ntlm_auth --helper-protocol`: `YR` or `KK` and a token, answered by `TT` (a challenge), `AF` (who it is) or `NA`.
//!
//! It must never know a password, nor take any answer but `AF` for a login.

use std::io;
use std::process::Stdio;

use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};

use super::auth::Verdict;
use super::ledger::Leg;
use super::ntlm;
use super::spnego::{self, Token};
use crate::ntlm::from_base64;

/// The commands that judge: `squid-2.5-ntlmssp` for `NTLM`, `gss-spnego` for `Negotiate`.
#[derive(Clone, Debug)]
pub struct Judge {
    /// For the scheme `NTLM`.
    pub ntlm: Vec<String>,
    /// For the scheme `Negotiate`.
    pub negotiate: Vec<String>,
}

impl Judge {
    /// Samba's own helper, which asks the `winbindd` of this machine.
    #[must_use]
    pub fn ntlm_auth() -> Self {
        let with = |protocol: &str| vec!["ntlm_auth".to_owned(), format!("--helper-protocol={protocol}")];
        Self { ntlm: with("squid-2.5-ntlmssp"), negotiate: with("gss-spnego") }
    }
}

/// A connection's knowledge of its user, where a [`Judge`] decides.
#[derive(Debug, Default)]
pub(super) struct Judged {
    identity: Option<String>,
    helper: Option<Helper>,
}

#[derive(Debug)]
struct Helper {
    negotiate: bool,
    _child: Child,
    to: ChildStdin,
    from: BufReader<ChildStdout>,
}

impl Judged {
    /// Has a request's `Authorization` judged, and says who the request is served as.
    pub(super) async fn consider(
        &mut self,
        judge: &Judge,
        authorization: Option<&str>,
    ) -> io::Result<Verdict> {
        let mut verdict = Verdict::nothing();
        if let Some(value) = authorization {
            let (scheme, token) = value.split_once([' ', '\t']).unwrap_or((value, ""));
            verdict.scheme = Some(scheme.to_owned());
            let negotiate = scheme.eq_ignore_ascii_case("Negotiate");
            if negotiate || scheme.eq_ignore_ascii_case("NTLM") {
                self.advance(judge, negotiate, token.trim(), &mut verdict).await?;
            }
        }
        verdict.identity.clone_from(&self.identity);
        Ok(verdict)
    }

    async fn advance(
        &mut self,
        judge: &Judge,
        negotiate: bool,
        token: &str,
        verdict: &mut Verdict,
    ) -> io::Result<()> {
        let (leg, begins) = leg_of(&from_base64(token).unwrap_or_default());
        verdict.leg = leg;
        self.identity = None;
        if self.helper.as_ref().is_none_or(|helper| helper.negotiate != negotiate) {
            self.helper = Some(Helper::start(judge, negotiate)?);
        }
        let Some(helper) = &mut self.helper else { return Ok(()) };
        let answer = helper.ask(if begins { "YR" } else { "KK" }, token).await?;
        let mut words = answer.split(' ');
        let code = words.next().unwrap_or_default();
        // Of gss-spnego's answers the second word is a token, or "*" where there is none.
        let token = match (code, negotiate) {
            ("TT", _) | (_, true) => words.next().filter(|token| !matches!(*token, "" | "*")),
            _ => None,
        };
        verdict.token =
            token.map(|token| format!("{} {token}", if negotiate { "Negotiate" } else { "NTLM" }));
        match code {
            "TT" => verdict.challenged = true,
            "AF" => {
                self.identity = Some(name_of(&words.collect::<Vec<_>>().join(" ")));
                verdict.logged_in = true;
            }
            _ => {
                verdict.refused = true;
                verdict.token = None;
            }
        }
        Ok(())
    }
}

impl Helper {
    fn start(judge: &Judge, negotiate: bool) -> io::Result<Self> {
        let command = if negotiate { &judge.negotiate } else { &judge.ntlm };
        let mut child = Command::new(&command[0])
            .args(&command[1..])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()?;
        let (to, from) = (child.stdin.take(), child.stdout.take());
        let (Some(to), Some(from)) = (to, from) else { return Err(io::ErrorKind::BrokenPipe.into()) };
        Ok(Self { negotiate, _child: child, to, from: BufReader::new(from) })
    }

    async fn ask(&mut self, what: &str, token: &str) -> io::Result<String> {
        self.to.write_all(format!("{what} {token}\n").as_bytes()).await?;
        let mut answer = String::new();
        if self.from.read_line(&mut answer).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        Ok(answer.trim_end().to_owned())
    }
}

/// The place of a token in its login, and whether the token begins one.
fn leg_of(token: &[u8]) -> (Leg, bool) {
    let (message, begins) = match spnego::parse(token) {
        Some(Token::Init { mech_token, .. }) => (mech_token, true),
        Some(Token::Resp(token)) => (token, false),
        None => (Some(token.to_vec()), ntlm::message_type(token) != Some(3)),
    };
    match ntlm::message_type(&message.unwrap_or_default()) {
        Some(1) => (Leg::Negotiate, begins),
        Some(3) => (Leg::Authenticate, begins),
        _ => (Leg::Other, begins),
    }
}

/// `EXAMPLE\alice` and `alice@EXAMPLE.COM` are alice.
pub(crate) fn name_of(user: &str) -> String {
    let name = user.rsplit('\\').next().unwrap_or_default();
    name.split('@').next().unwrap_or_default().to_lowercase()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_the_users_own() {
        for user in ["alice", "EXAMPLE\\alice", "example\\Alice", "alice@EXAMPLE.COM"] {
            assert_eq!(name_of(user), "alice", "{user}");
        }
    }

    #[tokio::test]
    async fn only_af_is_a_login() {
        // A helper that answers as it is told, line by line.
        let script = |lines: &str| {
            let command = format!("for line in {lines}; do read -r question; echo \"$line\"; done");
            let command = vec!["sh".to_owned(), "-c".to_owned(), command];
            Judge { ntlm: command.clone(), negotiate: command }
        };
        for (lines, scheme, logged_in, token) in [
            ("'AF EXAMPLE\\\\alice'", "NTLM", true, None),
            ("'AF dG9rZW4= EXAMPLE\\\\alice'", "Negotiate", true, Some("Negotiate dG9rZW4=")),
            ("'AF * EXAMPLE\\\\alice'", "Negotiate", true, None),
            ("'TT dG9rZW4='", "NTLM", false, Some("NTLM dG9rZW4=")),
            ("'TT dG9rZW4= *'", "Negotiate", false, Some("Negotiate dG9rZW4=")),
            ("'NA NT_STATUS_WRONG_PASSWORD'", "NTLM", false, None),
            ("'NA * NT_STATUS_WRONG_PASSWORD'", "Negotiate", false, None),
            ("'BH broken'", "NTLM", false, None),
        ] {
            let judge = script(lines);
            let mut judged = Judged::default();
            let field = format!("{scheme} TlRMTVNTUAADAAAA");
            let verdict = judged.consider(&judge, Some(&field)).await.unwrap();
            assert_eq!(verdict.identity.as_deref(), logged_in.then_some("alice"), "{lines}");
            assert_eq!(verdict.token.as_deref(), token, "{lines}");
            let challenged = lines.starts_with("'TT");
            assert_eq!((verdict.challenged, verdict.refused), (challenged, !challenged && !logged_in));
            // The connection keeps its identity.
            let next = judged.consider(&judge, None).await.unwrap();
            assert_eq!(next.identity, verdict.identity, "{lines}");
        }
    }
}
