//! Validates the settings of the connections to the authorization server.

use super::Check;
#[cfg(feature = "rustls")]
use crate::issuer::tls::read_certificates;
use crate::{
    client_auth::read_file,
    protect_api::builder::ProtectApiBuilder,
    settings::{Network, RootCertificates},
};

#[cfg(not(feature = "rustls"))]
fn read_certificates(_: &[u8]) -> Result<Vec<Vec<u8>>, String> {
    Err("needs the crate's feature `rustls`".to_owned())
}

impl ProtectApiBuilder {
    pub(super) fn check_network(&self, check: &mut Check<'_>) -> Network {
        Network { roots: self.check_root_certificates(check) }
    }

    fn check_root_certificates(&self, check: &mut Check<'_>) -> RootCertificates {
        let network = &self.network;
        let mut roots = Vec::new();
        if let Some(pem) = &network.root_certificates {
            match read_certificates(pem.as_bytes()) {
                Ok(mut certificates) => roots.append(&mut certificates),
                Err(problem) => check.problem("root_certificates", problem),
            }
        }
        if let Some(path) = &network.root_certificates_file {
            let read = read_file(path).and_then(|content| {
                read_certificates(&content).map_err(|problem| format!("{}: {problem}", path.display()))
            });
            match read {
                Ok(mut certificates) => roots.append(&mut certificates),
                Err(problem) => check.problem("root_certificates_file", problem),
            }
        }
        RootCertificates(roots)
    }
}
