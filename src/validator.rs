//! The validators: who says whether a token is good.

pub(crate) mod jwt;
