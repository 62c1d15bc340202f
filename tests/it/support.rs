//! What the tests share.

pub(crate) mod app;
pub(crate) mod logs;
pub(crate) mod server;
pub(crate) mod service;
