//! Who owns which upstream connection, how far the login on it is, and how the ownership ends.

pub mod anew;
pub mod challenge;
pub mod digest;
pub mod end;
pub mod exchange;
mod expiry;
mod fairness;
pub mod ids;
pub mod key;
pub mod login;
mod order;
pub mod table;
pub mod turn_back;
