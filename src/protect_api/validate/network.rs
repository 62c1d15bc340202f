//! Validates the settings of the connections to the authorization server.

use std::sync::Arc;

use super::Check;
#[cfg(feature = "rustls")]
use crate::issuer::tls::read_certificates;
use crate::{
    client_auth::read_file,
    protect_api::builder::ProtectApiBuilder,
    settings::{Network, Proxy, ProxyCredentials, ProxyException, ProxyUrl, RootCertificates},
};

#[cfg(not(feature = "rustls"))]
fn read_certificates(_: &[u8]) -> Result<Vec<Vec<u8>>, String> {
    Err("needs the crate's feature `rustls`".to_owned())
}

impl ProtectApiBuilder {
    pub(super) fn check_network(&self, check: &mut Check<'_>) -> Network {
        Network { roots: self.check_root_certificates(check), proxy: self.check_proxy(check).map(Arc::new) }
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
    fn check_proxy(&self, check: &mut Check<'_>) -> Option<Proxy> {
        let network = &self.network;
        let Some(url) = &network.http_proxy else {
            for (method, is_set) in [
                ("no_proxy", network.no_proxy.is_some()),
                (
                    "http_proxy_credentials",
                    network.proxy_username.is_some() || network.proxy_password.is_some(),
                ),
            ] {
                if is_set {
                    let message = format!("is set, but {} is not", check.expected_name("http_proxy"));
                    check.problem(method, message);
                }
            }
            return None;
        };
        let url = check.parsed("http_proxy", url, ProxyUrl::parse);
        let exceptions = match &network.no_proxy {
            None => ProxyException::loopback(),
            Some(hosts) => hosts.iter().filter_map(|host| exception(host, check)).collect(),
        };
        let credentials = self.check_proxy_credentials(check);
        Some(Proxy { url: url?, exceptions, credentials })
    }

    fn check_proxy_credentials(&self, check: &mut Check<'_>) -> Option<ProxyCredentials> {
        let method = "http_proxy_credentials";
        let (username, password) = match (&self.network.proxy_username, &self.network.proxy_password) {
            (None, None) => return None,
            (Some(username), Some(password)) => (username.clone(), password.clone()),
            (Some(_), None) => {
                check.problem(method, "is set without a password");
                return None;
            }
            (None, Some(_)) => {
                check.problem(method, "is set without a user name");
                return None;
            }
        };
        if check.are_set(["HTTP_PROXY_PASSWORD", "HTTP_PROXY_PASSWORD_FILE"]) {
            check.problem(method, "has a password in a variable and in a file, expected one of them");
        }
        if username.contains(':') || username.chars().any(char::is_control) {
            check.problem(method, "has a user name with a colon or a control character (RFC 7617 section 2)");
        }
        match password.current() {
            Ok(password) if password.expose().chars().any(char::is_control) => {
                check.problem(method, "has a password with a control character (RFC 7617 section 2)");
            }
            Ok(_) => {}
            Err(problem) => check.problem(method, format!("has a password that cannot be used: {problem}")),
        }
        Some(ProxyCredentials { username, password })
    }
}

fn exception(host: &str, check: &mut Check<'_>) -> Option<ProxyException> {
    let exception = ProxyException::parse(host);
    if exception.is_none() {
        let message = format!(
            "contains {host:?}, expected host names without port, IP addresses, blocks such as 10.0.0.0/8, or *"
        );
        check.problem("no_proxy", message);
    }
    exception
}
