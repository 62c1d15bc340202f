//! What the tests share.

pub(crate) mod app;
pub(crate) mod folder;
pub(crate) mod logs;
pub(crate) mod metering;
pub(crate) mod server;
pub(crate) mod service;
