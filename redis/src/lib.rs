//! Redis and Valkey as the shared store of [`actix-protect-api`](actix_protect_api).
//!
//! All replicas of an API share introspection verdicts, and see revocations of other replicas at once.
//!
//! ```no_run
//! use actix_protect_api_redis::RedisStore;
//!
//! # fn main() -> Result<(), actix_protect_api_redis::AddressError> {
//! let store = RedisStore::open("rediss://api:password@redis.example.com:6379/0")?;
//! # Ok(()) }
//! ```
//!
//! [`RedisStore`] is an [`actix_protect_api::shared_store::SharedStore`]. It stores values that `actix-protect-api`
//! has encrypted. It needs Redis 7.0 or later, or Valkey.
//!
//! # Keys
//!
//! | Key | Type | Content |
//! | --- | --- | --- |
//! | `actix-protect-api:v:<digest>` | string with a time to live | an encrypted verdict, or the claim of a replica that makes the call |
//! | `actix-protect-api:records` | stream without a time to live | encrypted revocations and evictions of the last day |
//!
//! [`RedisStore::key_prefix`] replaces `actix-protect-api:`.
//!
//! # Permissions
//!
//! The user needs the commands `GET`, `SET`, `DEL`, `XADD`, `XREAD`, `XRANGE`, `XTRIM`, `XDEL`,
//! `XINFO|STREAM`, `TIME` and `PING` on these keys:
//!
//! ```text
//! ACL SETUSER api on >password ~actix-protect-api:* resetchannels -@all
//!   +get +set +del +xadd +xread +xrange +xtrim +xdel
//!   +xinfo|stream +time +ping
//! ```
//!
//! A cluster also needs `+cluster|slots`, and the sentinels `+sentinel|masters`, `+role`.
//!
//! # Memory
//!
//! The eviction policy must be one of `volatile-*` or `noeviction`. With `volatile-*`, Redis evicts verdicts when its memory is
//! full, and still accepts revocations. With `allkeys-*`, Redis may evict the stream. This
//! is detected as a loss of records, and then all replicas drop their cached verdicts.
//!
//! A server that accepts no writes, for example because its memory is full (`maxmemory`), is still read: all replicas apply the
//! records that it has. New revocations cannot be in it, so all replicas are blind. A revocation returns an error, and its process
//! sends it again until the server accepts it.
//!
//! To notice this, each read sends an `XADD` that cannot append a record, because its identifier is `0-1`. Redis counts its response
//! as an error (`errorstat_ERR` of `INFO`).
//!
//! Old records are deleted once in a while. A failure is logged at debug level, with the target `actix_protect_api` and the event
//! `store_trim_failed`.
//!
//! # TLS
//!
//! Addresses with `rediss://` use TLS by rustls with the certificates of the platform (`SSL_CERT_FILE` works). If the
//! process has no default crypto provider of rustls, opening such an address installs aws-lc-rs.

mod address;
mod connection;
mod driver;
mod store;
mod stream;

pub use self::{address::AddressError, store::RedisStore};

/// Compiles the example of the README.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
