//! The theme of a seed, beside the draws that every seed makes: sixteen seeds in a row meet each kind of configuration.
//!
//! It must never leave a kind to chance: what chaos is to find, it finds with the first sixteen seeds.

/// The mark that tells the users of one client connection apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::chaos) enum Front {
    /// `ntlm_key $http_x_session`; a request without the field has no binding.
    Key,
    /// The address in `X-Forwarded-For`, by way of `realip`.
    RealIp,
    /// A field that nginx is not told to believe.
    Field(&'static str),
}

/// Strangers who fill the groups.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::chaos) enum Crowd {
    /// Forged credentials from one address.
    OneAddress,
    /// Forged credentials, each stranger at an address of its own.
    ManyAddresses,
    /// Real logins, all from one address.
    Hog,
}

/// The choices that a seed makes by its place among sixteen.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Theme {
    pub(super) faults: bool,
    pub(super) short_timeout: bool,
    pub(super) capped: bool,
    pub(super) plain: bool,
    pub(super) doors: bool,
    pub(super) cached: bool,
    pub(super) mass: bool,
    /// TLS 1.3 to the origins, whose key updates end no login.
    pub(super) key_updates: bool,
    pub(super) front: Option<Front>,
    pub(super) crowd: Option<Crowd>,
}

impl Theme {
    pub(super) fn of(seed: u64) -> Self {
        let round = seed / 16;
        let quiet = Self::default();
        let faults = Self { faults: true, ..quiet };
        let keys = Some(Front::Key).filter(|_| round.is_multiple_of(2));
        let crowd = |crowd, front| Self { crowd: Some(crowd), front, ..quiet };
        match seed % 16 {
            0 => Self { front: Some(Front::Key), ..faults },
            1 => Self { doors: true, ..quiet },
            2 => Self { doors: true, ..faults },
            3 => Self { plain: true, ..faults },
            5 => Self { short_timeout: true, ..quiet },
            6 => crowd(Crowd::OneAddress, keys),
            7 => {
                let fields = ["X-Forwarded-For", "Forwarded", "X-Real-IP"];
                Self { front: Some(Front::Field(fields[(round % 3) as usize])), ..faults }
            }
            8 => Self { front: Some(Front::RealIp), ..faults },
            9 => Self { plain: true, doors: true, front: Some(Front::Key), key_updates: true, ..quiet },
            10 => Self { capped: true, ..quiet },
            11 => Self { cached: true, doors: true, ..faults },
            12 => crowd(Crowd::ManyAddresses, None),
            13 => Self { short_timeout: true, mass: true, front: keys, ..quiet },
            14 => crowd(Crowd::Hog, None),
            15 => Self { plain: true, doors: true, ..faults },
            _ => faults,
        }
    }
}
