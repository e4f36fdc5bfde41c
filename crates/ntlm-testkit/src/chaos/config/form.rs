//! The form in which the locations name their servers: groups with `ntlm`, or `proxy_ntlm`.

/// A form.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::chaos) enum Form {
    /// Groups with `ntlm`.
    Group,
    /// Groups without it.
    Bare,
    /// An address; the second group stays a group.
    Literal,
    /// An address in a variable; the second group stays a group.
    Address,
    /// A name in a variable.
    Name,
}

impl Form {
    /// That of a seed, for a group with these lines in front of so many origins: an address is that of one origin, and a line has
    /// no more than a cap and a time.
    pub(super) fn of(seed: u64, lines: &[String], origins: usize) -> Self {
        let form = match (seed / 3) % 8 {
            1 => Self::Bare,
            2 => Self::Literal,
            3 => Self::Address,
            4 | 5 => Self::Name,
            _ => Self::Group,
        };
        let has = |word: &str| lines.iter().any(|line| line.starts_with(word));
        match form {
            _ if has("ntlm_key") || has("ntlm_requests") || has("ntlm_time ") => Self::Group,
            Self::Literal | Self::Address | Self::Name if origins != 1 => Self::Bare,
            form => form,
        }
    }

    /// The line that holds for the server, for groups with these lines; and those lines without what it says.
    pub(super) fn line(self, lines: &str) -> (String, String) {
        if self == Self::Group {
            return (String::new(), lines.to_owned());
        }
        let (mut line, mut rest) = ("proxy_ntlm on".to_owned(), Vec::new());
        for said in lines.split(';').map(str::trim).filter(|said| !said.is_empty()) {
            match said.split_once(' ') {
                Some(("ntlm", number)) => line += &format!(" connections={number}"),
                Some(("ntlm_timeout", time)) => line += &format!(" timeout={time}"),
                _ => rest.push(format!("{said};")),
            }
        }
        (line + ";", rest.join(" "))
    }

    /// The server that `proxy_pass` names in place of a group, given the address of its only server; `None` where it names the group.
    pub(super) fn server(self, index: usize, group: &str, address: &str) -> Option<String> {
        let port = address.rsplit(':').next().unwrap_or_default();
        match self {
            Self::Literal | Self::Address if index == 0 => Some(address.to_owned()),
            Self::Name => Some(format!("{group}.local.test:{port}")),
            _ => None,
        }
    }
}
