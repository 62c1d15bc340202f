//! The requirements of one mount.

use super::StepUp;
use crate::claims::scope::Scope;

/// The requirements of one mount beyond a valid token. All of them must be met; an empty list requires nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Requirements {
    pub(crate) all_scopes: Vec<Scope>,
    /// One scope of each list is required.
    pub(crate) any_scopes: Vec<Vec<Scope>>,
    /// One group of each list is required, or all of them if the rules require it.
    pub(crate) groups: Vec<Vec<String>>,
    pub(crate) step_up: StepUp,
    /// The scopes that the challenges of this mount also name. They are not required.
    pub(crate) hinted_scopes: Vec<Scope>,
}

impl Requirements {
    /// Returns requirements that every valid token meets.
    pub(crate) const fn none() -> Self {
        Self {
            all_scopes: Vec::new(),
            any_scopes: Vec::new(),
            groups: Vec::new(),
            step_up: StepUp { contexts: Vec::new(), within: None },
            hinted_scopes: Vec::new(),
        }
    }
}
