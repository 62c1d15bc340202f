//! The addresses of Redis: one server, a cluster, or the sentinels of a group of replicas.

use std::{error::Error as StdError, fmt, time::Duration};

use redis::{
    Client, ConnectionAddr, ConnectionInfo, IntoConnectionInfo as _, RedisError, RedisResult, TlsMode,
    aio::ConnectionManagerConfig,
    cluster::{ClusterClient, ClusterClientBuilder},
    sentinel::{SentinelClient, SentinelNodeConnectionInfo, SentinelServerType},
};
use tokio::sync::Mutex;

use crate::connection::Connection;

/// The longest time for one attempt to connect.
pub(crate) const CONNECT: Duration = Duration::from_secs(2);

/// The longest time for the response to one command: longer than each limit of this crate.
const RESPONSE: Duration = Duration::from_secs(3);

/// The longest time for each step of a connection to one node of a cluster, and for a response: longer than each limit for a
/// response. `redis` connects to all configured nodes, and then to all nodes of the cluster, and waits for each of them. A node that
/// does not respond takes this time twice, which must be shorter than [`CONNECT`]: otherwise no node would be used.
const NODE: Duration = Duration::from_millis(800);

/// A failure to read the address of Redis. It contains no part of the address.
#[derive(Debug)]
pub struct AddressError(RedisError);

impl fmt::Display for AddressError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the address of Redis is not valid")
    }
}

impl StdError for AddressError {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        Some(&self.0)
    }
}

impl From<RedisError> for AddressError {
    fn from(error: RedisError) -> Self {
        Self(error)
    }
}

pub(crate) enum Address {
    Server(Box<Client>),
    Cluster(Box<ClusterClient>),
    Sentinels(Box<Mutex<SentinelClient>>),
}

impl Address {
    pub(crate) fn server(url: &str) -> Result<Self, AddressError> {
        let client = Client::open(connection_info(url)?)?;
        prepare_tls(client.get_connection_info().addr());
        Ok(Self::Server(Box::new(client)))
    }

    pub(crate) fn cluster<'a>(urls: impl IntoIterator<Item = &'a str>) -> Result<Self, AddressError> {
        let nodes = urls.into_iter().map(connection_info).collect::<RedisResult<Vec<_>>>()?;
        for node in &nodes {
            prepare_tls(node.addr());
        }
        let builder = ClusterClientBuilder::new(nodes);
        let client = builder.connection_timeout(NODE).response_timeout(NODE).retries(1).build()?;
        Ok(Self::Cluster(Box::new(client)))
    }

    /// `group` has the form of an address, with the name of the group in the place of the host.
    pub(crate) fn sentinels<'a>(
        urls: impl IntoIterator<Item = &'a str>,
        group: &str,
    ) -> Result<Self, AddressError> {
        let sentinels = urls.into_iter().map(connection_info).collect::<RedisResult<Vec<_>>>()?;
        let group = connection_info(group)?;
        for address in sentinels.iter().map(ConnectionInfo::addr).chain([group.addr()]) {
            prepare_tls(address);
        }
        let redis = group.redis_settings().clone();
        let node = SentinelNodeConnectionInfo::default().set_redis_connection_info(redis);
        let (name, node) = match group.addr() {
            ConnectionAddr::Tcp(host, _) => (host.clone(), node),
            ConnectionAddr::TcpTls { host, .. } => (host.clone(), node.set_tls_mode(TlsMode::Secure)),
            _ => return Err(unsupported("expected an address with the name of the group as its host")),
        };
        if sentinels.is_empty() {
            return Err(unsupported("expected the address of at least one sentinel"));
        }
        let client = SentinelClient::build(sentinels, name, Some(node), SentinelServerType::Master)?;
        Ok(Self::Sentinels(Box::new(Mutex::new(client))))
    }

    /// Connects. The caller limits the time.
    pub(crate) async fn connect(&self) -> RedisResult<Connection> {
        match self {
            Self::Server(client) => manager(client).await,
            Self::Cluster(client) => client.get_async_connection().await.map(Connection::Cluster),
            Self::Sentinels(client) => {
                let master = client.lock().await.async_get_client().await?;
                manager(&master).await
            }
        }
    }

    /// Returns whether a closed connection must be replaced by us, because the next one may lead to another server.
    pub(crate) fn moves(&self) -> bool {
        matches!(self, Self::Sentinels(_))
    }

    pub(crate) fn kind(&self) -> &'static str {
        match self {
            Self::Server(_) => "server",
            Self::Cluster(_) => "cluster",
            Self::Sentinels(_) => "sentinels",
        }
    }
}

/// Reads an address. The name of the client library is not sent, because the permission for it would be required.
fn connection_info(url: &str) -> RedisResult<ConnectionInfo> {
    let info = url.into_connection_info()?;
    let settings = info.redis_settings().clone().set_skip_set_lib_name();
    Ok(info.set_redis_settings(settings))
}

async fn manager(client: &Client) -> RedisResult<Connection> {
    let config = ConnectionManagerConfig::new()
        .set_connection_timeout(Some(CONNECT))
        .set_response_timeout(Some(RESPONSE))
        .set_number_of_retries(0);
    client.get_connection_manager_with_config(config).await.map(Connection::Single)
}

fn unsupported(problem: &'static str) -> AddressError {
    RedisError::from((redis::ErrorKind::InvalidClientConfig, problem)).into()
}

/// Installs the crypto provider of rustls if the process has none. Without one, `redis` would panic if an application
/// has enabled two of them.
fn prepare_tls(address: &ConnectionAddr) {
    if matches!(address, ConnectionAddr::TcpTls { .. })
        && rustls::crypto::CryptoProvider::get_default().is_none()
    {
        // Fails only if another thread was faster, which is as good.
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_does_not_show_the_password() {
        let errors = [
            Address::server("redis://:hunter2@[").err(),
            Address::server("http://:hunter2@localhost").err(),
            Address::server("redis://:hunter2@localhost/x").err(),
            Address::cluster(["redis://:hunter2@["]).err(),
            Address::cluster([]).err(),
            Address::sentinels(["redis://localhost"], "redis://:hunter2@[").err(),
            Address::sentinels([], "redis://:hunter2@group").err(),
        ];
        for error in errors {
            let error = error.expect("an error");
            let source = error.source().map(ToString::to_string).unwrap_or_default();
            assert!(!format!("{error} {error:?} {source}").contains("hunter2"), "{error:?}");
        }
    }
}
