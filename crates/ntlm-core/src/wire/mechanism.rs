//! How a client proves who it is.

/// How a client proves who it is; the text is that of `$ntlm_mechanism`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Mechanism {
    /// NTLM with a response of version 1, with or without extended session security.
    NtlmV1,
    /// NTLM with a response of version 2.
    NtlmV2,
    /// Kerberos 5.
    Kerberos,
    /// Kerberos by way of the server.
    IaKerb,
    /// Another one, agreed on by `Negotiate`.
    Negotiate,
}

impl Mechanism {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::NtlmV1, Self::NtlmV2, Self::Kerberos, Self::IaKerb, Self::Negotiate];

    /// The text of `$ntlm_mechanism`.
    pub fn name(self) -> &'static str {
        match self {
            Self::NtlmV1 => "NTLMv1",
            Self::NtlmV2 => "NTLMv2",
            Self::Kerberos => "Kerberos",
            Self::IaKerb => "IAKerb",
            Self::Negotiate => "Negotiate",
        }
    }
}
