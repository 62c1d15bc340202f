//! The command line.

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    path::PathBuf,
};

use url::Url;

use crate::{
    choice::Format,
    client::{is_loopback, parse_redirect_uri},
};

pub(crate) const USAGE: &str = "\
usage: dev_issuer [options]

  --port PORT               the port (9400)
  --address ADDRESS         a loopback address (127.0.0.1)
  --audience AUDIENCE       the audience of tokens without `resource` (https://api.example.test)
  --tokens opaque|jwt       the format that the page selects at first, and of client credentials (opaque)
  --redirect-uri URI        a further redirect URI of the client `dev-app`; may be repeated
  --event-receiver URL      receives security events (RFC 8935); a loopback URL; may be repeated
  --logout-receiver URL     receives logout tokens (OpenID Connect Back-Channel Logout); the same
  --directory DIRECTORY     for the keys and the registered clients (target/dev_issuer of the checkout)
  --print-env               prints the variables of an API and exits
  --check                   calls itself and exits
  --help                    prints this text";

pub(crate) enum Command {
    Serve,
    PrintVariables,
    Check,
    Help,
}

pub(crate) struct Options {
    pub(crate) address: IpAddr,
    pub(crate) port: u16,
    pub(crate) audience: String,
    pub(crate) format: Format,
    pub(crate) redirect_uris: Vec<String>,
    pub(crate) event_receivers: Vec<Url>,
    pub(crate) logout_receivers: Vec<Url>,
    pub(crate) directory: PathBuf,
}

impl Default for Options {
    fn default() -> Self {
        // The same for every current directory, so that `--print-env` finds the secret of the issuer that runs.
        let target = concat!(env!("CARGO_MANIFEST_DIR"), "/../target");
        let target = std::env::var_os("CARGO_TARGET_DIR").unwrap_or_else(|| target.into());
        Self {
            address: Ipv4Addr::LOCALHOST.into(),
            port: 9400,
            audience: "https://api.example.test".to_owned(),
            format: Format::Opaque,
            redirect_uris: Vec::new(),
            event_receivers: Vec::new(),
            logout_receivers: Vec::new(),
            directory: PathBuf::from(target).join("dev_issuer"),
        }
    }
}

impl Options {
    pub(crate) fn parse(arguments: impl IntoIterator<Item = String>) -> Result<(Command, Self), String> {
        let mut options = Self::default();
        let mut command = Command::Serve;
        let mut arguments = arguments.into_iter();
        while let Some(name) = arguments.next() {
            match name.as_str() {
                "--print-env" => command = Command::PrintVariables,
                "--check" => command = Command::Check,
                "--help" | "-h" => command = Command::Help,
                name => {
                    let value =
                        arguments.next().ok_or_else(|| format!("{name} is unknown, or has no value"))?;
                    options.set(name, value)?;
                }
            }
        }
        Ok((command, options))
    }

    fn set(&mut self, name: &str, value: String) -> Result<(), String> {
        match name {
            "--port" => {
                self.port = value.parse().map_err(|_| format!("--port is {value:?}, expected a port"))?;
            }
            "--address" => self.address = loopback(&value)?,
            "--audience" if value.is_empty() || value.contains(|c: char| !c.is_ascii_graphic()) => {
                return Err(format!("--audience is {value:?}, expected visible ASCII characters"));
            }
            "--audience" => self.audience = value,
            "--tokens" => {
                self.format = Format::parse(&value)
                    .ok_or_else(|| format!("--tokens is {value:?}, expected opaque or jwt"))?;
            }
            "--redirect-uri" => {
                parse_redirect_uri(&value).map_err(|problem| format!("--redirect-uri {problem}"))?;
                self.redirect_uris.push(value);
            }
            "--event-receiver" => self.event_receivers.push(receiver(name, &value)?),
            "--logout-receiver" => self.logout_receivers.push(receiver(name, &value)?),
            "--directory" => self.directory = value.into(),
            name => return Err(format!("{name} is unknown")),
        }
        Ok(())
    }

    pub(crate) fn socket_address(&self) -> SocketAddr {
        SocketAddr::new(self.address, self.port)
    }
}

fn loopback(value: &str) -> Result<IpAddr, String> {
    let address: IpAddr =
        value.parse().map_err(|_| format!("--address is {value:?}, expected an IP address"))?;
    if address.is_loopback() {
        return Ok(address);
    }
    Err(format!(
        "--address is {address}, expected a loopback address: anyone who can reach this issuer can log in as anyone"
    ))
}

fn receiver(name: &str, value: &str) -> Result<Url, String> {
    let url = Url::parse(value).ok().filter(|url| url.scheme() == "http" && is_loopback(url));
    url.ok_or_else(|| format!("{name} is {value:?}, expected an http URL with a loopback host"))
}
