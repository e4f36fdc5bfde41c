//! One login, leg by leg, on one connection; and what each leg shows.

use std::time::Instant;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ntlm_client::ntlm::{Context, Credentials};
use ntlm_client::{Request, Response, spnego};
use ntlm_core::ntlmssp::Challenge;
use ntlm_core::scheme::Scheme;
use ntlm_core::token::{Message, decode, decoded_len};

use crate::cause::{Cause, Failure};
use crate::connection::{Broken, Connection};
use crate::endpoint::Endpoint;
use crate::report::{ChallengeInfo, Leg};

/// Which scheme carries the login.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Carrier {
    /// `NTLM`
    Ntlm,
    /// `Negotiate`, with NTLM inside SPNEGO.
    Negotiate,
}

impl Carrier {
    /// As the field spells it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Ntlm => "NTLM",
            Self::Negotiate => "Negotiate",
        }
    }

    fn scheme(self) -> Scheme {
        match self {
            Self::Ntlm => Scheme::Ntlm,
            Self::Negotiate => Scheme::Negotiate,
        }
    }
}

/// The ingredients of a login.
pub struct Login<'a> {
    /// Who.
    pub credentials: &'a Credentials,
    /// Path and query.
    pub target: String,
    /// For the target name.
    pub host: String,
    /// The scheme asked for on the command line.
    pub carrier: Option<Carrier>,
    /// Send channel bindings where there is TLS.
    pub bound_to_tls: bool,
    /// Told of each step, for the progress line.
    pub progress: &'a dyn Fn(&str),
}

/// How far it came.
#[derive(Default)]
pub struct Course {
    /// Where it led to.
    pub connection: String,
    /// The legs that were answered.
    pub legs: Vec<Leg>,
    /// Facts that the challenge reveals.
    pub challenge: Option<ChallengeInfo>,
    /// The schemes offered to the anonymous request.
    pub offers: Vec<String>,
    /// The scheme taken.
    pub carrier: Option<Carrier>,
    /// The last response.
    pub last: Option<Response>,
    /// Remarks that are no failure.
    pub notes: Vec<String>,
}

impl Login<'_> {
    /// Logs in on a connection of `endpoint`, which is returned. The legs that were seen are in `course`, however it ends.
    pub fn run(&self, endpoint: &Endpoint, course: &mut Course) -> Result<Connection, Failure> {
        (self.progress)("connect");
        let mut connection = endpoint.connect()?;
        course.connection = connection.describe();
        let offer =
            self.leg(&mut connection, course, "GET, no credentials", None).map_err(
                |broken| match broken {
                    Broken::Closed => Failure::from(Cause::NoAnswer),
                    Broken::Failed(failure) => failure,
                },
            )?;
        course.offers = offers(&offer);
        let carrier = self.choose(&offer, &course.offers)?;
        course.carrier = Some(carrier);
        if offer.closes() {
            // Nothing is lost yet: clients begin the login on another connection.
            course
                .notes
                .push("the answer to the first request ends the connection; went on with another".to_owned());
            connection = endpoint.connect()?;
        }
        let challenge = self.challenged(&mut connection, course, carrier)?;
        self.answer(&mut connection, course, carrier, challenge)?;
        Ok(connection)
    }

    /// Asks for a challenge on a connection that is in no login; says which server answered.
    pub fn challenger(&self, connection: &mut Connection, carrier: Carrier) -> Option<String> {
        let (_, challenge) = self.challenged(connection, &mut Course::default(), carrier).ok()?;
        Challenge::read(&challenge)?.info.netbios_computer().map(|name| name.shown(64).to_string())
    }

    fn choose(&self, offer: &Response, offers: &[String]) -> Result<Carrier, Failure> {
        let offered = |name: &str| offers.iter().any(|offer| offer.eq_ignore_ascii_case(name));
        if let Some(failure) = without_login(offer) {
            return Err(failure);
        }
        match self.carrier {
            Some(carrier) if offered(carrier.name()) => Ok(carrier),
            None if offered("NTLM") => Ok(Carrier::Ntlm),
            None if offered("Negotiate") => Ok(Carrier::Negotiate),
            _ => {
                let list = if offers.is_empty() { "nothing".to_owned() } else { offers.join(", ") };
                Err(Failure::new(Cause::NoNtlmOffered, format!("offered: {list}")))
            }
        }
    }

    /// The second leg: NEGOTIATE, answered with a challenge, which is returned beside the context it is for.
    fn challenged(
        &self,
        connection: &mut Connection,
        course: &mut Course,
        carrier: Carrier,
    ) -> Result<(Context, Vec<u8>), Failure> {
        let end_point = if self.bound_to_tls { connection.end_point().map(<[u8]>::to_vec) } else { None };
        let internal = |error: String| Failure::new(Cause::Unexpected, error);
        let mut context = Context::new(self.credentials, end_point.as_deref()).map_err(internal)?;
        let message = context.step(&[], &self.host).map_err(internal)?;
        let message = match carrier {
            Carrier::Ntlm => message,
            Carrier::Negotiate => spnego::init(&message),
        };
        let sent = format!("{} NEGOTIATE", carrier.name());
        let response =
            self.leg(connection, course, &sent, Some((carrier, &message))).map_err(
                |broken| match broken {
                    Broken::Closed => {
                        Failure::new(Cause::ConnectionClosed, "before the first leg of the login")
                    }
                    Broken::Failed(failure) => failure,
                },
            )?;
        let token = token_of(&response, carrier);
        let inside = token.as_deref().and_then(|token| inside(carrier, token));
        let Some(challenge) = inside else {
            let seen = format!("{} answered the first leg", response.status);
            return Err(match (response.status, carrier) {
                (401, Carrier::Negotiate) => Failure::new(Cause::KerberosOnly, seen),
                (401, Carrier::Ntlm) => Failure::new(Cause::NoChallenge, seen),
                (502..=504, _) => Failure::new(Cause::BadGateway, seen),
                _ => Failure::new(Cause::Unexpected, seen),
            });
        };
        course.challenge = Challenge::read(&challenge).map(|read| ChallengeInfo::of(&read));
        if response.closes() {
            return Err(Failure::from(match response.version {
                "HTTP/1.0" => Cause::Http10,
                _ => Cause::ConnectionClose,
            }));
        }
        Ok((context, challenge))
    }

    /// The third leg: AUTHENTICATE.
    fn answer(
        &self,
        connection: &mut Connection,
        course: &mut Course,
        carrier: Carrier,
        (mut context, challenge): (Context, Vec<u8>),
    ) -> Result<(), Failure> {
        let message = context.step(&challenge, &self.host).map_err(|error| {
            Failure::new(Cause::Unexpected, format!("the challenge is unusable: {error}"))
        })?;
        let message = match carrier {
            Carrier::Ntlm => message,
            Carrier::Negotiate => spnego::resp(&message),
        };
        let sent = format!("{} AUTHENTICATE", carrier.name());
        let response =
            self.leg(connection, course, &sent, Some((carrier, &message))).map_err(
                |broken| match broken {
                    Broken::Closed => Failure::from(Cause::ConnectionClosed),
                    Broken::Failed(failure) => failure,
                },
            )?;
        let status = response.status;
        let again = token_of(&response, carrier).is_some_and(|token| inside(carrier, &token).is_some());
        course.last = Some(response);
        match status {
            401 if again => Err(Failure::new(
                Cause::ConnectionChanged,
                "the last leg was answered with another challenge, as servers do that know of no login on its connection",
            )),
            502..=504 => Err(Failure::new(Cause::BadGateway, format!("{status} answered the last leg"))),
            401 => Err(Failure::from(Cause::Refused)),
            400 => Err(Failure::new(
                Cause::ConnectionChanged,
                "400 answered the last leg, as servers do that know of no login on its connection",
            )),
            500.. => Err(Failure::new(Cause::Unexpected, format!("{status} answered the last leg"))),
            403 | 404 => {
                course.notes.push(format!("logged in, but the answer is {status}"));
                Ok(())
            }
            _ => Ok(()),
        }
    }

    fn leg(
        &self,
        connection: &mut Connection,
        course: &mut Course,
        sent: &str,
        token: Option<(Carrier, &[u8])>,
    ) -> Result<Response, Broken> {
        (self.progress)(sent);
        let mut request = Request::get(&self.target);
        if let Some((carrier, token)) = token {
            let value = format!("{} {}", carrier.name(), STANDARD.encode(token));
            request = request.header("Authorization", &value);
        }
        let start = Instant::now();
        let response = connection.exchange(request)?;
        course.legs.push(Leg::new(sent, &response, start.elapsed()));
        Ok(response)
    }
}

/// The failure that an answer other than 401 to a request without credentials means.
fn without_login(offer: &Response) -> Option<Failure> {
    let seen = format!("{} answered a request without credentials", offer.status);
    let body = String::from_utf8_lossy(&offer.body).to_ascii_lowercase();
    let (cause, detail) = match offer.status {
        401 => return None,
        _ if offers(offer).iter().any(|name| is_carrier(name)) => {
            (Cause::Intercepted, format!("{seen}, with an offer of a login"))
        }
        407 => (Cause::Unexpected, format!("{seen}: a forward proxy wants a login")),
        301 | 302 | 303 | 307 | 308 => {
            let place = offer.get("Location").unwrap_or("nowhere");
            let cause = if leads_to_form(place) { Cause::FormsLogin } else { Cause::Redirected };
            (cause, format!("{seen}: it leads to {place}"))
        }
        // nginx's page, and that of HTTP.sys for a name that no site has.
        400 if body.contains("plain http request was sent to https port") => (Cause::TlsWanted, seen),
        400 if body.contains("invalid hostname") => (Cause::HostUnknown, seen),
        421 => (Cause::HostUnknown, seen),
        403 => (Cause::Forbidden, seen),
        404 | 410 => (Cause::NotFound, seen),
        440 => (Cause::FormsLogin, seen),
        502..=504 => (Cause::BadGateway, seen),
        400.. => (Cause::Unexpected, seen),
        _ if has_password_field(&body) => (Cause::FormsLogin, seen),
        _ => (Cause::NoLoginWanted, seen),
    };
    Some(Failure::new(cause, detail))
}

fn is_carrier(name: &str) -> bool {
    [Carrier::Ntlm, Carrier::Negotiate].iter().any(|carrier| carrier.name().eq_ignore_ascii_case(name))
}

/// Whether an address is that of a page that asks for a password: of Exchange, SharePoint, RD Web, ASP.NET and AD FS.
fn leads_to_form(place: &str) -> bool {
    let place = place.to_ascii_lowercase();
    ["logon", "login", "signin", "sign-in", "/adfs/", "authenticate.aspx", "oauth2", "saml"]
        .iter()
        .any(|word| place.contains(word))
}

fn has_password_field(body: &str) -> bool {
    ["type=\"password\"", "type='password'", "type=password"].iter().any(|field| body.contains(field))
}

/// The names of the schemes in `WWW-Authenticate`: in each element of its lists (RFC 9110 §11.6.1) the first word, unless that
/// is a parameter of the scheme before it. A comma inside a quoted string parts nothing.
fn offers(response: &Response) -> Vec<String> {
    let mut names: Vec<String> = Vec::new();
    for value in response.all("WWW-Authenticate") {
        let (mut quoted, mut escaped) = (false, false);
        let elements = value.split(|char| {
            match char {
                _ if escaped => escaped = false,
                '\\' if quoted => escaped = true,
                '"' => quoted = !quoted,
                _ => {}
            }
            char == ',' && !quoted
        });
        for name in elements.filter_map(|element| element.split_whitespace().next()) {
            if !name.contains('=') && !names.iter().any(|known| known.eq_ignore_ascii_case(name)) {
                names.push(name.to_owned());
            }
        }
    }
    names
}

/// The decoded token of the response's field of this scheme.
pub fn token_of(response: &Response, carrier: Carrier) -> Option<Vec<u8>> {
    response.all("WWW-Authenticate").find_map(|value| {
        let (name, token) = value.split_once([' ', '\t'])?;
        if !name.eq_ignore_ascii_case(carrier.name()) {
            return None;
        }
        let token = token.trim().as_bytes();
        let mut buffer = vec![0; decoded_len(token)];
        decode(token, &mut buffer).map(<[u8]>::to_vec)
    })
}

/// The CHALLENGE message in a token, if that is what it is.
pub fn inside(carrier: Carrier, token: &[u8]) -> Option<Vec<u8>> {
    let Some(Message::NtlmChallenge(_)) = Message::read(carrier.scheme(), token) else { return None };
    match ntlm_core::spnego::unwrap(token) {
        ntlm_core::spnego::Inner::Ntlmssp(message) => Some(message.to_vec()),
        _ => None,
    }
}
