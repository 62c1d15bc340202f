//! A connection that is made when it is needed, and replaced when it is of no use.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use actix_protect_api::StoreError;
use redis::{
    Cmd, FromRedisValue, Pipeline, RedisError, RedisFuture, RedisResult, Value,
    aio::{ConnectionLike, ConnectionManager},
    cluster_async::ClusterConnection,
};
use tokio::{
    sync::Mutex,
    time::{error::Elapsed, timeout},
};

use crate::address::{Address, CONNECT};

/// The time after a failed attempt to connect in which no other attempt is made.
const PAUSE: Duration = Duration::from_millis(200);

#[derive(Clone)]
pub(crate) enum Connection {
    /// Connects again after the connection was closed.
    Single(ConnectionManager),
    /// Follows the slots of the cluster.
    Cluster(ClusterConnection),
}

impl ConnectionLike for Connection {
    fn req_packed_command<'a>(&'a mut self, cmd: &'a Cmd) -> RedisFuture<'a, Value> {
        match self {
            Self::Single(connection) => connection.req_packed_command(cmd),
            Self::Cluster(connection) => connection.req_packed_command(cmd),
        }
    }

    fn req_packed_commands<'a>(
        &'a mut self,
        pipeline: &'a Pipeline,
        offset: usize,
        count: usize,
    ) -> RedisFuture<'a, Vec<Value>> {
        match self {
            Self::Single(connection) => connection.req_packed_commands(pipeline, offset, count),
            Self::Cluster(connection) => connection.req_packed_commands(pipeline, offset, count),
        }
    }

    fn get_db(&self) -> i64 {
        match self {
            Self::Single(connection) => connection.get_db(),
            Self::Cluster(connection) => connection.get_db(),
        }
    }
}

/// The place of one connection.
pub(crate) struct Slot {
    address: Arc<Address>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    connection: Option<Connection>,
    /// Counts the connections, so that only the failing one is dropped.
    number: u64,
    failure: Option<(Instant, String)>,
}

impl Slot {
    pub(crate) fn new(address: &Arc<Address>) -> Arc<Self> {
        Arc::new(Self { address: Arc::clone(address), state: Mutex::default() })
    }

    /// Sends one command.
    pub(crate) async fn command<T: FromRedisValue>(
        &self,
        limit: Duration,
        command: &Cmd,
    ) -> Result<T, StoreError> {
        self.run(limit, async |connection| command.query_async(connection).await).await
    }

    /// Sends a pipeline.
    pub(crate) async fn pipeline<T: FromRedisValue>(
        &self,
        limit: Duration,
        pipeline: &Pipeline,
    ) -> Result<T, StoreError> {
        self.checked(limit, pipeline, Ok::<T, _>).await
    }

    /// Sends a pipeline, and checks its response.
    pub(crate) async fn checked<T: FromRedisValue, U>(
        &self,
        limit: Duration,
        pipeline: &Pipeline,
        check: impl FnOnce(T) -> RedisResult<U>,
    ) -> Result<U, StoreError> {
        self.run(limit, async |connection| check(pipeline.query_async(connection).await?)).await
    }

    async fn run<T>(
        &self,
        limit: Duration,
        query: impl AsyncFnOnce(&mut Connection) -> RedisResult<T>,
    ) -> Result<T, StoreError> {
        let (mut connection, number) = self.connected().await?;
        let outcome = timeout(limit, query(&mut connection)).await;
        if self.is_useless(&outcome) {
            let mut state = self.state.lock().await;
            if state.number == number {
                state.connection = None;
            }
        }
        match outcome {
            Ok(outcome) => outcome.map_err(StoreError::new),
            Err(elapsed) => Err(StoreError::new(elapsed)),
        }
    }

    /// Returns whether the connection must be replaced: the server does not respond, is not the primary any more, or may
    /// have been replaced.
    fn is_useless<T>(&self, outcome: &Result<RedisResult<T>, Elapsed>) -> bool {
        let is_useless = |error: &RedisError| {
            error.is_timeout()
                || error.code() == Some("READONLY")
                || (self.address.moves() && (error.is_io_error() || error.is_unrecoverable_error()))
        };
        match outcome {
            Ok(Ok(_)) => false,
            Ok(Err(error)) => is_useless(error),
            Err(_) => true,
        }
    }

    /// Returns the connection. One caller connects, and the others wait for it.
    async fn connected(&self) -> Result<(Connection, u64), StoreError> {
        let mut state = self.state.lock().await;
        if let Some(connection) = &state.connection {
            return Ok((connection.clone(), state.number));
        }
        if let Some((at, problem)) = &state.failure
            && at.elapsed() < PAUSE
        {
            return Err(StoreError::new(problem.clone()));
        }
        let problem = match timeout(CONNECT, self.address.connect()).await {
            Ok(Ok(connection)) => {
                state.connection = Some(connection.clone());
                state.number = state.number.wrapping_add(1);
                state.failure = None;
                return Ok((connection, state.number));
            }
            Ok(Err(error)) => error.to_string(),
            Err(_) => "no connection within the time limit".to_owned(),
        };
        state.failure = Some((Instant::now(), problem.clone()));
        Err(StoreError::new(problem))
    }
}
