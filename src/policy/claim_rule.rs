//! A check of the claims that the application defines.

use std::{fmt, sync::Arc};

use super::quoted;
use crate::{
    claims::Claims,
    error::{AuthError, AuthErrorKind},
};

/// A named function of the claims. Two rules are equal if they are the same object.
#[derive(Clone)]
pub(crate) struct ClaimRule {
    pub(crate) name: String,
    is_met: Arc<IsMet>,
}

type IsMet = dyn Fn(&Claims) -> bool + Send + Sync;

impl ClaimRule {
    pub(crate) fn new(name: String, is_met: impl Fn(&Claims) -> bool + Send + Sync + 'static) -> Self {
        Self { name, is_met: Arc::new(is_met) }
    }

    pub(super) fn check(&self, claims: &Claims) -> Result<(), AuthError> {
        if (self.is_met)(claims) {
            return Ok(());
        }
        Err(AuthError::new(AuthErrorKind::ClaimRule).with_source(quoted(std::slice::from_ref(&self.name))))
    }
}

impl PartialEq for ClaimRule {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name && Arc::ptr_eq(&self.is_met, &other.is_met)
    }
}

impl fmt::Debug for ClaimRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("ClaimRule").field(&self.name).finish()
    }
}
