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
