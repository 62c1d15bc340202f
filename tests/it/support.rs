//! The harness: applications, clients, child processes and records that the tests share.

pub(crate) mod api;
pub(crate) mod app;
pub(crate) mod child;
pub(crate) mod folder;
pub(crate) mod jwt;
pub(crate) mod logs;
pub(crate) mod metering;
pub(crate) mod net;
pub(crate) mod server;
pub(crate) mod service;
pub(crate) mod spans;
pub(crate) mod store;
pub(crate) mod time;
