//! The ids of clients, bindings and groups, and why a connection is not bound.

use slotmap::new_key_type;

new_key_type! {
    /// Names a client connection for as long as it lives.
    pub struct ClientId;
    /// Names a binding for as long as it lives.
    pub struct BindingId;
}

/// Numbers the upstream group that a binding belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct GroupId(pub u32);

/// Why a connection was not bound. The caller closes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// The client has another binding for this group and key.
    Taken,
    /// The client has as many bindings as one client connection may have, all of them busy or proven.
    Share,
    /// The client connection is gone.
    NoClient,
    /// There was no memory.
    NoMemory,
}

/// One value in memory of its own.
pub(super) type Boxed<T> = Box<[T; 1]>;

/// Moves a value into memory of its own.
///
/// # Errors
///
/// [`Refusal::NoMemory`].
pub(super) fn boxed<T>(value: T) -> Result<Boxed<T>, Refusal> {
    let mut place = Vec::new();
    place.try_reserve_exact(1).map_err(|_| Refusal::NoMemory)?;
    place.push(value);
    place.into_boxed_slice().try_into().map_err(|_| Refusal::NoMemory)
}
