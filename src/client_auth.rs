//! How this API authenticates itself to the introspection endpoint.

mod identity;
#[cfg(test)]
pub(crate) mod testing;
mod watched;

pub use identity::Identity;

/// The target of this module's log records.
const LOG: &str = "actix_protect_api::client_auth";
