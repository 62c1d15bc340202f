//! Validates the resources.

use super::Check;
use crate::{client_auth::DocumentSigner, protect_api::builder::ProtectApiBuilder, settings::PlacedResource};

impl ProtectApiBuilder {
    /// Validates the resources. Two documents must not be at the same path.
    pub(super) fn check_resources(&mut self, check: &mut Check<'_>) -> Vec<PlacedResource> {
        if !self.resources.is_empty() && self.tuning.resource_metadata.is_some() {
            check.problem("resource_metadata", "is set, but a resource is set too, expected one of them");
        }
        let mut placed: Vec<PlacedResource> = Vec::new();
        for resource in std::mem::take(&mut self.resources) {
            let url = resource.url.clone();
            if let Some(Err(problem)) = resource.signer.as_ref().map(DocumentSigner::check) {
                let text = format!("{url:?} has a key for signed metadata that cannot be used: {problem}");
                check.problem("resource", text);
            }
            match resource.place() {
                Err(expected) => check.problem("resource", format!("is {url:?}, expected {expected}")),
                Ok(one) => {
                    let is_taken = |path: &&String| placed.iter().any(|other| other.paths.contains(path));
                    if let Some(path) = one.paths.iter().find(is_taken) {
                        check.problem(
                            "resource",
                            format!("{url:?} has its document at {path}, like another one"),
                        );
                    }
                    placed.push(one);
                }
            }
        }
        placed
    }
}
